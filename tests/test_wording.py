"""Check that code, tests, docs and benchmarks avoid the words that docs/glossary.md replaces."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Words to avoid, with their replacements; see docs/glossary.md.
WORDS = {
    "abreast": "side by side",
    "anew": "again",
    "beside": "next to, and, besides",
    "by heart": "overfit",
    "critic": "discriminator",
    "critics": "discriminators",
    "data are told": "given",
    "datum": "example",
    "dearer": "more expensive",
    "dearest": "most expensive",
    "fall silent": "become inactive",
    "falls silent": "becomes inactive",
    "hang together": "are correlated",
    "hangs on": "depends on",
    "hang on": "depend on",
    "keep its word": "be calibrated",
    "keep their word": "be calibrated",
    "keeps its word": "is calibrated",
    "kept back": "held out",
    "kin": "variants",
    "law of its own": "likelihood of its own",
    "lest": "so that ... not",
    "nought": "zero",
    "picture": "image",
    "pictures": "images",
    "promise": "guarantee",
    "promises": "guarantees",
    "rung": "level",
    "rungs": "levels",
    "strange": "anomalous",
    "stranger": "anomalous",
    "strangers": "unseen levels",
    "strangest": "most anomalous",
    "strangeness": "anomaly score",
    "telling apart": "distinguishing",
    "tell apart": "distinguish",
    "tells apart": "distinguishes",
    "told": "given, conditioned on",
    "told apart": "distinguished",
    "whatever else": "everything else",
    "wherein": "in which",
    "colour": "color",
    "colours": "colors",
    "grey": "gray",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "labelled": "labeled",
    "behaviour": "behavior",
    "centre": "center",
    "centres": "centers",
}
#: Identifiers that are too vague.
IDENTIFIERS = {
    "told", "found", "some", "one", "made", "kept", "said", "whole", "tried", "asked", "taken",
    "drawn", "seen", "heard", "felt", "beside", "spread", "strange", "picture", "pictures",
    "datum", "critic", "critics", "rung", "rungs", "law", "laws", "usual", "wanted",
}  # fmt: skip
#: Exceptions: the names of random streams cannot change without changing random numbers, and a
#: class of JavaScript has a name that is also a word.
ALLOWED = {
    ("benchmarks/studio.py", "Promise"),
    ("varied/runs/nearest_training.py", "beside"),
    ("varied/functional/importance_sampling.py", "strangeness"),
}
PHRASES = re.compile(
    r"(?<![\w-])(" + "|".join(sorted(map(re.escape, WORDS), key=len, reverse=True)) + r")(?![\w-])",
    re.IGNORECASE,
)


def wrong_words(text: str, path: str) -> list[str]:
    """Return the words in a text that the glossary replaces."""
    texts = []
    for number, line in enumerate(text.splitlines(), 1):
        texts += [
            f"{path}:{number}: '{word}': write {WORDS[word.lower()]}."
            for word in PHRASES.findall(line)
            if (path, word) not in ALLOWED
        ]
    return texts


def wrong_names(source: str, path: str) -> list[str]:
    """Return the identifiers that are too vague."""
    texts = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names = [node.attr]
        texts += [
            f"{path}:{node.lineno}: `{name}` is not specific."
            for name in names
            if name.strip("_") in IDENTIFIERS
        ]
    return texts


def text_files(*folders: str) -> list[Path]:
    endings = (".py", ".md", ".toml")
    found = [p for folder in folders for p in sorted((ROOT / folder).rglob("*"))]
    excluded = {"test_wording.py", "glossary.md", "old_names.py"}
    folders_excluded = {"old_runs", ".peers"}
    return [
        p
        for p in found
        if p.suffix in endings and p.name not in excluded and not folders_excluded & {*p.parts}
    ]


def all_files() -> list[Path]:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*pages, *text_files("varied", "tests", "docs", "benchmarks")]


def test_texts_follow_the_glossary() -> None:
    texts = []
    for path in all_files():
        source = path.read_text("utf-8")
        name = path.relative_to(ROOT).as_posix()
        texts += wrong_words(source, name)
        if path.suffix == ".py":
            texts += wrong_names(source, name)
    assert not texts


@pytest.mark.parametrize(
    "text", ["a picture of a face", "The datum", "colour", "what the model is told"]
)
def test_a_replaced_word_is_detected(text: str) -> None:
    assert len(wrong_words(text, "x.md")) == 1


@pytest.mark.parametrize(
    "source", ["told = 1", "def law(): ...", "self.kept = x", "def f(one): ..."]
)
def test_a_vague_identifier_is_detected(source: str) -> None:
    assert len(wrong_names(source, "x.py")) == 1
