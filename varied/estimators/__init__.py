"""Scikit-learn estimators for tables that fit in memory, and transformers for other data.

They are imported on first access, since importing scikit-learn is slow.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from varied.estimators.classifier import VAEClassifier
    from varied.estimators.detector import VAEDetector
    from varied.estimators.imputer import VAEImputer
    from varied.estimators.sampler import VAESampler
    from varied.estimators.smiles_transformer import SmilesTransformer
    from varied.estimators.spectrogram_transformer import SpectrogramTransformer
    from varied.estimators.transformer import VAETransformer

__all__ = [
    "SmilesTransformer",
    "SpectrogramTransformer",
    "VAEClassifier",
    "VAEDetector",
    "VAEImputer",
    "VAESampler",
    "VAETransformer",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'varied.estimators' has no attribute '{name}'")
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removeprefix("VAE")).lower()
    return getattr(import_module(f"varied.estimators.{module}"), name)


def __dir__() -> list[str]:
    return __all__
