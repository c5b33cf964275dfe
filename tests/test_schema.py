"""Tests of reading the settings of a part from its signature and its docstring."""

from __future__ import annotations

import pytest

from varied.errors import VariedError, lookup, suggest
from varied.nets import NETS
from varied.objectives import OBJECTIVES
from varied.posteriors import POSTERIORS
from varied.priors import PRIORS
from varied.schedules import Linear, Number
from varied.schema import settings, summary, validate_settings
from varied.spec import AXES, Plan, Spec

PARTS = {f"{axis}-{name}": part for axis, table in AXES.items() for name, part in table.items()}


class Example:
    """A part for these tests.

    Arguments:
        shape: Not a setting.
        count: An integer,
            described in two lines.
        ratio: A number.
        sizes: Several integers.
        name: A string.
        flag: A boolean.
        limit: An integer or None.
        scale: A number or a string.
        weight: A number or a schedule.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        count: int = 3,
        ratio: float = 0.5,
        sizes: tuple[int, ...] = (1, 2),
        name: str = "x",
        flag: bool = False,
        limit: int | None = None,
        scale: float | str = "learned",
        weight: Number = 1.0,
    ):
        pass


def test_settings_are_the_parameters_with_a_default():
    names = ["count", "ratio", "sizes", "name", "flag", "limit", "scale", "weight"]
    assert list(settings(Example)) == names
    assert settings(Example)["count"].default == 3
    assert settings(Example)["ratio"].type is float


def test_descriptions_are_read_from_the_docstring():
    assert settings(Example)["count"].description == "An integer, described in two lines."
    assert summary(Example) == "A part for these tests."
    assert summary(test_descriptions_are_read_from_the_docstring) == ""


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", "4", 4),
        ("count", 4.0, 4),
        ("count", "1e3", 1000),
        ("count", 2**53 + 1, 2**53 + 1),
        ("count", str(2**53 + 1), 2**53 + 1),
        ("ratio", "0.25", 0.25),
        ("ratio", 2, 2.0),
        ("sizes", "32,64", (32, 64)),
        ("sizes", "(32, 64)", (32, 64)),
        ("sizes", [32, 64], (32, 64)),
        ("sizes", "[]", ()),
        ("name", "y", "y"),
        ("flag", "yes", True),
        ("flag", "False", False),
        ("flag", True, True),
        ("limit", 3, 3),
        ("limit", "none", None),
        ("limit", None, None),
        ("scale", "per-element", "per-element"),
        ("scale", "1.5", 1.5),
        ("weight", "2", 2.0),
        ("weight", "linear(0, 1, 5)", Linear(0.0, 1.0, 5)),
        ("weight", Linear(0, 1, 5), Linear(0, 1, 5)),
    ],
)
def test_value_is_parsed_as_the_type_of_the_setting(name, value, expected):
    parsed = validate_settings(Example, {name: value}, "example")[name]
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", "2.5", "must be an integer"),
        ("count", "many", "must be an integer"),
        ("count", True, "must be an integer"),
        ("count", "inf", "must be an integer"),
        ("count", float("nan"), "must be an integer"),
        ("ratio", "big", "must be a number"),
        ("ratio", True, "must be a number"),
        ("sizes", "a,b", "must be a list of integers"),
        ("flag", "perhaps", "must be yes or no"),
        ("limit", "many", "must be an integer or none"),
        ("weight", "linaer(0, 1, 2)", "did you mean 'linear'"),
    ],
)
def test_value_of_the_wrong_type_is_an_error(name, value, message):
    with pytest.raises(VariedError, match=message):
        validate_settings(Example, {name: value}, "example")


def test_unknown_setting_is_an_error_with_a_suggestion():
    message = "The example has no setting 'cuont': did you mean 'count'"
    with pytest.raises(VariedError, match=message):
        validate_settings(Example, {"cuont": 3}, "example")
    with pytest.raises(VariedError, match="it has no settings"):
        validate_settings(OBJECTIVES["reconstruction"], {"beta": 3}, "objective")


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_has_a_summary_descriptions_and_valid_defaults(part):
    assert summary(part).endswith(".")
    for setting in settings(part).values():
        assert setting.description, setting.name
        assert setting.parse(setting.default) == setting.default


@pytest.mark.parametrize("part", [Plan, Spec])
def test_every_key_of_a_spec_has_a_description(part):
    assert all(setting.description for setting in settings(part).values())


def test_lookup_suggests_the_nearest_name():
    assert lookup({"a": 1}, "a", "letter") == 1
    with pytest.raises(VariedError, match="There is no net 'cnov': did you mean 'conv'"):
        lookup(NETS, "cnov", "net")
    assert suggest("zzz", ["a", "b"]) == "choose from a, b."


def test_long_list_of_suggestions_is_truncated():
    assert suggest("zzz", ["a", "b", "c"], limit=2) == "choose from a, b and 1 more."


@pytest.mark.parametrize(
    ("axis", "table"),
    [("net", NETS), ("posterior", POSTERIORS), ("prior", PRIORS), ("objective", OBJECTIVES)],
)
def test_every_axis_uses_the_table_of_its_parts(axis, table):
    assert AXES[axis] is table
