"""The report: one HTML file with everything inside, for any browser, a mail or paper."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from io import BytesIO
from pathlib import Path
from string import Template

from PIL import Image

from varied.atomic_io import atomic_write
from varied.errors import lookup
from varied.plots.style import StrPath
from varied.report.blocks import Fact, Figure, Sentence, Table

__all__ = ["write_report"]

KINDS = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}


def write_report(
    folder: StrPath,
    *,
    title: str,
    sentences: Sequence[Sentence] = (),
    facts: Sequence[Fact] = (),
    tables: Sequence[Table] = (),
    figures: Sequence[Figure] = (),
    path: StrPath = "report.html",
) -> Path:
    """Write a run's report as one HTML file that needs no script and no network.

    Arguments:
        folder: The run's folder, where the figures are.
        title: The heading of the page.
        sentences: What was understood and chosen, and what to beware of.
        facts: The numbers for the top.
        tables: More numbers.
        figures: The pictures, in their order; a GIF stands still for a person who wants it so.
        path: The file to write, relative to the folder.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If a figure is not in the folder.
        VariedError: If a figure is of a kind that a browser does not show.
    """
    folder = Path(folder)
    page = Template(resources.files("varied.report").joinpath("template.html").read_text("utf-8"))
    text = page.substitute(
        title=escape(title),
        facts=_facts(facts),
        sentences=_sentences(sentences),
        figures=_section("Pictures", [_figure(folder, figure) for figure in figures]),
        tables=_section("Numbers", [_table(table) for table in tables]),
    )
    return atomic_write(folder / path, text)


def _section(title: str, parts: Sequence[str]) -> str:
    return f"<section>\n<h2>{title}</h2>\n{''.join(parts)}</section>\n" if parts else ""


def _facts(facts: Sequence[Fact]) -> str:
    boxes = [
        f'<div class="fact"><dt>{escape(fact.name)}</dt><dd class="value">{_value(fact.value)}</dd>'
        + (f'<dd class="aside">{escape(fact.note)}</dd>' if fact.note else "")
        + "</div>\n"
        for fact in facts
    ]
    return f'<dl class="facts">\n{"".join(boxes)}</dl>\n' if boxes else ""


def _value(text: str) -> str:
    """Return a number large and what follows it (its error, its unit) small."""
    found = re.match(r"[-−+]?[\d.,]+%?", text)
    cut = found.end() if found else len(text)
    rest = escape(text[cut:].strip())
    return f"<strong>{escape(text[:cut])}</strong>" + (f" <small>{rest}</small>" if rest else "")


def _sentences(sentences: Sequence[Sentence]) -> str:
    marks = {"warning": '<strong class="mark">Warning</strong> '}
    ordered = sorted(sentences, key=lambda sentence: sentence.kind != "warning")
    lines = [
        f'<li class="{escape(sentence.kind)}">{marks.get(sentence.kind, "")}'
        f"{escape(sentence.text)}</li>\n"
        for sentence in ordered
    ]
    return _section(
        "What was understood and chosen", [f"<ul>\n{''.join(lines)}</ul>\n"] * any(lines)
    )


def _figure(folder: Path, figure: Figure) -> str:
    file = folder / figure.file
    picture = _picture(file, figure.alt)
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    return f"<figure>\n<h3>{escape(figure.title)}</h3>\n{picture}\n{caption}</figure>\n"


def _picture(file: Path, alt: str) -> str:
    kind = lookup(KINDS, file.suffix.lower(), "kind of picture")
    content = file.read_bytes()
    size = "" if kind == "image/svg+xml" else _size(content)
    image = f'<img src="{_embed(content, kind)}" alt="{escape(alt)}"{size}>'
    if kind != "image/gif":
        return image
    still = _embed(_last_frame(content), "image/png")
    quiet = f'<source media="(prefers-reduced-motion: reduce), print" srcset="{still}">'
    return f"<picture>{quiet}{image}</picture>"


def _embed(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _size(content: bytes) -> str:
    with Image.open(BytesIO(content)) as image:
        return f' width="{image.width}" height="{image.height}"'


def _last_frame(content: bytes) -> bytes:
    file = BytesIO()
    with Image.open(BytesIO(content)) as film:
        film.seek(getattr(film, "n_frames", 1) - 1)
        film.convert("RGB").save(file, "PNG", optimize=True)
    return file.getvalue()


def _table(table: Table) -> str:
    columns = [[row[index] for row in table.rows] for index in range(1, len(table.header))]
    aligned = ["", *map(_aligned, columns)]
    head = "".join(
        f'<th scope="col"{side}>{escape(str(name))}</th>'
        for name, side in zip(table.header, aligned, strict=True)
    )
    rows = "".join(f"<tr>{_row(row, aligned)}</tr>\n" for row in table.rows)
    note = f'<p class="aside">{escape(table.note)}</p>\n' if table.note else ""
    title = escape(table.title)
    # A wide table scrolls in a box of its own; the box takes the focus, so that keys can scroll it.
    return (
        f'<h3>{title}</h3>\n<div class="wide" role="region" aria-label="{title}" tabindex="0">'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{note}"
    )


def _aligned(column: Sequence[object]) -> str:
    """Return the mark of a column of words: numbers stand at the right, words at the left."""
    numbers = all(re.match(r"[-−+–—]?[\d.,]*(\W|$)", str(cell)) for cell in column)
    return "" if numbers else ' class="words"'


def _row(row: Sequence[object], aligned: Sequence[str]) -> str:
    first, *rest = [escape(str(cell)).replace(" ± ", "\u00a0±\u00a0") for cell in row]
    cells = [f"<td{side}>{cell}</td>" for cell, side in zip(rest, aligned[1:], strict=True)]
    return f'<th scope="row">{first}</th>{"".join(cells)}'
