"""Varied: variational autoencoders for your own data.

Names are imported on first use, so that ``import varied`` is fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    # OpenMP threads spin while they wait for each other. When another program used the same cores,
    # this made training 20 times slower in our measurements; limiting the spin count costs nothing
    # on an idle machine. The variable is read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

_MODULES = {
    "Client": "varied.client",
    "ConditionalDistribution": "varied.trace",
    "Level": "varied.trace",
    "Objective": "varied.objectives",
    "Part": "varied.spec",
    "Plan": "varied.spec",
    "RawData": "varied.data",
    "Run": "varied.runs",
    "Spec": "varied.spec",
    "Step": "varied.training_step",
    "Trace": "varied.trace",
    "VAE": "varied.models",
    "VAEClassifier": "varied.estimators",
    "VAEDetector": "varied.estimators",
    "VAEImputer": "varied.estimators",
    "VAESampler": "varied.estimators",
    "VAETransformer": "varied.estimators",
    "VariedError": "varied.errors",
    "ZOO": "varied.zoo",
    "compose": "varied.composition",
    "elbo": "varied.objectives.elbo",
    "import_parts": "varied.registry",
    "list_runs": "varied.run_list",
    "read": "varied.data",
    "register": "varied.registry",
    "train": "varied.training",
    "update": "varied.training.update",
}
_SUBPACKAGES = (
    *("data", "discriminators", "distributions", "estimators", "evaluate", "functional", "heads"),
    *("likelihoods", "models", "nets", "objectives", "plots", "posteriors", "priors", "quantizers"),
    *("registry", "runs", "schedules", "spec", "terms", "training", "zoo"),
)

__all__ = [
    "VAE",
    "ZOO",
    "Client",
    "ConditionalDistribution",
    "Level",
    "Objective",
    "Part",
    "Plan",
    "RawData",
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
    "import_parts",
    "list_runs",
    "read",
    "register",
    "train",
    "update",
]

if TYPE_CHECKING:
    from varied.client import Client
    from varied.composition import compose
    from varied.data import RawData, read
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
    from varied.registry import import_parts, register
    from varied.run_list import list_runs
    from varied.runs import Run
    from varied.spec import Part, Plan, Spec
    from varied.trace import ConditionalDistribution, Level, Trace
    from varied.training import train
    from varied.training.update import update
    from varied.training_step import Step
    from varied.zoo import ZOO


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"varied.{name}")
    raise AttributeError(f"module 'varied' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBPACKAGES})
