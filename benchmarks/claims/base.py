"""What a claim is, what it may spend, and the models that several claims share."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from benchmarks.trained import Trained, data, trained
from varied.spec import Plan

Verdict = Literal["held", "held in part", "did not hold"]


@dataclass(frozen=True)
class Budget:
    """What a claim may spend.

    Arguments:
        folder: Where its pictures go.
        quick: Whether the shape of the page is all that is wanted.
    """

    folder: Path
    quick: bool = False

    def epochs(self, full: float) -> float:
        """Return the epochs of one training."""
        return full / 16 if self.quick else full

    def seeds(self, full: int = 3) -> range:
        """Return the seeds of an experiment; two are the fewest that have a spread."""
        return range(2 if self.quick else full)

    def rows(self, full: int) -> int:
        """Return how many rows are measured."""
        return min(full, 1000) if self.quick else full


@dataclass(frozen=True)
class Table:
    """Figures, a row for each variant."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A file in the folder of the budget, and what it shows."""

    file: str
    alt: str


@dataclass(frozen=True)
class Outcome:
    """What came of a claim.

    Arguments:
        verdict: Whether it held.
        why: What decides it, in a sentence or two with the figures.
        tables: The figures.
        pictures: What they look like.
    """

    verdict: Verdict
    why: str
    tables: Sequence[Table]
    pictures: Sequence[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """What is said, and the experiment that tests it; its docstring is printed with it."""

    number: int
    said: str
    test: Callable[[Budget], Outcome]


def verdict(*checks: bool) -> Verdict:
    """Return what several checks come to."""
    if all(checks):
        return "held"
    return "held in part" if any(checks) else "did not hold"


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: its mean, and the standard deviation from seed to seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return statistics.mean(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation from seed to seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec or '.3g'}} ± {self.deviation:{spec or '.2g'}}"

    def below(self, other: Spread) -> bool:
        """Return whether it is lower by more than two standard errors of the difference."""
        n, m = len(self.values), len(other.values)
        error = (self.deviation**2 / n + other.deviation**2 / m) ** 0.5
        return other.mean - self.mean > 2 * error


def over(seeds: range, measure: Callable[[int], float]) -> Spread:
    """Return a figure over seeds."""
    return Spread(tuple(measure(seed) for seed in seeds))


#: One thread, so that a machine with two cores can do something else.
PLAN = {"threads": 1, "compile": "no", "batch_size": 256, "lr": 4e-3}


def model(of: str, epochs: float | None, seed: int, parts: dict[str, Any], **plan: Any) -> Trained:
    """Return a model, trained once however many claims look at it.

    Arguments:
        of: The data: "mnist", "sprites".
        epochs: How long; None where the plan has minutes.
        seed: Of the weights and the batches.
        parts: The parts of the spec.
        plan: More of the plan.
    """
    how = PLAN | {"epochs": epochs or 0, "seed": seed} | plan
    return _model(of, json.dumps(parts), json.dumps(how))


@cache
def _model(of: str, parts: str, plan: str) -> Trained:
    return trained(data(of), Plan(**json.loads(plan)), **json.loads(parts))
