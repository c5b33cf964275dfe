"""One-screen help pages on models, metrics and terms, shown by ``varied explain``.

Each page is a TOML file in this package; ``index.toml`` lists the pages by group. References (the
title, year and link of a paper) are stored only in the zoo.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Page:
    """A help page in plain text.

    Arguments:
        summary: A description in a few words.
        what: A description in two or three sentences.
        formula: The formula, whose lines are not wrapped.
        use: When to use the model, metric or term.
        pitfalls: Problems, each with the symptom by which it can be recognized.
        commands: Command lines with their descriptions (some are empty). An entry that starts
            with ``--`` is an option of the command above it.
        see_also: The names of related pages.
        reference: The name of the zoo model whose paper is cited; by default, the name of the page.
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


#: The names of the pages by group, in reading order.
MODELS: dict[str, list[str]] = _load("index")["models"]
TOPICS: dict[str, list[str]] = _load("index")["topics"]

PAGES = {
    name: Page(**_load(name)) for names in (*MODELS.values(), *TOPICS.values()) for name in names
}
