"""The application `varied`, with its commands in the order of `varied --help`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from varied import __version__
from varied.cli import console
from varied.cli.augment import augment
from varied.cli.classify import classify
from varied.cli.compare import compare
from varied.cli.compress import compress
from varied.cli.data import data
from varied.cli.decompress import decompress
from varied.cli.demo import demo
from varied.cli.detect import detect
from varied.cli.doctor import doctor
from varied.cli.edit import edit
from varied.cli.encode import encode
from varied.cli.evaluate import evaluate
from varied.cli.explain import explain
from varied.cli.export import export
from varied.cli.fit_prior import fit_prior
from varied.cli.flags import PlainHelpCommand, PlainHelpGroup, SettingsCommand
from varied.cli.impute import impute
from varied.cli.interpolate import interpolate
from varied.cli.models import models
from varied.cli.neighbors import neighbors
from varied.cli.optimize import optimize
from varied.cli.options import with_raw_csv
from varied.cli.reconstruct import reconstruct
from varied.cli.runs import runs
from varied.cli.sample import sample
from varied.cli.studio import serve, studio
from varied.cli.style import style
from varied.cli.train import train
from varied.cli.traverse import traverse
from varied.cli.update import update
from varied.cli.verify import verify

COMMANDS: dict[str, list[Callable[..., None]]] = {
    "Train": [demo, train, update, fit_prior],
    "Generate": [sample, reconstruct, interpolate, traverse, style, edit, optimize, augment],
    "Analyze": [encode, neighbors, classify, detect, impute],
    "Compress and export": [compress, decompress, export],
    "Evaluate": [evaluate, compare],
    "Explore": [studio, serve],
    "Look up": [models, explain, data, runs, verify, doctor],
}

app = typer.Typer(
    cls=PlainHelpGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_set: bool) -> None:
    if is_set:
        console.show(f"varied {__version__}")
        raise typer.Exit


@app.callback()
def varied(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print the traceback if an error occurs.")
    ] = False,
    imports: Annotated[
        str | None,
        typer.Option(
            "--import",
            metavar="FILE",
            help="Before running the command, import a Python file or module that registers parts.",
        ),
    ] = None,
) -> None:
    """Train and use variational autoencoders on your own data.

    Start with `varied demo`, or with `varied train FOLDER`.
    """
    console.show_data_warnings()


for _panel, _functions in COMMANDS.items():
    for _function in _functions:
        _settings = _function in (train, fit_prior)
        _writes_tables = _panel in ("Generate", "Analyze") or _function is decompress
        app.command(
            cls=SettingsCommand if _settings else PlainHelpCommand,
            rich_help_panel=_panel,
            # The whole first line, since typer would truncate it.
            short_help=str(_function.__doc__).partition("\n")[0],
        )(with_raw_csv(_function) if _writes_tables else _function)
