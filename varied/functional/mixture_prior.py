"""A Gaussian mixture that replaces a standard normal prior after training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from varied.composition import compose_prior
from varied.data.batches import Batch
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.models import VAE, LatentModel
from varied.prior_fitting import sample_codes
from varied.priors import Prior, StandardNormal
from varied.seeding import permutation, seeded
from varied.spec import Part, Spec

#: The numbers of components that are tried.
N_COMPONENTS = (1, 3, 10)
#: The maximum number of latent dimensions; up to this number, fitting takes only seconds.
MAX_DIMS = 256
#: With fewer held-out rows, the standard error is not reliable, and this number of training rows is
#: held out as well.
MIN_HELD_OUT = 30
#: The minimum number of codes to which a mixture is fitted.
MIN_CODES = 100
#: The number of codes that are drawn from the posterior of each held-out row.
N_DRAWS = 5
#: The minimum gain in nats per row, and in standard errors.
MIN_GAIN, MIN_Z = 0.1, 3.0


@dataclass(frozen=True)
class MixturePrior:
    """A Gaussian mixture that is better than a standard normal prior.

    Arguments:
        part: The prior and its settings, as in a spec.
        prior: The prior.
        gain: The increase in the ELBO of held-out rows, in nats per row.
    """

    part: Part
    prior: Prior
    gain: Estimate


def has_replaceable_prior(model: LatentModel) -> TypeGuard[VAE]:
    """Return whether `fit_mixture_prior` supports a model."""
    return (
        isinstance(model, VAE)
        and isinstance(model.prior, StandardNormal)
        and "density" in model.provides
        and math.prod(model.latent_shape) <= MAX_DIMS
    )


def fit_mixture_prior(
    model: VAE, spec: Spec, codes: Batch, held_out: Batch, *, seed: int = 0
) -> MixturePrior | None:
    r"""Fit a Gaussian mixture to codes, and return it if it increases the ELBO of held-out rows.

    The aggregate posterior of a model that was trained for a limited time differs from its prior,
    so codes that are drawn from the prior are unlike the codes of data. Replacing the prior changes
    only one term of the ELBO, which increases by

    .. math:: \mathbb E_{q(z \mid x)} [\log p_{\text{mixture}}(z) - \log p(z)]

    Arguments:
        model: The model, with a standard normal prior; it is not changed.
        spec: The spec of the model.
        codes: The output of `varied.prior_fitting.encode_for_prior` for the training rows.
        held_out: The same for rows on which the model was not trained. If there are fewer than 30,
            30 training rows are held out as well, so that the mixture is not fitted to them.
        seed: The random seed.

    Returns:
        The best mixture, or None if none is significantly better than the prior, or if there are
        fewer than 100 codes.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436
    """
    if len(held_out) < MIN_HELD_OUT:
        order = permutation(len(codes), seed, "mixture")
        held_out = _concat(held_out, codes.take(order[:MIN_HELD_OUT]))
        codes = codes.take(order[MIN_HELD_OUT:])
    if len(codes) < MIN_CODES:
        return None
    mixtures = []
    for n_components in N_COMPONENTS:
        part = Part("gmm", {"n_components": n_components})
        prior = compose_prior(spec, part, model.encoder)
        try:
            with seeded(seed, "mixture"), torch.no_grad():
                prior.fit(sample_codes(codes.x), codes.c)
        except (ValueError, VariedError):  # too few rows for the number of components
            continue
        gain = _gain(prior.to(codes.x.dtype), model.prior, held_out, seed)
        mixtures.append(MixturePrior(part, prior, gain))
    best = max(mixtures, key=lambda mixture: mixture.gain.value, default=None)
    if best is None or not best.gain.value > max(MIN_GAIN, MIN_Z * best.gain.error):
        return None
    return best


def _concat(a: Batch, b: Batch) -> Batch:
    c = None if a.c is None or b.c is None else torch.cat([a.c, b.c])
    return Batch(torch.cat([a.x, b.x]), c)


def _gain(new: Prior, old: Prior, codes: Batch, seed: int) -> Estimate:
    """Return the mean difference between the log-densities of codes under two priors, in nats."""
    gains = []
    with seeded(seed, "gain"), torch.no_grad():
        for _ in range(N_DRAWS):
            z = sample_codes(codes.x)
            gains.append(_log_prob(new, z, codes.c) - _log_prob(old, z, codes.c))
    return Estimate.of(torch.stack(gains).mean(0))


def _log_prob(prior: Prior, z: Tensor, c: Tensor | None) -> Tensor:
    """Return the log-density of each code, with shape (N)."""
    log_prob: Tensor = prior(c).log_prob(z)
    return log_prob.reshape(len(z), -1).sum(1)
