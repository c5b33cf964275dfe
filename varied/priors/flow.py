"""A normalizing flow."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import torch
import zuko
from torch import Tensor
from torch.distributions import Distribution, constraints

from varied.distributions.base import Tempered
from varied.errors import VariedError, lookup
from varied.priors.base import Prior, to_size

__all__ = ["Flow", "FlowDistribution"]

#: The flows by name; where half of the numbers wait for the other half, a draw takes two passes.
KINDS: dict[str, Any] = {
    "maf": zuko.flows.MAF,
    "nsf": zuko.flows.NSF,
    "realnvp": zuko.flows.RealNVP,
    "nsf-coupling": partial(zuko.flows.NSF, passes=2),
}


class Flow(Prior):
    r"""A normal distribution that is bent by learned invertible maps.

    .. math:: \log p(z) = \log \mathcal N(f(z); 0, I) + \log |\det \partial f / \partial z|

    It starts close to the standard normal. "maf" and "nsf" are the stronger ones, and draw in as
    many passes as there are dimensions; "realnvp" and "nsf-coupling" draw in two. The splines of
    "nsf" bend what lies within -5 and 5.

    References:
        Variational Lossy Autoencoder (Chen et al., 2016), https://arxiv.org/abs/1611.02731;
        Masked Autoregressive Flow (Papamakarios et al., 2017), https://arxiv.org/abs/1705.07057;
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032;
        Density estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803

    Arguments:
        event: The shape of a latent.
        context: The number of features of the context; 0 for none.
        flow: "maf", "nsf", "realnvp" or "nsf-coupling".
        n_transforms: How many maps.
        width: Units in each of the two hidden layers of a map.
    """

    provides = frozenset({"density"})
    reads_context = True

    def __init__(
        self,
        event: tuple[int, ...],
        context: int,
        flow: str = "maf",
        n_transforms: int = 4,
        width: int = 128,
    ) -> None:
        super().__init__(event)
        make, size = lookup(KINDS, flow, "flow"), math.prod(self.event_shape)
        for name, value in (("n_transforms", n_transforms), ("width", width)):
            if value < 1:
                raise VariedError(f"{name}={value} must be at least 1.")
        if flow == "realnvp" and size < 2:
            raise VariedError(
                "flow='realnvp' lets one half of the numbers move the other, and a latent of one "
                "number has no halves; use flow='maf'."
            )
        self.context = context
        self.flow = make(size, context, transforms=n_transforms, hidden_features=(width, width))
        for one in self.flow.transform.transforms:
            _calm(one)

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return the flow, given the context where there is one."""
        if not self.context:
            c = None
        elif c is None:
            c = next(self.parameters()).new_zeros(self.context)
        return FlowDistribution(self.flow(c), self.event_shape)


@torch.no_grad()
def _calm(transform: Any) -> None:
    """Let a map start close to the identity, which zeros of its parameters stand for."""
    last = transform.hyper[-1] if hasattr(transform, "hyper") else transform
    for param in last.parameters():
        param.mul_(0.05)


class FlowDistribution(Tempered, Distribution):
    """A flow over vectors as a distribution over latents of any shape.

    Arguments:
        flow: The distribution of the flattened latent.
        event: The shape of a latent.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, flow: Any, event: tuple[int, ...]) -> None:
        self.flow = flow
        super().__init__(flow.batch_shape, torch.Size(event), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Where the mean of the normal distribution goes: the middle, not the average."""
        return self._shaped(self.flow.transform.inv(self.flow.base.mean))

    def _shaped(self, z: Tensor) -> Tensor:
        return z.reshape(*z.shape[:-1], *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each latent, in nats; shape (*)."""
        flat = value.flatten(value.dim() - len(self.event_shape))
        lead = torch.broadcast_shapes(flat.shape[:-1], self.batch_shape)
        return self.flow.log_prob(flat.expand(*lead, -1))  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with a gradient; shape (*sample_shape, *batch_shape, *event)."""
        return self._pushed(to_size(sample_shape), 1.0)

    def draw(self, shape: Any = (), temperature: float = 1.0) -> Tensor:
        """Draw from a normal distribution whose deviation is scaled, bent by the same maps."""
        with torch.no_grad():
            return self._pushed(to_size(shape), temperature)

    def _pushed(self, shape: torch.Size, temperature: float) -> Tensor:
        base = self.flow.base.rsample(shape)
        return self._shaped(self.flow.transform.inv(temperature * base))
