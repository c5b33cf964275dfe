"""Names and sentences from files add no markup to reports, model cards, notebooks and plots."""

from __future__ import annotations

import ast
import json
import re
import shlex
import warnings
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image

from varied import plots
from varied.report import Fact, Figure, Note, Table, write_card, write_report
from varied.run_list import RunList
from varied.runs import Result, Run
from varied.runs.classification import Classes
from varied.runs.encoding import Encoding
from varied.training.finalize import _write_card

pytestmark = pytest.mark.figures

TEXTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</table><iframe src=//example.org>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=data:text/html,x>x</a>",
    "<base href=//example.org>",
    "<meta http-equiv=refresh content=0>",
    "<link rel=stylesheet href=//example.org>",
    "<style>@import '//example.org'</style>",
    "<object data=x>",
    "<embed src=x>",
    "<form action=//example.org><input>",
    "<math><mi xlink:href=javascript:alert(1)>",
    "<!-- comment",
    "--> <b>x</b>",
    "<![CDATA[<b>x</b>]]>",
    "<?php x ?>",
    "<details open ontoggle=alert(1)>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&colon;&NewLine;",
    "${title} $title $$",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "[x]: javascript:alert(1)",
    "[x]",
    "<http://example.org>",
    "<javascript:alert(1)>",
    "](javascript:alert(1)",
    "x](http://example.org)",
    "![](x)(y)",
    "a | b | c",
    "|---|---|",
    "# heading",
    "## x ##",
    "- item",
    "+ item",
    "1. item",
    "1) item",
    "> quote",
    "---",
    "===",
    "- - -",
    "***",
    "___",
    "**bold** _it_ ~~no~~",
    "`code` ``x``",
    "```\n<b>x</b>\n```",
    "~~~\n<b>x</b>",
    "    indented",
    "\n\n<b>x</b>\n\n",
    "a\n# b",
    "a\n---",
    "\\<b>x\\</b>",
    "\\\\[x](javascript:alert\\(1\\))",
    "\\",
    "trailing\\",
    "$x$ $\\frac{1}{",
    "\x00\x1b[31m\x07<b>",
    "\u202e<b>gpj",
    "\ud800\udcff<b>",
    "＜script＞",
    "x" * 300,
    "",
]


class Elements(HTMLParser):
    """The names of the elements with their attributes, and the URLs of a page."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.urls, self.comments, self.text = set(), [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add((tag, *sorted(name for name, _ in attrs)))
        self.urls += [value for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_comment(self, data):
        self.comments.append(data)

    handle_pi = unknown_decl = handle_comment

    def handle_data(self, data):
        self.text += data


def blocks(text):
    return {
        "facts": [Fact(text, text, text), Fact("KL", "1 nats")],
        "tables": [Table(text, (text, text, "n"), [(text, text, "1"), ("a", "b", "2")], text)],
        "figures": [Figure("a.png", text, text, text, "a.flac"), Figure("a.gif", "b", "b")],
    }


@pytest.fixture
def folder(tmp_path):
    image = Image.fromarray(np.zeros((4, 4), np.uint8))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.gif")
    (tmp_path / "a.flac").write_bytes(b"sound")
    return tmp_path


def report(folder, text):
    notes = [Note(text), Note(text, is_warning=True)]
    return write_report(folder, title=text, notes=notes, **blocks(text)).read_text("utf-8")


def card(folder, text, **values):
    texts = dict.fromkeys(("title", "summary", "data", "training"), text)
    code = {"python": "import varied", "shell": "varied sample a"}
    lists = {"limitations": [text, "a"], "versions": {"varied": text}}
    path = write_card(folder, **texts | code | lists | blocks(text) | values)
    return path.read_text("utf-8").partition("---\n")[2].partition("---\n")[2]


def rendered(markdown):
    return Elements(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


@pytest.mark.parametrize("text", TEXTS)
def test_a_report_contains_only_its_own_elements(folder, text):
    plain, page = Elements(report(folder, "two words")), Elements(report(folder, text))
    assert page.elements <= plain.elements
    assert page.comments == plain.comments
    assert all(re.match(r"data:(image|audio)/[a-z]+;base64,", url) for url in page.urls)


@pytest.mark.parametrize("text", TEXTS)
def test_a_model_card_contains_only_its_own_elements(folder, text):
    plain, page = rendered(card(folder, "two words")), rendered(card(folder, text))
    assert page.elements <= plain.elements
    assert page.comments == []
    assert set(page.urls) == {"a.png", "a.gif"}
    assert " ".join(text.split())[:20].strip("\\") in page.text.replace("\ufffd", "") or not (
        text.isprintable()
    )


@pytest.mark.parametrize("text", TEXTS)
def test_files_of_figures_are_not_urls(folder, text):
    page = rendered(card(folder, "a", figures=[Figure(f"javascript:{text or 'x'}", "a", "b")]))
    assert all(re.fullmatch(r"javascript%3A[\w%./~-]+", url) for url in page.urls)


class DescribedRun:
    """The parts of a run that the model card requires."""

    def __init__(self, folder, source):
        self.folder = folder
        sizes = dict.fromkeys(("train", "validation", "test"), 1)
        self.metadata = {"source": source, "notes": [], **sizes}


@pytest.mark.parametrize("name", ['a"); import os; os.remove("x") #', "a'b", "$(rm -r x)", "a b;c"])
def test_the_code_of_a_model_card_quotes_the_name_of_the_run(tmp_path, name):
    (tmp_path / name).mkdir()
    run = DescribedRun(tmp_path / name, "<b>x</b>")
    _write_card(run, "title", [], Table("t", ("a",), []), [], [])
    source = (tmp_path / name / "README.md").read_text("utf-8")
    python, shell = re.findall(r"```(?:python|sh)\n(.*?)\n```", source, re.S)
    _, assignment, call = ast.parse(python).body
    assert assignment.value.args[0].value == name
    assert ast.unparse(call) == "run.sample(64).save('new.png')"
    assert [shlex.split(line) for line in shell.splitlines()] == [
        ["varied", "sample", name],
        ["varied", "evaluate", name],
    ]


class NamedRun(Run):
    """A run whose description is a text."""

    def __init__(self, folder, text):
        self.store, self.text = SimpleNamespace(folder=folder), text

    def __repr__(self):
        return self.text


class NamedCodec:
    """A codec whose examples have a name, and whose plot is empty."""

    def __init__(self, noun, column_names=()):
        self.noun, self.column_names = noun, column_names

    def plot(self, examples, images, draw, path):
        path.touch()
        return path


def notebook_texts(text, folder):
    """Return the HTML of the objects that notebooks display."""
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "spec.toml").touch()
    metadata = {"model": text, "source": text}
    (folder / "run" / "data.json").write_text(json.dumps(metadata), "utf-8")
    yield RunList([folder / "run"])._repr_html_()
    yield Classes(torch.ones(1, 2) / 2, (text, "b"), (text,))._repr_html_()
    yield Encoding(torch.ones(1, 2), torch.ones(1, 2), None, (text,))._repr_html_()
    yield NamedRun(folder, text)._repr_html_()
    Image.new("L", (4, 4)).save(folder / "samples.png")
    yield NamedRun(folder, text)._repr_html_()
    yield Result(NamedCodec(text), np.zeros(1), np.zeros(1), None, (1,))._repr_html_()
    table = pd.DataFrame({text: [text]})
    yield Result(NamedCodec("rows", (text,)), table, np.zeros(1), None, (1,))._repr_html_()


@pytest.mark.parametrize("text", [text for text in TEXTS if text.isprintable()])
def test_notebooks_show_names_as_text(tmp_path, text):
    plain = notebook_texts("two words", tmp_path / "a")
    for expected, shown in zip(plain, notebook_texts(text, tmp_path / "b"), strict=True):
        assert Elements(shown).elements == Elements(expected).elements


def frame(text):
    return pd.DataFrame({text: [text, "u"] * 10, "b": np.arange(20) / 7})


PLOTS = {
    "columns": lambda text, path: plots.column_shapes(frame(text), frame(text), path),
    "pairs": lambda text, path: plots.pair_trends(np.eye(2), np.eye(2), [text, "b"], path),
    "nll": lambda text, path: plots.nll_bars([text, "b"], np.ones(2), path),
    "rows": lambda text, path: plots.table_rows(frame(text).head(4), path),
    "map": lambda text, path: plots.latent_map(
        np.arange(40.0).reshape(20, 2) % 7,
        path,
        labels=np.arange(20) % 2,
        classes=[text, "b"],
        title=text,
    ),
    "grid": lambda text, path: plots.grid(
        np.zeros((2, 8, 8), np.uint8), path, captions=[text, text], column_titles=[text, text]
    ),
}
PLOTTED = ["$x$", "$\\frac{1}{", "$a", "a\n$b$", "\x00\x1b[31m", "\u202ex", "{x} %s \\n", "<b>", ""]


@pytest.mark.parametrize("name", PLOTS)
def test_plots_show_any_name(name, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|constrained_layout")
        for text in PLOTTED:
            assert PLOTS[name](text, tmp_path / "a.png").is_file()


@pytest.mark.parametrize("name", ["pairs", "nll", "map", "grid"])
def test_plots_show_names_that_are_not_unicode(name, tmp_path):
    assert PLOTS[name]("a\udcff.png", tmp_path / "a.png").is_file()


def test_dollar_signs_are_shown_literally(tmp_path):
    images = []
    for text in ("$\\alpha$", "\\$\\alpha\\$"):
        PLOTS["nll"](text, tmp_path / "a.svg")
        images.append((tmp_path / "a.svg").read_text("utf-8"))
    assert images[0] != images[1]
    assert "$\\alpha$" in re.sub(r"<!-- (.*?) -->", r"\1", images[0])
