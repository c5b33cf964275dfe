"""The Fréchet distance and sharpness against closed forms; the classifier that gives features."""

import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from varied.data import read, sprites
from varied.errors import VariedError
from varied.evaluate import features as f
from varied.evaluate.fidelity import frechet, sharpness


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


def test_sharpness_of_bytes_numbers_and_colours():
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


# The classifier


def bars(n, seed=0):
    """Noisy pictures with a bar across, or down, or neither."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 120, (n, 1, 10, 12), dtype=np.uint8), rng.integers(0, 3, n)
    x[y == 0, :, 4:6] = 250
    x[y == 1, :, :, 4:6] = 250
    return torch.from_numpy(x), y


@pytest.fixture(scope="module")
def seen():
    return f.classifier(*bars(900), of="bars", epochs=4)


def test_a_classifier_learns_and_says_how_well(seen):
    x, y = bars(300, seed=1)
    assert (seen.predict(x).numpy() == y).mean() > 0.95
    assert seen.accuracy.n == 90
    wanted = f"classifier trained on bars, {100 * seen.accuracy.value:.1f} % test accuracy"
    assert seen.name == wanted


def test_features_are_what_the_last_layer_reads(seen):
    x = bars(1100, seed=1)[0]
    found = seen.features(x)
    assert (found.shape, found.dtype, found.requires_grad) == ((1100, 128), torch.float32, False)
    assert found.min() >= 0
    assert torch.equal(seen.last(found).argmax(1), seen.predict(x))
    assert torch.allclose(seen.features(x.float() / 255), found, atol=1e-5)


def test_the_distance_of_features_tells_real_from_noise(seen):
    x = bars(800, seed=1)[0]
    real = seen.features(x)
    noise = torch.randint(0, 256, x.shape, generator=torch.Generator().manual_seed(0)).byte()
    blurred = torch.nn.functional.avg_pool2d(x.float() / 255, 3, 1, 1)
    near = frechet(real[:400], real[400:])
    assert 10 * near < frechet(real, seen.features(blurred))
    assert 10 * near < frechet(real, seen.features(noise))


def test_the_same_arguments_give_the_same_classifier():
    state = torch.get_rng_state()
    one, again = (f.classifier(*bars(200), epochs=1) for _ in range(2))
    other = f.classifier(*bars(200), epochs=1, seed=1)
    x = bars(20, seed=1)[0]
    assert torch.equal(one.features(x), again.features(x))
    assert not torch.equal(one.features(x), other.features(x))
    assert torch.equal(state, torch.get_rng_state())


def test_a_classifier_is_kept_as_tensors(seen):
    again = f.Features(seen.shape, seen.classes, seen.name)
    again.load_state_dict(seen.state_dict())
    x = bars(20, seed=1)[0]
    assert torch.equal(again.features(x), seen.features(x))


def test_test_rows_are_not_trained_on_and_the_unlabelled_are_left_out():
    x, y = bars(300)
    y[::3] = -1
    wrong = bars(60, seed=2)
    one = f.classifier(x, y, test=(wrong[0], (wrong[1] + 1) % 3), epochs=6)
    assert one.accuracy.n == 60
    assert one.accuracy.value < 0.2  # what it learnt is right, and these labels are not
    assert (one.predict(wrong[0]).numpy() == wrong[1]).mean() > 0.8
    known = y >= 0
    same = f.classifier(x[known], y[known], test=wrong, epochs=6)
    assert torch.equal(one.features(x), same.features(x))


def test_held_out_rows_are_not_trained_on():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 2, (200, 1, 10, 12), dtype=np.uint8) * 255)
    y = rng.integers(0, 2, 200)
    found = f.classifier(x, y, epochs=40)
    assert found.accuracy.n == 20
    assert found.accuracy.value < 0.85  # there is nothing to learn, only to know by heart
    assert (found.predict(x).numpy() == y).mean() > 0.9


def test_no_epochs_leave_it_as_it_began():
    one, other = (f.classifier(*bars(50), epochs=0, seed=seed) for seed in (0, 1))
    assert one.accuracy.value < 0.8
    assert not torch.equal(one.last.weight, other.last.weight)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "The pictures have no labels"),
        (np.zeros((30, 5), np.float32), "name a factor"),
        (np.zeros(30, np.float32), "are no classes"),
        (np.zeros(29, int), "are no classes of 30"),
        (np.full(30, -1), "at least two classes"),
        (np.zeros(30, int), "at least two classes"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(VariedError, match=message):
        f.classifier(bars(30)[0], labels)


@pytest.mark.parametrize("shape", [(4, 3, 10, 12), (4, 10, 12), (4, 1, 12, 10), (0, 1, 10, 12)])
def test_pictures_of_another_shape_are_refused(seen, shape):
    with pytest.raises(VariedError, match=r"knows \(N, 1, 10, 12\)"):
        seen.features(torch.zeros(shape))


@pytest.mark.slow
def test_digits_are_told_apart():
    items = read("mnist")
    x, held = torch.from_numpy(items.x)[:, None], np.isin(np.arange(70_000), items.test)
    y = items.labels
    found = f.classifier(x[~held], y[~held], of="mnist", test=(x[held], y[held]))
    assert found.accuracy.value > 0.985
    seen = found.features(x[held])
    assert frechet(seen[::2], seen[1::2]) < 5
