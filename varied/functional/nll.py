"""How strange data are, and what makes them so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.distributions import base_distribution
from varied.functional.importance_sampling import CHUNK, importance_bound, posterior_draws
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["NLL", "load_seeded", "negative_log_likelihood"]


@dataclass(frozen=True)
class NLL:
    """How strange each datum is.

    Arguments:
        score: -log p(x), by importance samples, with shape (N), in nats; higher is stranger.
        cost: What each element costs given the code, with shape (N, *event), in nats: where a
            datum is strange in itself.
    """

    score: Tensor
    cost: Tensor


def negative_log_likelihood(
    model: LatentModel,
    load: Callable[[Tensor], Tensor],
    rows: Iterable[Batch],
    *,
    samples: int = 100,
    seed: int = 0,
) -> NLL:
    r"""Return -log p(x) of each datum, and what each of its elements costs.

    .. math:: s = -\log \frac1K \sum_k w_k, \qquad
        c_j = -\sum_k \bar w_k \log p(x_j \mid z_k), \qquad \bar w_k = w_k / \sum_l w_l

    The same datum always gets the same score, wherever it stands and whatever stands beside it.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Warning:
        A likelihood can be high for data that are no anomalies' kin at all, simple ones most of
        all: see `varied explain anomaly`. Compare scores with those of normal data, never with 0.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        load: From stored rows to data; what it draws follows from the seed.
        rows: Batches in order.
        samples: The number K of importance samples.
        seed: Which draws.
    """
    score, cost = [], []
    with eval_float32(model):
        device = next(model.parameters()).device
        for batch in rows:
            moved = batch.to(device)
            size = max(1, CHUNK // (samples * moved.x[0].numel() * model.params_per_element))
            for start in range(0, len(moved), size):
                part = slice(start, start + size)
                x = load_seeded(load, moved.x[part], seed)
                c = None if moved.c is None else moved.c[part]
                mask = None if moved.mask is None else moved.mask[part]
                z, log_w = posterior_draws(model, x, c, mask, samples=samples, seed=seed)
                law = base_distribution(model.decode(z, c))
                each_cost = -law.log_prob(x) * (1 if mask is None else mask)
                score.append(-importance_bound(log_w).cpu())
                cost.append(torch.einsum("kb...,kb->b...", each_cost, log_w.softmax(0)).cpu())
    return NLL(torch.cat(score), torch.cat(cost))


def load_seeded(load: Callable[[Tensor], Tensor], stored: Tensor, seed: int) -> Tensor:
    """Return rows as the model sees them; what a load draws hangs on the row alone."""
    found = []
    for row in stored.split(1):
        with seeded(seed, "strangeness"):
            found.append(load(row))
    return torch.cat(found)
