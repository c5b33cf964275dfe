"""Read the settings of a part from its signature: names, types, defaults and descriptions.

Command-line flags, TOML keys and the tables in the documentation are derived from these settings. A
parameter with a default value is a setting; a parameter without one, such as a shape, is supplied
by `varied.composition.compose`.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from varied.errors import VariedError, suggest
from varied.schedules import Number, Schedule, parse_number


@dataclass(frozen=True)
class Setting:
    """A setting of a part: its name, type, default and description."""

    name: str
    type: Any
    default: object
    description: str

    def parse(self, value: object) -> object:
        """Convert a value, such as a string from the command line, to the type of the setting.

        Raises:
            VariedError: If the value cannot be converted.
        """
        members = _union_members(self.type)
        for parser, _ in (_TYPES[member] for member in members if member in _TYPES):
            try:
                return parser(value)
            except VariedError:
                raise
            except (TypeError, ValueError, KeyError):
                continue
        expected = " or ".join(_TYPES[m][1] if m in _TYPES else str(m) for m in members)
        raise VariedError(f"{self.name}={value!r} must be {expected}.")


@functools.lru_cache(maxsize=512)
def settings(part: Callable[..., Any]) -> Mapping[str, Setting]:
    """Return the settings of a class or function by name.

    Example:
        >>> def net(inputs, *, width: int = 512): "A network."
        >>> settings(net)["width"].default
        512
    """
    part = inspect.unwrap(part)
    signature = inspect.signature(part)
    types = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
    descriptions = _argument_descriptions(part)
    result = {
        name: Setting(name, types.get(name, str), p.default, descriptions.get(name, ""))
        for name, p in signature.parameters.items()
        if p.default is not inspect.Parameter.empty
    }
    return MappingProxyType(result)


def validate_settings(
    part: Callable[..., Any], values: Mapping[str, object], kind: str
) -> dict[str, Any]:
    """Convert values to the types in the signature of a part.

    Arguments:
        part: A class or function.
        values: The values by name.
        kind: The name of the part for the error message, such as "likelihood 'gaussian'".

    Raises:
        VariedError: If the part has no such setting, or a value cannot be converted.
    """
    known = settings(part)
    for name in values:
        if name not in known:
            hint = suggest(name, known) if known else "it has no settings."
            raise VariedError(f"The {kind} has no setting '{name}': {hint}")
    return {name: known[name].parse(value) for name, value in values.items()}


def summary(part: Callable[..., Any]) -> str:
    """Return the first line of a docstring, without a leading "Return"."""
    line = (inspect.getdoc(inspect.unwrap(part)) or "").partition("\n")[0].removeprefix("Return ")
    return line[:1].upper() + line[1:]


def _argument_descriptions(part: object) -> dict[str, str]:
    section = re.search(r"Arguments:\n(.*?)(\n\n|\Z)", inspect.getdoc(part) or "", re.S)
    arguments = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in arguments}


def _union_members(type_: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(type_) in (typing.Union, type(int | str))
    return typing.get_args(type_) if is_union and type_ != Number else (type_,)


def _parse_int(value: Any) -> int:
    try:
        return int(str(value))  # not via float, which would round large seeds
    except ValueError:
        if not _parse_float(value).is_integer():
            raise
        return int(_parse_float(value))


def _parse_float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    return float(value)


def _parse_bool(value: Any) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
        str(value).lower()
    ]


def _parse_none(value: Any) -> None:
    if value not in (None, "none", ""):
        raise ValueError(value)


def _parse_ints(value: Any) -> tuple[int, ...]:
    items = str(value).strip("()[]").split(",") if isinstance(value, str) else value
    return tuple(_parse_int(item) for item in items if str(item).strip())


#: The parser for each type, and the name of the type in error messages.
_TYPES: dict[Any, tuple[Callable[[Any], object], str]] = {
    type(None): (_parse_none, "none"),
    bool: (_parse_bool, "yes or no"),
    int: (_parse_int, "an integer"),
    float: (_parse_float, "a number"),
    Number: (parse_number, "a number or a schedule"),
    Schedule: (parse_number, "a schedule"),
    tuple[int, ...]: (_parse_ints, "a list of integers such as 32,64"),
    str: (str, "a string"),
}
