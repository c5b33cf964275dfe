"""Imputation of missing values given the observed values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.data.batches import Batch, iter_batches
from varied.distributions import RowDistribution, base_distribution, given_library_size
from varied.errors import VariedError
from varied.functional.importance_sampling import chunk_size, posterior_draws, weighted_mean
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

#: The number of draws from which the mean of an element is estimated if fewer are requested.
MIN_DRAWS = 20


def impute(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    n_draws: int = 20,
    samples: int = 100,
    sweeps: int = 0,
    scale: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Return multiple imputations, drawn from p(missing | observed) by importance resampling.

    .. math:: z_k \sim q(z \mid x_o), \quad w_k \propto \frac{p(x_o \mid z_k) \, p(z_k)}
        {q(z_k \mid x_o)}, \quad z \sim \sum_k w_k \delta_{z_k}, \quad x_m \sim p(x_m \mid z)

    The variation between the draws represents the uncertainty about an element: use their mean or
    mode as a point estimate and their quantiles as an interval.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei & Frellsen,
        2019), https://arxiv.org/abs/1812.02633; for the Markov chain with ``sweeps``, Stochastic
        Backpropagation and Approximate Inference in Deep Generative Models (Rezende et al., 2014),
        https://arxiv.org/abs/1401.4082

    Warning:
        Values must be missing at random given the observed values. An encoder that was trained
        without missing values must extrapolate to inputs with missing values; ``sweeps`` replaces
        the zeros in the encoder input with draws.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        x: The data, with shape (N, *event); the rows of a table encode which cells are missing.
        c: The context, with shape (N, F), or None.
        mask: 1 for observed elements, with the shape of ``x``; None for the rows of a table.
        n_draws: The number M of imputations.
        samples: The number K of posterior draws from which each imputation selects one.
        sweeps: The number of times that the completed data are encoded again and the missing
            values are redrawn.
        scale: A factor by which the deviations of the draws of each element from their mean are
            multiplied, with the shape of one example; see `varied.functional.draw_scale`.
        seed: The random seed.

    Raises:
        VariedError: If the likelihood of a row is not finite.

    Returns:
        Data with shape (M, N, *event), in which observed elements are the same as in ``x``.
    """
    drawn_per_row = n_draws if scale is None else max(n_draws, MIN_DRAWS)
    size = chunk_size(model, x, max(samples, drawn_per_row))
    chunks = []
    with eval_float32(model), seeded(seed, "impute"):
        for rows in iter_batches(x, c, mask, size=size):
            z, log_w = posterior_draws(model, rows.x, rows.c, rows.mask, samples=samples, seed=seed)
            weights = log_w.softmax(0).T
            if not weights.isfinite().all():
                raise VariedError(
                    "The likelihood of some rows is not finite, so their missing values cannot be "
                    "imputed; check these rows for extreme values, or train again."
                )
            index = torch.multinomial(weights, drawn_per_row, replacement=True).T  # (M, B)
            z = z[index, torch.arange(len(rows), device=x.device)]
            completed = _fill_missing(model.decode(z, rows.c), rows.x, rows.mask)
            chunks.append(_redraw_missing(model, completed, rows, sweeps))
    draws = torch.cat(chunks, 1)
    if scale is None:
        return draws
    mean = draws[0] + (draws - draws[0]).mean(0)  # observed elements equal their mean exactly
    return torch.where(scale == 1, draws, mean + scale * (draws - mean))[:n_draws]


def conditional_mean(
    model: LatentModel, x: Tensor, mask: Tensor | None = None, *, samples: int = 100, seed: int = 0
) -> Tensor:
    r"""Return the importance-weighted mean of p(x | z) given the observed values.

    .. math:: \mathbb E[x \mid x_o] \approx \sum_k \bar w_k \, \mathbb E[x \mid z_k], \qquad
        \bar w_k \propto \frac{p(x_o, z_k)}{q(z_k \mid x_o)}

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        x: The data, with shape (N, *event); the rows of a table encode which cells are missing.
        mask: 1 for observed elements, with the shape of ``x``; None for the rows of a table.
        samples: The number K of posterior draws.
        seed: The random seed.
    """
    means = []
    with eval_float32(model):
        for rows in iter_batches(x, mask=mask, size=chunk_size(model, x, samples)):
            z, log_w = posterior_draws(model, rows.x, mask=rows.mask, samples=samples, seed=seed)
            px = given_library_size(model.decode(z), rows.x, rows.mask)
            means.append(weighted_mean(px.mean, log_w))
    return torch.cat(means)


def _redraw_missing(model: LatentModel, draws: Tensor, rows: Batch, sweeps: int) -> Tensor:
    """Encode completed data and redraw their missing values, ``sweeps`` times."""
    n_draws = len(draws)
    c = None if rows.c is None else rows.c.repeat(n_draws, 1)
    x, mask = (
        None if t is None else t.expand(n_draws, *t.shape).flatten(0, 1)
        for t in (rows.x, rows.mask)
    )
    assert x is not None
    for _ in range(sweeps):
        z = model.encode(draws.flatten(0, 1), c).sample()
        draws = _fill_missing(model.decode(z, c), x, mask).unflatten(0, (n_draws, len(rows)))
    return draws


def _fill_missing(px: Distribution, x: Tensor, mask: Tensor | None) -> Tensor:
    """Replace missing values with a sample from p(x | z)."""
    base = base_distribution(px)
    if isinstance(base, RowDistribution) and mask is None:
        return base.complete(x)
    observed = torch.ones_like(x) if mask is None else mask
    return torch.where(observed > 0, x, given_library_size(px, x, mask).sample())
