"""All claims, and a function that tests one in a separate process."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from benchmarks.claims import (
    anomaly_detection,
    architectures,
    collapse,
    gan_diffusion,
    kl_weight,
    latent_space,
    parametrization,
)
from benchmarks.claims.base import Budget

MODULES = (
    latent_space,
    kl_weight,
    collapse,
    architectures,
    parametrization,
    gan_diffusion,
    anomaly_detection,
)
CLAIMS = {claim.number: claim for module in MODULES for claim in module.CLAIMS}


def run_test(number: int, budget: Budget) -> dict[str, Any]:
    """Test a claim and return the outcome as plain values."""
    begin = time.perf_counter()
    outcome = dataclasses.asdict(CLAIMS[number].test(budget))
    return outcome | {"minutes": round((time.perf_counter() - begin) / 60, 1)}
