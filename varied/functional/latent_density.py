"""Where the codes of the training data lie, and what lies outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.active_units import is_active
from varied.priors import Prior
from varied.priors.gmm import MAX_DIMS as LARGEST
from varied.priors.gmm import GaussianMixture
from varied.seeding import seeded

__all__ = ["LARGEST", "TAIL", "LatentDensity", "fit_latent_density"]

#: Of data of their own kind, so many lie outside.
TAIL = 0.001
#: Rows for each number of a component's mean: with fewer, its covariance is mostly noise.
ROWS_PER_UNIT = 20
MOST_COMPONENTS = 16


@dataclass(frozen=True)
class LatentDensity:
    """The density of the codes of training data, and the line below which there are hardly any.

    Arguments:
        density: A mixture of Gaussians, in the units of the codes.
        floor: The log density above which 99.9 % of codes lie that were held out, in nats.
        dimensions: The number D of units in use.
    """

    density: Prior
    floor: float
    dimensions: int

    def log_density(self, z: Tensor) -> Tensor:
        """Return log p of codes with shape (..., D), in nats, with shape (...)."""
        found: Tensor = self.density().log_prob(z.to(torch.float64))
        return found

    def outside(self, z: Tensor) -> Tensor:
        """Return which codes lie where there are hardly any, as bool with shape (...)."""
        return self.log_density(z) < self.floor


def fit_latent_density(codes: Tensor, held: Tensor) -> LatentDensity:
    """Return where codes lie: a mixture of Gaussians fitted to them, and its line.

    The mixture has a Gaussian for each ``20 D`` codes, 16 at most; the same codes give the same.

    Warning:
        The line is drawn by the codes that are held out: of a hundred, the lowest one draws it.

    Arguments:
        codes: Codes of training data, with shape (N, D).
        held: Codes of data that the model was not trained on, with shape (M, D).

    Raises:
        VariedError: If the codes are too few, or have too many units.

    Example:
        >>> codes = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        >>> found = fit_latent_density(codes[:2000], codes[2000:])
        >>> found.outside(torch.tensor([[0.0, 0.0], [9.0, 9.0]])).tolist()
        [False, True]
    """
    size = codes.shape[1]
    if size > LARGEST or len(codes) < 2 or not len(held):
        raise VariedError(
            f"{len(codes):,} codes of {size:,} numbers have no density that can be fitted: it "
            f"takes two and some held-out ones, of {LARGEST:,} numbers at most."
        )
    count = min(max(1, len(codes) // (ROWS_PER_UNIT * size)), MOST_COMPONENTS)
    density = GaussianMixture((size,), count).to(torch.float64)
    with seeded(0, "support"):
        density.fit(codes)
    used = max(1, int(is_active(codes).sum()))
    found = LatentDensity(density, 0.0, used)
    return replace(found, floor=float(found.log_density(held).quantile(TAIL)))
