"""The Fréchet distance and sharpness against closed forms."""

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


def sample(mean, cov, n=60, seed=0):
    """Rows whose mean and unbiased covariance are exactly these."""
    x = normal(n, len(mean), seed=seed)
    x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(n - 1)
    return x @ np.linalg.cholesky(np.asarray(cov, float)).T + mean


def covariance(size, seed):
    a = normal(size, size, seed=seed)
    return a @ a.T + 0.1 * np.eye(size)


def test_the_distance_of_gaussians_along_the_axes():
    a = sample([0, 1, 2], np.diag([1.0, 4, 9]))
    b = sample([1, 1, 0], np.diag([4.0, 4, 1]), seed=1)
    assert frechet(a, b) == pytest.approx((1 + 0 + 4) + (1 + 0 + 4), rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_of_any_gaussians(seed):
    mean_a, mean_b = normal(2, 5, seed=seed)
    cov_a, cov_b = covariance(5, seed + 10), covariance(5, seed + 20)
    wanted = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b))
    found = frechet(sample(mean_a, cov_a, seed=1), sample(mean_b, cov_b, n=90, seed=2))
    assert found == pytest.approx(float(wanted.real), rel=1e-9)


# torchmetrics 1.9, which computes in float32: FrechetInceptionDistance(feature=net, normalize=True,
# input_img_size=(1, 2, 3)), where the net lays out the picture.
def test_the_distance_is_that_of_torchmetrics():
    dice = torch.Generator().manual_seed(0)
    a = torch.randn(300, 6, generator=dice)
    b = 1.3 * torch.randn(400, 6, generator=dice) + 0.2
    assert frechet(a, b) == pytest.approx(0.722119152545929, rel=1e-6)


def test_the_distance_is_one():
    a, b = torch.tensor(normal(40, 4)), torch.tensor(normal(50, 4, seed=1))
    turn = torch.linalg.qr(torch.tensor(normal(4, 4, seed=2))).Q
    assert frechet(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-10)
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b), rel=1e-10)
    assert frechet(3 * a, 3 * b) == pytest.approx(9 * frechet(a, b), rel=1e-10)


def test_fewer_rows_than_features_are_no_trouble():
    a = normal(8, 30)
    assert frechet(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet(a, 2 * a - a.mean(0)) == pytest.approx(a.var(0, ddof=1).sum(), rel=1e-10)
    silent = np.hstack([a, np.zeros((8, 3))])
    assert frechet(silent, -silent) == pytest.approx(frechet(a, -a), rel=1e-10)


def test_small_spreads_far_from_zero_are_not_lost():
    a = normal(500, 3) * 1e-3 + 1e4
    b = (a - a.mean(0)) * 2 + a.mean(0)
    assert frechet(a, b) == pytest.approx(a.var(0, ddof=1).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (normal(9, 3), normal(9, 4), "3 features and the other 4"),
        (normal(1, 3), normal(9, 3), "have no covariance"),
        (normal(9), normal(9, 3), "have no covariance"),
        (normal(9, 3) * np.nan, normal(9, 3), "NaN or infinity"),
    ],
)
def test_what_has_no_distance_is_refused(a, b, message):
    with pytest.raises(VariedError, match=message):
        frechet(a, b)


def test_the_sharpness_of_known_pictures():
    point = torch.zeros(1, 5, 5)
    point[0, 2, 2] = 1
    assert sharpness(point).value == pytest.approx(20 / 9)
    board = torch.tensor(np.indices((8, 8)).sum(0) % 2)[None].double()
    assert sharpness(board).value == pytest.approx(16)
    assert sharpness(torch.linspace(0, 1, 9).expand(2, 9, 9)).value == pytest.approx(0, abs=1e-12)
    noise = torch.rand(300, 40, 40, generator=torch.Generator().manual_seed(0))
    found = sharpness(noise)
    assert abs(found.value - 20 / 12) < 4 * found.error
    assert found.n == 300


def test_sharpness_of_bytes_numbers_and_colors():
    x = np.random.default_rng(0).integers(0, 256, (1030, 9, 7), dtype=np.uint8)
    wanted = sharpness(x)
    for same in (x[:, None], x / 255, torch.from_numpy(x), np.repeat(x[:, None], 3, axis=1)):
        assert sharpness(same).value == pytest.approx(wanted.value, rel=1e-9)
    red = np.zeros((1030, 3, 9, 7), np.uint8)
    red[:, 0] = x
    assert sharpness(red).value == pytest.approx(0.299**2 * wanted.value)
    x.flags.writeable = False
    with warnings.catch_warnings(action="error"):
        assert sharpness(x).value == wanted.value


def test_a_blur_is_less_sharp():
    x = torch.from_numpy(sprites.draw(sprites.factors(np.arange(0, 737_280, 5000)))) / 255
    blurred = torch.nn.functional.avg_pool2d(x[:, None], 3, 1, 1)
    assert sharpness(blurred).value < 0.3 * sharpness(x).value


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 8, 8, 3)), "put the channels before"),
        (np.zeros((8, 8)), "Pictures have shape"),
        (np.zeros((2, 2, 8)), "3x3 at least"),
        (np.zeros((0, 8, 8)), "Pictures have shape"),
        (np.full((2, 8, 8), 255.0), "between 0 and 1"),
        (np.full((2, 8, 8), np.nan), "between 0 and 1"),
        (np.zeros((2, 8, 8), int), "not torch.int64"),
    ],
)
def test_what_has_no_sharpness_is_refused(x, message):
    with pytest.raises(VariedError, match=message):
        sharpness(x)
