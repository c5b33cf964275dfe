"""A schedule is a pure function of the step and can be restored from its text form."""

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
    is_complete,
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

all_schedules = pytest.mark.parametrize("schedule", INSTANCES, ids=str)
finite_numbers = st.floats(-1e6, 1e6)


def test_every_schedule_is_tested():
    assert {type(schedule) for schedule in INSTANCES} == set(SCHEDULES.values())


@all_schedules
def test_text_form_restores_the_schedule(schedule):
    assert parse_number(str(schedule)) == schedule


@all_schedules
def test_values_are_floats_and_constant_after_the_last_step(schedule):
    assert all(isinstance(schedule(step), float) for step in range(schedule.steps + 2))
    assert schedule(schedule.steps) == schedule(schedule.steps + 1) == schedule(10**9)


@all_schedules
def test_value_depends_on_the_step_only(schedule):
    forward = [schedule(step) for step in range(12)]
    assert [schedule(step) for step in reversed(range(12))] == forward[::-1]


@pytest.mark.parametrize("kind", [Linear, Cosine])
@given(finite_numbers, finite_numbers, st.integers(1, 500))
def test_interpolation_is_monotonic(kind, start, end, steps):
    values = [kind(start, end, steps)(step) for step in range(steps + 2)]
    tolerance = 1e-9 * max(abs(start), abs(end), 1)
    sign = 1 if end >= start else -1
    assert values[0] == pytest.approx(start, abs=tolerance)
    assert values[-1] == pytest.approx(end, abs=tolerance)
    assert all(sign * (b - a) >= -tolerance for a, b in itertools.pairwise(values))


@given(finite_numbers, finite_numbers, st.integers(1, 500), st.integers(1, 9), st.floats(0.01, 1))
def test_cycles_stay_between_start_and_end(start, end, steps, cycles, rise):
    values = [Cyclical(start, end, steps, cycles, rise)(step) for step in range(steps + 2)]
    low, high = sorted((start, end))
    assert values[0] == start
    assert values[-1] == end
    assert all(low - 1e-6 <= value <= high + 1e-6 for value in values)


def test_cosine_formula():
    assert Cosine(0, 2, 8)(2) == pytest.approx(1 - math.cos(math.pi / 4))


def test_each_cycle_rises_and_then_stays_at_the_end():
    assert [Cyclical(0, 1, 8, 2)(step) for step in range(9)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1]


def test_each_part_of_a_join_lasts_for_its_own_steps():
    join = Join((Constant(5, 2), Linear(0, 1, 2), Linear(1, 9, 4)))
    assert [join(step) for step in (0, 1, 2, 3, 4, 6, 8, 99)] == [5, 5, 0, 0.5, 1, 5, 9, 9]
    assert join.steps == 8


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_form_of_a_number(value):
    assert parse_number(str(value)) == value
    assert value_at(parse_number(str(value)), 7) == value


def test_schedule_is_returned_unchanged():
    assert parse_number(INSTANCES[2]) is INSTANCES[2]
    assert value_at(INSTANCES[2], 1) == 0.25


def test_steps_may_be_written_as_a_float():
    assert parse_number("linear(0, 1, steps=2e3)") == Linear(0.0, 1.0, 2000)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("linear(0, 2, 0.25)", {0.0: 0.0, 0.125: 1.0, 0.25: 2.0, 1.0: 2.0}),
        ("join(constant(0, 0.1), linear(0, 1, 0.2))", {0.05: 0.0, 0.2: 0.5, 0.9: 1.0}),
    ],
)
def test_length_below_one_is_a_fraction_of_the_training_steps(text, values):
    schedule = parse_number(text)
    assert parse_number(str(schedule)) == schedule
    for progress, value in values.items():
        assert value_at(schedule, 10**6, progress) == pytest.approx(value)


@pytest.mark.parametrize(
    ("step", "progress", "value"),
    [(0, 0.0, 0.0), (5, 0.1, 0.5), (50, 0.1, 0.5), (80, 0.1, 0.8), (100, 0.11, 1.0), (1, 0.2, 1.0)],
)
def test_a_relative_length_is_limited_to_a_number_of_steps(step, progress, value):
    schedule = parse_number("linear(0, 1, 0.2, max_steps=100)")
    assert str(schedule) == "linear(start=0, end=1, steps=0.2, max_steps=100)"
    assert parse_number(str(schedule)) == schedule
    assert value_at(schedule, step, progress) == pytest.approx(value)
    assert is_complete(schedule, step, progress) == (value == 1.0)


@pytest.mark.parametrize(
    ("number", "step", "progress", "complete"),
    [
        (4.0, 0, 0.0, True),
        (Constant(4), 0, 0.0, True),
        (Linear(0, 1, 9), 8, 1.0, False),
        (Linear(0, 1, 9), 9, 0.0, True),
        (Cyclical(0, 1, 0.5), 9, 0.3, False),
        (Cyclical(0, 1, 0.5), 9, 0.5, True),
    ],
)
def test_a_schedule_is_complete_after_its_last_step(number, step, progress, complete):
    assert is_complete(number, step, progress) == complete


INVALID = [
    "linear(0, 1, 50, max_steps=10)",
    "linear(0, 1, 0.2, max_steps=-10)",
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
    "join(constant(0, 0.1), linear(0, 1, 5))",
    "join(constant(0, 0.5), linear(0, 1, 0.5))",
    "exit()",
    "os.system('x')",
    "linear(0, 1, **{'steps': 2})",
    "linear(*[0, 1, 2])",
    "linear(0, 1, 2",
    "\0",
]


@pytest.mark.parametrize("text", INVALID)
def test_invalid_text_is_an_error_of_one_sentence(text):
    with pytest.raises(VariedError) as error:
        parse_number(text)
    assert str(error.value).endswith((".", "?"))
    assert "\n" not in str(error.value).replace(text, "")


def test_error_suggests_the_nearest_schedule():
    with pytest.raises(VariedError, match="did you mean 'linear'"):
        parse_number("linaer(0, 1, 2000)")


@given(st.text(max_size=30))
def test_any_text_is_a_finite_number_or_an_error(text):
    with contextlib.suppress(VariedError):
        assert math.isfinite(value_at(parse_number(text), 3))
