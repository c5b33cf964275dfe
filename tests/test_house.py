"""The laws of the house, read off the source with `ast`: floors, banned calls, sizes, names.

Each law is a function from source to sentences of complaint. It is held against the package, and
against a tiny bad source, so that a law which cannot complain is found out.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "varied"

# Lowest first. A module imports from the floors below its own and from its own package alone.
FLOORS = (
    {"errors"},
    {"atomic_io", "schedules", "seeding"},
    {"schema", "tensor_io", "scheduled_value"},
    {"distributions"},
    {"nets", "heads", "data"},
    {"quantizers"},
    {"trace"},
    {"likelihoods", "posteriors", "priors"},
    {"models"},
    {"terms"},
    {"discriminators"},
    {"objectives"},
    {"spec"},
    {"zoo", "explain"},
    {"runtime"},
    {"training_loop"},
    {"prior_fitting"},
    {"evaluate"},
    {"functional"},
    {"compression"},
    {"plots"},
    {"report"},
    {"runs"},
    {"evaluate.suites"},
    {"training"},
    {"estimators", "export"},
    {"cli", "studio"},
    {"__main__"},
)
FLOOR_OF = {name: height for height, names in enumerate(FLOORS) for name in names}
NAMES_OF_THE_FACE = {"__version__"}

MOST_LINES = 450
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}
PICKLES = {"pickle", "_pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
TEXT_ALONE = {"urllib.parse"}  # of the modules below, those that open no connection
NETWORK = {"urllib", "requests", "http", "socket", "httpx", "aiohttp", "ftplib"}
MAY_USE_THE_NETWORK = {"varied/data/catalog.py", "varied/data/download.py"}
BANNED_CALLS = {
    "torch.load": "it unpickles; keep weights as safetensors",
    "torch.save": "it pickles; keep weights as safetensors",
    "yaml.load": "it runs what the file says; use TOML or JSON",
    "eval": "it runs text as code",
    "exec": "it runs text as code",
}


# What the laws read


@cache
def files() -> dict[str, str]:
    """Return the source of each file of the package by its path from the root."""
    return {p.relative_to(ROOT).as_posix(): p.read_text("utf-8") for p in PACKAGE.rglob("*.py")}


def dotted(path: str) -> str:
    """Return a module's name: `varied/nets/conv.py` is `varied.nets.conv`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(source: str, path: str = "varied/x.py") -> Iterator[tuple[str, str]]:
    """Yield `(module, name)` for each imported thing; the name is empty for `import module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, path)
            yield from ((module, alias.name) for alias in node.names)


def absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    package = Path(path).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def roots(source: str) -> set[str]:
    """Return the top-level packages that a source imports."""
    reached = (f"{module}.{name}" for module, name in imports(source))
    return {one.partition(".")[0] for one in reached if not text_alone(one)}


def text_alone(one: str) -> bool:
    return any(f"{one}.".startswith(f"{harmless}.") for harmless in TEXT_ALONE)


# The floors


def climbs(source: str, path: str) -> list[str]:
    """Complain of each import that does not run down."""
    if path == "varied/__init__.py":
        return []
    here = room(dotted(path), "")
    if here not in FLOOR_OF:
        return [f"{path}: put `{here}` on a floor: one row of FLOORS in tests/test_house.py."]
    inside = (i for i in imports(source, path) if i[0].partition(".")[0] == "varied")
    return [said for module, name in inside if (said := climb(here, module, name, path))]


def climb(here: str, module: str, name: str, path: str) -> str:
    there = room(module, name)
    if there == here or (module == "varied" and name in NAMES_OF_THE_FACE):
        return ""
    if there not in FLOOR_OF:
        return f"{path}: imports `{there or 'varied'}`, which stands on no floor."
    if FLOOR_OF[there] < FLOOR_OF[here]:
        return ""
    return f"{path}: `{here}` is on floor {FLOOR_OF[here]}, `{there}` on {FLOOR_OF[there]}."


def room(module: str, name: str) -> str:
    """Return the part of the package that an import reaches, empty for the face."""
    parts = [*module.split("."), *([name] if name else [])][1:]
    nested = ".".join(parts[:2])
    return nested if nested in FLOOR_OF else (parts[0] if parts else "")


def test_imports_run_down() -> None:
    assert not [said for path, source in files().items() for said in climbs(source, path)]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from varied.training_loop import train", "varied/nets/mlp.py"),
        ("import varied.likelihoods", "varied/priors.py"),
        ("from ..objectives import Objective", "varied/models/vae.py"),
        ("from varied import fit", "varied/runs.py"),
        ("import varied", "varied/runs.py"),
        (
            "def fitted_distribution():\n    from varied.cli import main",
            "varied/functional/sample.py",
        ),
        ("if TYPE_CHECKING:\n    from varied.spec import Spec", "varied/trace.py"),
        ("", "varied/attic.py"),
    ],
)
def test_a_climb_is_seen(source: str, path: str) -> None:
    assert len(climbs(source, path)) == 1


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("from varied.errors import VariedError", "varied/schedules.py"),
        ("from .mlp import MLP", "varied/nets/conv.py"),
        ("from varied import __version__, errors", "varied/runs.py"),
        ("import torch", "varied/errors.py"),
    ],
)
def test_a_descent_is_no_climb(source: str, path: str) -> None:
    assert not climbs(source, path)


# No circles


def circle(sources: dict[str, str]) -> list[str]:
    """Return the modules of one import circle, empty where there is none."""
    known = {dotted(path): path for path in sources}
    arrows = {
        module: {reached(*i, known) for i in imports(sources[path], path)} & known.keys() - {module}
        for module, path in known.items()
        if module != "varied"
    }
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def reached(module: str, name: str, known: dict[str, str]) -> str:
    inner = f"{module}.{name}"
    return inner if inner in known else module


def test_no_import_circles() -> None:
    assert not circle(files())


def test_a_circle_is_seen() -> None:
    round_trip = {
        "varied/nets/mlp.py": "from varied.nets import conv",
        "varied/nets/conv.py": "from .mlp import MLP",
    }
    assert set(circle(round_trip)) == {"varied.nets.mlp", "varied.nets.conv"}


# What is never written


def banned(source: str, path: str = "varied/x.py") -> list[str]:
    """Complain of pickles, of code that runs text, of the network and of printing."""
    found = [f"{path}: `{name}` pickles." for name in PICKLES & roots(source)]
    if path not in MAY_USE_THE_NETWORK:
        found += [f"{path}: `{name}` reaches the network." for name in NETWORK & roots(source)]
    tree = ast.parse(source)
    aliases = aliases_of(tree)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return found + [said for call in calls if (said := ban(call, aliases, path))]


def ban(call: ast.Call, aliases: dict[str, str], path: str) -> str:
    name, place = spelled(call.func, aliases), f"{path}:{call.lineno}"
    if name in BANNED_CALLS:
        return f"{place}: `{name}`: {BANNED_CALLS[name]}."
    if name == "print" and not path.startswith("varied/cli"):
        return f"{place}: `print`: only the command prints."
    unpickles = (k for k in call.keywords if k.arg == "allow_pickle" and not is_false(k.value))
    return next((f"{place}: `allow_pickle` unpickles." for _ in unpickles), "")


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def spelled(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return a call's dotted name with its import undone: `t.load` is `torch.load`."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{spelled(node.value, aliases)}.{node.attr}"
    return ""


def aliases_of(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def test_nothing_banned() -> None:
    assert not [said for path, source in files().items() for said in banned(source, path)]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import dump",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.save(x, 'x')",
        "from torch import load as take\ntake('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load(x)",
        "eval('1')",
        "exec('1')",
        "print('x')",
        "import urllib.request",
        "from urllib import parse, request",
        "def fitted_distribution():\n    import requests",
    ],
)
def test_a_banned_thing_is_seen(source: str) -> None:
    assert len(banned(source)) == 1


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("model.eval()", "varied/x.py"),
        ("np.load('x', allow_pickle=False)", "varied/x.py"),
        ("print('x')", "varied/cli/show.py"),
        ("from urllib.parse import quote", "varied/report/model_card.py"),
        ("import urllib.request", "varied/data/catalog.py"),
    ],
)
def test_a_decent_thing_is_not_banned(source: str, path: str) -> None:
    assert not banned(source, path)


# Sizes and names


def overlong(source: str, path: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{path}: {lines} lines; is it two rooms?"] if lines > MOST_LINES else []


def nameless(path: str) -> list[str]:
    """Complain of a file or folder whose name says nothing."""
    return [
        f"{path}: `{part}` says nothing." for part in Path(path).parts if stem(part) in NAMELESS
    ]


def stem(part: str) -> str:
    return part.partition(".")[0].strip("_")


def test_files_are_short_and_named() -> None:
    found = [said for path, source in files().items() for said in overlong(source, path)]
    assert not found + [said for path in files() for said in nameless(path)]


def test_length_and_empty_names_are_seen() -> None:
    assert overlong("x = 1\n" * (MOST_LINES + 1), "varied/x.py")
    assert not overlong("x = 1\n" * MOST_LINES, "varied/x.py")
    assert nameless("varied/nets/utils.py")
    assert nameless("varied/_helpers/mlp.py")
    assert not nameless("varied/common_sense.py")


# The pins


def unpinned(pyproject: str, constraints: str) -> set[str]:
    """Return what the package, its tests and its linters ask for and no constraint pins."""
    table = tomllib.loads(pyproject)
    groups = table.get("dependency-groups", {})
    asked = [*table["project"]["dependencies"], *(x for group in groups.values() for x in group)]
    pinned = {plain(line) for line in constraints.splitlines() if "==" in line}
    return {plain(line) for line in asked} - pinned


def plain(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_everything_is_pinned() -> None:
    pyproject, constraints = ROOT / "pyproject.toml", ROOT / "constraints.txt"
    assert not unpinned(pyproject.read_text("utf-8"), constraints.read_text("utf-8"))


def test_a_missing_pin_is_seen() -> None:
    asks = '[project]\ndependencies = ["torch>=2.9", "rich>=13"]'
    assert unpinned(asks, "# torch\nrich==15.0.0\n") == {"torch"}


# Words: docs/glossary.md

#: Words that no text of ours uses; the reason stands in the glossary.
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
#: Names that say nothing: name the thing.
IDENTIFIERS = {
    "told", "found", "some", "one", "made", "kept", "said", "whole", "tried", "asked", "taken",
    "drawn", "seen", "heard", "felt", "beside", "spread", "strange", "picture", "pictures",
    "datum", "critic", "critics", "rung", "rungs", "law", "laws", "usual", "wanted",
}  # fmt: skip
#: Words that are right where they stand: a library's name for it, or a term of the field.
ALLOWED = {"PIL", "picture-in-picture"}
PHRASES = re.compile(
    r"(?<![\w-])(" + "|".join(sorted(map(re.escape, WORDS), key=len, reverse=True)) + r")(?![\w-])",
    re.IGNORECASE,
)


def wrong_words(text: str, path: str) -> list[str]:
    """Complain of each word of a text that the glossary replaces."""
    complaints = []
    for number, line in enumerate(text.splitlines(), 1):
        complaints += [
            f"{path}:{number}: '{word}': write {WORDS[word.lower()]}."
            for word in PHRASES.findall(line)
        ]
    return complaints


def wrong_names(source: str, path: str) -> list[str]:
    """Complain of each identifier that says nothing."""
    complaints = []
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
        complaints += [
            f"{path}:{node.lineno}: `{name}` says nothing: name the thing."
            for name in names
            if name.strip("_") in IDENTIFIERS
        ]
    return complaints
