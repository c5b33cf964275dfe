"""The Fréchet distance and sharpness against closed forms and torchmetrics."""

import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from varied.data import sprites
from varied.errors import VariedError
from varied.evaluate.frechet import frechet, sharpness


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def sample(mean, covariance, n=60, seed=0):
    """Return rows with exactly this mean and unbiased covariance."""
    x = normal(n, len(mean), seed=seed)
    x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(n - 1)
    return x @ np.linalg.cholesky(np.asarray(covariance, float)).T + mean


def random_covariance(size, seed):
    a = normal(size, size, seed=seed)
    return a @ a.T + 0.1 * np.eye(size)


# The Fréchet distance


def test_distance_of_diagonal_gaussians():
    a = sample([0, 1, 2], np.diag([1.0, 4, 9]))
    b = sample([1, 1, 0], np.diag([4.0, 4, 1]), seed=1)
    assert frechet(a, b) == pytest.approx((1 + 0 + 4) + (1 + 0 + 4), rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_distance_matches_the_matrix_square_root(seed):
    mean_a, mean_b = normal(2, 5, seed=seed)
    cov_a, cov_b = random_covariance(5, seed + 10), random_covariance(5, seed + 20)
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b))
    distance = frechet(sample(mean_a, cov_a, seed=1), sample(mean_b, cov_b, n=90, seed=2))
    assert distance == pytest.approx(float(expected.real), rel=1e-9)


# torchmetrics 1.9, in float32: FrechetInceptionDistance(feature=net, normalize=True,
# input_img_size=(1, 2, 3)), where the net flattens the image.
def test_distance_matches_torchmetrics():
    noise = torch.Generator().manual_seed(0)
    a = torch.randn(300, 6, generator=noise)
    b = 1.3 * torch.randn(400, 6, generator=noise) + 0.2
    assert frechet(a, b) == pytest.approx(0.722119152545929, rel=1e-6)


def test_distance_is_symmetric_and_invariant():
    a, b = torch.tensor(normal(40, 4)), torch.tensor(normal(50, 4, seed=1))
    rotation = torch.linalg.qr(torch.tensor(normal(4, 4, seed=2))).Q
    expected = frechet(a, b)
    assert frechet(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    assert frechet(b, a) == pytest.approx(expected, rel=1e-10)
    assert frechet(a @ rotation, b @ rotation) == pytest.approx(expected, rel=1e-10)
    assert frechet(3 * a, 3 * b) == pytest.approx(9 * expected, rel=1e-10)


def test_fewer_rows_than_features():
    a = normal(8, 30)
    assert frechet(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet(a, 2 * a - a.mean(0)) == pytest.approx(a.var(0, ddof=1).sum(), rel=1e-10)
    constant = np.hstack([a, np.zeros((8, 3))])
    assert frechet(constant, -constant) == pytest.approx(frechet(a, -a), rel=1e-10)


def test_small_variances_far_from_zero():
    a = normal(500, 3) * 1e-3 + 1e4
    b = (a - a.mean(0)) * 2 + a.mean(0)
    assert frechet(a, b) == pytest.approx(a.var(0, ddof=1).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (
            normal(9, 3),
            normal(9, 4),
            "first features have 3 columns, but the second features have 4",
        ),
        (normal(1, 3), normal(9, 3), "N >= 2"),
        (normal(9), normal(9, 3), r"features have shape \(9,\)"),
        (normal(9, 3) * np.nan, normal(9, 3), "NaN or infinity"),
    ],
)
def test_frechet_refuses(a, b, message):
    with pytest.raises(VariedError, match=message):
        frechet(a, b)


# Sharpness


def test_sharpness_of_known_images():
    point = torch.zeros(1, 5, 5)
    point[0, 2, 2] = 1
    assert sharpness(point).value == pytest.approx(20 / 9)
    board = torch.tensor(np.indices((8, 8)).sum(0) % 2)[None].double()
    assert sharpness(board).value == pytest.approx(16)
    ramp = torch.linspace(0, 1, 9).expand(2, 9, 9)
    assert sharpness(ramp).value == pytest.approx(0, abs=1e-12)
    noise = sharpness(torch.rand(300, 40, 40, generator=torch.Generator().manual_seed(0)))
    assert abs(noise.value - 20 / 12) < 4 * noise.error
    assert noise.n == 300


def test_sharpness_of_equivalent_images():
    x = np.random.default_rng(0).integers(0, 256, (1030, 9, 7), dtype=np.uint8)
    expected = sharpness(x).value
    for same in (x[:, None], x / 255, torch.from_numpy(x), np.repeat(x[:, None], 3, axis=1)):
        assert sharpness(same).value == pytest.approx(expected, rel=1e-9)
    red = np.zeros((1030, 3, 9, 7), np.uint8)
    red[:, 0] = x
    assert sharpness(red).value == pytest.approx(0.299**2 * expected)


def test_read_only_arrays_are_accepted():
    x = np.random.default_rng(0).integers(0, 256, (10, 9, 7), dtype=np.uint8)
    expected = sharpness(x)
    x.flags.writeable = False
    with warnings.catch_warnings(action="error"):
        assert sharpness(x) == expected


def test_blur_reduces_sharpness():
    x = torch.from_numpy(sprites.draw(sprites.factors(np.arange(0, 737_280, 5000)))) / 255
    blurred = torch.nn.functional.avg_pool2d(x[:, None], 3, 1, 1)
    assert sharpness(blurred).value < 0.3 * sharpness(x).value


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 8, 8, 3)), "1 or 3 channels, not 8; put the channels before"),
        (np.zeros((8, 8)), r"got \(8, 8\)"),
        (np.zeros((2, 2, 8)), "at least 3x3 pixels"),
        (np.zeros((0, 8, 8)), r"got \(0, 8, 8\)"),
        (np.full((2, 8, 8), 255.0), r"floating point with values in \[0, 1\]"),
        (np.full((2, 8, 8), np.nan), r"floating point with values in \[0, 1\]"),
        (np.zeros((2, 8, 8), int), "got torch.int64"),
    ],
)
def test_sharpness_refuses(x, message):
    with pytest.raises(VariedError, match=message):
        sharpness(x)
