"""The card: a README for a model's folder that says what it is, how good, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from varied.atomic_io import atomic_write
from varied.plots.style import StrPath
from varied.report.blocks import Fact, Figure, Table

__all__ = ["write_card"]


def write_card(
    folder: StrPath,
    *,
    title: str,
    summary: str,
    data: str,
    training: str,
    python: str,
    shell: str,
    facts: Sequence[Fact] = (),
    tables: Sequence[Table] = (),
    figures: Sequence[Figure] = (),
    limits: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
    path: StrPath = "README.md",
) -> Path:
    """Write a model's card in Markdown.

    Arguments:
        folder: The run's folder.
        title: The heading.
        summary: What the model is, in a sentence or two.
        data: What it was trained on, and how that was split.
        training: How it was trained: model, objective, steps, time, device, seed.
        python: How to use it in Python, about three lines.
        shell: How to use it in the shell.
        facts: The numbers, with their standard errors and what n they rest on.
        tables: More numbers.
        figures: Pictures, linked by their names in the folder.
        limits: What it does not do and should not be used for, a sentence each.
        versions: The versions of the software that made it.
        path: The file to write, relative to the folder.

    Returns:
        The path.
    """
    numbers = Table("", ("", "value", ""), [(fact.name, fact.value, fact.note) for fact in facts])
    parts = [
        "---\nlibrary_name: varied\ntags:\n- variational-autoencoder\n---",
        f"# {_plain(title)}\n\n{_plain(summary)}",
        f"## Data\n\n{_plain(data)}",
        f"## Training\n\n{_plain(training)}",
        f"## Numbers\n\n{_table(numbers)}" if facts else "",
        *[f"### {_plain(table.title)}\n\n{_table(table)}" for table in tables],
        f"## Use\n\n{_code(python, 'python')}\n\n{_code(shell, 'sh')}",
        *[_figure(figure) for figure in figures],
        _list("Limits", limits),
        _list("Versions", [f"{name} {version}" for name, version in (versions or {}).items()]),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return atomic_write(Path(folder) / path, text)


def _plain(text: object) -> str:
    """Return text that Markdown shows as it is: names of files and classes may hold any sign."""
    return re.sub(r"([\\`*_\[\]<>|#~&$!])", r"\\\1", " ".join(str(text).split()))


def _code(text: str, language: str) -> str:
    """Return a block of code behind a fence that is longer than any within it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def _table(table: Table) -> str:
    rows = [table.header, ["---", *["---:"] * (len(table.header) - 1)], *table.rows]
    cells = [
        [str(cell) if index == 1 else _plain(cell) for cell in row]
        for index, row in enumerate(rows)
    ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    return f"{lines}\n\n{_plain(table.note)}" if table.note else lines


def _figure(figure: Figure) -> str:
    caption = f"\n\n{_plain(figure.caption)}" if figure.caption else ""
    return f"### {_plain(figure.title)}\n\n![{_plain(figure.alt)}]({quote(figure.file)}){caption}"


def _list(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {_plain(line)}" for line in lines) if lines else ""
