"""Structural similarity and the peak signal-to-noise ratio against two other tools and by hand."""

import math

import numpy as np
import pytest
import torch

from varied.errors import VariedError
from varied.evaluate.image_similarity import CHUNK, psnr, ssim


def pictures(*shape):
    rng = np.random.default_rng(0)
    x = rng.random(shape)
    return x, np.clip(x + 0.2 * rng.normal(size=shape), 0, 1)


# Of skimage.metrics 0.26: structural_similarity(data_range=1.0, channel_axis=0,
# gaussian_weights=True, sigma=1.5, use_sample_covariance=False), the mean over pictures. The first
# is also that of torchmetrics 1.9: structural_similarity_index_measure(data_range=1.0,
# return_full_image=True)[1][..., 5:-5, 5:-5].mean(), without the border that it mirrors.
@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((3, 1, 28, 28), 0.8223765325011435), ((4, 3, 16, 20), 0.8196275292035985)],
)
def test_similarity_is_that_of_another_tool(shape, wanted):
    found = ssim(*pictures(*shape))
    assert found.value == pytest.approx(wanted, abs=1e-9)
    assert found.n == shape[0]


def by_windows(a, b, size):
    """The mean over places of windows, by loops, from the formula of 2004."""
    away = np.arange(size) - size // 2
    bell = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * 1.5**2))
    bell, found = bell / bell.sum(), []
    for i in range(a.shape[0] - size + 1):
        for j in range(a.shape[1] - size + 1):
            p, q = (t[i : i + size, j : j + size] for t in (a, b))
            mp, mq = (bell * p).sum(), (bell * q).sum()
            vp, vq = (bell * (p - mp) ** 2).sum(), (bell * (q - mq) ** 2).sum()
            both = (bell * (p - mp) * (q - mq)).sum()
            found.append(
                (2 * mp * mq + 0.01**2)
                * (2 * both + 0.03**2)
                / ((mp**2 + mq**2 + 0.01**2) * (vp + vq + 0.03**2))
            )
    return np.mean(found)


@pytest.mark.parametrize(("side", "size"), [(8, 7), (7, 7), (10, 9), (2, 1), (12, 11)])
def test_small_pictures_have_smaller_windows(side, size):
    x, y = pictures(2, side, side + 2)
    wanted = np.mean([by_windows(a, b, size) for a, b in zip(x, y, strict=True)])
    assert ssim(x, y).value == pytest.approx(wanted, abs=1e-12)


def test_similarity_of_known_pictures():
    dark, light = torch.full((1, 16, 16), 0.2), torch.full((1, 16, 16), 0.7)
    wanted = (2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4)  # flat: only the light is unlike
    assert ssim(dark, light).value == pytest.approx(wanted, rel=1e-6)
    x = torch.rand(5, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    assert ssim(x, 1 - x).value < -0.9
    assert (ssim(x, x).value, ssim(x, x).error) == (1, 0)


def test_similarity_is_of_pairs_and_does_not_mind_their_order():
    x, y = pictures(6, 1, 14, 14)
    assert ssim(x, y).value == pytest.approx(ssim(y, x).value, abs=1e-12)
    assert ssim(x[::-1], y[::-1]).value == pytest.approx(ssim(x, y).value, abs=1e-12)
    assert ssim(x, y[::-1]).value < 0.3
    each = [ssim(x[i : i + 1], y[i : i + 1]).value for i in range(6)]
    assert ssim(x, y).value == pytest.approx(np.mean(each), abs=1e-12)
    assert ssim(x, y).error == pytest.approx(np.std(each, ddof=1) / np.sqrt(6), rel=1e-9)


# Of skimage.metrics 0.26: peak_signal_noise_ratio(data_range=1.0), the mean over pictures; and of
# torchmetrics 1.9 (which computes in float32): peak_signal_noise_ratio(data_range=1.0, dim=(1, 2,
# 3)), and without `dim`, which is that of the mean squared error of all.
@pytest.mark.parametrize(
    ("shape", "each", "same", "of_all"),
    [
        ((3, 1, 28, 28), 15.012556895755337, 15.012556214797003, 15.010948388317065),
        ((4, 3, 16, 20), 14.996505468023173, 14.99650478779292, 14.994057523624015),
    ],
)
def test_the_ratio_is_that_of_two_other_tools(shape, each, same, of_all):
    found = psnr(*pictures(*shape))
    assert found.value == pytest.approx(each, abs=1e-9)
    assert found.value == pytest.approx(same, abs=1e-5)
    assert found.value - of_all > 0.001  # it is no ratio of the mean


def test_the_ratio_of_known_pictures():
    x = torch.full((3, 1, 4, 4), 0.5, dtype=torch.float64)
    y = x + torch.tensor([0.1, 0.01, 0.001])[:, None, None, None]
    found = psnr(x, y)
    assert found.value == pytest.approx(40, rel=1e-5)
    assert found.error == pytest.approx(20 / math.sqrt(3), rel=1e-5)
    assert psnr(torch.zeros(2, 3, 3), torch.ones(2, 3, 3)).value == 0


def test_the_ratio_of_equal_pictures_is_infinite():
    x, y = pictures(3, 1, 8, 8)
    y[1] = x[1]
    found = psnr(x, y)
    assert found.value == math.inf
    assert math.isnan(found.error)


@pytest.mark.parametrize("figure", [ssim, psnr])
def test_bytes_and_numbers_and_chunks_are_the_same(figure):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (CHUNK + 3, 1, 9, 12), dtype=np.uint8)
    y = rng.integers(0, 256, (CHUNK + 3, 1, 9, 12), dtype=np.uint8)
    wanted = figure(x, y)
    assert wanted.n == CHUNK + 3
    for a, b in ((x / 255, y), (torch.tensor(x), y / 255), (x[:, 0], torch.tensor(y[:, 0]))):
        assert figure(a, b).value == pytest.approx(wanted.value, rel=1e-12)
    parts = [figure(x[rows], y[rows]) for rows in (slice(100), slice(100, None))]
    whole = sum(part.value * part.n for part in parts) / wanted.n
    assert wanted.value == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("figure", [ssim, psnr])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((2, 8, 8)), np.zeros((3, 8, 8)), "give pairs"),
        (np.zeros((2, 8, 8)), np.zeros((2, 1, 8, 8)), "give pairs"),
        (np.zeros((8, 8)), np.zeros((8, 8)), "put the channels before"),
        (np.zeros((0, 8, 8)), np.zeros((0, 8, 8)), "one at least"),
        (np.zeros((2, 8, 8)), np.full((2, 8, 8), 255.0), "scale them"),
        (np.full((2, 8, 8), -0.5), np.zeros((2, 8, 8)), "scale them"),
        (np.zeros((2, 8, 8)), np.full((2, 8, 8), np.nan), "scale them"),
        (np.zeros((2, 8, 8), int), np.zeros((2, 8, 8)), "not torch.int64"),
    ],
)
def test_what_cannot_be_compared_is_refused(figure, a, b, message):
    with pytest.raises(VariedError, match=message):
        figure(a, b)
