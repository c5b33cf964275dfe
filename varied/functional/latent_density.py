"""The density of the codes of training data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.active_units import is_active
from varied.priors import Prior
from varied.priors.gmm import MAX_DIMS as MAX_DIMS
from varied.priors.gmm import GaussianMixture
from varied.seeding import seeded

#: The fraction of held-out codes whose density is below the threshold.
TAIL = 0.001
#: The number of codes per component and unit; with fewer, covariance estimates are mostly noise.
CODES_PER_UNIT = 20
MAX_COMPONENTS = 16


@dataclass(frozen=True)
class LatentDensity:
    """The density of codes, with a threshold below which a code is out of distribution.

    Arguments:
        mixture: The mixture of Gaussians.
        threshold: The log-density, in nats, that 99.9% of the held-out codes exceed.
        active_units: The number of active units, but at least 1.
    """

    mixture: Prior
    threshold: float
    active_units: int

    def log_density(self, z: Tensor) -> Tensor:
        """Return log-densities in nats, with shape (...), of codes with shape (..., D)."""
        log_density: Tensor = self.mixture().log_prob(z.to(torch.float64))
        return log_density

    def is_out_of_support(self, z: Tensor) -> Tensor:
        """Return whether the density of each code is below the threshold, bool with shape (...)."""
        return self.log_density(z) < self.threshold


def fit_latent_density(codes: Tensor, held_out: Tensor) -> LatentDensity:
    """Fit a mixture of Gaussians to codes, and set the threshold based on held-out codes.

    The mixture has one component per ``20 D`` codes, but at least 1 and at most 16. The fit is
    deterministic.

    Warning:
        With fewer than a thousand held-out codes, the threshold depends on a few extreme codes.

    Arguments:
        codes: The codes of training data, with shape (N, D).
        held_out: The codes of data on which the model was not trained, with shape (M, D).

    Raises:
        VariedError: If there are fewer than 2 codes or no held-out codes, or the codes have too
            many dimensions.

    Example:
        >>> codes = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        >>> density = fit_latent_density(codes[:2000], codes[2000:])
        >>> density.is_out_of_support(torch.tensor([[0.0, 0.0], [9.0, 9.0]])).tolist()
        [False, True]
    """
    size = codes.shape[1]
    if size > MAX_DIMS or len(codes) < 2 or not len(held_out):
        raise VariedError(
            f"A density requires at least 2 codes and 1 held-out code with at most {MAX_DIMS:,} "
            f"dimensions, got {len(codes):,} and {len(held_out):,} with {size:,} dimensions."
        )
    n_components = min(max(1, len(codes) // (CODES_PER_UNIT * size)), MAX_COMPONENTS)
    mixture = GaussianMixture((size,), n_components).to(torch.float64)
    with seeded(0, "support"):
        mixture.fit(codes)
    density = LatentDensity(mixture, 0.0, max(1, int(is_active(codes).sum())))
    return replace(density, threshold=float(density.log_density(held_out).quantile(TAIL)))
