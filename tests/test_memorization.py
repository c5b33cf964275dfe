"""The memorization tests against false-positive rates, planted copies and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, nhypergeom
from sklearn.neighbors import NearestNeighbors

from varied.errors import VariedError
from varied.evaluate.memorization import memorization, percentile_test


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def simulate(seed, *, d=12, m=200, n=300, h=200, copies=0, noise=0.02):
    """Generated rows with noisy copies of the first training rows, training and held-out rows."""
    rng = np.random.default_rng(seed)
    generated, train, held_out = (rng.normal(size=(rows, d)) for rows in (m, n, h))
    generated[:copies] = train[:copies] + noise * rng.normal(size=(copies, d))
    return generated, train, held_out


def p_values(result):
    return {
        "near-duplicates": result.near_duplicates.p_value,
        "z": result.z_p,
        "train share": result.train_share_p,
    }


# Rates


def test_independent_samples_are_rarely_flagged():
    results = [memorization(*simulate(seed), resamples=0) for seed in range(150)]
    for name in p_values(results[0]):
        rate = np.mean([p_values(result)[name] < 0.1 for result in results])
        assert rate < 0.1 + 3 * math.sqrt(0.1 * 0.9 / 150), name
    assert not any(result.is_copied for result in results)
    assert np.mean([r.is_close for r in results]) < 0.01 + 3 * math.sqrt(0.01 / 150)
    assert all((result.warning is None) != result.is_close for result in results)
    shares = [result.near_duplicates.share.value for result in results]
    assert np.mean(shares) == pytest.approx(2 / 201, abs=0.003)
    assert results[0].near_duplicates.expected == 2 / 201
    z = [result.z for result in results]
    assert abs(np.mean(z)) < 0.3 and np.std(z) == pytest.approx(1, abs=0.2)
    shares = [result.train_share.value for result in results]
    assert np.mean(shares) == pytest.approx(results[0].train_share_expected, abs=0.01)
    errors = [result.train_share.error for result in results]
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.25)


@pytest.mark.parametrize("copies", [20, 60, 200])
def test_planted_copies_are_found(copies):
    for seed in range(8):
        result = memorization(*simulate(seed, h=300, copies=copies), resamples=0)
        assert result.is_copied and "are copies of training rows" in result.warning
        assert abs(result.near_duplicates.share.value - copies / 200) < 0.08
        assert result.near_duplicates.p_value < 1e-4
        assert torch.equal(result.index[:copies], torch.arange(copies))
        assert result.distance[:copies].max() < 0.02 * 8


def test_smooth_samples_are_close_but_not_copied():
    for seed in range(20):
        generated, train, held_out = simulate(seed)
        result = memorization(0.6 * generated, train, held_out, resamples=0)
        assert result.z < -5 and result.is_close
        assert not result.is_copied
        assert "smooth" in result.warning


def test_samples_far_from_the_data_are_not_copied():
    generated, train, held_out = simulate(0)
    result = memorization(2 * generated, train, held_out)
    assert result.z > 5 and result.z_p > 0.99
    test = result.near_duplicates
    assert (test.share.value, test.p_value, result.is_copied) == (0, 1, False)


@pytest.mark.parametrize("sizes", [(200, 400, 60), (200, 60, 400)])
def test_repeated_values_favor_neither_set(sizes):
    results = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        results.append(memorization(*(rng.random((n, 6)) < 0.3 for n in sizes), resamples=0))
    share = np.mean([result.train_share.value for result in results])
    assert share == pytest.approx(results[0].train_share_expected, abs=0.02)
    assert np.mean([result.train_share_p < 0.1 for result in results]) < 0.2
    assert not any(result.is_copied for result in results)


def test_equal_rows():
    result = memorization(np.zeros((20, 2)), np.zeros((20, 2)), np.zeros((20, 2)))
    assert (result.z, result.z_p, result.near_duplicates.p_value) == (0, 0.5, 1)
    assert (result.train_share.value, result.train_share_p) == (0.5, 1)
    assert not result.is_copied


# Statistics


@pytest.mark.parametrize("digits", [9, 0])  # without and with ties
def test_z_is_that_of_mann_and_whitney(digits):
    y, x, h = (np.round(rows[:, :2], digits) for rows in simulate(3, copies=10))
    search = NearestNeighbors(n_neighbors=1).fit(x)
    of_generated, of_held_out = (search.kneighbors(rows)[0][:, 0].round(9) for rows in (y, h))
    settings = {"alternative": "less", "method": "asymptotic", "use_continuity": False}
    expected = mannwhitneyu(of_generated, of_held_out, **settings)
    assert memorization(y, x, h).z_p == pytest.approx(expected.pvalue, rel=1e-6)


def test_percentile_test_matches_its_definition():
    rng = np.random.default_rng(0)
    generated, held_out = rng.random(300), rng.random(199)
    test = percentile_test(generated, held_out, 5, 0, 0, "test")
    assert test.threshold == np.sort(held_out)[9]
    assert test.expected == 0.05
    assert test.share.value == (generated < test.threshold).mean()
    closer = round(test.share.value * 300)
    # The probability that at least this many generated rows precede the tenth held-out row.
    assert test.p_value == pytest.approx(nhypergeom(499, 300, 10).sf(closer - 1))


@pytest.mark.parametrize(("closer", "expected"), [(0, 1), (1, 3 / 5), (2, 3 / 10), (3, 1 / 10)])
def test_p_value_of_few_rows(closer, expected):
    # The probability that s or more of 3 generated distances precede 2 held-out distances.
    generated = np.array([0.0] * closer + [2.0] * (3 - closer))
    test = percentile_test(generated, np.array([1.0, 3.0]), 1, 0, 0, "test")
    assert test.p_value == pytest.approx(expected)


def test_percentile_test_has_its_level():
    rng = np.random.default_rng(0)
    rejected = [
        percentile_test(rng.random(300), rng.random(300), 1, 0, 0, "test").p_value < 0.05
        for _ in range(1000)
    ]
    # A binomial test for a known percentile rejects in 9% of cases.
    assert 0.01 < np.mean(rejected) < 0.06


def test_standard_error_of_the_share_matches_its_variation():
    copies = np.random.default_rng(0).binomial(200, 0.2, 40)
    shares = [
        memorization(*simulate(i, copies=n), seed=i, resamples=60).near_duplicates.share
        for i, n in enumerate(copies)
    ]
    variation = np.std([share.value for share in shares], ddof=1)
    assert np.mean([share.error for share in shares]) == pytest.approx(variation, rel=0.3)


def test_same_seed_gives_the_same_result_without_side_effects():
    rows, state = (normal(90, 3), normal(90, 3, 1), normal(90, 3, 1) + 1), torch.get_rng_state()
    assert memorization(*rows) == memorization(*rows) != memorization(*rows, seed=1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((19, 2), (20, 2), (20, 2)), "19 generated rows are too few"),
        (((20, 2), (19, 2), (20, 2)), "19 training rows are too few"),
        (((20, 2), (20, 2), (19, 2)), "19 held-out rows are too few"),
        (((30, 2), (30, 2), (30, 3)), "held-out rows have 3 columns"),
    ],
)
def test_memorization_refuses(shapes, message):
    with pytest.raises(VariedError, match=message):
        memorization(*(normal(*shape) for shape in shapes))
