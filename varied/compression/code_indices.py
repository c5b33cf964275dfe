"""Strings of codes to bits and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.compression.deterministic import SHARE, quantize_params, stream
from varied.distributions import base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.models import VAE
from varied.priors import AutoregressiveCodes
from varied.priors.causal_transformer import CodeDecoder
from varied.quantizers import Quantizer

__all__ = ["cost", "find", "laws", "quantizer", "read", "write"]

Words = npt.NDArray[np.uint32]
#: From the codes that came last, None at first, to the probabilities of the next: one row for each
#: string, or one for all.
NextCodeProbs = Callable[[Tensor | None], Tensor]

#: Strings that are spelled side by side.
MOST = 500
#: What a code that training never took counts for, beside 1 for the mean of all.
RARE = 0.01


def write(model: VAE, index: Tensor, law: str) -> tuple[Words, float]:
    """Return the words that tell strings of codes, and the bits that the law gives as the least.

    Arguments:
        model: A model that is `steady`.
        index: The strings, int64 with shape (N, sites).
        law: One of `laws`.
    """
    coder, least = stream().queue.RangeEncoder(), 0.0
    for rows in index.split(MOST):
        tell, last = _teller(model, len(rows), law), None
        for site in rows.unbind(1):
            chances = tell(last)
            chosen = chances.expand(len(site), -1).gather(1, site[:, None])
            least -= float(chosen.log2().sum())
            coder.encode(site.int().numpy(), *_family(chances))
            last = site
    return coder.get_compressed(), least


def read(model: VAE, words: Words, n: int, law: str) -> Tensor:
    """Return the strings of codes that words tell, int64 with shape (N, sites)."""
    coder = stream().queue.RangeDecoder(words)
    index = torch.zeros(n, quantizer(model).num_tokens, dtype=torch.int64)
    for rows in index.split(MOST):
        tell, last = _teller(model, len(rows), law), None
        for site in rows.unbind(1):
            family = _family(tell(last))
            how_many = [len(site)] if len(family) == 1 else []
            site.copy_(torch.from_numpy(coder.decode(*family, *how_many)))
            last = site
    return index


def laws(model: VAE) -> list[str]:
    """Return by which laws codes can be told: "prior" where it has one of them, and "use"."""
    return ["prior", "use"] if isinstance(model.prior(None), AutoregressiveCodes) else ["use"]


def cost(model: VAE, index: Tensor, law: str) -> float:
    """Return minus the log-probability of strings by a law, in nats."""
    if law == "prior":
        return float(_prior(model).cost(index).sum())
    return -float(_use(model).log()[index].sum())


def find(model: VAE, x: Tensor) -> Tensor:
    """Return the codes of data, int64 with shape (N, sites)."""
    code = base_distribution(model.encode(x))
    assert isinstance(code, CodebookPoint)
    return code.index


def quantizer(model: VAE) -> Quantizer:
    """Return what turns codes into latents."""
    head = model.encoder.head
    assert isinstance(head, Quantizer)
    return head


def _teller(model: VAE, rows: int, law: str) -> NextCodeProbs:
    if law == "use":
        use = _use(model)
        return lambda last: use
    spell = CodeDecoder(_prior(model).net, rows)
    return lambda last: spell(last).softmax(-1)


def _family(chances: Tensor) -> tuple[object, ...]:
    """Return what the coder takes: laws with a row of probabilities each, or the same for all."""
    numbers, categorical = quantize_params(chances, SHARE).numpy(), stream().model.Categorical
    if chances.dim() == 1:
        return (categorical(numbers, perfect=False),)
    return categorical(perfect=False), numbers


def _use(model: VAE) -> Tensor:
    """Return how often training took each code, as probabilities with shape (codes)."""
    use = quantizer(model).usage.double() + RARE
    return use / use.sum()


def _prior(model: VAE) -> AutoregressiveCodes:
    told = model.prior(None)
    assert isinstance(told, AutoregressiveCodes)
    return told
