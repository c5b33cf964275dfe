"""Plain-text help in groups, and settings of parts and of data as command-line options."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from varied.errors import VariedError, suggest

#: The key of `Context.meta` for the settings that a `SettingsCommand` does not declare.
SETTINGS = "varied.settings"


class PlainHelpCommand(TyperCommand):
    """A command with plain-text help in groups, which requires no slow imports."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, with optional arguments in brackets."""
        arguments = [p for p in self.get_params(ctx) if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(_names(p) if p.required else f"[{_names(p)}]" for p in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not getattr(param, "hidden", False):
                groups.setdefault(_heading(param), []).append((_names(param), _help(param)))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class PlainHelpGroup(TyperGroup):
    """A group of commands that lists them under headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one line per command."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            groups.setdefault(str(panel), []).append((name, command.get_short_help_str(66)))
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        PlainHelpCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a built-in command, or the command of a registered operation on runs."""
        from varied.cli.use import use_command

        return super().get_command(ctx, cmd_name) or use_command(cmd_name)


class SettingsCommand(PlainHelpCommand):
    """A command that accepts every setting of every part as an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Store the settings in the context, and parse the other arguments."""
        options = {name for param in self.get_params(ctx) for name in param.opts}
        rest, ctx.meta[SETTINGS] = split_settings(args, options)
        return super().parse_args(ctx, rest)


def _heading(param: Any) -> str:
    is_argument = param.param_type_name == "argument"
    return getattr(param, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    # Sorted, since click stores the names of --help in a set.
    names = ", ".join([*sorted(param.opts, key=len), *param.secondary_opts])
    return names if param.is_flag else f"{names} {param.metavar or 'VALUE'}"


def _help(param: Any) -> str:
    text = param.help or ""
    if param.default is None or isinstance(param.default, bool):
        return text
    return f"{text.rstrip('.')} [default: {param.default}]."


def split_settings(args: list[str], options: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Separate the settings of parts from the other arguments of a command.

    Raises:
        VariedError: If an option is unknown or has no value.
    """
    rest: list[str] = []
    values: dict[str, str] = {}
    remaining = list(args)
    while remaining:
        word = remaining.pop(0)
        flag, equals, value = word.partition("=")
        if word == "--":
            return [*rest, word, *remaining], values
        if not word.startswith("--") or flag in options:
            rest.append(word)
            continue
        name = _setting(flag, options)
        if not equals and (not remaining or remaining[0].startswith("--")):
            raise VariedError(f"{flag} requires a value; use {flag} VALUE.")
        values[name] = value if equals else remaining.pop(0)
    return rest, values


def _setting(flag: str, options: Iterable[str]) -> str:
    name = flag.removeprefix("--").replace("-", "_")
    known = _settings_with_owners()
    if name not in known:
        flags = [*options, *(_flag(n) for n in known if "." not in n or "." in name)]
        hint = suggest(flag, dict.fromkeys(flags))
        remedy = hint if hint.startswith("did") else "see `varied models --parts`."
        raise VariedError(f"There is no option {flag}: {remedy.replace(chr(39), '')}")
    return name


def _flag(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


def _settings_with_owners() -> dict[str, list[str]]:
    """Return the parts that have each setting, with the keys "setting" and "axis.setting".

    The options of the data codecs are included; they belong to no part.
    """
    from varied.data.codecs import CODECS
    from varied.data.codecs.options import option_names
    from varied.registry import load_entry_points
    from varied.schema import settings
    from varied.spec import TABLES, Plan

    load_entry_points()
    owners: dict[str, list[str]] = {name: [] for name in settings(Plan)}
    for codec in CODECS.values():
        owners |= {name: [] for name in (*codec.reading_option_names, *option_names(codec.fit))}
    for axis, parts in TABLES.items():
        for part, build in parts.items():
            for name in settings(build):
                owners.setdefault(name, []).append(f"--{axis} {part}")
                owners.setdefault(f"{axis}.{name}", []).append(f"--{axis} {part}")
    return owners


def in_flags(text: str, options: Iterable[str]) -> str:
    """Rewrite the arguments in a message of the library as command-line options.

    For example, `latent=8` becomes `--latent 8`.

    Arguments:
        text: The message.
        options: The names of the declared options.
    """
    from varied.spec import TABLES

    owners = _settings_with_owners()
    unknown = re.match(r"No part has a setting (?:named )?'([\w.]+)'", text)
    if unknown and owners.get(unknown[1]):
        parts = ", ".join(dict.fromkeys(owners[unknown[1]]))
        return (
            f"{_flag(unknown[1])} is a setting of {parts}; choose one of them, or omit the option."
        )
    if "one of epochs and steps" in text:
        return re.sub(r"\b(epochs|steps)\b", r"--\1", text)
    if text.startswith("Several parts have"):
        return re.sub(r"\b(\w+\.\w+)", lambda m: _flag(m[1]), text)
    names = {*options, *owners, *TABLES}

    def replace(match: re.Match[str]) -> str:
        if match[1] not in names:
            return match[0]
        return f"{_flag(match[1])} {match[2].strip(chr(39))}".rstrip()

    return re.sub(r"(?<![(,] )(?<!\()\b([a-z][a-z_.]*)=('[^']*'|[-\w.]*\w|)", replace, text)


def parse_value(text: str) -> int | float | str:
    """Return a word as a number if possible, and unchanged otherwise.

    Example:
        >>> parse_value("5"), parse_value("0.5"), parse_value("learned")
        (5, 0.5, 'learned')
    """
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """Parse an image size, such as 64, or 48x64 for height and width.

    Raises:
        VariedError: If the text is not a size.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text)
    if not match:
        raise VariedError(
            f"--image-size {text} is not a size; use --image-size 64, or --image-size 48x64 "
            "(height x width)."
        )
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])


def parse_column_types(text: str) -> dict[str, str]:
    """Parse a list of column types, such as ``zip=category,id=ignore``.

    Raises:
        VariedError: If an entry has no equals sign.

    Example:
        >>> parse_column_types("zip=category,id=ignore")
        {'zip': 'category', 'id': 'ignore'}
    """
    types = {}
    for entry in text.split(","):
        name, equals, kind = entry.rpartition("=")
        if not equals:
            raise VariedError(
                f"--column-types {text} contains an entry without a type; use NAME=TYPE, such as "
                "--column-types zip=category."
            )
        types[name] = kind
    return types
