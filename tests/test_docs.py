"""Tests of the documentation: its tables match the code, its programs run, its links exist."""

import re
import runpy
from pathlib import Path

import pytest

from varied.errors import VariedError
from varied.spec import AXES
from varied.zoo import ZOO

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)


def test_model_table_matches_the_zoo():
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "docs" / "tables.py"))["with_tables"](page) == page
    assert page.count("\n| `") == len(ZOO)


def test_training_loop_learns(capsys):
    [loop] = python_blocks(ROOT / "docs" / "training_loop.md")
    assert len(loop.strip().splitlines()) <= 25
    exec(compile(loop, "training_loop.md", "exec"), {})
    terms = dict(re.findall(r"'(\w+)': (\d+)", capsys.readouterr().out))
    assert int(terms["reconstruction"]) < 200
    assert 1 < int(terms["kl"]) < 60


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 90


def test_readme_quick_start_calls_existing_names():
    import varied

    code = python_blocks(ROOT / "README.md")[0]
    called = set(re.findall(r"(?:varied|run|\))\.(\w+)\(", code))
    assert called <= {*dir(varied), *dir(varied.Run), "save"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page):
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s#]+)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


def test_each_part_has_a_docstring():
    for axis, table in AXES.items():
        for name, part in table.items():
            assert (part.__doc__ or "").strip(), f"{axis} {name}"


def test_zoo_entries_are_complete():
    for name, entry in ZOO.items():
        texts = (entry.title, entry.reference, entry.link, entry.use_for, entry.benchmark)
        assert all(texts), name
        assert 1900 < entry.year < 2100


def test_varied_error_is_a_value_error():
    assert issubclass(VariedError, ValueError)
