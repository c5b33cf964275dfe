"""Flags: help in groups, and any setting of any part as a flag of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup

from varied.errors import VariedError, suggest

__all__ = [
    "SETTINGS",
    "PlainHelpCommand",
    "PlainHelpGroup",
    "SettingsCommand",
    "columns_of",
    "in_flags",
    "plain",
    "size_of",
]

#: Where an open command leaves the settings that it has no option for.
SETTINGS = "varied.settings"


class PlainHelpCommand(TyperCommand):
    """A command whose help is plain text in groups: it comes at once, on any terminal."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options, under the headings that they name."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not getattr(param, "hidden", False):
                groups.setdefault(_heading(param), []).append((_name(param), _help(param)))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class PlainHelpGroup(TyperGroup):
    """The commands under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line for each command."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            groups.setdefault(str(panel), []).append((name, command.get_short_help_str(66)))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands first."""
        self.format_commands(ctx, formatter)
        PlainHelpCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]


class SettingsCommand(PlainHelpCommand):
    """A command that takes any setting of any part as a flag; an unknown one is refused early."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take out the flags that are settings, and leave them in the context."""
        known = {opt for param in self.get_params(ctx) for opt in param.opts}
        rest, ctx.meta[SETTINGS] = split_settings(args, known)
        return super().parse_args(ctx, rest)


def _heading(param: Any) -> str:
    is_argument = param.param_type_name == "argument"
    return getattr(param, "rich_help_panel", None) or ("Give" if is_argument else "Options")


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    names = ", ".join([*param.opts, *param.secondary_opts])
    return names if param.is_flag else f"{names} {param.metavar or 'VALUE'}"


def _help(param: Any) -> str:
    text = param.help or ""
    if param.default is None or param.default is False:
        return text
    return f"{text.rstrip('.')} [{param.default}]."


def split_settings(args: list[str], known: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments that a command knows, and the settings among the rest.

    Raises:
        VariedError: If a flag is neither, or lacks its value.
    """
    rest: list[str] = []
    found: dict[str, str] = {}
    waiting = list(args)
    while waiting:
        word = waiting.pop(0)
        flag, equals, value = word.partition("=")
        if word == "--":
            return [*rest, word, *waiting], found
        if not word.startswith("--") or flag in known:
            rest.append(word)
            continue
        name = _setting(flag, known)
        if not equals and (not waiting or waiting[0].startswith("--")):
            raise VariedError(f"{flag} needs a value: {flag} VALUE.")
        found[name] = value if equals else waiting.pop(0)
    return rest, found


def _setting(flag: str, known: Iterable[str]) -> str:
    name = flag.removeprefix("--").replace("-", "_")
    everywhere = _everywhere()
    if name not in everywhere:
        flags = [*known, *(_flag(n) for n in everywhere if "." not in n or "." in name)]
        hint = suggest(flag, dict.fromkeys(flags))
        near = hint if hint.startswith("did") else "`varied models --parts` lists all settings."
        raise VariedError(f"There is no flag {flag}: {near.replace(chr(39), '')}")
    return name


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _everywhere() -> dict[str, list[str]]:
    """Return each setting of any part, alone and behind its axis, with the parts that have it."""
    from varied.schema import settings
    from varied.spec import AXES, Plan

    found: dict[str, list[str]] = {name: [] for name in settings(Plan)}
    for axis, parts in AXES.items():
        for part, build in parts.items():
            for name in settings(build):
                found.setdefault(name, []).append(f"--{axis} {part}")
                found.setdefault(f"{axis}.{name}", []).append(f"--{axis} {part}")
    return found


def _axes() -> list[str]:
    from varied.spec import AXES

    return list(AXES)


def in_flags(text: str, flags: Mapping[str, Any]) -> str:
    """Return a sentence about settings in the words of the command: `--latent 8`, not `latent=8`.

    Arguments:
        text: What the library says.
        flags: The names of the command's own options.
    """
    everywhere = _everywhere()
    missing = re.match(r"Nothing here has a setting '([\w.]+)'", text)
    if missing and everywhere.get(missing[1]):
        owners = ", ".join(dict.fromkeys(everywhere[missing[1]]))
        return (
            f"{_flag(missing[1])} is a setting of {owners}; choose one of these, or leave it out."
        )
    if text.startswith("Give one of minutes"):
        return re.sub(r"\b(minutes|epochs|steps)\b", r"--\1", text)
    if text.startswith("Several parts have"):
        return re.sub(r"\b(\w+\.\w+)", lambda m: _flag(m[1]), text)
    known = {*flags, *everywhere, *_axes()}
    return re.sub(
        r"(?<![(,] )(?<!\()\b([a-z][a-z_.]*)=('[^']*'|[-\w.]*\w|)",
        lambda m: _spoken(m, known),
        text,
    )


def _spoken(found: re.Match[str], known: set[str]) -> str:
    if found[1] not in known:
        return found[0]
    return f"{_flag(found[1])} {found[2].strip(chr(39))}".rstrip()


def plain(text: str) -> int | float | str:
    """Read a word as the number that it is, so that a spec reads as if it were written by hand.

    Example:
        >>> plain("5"), plain("0.5"), plain("each")
        (5, 0.5, 'each')
    """
    for reader in (int, float):
        try:
            return reader(text)
        except ValueError:
            continue
    return text


def size_of(text: str | None) -> int | tuple[int, int] | None:
    """Read a size: 64, or 48x64 for height and width.

    Raises:
        VariedError: If it is neither.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text)
    if not found:
        raise VariedError(
            f"--image-size {text} is no size: write --image-size 64, or --image-size 48x64 (height x width)."
        )
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])


def columns_of(text: str) -> dict[str, str]:
    """Read what columns are: zip=category,id=ignore.

    Raises:
        VariedError: If a word has no equals sign.

    Example:
        >>> columns_of("zip=category,id=ignore")
        {'zip': 'category', 'id': 'ignore'}
    """
    found = {}
    for word in text.split(","):
        name, equals, kind = word.rpartition("=")
        if not equals:
            raise VariedError(
                f"--columns {text}: write NAME=KIND, as in --column-types zip=category."
            )
        found[name] = kind
    return found
