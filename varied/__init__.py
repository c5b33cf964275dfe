"""Varied: variational autoencoders for your own data.

The names below are loaded when they are first used, so that the command answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    # Threads of OpenMP spin while they wait for each other; where another program is busy on the
    # same cores, they spin against it. This was measured to make training 20 times faster there,
    # and costs nothing elsewhere. The library reads it once, when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

_HOMES = {
    "ConditionalDistribution": "varied.trace",
    "Level": "varied.trace",
    "Objective": "varied.objectives",
    "Part": "varied.spec",
    "Plan": "varied.spec",
    "Run": "varied.runs",
    "Spec": "varied.spec",
    "Step": "varied.training_loop",
    "Trace": "varied.trace",
    "VAE": "varied.models",
    "VAEClassifier": "varied.estimators",
    "VAEDetector": "varied.estimators",
    "VAEImputer": "varied.estimators",
    "VAESampler": "varied.estimators",
    "VAETransformer": "varied.estimators",
    "VariedError": "varied.errors",
    "ZOO": "varied.zoo",
    "compose": "varied.spec",
    "elbo": "varied.objectives",
    "fit": "varied.training",
    "read": "varied.data",
}

__all__ = [
    "VAE",
    "ZOO",
    "ConditionalDistribution",
    "Level",
    "Objective",
    "Part",
    "Plan",
    "Run",
    "Spec",
    "Step",
    "Trace",
    "VAEClassifier",
    "VAEDetector",
    "VAEImputer",
    "VAESampler",
    "VAETransformer",
    "VariedError",
    "__version__",
    "compose",
    "elbo",
    "fit",
    "read",
]

if TYPE_CHECKING:
    from varied.data import read
    from varied.errors import VariedError
    from varied.estimators import (
        VAEClassifier,
        VAEDetector,
        VAEImputer,
        VAESampler,
        VAETransformer,
    )
    from varied.models import VAE
    from varied.objectives import Objective
    from varied.objectives.elbo import elbo
    from varied.runs import Run
    from varied.spec import Part, Plan, Spec, compose
    from varied.trace import ConditionalDistribution, Level, Trace
    from varied.training import fit
    from varied.training_loop import Step
    from varied.zoo import ZOO


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'varied' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
