"""The variational mixture of posteriors prior (VampPrior)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.distributions import Gaussian, base_distribution
from varied.errors import check_at_least
from varied.priors.base import Prior, Shape
from varied.priors.mixtures import DiagonalMixture, MixtureDistribution, PosteriorMixture
from varied.trace import ConditionalDistribution

#: The minimum distance of an initial pseudo-input from 0 and 1, where the sigmoid saturates.
MARGIN = 0.02


class VampPrior(Prior):
    r"""The variational mixture of posteriors: the average posterior of learned pseudo-inputs.

    .. math:: p(z) = \tfrac1C \sum_c q(z \mid u_c)

    The optimal prior of a VAE is the average posterior over the training data; this prior averages
    over a smaller number of learned inputs instead, which are initialized with examples. If the
    data are in [0, 1], a sigmoid keeps the inputs in this range, since a hard clamp has no gradient
    outside the range. In a conditional model, each pseudo-input also has a learned context, and the
    mixture does not depend on the context that is passed.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), https://arxiv.org/abs/1705.07120

    Arguments:
        event: The shape of a latent variable.
        context: The number of context features; 0 for none.
        n_components: The number of pseudo-inputs.
    """

    provides = frozenset({"density"})
    reads_context = True

    is_unit_interval: Tensor

    def __init__(self, event: Shape, context: int, n_components: int = 500) -> None:
        super().__init__(event)
        check_at_least(1, default=500, n_components=n_components)
        self.n_components = n_components
        self.register_buffer("is_unit_interval", torch.tensor(False))
        self.contexts = nn.Parameter(torch.randn(n_components, context)) if context else None

    @property
    def is_fittable(self) -> bool:
        """False, since the pseudo-inputs are trained with the model, through the encoder."""
        return False

    def attach(self, encoder: ConditionalDistribution) -> None:
        """Make the encoder available, and create random pseudo-inputs for it."""
        super().attach(encoder)
        self.inputs = nn.Parameter(torch.randn(self.n_components, *encoder.inputs))

    @torch.no_grad()
    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize the pseudo-inputs with randomly chosen examples and added noise."""
        x = x.nan_to_num(0)
        self.is_unit_interval.fill_(bool(((x >= 0) & (x <= 1)).all()))
        rows = torch.randperm(len(x), device=x.device).repeat(-(-self.n_components // len(x)))
        rows = rows[: self.n_components]
        u = x[rows].clamp(MARGIN, 1 - MARGIN).logit() if self.is_unit_interval else x[rows]
        # Without noise, pseudo-inputs copied from the same example would have equal gradients.
        self.inputs.copy_(u + 0.1 * torch.randn_like(u))
        if self.contexts is not None and c is not None:
            self.contexts.copy_(c[rows])

    def pseudo_inputs(self) -> Tensor:
        """Return the pseudo-inputs, with shape (C, *shape of x)."""
        return torch.where(self.is_unit_interval, self.inputs.sigmoid(), self.inputs)

    def _encode(self, index: Tensor | slice) -> Distribution:
        c = None if self.contexts is None else self.contexts[index]
        return self.encoder(self.pseudo_inputs()[index], c)  # type: ignore[no-any-return]

    def forward(self, c: Tensor | None = None) -> MixtureDistribution:
        """Return the mixture; the context is ignored."""
        q = self._encode(slice(None))
        base, log_weights = base_distribution(q), self.inputs.new_zeros(self.n_components)
        if isinstance(base, Gaussian):
            return DiagonalMixture(log_weights, base.mean, base.log_variance)
        return PosteriorMixture(log_weights, q, self._encode)
