"""Encoding of data as statistics of the posterior."""

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


@dataclass(frozen=True)
class Codes:
    """Statistics of the posterior q(z | x) of N examples.

    Arguments:
        mean: The posterior mean, which is the code, with shape (N, D).
        std: The posterior standard deviation, with shape (N, D).
        kl: The value of KL(q(z | x) || p(z)) for each example, in nats, with shape (N); None if the
            posterior has no density.
    """

    mean: Tensor
    std: Tensor
    kl: Tensor | None


def encode(model: LatentModel, load: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> Codes:
    """Return the posterior mean, standard deviation and KL divergence of each example, in order.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        load: Converts stored rows to model input.
        batches: The data.
    """
    result = forward_pass(model, load, batches)
    return Codes(result.mean, result.std, result.kl)


def embed(model: LatentModel, load: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> Tensor:
    """Return only the posterior means, with shape (N, D); this is faster than `encode`.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        load: Converts stored rows to model input.
        batches: The data.
    """
    return map_batches(model, load, batches, lambda x, c: model.encode(x, c).mean.flatten(1))


def map_batches(
    model: LatentModel,
    load: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    function: Callable[[Tensor, Tensor | None], Tensor],
) -> Tensor:
    """Apply a function to the input and context of each batch, and concatenate the results."""
    results, device = [], next(model.parameters()).device
    with eval_float32(model):
        for index, batch in enumerate(batches):
            with seeded(0, "evaluate", index):
                rows = batch.to(device)
                results.append(function(load(rows.x), rows.c).cpu())
    return torch.cat(results)
