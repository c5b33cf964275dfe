"""A value with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from varied.evaluate.formatting import format_estimate


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Arguments:
        value: The value, usually a mean over examples.
        error: The standard error of the value; NaN if unknown.
        n: The number of examples from which the value was computed.

    Example:
        >>> print(Estimate(91.2345, 0.253, 10000))
        91.23 ± 0.25
        >>> print(f"{Estimate(91.2345, 0.253, 10000):.1f}")
        91.2
    """

    value: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """Return the mean of values with shape (N) and its standard error."""
        n, values = values.numel(), values.double()
        std = float(values.std()) if n > 1 else math.nan
        return cls(float(values.mean()), std / math.sqrt(n), n)

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(factor * self.value, abs(factor) * self.error, self.n)

    def __neg__(self) -> Estimate:
        return self * -1

    def __float__(self) -> float:
        return self.value

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __str__(self) -> str:
        return format_estimate(self.value, self.error)
