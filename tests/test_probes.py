"""Probes against what is known to be readable, and against scikit-learn called by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from varied.errors import VariedError
from varied.evaluate import probes
from varied.evaluate.probes import probe

pytestmark = pytest.mark.filterwarnings("error")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def heaps(n=2000, d=3, classes=4, apart=20.0, seed=0):
    """Rows about places far apart, and the place of each."""
    y = np.random.default_rng(seed).integers(0, classes, n)
    return noise(n, d, seed=seed + 1) + apart * noise(classes, d, seed=seed + 2)[y], y


# Known answers


@pytest.mark.parametrize("kind", ["linear", "neighbors"])
def test_codes_that_hold_the_classes_are_read_whole(kind):
    x, y = heaps()
    for labels in (y, y % 2 == 0, np.array(list("abcd"))[y], torch.tensor(y), y.tolist()):
        found = probe(x, labels, kind=kind)
        assert (found.score.value, found.measure, found.score.n) == (1.0, "accuracy", 400)
        assert found.rows == 1600
        assert found.chance < 0.6


@pytest.mark.parametrize("kind", ["linear", "neighbors"])
def test_codes_that_hold_nothing_are_read_by_chance(kind):
    y = (np.random.default_rng(0).random(3000) < 0.3).astype(int)
    found = probe(noise(3000, 5), y, kind=kind)
    assert found.chance == pytest.approx(0.7, abs=0.04)
    assert abs(found.score.value - found.chance) < 0.06
    numbers = probe(noise(3000, 5), noise(3000, seed=7), kind=kind)
    assert (numbers.measure, numbers.classes) == ("R2", 0)
    assert -0.2 < numbers.score.value < 0.02
    assert -0.01 < numbers.chance <= 0


def test_two_gaussians_are_read_as_well_as_can_be():
    # The best rule for N(0, 1) against N(2, 1) is right with probability Phi(1).
    y = np.arange(8000) % 2
    found = probe(noise(8000, 1) + 2 * y[:, None], y)
    assert abs(found.score.value - norm.cdf(1)) < 3 * found.score.error
    assert found.score.error == pytest.approx(math.sqrt(0.8413 * 0.1587 / 1600), rel=0.05)


def test_a_noisy_line_is_read_to_its_share_of_the_variance():
    x = noise(6000, 3)
    y = x @ [1.0, -2.0, 0.0] + math.sqrt(5) * noise(6000, seed=5) + 100
    found = probe(x, y)
    assert abs(found.score.value - 0.5) < 3 * found.score.error
    assert 0.01 < found.score.error < 0.04
    assert probe(x, y, kind="neighbors").score.value < found.score.value


def test_neighbors_read_what_no_line_can():
    x = noise(3000, 2)
    y = (np.prod(x, axis=1) > 0).astype(int)
    assert probe(x, y).score.value < 0.6
    assert probe(x, y, kind="neighbors").score.value > 0.93


# Other ways to the same figure


def test_neighbors_are_those_of_scikit_learn():
    x, y = heaps(apart=1.0)
    test = np.arange(1500, 2000)
    by_hand = KNeighborsClassifier(10).fit(x[:1500], y[:1500]).score(x[1500:], y[1500:])
    assert probe(x, y, test=test, kind="neighbors").score.value == by_hand
    z = x @ [1.0, 2.0, 3.0]
    by_hand = KNeighborsRegressor(10).fit(x[:1500], z[:1500]).score(x[1500:], z[1500:])
    found = probe(x, z, test=test, kind="neighbors").score.value
    assert found == pytest.approx(by_hand, abs=1e-6)


def test_numbers_are_read_as_by_least_squares_where_rows_are_many():
    x, test = noise(5000, 3), np.arange(5000) >= 4000
    y = x @ [1.0, 2.0, -1.0] + noise(5000, seed=3)
    plain = LinearRegression().fit(x[~test], y[~test]).predict(x[test])
    found = probe(x, y, test=test)
    assert found.score.value == pytest.approx(r2_score(y[test], plain), abs=1e-3)
    assert found.chance == pytest.approx(r2_score(y[test], [y[~test].mean()] * 1000), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_regression_is_at_its_minimum(classes):
    x, y = heaps(n=1200, classes=classes, apart=1.0)
    model = probes._logistic(x, y)
    *_, inner = model.named_steps.values()
    z = np.clip((x - x.mean(0)) / x.std(0), -10, 10)
    outputs = 1 if classes == 2 else classes

    def loss(flat):
        weights = flat.reshape(outputs, -1)
        decision = z @ weights[:, :-1].T + weights[:, -1]
        both = np.hstack([0 * decision, decision]) if outputs == 1 else decision
        said = -log_softmax(both, axis=1)[np.arange(len(y)), y].sum()
        return inner.C * said + 0.5 * (weights[:, :-1] ** 2).sum()

    ours = np.hstack([inner.coef_, inner.intercept_[:, None]]).ravel()
    least = minimize(loss, np.zeros_like(ours), method="BFGS", options={"gtol": 1e-6})
    assert loss(ours) <= least.fun * (1 + 1e-5)
    assert inner.n_iter_.max() < probes.ITERATIONS


def test_the_strength_is_the_one_that_suits_rows_held_out():
    def chosen(n, units, says):
        x = noise(n, units)
        y = (says * x[:, 0] + noise(n, seed=3) > 0).astype(int)
        return list(probes._logistic(x, y).named_steps.values())[-1].C

    # Nothing to read is held as stiff as can be, and a clear line is let loose.
    found = [chosen(200, 40, 0.0), chosen(200, 40, 1.0), chosen(2000, 3, 1.0), chosen(400, 2, 1e3)]
    assert found[0] <= 1e-3
    assert 1e-3 <= found[1] <= found[2] <= 10
    assert found[3] == 100


def test_folds_keep_each_class_in_training():
    y = np.array([0] * 40 + [1] * 2 + [2])
    folds = list(probes._folds(y))
    assert len(folds) == 5
    assert all(set(y[learn]) == {0, 1, 2} and not (learn & held).any() for learn, held in folds)
    assert sum(held.sum() for _, held in folds) == 42  # the class of one row is never held out
    assert len(list(probes._folds(np.arange(4000) % 3))) == 1
    assert not list(probes._folds(np.arange(3)))


# Hard cases


def test_hard_codes_are_fitted_without_a_warning():
    x, y = heaps(n=600)
    hard = np.hstack([x, x, 0 * x + 3, 1e-9 * x, 1e9 * x + 1e12, y[:, None] * 1.0])
    assert probe(hard, y).score.value == 1.0
    assert probe(hard, y * 1.5).score.value > 0.999
    assert probe(1e3 * y[:, None], y).score.value == 1.0


def test_a_row_far_out_sways_nothing():
    x = noise(2000, 4)
    y = x @ [1.0, 1.0, 0.0, 0.0] + 0.5 * noise(2000, seed=3)
    still = np.zeros((2000, 1))
    still[3], still[-1] = 1, 1e4  # bright once in training, and ten thousand times so in a test
    test = np.arange(2000) >= 1500
    found = probe(np.hstack([x, still]), y, test=test)
    assert found.score.value == pytest.approx(probe(x, y, test=test).score.value, abs=0.02)


def test_the_scale_of_units_tells_a_line_nothing():
    x, y = heaps(apart=1.0)
    scaled = x * [1e-6, 1.0, 1e5] + [7, -3, 0]
    assert probe(scaled, y).score.value == pytest.approx(probe(x, y).score.value, abs=0.005)


# Which rows


def test_raw_data_are_read_beside_by_the_same_rows():
    x, y = heaps()
    pictures = torch.randint(0, 255, (2000, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    found = probe(x, y, raw=pictures.byte())
    assert found.score.value == 1.0
    assert found.raw.value < 0.35
    assert found.raw.n == 400
    same = probe(x, y, raw=x.reshape(2000, 3, 1))
    assert same.raw == same.score
    assert probe(x, y).raw is None
    assert "the data themselves 0." in str(found)


def test_rows_without_a_label_are_left_out_and_said():
    x, y = heaps()
    hidden = np.arange(2000) % 4 == 1
    words = np.array(["a", "b", "c", "d"])[y]
    for labels in (np.where(hidden, -1, y), np.where(hidden, "", words)):
        found = probe(x, labels)
        assert (found.left_out, found.rows, found.score.n) == (500, 1200, 300)
        assert (found.score.value, found.classes) == (1.0, 4)
        assert "500 rows without a label left out" in str(found)
    numbers = np.where(hidden, np.nan, x[:, 0])
    found = probe(x, numbers)
    assert (found.left_out, found.score.n) == (500, 300)
    assert found.score.value > 0.999
    # -1 and 1 are two classes, and nothing is missing.
    signs = probe(x, np.where(y > 1, 1, -1))
    assert (signs.left_out, signs.score.value) == (0, 1.0)


def test_test_rows_are_the_ones_asked_for_and_are_not_learned():
    x, y = heaps(n=400)
    y[300:] = np.roll(y[300:], 37)  # wrong on test rows alone: were they learned, it would show
    mask = np.arange(400) >= 300
    found = probe(noise(400, 300), y, test=mask)
    assert found.score.value < 0.45
    assert found.rows == 300
    for same in (torch.tensor(mask), np.flatnonzero(mask), torch.arange(300, 400)):
        assert probe(noise(400, 300), y, test=same) == found
    hidden = np.where(np.arange(400) >= 390, -1, y)
    assert probe(x, hidden, test=mask).score.n == 90


def test_nothing_of_the_test_rows_is_used_in_training(monkeypatch):
    seen = []
    whole = probes._fitted
    monkeypatch.setattr(probes, "_fitted", lambda k, x, y, c: seen.append(x) or whole(k, x, y, c))
    x, y = heaps(n=200)
    probe(x, y, test=np.arange(50), raw=x)
    learned = {tuple(row) for part in seen for row in part}
    assert len(seen) == 2
    assert learned == {tuple(row) for row in x[50:]}


def test_few_labels_are_as_many_of_each_class_and_among_the_more():
    x, y = heaps(apart=1.2)
    found = {n: probe(x, y, labels_per_class=n) for n in (1, 3, 10, 100)}
    assert [f.rows for f in found.values()] == [4, 12, 40, 400]
    assert {f.score.n for f in found.values()} == {400}
    assert found[1].score.value < found[10].score.value < found[100].score.value
    # A class with fewer gives all that it has.
    assert probe(x, np.where(np.arange(2000) < 30, 9, y), labels_per_class=100).rows < 530
    assert probe(x, y, rows=77).rows == 77


@pytest.mark.parametrize("slope", [0.2, 0.9])
def test_the_standard_error_of_r2_is_the_spread_over_other_test_rows(slope):
    x = noise(60_000, 1)
    y = x[:, 0] + noise(60_000, seed=1)
    told = slope * x[:, 0] + 0.1
    parts = zip(told.reshape(200, -1), y.reshape(200, -1), strict=True)
    found = [probes._determined(t, v) for t, v in parts]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.15)
    assert found[0].value == pytest.approx(r2_score(y[:300], told[:300]), abs=1e-12)


# The same again, and refusals


def test_the_same_seed_gives_the_same_and_changes_nothing():
    x, y = heaps(apart=1.0)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = probe(x, y, raw=x[:, :1])
    assert first == probe(torch.tensor(x), torch.tensor(y), raw=torch.tensor(x[:, :1]))
    assert first != probe(x, y, raw=x[:, :1], seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert (other == np.random.get_state()[1]).all()


def test_a_probe_says_all_in_a_line():
    x, y = heaps()
    line = str(probe(x, y))
    assert line.startswith("accuracy 1.000 ± 0.000 (chance 0.")
    assert line.endswith("linear, 1,600 training and 400 test rows)")


@pytest.mark.parametrize(
    ("codes", "labels", "options", "message"),
    [
        (noise(50, 2), np.arange(40) % 2, {}, "50 rows and 40 labels"),
        (noise(50), np.arange(50) % 2, {}, r"codes have shape \(50,\)"),
        (noise(50, 2, 2), np.arange(50) % 2, {}, r"codes have shape \(50, 2, 2\)"),
        (np.full((50, 2), np.nan), np.arange(50) % 2, {}, "codes hold NaN"),
        (noise(50, 2), np.arange(50) % 2, {"raw": np.full((50, 2), np.inf)}, "raw data hold NaN"),
        (noise(50, 2), np.arange(50) % 2, {"raw": noise(40, 2)}, "50 codes and 40 raw data"),
        (noise(50, 2), np.zeros(50, int), {}, "all the same"),
        (noise(50, 2), np.full(50, -1), {}, "0 training and 0 test rows"),
        (noise(50, 2), [str(i) for i in range(50)], {}, "nearly as many as the rows"),
        (noise(50, 2), noise(50, 2), {}, "one column at a time"),
        (noise(50, 2), np.full(50, np.inf), {}, "infinite"),
        (noise(50, 2), np.arange(50) % 2, {"kind": "forest"}, "choose from linear, neighbors"),
        (noise(50, 2), np.arange(50) % 2, {"test": np.array([50])}, "row numbers from 0 to 49"),
        (noise(50, 2), np.arange(50) % 2, {"test": np.ones(40, bool)}, r"bool of shape \(50,\)"),
        (noise(50, 2), np.arange(50) % 2, {"test": np.ones(50, bool)}, "0 training and 50 test"),
        (noise(50, 2), np.arange(50) % 2, {"labels_per_class": 0}, "labels_per_class=0"),
        (noise(50, 2), noise(50), {"labels_per_class": 5}, "these labels are numbers"),
        (noise(50, 2), np.arange(50) % 2, {"rows": 1}, "rows=1 is too few"),
    ],
)
def test_what_cannot_be_probed_is_refused(codes, labels, options, message):
    with pytest.raises(VariedError, match=message), warnings.catch_warnings():
        probe(codes, labels, **options)
