"""A distance between the codes of a batch and draws from the prior, which needs no density."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from varied.errors import lookup
from varied.terms.base import full_precision, requires
from varied.trace import Level, Trace

__all__ = ["KERNELS", "MMD"]

#: From a squared distance and a width to a likeness, which is 1 at no distance.
KERNELS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "imq": lambda square, width: width / (width + square),
    "rbf": lambda square, width: torch.exp(-square / width),
}

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@requires()
class MMD:
    r"""The squared maximum mean discrepancy between codes and draws from the prior.

    .. math:: \frac{1}{B(B-1)} \sum_{i \ne j} [k(z_i, z_j) + k(\tilde z_i, \tilde z_j)]
        - \frac{2}{B^2} \sum_{ij} k(z_i, \tilde z_j)

    It is without bias, so it is 0 in the mean, and at times below, where the two laws are equal.
    The kernel is summed over widths :math:`2 D s` for s from 0.1 to 10: 2 D is the mean squared
    distance of two standard normal draws.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012), https://jmlr.org/papers/v13/gretton12a.html
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        kernel: "imq", C / (C + d), whose tails are heavy; or "rbf", exp(-d / C).
    """

    def __init__(self, kernel: str = "imq") -> None:
        self.kernel = lookup(KERNELS, kernel, "kernel")

    @full_precision
    def __call__(self, trace: Trace) -> Tensor:
        """Return the same for each datum, with shape (B)."""
        parts = [trace.expect(self._level(level)) for level in trace.levels]
        return torch.stack(parts).sum(0)

    def _level(self, level: Level) -> Tensor:
        codes, draws = level.z.flatten(2), _drawn(level).flatten(2)
        inside = self._among(codes) + self._among(draws)
        across = self._likeness(codes, draws).mean((1, 2))
        return (inside - 2 * across).unsqueeze(1).expand(level.z.shape[:2])

    def _among(self, codes: Tensor) -> Tensor:
        likeness, n = self._likeness(codes, codes), codes.shape[1]
        others = likeness.sum((1, 2)) - likeness.diagonal(dim1=1, dim2=2).sum(1)
        return others / max(n * (n - 1), 1)

    def _likeness(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the kernel of all pairs, with shape (K, B, B)."""
        square = a.square().sum(2).unsqueeze(2) + b.square().sum(2).unsqueeze(1) - 2 * a @ b.mT
        widths = [2 * a.shape[2] * scale for scale in SCALES]
        return torch.stack([self.kernel(square, width) for width in widths]).sum(0)


def _drawn(level: Level) -> Tensor:
    """Return as many draws from the prior as there are codes, with a gradient where it has one."""
    p = level.p
    shape = level.z.shape[: 2 - len(p.batch_shape)]
    return p.rsample(shape) if p.has_rsample else p.sample(shape)
