"""Structural similarity against loops over windows, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent

from varied.errors import VariedError
from varied.terms import ms_ssim_loss
from varied.terms.ms_ssim import SCALES, ms_ssim
from varied.trace import Trace


def pictures(*shape):
    x = torch.rand(shape).double()
    return x, (x + 0.2 * torch.randn(shape).double()).clamp(0, 1)


def by_windows(x, y):
    """Return the mean likenesses of (H, W) arrays: of all, and of structure alone; by loops."""
    size = min(11, min(x.shape) - (min(x.shape) + 1) % 2)
    away = np.arange(size) - size // 2
    bell = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / 4.5)
    bell /= bell.sum()
    found = []
    for i in range(x.shape[0] - size + 1):
        for j in range(x.shape[1] - size + 1):
            a, b = (t[i : i + size, j : j + size] for t in (x, y))
            ma, mb = (bell * a).sum(), (bell * b).sum()
            va, vb = (bell * (a - ma) ** 2).sum(), (bell * (b - mb) ** 2).sum()
            cov = (bell * (a - ma) * (b - mb)).sum()
            structure = (2 * cov + 9e-4) / (va + vb + 9e-4)
            light = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
            found.append((light * structure, structure))
    return np.mean(found, 0)


def halved(x):
    h, w = (side // 2 * 2 for side in x.shape)
    return x[:h, :w].reshape(h // 2, 2, w // 2, 2).mean((1, 3))


@pytest.mark.parametrize(("size", "scales"), [((28, 28), 2), ((13, 17), 1), ((47, 45), 3)])
def test_similarity_is_that_of_windows_by_hand(size, scales):
    x, y = pictures(1, 1, *size)
    a, b, value = x[0, 0].numpy(), y[0, 0].numpy(), 1.0
    for scale in range(scales):
        if scale:
            a, b = halved(a), halved(b)
        whole, structure = by_windows(a, b)
        weight = SCALES[scale] / sum(SCALES[:scales])
        value *= (whole if scale == scales - 1 else structure) ** weight
    assert ms_ssim(x, y).item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (5, 7), (10, 10), (11, 30), (64, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_is_seen(size, channels):
    x, y = pictures(2, channels, *size)
    y = y.requires_grad_()
    found = ms_ssim(x, y)
    assert found.shape == (2,)
    found.sum().backward()
    assert y.grad.isfinite().all()
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2).double())
    assert (found < 1).all()
    torch.testing.assert_close(found, ms_ssim(y, x))


def test_a_picture_turned_round_is_unlike_and_finite():
    x, _ = pictures(2, 1, 28, 28)
    x = x.round()
    y = (1 - x).requires_grad_()
    found = ms_ssim(x, y)
    found.sum().backward()
    assert (found < 0.1).all()
    assert y.grad.isfinite().all()


def test_flat_pictures_differ_by_their_light():
    x = torch.full((1, 1, 16, 16), 0.8).double()
    y = torch.full_like(x, 0.4)
    wanted = (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    torch.testing.assert_close(ms_ssim(x, y), torch.full((1,), wanted).double())


def traced(x, mean, mask=None):
    px = Independent(Bernoulli(probs=mean, validate_args=False), x.dim() - 1)
    return Trace(x, px, [], mask)


def test_the_term_is_the_mean_over_draws():
    x, y = pictures(3, 1, 14, 14)
    mean = torch.stack([y, x])
    found = ms_ssim_loss(traced(x, mean))
    torch.testing.assert_close(found, (1 - ms_ssim(x, y)) / 2)


def test_what_is_missing_counts_as_equal():
    x, y = pictures(3, 1, 14, 14)
    mask = torch.ones_like(x)
    mask[:, :, :7] = 0
    y[:, :, 7:] = x[:, :, 7:]
    assert ms_ssim_loss(traced(x, y[None])).min() > 0.01
    assert ms_ssim_loss(traced(x, y[None], mask)).abs().max() < 1e-12


def test_bfloat16_around_it_changes_nothing():
    x, y = (t.float() for t in pictures(3, 1, 28, 28))
    plain = ms_ssim_loss(traced(x, y[None]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ms_ssim_loss(traced(x, y[None])), plain)


def test_a_descent_makes_pictures_alike():
    x, _ = pictures(1, 1, 20, 20)
    logit = torch.zeros_like(x).requires_grad_()
    optimizer = torch.optim.Adam([logit], lr=0.1)
    for _ in range(120):
        optimizer.zero_grad()
        loss = ms_ssim_loss(traced(x, logit.sigmoid()[None])).mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert (logit.detach().sigmoid() - x).square().mean() < 0.01


def test_vectors_are_refused():
    x, y = pictures(3, 6)
    with pytest.raises(VariedError, match=r"pictures \(C, H, W\).*shape \(6,\)"):
        ms_ssim_loss(traced(x, y[None]))
