"""Data through the code and back."""

from __future__ import annotations

from torch import Tensor

from varied.functional.decode import decode
from varied.models import LatentModel
from varied.runtime import eval_float32

__all__ = ["reconstruct"]


def reconstruct(model: LatentModel, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Return the mean reconstruction from the mean code, with the shape of ``x``.

    Arguments:
        model: The model.
        x: Data, with shape (N, *event).
        c: The context, with shape (N, F), or None.
    """
    with eval_float32(model):
        return decode(model, model.encode(x, c).mean, c)
