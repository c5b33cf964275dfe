"""The maximum mean discrepancy between codes and samples from the prior."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from varied.errors import lookup
from varied.terms.base import Term, full_precision
from varied.trace import Level, Trace

#: Kernels as functions of a squared distance and a bandwidth; they are 1 at distance 0.
KERNELS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "imq": lambda square, width: width / (width + square),
    "rbf": lambda square, width: torch.exp(-square / width),
}

#: The factors s by which the bandwidth 2 D is multiplied.
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class MMD(Term):
    r"""The squared maximum mean discrepancy between codes and samples from the prior.

    .. math:: \frac{1}{B(B-1)} \sum_{i \ne j} [k(z_i, z_j) + k(\tilde z_i, \tilde z_j)]
        - \frac{2}{B^2} \sum_{ij} k(z_i, \tilde z_j)

    This estimate is unbiased: if the distributions are equal, its mean is 0, and it may be
    negative. The kernel is a sum over bandwidths :math:`2 D s` with s between 0.1 and 10, where 2 D
    is the mean squared distance between two standard normal vectors.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012),
        https://jmlr.org/papers/v13/gretton12a.html;
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        kernel: The kernel function: "imq" for C / (C + d), which has heavy tails, or "rbf" for
            exp(-d / C), where d is the squared distance and C is the bandwidth.
    """

    def __init__(self, kernel: str = "imq") -> None:
        self.kernel = lookup(KERNELS, kernel, "kernel")

    @full_precision
    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term with shape (B); it is the same for all examples."""
        per_level = [trace.expect(self._discrepancy(level)) for level in trace.levels]
        return torch.stack(per_level).sum(0)

    def _discrepancy(self, level: Level) -> Tensor:
        codes, samples = level.z.flatten(2), _sample_prior(level).flatten(2)
        within = self._mean_within(codes) + self._mean_within(samples)
        between = self._kernel_matrix(codes, samples).mean((1, 2))
        return (within - 2 * between).unsqueeze(1).expand(level.z.shape[:2])

    def _mean_within(self, codes: Tensor) -> Tensor:
        matrix, n = self._kernel_matrix(codes, codes), codes.shape[1]
        off_diagonal = matrix.sum((1, 2)) - matrix.diagonal(dim1=1, dim2=2).sum(1)
        return off_diagonal / max(n * (n - 1), 1)

    def _kernel_matrix(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the values of the kernel for all pairs, with shape (K, B, B)."""
        square = a.square().sum(2).unsqueeze(2) + b.square().sum(2).unsqueeze(1) - 2 * a @ b.mT
        widths = [2 * a.shape[2] * scale for scale in SCALES]
        return torch.stack([self.kernel(square, width) for width in widths]).sum(0)


def _sample_prior(level: Level) -> Tensor:
    """Return as many samples from the prior as there are codes, reparameterized if possible."""
    p = level.p
    shape = level.z.shape[: 2 - len(p.batch_shape)]
    return p.rsample(shape) if p.has_rsample else p.sample(shape)
