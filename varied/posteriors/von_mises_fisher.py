"""The von Mises-Fisher posterior on the unit sphere."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError, check_above
from varied.posteriors.base import NonFactorized, Shape

#: The maximum number of dimensions; with more, the Bessel functions underflow at concentrations for
#: which the power series is not used.
MAX_DIMS = 512


class VonMisesFisher(NonFactorized):
    r"""The von Mises-Fisher distribution on the sphere, with a mean direction and a concentration.

    .. math:: q(z) \propto e^{\kappa \mu^\top z}, \quad |z| = 1, \qquad
        \kappa = D \exp(b \tanh(h / b))

    The uniform prior on the sphere does not pull the latents toward a center. The concentration is
    expressed in units of D, the scale at which the distribution begins to differ from uniform.

    References:
        Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
        https://arxiv.org/abs/1804.00891

    Arguments:
        event: The shape of a latent variable, (D), where D is at least 2.
        log_kappa_bound: The maximum absolute value of log(kappa / D).
    """

    space = "sphere"

    #: Rejection sampling and SciPy's Bessel functions cannot be compiled.
    can_compile = False

    def __init__(self, event: Shape, log_kappa_bound: float = 7.0) -> None:
        super().__init__(event)
        if len(event) > 1 or not 2 <= event[0] <= MAX_DIMS:
            raise VariedError(
                f"posterior='von-mises-fisher' requires a latent vector with 2 to {MAX_DIMS} "
                f"dimensions, not shape {self.event_shape}; use latent=16, or posterior='gaussian'."
            )
        check_above(0, default=7, log_kappa_bound=log_kappa_bound)
        self.log_kappa_bound = log_kappa_bound

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of channels of the direction and the concentration."""
        return (self.event_shape[0], 1)

    def build(self, direction: Tensor, h: Tensor) -> Distribution:
        """Return von Mises-Fisher distributions."""
        kappa = self.event_shape[0] * d.soft_clamp(h.squeeze(-1), self.log_kappa_bound).exp()
        # A network whose units are all dead outputs the zero vector, which has no direction.
        offset = direction.new_zeros(self.event_shape[0])
        offset[0] = 1e-6
        return d.VonMisesFisher(direction + offset, kappa)
