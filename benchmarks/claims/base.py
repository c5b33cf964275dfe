"""Types shared by the claims, and the models that several of them use."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from benchmarks.training import TrainedModel, load_dataset, train_model
from varied.spec import Plan

Verdict = Literal["held", "held in part", "did not hold"]


@dataclass(frozen=True)
class Budget:
    """The size of an experiment.

    Arguments:
        folder: The folder for images.
        quick: Whether to shorten all experiments, to test the code.
    """

    folder: Path
    quick: bool = False

    def epochs(self, full: float) -> float:
        """Return the number of training epochs."""
        return full / 16 if self.quick else full

    def seeds(self, full: int = 3) -> range:
        """Return the seeds; a standard deviation needs at least two."""
        return range(2 if self.quick else full)

    def rows(self, full: int) -> int:
        """Return the number of rows for a metric."""
        return min(full, 1000) if self.quick else full


@dataclass(frozen=True)
class Table:
    """A table of results, one row per variant."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Image:
    """An image file in the folder of the budget, and its alternative text."""

    file: str
    alt: str


@dataclass(frozen=True)
class Outcome:
    """The result of testing a claim.

    Arguments:
        verdict: Whether the claim held.
        summary: The decisive results, in a sentence or two.
        tables: All results.
        images: Images of the results.
    """

    verdict: Verdict
    summary: str
    tables: Sequence[Table]
    images: Sequence[Image] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """A claim, and the experiment that tests it, whose docstring appears on the page."""

    number: int
    text: str
    test: Callable[[Budget], Outcome]


def verdict(*checks: bool) -> Verdict:
    """Return whether all, some or none of the checks are true."""
    if all(checks):
        return "held"
    return "held in part" if any(checks) else "did not hold"


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of a value over seeds."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> MeanStd:
        """Return the statistics of the given values, one per seed."""
        return cls(tuple(values))

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return statistics.mean(self.values)

    @property
    def std(self) -> float:
        """The standard deviation over seeds."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec or '.3g'}} ± {self.std:{spec or '.2g'}}"

    def is_below(self, other: MeanStd) -> bool:
        """Return whether this mean is lower by more than two standard errors of the difference."""
        n, m = len(self.values), len(other.values)
        error = math.sqrt(self.std**2 / n + other.std**2 / m)
        return other.mean - self.mean > 2 * error


def over_seeds(seeds: range) -> str:
    return f"Mean and standard deviation over {len(seeds)} seeds."


#: One thread, so that two claims can run on two cores.
PLAN: dict[str, Any] = {"threads": 1, "compile": "no", "batch_size": 256, "lr": 4e-3}


def cached_model(
    dataset: str, epochs: float | None, seed: int, parts: dict[str, Any], **plan: Any
) -> TrainedModel:
    """Return a model that is trained once, even if several claims use it.

    Arguments:
        dataset: "mnist" or "sprites".
        epochs: The number of training epochs; None if the plan sets minutes.
        seed: The seed for the weights and the batches.
        parts: The parts of the spec.
        plan: Other settings of the training plan.
    """
    values = PLAN | {"epochs": epochs or 0, "seed": seed} | plan
    return _cached_model(dataset, json.dumps(parts), json.dumps(values))


@cache
def _cached_model(dataset: str, parts: str, plan: str) -> TrainedModel:
    return train_model(load_dataset(dataset), Plan(**json.loads(plan)), json.loads(parts))
