"""What the pages say is true: tables are those of the code, programs run, links lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

from varied.errors import VariedError
from varied.spec import AXES
from varied.zoo import ZOO

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def programs(page):
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)


def test_the_table_of_the_zoo_is_that_of_the_code():
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "docs" / "tables.py"))["filled"](page) == page
    assert page.count("\n| `") == len(ZOO)


def test_the_loop_of_the_readme_runs_and_learns(capsys):
    [loop] = [code for code in programs(ROOT / "README.md") if "for step in" in code]
    assert len(loop.strip().splitlines()) <= 25
    exec(compile(loop, "README.md", "exec"), {})
    parts = dict(re.findall(r"'(\w+)': (\d+)", capsys.readouterr().out))
    assert int(parts["reconstruction"]) < 200
    assert 1 < int(parts["kl"]) < 60


def test_the_three_lines_name_what_there_is():
    import varied

    code = programs(ROOT / "README.md")[0]
    called = set(re.findall(r"(?:varied|run|\))\.(\w+)\(", code))
    known = {*dir(varied), *dir(varied.Run), "save"}
    assert called <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)\s#]+)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


def test_every_part_says_what_it_is():
    for axis, table in AXES.items():
        for name, part in table.items():
            assert (part.__doc__ or "").strip(), f"{axis} {name}"


def test_every_sentence_of_the_zoo_is_filled():
    for name, one in ZOO.items():
        assert all((one.title, one.reference, one.link, one.use_for, one.benchmark)), name
        assert 1900 < one.year < 2100


def test_a_mistake_is_a_value_error_too():
    assert issubclass(VariedError, ValueError)
