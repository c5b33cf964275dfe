"""The base class of likelihoods, and scale parameters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varied import distributions as d
from varied.errors import VariedError
from varied.heads import Head

GRID = frozenset({"binary", "uint8"})
UNIT = GRID | {"unit-interval"}
ANY = UNIT | {"real"}


class Likelihood(Head):
    """The head of a likelihood."""

    #: The domains on which the likelihood is normalized.
    accepts: frozenset[str] = ANY


class Scale(nn.Module):
    """The scale parameter of a location-scale likelihood.

    The scale is a constant, a learned number, a learned number for each element (as in factor
    analysis), or an output of the network for each element of each example.

    If the scale could shrink to zero, the likelihood would be unbounded. The scale therefore has a
    minimum, by default half a gray level (1/510).

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021),
        https://arxiv.org/abs/2006.13202

    Arguments:
        event: The shape of one example.
        scale: The setting: a positive number, "learned", "per-element" or "heteroscedastic".
        min_scale: The minimum scale, in units of the data.
        name: The name of the setting in error messages.
    """

    # In each step, Adam changes a parameter by approximately the learning rate, regardless of its
    # unit. Without this factor, reducing a scale from 1 to 0.05 would take thousands of steps.
    GAIN = 10.0

    def __init__(
        self, event: tuple[int, ...], scale: float | str, min_scale: float, name: str = "scale"
    ) -> None:
        super().__init__()
        if min_scale <= 0:
            raise VariedError(
                f"min_scale={min_scale} must be above 0, such as 0.002, because the likelihood "
                "would otherwise be unbounded."
            )
        self.is_heteroscedastic = scale == "heteroscedastic"
        self.log_min = math.log(min_scale)
        shapes: dict[float | str, tuple[int, ...]] = {"learned": (), "per-element": event}
        is_constant = scale not in shapes and not self.is_heteroscedastic
        self.log_constant = math.log(_positive(scale, name)) if is_constant else None
        initial = torch.full(shapes.get(scale, ()), math.log(0.3) / self.GAIN)
        self.raw = nn.Parameter(initial) if scale in shapes else None

    def forward(self, h: Tensor | None, like: Tensor) -> Tensor:
        """Return the log-scale, with a shape that can be broadcast to that of ``like``.

        Arguments:
            h: The output of the network for a heteroscedastic scale, or None otherwise.
            like: A tensor with the shape, the data type and the device of the location.
        """
        if self.log_constant is not None:
            return like.new_full((), self.log_constant)
        raw = self.raw * self.GAIN if self.raw is not None else h
        assert raw is not None
        # Clamp the value, since exp(89) overflows in float32.
        return self.log_min + F.softplus(d.soft_clamp(raw, 30.0) - self.log_min)


def _positive(scale: float | str, name: str) -> float:
    try:
        value = float(scale)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise VariedError(
            f"{name}={scale!r} must be a number above 0, 'learned', 'per-element' or "
            "'heteroscedastic'."
        )
    return value
