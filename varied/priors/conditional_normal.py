"""A normal prior whose mean and variance depend on the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.errors import VariedError, check_at_least
from varied.nets import mlp
from varied.priors.base import Prior, Shape
from varied.priors.mixtures import DiagonalMixture

#: The maximum absolute value of the log-variance, as for the posterior.
LOGVAR_BOUND = 10.0


class ConditionalNormal(Prior):
    r"""A normal distribution whose mean and variance are computed from the context by a network.

    .. math:: p(z \mid c) = \prod_j \mathcal N(z_j; \mu_j(c), e^{\ell_j(c)}), \qquad
        \ell = b \tanh(h / b), \quad b = 10

    The initial distribution is the standard normal for all contexts. Since the mean of z depends on
    the context, only :math:`(z - \mu(c)) / \sigma(c)` is comparable between contexts.

    References:
        Learning Structured Output Representation using Deep Conditional Generative Models (Sohn et
        al., 2015), https://papers.nips.cc/paper/5775

    Arguments:
        event: The shape of a latent variable.
        context: The number of context features.
        hidden_units: The number of hidden units in each of the two hidden layers of the network.

    Raises:
        VariedError: If ``context`` is 0, or ``hidden_units`` is less than 1.
    """

    reads_context = True

    def __init__(self, event: Shape, context: int, hidden_units: int = 256) -> None:
        super().__init__(event)
        if not context:
            raise VariedError(
                "prior='conditional-normal' requires a context; train with --conditional, or use "
                "prior='standard-normal'."
            )
        check_at_least(1, default=256, hidden_units=hidden_units)
        self.context = context
        channels, *rest = self.event_shape
        self.net = mlp((context,), (2 * channels, *rest), width=hidden_units)
        *_, last = (layer for layer in self.net.modules() if isinstance(layer, nn.Linear))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(z | c), with batch shape () or (B); a missing context is replaced by zeros."""
        p = self._elements(c)
        return Independent(p, len(self.event_shape), validate_args=False)

    def standardize(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the deviation from the mean in standard deviations, with the shape of ``z``."""
        p = self._elements(c)
        return (z - p.mean) / p.variance.sqrt()

    def unstandardize(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Return the latent variables whose standardized values are ``z``."""
        p = self._elements(c)
        return p.mean + p.variance.sqrt() * z

    @torch.no_grad()
    def marginal(self, c: Tensor) -> DiagonalMixture:
        r"""Return the distribution of latent variables for unknown contexts.

        .. math:: p(z) = \frac1N \sum_n p(z \mid c_n)

        Arguments:
            c: The contexts over which to average, with shape (N, F).
        """
        contexts, counts = torch.unique(c, dim=0, return_counts=True)
        p = self._elements(contexts)
        return DiagonalMixture(counts.to(p.mean).log(), p.mean, p.log_variance)

    def _elements(self, c: Tensor | None) -> d.Gaussian:
        """Return the normal distribution of each element."""
        c = self._given_context(c)
        assert c is not None, "there is a context"
        h = self.net(c.reshape(-1, self.context))
        mean, h = h.reshape(*c.shape[:-1], *h.shape[1:]).chunk(2, dim=c.dim() - 1)
        return d.Gaussian(mean, d.soft_clamp(h, LOGVAR_BOUND))
