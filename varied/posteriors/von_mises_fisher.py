"""Latents that are directions."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.posteriors.base import NonFactorized

__all__ = ["VonMisesFisher"]

#: Bessel functions of a higher order underflow before their series takes over.
MOST = 512


class VonMisesFisher(NonFactorized):
    r"""A mean direction and a concentration about it, on the unit sphere.

    .. math:: q(z) \propto e^{\kappa \mu^\top z}, \quad |z| = 1, \qquad
        \kappa = D \exp(b \tanh(h / b))

    On a sphere the uniform distribution is a prior without a center that draws codes to it. The
    concentration is counted in units of D, since that is where directions begin to differ.

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
        https://arxiv.org/abs/1804.00891

    Arguments:
        event: The shape of a latent, (D) with D of at least 2.
        log_kappa_bound: The largest size of the logarithm of the concentration in units of D.
    """

    space = "sphere"

    #: Rounds of rejection, and a quadrature: nothing that a compiled step could hold.
    can_compile = False

    def __init__(self, event: tuple[int, ...], log_kappa_bound: float = 7.0) -> None:
        super().__init__(event)
        if len(event) > 1 or not 2 <= event[0] <= MOST:
            raise VariedError(
                f"posterior='von-mises-fisher' is a direction in 2 to {MOST} dimensions, and a latent of shape "
                f"{self.event_shape} is none; use latent=16, or posterior='gaussian'."
            )
        if log_kappa_bound <= 0:
            raise VariedError(
                f"log_kappa_bound={log_kappa_bound} must be above 0; 7 is the default."
            )
        self.bound = log_kappa_bound

    @property
    def sizes(self) -> tuple[int, ...]:
        """A direction and one number."""
        return (self.event_shape[0], 1)

    def build(self, direction: Tensor, h: Tensor) -> Distribution:
        """Return von Mises-Fisher distributions."""
        kappa = self.event_shape[0] * d.soft_clamp(h.squeeze(-1), self.bound).exp()
        # Zero has no direction; a network whose units are all dead puts it out.
        nudge = direction.new_zeros(self.event_shape[0])
        nudge[0] = 1e-6
        return d.VonMisesFisher(direction + nudge, kappa)
