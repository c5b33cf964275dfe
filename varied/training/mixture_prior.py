"""Replacement of a standard normal prior by a mixture that is fitted to the codes."""

from __future__ import annotations

import math
from itertools import islice

import torch
from torch import Tensor

from varied.composition import compose_prior
from varied.data.batches import Batch, iter_batches
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.models import VAE
from varied.prior_fitting import encode_for_prior, sample_codes
from varied.priors import Prior, StandardNormal
from varied.runs import Run
from varied.seeding import seeded
from varied.spec import Part

#: The numbers of components; the one with the best validation rows is used.
_N_COMPONENTS = (1, 3, 10)
#: The maximum number of latent dimensions, for which the covariances are fitted in seconds.
_MAX_DIMS = 256
#: The maximum number of rows that the mixture is fitted to, and evaluated on.
_MAX_ROWS = 20_000
#: With fewer validation rows, the standard error is not reliable.
_MIN_VALIDATION_ROWS = 30
#: The number of codes that are drawn from the posterior of each validation row.
_N_DRAWS = 5
#: The minimum gain in nats per row, and in standard errors.
_MIN_GAIN, _MIN_Z = 0.1, 3.0


def replace_prior(run: Run) -> list[str]:
    r"""Replace a standard normal prior by a Gaussian mixture if it raises the ELBO.

    The aggregate posterior of a model that was trained for a limited time differs from its prior,
    so codes that are drawn from the prior are unlike those of data. The mixture is fitted to the
    codes of the training rows. It replaces the prior if it raises the ELBO of the validation rows,
    in which only the prior differs:

    .. math:: \mathbb E_{q(z \mid x)} [\log p_{\text{mixture}}(z) - \log p(z)]

    Arguments:
        run: The run, whose prior is replaced in place and in its folder.

    Returns:
        A sentence for the user, or none if the prior was not replaced.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436
    """
    model = run.model
    if run.spec.plan.ex_post_prior == "no" or not isinstance(model, VAE):
        return []
    previous = model.prior
    n_dims = math.prod(model.latent_shape)
    is_normal = isinstance(previous, StandardNormal) and "density" in model.provides
    if not is_normal or n_dims > _MAX_DIMS:
        return []
    train, validation = (_codes(run, model, name) for name in ("train", "validation"))
    if len(validation) < _MIN_VALIDATION_ROWS:
        return []
    best: tuple[Estimate, Part, Prior] | None = None
    for n_components in _N_COMPONENTS:
        part = Part("gmm", {"n_components": n_components})
        prior = compose_prior(run.spec, part, model.encoder)
        try:
            with seeded(run.spec.plan.seed, "mixture"), torch.no_grad():
                prior.fit(sample_codes(train.x), train.c)
        except (ValueError, VariedError):  # too few rows for the number of components
            continue
        gain = _gain(prior, previous, validation, run.spec.plan.seed)
        if best is None or gain.value > best[0].value:
            best = gain, part, prior
    if best is None or not best[0].value > max(_MIN_GAIN, _MIN_Z * best[0].error):
        return []
    gain, part, prior = best
    run.store.write_prior(part, prior)
    run.load_model()
    n = part.settings["n_components"]
    mixture = "A Gaussian" if n == 1 else f"A mixture of {n} Gaussians"
    return [
        f"{mixture} was fitted to the codes and is used as prior, since it raises the ELBO of the "
        f"validation rows by {gain} nats; `varied fit-prior RUN --reset` restores the standard "
        "normal prior, and --ex-post-prior no keeps it."
    ]


def _codes(run: Run, model: VAE, name: str) -> Batch:
    rows, size = run.encode_data(run.split(name)), 500
    batches = islice(iter_batches(rows.x, rows.c, size=size), _MAX_ROWS // size)
    return encode_for_prior(model, run.codec.load, batches)


def _gain(new: Prior, old: Prior, codes: Batch, seed: int) -> Estimate:
    """Return the mean difference of the log-probabilities of codes, in nats."""
    gains: list[Tensor] = []
    with seeded(seed, "gain"), torch.no_grad():
        for _ in range(_N_DRAWS):
            z = sample_codes(codes.x)
            gains.append(_log_prob(new, z, codes.c) - _log_prob(old, z, codes.c))
    return Estimate.of(torch.stack(gains).mean(0))


def _log_prob(prior: Prior, z: Tensor, c: Tensor | None) -> Tensor:
    """Return the log-probability of each code, with shape (N)."""
    log_prob: Tensor = prior(c).log_prob(z)
    return log_prob.reshape(len(z), -1).sum(1)
