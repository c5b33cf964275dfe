"""Control characters of names, cells and messages never reach the terminal."""

from __future__ import annotations

import ast
import io
import json
import sys
import warnings
from pathlib import Path

import pytest

from varied.cli import console
from varied.cli.errors import main
from varied.errors import DataWarning, printable

HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b]8;;http://example.org\x1b\\link",
    "\x9b31m",
    "\x9d0;title\x9c",
    "back\b\b\b\b",
    "over\rwritten",
    "two\nlines",
    "form\x0cfeed\x0b",
    "\x00nul",
    "delete\x7f",
    "next\x85line",
    "\u202egpj.exe",
    "\u202a\u202b\u202c\u202d",
    "\u2066\u2067\u2068\u2069",
    "\u200e\u200f\u061c",
    "line\u2028paragraph\u2029",
    "\ud800",
    "file\udcff.png",
    "\x1bc",
    "\x1b[2J\x1b[H",
    "\x0e shift",
]
UNSAFE = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u061c\u200e\u200f\u2028\u2029"}
UNSAFE |= {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
UNSAFE |= {*map(chr, range(0xD800, 0xE000))}


def is_safe(text: str) -> bool:
    return not UNSAFE - {"\n"} & {*text}


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_replaced(text):
    assert not UNSAFE & {*printable(text)}
    assert "\ufffd" in printable(text)
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize(
    "text", ["[red]", "naïve café", "日本語", "👩‍💻", "−1 ± 2", "a\u00a0b", "ⓐ"]
)
def test_other_characters_are_unchanged(text):
    assert printable(text) == text


PRINT = {
    "say": console.say,
    "heading": console.heading,
    "show": console.show,
    "warn": lambda text: console.warn([text]),
    "table": lambda text: console.table((text, text), [(text, text), ("a", "b")]),
    "error": lambda text: main(["train", f"/no/{text}"]),
    "option": lambda text: main(["models", f"--{text}"]),
    "command": lambda text: main([text]),
    "warning": lambda text: warnings.warn(text, DataWarning, stacklevel=1),
    "other warning": lambda text: warnings.warn(text, UserWarning, stacklevel=1),
}


@pytest.mark.parametrize("name", PRINT)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_prints_control_characters(name, is_terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")  # the spinner moves the cursor of other terminals
    monkeypatch.setattr("warnings.showwarning", lambda message, *_: print(message))
    console.show_data_warnings()
    for text in HOSTILE:
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            PRINT[name](text)
        assert is_safe(stream.getvalue())
        assert stream.getvalue()


def test_an_error_is_one_line(capsys):
    assert main(["train", "/no/a\nvaried: Everything is fine."]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_escaped_and_keeps_its_value(text, capsys):
    console.show_json({text: [text]})
    output = capsys.readouterr().out
    assert is_safe(output)
    assert json.loads(output) == {text: [text]}


@pytest.mark.parametrize("text", ["[red]", "[/]", "[bold", ":smile:", "[link=http://x]y[/link]"])
def test_the_spinner_shows_markup_literally(text, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    with console.status(f"Reading {text}\x1b]0;title\x07"):
        pass
    assert f"Reading {text}\ufffd]0;title\ufffd" in stream.getvalue()


def test_commands_print_only_with_functions_of_the_console():
    folder = Path(console.__file__).parent
    for path in folder.glob("*.py"):
        if path.name != "console.py":
            calls = [
                node
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Call)
            ]
            names = {ast.unparse(call.func) for call in calls}
            assert not names & {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}, path
