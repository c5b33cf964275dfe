"""What is missing, given what is there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.distributions import base_distribution
from varied.functional.importance_sampling import CHUNK, posterior_draws
from varied.functional.interval_calibration import inflate_draws
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["impute"]

#: Draws that say how wide those of a cell are, where fewer are asked for.
SPREAD = 20


def impute(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    n_draws: int = 20,
    samples: int = 100,
    sweeps: int = 0,
    widths: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Return data with what is missing drawn from p(missing given observed), several times.

    .. math:: z_k \sim q(z \mid x_o), \quad w_k \propto \frac{p(x_o \mid z_k) \, p(z_k)}
        {q(z_k \mid x_o)}, \quad z \sim \sum_k w_k \delta_{z_k}, \quad x_m \sim p(x_m \mid z)

    The spread of the draws is the uncertainty of a cell: take their mean or mode for one value, and
    their quantiles for an interval.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei & Frellsen,
        2019), https://arxiv.org/abs/1812.02633; with ``sweeps``, the chain of Stochastic
        Backpropagation and Approximate Inference in Deep Generative Models (Rezende et al., 2014),
        https://arxiv.org/abs/1401.4082

    Warning:
        That a cell is missing must be chance, given what is observed. An encoder that saw no gaps
        in training guesses at them; ``sweeps`` show it what was drawn so far in their place.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        x: Data, with shape (N, *event); the rows of a table say themselves what is missing.
        c: The context, with shape (N, F), or None.
        mask: 1 where observed, with the shape of ``x``; None for the rows of a table.
        n_draws: The number M of completed data sets.
        samples: The number K of draws of the code that each is chosen from.
        sweeps: How often the completed data are encoded again, and what was missing drawn anew.
        widths: What the spread of the draws of each element is multiplied by, with the shape of one
            datum, as `varied.functional.inflation_factor` finds it; None leaves them as they are.
        seed: Which draws.

    Returns:
        Data with shape (M, N, *event), equal to ``x`` where it was observed.
    """
    wanted, n_draws = n_draws, n_draws if widths is None else max(n_draws, SPREAD)
    at_once = max(1, CHUNK // (max(samples, n_draws) * x[0].numel() * model.params_per_element))
    found = []
    with eval_float32(model), seeded(seed, "impute"):
        for i in range(0, len(x), at_once):
            rows, their_c, their_mask = (
                None if t is None else t[i : i + at_once] for t in (x, c, mask)
            )
            assert rows is not None
            z, log_w = posterior_draws(model, rows, their_c, their_mask, samples=samples, seed=seed)
            pick = torch.multinomial(log_w.softmax(0).T, n_draws, replacement=True).T  # (M, B)
            z = z[pick, torch.arange(len(rows), device=x.device)]
            filled = _drawn(model.decode(z, their_c), rows, their_mask)
            found.append(_again(model, filled, rows, their_c, their_mask, sweeps))
    made = torch.cat(found, 1)
    return made if widths is None else inflate_draws(made, widths, seed=seed)[:wanted]


def _again(
    model: LatentModel,
    filled: Tensor,
    x: Tensor,
    c: Tensor | None,
    mask: Tensor | None,
    sweeps: int,
) -> Tensor:
    """Return data whose gaps were drawn again so often, each time from what stood there before."""
    n_draws = len(filled)
    for _ in range(sweeps):
        flat = filled.flatten(0, 1)
        wide = None if c is None else c.repeat(n_draws, 1)
        z = model.encode(flat, wide).sample()
        made = model.decode(z, wide)
        whole = x.expand(n_draws, *x.shape).flatten(0, 1)
        gaps = None if mask is None else mask.expand(n_draws, *mask.shape).flatten(0, 1)
        filled = _drawn(made, whole, gaps).unflatten(0, (n_draws, len(x)))
    return filled


def _drawn(px: Distribution, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return data whose gaps are drawn."""
    law = base_distribution(px)
    if isinstance(law, d.TableRow) and mask is None:
        return torch.where(law.layout.is_missing(x), Independent(law.fully_observed, 1).sample(), x)
    known = torch.ones_like(x) if mask is None else mask
    return torch.where(known > 0, x, px.sample())
