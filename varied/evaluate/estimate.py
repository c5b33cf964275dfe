"""A number with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A mean over data with its standard error.

    Example:
        >>> print(Estimate(91.2345, 0.253, 10000))
        91.23 ± 0.25
    """

    value: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """Return the mean of values with shape (N), and its standard error."""
        n = values.numel()
        spread = float(values.double().std()) if n > 1 else math.nan
        return cls(float(values.double().mean()), spread / math.sqrt(n), n)

    def __str__(self) -> str:
        digits = 2 if not 0 < self.error < 0.05 else 3
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, self.error, self.n)
