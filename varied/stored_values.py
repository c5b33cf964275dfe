"""Check stored values, such as the JSON files of a run, against the types that a class declares.

A run may be damaged, or come from someone else. The type hints of a dataclass say what a file
contains, so each field is declared only once; a constructor checks how its fields are related.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import reprlib
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

from varied.errors import VariedError, suggest

T = TypeVar("T")

#: A value without parts.
Scalar = bool | int | float | str | None

_EXPECTED: dict[Any, str] = {
    bool: "true or false",
    int: "an integer of at most 64 bits",
    float: "a finite number",
    str: "text",
    tuple: "a list",
    dict: "a mapping",
}


class InvalidValue(VariedError):
    """An error for a stored value that is not valid.

    Arguments:
        where: The position of the value, such as ".columns[2].scale".
        reason: What is wrong with it.
        file: The file that contains the value.
    """

    def __init__(self, where: str, reason: str, file: Path | str = "A stored value") -> None:
        place = f"{where.lstrip('.')}: " if where else ""
        reason = " ".join(reason.split())
        super().__init__(f"{file} is not valid: {place}{reason}; restore the file or train again.")
        self.where, self.reason = where, reason


@contextmanager
def stored_in(file: Path | str, where: str = "") -> Iterator[None]:
    """Add the file, and the position in it, to the errors for stored values in the context.

    Arguments:
        file: The file from which the values are read.
        where: The position of the values in the file.

    Raises:
        VariedError: If a value is not valid, or causes any other exception.
    """
    try:
        yield
    except InvalidValue as error:
        raise InvalidValue(where + error.where, error.reason, file) from error.__cause__
    except VariedError:
        raise
    except Exception as error:  # values may be wrong in ways that no check anticipates
        raise InvalidValue(where, _describe(error), file) from error


def read_value(value: Any, type_: Any) -> Any:
    """Convert a value that was read from JSON or TOML to a type, and check it.

    Lists become tuples, and mappings become dataclasses, according to the type.

    Arguments:
        value: The value.
        type_: A type: bool, int, float, str, a dataclass, a `typing.TypedDict`, or a tuple, mapping
            or union of these. Values of all other types are not checked.

    Raises:
        VariedError: If the value does not have the type.

    Example:
        >>> read_value([1, 2], tuple[float, ...])
        (1.0, 2.0)
        >>> read_value([1, "a"], tuple[float, ...])
        Traceback (most recent call last):
        ...
        varied.stored_values.InvalidValue: A stored value is not valid: [1]: 'a' is not a finite
        number; restore the file or train again.
    """
    return _reader(type_)(value)


def read_fields(create: Callable[..., T], values: Any) -> T:
    """Call a class or function with arguments that were stored by name.

    Raises:
        VariedError: If a name is unknown, an argument is missing or has the wrong type, or the call
            raises an error.
    """
    parameters, types = _parameters(create)
    _require(isinstance(values, Mapping), values, _EXPECTED[dict])
    for name in values:
        if name not in parameters:
            hint = suggest(str(name), parameters).rstrip(".")
            raise InvalidValue(f".{name}", f"there is no such field ({hint})")
    for name, parameter in parameters.items():
        if name not in values and parameter.default is parameter.empty:
            raise InvalidValue(f".{name}", "it is missing")
    fields = _read_named(values, types)
    try:
        return create(**fields)
    except InvalidValue:
        raise
    except Exception as error:  # a codec that the user registered may raise any exception
        raise InvalidValue("", _describe(error)) from error


def read_variant(values: Any, key: str, find: Callable[[str], type[T]]) -> T:
    """Return the instance of the class that one of the stored values names.

    Arguments:
        values: The constructor arguments by name, and the name of the class.
        key: The key of the name of the class.
        find: A function that returns the class with a name, or raises a `VariedError`.

    Raises:
        VariedError: If there is no such class, or as in `read_fields`.
    """
    _require(isinstance(values, Mapping), values, _EXPECTED[dict])
    try:
        cls = find(_read_text(values.get(key, "")))
    except VariedError as error:
        reason = error.reason if isinstance(error, InvalidValue) else _describe(error)
        raise InvalidValue(f".{key}", reason) from error
    return read_fields(cls, {name: value for name, value in values.items() if name != key})


@functools.cache
def _parameters(
    create: Callable[..., Any],
) -> tuple[Mapping[str, inspect.Parameter], dict[str, Any]]:
    """Return the arguments of a class or function, and their types as far as they are known."""
    try:
        types = typing.get_type_hints(create)
    except NameError:  # a class that the user registered may refer to names that do not exist
        types = {}
    parameters = inspect.signature(create).parameters
    return parameters, {name: types.get(name, object) for name in parameters}


@functools.cache
def _reader(type_: Any) -> Callable[[Any], Any]:
    """Return the function that reads a value of a type."""
    origin, arguments = typing.get_origin(type_) or type_, typing.get_args(type_)
    if origin in (typing.Union, UnionType):
        return functools.partial(_read_union, arguments)
    if origin is tuple and arguments:
        return functools.partial(_read_items, arguments)
    if origin is list and arguments:
        return lambda value: list(_read_items((arguments[0], ...), value))
    if origin in (dict, Mapping) and arguments:
        return functools.partial(_read_mapping, arguments[1])
    if typing.is_typeddict(type_):
        return functools.partial(_read_keys, type_)
    if dataclasses.is_dataclass(type_):
        create: Any = type_
        return getattr(type_, "from_json", functools.partial(read_fields, create))
    readers = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_text}
    return readers.get(type_, _read_unchecked if type_ is Any else _read_unknown)


def _require(is_valid: bool, value: Any, expected: str) -> None:
    if not is_valid:
        raise InvalidValue("", f"{reprlib.repr(value)} is not {expected}")


def _read_unchecked(value: Any) -> Any:
    return value


def _read_unknown(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _read_bool(value: Any) -> bool:
    _require(isinstance(value, bool), value, _EXPECTED[bool])
    return bool(value)


def _read_int(value: Any) -> int:
    _require(type(value) is int and abs(value) < 2**63, value, _EXPECTED[int])
    return int(value)


def _read_float(value: Any) -> float:
    is_number = type(value) in (int, float) and abs(value) <= sys.float_info.max
    _require(is_number, value, _EXPECTED[float])
    return float(value)


def _read_text(value: Any) -> str:
    _require(isinstance(value, str), value, _EXPECTED[str])
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON may contain half of a surrogate pair
        _require(False, value, _EXPECTED[str])
    return str(value)


def _read_union(members: tuple[Any, ...], value: Any) -> Any:
    if value is None and NoneType in members:
        return None
    others = [member for member in members if member is not NoneType]
    if len(others) == 1:
        return read_value(value, others[0])
    for member in sorted(others, key=lambda member: member is not type(value)):
        try:
            return read_value(value, member)
        except InvalidValue:
            continue
    names = [_EXPECTED.get(typing.get_origin(m) or m, "valid") for m in others]
    _require(False, value, " or ".join(names))
    return None


def _read_items(types: tuple[Any, ...], values: Any) -> tuple[Any, ...]:
    _require(isinstance(values, list | tuple), values, _EXPECTED[tuple])
    if types[-1] is Ellipsis:
        types = types[:1] * len(values)
    _require(len(values) == len(types), values, f"a list of {len(types)} values")
    items: list[Any] = []
    try:
        for value, type_ in zip(values, types, strict=True):
            items.append(_reader(type_)(value))
    except InvalidValue as error:
        raise InvalidValue(f"[{len(items)}]{error.where}", error.reason) from error
    return tuple(items)


def _read_mapping(type_: Any, values: Any) -> dict[str, Any]:
    _require(isinstance(values, Mapping), values, _EXPECTED[dict])
    return _read_named(values, dict.fromkeys(values, type_))


def _read_keys(cls: Any, values: Any) -> dict[str, Any]:
    """Read the values of a mapping with the types of a `typing.TypedDict`; keep other keys."""
    _require(isinstance(values, Mapping), values, _EXPECTED[dict])
    for name in cls.__required_keys__ - values.keys():
        raise InvalidValue(f".{name}", "it is missing")
    return _read_named(values, typing.get_type_hints(cls))


def _read_named(values: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        try:
            result[_read_text(name)] = _reader(types.get(name, Any))(value)
        except InvalidValue as error:
            raise InvalidValue(f".{name}{error.where}", error.reason) from error
    return result


def _describe(error: Exception) -> str:
    """Return the cause of an error without the remedy, since the remedy is to restore the file."""
    if not isinstance(error, VariedError):
        return f"{type(error).__name__} ({error})"
    text, _, hint = str(error).partition("; ")[0].rstrip(".").partition(": ")
    return text[:1].lower() + text[1:] + (f" ({hint})" if hint else "")
