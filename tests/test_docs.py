"""Tests of the documentation: its tables match the code, its programs run, its links exist."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
from python_errors import python_errors

import varied
from varied.cli import app
from varied.errors import VariedError
from varied.spec import AXES
from varied.zoo import ZOO

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = typer.main.get_command(app).commands
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)


def plain_blocks(page):
    """Return the blocks of Python code that are not doctests, which are executed."""
    return [block for block in python_blocks(page) if ">>> " not in block]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_use_existing_names(page):
    for block in plain_blocks(page):
        errors = python_errors(block, run=varied.Run)
        assert not [error for error in errors if not error.endswith("is not imported")]


def test_wrong_names_in_python_blocks_are_detected():
    block = "from varied.evaluate import threshold, thresh\nthreshold(x, fpr=1)\nrun.samples(3)"
    errors = list(python_errors(block, run=varied.Run))
    assert [error.split()[0] for error in errors] == ["thresh", "threshold:", "run.samples"]


def test_table_of_metrics_names_existing_functions():
    page = (ROOT / "docs" / "evaluate.md").read_text("utf-8")
    table = page.partition("| topic | functions |")[2].partition("\n\n")[0]
    functions = re.findall(r"`(\w+)`", table)
    assert len(functions) > 40
    assert not {name for name in functions if name not in varied.evaluate.__all__}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    text = page.read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"^\$? ?(varied [a-z].*)$|`(varied [a-z][^`\n]+)`", text, re.M):
        name, *words = shlex.split("".join(line), comments=True)[1:]
        if name in ("fit-prior", "train", "darken"):  # settings of parts; an example of a new use
            continue
        known = {option for param in COMMANDS[name].params for option in param.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, line


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
