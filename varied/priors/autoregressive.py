"""Autoregressive distributions over sequences of codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import register_kl
from torch.distributions.independent import Independent

from varied.distributions.base import HasTrainingCost, NoDensity, Tempered, UnvalidatedDistribution
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError, check_at_least
from varied.nets.causal_transformer import CausalTransformer, CodeDecoder
from varied.priors.base import apply_in_chunks, expand_context, to_size
from varied.quantizers import Quantizer


class AutoregressiveCodes(Tempered, HasTrainingCost, NoDensity, UnvalidatedDistribution):
    r"""An autoregressive distribution over the codes of quantized latents.

    .. math:: \log p(z) = \sum_s \log p(i_s \mid i_{<s}, c), \qquad z = \mathrm{lookup}(i)

    The network runs once to compute a probability, and once for each code to draw a sample.

    Arguments:
        net: The network that predicts the next code.
        quantizer: The quantizer, which maps codes to latents.
        c: The context, with shape (B, F) or (F), or None.
    """

    no_density = (
        "A prior over codes does not define a density over latents; use log_prob_index(index), or "
        "the KL, which is exact."
    )

    def __init__(
        self, net: CausalTransformer, quantizer: Quantizer, c: Tensor | None = None
    ) -> None:
        self.net, self.quantizer, self.c = net, quantizer, c
        super().__init__(torch.Size() if c is None else c.shape[:-1], quantizer.event_shape)

    def log_prob_index(self, index: Tensor) -> Tensor:
        """Return the log-probability of sequences of codes.

        Arguments:
            index: Codes with shape (*, num_tokens).

        Returns:
            The log-probabilities, in nats, with shape (*).
        """
        lead = torch.broadcast_shapes(index.shape[:-1], self.batch_shape)
        index = index.expand(*lead, -1).reshape(lead.numel(), index.shape[-1])
        floats = index.shape[1] * self.quantizer.num_codes + 4 * self.net.cache_size
        rows = (index, *expand_context(self.c, lead))
        log_prob = apply_in_chunks(self._log_prob, *rows, floats_per_row=floats, max_floats=2**27)
        return log_prob.reshape(lead)

    def _log_prob(self, index: Tensor, c: Tensor | None = None) -> Tensor:
        logits: Tensor = self.net(index, c)
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        return log_p.gather(-1, index.unsqueeze(-1)).squeeze(-1).sum(1)

    def cost(self, index: Tensor) -> Tensor:
        """Return the negative log-probability of sequences of codes, in nats, with shape (*)."""
        return -self.log_prob_index(index)

    @property
    def mean(self) -> Tensor:
        """Not defined, since the mean of codes is not itself a code.

        Raises:
            VariedError: Always.
        """
        raise VariedError("Codes have no mean; use draw(shape, temperature) for typical latents.")

    def draw(self, shape: Any = (), temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        """Return samples with shape (*shape, *batch_shape, *event).

        Arguments:
            shape: A sample shape, or a number of samples.
            temperature: The temperature of the softmax; if 0, the most probable code is chosen at
                each position.
            top_k: The number of most probable codes from which to sample at each position; None
                for all.
        """
        with torch.no_grad():
            return self.quantizer.lookup(self.draw_index(shape, temperature, top_k))

    @torch.no_grad()
    def draw_index(
        self, shape: Any = (), temperature: float = 1.0, top_k: int | None = None
    ) -> Tensor:
        """Return the codes of samples, with shape (*shape, *batch_shape, num_tokens)."""
        check_at_least(0, default=1, temperature=temperature)
        if top_k is not None:
            check_at_least(1, top_k=top_k)
        lead = to_size(shape) + self.batch_shape

        def decode(rows: Tensor, c: Tensor | None = None) -> Tensor:
            decoder, codes = CodeDecoder(self.net, len(rows), c), list[Tensor]()
            for _ in range(self.quantizer.num_tokens):
                logits = decoder(codes[-1] if codes else None)
                codes.append(_choose(logits, temperature, top_k))
            return torch.stack(codes, 1)

        rows = (torch.empty(lead.numel(), 0), *expand_context(self.c, lead))
        index = apply_in_chunks(decode, *rows, floats_per_row=self.net.cache_size, max_floats=2**26)
        return index.reshape(*lead, self.quantizer.num_tokens)


def _choose(logits: Tensor, temperature: float, top_k: int | None) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        threshold = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1).squeeze(-1)


@register_kl(Independent, AutoregressiveCodes)
def _kl_codebook_point_autoregressive(q: Independent[Any], p: AutoregressiveCodes) -> Tensor:
    """Return -log p(index), since q is a point mass."""
    if not isinstance(q.base_dist, CodebookPoint) or q.event_shape != p.event_shape:
        raise NotImplementedError
    return -p.log_prob_index(q.base_dist.index)
