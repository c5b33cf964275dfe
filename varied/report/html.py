"""Write the report of a run as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path
from string import Template

from PIL import Image, ImageSequence

from varied.atomic_io import atomic_write
from varied.errors import VariedError, printable
from varied.plots.style import StrPath
from varied.report.blocks import Fact, Figure, Note, Table


def write_report(
    folder: StrPath,
    *,
    title: str,
    notes: Sequence[Note] = (),
    facts: Sequence[Fact] = (),
    tables: Sequence[Table] = (),
    figures: Sequence[Figure] = (),
    path: StrPath = "report.html",
) -> Path:
    """Write a report as a single HTML file that requires no scripts and no network access.

    Arguments:
        folder: The run folder, which contains the figures.
        title: The heading of the page.
        notes: The sentences about the data and the settings, including warnings.
        facts: The key results, shown at the top of the page.
        tables: The additional results.
        figures: The figures, in order. In print, and for readers who prefer reduced motion, an
            animation is replaced by its last frame.
        path: The file to write, relative to the folder.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If a figure is not in the folder.
        VariedError: If a figure is not an image file.
    """
    folder = Path(folder)
    page = Template(resources.files("varied.report").joinpath("template.html").read_text("utf-8"))
    text = page.substitute(
        title=_escape(title),
        facts=_wrap("dl", "".join(map(_fact, facts)), ' class="facts"'),
        notes=_section("Notes", _notes(notes)),
        figures=_section("Figures", "".join(_figure(folder, figure) for figure in figures)),
        tables=_section("Tables", "".join(map(_table, tables))),
    )
    return atomic_write(folder / path, text)


def _escape(text: object) -> str:
    """Return a text with the characters of markup escaped, and without control characters."""
    return html.escape(printable(text))


def _wrap(tag: str, content: str, attributes: str = "") -> str:
    """Return an element with its content on separate lines, or "" if the content is empty."""
    return f"<{tag}{attributes}>\n{content}</{tag}>\n" if content else ""


def _section(title: str, content: str) -> str:
    return _wrap("section", content and f"<h2>{title}</h2>\n{content}")


def _fact(fact: Fact) -> str:
    number, _, rest = fact.value.partition(" ")  # the error and the unit are in a smaller font
    small = f" <small>{_escape(rest)}</small>" if rest else ""
    note = f'<dd class="note">{_escape(fact.note)}</dd>' if fact.note else ""
    return (
        f'<div class="fact"><dt>{_escape(fact.name)}</dt><dd class="value">'
        f"<strong>{_escape(number)}</strong>{small}</dd>{note}</div>\n"
    )


def _notes(notes: Sequence[Note]) -> str:
    ordered = sorted(notes, key=lambda note: not note.is_warning)
    return _wrap("ul", "".join(map(_note, ordered)))


def _note(note: Note) -> str:
    if note.is_warning:
        mark = '<strong class="mark">Warning</strong>'
        return f'<li class="warning">{mark} {_escape(note.text)}</li>\n'
    return f"<li>{_escape(note.text)}</li>\n"


def _figure(folder: Path, figure: Figure) -> str:
    image = _image(folder / figure.file, figure.alt)
    caption = f"<figcaption>{_escape(figure.caption)}</figcaption>" if figure.caption else ""
    audio = _audio(folder / figure.audio, figure.title) if figure.audio else ""
    return f"<figure>\n<h3>{_escape(figure.title)}</h3>\n{image}\n{audio}{caption}</figure>\n"


def _audio(file: Path, title: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    source = f"data:audio/{file.suffix[1:].lower()};base64,{data}"
    return f'<audio controls aria-label="{_escape(title)}" src="{source}"></audio>\n'


def _image(file: Path, alt: str) -> str:
    mime_type = mimetypes.guess_type(file.name)[0] or ""
    if not mime_type.startswith("image/"):
        raise VariedError(
            f"'{file.name}' does not have a supported file extension; use .png, .jpg, .svg or .gif."
        )
    content, attributes = file.read_bytes(), f'alt="{_escape(alt)}"'
    if mime_type == "image/svg+xml":
        return _img(content, mime_type, attributes)
    with Image.open(BytesIO(content)) as image:
        attributes += f' width="{image.width}" height="{image.height}"'
        if mime_type != "image/gif":
            return _img(content, mime_type, attributes)
        last = BytesIO()
        ImageSequence.all_frames(image)[-1].convert("RGB").save(last, "PNG", optimize=True)
    animation = _img(content, mime_type, f'class="animation" {attributes}')
    return animation + _img(last.getvalue(), "image/png", f'class="still" {attributes}')


def _img(content: bytes, mime_type: str, attributes: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:{mime_type};base64,{data}" {attributes}>'


def _table(table: Table) -> str:
    columns = list(zip(*table.rows, strict=True))[1:] or [()] * (len(table.header) - 1)
    alignments = ["", *map(_alignment, columns)]
    head = _cells(table.header, alignments, ['th scope="col"'] * len(table.header))
    tags = ['th scope="row"', *["td"] * len(columns)]
    rows = "".join(f"<tr>{_cells(row, alignments, tags)}</tr>\n" for row in table.rows)
    note = f'<p class="note">{_escape(table.note)}</p>\n' if table.note else ""
    title = _escape(table.title)
    # A wide table is in a focusable, scrollable box, so that it can be scrolled with the keyboard.
    return (
        f'<h3>{title}</h3>\n<div class="wide" role="region" aria-label="{title}" tabindex="0">'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{note}"
    )


def _cells(row: Sequence[object], alignments: Sequence[str], tags: Sequence[str]) -> str:
    texts = [_escape(cell).replace(" ± ", "\u00a0±\u00a0") for cell in row]
    return "".join(
        f"<{tag}{alignment}>{text}</{tag[:2]}>"
        for tag, alignment, text in zip(tags, alignments, texts, strict=True)
    )


def _alignment(column: Sequence[object]) -> str:
    """Return the HTML attribute that left-aligns words, or "" for right-aligned numbers."""
    is_numeric = all(re.match(r"[-−+–—]?[\d.,]*(\W|$)", str(cell)) for cell in column)
    return "" if is_numeric else ' class="words"'
