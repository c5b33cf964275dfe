"""Help pages of one screen on models, metrics and terms, shown by ``varied explain``.

Each page is a TOML file in this package; ``index.toml`` lists them by group. References (title,
year and link of a paper) are stored only in the zoo.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Page:
    """A help page, as plain text.

    Arguments:
        summary: What it is, in a few words.
        what: What it is, in two or three sentences.
        formula: The formula, shown line by line without wrapping.
        use: When to use it.
        pitfalls: Problems, each with the symptom by which to recognize it.
        commands: Command lines, each with a description that may be empty. An entry that starts
            with ``--`` is an option of the command above it.
        see_also: Names of related pages.
        reference: The zoo model whose paper is cited; by default the page's own name.
    """

    summary: str
    what: str
    formula: str
    use: str
    pitfalls: list[str]
    commands: dict[str, str]
    see_also: list[str]
    reference: str = ""


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))


#: Names of pages by group, in reading order.
MODELS: dict[str, list[str]] = _load("index")["models"]
TOPICS: dict[str, list[str]] = _load("index")["topics"]

PAGES = {
    name: Page(**_load(name)) for names in (*MODELS.values(), *TOPICS.values()) for name in names
}
