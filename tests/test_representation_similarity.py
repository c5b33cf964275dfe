"""Similarity of codes against known values, explicit kernels, brute force and scikit-learn."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group, pearsonr
from sklearn.cross_decomposition import CCA
from sklearn.neighbors import NearestNeighbors

from varied.errors import VariedError
from varied.evaluate import representation_similarity as module
from varied.evaluate.estimate import Estimate
from varied.evaluate.representation_similarity import (
    cka,
    mcc,
    mean_over_seeds,
    shared_neighbors,
    stability,
)

SCALE = np.array([3.0, 2.0, 1.0, 0.5, 0.2])
HALVES = [(slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rotation(units, seed=0):
    return ortho_group.rvs(units, random_state=seed)


def weak_mcc(a, b):
    return mcc(a, b, kind="weak")


METRICS = (cka, mcc, weak_mcc, shared_neighbors)


# Known values


@pytest.mark.parametrize("metric", METRICS)
def test_equal_codes(metric):
    a = normal(300, 5) * SCALE
    result = metric(a, a)
    assert result.value == pytest.approx(1, abs=1e-12)
    assert result.error < 1e-12
    assert result.n == 300


def test_rotation_changes_only_the_matched_units():
    a = normal(500, 5) * SCALE
    b = 7 * a @ rotation(5) + 3
    for metric in (cka, shared_neighbors, weak_mcc):
        assert metric(a, b).value == pytest.approx(1, abs=1e-12)
    assert 0.3 < mcc(a, b).value < 0.9


def test_order_sign_and_scale_of_units_change_only_cka():
    a = normal(400, 5) * SCALE
    b = (a * [-3, 0.1, 100, -1, 1e-6] + [0, 5, 0, 0, 1])[:, [4, 2, 0, 1, 3]]
    assert mcc(a, b).value == pytest.approx(1, abs=1e-9)
    assert weak_mcc(a, b).value == pytest.approx(1, abs=1e-9)
    assert cka(a, b).value < 0.9


def test_linear_map_does_not_change_the_weak_mcc():
    a = normal(400, 4)
    b = a @ (normal(4, 4, seed=1) * [10, 1, 0.1, 3])
    assert weak_mcc(a, b).value == pytest.approx(1, abs=1e-9)
    assert mcc(a, b).value < 0.95
    assert cka(a, b).value < 0.95


@pytest.mark.parametrize("units", [2, 30])
def test_independent_codes_have_chance_level(units):
    pairs = [(normal(200, units, seed=s), normal(200, units, seed=s + 99)) for s in range(6)]
    means = [np.mean([metric(a, b).value for a, b in pairs]) for metric in METRICS]
    assert np.allclose(means[:3], 0, atol=0.03)
    assert means[3] == pytest.approx(10 / 199, abs=0.01)


def test_biased_cka_of_independent_codes_is_not_zero():
    a, b = normal(200, 100), normal(200, 100, seed=1)
    a, b = a - a.mean(0), b - b.mean(0)
    norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    assert np.linalg.norm(a.T @ b) ** 2 / norms > 0.3
    assert abs(cka(a, b).value) < 0.03


@pytest.mark.parametrize("metric", [cka, mcc, weak_mcc])
def test_half_of_the_units_in_common(metric):
    shared, first, second = (normal(4000, 3, seed=s) for s in range(3))
    a, b = np.hstack([shared, first]), np.hstack([second, shared])
    assert metric(a, b).value == pytest.approx(0.5, abs=0.03)


def test_two_units_with_a_known_correlation():
    a = normal(20_000, 1)
    b = 0.6 * a + 0.8 * normal(20_000, 1, seed=1)
    for metric in (mcc, weak_mcc):
        result = metric(a, -b)
        assert abs(result.value - 0.6) < 4 * result.error
        assert result.error == pytest.approx((1 - 0.36) / math.sqrt(20_000), rel=0.5)
    assert abs(cka(a, b).value - 0.36) < 4 * cka(a, b).error


# Independent implementations


def test_cka_matches_explicit_kernels():
    a, b = normal(40, 3), normal(40, 5, seed=1)
    b[:, :2] += 2 * a[:, :2]
    n, ones = 40, np.ones(40)

    def hsic(k, m):
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        product = ones @ k @ ones * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return (np.trace(k @ m) + product - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))

    k, m = (a + 5) @ (a + 5).T, (b - 9) @ (b - 9).T
    expected = hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))
    assert cka(a, b).value == pytest.approx(expected, abs=1e-9)
    assert 0.2 < expected < 0.9


def test_matching_is_the_best_of_all():
    a = normal(60, 4)
    b = a @ rotation(4) + 0.5 * normal(60, 4, seed=1)
    means = []
    for fit, test in HALVES:
        of_fit, of_test = (
            np.array([[pearsonr(a[h, i], b[h, j])[0] for j in range(4)] for i in range(4)])
            for h in (fit, test)
        )
        units = np.arange(4)
        best = max(permutations(range(4)), key=lambda p: abs(of_fit[units, list(p)]).sum())
        means.append(np.mean(np.sign(of_fit[units, best]) * of_test[units, best]))
    result = module._strong_mcc(torch.tensor(a), torch.tensor(b))
    assert result == pytest.approx(np.mean(means), abs=1e-12)


def test_canonical_correlations_match_scikit_learn():
    a = normal(400, 3)
    noise = normal(400, 3, seed=1) * [0.1, 1, 3]
    b = np.hstack([a @ rotation(3) + noise, normal(400, 1, seed=2)])
    means = []
    for fit, test in HALVES:
        model = CCA(n_components=3, max_iter=5000, tol=1e-12).fit(a[fit], b[fit])
        u, v = model.transform(a[test], b[test])
        means.append(np.mean([pearsonr(u[:, j], v[:, j])[0] for j in range(3)]))
    result = module._weak_mcc(torch.tensor(a), torch.tensor(b))
    assert result == pytest.approx(np.mean(means), abs=1e-4)


@pytest.mark.parametrize("k", [1, 10])
def test_shared_neighbors_match_scikit_learn(k):
    a = normal(700, 3)
    b = a + 0.3 * normal(700, 3, seed=1)
    neighbors = [
        NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False) for x in (a, b)
    ]
    expected = [len(set(p) & set(q)) / k for p, q in zip(*neighbors, strict=True)]
    result = shared_neighbors(a, b, k=k)
    assert result.value == pytest.approx(np.mean(expected), abs=1e-9)
    assert result.error == pytest.approx(np.std(expected, ddof=1) / math.sqrt(700), abs=1e-9)


def test_neighbors_of_some_rows_are_searched_among_all(monkeypatch):
    a = normal(1500, 3)
    b = a + 0.3 * normal(1500, 3, seed=1)
    expected = shared_neighbors(a, b)
    monkeypatch.setattr(module, "MAX_QUERIES", 400)
    monkeypatch.setattr(module, "CHUNK", 150)
    result = shared_neighbors(a, b)
    assert result.n == 400
    assert abs(result.value - expected.value) < 4 * result.error


@pytest.mark.parametrize("metric", [cka, mcc, weak_mcc])
def test_standard_errors_match_the_variation_over_rows(metric):
    results = []
    for seed in range(40):
        a = normal(300, 3, seed=seed) * SCALE[:3]
        results.append(metric(a, a @ rotation(3) + normal(300, 3, seed=seed + 1000)))
    variation = np.std([result.value for result in results], ddof=1)
    error = np.sqrt(np.mean([result.error**2 for result in results]))
    assert error == pytest.approx(variation, rel=0.35)


# Several codes


def test_stability_is_the_mean_over_pairs():
    a = normal(300, 4) * SCALE[:4]
    b = a @ rotation(4) + normal(300, 4, seed=1)
    codes = [a, b, torch.tensor(normal(300, 2, seed=2))]
    result = stability(codes)
    names = ("cka", "mcc", "weak_mcc", "shared_neighbors")
    for name, metric in zip(names, METRICS, strict=True):
        values = [metric(codes[i], codes[j]).value for i, j in [(0, 1), (0, 2), (1, 2)]]
        assert getattr(result, name).value == pytest.approx(np.mean(values), abs=1e-12)
    assert (result.n_codes, result.chance) == (3, 10 / 299)
    assert stability(codes[:2]).cka == cka(a, b)


def test_standard_error_of_the_stability_matches_the_variation_over_codes():
    # The codes are noisy copies of one table, so pairs with a common code are dependent.
    truth = normal(200, 3)

    def simulate(seed):
        rng = np.random.default_rng(seed)
        codes = [truth + rng.choice([0.2, 2.0]) * rng.normal(size=(200, 3)) for _ in range(8)]
        pairs = {
            (j, i): Estimate(pearsonr(codes[i][:, 0], codes[j][:, 0])[0], 0.0, 200)
            for i in range(8)
            for j in range(i)
        }
        return module._mean_over_pairs(pairs)

    results = [simulate(seed) for seed in range(60)]
    variation = np.std([result.value for result in results], ddof=1)
    error = np.sqrt(np.mean([result.error**2 for result in results]))
    assert error == pytest.approx(variation, rel=0.3)


def test_mean_over_seeds():
    result = mean_over_seeds([1.0, 2.0, 3.0, Estimate(4.0, 9.9, 1000)])
    assert result.value == 2.5
    assert result.error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    assert result.n == 4


# Difficult codes


def test_constant_units_have_no_correlation():
    a = normal(200, 2)
    with_constant = np.hstack([a, np.full((200, 1), 0.1)])
    assert mcc(with_constant, with_constant).value == pytest.approx(2 / 3)
    assert weak_mcc(with_constant, with_constant).value == pytest.approx(2 / 3)
    assert mcc(a, with_constant).value == pytest.approx(1)
    assert cka(a, with_constant).value == pytest.approx(1)


@pytest.mark.parametrize("metric", METRICS)
def test_scale_shift_and_order_of_codes_do_not_matter(metric):
    a = normal(200, 3) * SCALE[:3]
    b = a @ rotation(3) + 0.3 * normal(200, 3, seed=1)
    expected = metric(a, b).value
    assert metric(1e-150 * a, 1e100 * b).value == pytest.approx(expected, abs=1e-9)
    assert metric(a + 1e3, b - 1e3).value == pytest.approx(expected, abs=1e-6)
    assert metric(b, a).value == pytest.approx(expected, abs=1e-9)


# Seeds and errors


def test_same_seed_gives_the_same_result_without_side_effects():
    a, b = normal(100, 3), normal(100, 3, seed=1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert stability([a, b]) == stability([torch.tensor(a), torch.tensor(b)])
    assert mcc(a, b) != mcc(a, b, seed=1)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


A = normal(50, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cka(A, A[:40]), "50 rows of the first codes but 40 rows of the second"),
        (lambda: cka(A[:10], A[:10]), "N >= 20"),
        (lambda: cka(A[:, 0], A), r"shape \(50,\)"),
        (lambda: cka(A * np.nan, A), "contains NaN"),
        (lambda: cka(0 * A, A), "codes of all rows are equal"),
        (lambda: mcc(A, A, kind="middling"), "must be 'strong' or 'weak'"),
        (lambda: mcc(normal(50, 13), A, kind="weak"), "50 rows are too few"),
        (lambda: shared_neighbors(A, A, k=0), "k=0 must be between 1"),
        (lambda: shared_neighbors(A, A, k=49), "k=49 must be between 1"),
        (lambda: stability([A]), "at least two sets of codes, got 1"),
        (lambda: mean_over_seeds([1.0]), "Finite values from at least two runs"),
        (lambda: mean_over_seeds([1.0, math.nan]), "Finite values"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(VariedError, match=message):
        call()
