"""Variational autoencoders as scikit-learn has its estimators: fitted in memory, no folder.

They are loaded when they are first asked for, since scikit-learn is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from varied.estimators.classifier import VAEClassifier
    from varied.estimators.detector import VAEDetector
    from varied.estimators.imputer import VAEImputer
    from varied.estimators.sampler import VAESampler
    from varied.estimators.transformer import VAETransformer

_PLACES = {
    "VAEClassifier": "classifier",
    "VAEDetector": "detector",
    "VAEImputer": "imputer",
    "VAESampler": "sampler",
    "VAETransformer": "transformer",
}

__all__ = ["VAEClassifier", "VAEDetector", "VAEImputer", "VAESampler", "VAETransformer"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'varied.estimators' has no attribute '{name}'")
    return getattr(import_module(f"varied.estimators.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
