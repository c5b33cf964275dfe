"""Latents that are directions, each as likely as any other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.priors.base import Prior

__all__ = ["HypersphericalUniform"]


class HypersphericalUniform(Prior):
    r"""The uniform distribution on the unit sphere.

    .. math:: p(z) = \frac{\Gamma(D/2)}{2 \pi^{D/2}}, \quad |z| = 1

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
        https://arxiv.org/abs/1804.00891
    """

    provides: frozenset[str] = frozenset({"density"})
    space = "sphere"
    zero: Tensor

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__(event)
        if len(event) > 1 or event[0] < 2:
            raise VariedError(
                f"prior='hyperspherical-uniform' is over directions in 2 dimensions or more, and a latent "
                f"of shape {self.event_shape} is none; use latent=16, or prior='standard-normal'."
            )
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the uniform distribution; it does not look at the context."""
        return d.HypersphericalUniform(self.zero)
