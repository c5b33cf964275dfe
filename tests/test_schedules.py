"""A schedule is a pure function of the step, and its text is the schedule."""

from __future__ import annotations

import contextlib
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varied.errors import VariedError
from varied.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Cyclical,
    Join,
    Linear,
    parse_number,
    value_at,
)

INSTANCES = [
    Constant(0.3),
    Constant(2.0, 10),
    Linear(0.0, 1.0, 4),
    Linear(1.0, -2.5, 1000),
    Linear(1e-7, 3e20, 7),
    Cosine(0.0, 1.0, 4),
    Cosine(5.0, 0.25, 2000),
    Cyclical(0.0, 1.0, 8, 2),
    Cyclical(0.0, 4.0, 100, 4, 0.9),
    Join((Constant(0.0, 2), Linear(0.0, 1.0, 4))),
    Join((Linear(0.0, 1.0, 3), Cyclical(1.0, 2.0, 6, 3), Cosine(2.0, 0.0, 5))),
    Join((Join((Constant(1.0, 2), Constant(3.0, 2))), Linear(3.0, 0.0, 2))),
]

instances = pytest.mark.parametrize("schedule", INSTANCES, ids=str)
numbers = st.floats(-1e6, 1e6)


def test_every_schedule_of_the_table_is_tried():
    assert {type(schedule) for schedule in INSTANCES} == set(SCHEDULES.values())


@instances
def test_the_text_is_the_schedule(schedule):
    assert parse_number(str(schedule)) == schedule


@instances
def test_values_are_floats_and_stand_still_at_the_end(schedule):
    assert all(isinstance(schedule(step), float) for step in range(schedule.steps + 2))
    assert schedule(schedule.steps) == schedule(schedule.steps + 1) == schedule(10**9)


@instances
def test_a_value_depends_on_the_step_alone(schedule):
    forwards = [schedule(step) for step in range(12)]
    assert [schedule(step) for step in reversed(range(12))] == forwards[::-1]


@pytest.mark.parametrize("kind", [Linear, Cosine])
@given(numbers, numbers, st.integers(1, 500))
def test_one_way_from_start_to_end(kind, start, end, steps):
    values = [kind(start, end, steps)(step) for step in range(steps + 2)]
    slack = 1e-9 * max(abs(start), abs(end), 1)
    sign = 1 if end >= start else -1
    assert values[0] == pytest.approx(start, abs=slack)
    assert values[-1] == pytest.approx(end, abs=slack)
    assert all(sign * (b - a) >= -slack for a, b in itertools.pairwise(values))


@given(numbers, numbers, st.integers(1, 500), st.integers(1, 9), st.floats(0.01, 1))
def test_cycles_stay_between_start_and_end(start, end, steps, cycles, rise):
    values = [Cyclical(start, end, steps, cycles, rise)(step) for step in range(steps + 2)]
    low, high = sorted((start, end))
    assert values[0] == start
    assert values[-1] == end
    assert all(low - 1e-6 <= value <= high + 1e-6 for value in values)


def test_cosine_is_half_a_cosine():
    assert Cosine(0, 2, 8)(2) == pytest.approx(1 - math.cos(math.pi / 4))


def test_a_cycle_rises_and_rests():
    assert [Cyclical(0, 1, 8, 2)(step) for step in range(9)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1]


def test_each_part_of_a_join_runs_for_its_own_steps():
    join = Join((Constant(5, 2), Linear(0, 1, 2), Linear(1, 9, 4)))
    assert [join(step) for step in (0, 1, 2, 3, 4, 6, 8, 99)] == [5, 5, 0, 0.5, 1, 5, 9, 9]
    assert join.steps == 8


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_is_the_number(value):
    assert parse_number(str(value)) == value
    assert value_at(parse_number(str(value)), 7) == value


def test_a_schedule_passes_as_it_is():
    assert parse_number(INSTANCES[2]) is INSTANCES[2]
    assert value_at(INSTANCES[2], 1) == 0.25


def test_steps_may_be_written_as_a_float():
    assert parse_number("linear(0, 1, steps=2e3)") == Linear(0.0, 1.0, 2000)


BAD = [
    "",
    "four",
    "True",
    "nan",
    "1e999",
    "1 + 2j",
    "'4'",
    "[1, 2]",
    "linear",
    "linear(0, 1)",
    "linear(0, 1, 2, 3)",
    "linear(0, 1, pace=3)",
    "linear(0, 1, steps=0)",
    "linear(0, 1, steps=-4)",
    "linear(0, 1, steps='many')",
    "linear(0, 1, steps=linear(0, 1, 2))",
    "cyclical(0, 1, 8, cycles=0)",
    "cyclical(0, 1, 8, rise=0)",
    "cyclical(0, 1, 8, rise=2)",
    "constant(1, -2)",
    "join()",
    "join(1, 2)",
    "join(linear(0, 1, 2), 3)",
    "exit()",
    "os.system('x')",
    "linear(0, 1, **{'steps': 2})",
    "linear(*[0, 1, 2])",
    "linear(0, 1, 2",
    "\0",
]


@pytest.mark.parametrize("text", BAD)
def test_bad_text_is_refused_in_one_sentence(text):
    with pytest.raises(VariedError) as told:
        parse_number(text)
    assert str(told.value).endswith((".", "?"))
    assert "\n" not in str(told.value).replace(text, "")


def test_a_misspelt_schedule_is_told_the_nearest():
    with pytest.raises(VariedError, match="did you mean 'linear'"):
        parse_number("linaer(0, 1, 2000)")


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_a_sentence(text):
    with contextlib.suppress(VariedError):
        assert math.isfinite(value_at(parse_number(text), 3))


def test_a_length_below_one_is_a_share_of_the_run():
    rise = parse_number("linear(0, 2, 0.25)")
    assert [value_at(rise, 10**6, share) for share in (0.0, 0.125, 0.25, 1.0)] == [
        0.0,
        1.0,
        2.0,
        2.0,
    ]
    assert parse_number(str(rise)) == rise
    both = parse_number("join(constant(0, 0.1), linear(0, 1, 0.2))")
    assert [value_at(both, 0, share) for share in (0.05, 0.2, 0.9)] == pytest.approx(
        [0.0, 0.5, 1.0]
    )
    for text in (
        "join(constant(0, 0.1), linear(0, 1, 5))",
        "join(constant(0, 0.5), linear(0,1,0.5))",
    ):
        with pytest.raises(VariedError, match="join"):
            parse_number(text)
