"""Normalizing flow priors."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.distributions.base import Tempered, UnvalidatedDistribution
from varied.errors import VariedError, check_at_least, lookup
from varied.priors.base import Prior, Shape, to_size

FLOWS: dict[str, Any] = {
    "maf": zuko.flows.MAF,
    "nsf": zuko.flows.NSF,
    "realnvp": zuko.flows.RealNVP,
    "nsf-coupling": partial(zuko.flows.NSF, passes=2),
}


class Flow(Prior):
    r"""A normalizing flow.

    .. math:: \log p(z) = \log \mathcal N(f(z); 0, I) + \log |\det \partial f / \partial z|

    The initial distribution is close to the standard normal. "maf" and "nsf" are more expressive,
    but sampling requires one pass for each dimension; with "realnvp" and "nsf-coupling", it
    requires two passes. The splines of "nsf" and "nsf-coupling" change only values between -5
    and 5.

    References:
        Variational Lossy Autoencoder (Chen et al., 2016), https://arxiv.org/abs/1611.02731;
        Masked Autoregressive Flow (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057;
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032;
        Density estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803

    Arguments:
        event: The shape of a latent variable.
        context: The number of context features; 0 for none.
        flow: The type of flow: "maf", "nsf", "realnvp" or "nsf-coupling".
        n_transforms: The number of transforms.
        width: The number of hidden units in each of the two hidden layers of a transform.
    """

    provides = frozenset({"density"})
    reads_context = True

    def __init__(
        self, event: Shape, context: int, flow: str = "maf", n_transforms: int = 4, width: int = 128
    ) -> None:
        super().__init__(event)
        self.context = context
        build, size = lookup(FLOWS, flow, "flow"), math.prod(self.event_shape)
        check_at_least(1, n_transforms=n_transforms, width=width)
        if flow == "realnvp" and size < 2:
            raise VariedError(
                "flow='realnvp' requires a latent space with at least 2 dimensions; use flow='maf'."
            )
        self.flow = build(size, context, transforms=n_transforms, hidden_features=(width, width))
        for transform in self.flow.transform.transforms:
            _shrink(transform)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the distribution that the flow defines."""
        return FlowDistribution(self.flow(self._given_context(c)), self.event_shape)


@torch.no_grad()
def _shrink(transform: nn.Module) -> None:
    """Scale down the parameters of a transform, so that it is close to the identity."""
    children = dict(transform.named_children())
    last = children["hyper"][-1] if "hyper" in children else transform  # type: ignore[index]
    for param in last.parameters():
        param.mul_(0.05)


class FlowDistribution(Tempered, UnvalidatedDistribution):
    """A distribution over latents of any shape, defined by a flow over vectors.

    Arguments:
        flow: The distribution of the flattened latent.
        event: The shape of a latent variable.
    """

    has_rsample = True

    def __init__(self, flow: Any, event: Shape) -> None:
        self.flow = flow
        super().__init__(flow.batch_shape, event)

    @property
    def mean(self) -> Tensor:
        """The transformed mean of the base distribution, in general not the mean of the flow."""
        return self.from_noise(self.flow.base.mean)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Return the latents for standard normal noise with shape (*, D)."""
        z: Tensor = self.flow.transform.inv(noise)
        return z.reshape(*z.shape[:-1], *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each latent variable, in nats, with shape (*)."""
        flat = value.flatten(value.dim() - len(self.event_shape))
        lead = torch.broadcast_shapes(flat.shape[:-1], self.batch_shape)
        return self.flow.log_prob(flat.expand(*lead, -1))  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return differentiable samples, with shape (*sample_shape, *batch_shape, *event)."""
        return self.from_noise(self.flow.base.rsample(to_size(sample_shape)))

    @torch.no_grad()
    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Return samples; the temperature scales the base noise."""
        return self.from_noise(temperature * self.flow.base.rsample(to_size(shape)))
