"""Codebook usage and perplexity."""

from __future__ import annotations

import torch
from torch import Tensor


def code_counts(index: Tensor, codes: int) -> Tensor:
    """Return how often each code occurs, as int64 with shape (codes).

    Arguments:
        index: Codes of any shape, as int64.
        codes: The size of the codebook.
    """
    # torch.bincount would break the graph of a compiled model and synchronize with the device.
    flat = index.reshape(-1)
    return flat.new_zeros(codes).scatter_add_(0, flat, torch.ones_like(flat))


def code_usage(index: Tensor, codes: int) -> tuple[float, float]:
    r"""Return the codebook usage and the perplexity.

    .. math:: \exp \Big( -\sum_k p_k \log p_k \Big), \qquad p_k = n_k / \sum_j n_j

    The perplexity is the number of equally frequent codes that would have the same entropy.

    Arguments:
        index: Codes of any shape, as int64.
        codes: The size of the codebook.

    Returns:
        The fraction of codes that occur, and the perplexity; both are 0 if ``index`` is empty.

    Example:
        >>> code_usage(torch.tensor([[0, 1], [1, 0]]), codes=4)
        (0.5, 2.0)
    """
    n = code_counts(index, codes).double()
    if not n.sum():
        return 0.0, 0.0
    p = n / n.sum()
    return float((n > 0).double().mean()), float(torch.special.entr(p).sum().exp())
