"""Commands for registered operations on runs, with options from their keyword arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from varied.cli.options import RunName, Source, option, save, with_raw_csv
from varied.cli.paths import open_run
from varied.errors import VariedError


def use_command(name: str) -> Any:
    """Return the command of a registered operation on runs, or None.

    The arguments are RUN and SOURCE; the options are the keyword arguments of the function, and
    ``--out``.
    """
    from varied.cli.flags import PlainHelpCommand
    from varied.registry import load_entry_points
    from varied.runs.uses import USES

    load_entry_points()
    function = USES.get(name.replace("-", "_"))
    if function is None:
        return None
    app = typer.Typer(rich_markup_mode=None)
    app.command(name, cls=PlainHelpCommand)(with_raw_csv(_wrap(name, function)))
    return typer.main.get_command(app)


def _wrap(name: str, function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that opens the run, performs the operation and saves the result."""

    def command(**values: Any) -> None:
        run, source, out = values.pop("run"), values.pop("source", None), values.pop("out")
        save(function(open_run(run), source, **values), out, name, f"the result of {name}")

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("run", keyword, annotation=RunName),
        inspect.Parameter("source", keyword, annotation=Source, default=None),
    ]
    for parameter in list(inspect.signature(function, eval_str=True).parameters.values())[2:]:
        if parameter.default is parameter.empty:
            raise VariedError(
                f"The operation '{name}' cannot be a command, since its argument "
                f"'{parameter.name}' has no default; add one."
            )
        given: Any = parameter.annotation
        given = type(parameter.default) if given is parameter.empty else given
        setting = option("VALUE", "Setting of this operation.")
        parameters.append(parameter.replace(kind=keyword, annotation=Annotated[given, setting]))
    out = Annotated[Path | None, option("FILE", "Output file.")]
    parameters.append(inspect.Parameter("out", keyword, annotation=out, default=None))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = inspect.getdoc(function)
    return command
