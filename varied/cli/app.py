"""The command and its subcommands, in the order in which a person meets them."""

from __future__ import annotations

from typing import Annotated

import typer

from varied import __version__
from varied.cli import (
    augment,
    codes,
    compress,
    edit,
    explain,
    judge,
    measure,
    prior,
    shelf,
    show,
    train,
    update,
)
from varied.cli.flags import Group, Open, Plain

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"varied {__version__}")
        raise typer.Exit


@app.callback()
def varied(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the program a fault arose.")
    ] = False,
) -> None:
    """Variational autoencoders for your own data: train, look, measure.

    Begin with `varied demo`, or with `varied train FOLDER`.
    """


for command, kind, panel in (
    (train.demo, Plain, "Train"),
    (train.train, Open, "Train"),
    (show.sample, Plain, "Use a run"),
    (show.reconstruct, Plain, "Use a run"),
    (show.interpolate, Plain, "Use a run"),
    (show.traverse, Plain, "Use a run"),
    (edit.edit, Plain, "Use a run"),
    (edit.style, Plain, "Use a run"),
    (codes.encode, Plain, "Use a run"),
    (codes.classify, Plain, "Use a run"),
    (codes.neighbours, Plain, "Use a run"),
    (augment.augment, Plain, "Use a run"),
    (judge.detect, Plain, "Use a run"),
    (judge.impute, Plain, "Use a run"),
    (compress.compress, Plain, "Use a run"),
    (compress.decompress, Plain, "Use a run"),
    (update.update, Plain, "Train"),
    (prior.fit_prior, Open, "Train"),
    (measure.evaluate, Plain, "Measure"),
    (measure.compare, Plain, "Measure"),
    (shelf.models, Plain, "Look around"),
    (explain.explain, Plain, "Look around"),
    (shelf.data, Plain, "Look around"),
    (shelf.runs, Plain, "Look around"),
    (shelf.doctor, Plain, "Look around"),
):
    # The whole first sentence: what it is cut down to otherwise ends in the middle of one.
    said = str(command.__doc__).partition("\n")[0]
    app.command(cls=kind, rich_help_panel=panel, short_help=said)(command)
