"""A mixture of what the encoder says of data that never were."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.distributions import Gaussian, base_distribution
from varied.errors import VariedError
from varied.priors.base import Encoder, Prior
from varied.priors.mixtures import DiagonalMixture, MixtureDistribution, PosteriorMixture

__all__ = ["VampPrior"]

#: How near a pseudo-input may start to the edge of [0, 1], where a sigmoid has no slope.
EDGE = 0.02


class VampPrior(Prior):
    r"""The posterior averaged over learned pseudo-inputs: the variational mixture of posteriors.

    .. math:: p(z) = \tfrac1C \sum_c q(z \mid u_c)

    The best prior for a VAE is its posterior averaged over the data; this is the same over
    so many learned ones. They start from rows of the data, and stay in [0, 1] where the data do, by
    a sigmoid: a hard clamp has no gradient outside. Where there is a context, each has a learned
    context as well, and the mixture is the same whatever context is asked for.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), https://arxiv.org/abs/1705.07120

    Arguments:
        event: The shape of a latent.
        context: The number of features of the context; 0 for none.
        n_components: How many pseudo-inputs.
    """

    provides = frozenset({"density"})
    reads_context = True

    unit: Tensor

    def __init__(self, event: tuple[int, ...], context: int, n_components: int = 500) -> None:
        super().__init__(event)
        if n_components < 1:
            raise VariedError(
                f"n_components={n_components} must be at least 1; 500 is the default."
            )
        self.components = n_components
        self.register_buffer("unit", torch.tensor(False))
        self.contexts = nn.Parameter(torch.randn(n_components, context)) if context else None
        self._encoder: tuple[Encoder, ...] = ()

    def attach(self, encoder: Encoder) -> None:
        """Take the encoder, and make pseudo-inputs of the shape that it reads, from noise."""
        self._encoder = (encoder,)
        self.inputs = nn.Parameter(torch.randn(self.components, *encoder.inputs))

    @torch.no_grad()
    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Start the pseudo-inputs from rows of the data, all of them different."""
        x = x.nan_to_num(0)
        self.unit.fill_(bool(((x >= 0) & (x <= 1)).all()))
        rows = torch.randperm(len(x), device=x.device).repeat(-(-self.components // len(x)))
        rows = rows[: self.components]
        u = x[rows].clamp(EDGE, 1 - EDGE).logit() if self.unit else x[rows]
        # Fewer rows than components: equal ones would have equal gradients, and stay one.
        self.inputs.copy_(u + 0.1 * torch.randn_like(u))
        if self.contexts is not None and c is not None:
            self.contexts.copy_(c[rows])

    def pseudo(self) -> Tensor:
        """Return the pseudo-inputs as data, with shape (C, *event of a datum)."""
        return torch.where(self.unit, self.inputs.sigmoid(), self.inputs)

    def _encoded(self, index: Tensor | slice) -> Distribution:
        if not self._encoder:
            raise VariedError("prior='vamp' asks the encoder; call attach(encoder) first.")
        c = None if self.contexts is None else self.contexts[index]
        return self._encoder[0](self.pseudo()[index], c)

    def forward(self, c: Tensor | None = None) -> MixtureDistribution:
        """Return the mixture, encoded once; it does not look at the context."""
        q = self._encoded(slice(None))
        one, equal = base_distribution(q), self.inputs.new_zeros(self.components)
        if isinstance(one, Gaussian):
            return DiagonalMixture(equal, one.mean, one.log_variance)
        return PosteriorMixture(equal, q, self._encoded)
