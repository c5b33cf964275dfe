"""Importance sampling with the posterior as proposal: weighted draws and -log p(x)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.data.batches import Batch, iter_batches
from varied.distributions import Gaussian, base_distribution, given_library_size
from varied.functional.generate import reconstruct_missing
from varied.models import VAE, LatentModel
from varied.models.vae import zero_missing
from varied.runtime import eval_float32
from varied.seeding import seeded
from varied.trace import Level, Trace

#: The maximum number of decoder outputs per chunk of rows.
CHUNK = 2**21


def chunk_size(model: LatentModel, x: Tensor, samples: int) -> int:
    """Return the number of rows whose draws fit in one chunk."""
    return max(1, CHUNK // (samples * x[0].numel() * model.params_per_element))


def posterior_draws(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    samples: int,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    r"""Return draws from the posterior of each example, with their log importance weights.

    .. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \qquad z_k \sim q(z \mid x)

    The draws for an example depend only on that example and the seed, not on the rest of the batch:
    all Gaussian posteriors scale the same noise, while other posteriors are sampled one example at
    a time, which is slower.

    Arguments:
        model: The model, in evaluation mode and with gradients disabled.
        x: The data, with shape (B, *event).
        c: The context, with shape (B, F), or None.
        mask: 1 for observed elements, with the shape of ``x``, or None.
        samples: The number K of draws. A model that enumerates classes divides the draws among the
            classes, with at least one draw for each.
        seed: The random seed.

    Returns:
        Latent variables with shape (K, B, *latent), and log weights in nats with shape (K, B).
    """
    z, log_w, _ = _weighted_draws(model, zero_missing(x, mask), c, mask, samples, seed, 0)
    return z, log_w


def _weighted_draws(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None,
    mask: Tensor | None,
    samples: int,
    seed: int,
    sweeps: int,
) -> tuple[Tensor, Tensor, Distribution]:
    """Return draws from the posterior, their log importance weights, and p(x | z)."""
    q = None
    if isinstance(model, VAE):
        q = model.encode(reconstruct_missing(model, x, c, mask, sweeps=sweeps), c)
    if q is None or not isinstance(base_distribution(q), Gaussian):
        rows = iter_batches(x, c, mask, size=1)
        draws, log_w = zip(*(_row_draws(model, row, samples, seed) for row in rows), strict=True)
        z = torch.cat(draws, 1)
        return z, torch.cat(log_w, 1), model.decode(z, c)
    with seeded(seed, "weigh"):
        noise = torch.randn(samples, 1, *q.event_shape, device=x.device)
    z = q.mean + q.variance.sqrt() * noise
    assert isinstance(model, VAE)
    trace = Trace(x, model.decode(z, c), [Level(z, q, model.prior(c))], mask, c=c)
    return z, trace.log_weight, trace.px


def _row_draws(model: LatentModel, row: Batch, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    with seeded(seed, "weigh"):
        trace = model(row.x, row.c, row.mask, max(1, samples // model.num_enumerated))
    return trace.z, trace.log_weight


def importance_bound(log_w: Tensor) -> Tensor:
    r"""Return the importance-weighted bound :math:`\log \frac1K \sum_k w_k`, with shape (B)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def weighted_mean(values: Tensor, log_w: Tensor) -> Tensor:
    """Return the self-normalized importance-weighted mean of values (K, B, ...) over K."""
    return torch.einsum("kb...,kb->b...", values, log_w.softmax(0))


@dataclass(frozen=True)
class NLL:
    """The negative log-likelihood of N examples.

    Arguments:
        nll: The estimate of -log p(x) by importance sampling, in nats, with shape (N).
        element_nll: The value of -log p(x_j | z) for each element, averaged over the posterior, in
            nats, with shape (N, *event). It shows which elements make an example unlikely.
    """

    nll: Tensor
    element_nll: Tensor


def negative_log_likelihood(
    model: LatentModel,
    load: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    *,
    samples: int = 100,
    sweeps: int = 0,
    seed: int = 0,
) -> NLL:
    r"""Return -log p(x) for each example, and the contribution of each element given the code.

    .. math:: s = -\log \frac1K \sum_k w_k, \qquad
        c_j = -\sum_k \bar w_k \log p(x_j \mid z_k), \qquad \bar w_k = w_k / \sum_l w_l

    The result for an example does not depend on the order of the data or on how they are batched.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Warning:
        Out-of-distribution data can have a high likelihood, especially if they are simpler than the
        training data; see `varied explain anomaly-detection`. Compare the values with the values
        for normal data, since absolute values are not informative.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        load: Converts stored rows to model input; its randomness depends only on the seed.
        batches: The data.
        samples: The number K of importance samples.
        sweeps: The number of times that missing values in the input of the encoder, which are 0 at
            first, are replaced by their reconstructions; use it for a model that was trained
            without missing values. It has no effect if the posterior is not Gaussian.
        seed: The random seed.
    """
    nll, element_nll = [], []
    device = next(model.parameters()).device
    with eval_float32(model):
        for batch in batches:
            stored = batch.to(device)
            size = chunk_size(model, stored.x, samples)
            for rows in iter_batches(stored.x, stored.c, stored.mask, size=size):
                x, c, mask = load_seeded(load, rows.x, seed), rows.c, rows.mask
                x = zero_missing(x, mask)
                _, log_w, px = _weighted_draws(model, x, c, mask, samples, seed, sweeps)
                px = base_distribution(given_library_size(px, x, mask))
                elements = -px.log_prob(x) * (1 if mask is None else mask)
                nll.append(-importance_bound(log_w).cpu())
                element_nll.append(weighted_mean(elements, log_w).cpu())
    return NLL(torch.cat(nll), torch.cat(element_nll))


def load_seeded(load: Callable[[Tensor], Tensor], stored: Tensor, seed: int) -> Tensor:
    """Convert stored rows to model input, with the same random numbers for each row."""
    with seeded(seed, "strangeness"):
        state = _random_state(stored.device)
        x = load(stored)
        if torch.equal(_random_state(stored.device), state):  # converting row by row is slow
            return x
    inputs = []
    for row in stored.split(1):
        with seeded(seed, "strangeness"):
            inputs.append(load(row))
    return torch.cat(inputs)


def _random_state(device: torch.device) -> Tensor:
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state
