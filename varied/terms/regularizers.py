"""Regularizers for deterministic autoencoders: code norms, weight norms and gradient penalties."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.models import VAE, LatentModel
from varied.terms.base import Term, requires
from varied.trace import Trace


@requires()
def code_norm(trace: Trace) -> Tensor:
    r"""Return half the squared norm of the codes.

    .. math:: \tfrac12 \lVert z \rVert^2

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Returns:
        The negative standard normal log-density of each code up to a constant, in nats, with
        shape (B).
    """
    squares = [level.z.square().flatten(2).sum(2) / 2 for level in trace.levels]
    return trace.expect(torch.stack(squares).sum(0))


class WeightNorm(Term):
    r"""The squared norm of the decoder weights.

    .. math:: \lVert \theta \rVert^2

    Biases and the parameters of normalization layers are excluded.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436
    """

    def __init__(self) -> None:
        self.decoder: nn.Module | None = None

    def attach(self, model: LatentModel) -> None:
        """Use the decoder of a model in subsequent calls.

        Raises:
            VariedError: If the model does not have exactly one decoder network.
        """
        if not isinstance(model, VAE):
            raise VariedError(
                "regularizer='l2' requires a model with a single decoder network; use "
                "regularizer='gp', or architecture='vae'."
            )
        self.decoder = model.decoder

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term with shape (B); it is the same for all examples."""
        if self.decoder is None:
            raise VariedError("WeightNorm has no decoder yet; call attach(model) first.")
        squares = [p.square().sum() for p in self.decoder.parameters() if p.dim() > 1]
        return torch.stack(squares).sum().expand(len(trace.x))


@requires(can_compile=False)
def gradient_penalty(trace: Trace) -> Tensor:
    r"""Return the squared Frobenius norm of the Jacobian of the decoder at the codes.

    .. math:: \lVert J \rVert_F^2 = \mathbb E_{v \sim \mathcal N(0, I)} \lVert J^\top v \rVert^2,
        \qquad J = \partial \, \mathbb E[x \mid z] / \partial z

    The estimate uses a single random direction v per code; it is unbiased and requires one backward
    pass. If gradients are disabled, as during validation, the value is 0.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Returns:
        The value for each example, in squared units of the data per squared unit of the code, with
        shape (B).

    Raises:
        VariedError: If the step is compiled.
    """
    z, mean = trace.levels[0].z, trace.px.mean
    if not (z.requires_grad and mean.requires_grad):
        return mean.new_zeros(len(trace.x))
    projected = (mean * torch.randn_like(mean)).sum()
    (gradient,) = torch.autograd.grad(projected, z, create_graph=True, allow_unused=True)
    if gradient is None:
        raise VariedError(
            "This objective computes gradients with respect to z within a step, which is not "
            "possible in a compiled step; train with compile='no'."
        )
    return trace.expect(gradient.square().flatten(2).sum(2))
