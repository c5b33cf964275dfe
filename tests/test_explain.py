"""Tests of the help pages: they are complete, fit on a screen, and name only what exists."""

import dataclasses
import json
import re
import shlex
import unicodedata
from importlib.resources import files

import numpy as np
import pytest
import typer
from python_errors import python_errors

from varied.cli import app, main
from varied.cli.explain import page_lines
from varied.composition import compose
from varied.data import read
from varied.explain import MODELS, PAGES, TOPICS
from varied.priors import PRIORS
from varied.schema import settings
from varied.training.defaults import resolve
from varied.zoo import ZOO

MAX_LINES, WIDTHS = 28, (80, 88)
LABELS = ["What", "Formula", "Use", "Pitfalls", "Commands", "Paper", "See"]
MODEL_NAMES = [name for names in MODELS.values() for name in names]
TOPIC_NAMES = [name for names in TOPICS.values() for name in names]
COMMANDS = typer.main.get_command(app).commands
REPORT_FILES = {
    *("loss.png", "kl.png", "samples.png", "samples.gif", "reconstructions.png"),
    *("traversals.png", "interpolation.png", "latent.png", "manifold.png"),
    *("columns.png", "pairs.png", "costs.png"),
}

each_page = pytest.mark.parametrize("name", PAGES)


# Content


def test_each_zoo_model_has_a_page():
    assert set(ZOO) == set(MODEL_NAMES)


def test_index_lists_each_file_once():
    stored = {f.name for f in files("varied.explain").iterdir() if f.name.endswith(".toml")}
    assert stored == {f"{name}.toml" for name in (*PAGES, "index")}
    assert len(MODEL_NAMES + TOPIC_NAMES) == len(PAGES)


@each_page
def test_page_is_complete(name):
    page = PAGES[name]
    assert all((page.summary, page.formula, page.pitfalls, page.commands, page.see_also))
    for text in (page.what, page.use, *page.pitfalls):
        assert text.strip().endswith((".", "?")), text
    assert not page.summary.endswith(".")
    assert set(page.see_also) <= set(PAGES) - {name}
    assert page.reference in {"", *ZOO}


@each_page
def test_page_names_only_files_of_the_report(name):
    page = PAGES[name]
    text = " ".join([page.what, page.use, *page.pitfalls])
    assert set(re.findall(r"[\w-]+\.(?:png|gif|html)", text)) <= REPORT_FILES


def unbalanced(text):
    """Return the first bracket without a partner, or an empty string."""
    partner, stack = {")": "(", "]": "[", "}": "{"}, []
    for character in text:
        if character in "([{":
            stack.append(character)
        elif character in partner and (not stack or stack.pop() != partner[character]):
            return character
    return "".join(stack[:1])


@pytest.mark.parametrize(
    ("text", "bracket"), [("E[f(x)]", ""), ("E[f(x]", "]"), ("f(x))", ")"), ("Σ_{a", "{")]
)
def test_unbalanced_finds_the_bracket(text, bracket):
    assert unbalanced(text) == bracket


@each_page
def test_formula_is_balanced_and_monospaced(name):
    formula = PAGES[name].formula
    assert not unbalanced(formula)
    assert "\\" not in formula  # no LaTeX
    assert not any(map(unicodedata.combining, formula))
    assert not any(unicodedata.east_asian_width(c) in "WF" for c in formula)


# Layout


@each_page
@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_on_a_screen(name, width):
    lines = page_lines(name, width)
    assert max(map(len, lines)) <= width, max(lines, key=len)
    assert len(lines) + 1 <= MAX_LINES  # with the empty line above
    labels = [line.split()[0] for line in lines[1:] if line[:1].strip()]
    assert [label for label in LABELS if label in labels or label != "Paper"] == labels
    assert "Paper" in labels or name in TOPIC_NAMES
    assert not any(line != line.rstrip() for line in lines)


def test_page_that_does_not_fit_is_detected(monkeypatch):
    page = dataclasses.replace(PAGES["vae"], formula="x" * 90, what="word " * 400)
    monkeypatch.setitem(PAGES, "vae", page)
    assert max(map(len, page_lines("vae", 80))) > 80
    assert len(page_lines("vae", 80)) > MAX_LINES


# Commands and Python lines


def is_python(line):
    return not line.startswith(("varied ", "--"))


def commands_of(name):
    """Return the words of each command of a page, alone and with each of its options."""
    lines, command = [], ""
    for line in filter(lambda line: not is_python(line), PAGES[name].commands):
        command = command if line.startswith("--") else line
        lines.append(line if command == line else f"{command} {line}")
    return [shlex.split(line) for line in lines]


def options_of(words):
    """Return options with their values, True for an option without one."""
    values = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            values[word[2:].replace("-", "_")] = True if following.startswith("--") else following
    return values


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (300, 28, 28), dtype=np.uint8)
    return read((images, np.arange(300) % 10))


@each_page
def test_commands_and_options_exist(name):
    for words in commands_of(name):
        assert words[0] == "varied"
        assert words[1] in COMMANDS, words
        flags = {word for word in words if word.startswith("--")}
        known = {option for param in COMMANDS[words[1]].params for option in param.opts}
        if words[1] == "fit-prior":
            known |= {f"--{key.replace('_', '-')}" for key in settings(PRIORS[words[3]])}
        assert words[1] == "train" or flags <= known, words


@each_page
def test_train_commands_compose(name, rows):
    trained = [options_of(words) for words in commands_of(name) if words[1] == "train"]
    assert trained or name in TOPIC_NAMES
    for choices in trained:
        model = choices.pop("model", "vae")
        choices.pop("image_size", None)
        assert model == name or name in TOPIC_NAMES
        config = resolve(rows, model, choices)
        compose(config.spec, config.codec.shape)


def test_wrong_option_is_detected(rows, monkeypatch):
    commands = {"varied train DATA --model beta-vae": "", "--betta 4": ""}
    page = dataclasses.replace(PAGES["beta-vae"], commands=commands)
    monkeypatch.setitem(PAGES, "beta-vae", page)
    with pytest.raises(ValueError, match="betta"):
        test_train_commands_compose("beta-vae", rows)


@each_page
def test_python_lines_match_the_package(name):
    assert not list(python_errors("\n".join(filter(is_python, PAGES[name].commands))))


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("from varied.evaluate import copys", "copys"),
        ("from varied.evaluate import memorization\nmemorization(a, b)", "held_out"),
        ("from varied.evaluate import memorization\nmemorization(a, b, c, k=5)", "'k'"),
        ("memorization(a, b, c)", "not imported"),
        ("varied.Runn(folder).model", "Runn"),
    ],
)
def test_wrong_python_line_is_detected(source, error):
    assert error in " ".join(python_errors(source))


# The command


def explain(capsys, *words):
    code = main(["explain", *words])
    return code, *capsys.readouterr()


def test_index_shows_all_pages(capsys):
    code, out, _ = explain(capsys)
    assert code == 0
    assert re.findall(r"^  (\S+)  +\S", out, re.M) == list(PAGES)
    assert max(map(len, out.splitlines())) <= min(WIDTHS)
    groups = json.loads(explain(capsys, "--json")[1])["pages"]
    assert [name for names in groups.values() for name in names] == list(PAGES)


@pytest.mark.parametrize("name", ["kl", "KL", " Beta_VAE ", "posterior collapse"])
def test_spelling_variants_of_a_name_are_accepted(capsys, name):
    code, out, err = explain(capsys, name)
    assert code == 0, err
    assert "Pitfalls" in out


def test_brackets_are_printed_unchanged(capsys):
    assert "values in [0, 1] " in explain(capsys, "likelihood")[1]
    assert "y[i, j] = Σ_{a,b} w[a, b]" in explain(capsys, "conv-vae")[1]


def test_reference_comes_from_the_zoo(capsys):
    out = explain(capsys, "beta-vae")[1]
    assert ZOO["beta-vae"].link in out
    assert f"beta-vae: {ZOO['beta-vae'].title}\n" in out
    assert ZOO["vae"].link in explain(capsys, "elbo")[1]


def test_json_holds_the_whole_page(capsys):
    assert json.loads(explain(capsys, "vae", "--json")[1]) == {
        "name": "vae",
        **dataclasses.asdict(PAGES["vae"]),
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("beta-va", "did you mean 'beta-vae'?"),
        ("kl-warmpu", "'kl-warmup'?"),
        ("xyz", "`varied explain`"),
    ],
)
def test_unknown_name_is_refused_in_one_sentence(capsys, name, hint):
    code, out, err = explain(capsys, name)
    assert (code, out) == (2, "")
    assert err.startswith(f"varied: There is no page '{name}': ")
    assert hint in err
    assert err.count("\n") == 1
