"""Tests of the options, messages and printing of the command line."""

from __future__ import annotations

import json

import pytest

from varied.cli import console
from varied.cli.flags import in_flags, parse_column_types, parse_size, parse_value, split_settings
from varied.errors import VariedError


def test_settings_are_separated_from_declared_options():
    options = {"--latent", "--dry-run"}
    words = ["x", "--latent", "8", "--n-components", "5", "--net.depth=3"]
    expected = ["x", "--latent", "8"], {"n_components": "5", "net.depth": "3"}
    assert split_settings(words, options) == expected
    assert split_settings(["x", "--", "--y"], options) == (["x", "--", "--y"], {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "likelihood='x' is wrong; use likelihood='y'.",
            "--likelihood x is wrong; use --likelihood y.",
        ),
        ("free_bits=-1.0 is low.", "--free-bits -1.0 is low."),
        ("n=0 must be at least 1.", "-n 0 must be at least 1."),
        ("write linear(0, 1, steps=2000).", "write linear(0, 1, steps=2000)."),
        ("a sum x=3 stays.", "a sum x=3 stays."),
    ],
)
def test_messages_name_options_instead_of_arguments(text, expected):
    assert in_flags(text, {"n"}) == expected


@pytest.mark.parametrize(("text", "size"), [(None, None), ("64", 64), ("48x64", (48, 64))])
def test_image_sizes_are_parsed(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("parse", "text"), [(parse_size, "4x4x4"), (parse_size, "big"), (parse_column_types, "zip")]
)
def test_invalid_values_are_refused(parse, text):
    with pytest.raises(VariedError, match=f" {text}"):
        parse(text)


def test_values_are_numbers_where_possible():
    assert [parse_value(text) for text in ("5", "0.5", "5,5")] == [5, 0.5, "5,5"]


def test_last_column_of_a_table_is_wrapped(monkeypatch, capsys):
    monkeypatch.setattr(console, "width", lambda: 40)
    console.table(("", ""), [("name", "many words that do not fit on one line of forty")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 40 for line in lines)
    assert lines[1].startswith("        ")


def test_json_has_no_nan(capsys):
    console.show_json({"x": float("nan"), "y": [float("inf")]})
    assert json.loads(capsys.readouterr().out) == {"x": None, "y": [None]}
