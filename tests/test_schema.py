"""The settings of a part are its signature: names, types, defaults and help."""

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


class Sample:
    """A part for these tests.

    Arguments:
        shape: A noun.
        count: How many,
            over two lines.
        size: How large.
        many: Several.
        name: What it is called.
        open: Whether it is.
        most: A number or none.
        scale: A number or a word.
        weight: A number that may move.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        count: int = 3,
        size: float = 0.5,
        many: tuple[int, ...] = (1, 2),
        name: str = "x",
        open: bool = False,
        most: int | None = None,
        scale: float | str = "learned",
        weight: Number = 1.0,
    ):
        pass


def test_settings_are_what_has_a_default():
    assert list(settings(Sample)) == [
        *("count", "size", "many", "name", "open", "most", "scale", "weight")
    ]
    assert settings(Sample)["count"].default == 3
    assert settings(Sample)["size"].type is float


def test_help_is_read_from_the_docstring():
    assert settings(Sample)["count"].help == "How many, over two lines."
    assert summary(Sample) == "A part for these tests."
    assert summary(test_help_is_read_from_the_docstring) == ""


READ = [
    ("count", "4", 4),
    ("count", 4.0, 4),
    ("count", "1e3", 1000),
    ("count", 2**53 + 1, 2**53 + 1),
    ("count", str(2**53 + 1), 2**53 + 1),
    ("size", "0.25", 0.25),
    ("size", 2, 2.0),
    ("many", "32,64", (32, 64)),
    ("many", "(32, 64)", (32, 64)),
    ("many", [32, 64], (32, 64)),
    ("many", "[]", ()),
    ("name", "y", "y"),
    ("open", "yes", True),
    ("open", "False", False),
    ("open", True, True),
    ("most", 3, 3),
    ("most", "none", None),
    ("most", None, None),
    ("scale", "each", "each"),
    ("scale", "1.5", 1.5),
    ("weight", "2", 2.0),
    ("weight", "linear(0, 1, 5)", Linear(0.0, 1.0, 5)),
    ("weight", Linear(0, 1, 5), Linear(0, 1, 5)),
]


@pytest.mark.parametrize(("name", "value", "wanted"), READ)
def test_plain_values_are_read_as_their_type(name, value, wanted):
    read = validate_settings(Sample, {name: value}, "sample")[name]
    assert read == wanted
    assert type(read) is type(wanted)


REFUSED = [
    ("count", "2.5", "a whole number"),
    ("count", "many", "a whole number"),
    ("count", True, "a whole number"),
    ("count", "inf", "a whole number"),
    ("count", float("nan"), "a whole number"),
    ("size", "big", "a number"),
    ("size", True, "a number"),
    ("many", "a,b", "a list of whole numbers"),
    ("open", "perhaps", "yes or no"),
    ("most", "some", "a whole number or none"),
    ("weight", "linaer(0, 1, 2)", "did you mean 'linear'"),
]


@pytest.mark.parametrize(("name", "value", "told"), REFUSED)
def test_a_wrong_type_is_refused_by_name(name, value, told):
    with pytest.raises(VariedError, match=told):
        validate_settings(Sample, {name: value}, "sample")


def test_an_unknown_setting_is_told_the_nearest():
    with pytest.raises(
        VariedError, match="The sample has no setting 'cuont': did you mean 'count'"
    ):
        validate_settings(Sample, {"cuont": 3}, "sample")
    with pytest.raises(VariedError, match="it has no settings"):
        validate_settings(OBJECTIVES["reconstruction"], {"beta": 3}, "objective")


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_every_part_says_what_it_is_and_takes_its_own_defaults(part):
    assert summary(part).endswith(".")
    for setting in settings(part).values():
        assert setting.help, setting.name
        assert setting.read(setting.default) == setting.default


@pytest.mark.parametrize("part", [Plan, Spec])
def test_every_key_of_a_spec_has_help(part):
    assert all(setting.help for setting in settings(part).values())


def test_names_are_picked_from_a_table():
    assert lookup({"a": 1}, "a", "letter") == 1
    with pytest.raises(VariedError, match="There is no net 'cnov': did you mean 'conv'"):
        lookup(NETS, "cnov", "net")
    assert suggest("zzz", ["a", "b"]) == "choose from a, b."


def test_the_axes_are_the_tables():
    assert AXES["net"] is NETS
    assert AXES["posterior"] is POSTERIORS
    assert AXES["prior"] is PRIORS
    assert AXES["objective"] is OBJECTIVES
