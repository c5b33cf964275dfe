"""Codes: what the encoder says of each datum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.evaluate import forward_pass
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["Codes", "embed", "encode"]


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


def encode(model: LatentModel, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Codes:
    """Return the codes of data, in order; means and no draws, so they are always the same."""
    seen = forward_pass(model, load, rows)
    return Codes(seen.mean, seen.std, seen.kl)


def embed(model: LatentModel, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Tensor:
    """Return the mean codes of data alone, with shape (N, D); dearer numbers are not computed."""
    found = []
    with eval_float32(model):
        for index, batch in enumerate(rows):
            with seeded(0, "evaluate", index):
                moved = batch.to(next(model.parameters()).device)
                found.append(model.encode(load(moved.x), moved.c).mean.flatten(1).cpu())
    return torch.cat(found)
