"""Results that are computed once for a finished run, and stored in its folder."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.functional import LatentDensity
from varied.priors.gmm import GaussianMixture
from varied.runs import Run
from varied.tensor_io import digest_tensors, read_tensors, write_tensors

#: The version of the file formats; files with a different version are replaced.
_FORMAT = 1
#: The maximum size of a file in bytes; larger results are not stored.
_MAX_BYTES = 64 * 2**20


def result_key(run: Run, rows: Tensor) -> dict[str, Any]:
    """Return values that change if the model, the data or the rows of the map change."""
    return {
        "format": _FORMAT,
        "model": digest_tensors(run.model.state_dict()),
        "data": run.metadata["digest"],
        "rows": digest_tensors({"rows": rows}),
    }


def read_result(
    run: Run, name: str, key: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and notes of a stored result; None if there is no valid one."""
    with suppress(VariedError):
        tensors, notes = read_tensors(run.store / name)
        if notes["key"] == key:
            return tensors, notes
    return None


def write_result(
    run: Run, name: str, key: dict[str, Any], tensors: dict[str, Tensor], **notes: object
) -> None:
    """Store a result, unless the run is being trained, or its folder is read-only."""
    if run.store.is_trained and sum(t.nbytes for t in tensors.values()) <= _MAX_BYTES:
        with suppress(OSError, VariedError):
            write_tensors(run.store / name, tensors, key=key, **notes)


def read_density(run: Run, name: str, key: dict[str, Any], size: int) -> LatentDensity | None:
    """Return a stored density of codes with ``size`` elements; None if there is no valid one."""
    stored = read_result(run, name, key)
    if stored is None:
        return None
    tensors, notes = stored
    try:
        mixture = GaussianMixture((size,), int(notes["components"])).to(torch.float64)
        mixture.load_state_dict(tensors)
        return LatentDensity(mixture, float(notes["threshold"]), int(notes["active_units"]))
    except (KeyError, TypeError, ValueError, RuntimeError):  # the file was changed
        return None


def write_density(run: Run, name: str, key: dict[str, Any], density: LatentDensity) -> None:
    """Store a density; see `write_result`."""
    tensors = density.mixture.state_dict()
    write_result(
        run,
        name,
        key,
        tensors,
        components=len(tensors["log_weights"]),
        threshold=density.threshold,
        active_units=density.active_units,
    )
