"""Independent normal latents, and latents without a spread."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.posteriors.base import Posterior

__all__ = ["Deterministic", "Gaussian"]


class Gaussian(Posterior):
    r"""A normal distribution with independent dimensions.

    .. math:: q(z) = \prod_j \mathcal N(z_j; \mu_j, e^{\ell_j}), \qquad \ell = b \tanh(h / b)

    The KL is taken from the same clamped log-variance that is sampled.

    Arguments:
        event: The shape of a latent.
        logvar_bound: The largest size of the log-variance; 10 lets a scale range from 0.007 to 150.
    """

    params_per_element = 2

    def __init__(self, event: tuple[int, ...], logvar_bound: float = 10.0) -> None:
        super().__init__(event)
        if logvar_bound <= 0:
            raise VariedError(f"logvar_bound={logvar_bound} must be above 0; 10 is the default.")
        self.bound = logvar_bound

    def build(self, mean: Tensor, log_variance: Tensor) -> Distribution:
        """Return diagonal Gaussians."""
        return d.Gaussian(mean, d.soft_clamp(log_variance, self.bound))


class Deterministic(Posterior):
    """All mass on one code: the encoder of an autoencoder. It has no density, so no KL."""

    provides: frozenset[str] = frozenset()

    def build(self, value: Tensor) -> Distribution:
        """Return points."""
        return d.Delta(value)
