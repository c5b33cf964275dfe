"""The uniform prior on the unit sphere."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.priors.base import Prior, Shape


class HypersphericalUniform(Prior):
    r"""The uniform distribution on the unit sphere.

    .. math:: p(z) = \frac{\Gamma(D/2)}{2 \pi^{D/2}}, \quad |z| = 1

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
        https://arxiv.org/abs/1804.00891

    Arguments:
        event: The shape of a latent variable, (D), where D is at least 2.
    """

    provides: frozenset[str] = frozenset({"density"})
    space = "sphere"

    def __init__(self, event: Shape) -> None:
        super().__init__(event)
        if len(event) > 1 or event[0] < 2:
            raise VariedError(
                "prior='hyperspherical-uniform' requires a latent vector with at least 2 "
                f"dimensions, not shape {self.event_shape}; use latent=16, or "
                "prior='standard-normal'."
            )

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the uniform distribution; the context is ignored."""
        return d.HypersphericalUniform(self.zero)
