"""Small traces for tests of terms and objectives."""

import torch
from torch.distributions import Independent

from varied.distributions import Delta, Gaussian
from varied.trace import Level, Trace


def gaussian(mean, log_variance):
    """Return a Gaussian in which all dimensions except the first are event dimensions."""
    return Independent(Gaussian(mean, log_variance), mean.dim() - 1)


def standard_normal(*shape, dtype=torch.float32):
    zero = torch.zeros(shape, dtype=dtype)
    return Independent(Gaussian(zero, zero), len(shape))


def posterior(rows=6, dims=3, dtype=torch.float32):
    """Return the mean and the log-variance of a random posterior, as leaf tensors."""
    mean = torch.randn(rows, dims).to(dtype).requires_grad_()
    return mean, (0.3 * torch.randn(rows, dims)).to(dtype).requires_grad_()


def posterior_trace(mean, log_variance, samples=1, data=5):
    """Return a trace with this posterior, and a decoder that ignores the latent variable."""
    q = gaussian(mean, log_variance)
    z = q.rsample((samples,))
    zero = torch.zeros(samples, len(mean), data, dtype=mean.dtype)
    px = Independent(Gaussian(zero, zero), 1)
    p = standard_normal(*mean.shape[1:], dtype=mean.dtype)
    return Trace(torch.ones(len(mean), data, dtype=mean.dtype), px, [Level(z, q, p)])


def code_trace(z, p=None, decoder=None):
    """Return a trace of a deterministic posterior with these codes, with shape (K, B, D)."""
    x = torch.zeros(z.shape[1], 4, dtype=z.dtype)
    mean = x.expand(len(z), -1, -1) if decoder is None else decoder(z)
    px = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
    p = p or standard_normal(z.shape[2], dtype=z.dtype)
    return Trace(x, px, [Level(z, Independent(Delta(z[0]), 1), p)])
