"""The entropy coders, and the exactly reproducible computation of probabilities."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.models import VAE
from varied.runtime import eval_float32

#: The entropy coder stores probabilities as multiples of 2 ** -24. Probabilities are first rounded
#: to this coarser grid, so that differences in the last bits of the arithmetic rarely matter.
RESOLUTION = 2.0**20


def entropy_coders() -> Any:
    """Return the module ``constriction.stream``.

    Raises:
        VariedError: If constriction is not installed.
    """
    try:
        return import_module("constriction").stream
    except ImportError:
        raise VariedError(
            "Compression requires constriction; run `pip install 'varied[compress]'`."
        ) from None


@contextmanager
def deterministic(model: VAE) -> Iterator[VAE]:
    """Yield a copy of a model that computes in float64 on a single CPU thread.

    The previous number of threads is restored on exit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        twin = copy.deepcopy(model).cpu().double()
        with eval_float32(twin):
            yield twin
    finally:
        torch.set_num_threads(threads)


def quantize_params(values: Tensor, resolution: float = RESOLUTION) -> Tensor:
    """Round parameters to multiples of 1 / resolution, and return the integer factors as float64.

    Raises:
        VariedError: If a value is not finite.
    """
    if not values.isfinite().all():
        raise VariedError(
            "The model returns NaN or infinity for these data; train it again with a smaller lr."
        )
    return (values.double() * resolution).round().contiguous()
