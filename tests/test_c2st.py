"""Classifier two-sample tests against optimal classifiers and chance level."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from varied.errors import VariedError
from varied.evaluate.c2st import c2st, c2st_auroc

KINDS = ("linear", "quadratic", "neighbors")


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mixture(seed, n=300, size=4):
    """Rows of two classes with different means."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(n) % 2
    return rng.normal(size=(n, size)) + 1.5 * np.eye(2, size)[y]


def forest(seed):
    return RandomForestClassifier(10, random_state=seed)


# Accuracy


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_one_distribution_have_chance_accuracy(kind):
    results = [c2st(normal(400, 3, seed=s), normal(400, 3, seed=s + 50), kind=kind) for s in (1, 2)]
    assert all(abs(result.value - 0.5) < 3.5 * result.error for result in results)
    assert results[0].n == 800
    assert results[0].error == pytest.approx(0.5 / math.sqrt(800), rel=0.02)


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_shifted_samples_have_the_optimal_accuracy(kind):
    # The optimal accuracy for N(0, 1) and N(1, 1) is Phi(1/2).
    result = c2st(normal(3000, 1), normal(3000, 1, seed=1) + 1, kind=kind)
    assert abs(result.value - norm.cdf(0.5)) < 3.5 * result.error


def test_only_the_quadratic_classifier_detects_scale_and_correlation():
    a, b = normal(1000, 8), normal(1000, 8, seed=1)
    correlated = b.clone()
    correlated[:, 1] = 0.9 * b[:, 0] + math.sqrt(1 - 0.81) * b[:, 1]
    for other in (1.5 * b, correlated):
        assert c2st(a, other, kind="linear").value < 0.54
        assert c2st(a, other).value > 0.65


def test_the_smaller_sample_determines_the_number_of_rows():
    result = c2st(normal(3000, 2), normal(100, 2, seed=1))
    assert result.n == 200
    assert abs(result.value - 0.5) < 0.15


def test_c2st_is_deterministic():
    a, b = normal(60, 3), normal(60, 3, seed=1)
    state = torch.get_rng_state()
    assert c2st(a, b) == c2st(a, b)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("a", "b", "kind", "message"),
    [
        (
            normal(50, 2),
            normal(50, 3),
            "linear",
            "first sample have 2 columns, but .* second sample have 3",
        ),
        (normal(5, 2), normal(50, 2), "linear", "5 rows per sample are too few"),
        (normal(50, 2), normal(50, 2), "forest", "must be 'linear'"),
        (normal(50, 65), normal(50, 65), "quadratic", "65 units have too many pairwise products"),
    ],
)
def test_c2st_refuses(a, b, kind, message):
    with pytest.raises(VariedError, match=message):
        c2st(a, b, kind=kind)


# AUROC


@pytest.mark.slow
def test_auroc_of_one_distribution_is_chance():
    x, y = mixture(0, n=150), mixture(1, n=200)
    result = c2st_auroc(x, y)
    assert abs(result.value - 0.5) < 4 * result.error < 0.2
    assert result.n == 300
    small = c2st_auroc(x, y, learner=forest)
    shaped = torch.tensor(x).reshape(-1, 2, 2), torch.tensor(y)[:, :, None]
    assert c2st_auroc(*shaped, learner=forest) == small
    assert c2st_auroc(x, y, learner=forest, seed=1) != small


@pytest.mark.slow
def test_auroc_of_different_distributions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + np.array([1.5, 0])
    linear = c2st_auroc(x, y, learner=lambda seed: LogisticRegression())
    assert linear.value == pytest.approx(0.8556, abs=3 * linear.error)  # Phi(1.5 / sqrt 2)
    assert c2st_auroc(x, y + 20, learner=forest).value == 1
    # The correlations have opposite signs, which only the forest detects.
    a, b = x @ [[1, 0.9], [0, 0.4]], x[::-1] @ [[1, -0.9], [0, 0.4]]
    assert c2st_auroc(a, b, learner=lambda seed: LogisticRegression()).value < 0.58
    assert c2st_auroc(a, b, learner=forest).value > 0.75


def test_auroc_of_copies_is_below_chance():
    x = mixture(0, n=200)
    result = c2st_auroc(x, x, learner=forest)
    assert result.value < 0.5 - 3 * result.error


@pytest.mark.slow
def test_standard_error_of_the_auroc_matches_the_variation_over_data():
    results = [
        c2st_auroc(
            mixture(k, n=150),
            mixture(k + 500, n=150) + 0.5,
            learner=lambda seed: GaussianNB(),
            resamples=30,
        )
        for k in range(40)
    ]
    variation = np.std([result.value for result in results], ddof=1)
    assert np.mean([result.error for result in results]) == pytest.approx(variation, rel=0.4)


class NoProbabilities:
    def __init__(self, seed):
        pass

    def fit(self, x, y):
        pass


X = mixture(0, n=30)


@pytest.mark.parametrize(
    ("a", "b", "settings", "message"),
    [
        (X, X[:, :3], {}, "real rows have 4 columns, but the generated rows have 3"),
        (X, X, {}, "30 rows per sample are too few for 5 folds"),
        (X, X, {"folds": 1}, "folds=1 must be at least 2"),
        (X, X * np.inf, {}, "Row 0 of the generated rows"),
        (X, X, {"folds": 2, "learner": NoProbabilities}, "no `predict_proba`"),
    ],
)
def test_c2st_auroc_refuses(a, b, settings, message):
    with pytest.raises(VariedError, match=message), np.errstate(invalid="ignore"):
        c2st_auroc(a, b, **settings)
