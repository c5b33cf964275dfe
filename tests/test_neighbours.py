"""Precision, recall, density, coverage, nearest rows and copies: oracles, closed forms, alarms."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors

from varied.errors import VariedError
from varied.evaluate import distances
from varied.evaluate.prdc import memorization, nearest, prdc

c = import_module("varied.evaluate.memorization")

FOUR = ("precision", "recall", "density", "coverage")


def normal(n, d, seed=0, spread=1.0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, spread, size=(n, d))


def values(found):
    return [getattr(found, name).value for name in FOUR]


def errors(found):
    return [getattr(found, name).error for name in FOUR]


# Of prdc 0.2: compute_prdc(real, made, nearest_k=k), in the order of FOUR.
@pytest.mark.parametrize(
    ("real", "made", "k", "wanted"),
    [
        ((300, 8, 0), (240, 8, 1, 0.8, 0.3), 1, [2 / 3, 0.35333333, 1.06666667, 0.36333333]),
        ((300, 8, 0), (240, 8, 1, 0.8, 0.3), 5, [0.975, 0.68666667, 1.32333333, 0.88333333]),
        ((150, 40, 2), (400, 40, 3, 1.2), 3, [0.24, 0.95333333, 0.175, 0.7]),
    ],
)
@pytest.mark.parametrize("chunk", [2**23, 5000])
def test_the_four_are_those_of_another_tool(monkeypatch, real, made, k, wanted, chunk):
    monkeypatch.setattr(distances, "CHUNK", chunk)
    found = prdc(normal(*real), torch.tensor(normal(*made)), k=k, resamples=0)
    assert values(found) == pytest.approx(wanted, abs=1e-8)
    assert [getattr(found, name).n for name in FOUR] == [made[0], real[0], made[0], real[0]]
    assert all(math.isnan(error) for error in errors(found))
    assert found.k == k


def test_the_same_rows_and_far_rows():
    x = normal(60, 4)
    same, far = prdc(x, x[::-1]), prdc(x, x + 1e3)
    assert values(same)[:2] == [1, 1] and values(same)[3] == 1
    # Each row lies in its own ball, and in those it is one of the 5 nearest neighbors of.
    assert values(same)[2] == pytest.approx(1 + 1 / 5)
    assert values(far) == [0, 0, 0, 0]


@pytest.mark.parametrize("chunk", [2**23, 1000])
@pytest.mark.parametrize("mean", [0.0, 1e5])
def test_rows_that_repeat_cover_each_other(monkeypatch, mean, chunk):
    # All radii are 0 but for rounding, which depends on how the rows are cut into chunks.
    monkeypatch.setattr(distances, "CHUNK", chunk)
    x = np.repeat(normal(12, 30, mean=mean), 7, axis=0)
    y = x[np.random.default_rng(0).permutation(len(x))]
    assert values(prdc(x, y, k=5, resamples=0)) == pytest.approx([1, 1, 7 / 5, 1])
    assert values(prdc(x, y + 1e-3, k=5, resamples=0)) == [0, 0, 0, 0]


def test_four_points_on_a_line():
    real, made = np.array([[0.0], [1], [3], [7]]), np.array([[1.5], [2], [20]])
    found = prdc(real, made, k=1)  # the balls: [-1, 1], [0, 2], [1, 5], [3, 11]
    assert values(found) == [2 / 3, 0.75, 4 / 3, 0.5]  # made: [1, 2], [1.5, 2.5], [2, 38]


def test_where_the_data_lie_and_their_unit_do_not_matter():
    x, y = normal(200, 6), normal(150, 6, 1, 0.9)
    turn = np.linalg.qr(normal(6, 6, 2))[0]
    for a, b in ((x + 1e4, y + 1e4), (1e-3 * x, 1e-3 * y), (x @ turn, y @ turn), (x[::-1], y)):
        assert values(prdc(a, b, resamples=0)) == pytest.approx(values(prdc(x, y, resamples=0)))
    back = prdc(y, x, resamples=0)
    assert back.recall.value == prdc(x, y, resamples=0).precision.value


def test_what_each_figure_sees():
    x = np.vstack([normal(200, 4, 0), normal(200, 4, 1, mean=9)])
    one_mode = prdc(x, normal(400, 4, 2), resamples=0)
    assert one_mode.precision.value > 0.9
    assert one_mode.recall.value < 0.55 and one_mode.coverage.value < 0.55
    noisy = prdc(x, normal(400, 4, 2, 15), resamples=0)
    assert noisy.precision.value < 0.3
    assert 0.85 < prdc(normal(600, 4), normal(600, 4, 1), resamples=0).density.value < 1.15
    alike = prdc(normal(600, 4), normal(600, 4, 1), resamples=0).coverage.value
    assert alike == pytest.approx(1 - 2**-5, abs=0.03)


def test_the_standard_errors_are_the_spread_over_other_data():
    found = [prdc(normal(150, 24, i), normal(200, 24, i + 99, 0.9), seed=i) for i in range(30)]
    spread = np.std([values(one) for one in found], axis=0, ddof=1)
    mean = np.mean([errors(one) for one in found], axis=0)
    assert (np.abs(np.log(mean / spread)[:3]) < 0.4).all()
    assert mean[3] < 2.5 * spread[3]


def test_a_small_part_gives_the_error_of_all_rows(monkeypatch):
    x, y = normal(400, 12), normal(400, 12, 1)
    whole = errors(prdc(x, y, resamples=40))
    monkeypatch.setattr(import_module("varied.evaluate.prdc"), "DRAWN", 100)
    assert errors(prdc(x, y, resamples=40))[:3] == pytest.approx(whole[:3], rel=0.5)


def test_the_same_seed_gives_the_same_and_changes_nothing():
    x, y, state = normal(90, 3), normal(90, 3, 1), torch.get_rng_state()
    assert prdc(x, y) == prdc(x, y) != prdc(x, y, seed=1)
    assert values(prdc(x, y)) == values(prdc(x, y, seed=1))
    assert (
        memorization(x, y, y + 1) == memorization(x, y, y + 1) != memorization(x, y, y + 1, seed=1)
    )
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("real", "made", "k", "message"),
    [
        (normal(9, 3), normal(9, 4), 5, "3 columns and the made rows 4"),
        (normal(9, 3), normal(5, 3), 5, "k=5 does not suit 9 real and 5 made"),
        (normal(9, 3), normal(9, 3), 0, "from 1 up"),
        (normal(9, 3) * np.nan, normal(9, 3), 5, "real rows hold NaN"),
        (normal(9, 3), normal(9, 3) * np.inf, 5, "made rows hold NaN"),
        (np.zeros(9), normal(9, 3), 5, "a row for each"),
        (normal(0, 3), normal(9, 3), 5, "a row for each"),
    ],
)
def test_what_has_no_neighbors_is_refused(real, made, k, message):
    with pytest.raises(VariedError, match=message):
        prdc(real, made, k=k)


# Nearest rows


@pytest.mark.parametrize("chunk", [2**23, 3000])
def test_nearest_rows_are_those_of_another_tool(monkeypatch, chunk):
    monkeypatch.setattr(distances, "CHUNK", chunk)
    x, y = normal(400, 7, mean=50), normal(1300, 7, 1, mean=50)
    wanted = NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(x).kneighbors(y)
    index, distance = nearest(y, x)
    assert np.array_equal(index.numpy(), wanted[1][:, 0])
    assert np.allclose(distance.numpy(), wanted[0][:, 0], rtol=1e-12)


def test_copies_are_at_no_distance_at_all():
    x = torch.randint(0, 256, (50, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    index, distance = nearest(x[order] / 255 + 1e3, x / 255 + 1e3)
    assert torch.equal(index, order)
    assert distance.eq(0).all()


# Copies


def of_three(seed, *, d=12, m=200, n=300, h=200, copied=0, spread=0.02):
    """Copies of `copied` rows among made ones that are honest draws otherwise."""
    rng = np.random.default_rng(seed)
    made, training, held = (rng.normal(size=(rows, d)) for rows in (m, n, h))
    made[:copied] = training[:copied] + spread * rng.normal(size=(copied, d))
    return made, training, held


def test_honest_draws_are_not_flagged():
    found = [memorization(*of_three(seed), resamples=0) for seed in range(150)]
    for name in ("share_p", "z_p", "nearer_p"):
        alarms = np.mean([getattr(one, name) < 0.1 for one in found])
        assert alarms < 0.1 + 3 * math.sqrt(0.1 * 0.9 / 150), name
    assert not any(one.copied for one in found)
    assert np.mean([one.close for one in found]) < 0.01 + 3 * math.sqrt(0.01 / 150)
    assert all((one.warning is None) != one.close for one in found)
    assert np.mean([one.share.value for one in found]) == pytest.approx(2 / 201, abs=0.003)
    assert found[0].expected == 2 / 201
    z = [one.z for one in found]
    assert abs(np.mean(z)) < 0.3 and np.std(z) == pytest.approx(1, abs=0.2)
    mean = np.mean([one.nearer.value for one in found])
    assert mean == pytest.approx(found[0].nearer_expected, abs=0.01)
    of_all = [one.nearer.error for one in found]
    assert np.mean(of_all) == pytest.approx(np.std([o.nearer.value for o in found]), rel=0.25)


@pytest.mark.parametrize("copied", [20, 60, 200])
def test_planted_copies_are_found(copied):
    for seed in range(8):
        found = memorization(*of_three(seed, m=200, h=300, copied=copied), resamples=0)
        assert found.copied and "repeat training rows" in found.warning
        assert abs(found.share.value - copied / 200) < 0.08
        assert found.share_p < 1e-4
        assert torch.equal(found.index[:copied], torch.arange(copied))
        assert found.distance[:copied].max() < 0.02 * 8


def test_smooth_samples_are_close_and_no_copies():
    for seed in range(20):
        made, training, held = of_three(seed)
        found = memorization(0.6 * made, training, held, resamples=0)
        assert found.z < -5 and found.close
        assert not found.copied
        assert "smooth" in found.warning


def test_samples_far_from_the_data_are_not_copies():
    made, training, held = of_three(0)
    found = memorization(2 * made, training, held)
    assert found.z > 5 and found.z_p > 0.99
    assert (found.share.value, found.share_p, found.copied) == (0, 1, False)


@pytest.mark.parametrize("sizes", [(200, 400, 60), (200, 60, 400)])
def test_values_that_repeat_favor_neither_set(sizes):
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found.append(memorization(*(rng.random((n, 6)) < 0.3 for n in sizes), resamples=0))
    nearer = np.mean([one.nearer.value for one in found])
    assert nearer == pytest.approx(found[0].nearer_expected, abs=0.02)
    assert np.mean([one.nearer_p < 0.1 for one in found]) < 0.2
    assert not any(one.copied for one in found)


def test_the_statistic_is_that_of_mann_and_whitney():
    made, training, held = of_three(3, copied=10)
    for round_off in (9, 0):  # without ties, and with many
        y, x, h = (np.round(rows[:, :2], round_off) for rows in (made, training, held))
        knn = NearestNeighbors(n_neighbors=1).fit(x)
        of_made, of_held = (knn.kneighbors(rows)[0][:, 0].round(9) for rows in (y, h))
        wanted = mannwhitneyu(
            of_made, of_held, alternative="less", method="asymptotic", use_continuity=False
        )
        assert memorization(y, x, h).z_p == pytest.approx(wanted.pvalue, rel=1e-6)


def test_the_chance_of_the_share_is_exact():
    # Of 3 made and 2 held-out distances in any order, the chance that s or more made come first.
    for closer, wanted in ((0, 1), (1, 3 / 5), (2, 3 / 10), (3, 1 / 10)):
        made = np.array([0.0] * closer + [2.0] * (3 - closer))
        assert c._closer(made, np.array([1.0, 3.0]), 1, 0, 0)[1] == pytest.approx(wanted)
    made = np.array([0.0, 0, 5])  # before the second: orders without both held-out rows ahead
    assert c._closer(made, np.array([1.0, 3.0]), 2, 0, 0)[1] == pytest.approx(7 / 10)


def test_the_error_of_the_share_is_its_spread():
    drawn = np.random.default_rng(0).binomial(200, 0.2, 40)  # how many samples are copies
    found = [
        memorization(*of_three(i, copied=n), seed=i, resamples=60) for i, n in enumerate(drawn)
    ]
    spread = np.std([one.share.value for one in found], ddof=1)
    assert np.mean([one.share.error for one in found]) == pytest.approx(spread, rel=0.3)


def test_all_rows_alike_tell_nothing():
    found = memorization(np.zeros((20, 2)), np.zeros((20, 2)), np.zeros((20, 2)))
    assert (found.z, found.z_p, found.share_p, found.copied) == (0, 0.5, 1, False)
    assert found.nearer.value == 0.5
    assert found.nearer_p == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((19, 20, 20), "19 made rows are too few"),
        ((20, 19, 20), "19 training rows are too few"),
        ((20, 20, 19), "19 held-out rows are too few"),
    ],
)
def test_too_few_rows_are_refused(sizes, message):
    with pytest.raises(VariedError, match=message):
        memorization(*(normal(n, 2) for n in sizes))


def test_held_out_rows_of_other_columns_are_refused():
    with pytest.raises(VariedError, match="held-out rows have 3 columns"):
        memorization(normal(30, 2), normal(30, 2), normal(30, 3))
