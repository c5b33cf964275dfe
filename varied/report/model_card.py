"""Write the model card of a run: a README with usage, results and limitations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from varied.atomic_io import atomic_write
from varied.errors import printable
from varied.plots.style import StrPath
from varied.report.blocks import Fact, Figure, Table

#: Metadata for the Hugging Face Hub.
METADATA = "---\nlibrary_name: varied\ntags:\n- variational-autoencoder\n---"


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
    limitations: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write a model card in Markdown to ``README.md`` in the run folder.

    Arguments:
        folder: The run folder.
        title: The heading.
        summary: What the model is, in one or two sentences.
        data: The training data, and how they were split.
        training: How the model was trained, such as the objective, steps, time, device and seed.
        python: The Python code that uses the run, in about three lines.
        shell: The shell commands that use the run.
        facts: The key results, with their standard errors and the number of examples.
        tables: The additional results.
        figures: The figures, linked by their file names in the folder.
        limitations: The sentences about what the model cannot do, or should not be used for.
        versions: The versions of the software that was used for training.

    Returns:
        The path.
    """
    results = Table("", ("", "value", ""), [(fact.name, fact.value, fact.note) for fact in facts])
    parts = [
        METADATA,
        f"# {_escape(title)}\n\n{_escape(summary)}",
        f"## Data\n\n{_escape(data)}",
        f"## Training\n\n{_escape(training)}",
        f"## Results\n\n{_table(results)}" if facts else "",
        *[f"### {_escape(table.title)}\n\n{_table(table)}" for table in tables],
        f"## Usage\n\n{_code(python, 'python')}\n\n{_code(shell, 'sh')}",
        *map(_figure, figures),
        _list("Limitations", limitations),
        _list("Versions", [f"{name} {version}" for name, version in (versions or {}).items()]),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return atomic_write(Path(folder) / "README.md", text)


def _escape(text: object) -> str:
    """Return the text as a single line, with Markdown's special characters escaped."""
    line = re.sub(r"([\\`*_\[\]<>|#~&$!])", r"\\\1", printable(" ".join(str(text).split())))
    return re.sub(r"^([0-9]*)([-+=.)])(?=[-+= ]|$)", r"\1\\\2", line)  # a list or a rule


def _code(text: str, language: str) -> str:
    """Return a code block whose fence is longer than any sequence of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = "\n".join(map(printable, text.strip().split("\n")))
    return f"{fence}{language}\n{lines}\n{fence}"


def _table(table: Table) -> str:
    header, *rows = [[_escape(cell) for cell in row] for row in [table.header, *table.rows]]
    alignment = ["---", *["---:"] * (len(header) - 1)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in [header, alignment, *rows])
    return f"{lines}\n\n{_escape(table.note)}" if table.note else lines


def _figure(figure: Figure) -> str:
    caption = f"\n\n{_escape(figure.caption)}" if figure.caption else ""
    image = f"![{_escape(figure.alt)}]({quote(figure.file, errors='replace')})"
    return f"### {_escape(figure.title)}\n\n{image}{caption}"


def _list(title: str, items: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {_escape(item)}" for item in items) if items else ""
