"""Describe a run: what its data are, and which operations it supports."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from varied.atomic_io import read_text
from varied.errors import VariedError, printable
from varied.studio.opened_run import OpenedRun
from varied.studio.operations import CHECKS, OPERATIONS, supported_operations
from varied.studio.schemas import RunDetails, RunSummary


def describe_unopened(
    folder: Path, summary: RunSummary, figures: Iterable[str], reason: str
) -> RunDetails:
    """Describe a run that cannot be opened, for example since it has no checkpoint yet."""
    return RunDetails(
        **summary.model_dump(),
        kind="",
        noun="examples",
        shape=[],
        latent_dim=None,
        n_data=None,
        labels=[],
        covariates=[],
        columns=[],
        operations=[],
        reasons=dict.fromkeys([*OPERATIONS, *CHECKS], reason),
        figures=list(figures),
        spec=_read_spec(folder),
    )


def describe_run(opened: OpenedRun, summary: RunSummary, figures: Iterable[str]) -> RunDetails:
    """Describe an opened run."""
    run, context = opened.run, opened.run.context
    operations, reasons = supported_operations(opened)
    return RunDetails(
        **summary.model_dump(),
        kind=run.codec.plain_format.kind,
        noun=run.codec.noun,
        shape=list(run.codec.shape),
        latent_dim=opened.latent_dim,
        n_data=run.metadata.get("n"),
        labels=[] if context is None else [str(name) for name in context.classes],
        covariates=[] if context is None else list(context.by_name),
        columns=_columns(opened),
        operations=operations,
        reasons=reasons,
        figures=list(figures),
        spec=_read_spec(run.folder),
    )


def _columns(opened: OpenedRun) -> list[str]:
    """Return the columns of the data, if they are available."""
    try:
        return [printable(column) for column in opened.run.data.columns]
    except VariedError:
        return []


def _read_spec(folder: Path) -> str:
    with suppress(VariedError):
        return read_text(folder / "spec.toml")
    return ""
