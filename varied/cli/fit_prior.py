"""`varied fit-prior`: fit a prior to the codes of a run."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from varied.cli import console
from varied.cli.flags import SETTINGS, parse_value
from varied.cli.options import RunName, option
from varied.cli.paths import open_run
from varied.errors import VariedError


def fit_prior(
    ctx: typer.Context,
    run: RunName,
    prior: Annotated[
        str | None,
        typer.Argument(
            metavar="PRIOR", help="A prior, such as gmm, flow, flow-matching or transformer."
        ),
    ] = None,
    minutes: Annotated[float | None, option("M", "Training time in minutes; 2 by default.")] = None,
    epochs: Annotated[float | None, option("E", "Number of epochs, instead of --minutes.")] = None,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Remove the fitted prior, and restore the original one."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Fit a new prior to the codes of a run, for better samples.

    Settings of the prior are options of this command, such as `--n-components 20` or `--depth 4`.
    The weights of the run do not change.
    """
    if reset == (prior is not None):
        raise VariedError("Specify either a PRIOR to fit, such as gmm, or --reset.")
    if minutes and epochs:
        raise VariedError("--minutes cannot be combined with --epochs; use one of them.")
    opened = open_run(run)
    if prior is None:
        opened.reset_prior()
        if not quiet:
            console.say(f"{opened.folder} uses its original prior again.")
        return
    choices: dict[str, Any] = {k: parse_value(v) for k, v in ctx.meta[SETTINGS].items()}
    choices |= {"minutes": minutes, "epochs": epochs}
    from varied.training.progress import run_with_progress

    plan, events = opened.prepare_prior(prior, **choices)
    run_with_progress(events, plan, None if quiet else sys.stdout)
    if not quiet:
        console.say(f"{opened.folder} now samples from a {prior} prior, fitted to its codes.")
        console.say(f"Next: varied sample {run}. To undo: varied fit-prior {run} --reset.")
