"""What is minimised: a sum of weighted terms. A paper's objective is a function that adds them up.

A weight is a number or a schedule, so beta, KL warm-up and cyclical annealing are numbers that move
and no feature of the loop.
"""

from collections.abc import Callable

from varied.objectives.base import Objective, Weighted
from varied.objectives.bound import elbo, reconstruction

__all__ = ["OBJECTIVES", "Objective", "Weighted", "elbo", "reconstruction"]

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "elbo": elbo,
    "reconstruction": reconstruction,
}
