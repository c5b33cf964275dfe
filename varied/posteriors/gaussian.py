"""Gaussian and deterministic posteriors."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import check_above
from varied.heads import Head
from varied.posteriors.base import Shape


class Gaussian(Head):
    r"""A Gaussian posterior with independent dimensions.

    .. math:: q(z) = \prod_j \mathcal N(z_j; \mu_j, e^{\ell_j}), \qquad \ell = b \tanh(h / b)

    Both sampling and the KL use the bounded log-variance.

    Arguments:
        event: The shape of a latent variable.
        logvar_bound: The maximum absolute value of the log-variance; 10 allows standard deviations
            from 0.007 to 150.
    """

    params_per_element = 2

    def __init__(self, event: Shape, logvar_bound: float = 10.0) -> None:
        super().__init__(event)
        check_above(0, default=10, logvar_bound=logvar_bound)
        self.logvar_bound = logvar_bound

    def build(self, mean: Tensor, h: Tensor) -> Distribution:
        """Return diagonal Gaussians."""
        return d.Gaussian(mean, d.soft_clamp(h, self.logvar_bound))


class Deterministic(Head):
    """A deterministic posterior, as in an ordinary autoencoder, with neither a density nor a KL."""

    provides: frozenset[str] = frozenset()

    def build(self, value: Tensor) -> Distribution:
        """Return point masses."""
        return d.Delta(value)
