"""One claim tested, as plain values: what a process of its own can be asked for."""

from __future__ import annotations

import dataclasses
import inspect
import time
from typing import Any

from benchmarks.claims import anomalies, collapse, nets, rivalry, spaces, weights
from benchmarks.claims.base import Budget

MODULES = (spaces, weights, collapse, nets, rivalry, anomalies)
CLAIMS = {claim.number: claim for module in MODULES for claim in module.CLAIMS}


def tried(number: int, budget: Budget) -> dict[str, Any]:
    """Test a claim; return what came of it as plain values."""
    claim, begun = CLAIMS[number], time.perf_counter()
    outcome = claim.test(budget)
    return {
        "said": claim.said,
        "experiment": inspect.getdoc(claim.test),
        **dataclasses.asdict(outcome),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
    }
