"""How much of a codebook is in use."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["code_counts", "code_usage", "usage_from_counts"]


def code_counts(index: Tensor, codes: int) -> Tensor:
    """Return how often each code was taken, int64 with shape (codes).

    Arguments:
        index: Indices of any shape, int64.
        codes: The size of the codebook.
    """
    # Not torch.bincount: it breaks a compiled graph, and waits for the device.
    flat = index.reshape(-1)
    return flat.new_zeros(codes).scatter_add_(0, flat, torch.ones_like(flat))


def usage_from_counts(counts: Tensor) -> tuple[float, float]:
    r"""Return the share of codes that were taken at all, and the perplexity.

    .. math:: \exp \Big( -\sum_k p_k \log p_k \Big), \qquad p_k = n_k / \sum_j n_j

    It is the number of codes that, taken equally often, would say as much: at most all of them.

    Arguments:
        counts: How often each code was taken; counts of several batches add up.

    Returns:
        The share in [0, 1] and the perplexity; both are 0 where nothing was counted.
    """
    n = counts.double()
    if not n.sum():
        return 0.0, 0.0
    p = n / n.sum()
    return float((n > 0).double().mean()), float(torch.special.entr(p).sum().exp())


def code_usage(index: Tensor, codes: int) -> tuple[float, float]:
    """Return the share of codes in use, and their perplexity, over all indices given.

    Arguments:
        index: Indices of any shape, int64.
        codes: The size of the codebook.

    Example:
        >>> code_usage(torch.tensor([[0, 1], [1, 0]]), codes=4)
        (0.5, 2.0)
    """
    return usage_from_counts(code_counts(index, codes))
