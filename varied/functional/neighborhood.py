"""Variations and nearest neighbors of given data in the latent space."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.distributions import Delta, base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.evaluate.active_units import is_active
from varied.functional.generate import decode
from varied.models import LatentModel
from varied.priors import StandardNormal
from varied.runtime import eval_float32
from varied.seeding import seeded

#: The number of samples from which the standard deviation of the prior is estimated.
PRIOR_SAMPLES = 10_000


def variations(
    model: LatentModel,
    x: Tensor,
    c: Tensor | None = None,
    *,
    n: int = 9,
    scale: float = 1.0,
    sample_x: bool = False,
    seed: int = 0,
) -> Tensor:
    r"""Return variations of each example by decoding scaled draws from its posterior.

    .. math:: z = \mu(x) + s \, (z' - \mu(x)), \qquad z' \sim q(z \mid x)

    Warning:
        With a scale of 1, only properties that the model cannot infer from the example vary, and
        this variation is often small. Scales between 3 and 5 result in visibly different data; much
        larger scales reach codes on which the decoder was not trained. In a ladder VAE, each level
        is drawn given the mean of the levels above.

    Arguments:
        model: The model.
        x: The data, with shape (N, *event).
        c: The context for encoding and decoding, with shape (N, F), or None.
        n: The number of variations of each example.
        scale: The factor s by which the deviation from the mean is multiplied; 0 results in
            reconstructions.
        sample_x: Whether to sample from p(x | z) instead of returning its mean.
        seed: The random seed.

    Returns:
        Data with shape (N, n, *event).

    Raises:
        VariedError: If the scale is negative, the posterior is deterministic, or the latent space
            is not real-valued and the scale is not 1.
    """
    if not scale >= 0:
        raise VariedError(
            f"scale must be at least 0, got {scale}; scale=1 samples from the posterior."
        )
    with eval_float32(model), seeded(seed, "near"):
        q = model.encode(x, c)
        if isinstance(base_distribution(q), Delta | CodebookPoint):
            raise VariedError(
                "The posterior of this model is deterministic, so there are no variations; train a "
                "VAE, or use `interpolate`."
            )
        if scale != 1 and latent_space(model) != "real":
            raise VariedError(f"scale={scale} requires a real-valued latent space; use scale=1.")
        z = q.sample((n,))
        z = z if scale == 1 else q.mean + scale * (z - q.mean)
        repeated_c = None if c is None else c.repeat(n, 1)
        decoded = decode(model, z.flatten(0, 1), repeated_c, sample_x=sample_x)
    result: Tensor = decoded.unflatten(0, (n, len(x))).transpose(0, 1)
    return result


def nearest_codes(
    model: LatentModel, query: Tensor, candidates: Tensor, n: int = 5, c: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return the nearest neighbors of codes among candidates.

    .. math:: d(a, b) = \sqrt{\sum_{j \text{ active}} (a_j - b_j)^2 / \sigma_j^2}

    where :math:`\sigma_j` is the standard deviation of unit j under the prior. Inactive units (see
    `varied.evaluate.is_active`) contain only noise and are excluded. If the latent space is not
    real-valued, this is the Euclidean distance over all units.

    Warning:
        Examples with similar codes are similar in the properties that the model encodes, which may
        differ from human judgments of similarity. The codes of a conditional model do not contain
        the context.

    Arguments:
        model: The model that encoded the data.
        query: The posterior means, with shape (N, D), as returned by `varied.functional.embed`.
        candidates: The codes to search, with shape (M, D).
        n: The number of neighbors.
        c: The context of the candidates, with shape (M, F), if the prior depends on it.

    Returns:
        The row indices of the candidates, nearest first, int64 with shape (N, n); and the distances
        in standard deviations of the prior, float64 with the same shape.

    Raises:
        VariedError: If there are fewer than n candidates, or no unit is active.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 1 <= n <= len(candidates):
        raise VariedError(
            f"n must be between 1 and the number of candidates ({len(candidates):,}), got {n}."
        )
    scale = distance_scale(model, candidates, c)
    a, b = ((codes.double() / scale)[:, scale.isfinite()] for codes in (query, candidates))
    search = NearestNeighbors(n_neighbors=n).fit(b.numpy())
    index = torch.from_numpy(search.kneighbors(a.numpy(), return_distance=False))
    # In scikit-learn, the distance between equal codes is not exactly 0; the norm below is.
    chunks = zip(a.split(1000), index.split(1000), strict=True)
    distance = torch.cat([(codes[:, None] - b[rows]).norm(dim=2) for codes, rows in chunks])
    distance, order = distance.sort(dim=1, stable=True)
    return index.gather(1, order), distance


def latent_space(model: LatentModel) -> str:
    """Return the space of the latent variables, such as "real", "sphere" or "codes"."""
    return "real" if model.prior is None else model.prior.space


def distance_scale(model: LatentModel, codes: Tensor, c: Tensor | None = None) -> Tensor:
    """Return the standard deviation of the prior by which `nearest_codes` divides each unit.

    Arguments:
        model: The model.
        codes: The codes that are searched, with shape (M, D).
        c: The context of the codes, with shape (M, F), if the prior depends on it.

    Returns:
        The standard deviations, infinity if a unit is inactive, float64 with shape (D).

    Raises:
        VariedError: If no unit is active.
    """
    std = torch.ones(codes.shape[1], dtype=torch.float64)
    if latent_space(model) != "real":
        return std
    with eval_float32(model):
        deviation = model.standardize(codes.view(-1, *model.latent_shape), c).flatten(1)
    active = is_active(deviation) if len(codes) > 1 else std > 0
    if not active.any():
        raise VariedError(
            "No latent unit is active, so the codes contain no information about the data; train "
            "with KL annealing or a smaller beta."
        )
    if not isinstance(model.prior, StandardNormal):
        repeated_c = None if c is None else c[torch.arange(PRIOR_SAMPLES) % len(c)]
        with eval_float32(model), seeded(0, "neighbors"):
            samples = model.sample_prior(PRIOR_SAMPLES, repeated_c).flatten(1).double()
        std = samples.std(0).cpu()
        std = torch.where(std > 0, std, 1.0)
    return torch.where(active, std, torch.inf)
