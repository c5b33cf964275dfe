"""Signs as codes: LFQ."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from varied.errors import VariedError
from varied.quantizers.base import Quantized, Quantizer, straight_through
from varied.quantizers.projection import Projection

__all__ = ["LFQ", "code_entropy"]


class LFQ(Quantizer):
    r"""A few numbers, each replaced by its sign: a codebook that needs no looking up.

    .. math:: z = \mathrm{sign}(h), \qquad
        \text{cost} = w \big( \mathbb E \, H[q(k \mid h)] - H[\mathbb E \, q(k \mid h)] \big)
        + \beta \| h - sg(z) \|^2

    where q is the softmax of :math:`-\| h - c_k \|^2 / \tau` over all codes: each vector is to be
    sure of its code, and all vectors together are to use all codes. Both entropies are exact. A
    latent of another number of channels is brought to these numbers, and back, by learned linear
    maps; and the numbers to mean 0 and variance 1 before their signs are taken.

    References:
        Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (Yu et al., 2023),
        https://arxiv.org/abs/2310.05737

    Arguments:
        event: The shape of a latent, (C, *rest): each place of rest holds one code.
        bits: How many signs; there are 2^bits codes.
        entropy_weight: The weight of the entropies, in nats at each place.
        temperature: The softness of the choice of which the entropies are taken.
        commitment_weight: The weight of the squared distance that pulls the numbers to their signs.
    """

    basis: Tensor

    def __init__(
        self,
        event: tuple[int, ...],
        bits: int = 9,
        entropy_weight: float = 0.5,
        temperature: float = 1.0,
        commitment_weight: float = 0.25,
    ) -> None:
        if bits < 1:
            raise VariedError(f"bits={bits} must be at least 1; 9 gives 512 codes.")
        super().__init__(event, 2**bits)
        if temperature <= 0:
            raise VariedError(f"temperature={temperature} must be above 0; 1 is the default.")
        if min(entropy_weight, commitment_weight) < 0:
            raise VariedError("entropy and commitment must not be below 0; 0.5 and 0.25 are usual.")
        self.bits, self.entropy, self.temperature = bits, entropy_weight, temperature
        self.commitment = commitment_weight
        self.register_buffer("basis", 2 ** torch.arange(bits), persistent=False)
        self.narrow = Projection(self.event_shape[0], bits)

    def points(self, index: Tensor) -> Tensor:
        """Return the signs, with shape (*, bits), by their index."""
        ones = index[..., None] // self.basis % 2
        return (2 * ones - 1).to(self.use.dtype)

    def codebook(self) -> Tensor:
        """Return all codes, with shape (codes, C)."""
        all_codes = torch.arange(self.num_codes, device=self.basis.device)
        return self.narrow.up(self.points(all_codes))  # type: ignore[no-any-return]

    def quantize(self, rows: Tensor) -> Quantized:
        """Return the codes of vectors with shape (M, C)."""
        soft = self.narrow(rows)
        index = ((soft.detach() > 0) * self.basis).sum(1)
        signs = self.points(index)
        if self.training:
            self._note(rows, index)
        cost = self.commitment * (soft - signs).square().sum(1)
        if self.entropy:
            each, whole = code_entropy(4 * soft / self.temperature)
            # A number of the batch, said of each vector: its mean is then that number.
            cost = cost + self.entropy * (each - whole)
        value = straight_through(
            self.codebook()[index], self.narrow.up(straight_through(signs, soft))
        )
        return Quantized(value, index[:, None], cost)

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return codes, with shape (M, C), by their indices, with shape (M, 1)."""
        return self.codebook()[index[:, 0]]

    def start(self, rows: Tensor) -> None:
        """Begin with numbers of mean 0 and variance 1."""
        self.narrow.start(rows)


def code_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy of each choice of bits, and that of the mean choice, both in nats.

    The bits of one choice are independent; those of the mean choice are not, so its entropy runs
    over all codes. Half of the bits against the other half is one product of matrices, and no
    table of all vectors by all codes is made.

    Arguments:
        logits: Of each bit being 1, with shape (M, bits).

    Returns:
        Shapes (M) and ().
    """
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    each = -(yes.exp() * yes + no.exp() * no).sum(1)
    first, second = (_joint(logits[:, half::2]) for half in (0, 1))
    mean = first.T @ second / len(logits)
    return each, -torch.xlogy(mean, mean.clamp(min=1e-30)).sum()


def _joint(logits: Tensor) -> Tensor:
    """Return the probability of each word of independent bits, with shape (M, 2^bits)."""
    words = logits.new_ones(len(logits), 1)
    for bit in logits.sigmoid().unbind(1):
        words = torch.cat([words * (1 - bit[:, None]), words * bit[:, None]], 1)
    return words
