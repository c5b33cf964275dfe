"""Entropy coding of codebook indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.compression.deterministic import entropy_coders, quantize_params
from varied.distributions import base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.models import VAE
from varied.nets.causal_transformer import CodeDecoder
from varied.priors import AutoregressiveCodes
from varied.quantizers import Quantizer

Words = npt.NDArray[np.uint32]
#: Maps the previous code of each sequence (None before the first code) to the probabilities of the
#: next code, with one row for each sequence, or a single row for all sequences.
NextCodeProbs = Callable[[Tensor | None], Tensor]

#: The number of sequences that are coded in parallel.
CHUNK = 500
#: The count that is added to each code, as a fraction of the mean count, so that codes that did not
#: occur in training have a positive probability.
UNUSED_COUNT = 0.01


def encode(model: VAE, index: Tensor, source: str) -> tuple[Words, float]:
    """Encode sequences of codes; return the words and the information content in bits.

    Arguments:
        model: A model returned by `deterministic`.
        index: The sequences, int64 with shape (N, tokens).
        source: The source of the probabilities, one of `probability_sources`.
    """
    coder, bits = entropy_coders().queue.RangeEncoder(), 0.0
    for codes, probabilities in _steps(model, index, source):
        selected = probabilities.expand(len(codes), -1).gather(1, codes[:, None])
        bits -= float(selected.log2().sum())
        coder.encode(codes.int().numpy(), *_entropy_model(probabilities))
    return coder.get_compressed(), bits


def decode(model: VAE, words: Words, n: int, source: str) -> Tensor:
    """Decode words to sequences of codes, int64 with shape (N, tokens)."""
    coder = entropy_coders().queue.RangeDecoder(words)
    index = torch.zeros(n, quantizer(model).num_tokens, dtype=torch.int64)
    for codes, probabilities in _steps(model, index, source):
        entropy_model = _entropy_model(probabilities)
        amount = [len(codes)] if len(entropy_model) == 1 else []
        codes.copy_(torch.from_numpy(coder.decode(*entropy_model, *amount)))
    return index


def _steps(model: VAE, index: Tensor, source: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the codes at each position, and the distribution of codes given the previous ones."""
    for rows in index.split(CHUNK):
        next_probabilities, previous = _next_code_probs(model, len(rows), source), None
        for codes in rows.unbind(1):
            yield codes, next_probabilities(previous)
            previous = codes


def probability_sources(model: VAE) -> list[str]:
    """Return the sources: "use" (frequencies in training) and, for a prior over codes, "prior"."""
    return ["prior", "use"] if isinstance(model.prior(None), AutoregressiveCodes) else ["use"]


def find_codes(model: VAE, x: Tensor) -> Tensor:
    """Return the codes of data, int64 with shape (N, tokens)."""
    q = base_distribution(model.encode(x))
    assert isinstance(q, CodebookPoint)
    return q.index


def quantizer(model: VAE) -> Quantizer:
    """Return the quantizer of a model with a codebook."""
    head = model.encoder.head
    assert isinstance(head, Quantizer)
    return head


def _next_code_probs(model: VAE, rows: int, source: str) -> NextCodeProbs:
    if source == "use":
        counts = quantizer(model).usage.double() + UNUSED_COUNT
        return lambda previous: counts / counts.sum()
    prior = model.prior(None)
    assert isinstance(prior, AutoregressiveCodes)
    next_logits = CodeDecoder(prior.net, rows)
    return lambda previous: next_logits(previous).softmax(-1)


def _entropy_model(probabilities: Tensor) -> tuple[object, ...]:
    """Return the arguments for the coder: one distribution for all rows, or one for each row."""
    values = quantize_params(probabilities).numpy()
    categorical = entropy_coders().model.Categorical
    if probabilities.dim() == 1:
        return (categorical(values, perfect=False),)
    return categorical(perfect=False), values
