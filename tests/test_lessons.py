"""The lessons: each fits on a screen, has all that a lesson has, and names only what there is."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import re
import shlex
import unicodedata
from importlib.resources import files

import numpy as np
import pytest
import typer

import varied
from varied.cli import app, main
from varied.cli.explain import page
from varied.data import read
from varied.explain import LESSONS, MODELS, TOPICS, Page
from varied.priors import PRIORS
from varied.schema import settings
from varied.spec import compose
from varied.training.defaults import resolve
from varied.zoo import ZOO, Entry

LINES, COLUMNS = 28, (80, 88)
LABELS = ("What", "Formula", "Use", "Watch", "Run", "See")
MODEL_NAMES = [name for names in MODELS.values() for name in names]
TOPIC_NAMES = [name for names in TOPICS.values() for name in names]
COMMANDS = typer.main.get_command(app).commands

lessons = pytest.mark.parametrize("name", LESSONS)


@pytest.fixture
def whole(monkeypatch):
    """Put the names that the zoo awaits into it, each with a reference as long as any."""
    title = "Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al.)"
    for name in set(MODEL_NAMES) - set(ZOO):
        entry = Entry(name, title, 2016, "https://arxiv.org/abs/1606.04934", "x", "x")
        monkeypatch.setitem(ZOO, name, entry)


# What there is


def test_every_name_of_the_zoo_has_a_lesson():
    assert set(ZOO) <= set(MODEL_NAMES)


def test_files_and_groups_agree():
    stored = {f.name for f in files("varied.explain").iterdir() if f.name.endswith(".toml")}
    assert stored == {f"{name}.toml" for name in LESSONS}
    assert len(MODEL_NAMES + TOPIC_NAMES) == len(LESSONS)


@lessons
def test_a_lesson_is_whole(name):
    lesson = LESSONS[name]
    assert all((lesson.line, lesson.formula, lesson.watch, lesson.run, lesson.see))
    for text in (lesson.what, lesson.use, *lesson.watch):
        assert text.strip().endswith("."), text
    assert not lesson.line.endswith(".")
    assert set(lesson.see) <= set(LESSONS) - {name}
    assert lesson.after in {"", *MODEL_NAMES}


@lessons
def test_what_files_are_named_is_what_the_report_writes(name):
    lesson = LESSONS[name]
    text = " ".join([lesson.what, lesson.use, *lesson.watch])
    written = {"loss.png", "kl.png", "samples.png", "samples.gif", "reconstructions.png"}
    written |= {"traversals.png", "interpolation.png", "latent.png", "manifold.png"}
    written |= {"columns.png", "pairs.png", "costs.png"}
    assert set(re.findall(r"[\w-]+\.(?:png|gif|html)", text)) <= written


# How it looks


@lessons
@pytest.mark.parametrize("wide", COLUMNS)
def test_a_lesson_fits_on_a_screen(name, wide, whole):
    lines = page(name, wide)
    assert max(map(len, lines)) <= wide, max(lines, key=len)
    assert len(lines) + 1 <= LINES  # and the empty line above
    starts = [line.split()[0] for line in lines[1:] if line[:1].strip()]
    assert [one for one in starts if one != "After"] == list(LABELS)
    assert "After" in starts or name in TOPIC_NAMES
    assert not any(line != line.rstrip() for line in lines)


def test_a_lesson_that_does_not_fit_is_seen(monkeypatch):
    long = Page.of({**vars(LESSONS["vae"]), "formula": "x" * 90, "what": "word " * 400})
    monkeypatch.setitem(LESSONS, "vae", long)
    assert max(map(len, page("vae", 80))) > 80
    assert len(page("vae", 80)) > LINES


@lessons
def test_the_list_fits_beside_the_names(name):
    beside = next(names for names in (MODELS | TOPICS).values() if name in names)
    assert 2 + max(map(len, beside)) + 2 + len(LESSONS[name].line) <= min(COLUMNS)


def unbalanced(text):
    """Return the first bracket that has no partner, empty where all have."""
    partner, waiting = {")": "(", "]": "[", "}": "{"}, []
    for sign in text:
        if sign in "([{":
            waiting.append(sign)
        elif sign in partner and (not waiting or waiting.pop() != partner[sign]):
            return sign
    return "".join(waiting[:1])


def test_an_unbalanced_bracket_is_seen():
    assert [unbalanced(text) for text in ("E[f(x)]", "E[f(x]", "f(x))", "Σ_{a")] == [
        "",
        "]",
        ")",
        "{",
    ]


@lessons
def test_formulas_are_balanced_and_of_single_columns(name):
    formula = "\n".join(LESSONS[name].formula)
    assert not unbalanced(formula)
    assert "\\" not in formula  # no LaTeX
    for sign in formula:
        assert not unicodedata.combining(sign)
        assert unicodedata.east_asian_width(sign) not in "WF"


# What a person is told to type


def is_python(text):
    """Return whether a line is of Python: neither a command nor a setting of one."""
    return not text.startswith(("varied ", "--"))


def typed(name):
    """Return each command of a lesson by itself, and with each of its settings."""
    found, command = [], ""
    for text in LESSONS[name].run:
        if is_python(text):
            continue
        command = command if text.startswith("--") else text
        found.append(text if command == text else f"{command} {text}")
    return [shlex.split(text) for text in found]


def pairs(words):
    """Return flags with their values: `--latent 8 --conditional` is latent 8, conditional True."""
    found = {}
    for index, word in enumerate(words):
        if word.startswith("--"):
            after = words[index + 1 : index + 2]
            value = after[0] if after and not after[0].startswith("--") else True
            found[word[2:].replace("-", "_")] = value
    return found


def options(verb):
    return {opt for param in COMMANDS[verb].params for opt in param.opts}


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (300, 28, 28), dtype=np.uint8)
    return read((pictures, np.arange(300) % 10))


@lessons
def test_commands_exist(name):
    for words in typed(name):
        assert words[0] == "varied"
        assert words[1] in COMMANDS, words
        flags = {flag for flag in words if flag.startswith("--")}
        if words[1] == "fit-prior" and words[3] != "none":
            flags -= {f"--{name.replace('_', '-')}" for name in settings(PRIORS[words[3]])}
        if words[1] != "train":
            assert flags <= options(words[1]), words


@lessons
def test_what_is_trained_composes(name, rows):
    trained = [pairs(words) for words in typed(name) if words[1] == "train"]
    assert trained or name in TOPIC_NAMES
    for choices in trained:
        model = choices.pop("model", "vae")
        if name in MODEL_NAMES:
            assert model == name
        own = {"image_size"} & choices.keys()
        choice = resolve(rows, model, {k: v for k, v in choices.items() if k not in own})
        compose(choice.spec, choice.codec.shape)


def test_a_wrong_setting_is_seen(rows, monkeypatch):
    wrong = {**vars(LESSONS["beta-vae"]), "formula": "x"}
    wrong["run"] = {"varied train DATA --model beta-vae": "", "--betta 4": ""}
    monkeypatch.setitem(LESSONS, "beta-vae", Page.of(wrong))
    with pytest.raises(ValueError, match="betta"):
        test_what_is_trained_composes("beta-vae", rows)


def untrue(source):
    """Yield what lines of Python import, read of the package, or call with, that is not there."""
    tree, known = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            found = {alias.name: getattr(module, alias.name, None) for alias in node.names}
            yield from (name for name, what in found.items() if not callable(what))
            known |= {name: what for name, what in found.items() if callable(what)}
    yield from (
        name for name in re.findall(r"varied\.(\w+)\(", source) if not hasattr(varied, name)
    )
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        call = known.get(node.func.id) or getattr(builtins, node.func.id, None)
        if call is None:
            yield f"{node.func.id} is not imported"
        elif call is not range:  # it has no signature
            try:
                inspect.signature(call).bind(*node.args, **{k.arg: k for k in node.keywords})
            except TypeError as error:
                yield f"{node.func.id}: {error}"


@lessons
def test_lines_of_python_name_what_there_is(name):
    lines = [text for text in LESSONS[name].run if is_python(text)]
    assert not list(untrue("\n".join(lines)))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from varied.evaluate import copys", "copys"),
        ("from varied.evaluate import memorization\nmemorization(a, b)", "held_out"),
        ("from varied.evaluate import memorization\nmemorization(a, b, c, k=5)", "'k'"),
        ("memorization(a, b, c)", "not imported"),
        ("varied.Runn(folder).model", "Runn"),
    ],
)
def test_a_wrong_line_of_python_is_seen(source, complaint):
    assert complaint in " ".join(untrue(source))


# The command


def said(capsys, *words):
    code = main(["explain", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list_has_what_can_be_run_and_all_words(capsys):
    code, out, _ = said(capsys)
    assert code == 0
    shown = set(re.findall(r"^  (\S+)  +\S", out, re.M))
    assert shown == set(ZOO) | set(TOPIC_NAMES)
    assert max(map(len, out.splitlines())) <= min(COLUMNS)
    groups = json.loads(said(capsys, "--json")[1])["lessons"]
    assert {name for names in groups.values() for name in names} == shown


@pytest.mark.parametrize("name", ["kl", "KL", " Beta_VAE ", "posterior collapse"])
def test_a_name_is_known_however_it_is_written(capsys, name):
    code, out, err = said(capsys, name)
    assert code == 0, err
    assert "Watch" in out


def test_brackets_stay(capsys):
    assert "values in [0, 1] " in said(capsys, "likelihood")[1]
    assert "y[i, j] = Σ_{a,b} w[a, b]" in said(capsys, "conv-vae")[1]


def test_a_reference_is_that_of_the_zoo(capsys):
    out = said(capsys, "beta-vae")[1]
    assert ZOO["beta-vae"].link in out
    assert f"beta-vae: {ZOO['beta-vae'].title}\n" in out
    assert ZOO["vae"].link in said(capsys, "elbo")[1]


def test_what_is_not_in_the_zoo_is_said_so(capsys, monkeypatch):
    # A copy: a row that is taken out and put back comes last, and other tests read the order.
    others = {name: entry for name, entry in ZOO.items() if name != "beta-vae"}
    monkeypatch.setattr("varied.zoo.ZOO", others)
    out = said(capsys, "beta-vae")[1]
    assert "It is not in the zoo yet." in out
    assert "varied train" not in out


def test_json_is_the_whole_lesson(capsys):
    found = json.loads(said(capsys, "vae", "--json")[1])
    assert found["name"] == "vae"
    assert found["run"] == dict(LESSONS["vae"].run)
    assert tuple(found["formula"]) == LESSONS["vae"].formula


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("beta-va", "did you mean 'beta-vae'?"),
        ("kl-warmpu", "'kl-warmup'?"),
        ("xyz", "`varied explain`"),
    ],
)
def test_an_unknown_name_is_one_sentence(capsys, name, hint):
    code, out, err = said(capsys, name)
    assert (code, out) == (2, "")
    assert err.startswith(f"varied: There is no lesson '{name}': ")
    assert hint in err
    assert err.count("\n") == 1
