"""Numbers that depend on the training step, such as an annealed KL weight.

A schedule is a pure function of the step, so resuming a run does not require any saved state. TOML
files and the command line use its text form, such as ``"linear(0, 1, 2000)"``. A length below 1 is
a fraction of the training steps: ``"linear(0, 1, 0.1)"`` rises during the first 10% of training,
and ``"linear(0, 1, 0.1, max_steps=2000)"`` during at most 2,000 steps.
"""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from varied.errors import VariedError, suggest


class Schedule(ABC):
    """A function that maps the training step to a number.

    Subclasses are frozen dataclasses whose fields are plain Python values. After ``steps`` steps,
    the value is constant. If ``steps`` is below 1, lengths are fractions of the training steps, and
    the schedule is called with the completed fraction instead of the step.
    """

    steps: float
    #: For a relative length, the maximum number of steps; 0 for no maximum.
    max_steps: float = 0

    @abstractmethod
    def __call__(self, step: float) -> float:
        """Return the value at a step, counted from 0, or at a fraction of the training steps."""

    @property
    def is_relative(self) -> bool:
        """Whether the length is a fraction of the training steps."""
        return 0 < self.steps < 1

    def __str__(self) -> str:
        values = {k: v for k, v in vars(self).items() if k != "max_steps" or v}
        arguments = (f"{name}={_shortest(value)}" for name, value in values.items())
        return f"{type(self).__name__.lower()}({', '.join(arguments)})"


Number = float | Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """A constant, which lasts for ``steps`` steps in a `Join`."""

    value: float
    steps: float = 0

    def __call__(self, step: float) -> float:
        """Return the constant."""
        return float(self.value)


@dataclass(frozen=True)
class Linear(Schedule):
    """Linear interpolation from ``start`` to ``end`` over ``steps`` steps, followed by ``end``.

    If ``steps`` is a fraction of the training steps, ``max_steps`` limits it to a number of steps.

    Example:
        >>> [Linear(0, 1, 4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    end: float
    steps: float
    max_steps: float = 0

    def __post_init__(self) -> None:
        if self.max_steps < 0:
            raise VariedError(f"max_steps={_shortest(self.max_steps)} must not be negative.")
        if self.max_steps and not self.is_relative:
            raise VariedError(
                f"max_steps={_shortest(self.max_steps)} requires a length above 0 and below 1, as "
                "in linear(0, 1, steps=0.2, max_steps=2000); use such a length, or omit max_steps."
            )

    def __call__(self, step: float) -> float:
        """Return the value at a step."""
        return self.start + (self.end - self.start) * _fraction(step, self.steps)


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""Cosine interpolation from ``start`` to ``end`` over ``steps`` steps, followed by ``end``.

    .. math:: a + (b - a) \, (1 - \cos(\pi t / T)) / 2
    """

    start: float
    end: float
    steps: float

    def __call__(self, step: float) -> float:
        """Return the value at a step."""
        rise = (1 - math.cos(math.pi * _fraction(step, self.steps))) / 2
        return self.start + (self.end - self.start) * rise


@dataclass(frozen=True)
class Cyclical(Schedule):
    """Linear interpolation from ``start`` to ``end``, repeated ``cycles`` times in ``steps`` steps.

    In each cycle, the value changes linearly during the first fraction ``rise`` of the cycle, and
    then stays at ``end``.

    References:
        Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing
        (Fu et al., 2019), https://arxiv.org/abs/1903.10145

    Example:
        >>> [Cyclical(0, 1, steps=8, cycles=2)(step) for step in (0, 1, 2, 3, 4, 5, 8)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0]
    """

    start: float
    end: float
    steps: float
    cycles: int = 4
    rise: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.rise <= 1:
            raise VariedError(f"rise={self.rise} must be above 0 and at most 1, such as 0.5.")

    def __call__(self, step: float) -> float:
        """Return the value at a step."""
        if step >= self.steps:
            return float(self.end)
        phase = (step * self.cycles / self.steps) % 1.0
        return self.start + (self.end - self.start) * min(phase / self.rise, 1.0)


@dataclass(frozen=True)
class Join(Schedule):
    """A sequence of schedules, each of which lasts for its own ``steps``.

    Example:
        >>> join = parse_number("join(constant(0, 2), linear(0, 1, 4))")
        >>> [join(step) for step in (0, 2, 4, 6)]
        [0.0, 0.0, 0.5, 1.0]
    """

    parts: tuple[Schedule, ...]

    @property
    def steps(self) -> float:  # type: ignore[override]
        """The total length of all parts."""
        return sum(part.steps for part in self.parts)

    def __call__(self, step: float) -> float:
        """Return the value at a step."""
        for part in self.parts[:-1]:
            if step < part.steps:
                return part(step)
            step -= part.steps
        return self.parts[-1](step)

    def __str__(self) -> str:
        return f"join({', '.join(map(str, self.parts))})"


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "cyclical": Cyclical,
    "join": Join,
}


def value_at(value: Number, step: int, progress: float = 1.0) -> float:
    """Return the value of a number or a schedule at a training step.

    Arguments:
        value: A number or a schedule.
        step: The number of completed steps.
        progress: The completed fraction of the training steps, for schedules with a relative
            length.

    Example:
        >>> value_at(Linear(0, 1, 0.2), step=7, progress=0.1)
        0.5
    """
    if not isinstance(value, Schedule):
        return float(value)
    return value(_position(value, step, progress))


def is_complete(value: Number, step: int, progress: float = 1.0) -> bool:
    """Return whether a number or a schedule has reached its final value.

    Arguments:
        value: A number or a schedule.
        step: The number of completed steps.
        progress: The completed fraction of the training steps.
    """
    return not isinstance(value, Schedule) or _position(value, step, progress) >= value.steps


def _position(schedule: Schedule, step: int, progress: float) -> float:
    """Return the argument with which a schedule is called."""
    if not schedule.is_relative:
        return step
    if not schedule.max_steps:
        return progress
    return max(progress, schedule.steps * step / schedule.max_steps)


def parse_number(value: float | str | Schedule) -> Number:
    """Parse a number or a schedule.

    Arguments:
        value: A number, a schedule, or text such as ``"4"`` or ``"linear(0, 1, steps=2000)"``.

    Raises:
        VariedError: If the text is neither a number nor a schedule.

    Example:
        >>> print(parse_number("linear(0, 1, 2000)"))
        linear(start=0, end=1, steps=2000)
        >>> parse_number("4")
        4.0
    """
    if isinstance(value, Schedule):
        return value
    try:
        return _parse(ast.parse(str(value).strip(), mode="eval").body)
    except VariedError:
        raise
    except (SyntaxError, TypeError, ValueError):
        raise VariedError(
            f"'{value}' is neither a number nor a schedule; use, for example, 4 or "
            "linear(0, 1, steps=2000)."
        ) from None


def _parse(tree: ast.expr) -> Number:
    if not isinstance(tree, ast.Call):
        return _finite_number(ast.literal_eval(tree))
    name = tree.func.id if isinstance(tree.func, ast.Name) else ""
    if name not in SCHEDULES:
        raise VariedError(f"There is no schedule '{name}': {suggest(name, SCHEDULES)}")
    arguments = [_parse(argument) for argument in tree.args]
    if name == "join":
        return _join(arguments)
    keywords = {str(keyword.arg): _parse(keyword.value) for keyword in tree.keywords}
    return _with_valid_lengths(SCHEDULES[name](*arguments, **keywords))


def _finite_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _join(arguments: list[Number]) -> Schedule:
    parts = tuple(part for part in arguments if isinstance(part, Schedule))
    if not parts or len(parts) < len(arguments):
        raise VariedError(
            "join(...) accepts only schedules; replace a number such as 0 with a schedule such as "
            "constant(0, 100)."
        )
    if len({part.is_relative for part in parts if part.steps}) > 1:
        raise VariedError(
            "The lengths in join(...) must either all be numbers of steps or all be fractions of "
            "the training steps."
        )
    if parts[0].is_relative and sum(part.steps for part in parts) >= 1:
        raise VariedError("Relative lengths in join(...) must add up to less than 1.")
    return Join(parts)


def _with_valid_lengths(schedule: Schedule) -> Schedule:
    if any(isinstance(value, Schedule) for value in vars(schedule).values()):
        raise VariedError("Only join(...) accepts schedules as arguments; pass a number instead.")
    lengths = {name: vars(schedule)[name] for name in ("steps", "cycles") if name in vars(schedule)}
    counts = {name: n if 0 < n < 1 else int(n) for name, n in lengths.items()}
    for name, count in counts.items():
        if count < 0 or (count == 0 and not isinstance(schedule, Constant)):
            raise VariedError(f"The number of {name} in {schedule} must be positive.")
    return type(schedule)(**(vars(schedule) | counts))


def _shortest(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _fraction(step: float, steps: float) -> float:
    return min(max(step / steps, 0.0), 1.0)
