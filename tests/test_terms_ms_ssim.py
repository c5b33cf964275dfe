"""Structural similarity is compared with loops over windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent

from varied.errors import VariedError
from varied.terms import ms_ssim_loss
from varied.terms.ms_ssim import SCALES, ms_ssim
from varied.trace import Trace


def noisy_pair(*shape):
    x = torch.rand(shape).double()
    return x, (x + 0.2 * torch.randn(shape).double()).clamp(0, 1)


def image_trace(x, mean, mask=None):
    px = Independent(Bernoulli(probs=mean, validate_args=False), x.dim() - 1)
    return Trace(x, px, [], mask)


def ssim_by_windows(x, y):
    """Return the mean SSIM and the mean contrast-structure similarity of (H, W) arrays."""
    size = min(11, min(x.shape) - (min(x.shape) + 1) % 2)
    offset = np.arange(size) - size // 2
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / 4.5)
    window /= window.sum()
    values = []
    for i in range(x.shape[0] - size + 1):
        for j in range(x.shape[1] - size + 1):
            a, b = (t[i : i + size, j : j + size] for t in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            cov = (window * (a - mean_a) * (b - mean_b)).sum()
            structure = (2 * cov + 9e-4) / (var_a + var_b + 9e-4)
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append((luminance * structure, structure))
    return np.mean(values, 0)


def downsample(x):
    h, w = (side // 2 * 2 for side in x.shape)
    return x[:h, :w].reshape(h // 2, 2, w // 2, 2).mean((1, 3))


@pytest.mark.parametrize(("size", "scales"), [((28, 28), 2), ((13, 17), 1), ((47, 45), 3)])
def test_ms_ssim_matches_loops_over_windows(size, scales):
    x, y = noisy_pair(1, 1, *size)
    a, b, expected = x[0, 0].numpy(), y[0, 0].numpy(), 1.0
    for scale in range(scales):
        if scale:
            a, b = downsample(a), downsample(b)
        ssim, structure = ssim_by_windows(a, b)
        weight = SCALES[scale] / sum(SCALES[:scales])
        expected *= (ssim if scale == scales - 1 else structure) ** weight
    assert ms_ssim(x, y).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (5, 7), (10, 10), (11, 30), (64, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ms_ssim_of_any_image_size(size, channels):
    x, y = noisy_pair(2, channels, *size)
    y = y.requires_grad_()
    similarity = ms_ssim(x, y)
    assert similarity.shape == (2,)
    similarity.sum().backward()
    assert y.grad.isfinite().all()
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2).double())
    assert (similarity < 1).all()
    torch.testing.assert_close(similarity, ms_ssim(y, x))


def test_ms_ssim_of_an_inverted_image_is_small_and_has_finite_gradients():
    x = noisy_pair(2, 1, 28, 28)[0].round()
    y = (1 - x).requires_grad_()
    similarity = ms_ssim(x, y)
    similarity.sum().backward()
    assert (similarity < 0.1).all()
    assert y.grad.isfinite().all()


def test_ms_ssim_of_constant_images_is_their_luminance_similarity():
    x = torch.full((1, 1, 16, 16), 0.8).double()
    y = torch.full_like(x, 0.4)
    expected = (2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4)
    torch.testing.assert_close(ms_ssim(x, y), torch.full((1,), expected).double())


def test_loss_is_the_mean_over_draws():
    x, y = noisy_pair(3, 1, 14, 14)
    loss = ms_ssim_loss(image_trace(x, torch.stack([y, x])))
    torch.testing.assert_close(loss, (1 - ms_ssim(x, y)) / 2)


def test_missing_pixels_count_as_equal():
    x, y = noisy_pair(3, 1, 14, 14)
    mask = torch.ones_like(x)
    mask[:, :, :7] = 0
    y[:, :, 7:] = x[:, :, 7:]
    assert ms_ssim_loss(image_trace(x, y[None])).min() > 0.01
    assert ms_ssim_loss(image_trace(x, y[None], mask)).abs().max() < 1e-12


def test_autocast_does_not_change_the_loss():
    x, y = (t.float() for t in noisy_pair(3, 1, 28, 28))
    expected = ms_ssim_loss(image_trace(x, y[None]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ms_ssim_loss(image_trace(x, y[None])), expected)


def test_gradient_descent_makes_images_similar():
    x, _ = noisy_pair(1, 1, 20, 20)
    logit = torch.zeros_like(x).requires_grad_()
    optimizer = torch.optim.Adam([logit], lr=0.1)
    for _ in range(120):
        optimizer.zero_grad()
        loss = ms_ssim_loss(image_trace(x, logit.sigmoid()[None])).mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert (logit.detach().sigmoid() - x).square().mean() < 0.01


def test_vectors_raise():
    x, y = noisy_pair(3, 6)
    with pytest.raises(VariedError, match=r"images \(C, H, W\).*shape \(6,\)"):
        ms_ssim_loss(image_trace(x, y[None]))
