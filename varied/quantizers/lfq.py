"""Lookup-free quantization (LFQ)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from varied.errors import check_above, check_at_least
from varied.quantizers.base import Quantized, Shape, straight_through
from varied.quantizers.projection import RoundingQuantizer


class LFQ(RoundingQuantizer):
    r"""Lookup-free quantization, which replaces each of a few coordinates with its sign.

    .. math:: z = \mathrm{sign}(h), \qquad
        \text{cost} = w \big( \mathbb E \, H[q(k \mid h)] - H[\mathbb E \, q(k \mid h)] \big)
        + \beta \| h - sg(z) \|^2

    where q is the softmax of :math:`-\| h - c_k \|^2 / \tau` over all codes. Minimizing the first
    entropy makes each assignment confident, and maximizing the second makes all codes equally
    frequent; both entropies are computed exactly. If the number of channels differs from ``bits``,
    learned linear maps project the latent to ``bits`` values and back. The values are standardized
    before their signs are taken.

    References:
        Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (Yu et al., 2023),
        https://arxiv.org/abs/2310.05737

    Arguments:
        event: The shape of a latent variable, (C, *rest), with one code for each position of rest.
        bits: The number of signs; the codebook has 2^bits entries.
        entropy_weight: The weight of the entropy loss, in nats per position.
        temperature: The temperature of the softmax in the entropy loss.
        commitment_weight: The weight of the squared distance between the values and their signs.
    """

    basis: Tensor

    def __init__(
        self,
        event: Shape,
        bits: int = 9,
        entropy_weight: float = 0.5,
        temperature: float = 1.0,
        commitment_weight: float = 0.25,
    ) -> None:
        check_at_least(1, default=9, bits=bits)
        super().__init__(event, 2**bits, bits)
        check_above(0, default=1, temperature=temperature)
        check_at_least(0, entropy_weight=entropy_weight, commitment_weight=commitment_weight)
        self.entropy_weight, self.temperature = entropy_weight, temperature
        self.commitment_weight = commitment_weight
        self.register_buffer("basis", 2 ** torch.arange(bits), persistent=False)

    def rounded_values(self, index: Tensor) -> Tensor:
        """Return the signs, with shape (*, bits), for codes with shape (*)."""
        bits = index[..., None] // self.basis % 2
        return (2 * bits - 1).to(self.usage.dtype)

    def quantize(self, rows: Tensor) -> Quantized:
        """Quantize vectors with shape (M, C)."""
        h = self.projection(rows)
        index = ((h.detach() > 0) * self.basis).sum(1)
        signs = self.rounded_values(index)
        if self.training:
            self._update_usage(rows, index)
        cost = self.commitment_weight * (h - signs).square().sum(1)
        if self.entropy_weight:
            mean_of_each, of_mean = code_entropy(4 * h / self.temperature)
            # The second entropy is a property of the batch, so it is the same for each vector.
            cost = cost + self.entropy_weight * (mean_of_each - of_mean)
        path = self.projection.up(straight_through(signs, h))
        return Quantized(straight_through(self.codebook()[index], path), index[:, None], cost)


def code_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy of each distribution over codes, and the entropy of their mean, in nats.

    The bits of a single distribution are independent, but those of the mean are not, so the entropy
    of the mean is a sum over all codes. To avoid a matrix of all vectors and codes, the mean is
    computed as a matrix product of the joint probabilities of the two halves of the bits.

    Arguments:
        logits: The logits of the bits, with shape (M, bits).

    Returns:
        The entropies, with shapes (M) and ().
    """
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    entropy = -(log_p.exp() * log_p + log_not_p.exp() * log_not_p).sum(1)
    first, second = (_joint_probabilities(logits[:, half::2]) for half in (0, 1))
    mean = first.T @ second / logits.shape[0]
    return entropy, -torch.xlogy(mean, mean.clamp(min=1e-30)).sum()


def _joint_probabilities(logits: Tensor) -> Tensor:
    """Return the probability of each combination of independent bits, with shape (M, 2^bits)."""
    p = logits.new_ones(logits.shape[0], 1)
    for bit in logits.sigmoid().unbind(1):
        p = torch.cat([p * (1 - bit[:, None]), p * bit[:, None]], 1)
    return p
