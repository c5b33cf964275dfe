"""Probes against known values, optimal predictions and scikit-learn."""

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


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def clusters(n=2000, d=3, classes=4, distance=20.0, seed=0):
    """Rows of distant clusters, and the cluster of each."""
    y = np.random.default_rng(seed).integers(0, classes, n)
    centers = distance * normal(classes, d, seed=seed + 2)
    return normal(n, d, seed=seed + 1) + centers[y], y


# Known values


@pytest.mark.parametrize("kind", ["linear", "neighbors"])
def test_separated_classes_are_predicted(kind):
    x, y = clusters()
    for labels in (y, y % 2 == 0, np.array(list("abcd"))[y], torch.tensor(y), y.tolist()):
        result = probe(x, labels, kind=kind)
        assert (result.score.value, result.metric, result.score.n) == (1.0, "accuracy", 400)
        assert result.n_train == 1600
        assert result.chance < 0.6


@pytest.mark.parametrize("kind", ["linear", "neighbors"])
def test_random_codes_have_chance_level(kind):
    y = (np.random.default_rng(0).random(3000) < 0.3).astype(int)
    result = probe(normal(3000, 5), y, kind=kind)
    assert result.chance == pytest.approx(0.7, abs=0.04)
    assert abs(result.score.value - result.chance) < 0.06
    numbers = probe(normal(3000, 5), normal(3000, seed=7), kind=kind)
    assert (numbers.metric, numbers.n_classes) == ("R2", 0)
    assert -0.2 < numbers.score.value < 0.02
    assert -0.01 < numbers.chance <= 0


def test_two_gaussians_have_the_optimal_accuracy():
    # The optimal accuracy for N(0, 1) and N(2, 1) is Phi(1).
    y = np.arange(8000) % 2
    result = probe(normal(8000, 1) + 2 * y[:, None], y)
    assert abs(result.score.value - norm.cdf(1)) < 3 * result.score.error
    assert result.score.error == pytest.approx(math.sqrt(0.8413 * 0.1587 / 1600), rel=0.05)


def test_noisy_line_has_the_explained_variance():
    x = normal(6000, 3)
    y = x @ [1.0, -2.0, 0.0] + math.sqrt(5) * normal(6000, seed=5) + 100
    result = probe(x, y)
    assert abs(result.score.value - 0.5) < 3 * result.score.error
    assert 0.01 < result.score.error < 0.04
    assert probe(x, y, kind="neighbors").score.value < result.score.value


def test_neighbors_predict_nonlinear_classes():
    x = normal(3000, 2)
    y = (np.prod(x, axis=1) > 0).astype(int)
    assert probe(x, y).score.value < 0.6
    assert probe(x, y, kind="neighbors").score.value > 0.93


# Independent implementations


def test_neighbors_match_scikit_learn():
    x, y = clusters(distance=1.0)
    test, z = np.arange(1500, 2000), x @ [1.0, 2.0, 3.0]
    classifier = KNeighborsClassifier(10).fit(x[:1500], y[:1500])
    score = probe(x, y, test=test, kind="neighbors").score.value
    assert score == classifier.score(x[1500:], y[1500:])
    regressor = KNeighborsRegressor(10).fit(x[:1500], z[:1500])
    score = probe(x, z, test=test, kind="neighbors").score.value
    assert score == pytest.approx(regressor.score(x[1500:], z[1500:]), abs=1e-6)


def test_ridge_regression_of_many_rows_matches_least_squares():
    x, test = normal(5000, 3), np.arange(5000) >= 4000
    y = x @ [1.0, 2.0, -1.0] + normal(5000, seed=3)
    predicted = LinearRegression().fit(x[~test], y[~test]).predict(x[test])
    result = probe(x, y, test=test)
    assert result.score.value == pytest.approx(r2_score(y[test], predicted), abs=1e-3)
    mean = [y[~test].mean()] * 1000
    assert result.chance == pytest.approx(r2_score(y[test], mean), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_has_converged(classes):
    x, y = clusters(n=1200, classes=classes, distance=1.0)
    *_, regression = probes._logistic_regression(x, y).named_steps.values()
    z = np.clip((x - x.mean(0)) / x.std(0), -10, 10)
    outputs = 1 if classes == 2 else classes

    def loss(flat):
        weights = flat.reshape(outputs, -1)
        logits = z @ weights[:, :-1].T + weights[:, -1]
        both = np.hstack([0 * logits, logits]) if outputs == 1 else logits
        nats = -log_softmax(both, axis=1)[np.arange(len(y)), y].sum()
        return regression.C * nats + 0.5 * (weights[:, :-1] ** 2).sum()

    weights = np.hstack([regression.coef_, regression.intercept_[:, None]]).ravel()
    minimum = minimize(loss, np.zeros_like(weights), method="BFGS", options={"gtol": 1e-6})
    assert loss(weights) <= minimum.fun * (1 + 1e-5)
    assert regression.n_iter_.max() < probes.MAX_ITERATIONS


def test_regularization_strength_is_chosen_on_held_out_rows():
    def strength(n, units, signal):
        x = normal(n, units)
        y = (signal * x[:, 0] + normal(n, seed=3) > 0).astype(int)
        return list(probes._logistic_regression(x, y).named_steps.values())[-1].C

    assert strength(200, 40, 0.0) <= 1e-3  # no signal
    assert 1e-3 <= strength(200, 40, 1.0) <= strength(2000, 3, 1.0) <= 10
    assert strength(400, 2, 1e3) == 100  # almost no noise


def test_folds_have_all_classes_among_the_training_rows():
    y = np.array([0] * 40 + [1] * 2 + [2])
    folds = list(probes._folds(y))
    assert len(folds) == 5
    for train, held_out in folds:
        assert set(y[train]) == {0, 1, 2} and not (train & held_out).any()
    assert sum(held_out.sum() for _, held_out in folds) == 42  # without the class of one row
    assert len(list(probes._folds(np.arange(4000) % 3))) == 1
    assert not list(probes._folds(np.arange(3)))


# Difficult codes


def test_redundant_and_badly_scaled_codes():
    x, y = clusters(n=600)
    codes = np.hstack([x, x, 0 * x + 3, 1e-9 * x, 1e9 * x + 1e12, y[:, None] * 1.0])
    assert probe(codes, y).score.value == 1.0
    assert probe(codes, y * 1.5).score.value > 0.999
    assert probe(1e3 * y[:, None], y).score.value == 1.0


def test_outliers_have_little_influence():
    x = normal(2000, 4)
    y = x @ [1.0, 1.0, 0.0, 0.0] + 0.5 * normal(2000, seed=3)
    rare = np.zeros((2000, 1))
    rare[3], rare[-1] = 1, 1e4  # one training row and one extreme test row
    test = np.arange(2000) >= 1500
    expected = probe(x, y, test=test).score.value
    result = probe(np.hstack([x, rare]), y, test=test).score.value
    assert result == pytest.approx(expected, abs=0.02)


def test_scale_of_units_does_not_matter():
    x, y = clusters(distance=1.0)
    scaled = x * [1e-6, 1.0, 1e5] + [7, -3, 0]
    assert probe(scaled, y).score.value == pytest.approx(probe(x, y).score.value, abs=0.005)


# Rows


def test_raw_data_are_probed_with_the_same_rows():
    x, y = clusters()
    images = torch.randint(0, 255, (2000, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    result = probe(x, y, raw=images.byte())
    assert result.score.value == 1.0
    assert result.raw.value < 0.35
    assert result.raw.n == 400
    same = probe(x, y, raw=x.reshape(2000, 3, 1))
    assert same.raw == same.score
    assert probe(x, y).raw is None
    assert "raw data 0." in str(result)


def test_rows_without_a_label_are_not_used():
    x, y = clusters()
    hidden = np.arange(2000) % 4 == 1
    names = np.array(["a", "b", "c", "d"])[y]
    for labels in (np.where(hidden, -1, y), np.where(hidden, "", names)):
        result = probe(x, labels)
        assert (result.n_unlabeled, result.n_train, result.score.n) == (500, 1200, 300)
        assert (result.score.value, result.n_classes) == (1.0, 4)
        assert "500 rows without a label are not used" in str(result)
    numbers = probe(x, np.where(hidden, np.nan, x[:, 0]))
    assert (numbers.n_unlabeled, numbers.score.n) == (500, 300)
    assert numbers.score.value > 0.999
    # -1 and 1 are two classes.
    signs = probe(x, np.where(y > 1, 1, -1))
    assert (signs.n_unlabeled, signs.score.value) == (0, 1.0)


def test_given_test_rows_are_not_used_for_training():
    x, y = clusters(n=400)
    y[300:] = np.roll(y[300:], 37)  # the labels of test rows are wrong
    mask = np.arange(400) >= 300
    result = probe(normal(400, 300), y, test=mask)
    assert result.score.value < 0.45
    assert result.n_train == 300
    for same in (torch.tensor(mask), np.flatnonzero(mask), torch.arange(300, 400)):
        assert probe(normal(400, 300), y, test=same) == result
    hidden = np.where(np.arange(400) >= 390, -1, y)
    assert probe(x, hidden, test=mask).score.n == 90


def test_training_only_uses_training_rows(monkeypatch):
    tables, fit = [], probes._fit
    monkeypatch.setattr(probes, "_fit", lambda k, x, y, c: tables.append(x) or fit(k, x, y, c))
    x, y = clusters(n=200)
    probe(x, y, test=np.arange(50), raw=x)
    assert len(tables) == 2
    assert {tuple(row) for table in tables for row in table} == {tuple(row) for row in x[50:]}


def test_labels_per_class():
    x, y = clusters(distance=1.2)
    results = [probe(x, y, labels_per_class=n) for n in (1, 3, 10, 100)]
    assert [result.n_train for result in results] == [4, 12, 40, 400]
    assert {result.score.n for result in results} == {400}
    assert results[0].score.value < results[2].score.value < results[3].score.value
    # If a class has fewer rows, all of them are used.
    assert probe(x, np.where(np.arange(2000) < 30, 9, y), labels_per_class=100).n_train < 530
    assert probe(x, y, max_rows=77).n_train == 77


@pytest.mark.parametrize("slope", [0.2, 0.9])
def test_standard_error_of_r2_matches_the_variation_over_test_rows(slope):
    x = normal(60_000, 1)
    y = x[:, 0] + normal(60_000, seed=1)
    predicted = slope * x[:, 0] + 0.1
    parts = zip(predicted.reshape(200, -1), y.reshape(200, -1), strict=True)
    results = [probes.r2(*part) for part in parts]
    variation = np.std([result.value for result in results], ddof=1)
    assert np.mean([result.error for result in results]) == pytest.approx(variation, rel=0.15)
    assert results[0].value == pytest.approx(r2_score(y[:300], predicted[:300]), abs=1e-12)


# Seeds and errors


def test_same_seed_gives_the_same_result_without_side_effects():
    x, y = clusters(distance=1.0)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = probe(x, y, raw=x[:, :1])
    assert first == probe(torch.tensor(x), torch.tensor(y), raw=torch.tensor(x[:, :1]))
    assert first != probe(x, y, raw=x[:, :1], seed=1)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def test_probe_as_text():
    text = str(probe(*clusters()))
    assert text.startswith("accuracy 1 (chance level 0.")
    assert text.endswith("linear, 1,600 training and 400 test rows)")


Z, BINARY = normal(50, 2), np.arange(50) % 2


@pytest.mark.parametrize(
    ("codes", "labels", "options", "message"),
    [
        (Z, BINARY[:40], {}, "number of labels, 40, differs from the number of rows, 50"),
        (Z[:, 0], BINARY, {}, r"codes have shape \(50,\)"),
        (normal(50, 2, 2), BINARY, {}, r"codes have shape \(50, 2, 2\)"),
        (Z * np.nan, BINARY, {}, "of the codes contains NaN"),
        (Z, BINARY, {"raw": np.full((50, 2), np.inf)}, "of the raw data contains NaN or inf"),
        (Z, BINARY, {"raw": Z[:40]}, "50 codes but 40 rows of raw data"),
        (Z, 0 * BINARY, {}, "All labels of the training rows are equal"),
        (Z, np.full(50, -1), {}, "0 training and 0 test rows"),
        (Z, [str(i) for i in range(50)], {}, "fewer than two training rows per class"),
        (Z, Z, {}, "pass a single column"),
        (Z, np.full(50, np.inf), {}, "infinite"),
        (Z, BINARY, {"kind": "forest"}, "must be 'linear' or 'neighbors'"),
        (Z, BINARY, {"test": np.array([50])}, "indices between 0 and 49"),
        (Z, BINARY, {"test": np.ones(40, bool)}, r"boolean mask with shape \(50,\)"),
        (Z, BINARY, {"test": np.ones(50, bool)}, "0 training and 50 test"),
        (Z, BINARY, {"labels_per_class": 0}, "labels_per_class=0"),
        (Z, Z[:, 0], {"labels_per_class": 5}, "the labels are numbers"),
        (Z, BINARY, {"max_rows": 1}, "max_rows=1 must be at least 2"),
    ],
)
def test_probe_refuses(codes, labels, options, message):
    with pytest.raises(VariedError, match=message), warnings.catch_warnings():
        probe(codes, labels, **options)
