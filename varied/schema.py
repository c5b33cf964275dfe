"""A constructor's signature is its configuration: names, types, defaults and help are read off it.

Flags of the command, keys of TOML files and the tables of the docs all come from here. What has no
default is a noun that `varied.spec.compose` supplies (a shape, a width of context); what has one is
a setting.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from varied.errors import VariedError, suggest
from varied.schedules import Number, Schedule, parse_number

__all__ = ["Setting", "settings", "summary", "validate_settings"]


@dataclass(frozen=True)
class Setting:
    """One setting of a part: its name, type, default and a line of help."""

    name: str
    type: Any
    default: object
    help: str

    def read(self, value: object) -> object:
        """Return a plain value as the constructor takes it.

        Raises:
            VariedError: If the value has the wrong type; the message names the setting.
        """
        readers = (_READERS[t] for t in _members(self.type) if t in _READERS)
        for reader in readers:
            try:
                return reader(value)
            except VariedError:
                raise
            except (TypeError, ValueError):
                continue
        raise VariedError(f"{self.name}={value!r} is not {_spoken(self.type)}.")


def settings(part: Callable[..., Any]) -> dict[str, Setting]:
    """Return the settings of a part by name.

    Example:
        >>> def net(inputs, *, width: int = 512): "A net."
        >>> settings(net)["width"].default
        512
    """
    part = inspect.unwrap(part)
    signature = inspect.signature(part)
    hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
    helps = _argument_help(part)
    return {
        name: Setting(name, hints.get(name, str), p.default, helps.get(name, ""))
        for name, p in signature.parameters.items()
        if p.default is not inspect.Parameter.empty
    }


def validate_settings(
    part: Callable[..., Any], values: Mapping[str, object], what: str
) -> dict[str, Any]:
    """Return values as the part takes them; an unknown name or a wrong type is refused.

    Arguments:
        part: A class or function.
        values: Plain values by name.
        what: How to call the part in a message, such as ``likelihood 'gaussian'``.

    Raises:
        VariedError: Naming the nearest setting, or the type that was expected.
    """
    known = settings(part)
    for name in values:
        if name not in known:
            hint = suggest(name, known) if known else "it has no settings."
            raise VariedError(f"The {what} has no setting '{name}': {hint}")
    return {name: known[name].read(value) for name, value in values.items()}


def summary(part: Callable[..., Any]) -> str:
    """Return the first line of a part's docstring."""
    return (inspect.getdoc(inspect.unwrap(part)) or "").partition("\n")[0]


def _argument_help(part: object) -> dict[str, str]:
    section = re.search(r"Arguments:\n(.*?)(\n\n|\Z)", inspect.getdoc(part) or "", re.S)
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def _members(kind: Any) -> Iterable[Any]:
    if kind == Number:
        return (Number,)
    if typing.get_origin(kind) in (typing.Union, type(int | str)):
        return typing.get_args(kind)
    return (kind,)


def _whole(value: Any) -> int:
    try:
        return int(str(value))  # as it is: a float would lose the digits of a large seed
    except ValueError:
        if not _real(value).is_integer():
            raise
        return int(_real(value))


def _real(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def _yes(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _nothing(value: Any) -> None:
    if value not in (None, "none", ""):
        raise ValueError(value)


def _wholes(value: Any) -> tuple[int, ...]:
    parts = str(value).strip("()[]").split(",") if isinstance(value, str) else value
    return tuple(_whole(part) for part in parts if str(part).strip())


_READERS: dict[Any, Callable[[Any], object]] = {
    type(None): _nothing,
    bool: _yes,
    int: _whole,
    float: _real,
    Number: parse_number,
    Schedule: parse_number,
    tuple[int, ...]: _wholes,
    str: str,
}

_SPOKEN = {
    bool: "yes or no",
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple[int, ...]: "a list of whole numbers such as 32,64",
    type(None): "none",
}


def _spoken(kind: Any) -> str:
    return " or ".join(_SPOKEN.get(member, str(member)) for member in _members(kind))
