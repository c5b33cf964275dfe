"""What lies near given data in the latent space: draws around them, and other data."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.distributions import Delta, base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.evaluate.active_units import is_active
from varied.functional.decode import decode
from varied.models import LatentModel
from varied.priors import StandardNormal
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["nearest_codes", "variations"]

#: Draws of the prior by whose spread codes are standardized.
DRAWN = 10_000


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
    r"""Return new data around each datum: draws from its posterior, widened or narrowed, decoded.

    .. math:: z = \mu(x) + s \, (z' - \mu(x)), \qquad z' \sim q(z \mid x)

    Warning:
        A spread of 1 is what the model cannot tell from the datum, which is often less than a
        person would like to see; with 3 to 5 other data come out, and past that the decoder is
        asked for codes that it never saw. The levels of a ladder are drawn along the mean of those
        above.

    Arguments:
        model: The model.
        x: Data, with shape (N, *event).
        c: The context to encode and decode with, with shape (N, F), or None.
        n: How many around each.
        scale: The factor s on the deviation from the mean; 0 gives reconstructions.
        sample_x: Whether to draw from p(x given z) rather than take its mean.
        seed: Which draws.

    Returns:
        Data with shape (N, n, *event).

    Raises:
        VariedError: If the posterior is a point, or the spread does not suit its latents.
    """
    if not scale >= 0:
        raise VariedError(f"scale={scale} must be 0 or above; 1 is what the model cannot tell.")
    with eval_float32(model), seeded(seed, "near"):
        q = model.encode(x, c)
        if isinstance(base_distribution(q), Delta | CodebookPoint):
            raise VariedError(
                "This model says of each datum one code and no spread, so nothing lies around it; "
                "train a VAE for that, or use interpolate."
            )
        if scale != 1 and latent_space(model) != "real":
            raise VariedError("A spread needs latents that are real numbers; leave it at 1.")
        z = q.sample((n,))
        z = z if scale == 1 else q.mean + scale * (z - q.mean)
        told = None if c is None else c.repeat(n, 1)
        made = decode(model, z.flatten(0, 1), told, sample_x=sample_x)
    around: Tensor = made.unflatten(0, (n, len(x))).transpose(0, 1)
    return around


def nearest_codes(
    model: LatentModel, query: Tensor, among: Tensor, n: int = 5, c: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return which codes lie nearest to each of others.

    .. math:: d(a, b) = \sqrt{\sum_{j \text{ active}} (a_j - b_j)^2 / \sigma_j^2}

    with :math:`\sigma_j` the standard deviation of unit j under the prior. A unit that the data do
    not move (see `varied.evaluate.is_active`) is noise, and is left out.

    Warning:
        Near in the codes is alike in what the model thought worth its nats, not in what a person
        means by it; of a conditional model codes say what the context does not.

    Arguments:
        model: The model whose codes they are.
        query: Mean codes, with shape (N, D), as `varied.functional.embed` gives them.
        among: The codes to search, with shape (M, D).
        n: How many of them.
        c: The context of the latter, with shape (M, F), for a prior that reads one.

    Returns:
        Rows of ``among``, int64 with shape (N, n), nearest first; and their distances in standard
        deviations of the prior, float64 with that shape.

    Raises:
        VariedError: If there are fewer than n codes to search, or no unit is active.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 1 <= n <= len(among):
        raise VariedError(f"{n} neighbors cannot be found among {len(among):,}: give 1 to those.")
    scale = _scale(model, among, c)
    a, b = ((codes.double() / scale)[:, scale.isfinite()] for codes in (query, among))
    search = NearestNeighbors(n_neighbors=n).fit(b.numpy())
    index = torch.from_numpy(search.kneighbors(a.numpy(), return_distance=False))
    # Squares of differences are exactly 0 for codes that are equal; those of a search are not.
    parts = zip(a.split(1000), index.split(1000), strict=True)
    apart = torch.cat([(some[:, None] - b[rows]).norm(dim=2) for some, rows in parts])
    apart, order = apart.sort(dim=1, stable=True)
    return index.gather(1, order), apart


def latent_space(model: LatentModel) -> str:
    """Return where the latents of a model lie; those of a ladder are real numbers."""
    return str(getattr(getattr(model, "prior", None), "space", "real"))


def _scale(model: LatentModel, among: Tensor, c: Tensor | None) -> Tensor:
    """Return the spread of each unit under the prior, infinite where it is silent; shape (D)."""
    ones = torch.ones(among.shape[1], dtype=torch.float64)
    if latent_space(model) != "real":
        return ones
    active = is_active(among) if len(among) > 1 else ones > 0
    if not active.any():
        raise VariedError(
            "No latent unit is active, so codes say nothing of the data; train with a KL that "
            "warms up or a smaller beta."
        )
    if not isinstance(getattr(model, "prior", None), StandardNormal):
        told = None if c is None else c[torch.arange(DRAWN) % len(c)]
        with eval_float32(model), seeded(0, "neighbors"):
            drawn = model.sample_prior(DRAWN, told).flatten(1).double().std(0).cpu()
        ones = torch.where(drawn > 0, drawn, 1.0)
    return torch.where(active, ones, torch.inf)
