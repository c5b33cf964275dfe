"""Codes: what the encoder says of each datum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from varied.data.batches import Batch
from varied.evaluate import passed
from varied.models import VAE

__all__ = ["Codes", "encode"]


@dataclass(frozen=True)
class Codes:
    """The code of each datum.

    Arguments:
        mean: The mean of the posterior, the embedding, with shape (N, D).
        spread: Its standard deviation, the uncertainty, with shape (N, D).
        rate: The KL of each datum, with shape (N), in nats; None where there is no density.
    """

    mean: Tensor
    spread: Tensor
    rate: Tensor | None


def encode(model: VAE, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Codes:
    """Return the codes of data, in order; means and no draws, so they are always the same."""
    seen = passed(model, load, rows)
    return Codes(seen.mean, seen.spread, seen.rate)
