"""Numbers that move with the step: everywhere a weight is taken, a number or a schedule will do.

A schedule is a pure function of the step, so a resumed run follows the same curve with nothing to
save. Its text form, ``"linear(0, 1, 2000)"``, is what TOML files and the command take. A length
below 1 is a share of the run: ``"linear(0, 1, 0.1)"`` rises over its first tenth.
"""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

from varied.errors import VariedError, suggest

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Cyclical",
    "Join",
    "Linear",
    "Number",
    "Schedule",
    "parse_number",
    "value_at",
]


class Schedule(ABC):
    """A number for each step.

    Concrete schedules are frozen dataclasses with plain fields, a length ``steps`` after which they
    stand still, and ``__call__(step) -> float``. Where the length is below 1, lengths and what is
    called with are shares of the run.
    """

    steps: float

    @abstractmethod
    def __call__(self, step: float) -> float:
        """Return the number at a step counted from 0, or at a share of the run."""

    @property
    def relative(self) -> bool:
        """Whether the length is a share of the run."""
        return 0 < self.steps < 1

    def __str__(self) -> str:
        values = (f"{f.name}={_short(getattr(self, f.name))}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__.lower()}({', '.join(values)})"


Number = float | Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number for ``steps`` steps: a rest inside a `Join`."""

    value: float
    steps: float = 0

    def __call__(self, step: float) -> float:
        """Return the number."""
        return float(self.value)


@dataclass(frozen=True)
class Linear(Schedule):
    """From ``start`` to ``end`` in a straight line over ``steps`` steps, then ``end``.

    Example:
        >>> [Linear(0, 1, 4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    end: float
    steps: float

    def __call__(self, step: float) -> float:
        """Return the number at a step."""
        return self.start + (self.end - self.start) * _share(step, self.steps)


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""From ``start`` to ``end`` along half a cosine.

    .. math:: a + (b - a) \, (1 - \cos(\pi t / T)) / 2
    """

    start: float
    end: float
    steps: float

    def __call__(self, step: float) -> float:
        """Return the number at a step."""
        rise = (1 - math.cos(math.pi * _share(step, self.steps))) / 2
        return self.start + (self.end - self.start) * rise


@dataclass(frozen=True)
class Cyclical(Schedule):
    """From ``start`` to ``end`` again and again, so many times, then ``end``.

    There are ``cycles`` over ``steps`` steps. The first share ``rise`` of each climbs in a
    straight line; the rest stays at ``end``.

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
            raise VariedError(f"rise={self.rise} must be above 0 and at most 1; 0.5 is usual.")

    def __call__(self, step: float) -> float:
        """Return the number at a step."""
        if step >= self.steps:
            return float(self.end)
        within = (step * self.cycles / self.steps) % 1.0
        return self.start + (self.end - self.start) * min(within / self.rise, 1.0)


@dataclass(frozen=True)
class Join(Schedule):
    """One schedule after another; each runs for its own ``steps``.

    Example:
        >>> join = parse_number("join(constant(0, 2), linear(0, 1, 4))")
        >>> [join(step) for step in (0, 2, 4, 6)]
        [0.0, 0.0, 0.5, 1.0]
    """

    parts: tuple[Schedule, ...]

    @property
    def steps(self) -> float:  # type: ignore[override]
        """The length of all parts together."""
        return sum(part.steps for part in self.parts)

    def __call__(self, step: float) -> float:
        """Return the number at a step."""
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
    """Return a number, or what a schedule says.

    Arguments:
        value: A number or a schedule.
        step: Steps done.
        progress: The share of the run that is done; read where lengths are shares.

    Example:
        >>> value_at(Linear(0, 1, 0.2), step=7, progress=0.1)
        0.5
    """
    if not isinstance(value, Schedule):
        return float(value)
    return value(progress if value.relative else step)


def parse_number(value: float | str | Schedule) -> Number:
    """Read a number or a schedule from its text form.

    Arguments:
        value: A number, a schedule, or text such as ``"4"`` or ``"linear(0, 1, steps=2000)"``.

    Raises:
        VariedError: If the text is neither.

    Example:
        >>> print(parse_number("linear(0, 1, 2000)"))
        linear(start=0, end=1, steps=2000)
        >>> parse_number("4")
        4.0
    """
    if isinstance(value, Schedule):
        return value
    try:
        tree = ast.parse(str(value).strip(), mode="eval").body
        return _read(tree)
    except (SyntaxError, TypeError, ValueError) as error:
        if isinstance(error, VariedError):
            raise
        raise VariedError(
            f"'{value}' is neither a number nor a schedule; write 4, or linear(0, 1, steps=2000)."
        ) from None


def _read(tree: ast.expr) -> Number:
    if not isinstance(tree, ast.Call):
        return _finite(ast.literal_eval(tree))
    name = getattr(tree.func, "id", "")
    if name not in SCHEDULES:
        raise VariedError(f"There is no schedule '{name}': {suggest(name, SCHEDULES)}")
    values = [_read(argument) for argument in tree.args]
    if name == "join":
        return _joined(values)
    named = {str(keyword.arg): _read(keyword.value) for keyword in tree.keywords}
    return _whole(SCHEDULES[name](*values, **named))


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _joined(values: list[Number]) -> Schedule:
    parts = tuple(part for part in values if isinstance(part, Schedule))
    if not parts or len(parts) < len(values):
        raise VariedError("A join is made of schedules; write constant(0, 100) for a number.")
    if len({0 < part.steps < 1 for part in parts if part.steps}) > 1:
        raise VariedError("A join counts in steps or in shares of the run; use one of the two.")
    if not parts[0].relative or sum(part.steps for part in parts) < 1:
        return Join(parts)
    raise VariedError("The shares of a join come to the whole run or more; use smaller ones.")


def _whole(schedule: Schedule) -> Schedule:
    if any(isinstance(value, Schedule) for value in vars(schedule).values()):
        raise VariedError("Only a join has schedules inside; use join(...), or give a number.")
    counts = {k: _count(v) for k, v in vars(schedule).items() if k in ("steps", "cycles")}
    least = min(counts.values())
    if least < 0 or (least == 0 and not isinstance(schedule, Constant)):
        raise VariedError(f"{schedule} has no length; give it at least one step.")
    return type(schedule)(**{**vars(schedule), **counts})


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _count(value: float) -> float:
    return value if 0 < value < 1 else int(value)


def _share(step: float, steps: float) -> float:
    return min(max(step / steps, 0.0), 1.0)
