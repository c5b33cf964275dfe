"""SSIM and PSNR against scikit-image, torchmetrics and direct computation."""

import math

import numpy as np
import pytest
import torch

from varied.errors import VariedError
from varied.evaluate.image_similarity import CHUNK, psnr, ssim


def noisy_pair(*shape):
    rng = np.random.default_rng(0)
    x = rng.random(shape)
    return x, np.clip(x + 0.2 * rng.normal(size=shape), 0, 1)


# SSIM


# skimage.metrics 0.26: structural_similarity(data_range=1.0, channel_axis=0, gaussian_weights=True,
# sigma=1.5, use_sample_covariance=False), the mean over images. The first is also that of
# torchmetrics 1.9 without the border that it mirrors:
# structural_similarity_index_measure(data_range=1.0, return_full_image=True)[1][..., 5:-5, 5:-5]
# .mean()
@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 1, 28, 28), 0.8223765325011435), ((4, 3, 16, 20), 0.8196275292035985)],
)
def test_ssim_matches_scikit_image(shape, expected):
    result = ssim(*noisy_pair(*shape))
    assert result.value == pytest.approx(expected, abs=1e-9)
    assert result.n == shape[0]


def ssim_by_loops(a, b, size):
    """Return the mean over window positions, from the formula of 2004."""
    offset = np.arange(size) - size // 2
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window, values = window / window.sum(), []
    for i in range(a.shape[0] - size + 1):
        for j in range(a.shape[1] - size + 1):
            p, q = (image[i : i + size, j : j + size] for image in (a, b))
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
            covariance = (window * (p - mean_p) * (q - mean_q)).sum()
            values.append(
                (2 * mean_p * mean_q + 0.01**2)
                * (2 * covariance + 0.03**2)
                / ((mean_p**2 + mean_q**2 + 0.01**2) * (var_p + var_q + 0.03**2))
            )
    return np.mean(values)


@pytest.mark.parametrize(("side", "size"), [(8, 7), (7, 7), (10, 9), (2, 1), (12, 11)])
def test_small_images_have_smaller_windows(side, size):
    x, y = noisy_pair(2, side, side + 2)
    expected = np.mean([ssim_by_loops(a, b, size) for a, b in zip(x, y, strict=True)])
    assert ssim(x, y).value == pytest.approx(expected, abs=1e-12)


def test_ssim_of_known_images():
    dark, light = torch.full((1, 16, 16), 0.2), torch.full((1, 16, 16), 0.7)
    luminance = (2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4)
    assert ssim(dark, light).value == pytest.approx(luminance, rel=1e-6)
    x = torch.rand(5, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    assert ssim(x, 1 - x).value < -0.9
    assert (ssim(x, x).value, ssim(x, x).error) == (1, 0)


def test_ssim_is_the_mean_over_pairs():
    x, y = noisy_pair(6, 1, 14, 14)
    result = ssim(x, y)
    assert ssim(y, x).value == pytest.approx(result.value, abs=1e-12)
    assert ssim(x[::-1], y[::-1]).value == pytest.approx(result.value, abs=1e-12)
    assert ssim(x, y[::-1]).value < 0.3
    values = [ssim(x[i : i + 1], y[i : i + 1]).value for i in range(6)]
    assert result.value == pytest.approx(np.mean(values), abs=1e-12)
    assert result.error == pytest.approx(np.std(values, ddof=1) / np.sqrt(6), rel=1e-9)


# PSNR


# skimage.metrics 0.26: peak_signal_noise_ratio(data_range=1.0), the mean over images; torchmetrics
# 1.9, in float32: peak_signal_noise_ratio(data_range=1.0, dim=(1, 2, 3)), and without `dim`, which
# is the ratio of the mean squared error of all images.
@pytest.mark.parametrize(
    ("shape", "scikit_image", "torchmetrics", "of_all_images"),
    [
        ((3, 1, 28, 28), 15.012556895755337, 15.012556214797003, 15.010948388317065),
        ((4, 3, 16, 20), 14.996505468023173, 14.99650478779292, 14.994057523624015),
    ],
)
def test_psnr_matches_other_packages(shape, scikit_image, torchmetrics, of_all_images):
    result = psnr(*noisy_pair(*shape))
    assert result.value == pytest.approx(scikit_image, abs=1e-9)
    assert result.value == pytest.approx(torchmetrics, abs=1e-5)
    assert result.value - of_all_images > 0.001


def test_psnr_of_known_images():
    x = torch.full((3, 1, 4, 4), 0.5, dtype=torch.float64)
    y = x + torch.tensor([0.1, 0.01, 0.001])[:, None, None, None]
    result = psnr(x, y)
    assert result.value == pytest.approx(40, rel=1e-5)
    assert result.error == pytest.approx(20 / math.sqrt(3), rel=1e-5)
    assert psnr(torch.zeros(2, 3, 3), torch.ones(2, 3, 3)).value == 0


def test_psnr_of_equal_images_is_infinite():
    x, y = noisy_pair(3, 1, 8, 8)
    y[1] = x[1]
    result = psnr(x, y)
    assert result.value == math.inf
    assert math.isnan(result.error)


# Both


@pytest.mark.parametrize("metric", [ssim, psnr])
def test_data_types_and_chunks_do_not_matter(metric):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, CHUNK + 3, 1, 9, 12), dtype=np.uint8)
    expected = metric(x, y)
    assert expected.n == CHUNK + 3
    for a, b in ((x / 255, y), (torch.tensor(x), y / 255), (x[:, 0], torch.tensor(y[:, 0]))):
        assert metric(a, b).value == pytest.approx(expected.value, rel=1e-12)
    parts = [metric(x[rows], y[rows]) for rows in (slice(100), slice(100, None))]
    mean = sum(part.value * part.n for part in parts) / expected.n
    assert expected.value == pytest.approx(mean, rel=1e-12)


ZEROS = np.zeros((2, 8, 8))


@pytest.mark.parametrize("metric", [ssim, psnr])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (ZEROS, np.zeros((3, 8, 8)), "pass pairs"),
        (ZEROS, np.zeros((2, 1, 8, 8)), "pass pairs"),
        (ZEROS[0], ZEROS[0], "put the channels before"),
        (ZEROS[:0], ZEROS[:0], r"got \(0, 8, 8\)"),
        (ZEROS, np.full((2, 8, 8), 255.0), r"floating point with values in \[0, 1\]"),
        (ZEROS - 0.5, ZEROS, r"floating point with values in \[0, 1\]"),
        (ZEROS, ZEROS * np.nan, r"floating point with values in \[0, 1\]"),
        (ZEROS.astype(int), ZEROS, "got torch.int64"),
    ],
)
def test_invalid_images_are_refused(metric, a, b, message):
    with pytest.raises(VariedError, match=message):
        metric(a, b)
