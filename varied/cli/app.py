"""The command and its subcommands, in the order in which a person meets them."""

from __future__ import annotations

from typing import Annotated

import typer

from varied import __version__
from varied.cli import (
    augment,
    compress,
    edit,
    encode,
    evaluate,
    explain,
    fit_prior,
    judge,
    listing,
    show,
    train,
    update,
)
from varied.cli.flags import PlainHelpCommand, PlainHelpGroup, SettingsCommand

__all__ = ["app"]

app = typer.Typer(
    cls=PlainHelpGroup,
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
    """Variational autoencoders for your own data: train, look, evaluate.

    Begin with `varied demo`, or with `varied train FOLDER`.
    """


for command, kind, panel in (
    (train.demo, PlainHelpCommand, "Train"),
    (train.train, SettingsCommand, "Train"),
    (show.sample, PlainHelpCommand, "Use a run"),
    (show.reconstruct, PlainHelpCommand, "Use a run"),
    (show.interpolate, PlainHelpCommand, "Use a run"),
    (show.traverse, PlainHelpCommand, "Use a run"),
    (edit.edit, PlainHelpCommand, "Use a run"),
    (edit.style, PlainHelpCommand, "Use a run"),
    (encode.encode, PlainHelpCommand, "Use a run"),
    (encode.classify, PlainHelpCommand, "Use a run"),
    (encode.neighbors, PlainHelpCommand, "Use a run"),
    (augment.augment, PlainHelpCommand, "Use a run"),
    (judge.detect, PlainHelpCommand, "Use a run"),
    (judge.impute, PlainHelpCommand, "Use a run"),
    (compress.compress, PlainHelpCommand, "Use a run"),
    (compress.decompress, PlainHelpCommand, "Use a run"),
    (update.update, PlainHelpCommand, "Train"),
    (fit_prior.fit_prior, SettingsCommand, "Train"),
    (evaluate.evaluate, PlainHelpCommand, "Measure"),
    (evaluate.compare, PlainHelpCommand, "Measure"),
    (listing.models, PlainHelpCommand, "Look around"),
    (explain.explain, PlainHelpCommand, "Look around"),
    (listing.data, PlainHelpCommand, "Look around"),
    (listing.runs, PlainHelpCommand, "Look around"),
    (listing.doctor, PlainHelpCommand, "Look around"),
):
    # The whole first sentence: what it is cut down to otherwise ends in the middle of one.
    said = str(command.__doc__).partition("\n")[0]
    app.command(cls=kind, rich_help_panel=panel, short_help=said)(command)
