"""`varied fit-prior`: a better prior for a run, fitted to its codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.flags import SETTINGS, plain
from varied.cli.paths import open_run
from varied.cli.progress import progress_stream, watched
from varied.errors import VariedError

__all__ = ["fit_prior"]


def fit_prior(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, its name below runs/, or last.")
    ],
    kind: Annotated[
        str,
        typer.Argument(
            metavar="PRIOR",
            help="gmm, flow, flow-matching, transformer (for codes), or none to go back.",
        ),
    ],
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Fit for so many minutes; 2 if not given.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="E", help="Or so many passes over the codes.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Fit a prior to the codes of a trained run; sampling then uses it.

    Settings of the prior are flags too: `--components 20`, `--depth 4`. The run's own weights and
    prior are kept: `varied fit-prior RUN none` goes back to them.
    """
    if minutes and epochs:
        raise VariedError("Give --minutes or --epochs, not both.")
    here = open_run(run)
    from varied.prior_fitting import prior_plan_from
    from varied.training.prior import fit_to_run

    choices: dict[str, Any] = {k: plain(v) for k, v in ctx.meta[SETTINGS].items()}
    choices |= {"minutes": minutes, "epochs": epochs}
    stream = progress_stream(quiet=quiet, as_json=False)
    watched(fit_to_run(here, kind, **choices), prior_plan_from(here.spec, kind, choices)[0], stream)
    if quiet:
        return
    if kind == "none":
        console.say(f"{here.folder} samples from the prior that it was trained with again.")
        return
    console.say(f"{here.folder} now samples from a {kind} prior, fitted to its codes.")
    console.say(f"Next: varied sample {run}, or varied fit-prior {run} none to go back.")
