"""Measured numbers as a person reads them: each with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["NAMES", "active", "estimate"]

#: The sign of the ELBO is turned, so that all of them are costs: lower is better.
NAMES = {
    "elbo": "-ELBO",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "log_likelihood": "-log p(x)",
}
NO_DENSITY = "none: a point posterior has no density"


def estimate(found: Mapping[str, Any], name: str) -> str:
    """Return a number with its standard error, or why there is none."""
    value, error = found.get(name), found.get(f"{name}_error")
    if value is None:
        return NO_DENSITY if name in ("elbo", "kl") else "none"
    sign = -1 if name in ("elbo", "log_likelihood") else 1
    if error is None:
        return f"{sign * value:.2f}"
    digits = _digits(error)
    return f"{sign * value:.{digits}f} ± {error:.{digits}f}"


def _digits(error: float) -> int:
    """Return how many digits show two that count of an error: at least 2, at most 6."""
    return min(max(2, 1 - math.floor(math.log10(error))), 6) if error > 0 else 2


def active(found: Mapping[str, Any]) -> str:
    """Return the active units among all."""
    error = found.get("active_units_error")
    spread = f" ± {error:.1f}" if error else ""
    return f"{found['active_units']:.0f}{spread} of {found['latent']}"
