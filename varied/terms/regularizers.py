"""What keeps a decoder smooth where no noise does: small codes, small weights, small slopes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.terms.base import latent_gradient, no_compile, requires
from varied.trace import Trace

__all__ = ["WeightNorm", "code_norm", "gradient_penalty"]


@requires()
def code_norm(trace: Trace) -> Tensor:
    r"""Half the squared length of a code.

    .. math:: \tfrac12 \lVert z \rVert^2

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Returns:
        Nats up to a constant, those of a standard normal, with shape (B).
    """
    squares = [level.z.square().flatten(2).sum(2) / 2 for level in trace.levels]
    return trace.expect(torch.stack(squares).sum(0))


@requires()
class WeightNorm(nn.Module):
    r"""The squared length of the decoder's weights.

    .. math:: \lVert \theta \rVert^2

    Biases and scales are left out: they do not make a map steep.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436
    """

    def __init__(self) -> None:
        super().__init__()
        # In a tuple, so that the decoder is not saved and trained a second time as a part of this.
        self.held: tuple[nn.Module, ...] = ()

    def attach(self, model: Any) -> None:
        """Look at the decoder of a model from now on."""
        decoder = getattr(model, "decoder", None)
        if not isinstance(decoder, nn.Module):
            raise VariedError(
                "Small weights are asked of one decoder, and this model has several or none; use "
                "decoder='gp', or architecture='vae'."
            )
        self.held = (decoder,)

    def forward(self, trace: Trace) -> Tensor:
        """Return the same for each datum, with shape (B)."""
        squares = [p.square().sum() for m in self.held for p in m.parameters() if p.dim() > 1]
        if not squares:
            raise VariedError("WeightNorm has seen no weights; call attach(model) before.")
        return torch.stack(squares).sum().expand(len(trace.x))


@no_compile
@requires()
def gradient_penalty(trace: Trace) -> Tensor:
    r"""How steep the decoder is at a code: the squared slopes of all data in all latents.

    .. math:: \lVert J \rVert_F^2 = \mathbb E_{v \sim \mathcal N(0, I)} \lVert J^\top v \rVert^2,
        \qquad J = \partial \, \mathbb E[x \mid z] / \partial z

    One random direction v is drawn for each code, so it has noise and no bias, and costs one pass
    backward. Where gradients are off (in validation) there are no slopes to read and it is 0.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Returns:
        Squared units of the data over those of the code, with shape (B).
    """
    z, mean = trace.levels[0].z, trace.px.mean
    if not (z.requires_grad and mean.requires_grad):
        return mean.new_zeros(len(trace.x))
    direction = torch.randn_like(mean)
    steepness = latent_gradient((mean * direction).sum(), z, create_graph=True)
    return trace.expect(steepness.square().flatten(2).sum(2))
