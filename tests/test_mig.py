"""The mutual information gap against closed forms and scikit-learn."""

from importlib import import_module

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from varied.data import sprites
from varied.errors import VariedError
from varied.evaluate.disentanglement import mig, mig_by_factor, mutual_information


def grid(*sizes, repeats=1):
    """All combinations of factor values, so that frequencies are exact."""
    axes = np.meshgrid(*map(np.arange, sizes), indexing="ij")
    return np.tile(np.stack(axes, -1).reshape(-1, len(sizes)), (repeats, 1))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_factors_as_codes_have_a_gap_of_one():
    v = grid(4, 5, 3, repeats=10)
    for codes in (v * 1.0, v[:, ::-1] * [-1e-4, 1e4, 0.5] + 7, np.hstack([0 * v, v])):
        assert mig_by_factor(codes, v).tolist() == pytest.approx([1, 1, 1])
        assert mig(codes, v).value == pytest.approx(1)
        assert mig(codes, v).error < 0.01


def test_gap_of_one_half():
    # One unit encodes both bits of a factor with four values, and another unit one of them.
    v = grid(4, 4, repeats=20)
    a, b = v.T
    codes = np.stack([a * 0.01, a // 2, b - 30.0, b % 2], axis=1)
    order = np.random.default_rng(0).permutation(len(v))
    for rows in (slice(None), order):
        result = mig(torch.tensor(codes[rows]), torch.tensor(v[rows]))
        assert result.value == pytest.approx(0.5)
        assert result.n == 320
    assert mig(codes[order], v).value < 0.05  # the codes of different rows


def test_mutual_information_of_known_codes():
    v = grid(4, 2, repeats=50)
    a, b = v.T
    information = mutual_information(np.stack([a, a // 2, b, 0 * a, 2 * b + a // 2], axis=1), v)
    log2, log4 = np.log(2), np.log(4)
    expected = [[log4, 0], [log2, 0], [0, log2], [0, 0], [log2, log2]]
    assert np.allclose(information, expected, atol=1e-12)


@pytest.mark.parametrize("bins", [2, 7, 20, 50])
def test_mutual_information_matches_scikit_learn(bins):
    z, v = normal(500, 6), np.random.default_rng(1).integers(0, 7, (500, 3))
    z[:, :3] += v
    edges = [np.linspace(column.min(), column.max(), bins + 1)[1:-1] for column in z.T]
    binned = [np.digitize(column, edge) for column, edge in zip(z.T, edges, strict=True)]
    expected = [[mutual_info_score(column, factor) for factor in v.T] for column in binned]
    assert np.allclose(mutual_information(z, v, bins=bins), expected, atol=1e-12)


def test_random_codes_have_almost_no_gap():
    v = grid(5, 8, repeats=100)
    assert 0 <= mig(normal(len(v), 10), v).value < 0.01


def test_rotation_reduces_the_gap():
    v = grid(20, 20, repeats=5)
    assert mig(v, v).value == pytest.approx(1)
    rotation = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    assert mig(v @ rotation, v).value < 0.05
    small = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    assert 0.3 < mig(v @ small, v).value < 0.95


def test_duplicated_and_single_units():
    v = grid(4, 4, repeats=10)
    assert mig(np.hstack([v, v]), v).value == 0
    assert mig_by_factor(v[:, :1], v).tolist() == pytest.approx([1, 0])
    assert mig_by_factor(0 * v, v).tolist() == [0, 0]


def test_factors_of_sprites():
    factors = sprites.sprites(3000).labels
    result = mig(torch.from_numpy(factors[:, [4, 0, 3, 1]]), factors[:, [0, 1, 3, 4]])
    # There are fewer bins (20) than positions (32), so some information is lost.
    assert 0.85 < result.value < 0.98
    assert mig(factors, factors, bins=40).value > 0.95


def test_standard_error_matches_the_variation_over_data():
    def simulate(seed):
        v = np.random.default_rng(seed).integers(0, 5, (400, 2))
        return mig(v + normal(400, 2, seed=seed + 100), v, seed=seed)

    results = [simulate(seed) for seed in range(40)]
    variation = np.std([result.value for result in results], ddof=1)
    assert np.mean([result.error for result in results]) == pytest.approx(variation, rel=0.35)


def test_small_resamples_give_the_error_of_all_rows(monkeypatch):
    v = grid(5, 5, repeats=160)
    codes = v + normal(len(v), 2)
    expected = mig(codes, v, resamples=200).error
    module = import_module("varied.evaluate.disentanglement.mig")  # not the function
    monkeypatch.setattr(module, "MAX_RESAMPLED", 1000)
    assert mig(codes, v, resamples=200).error == pytest.approx(expected, rel=0.35)


def test_same_seed_gives_the_same_result_without_side_effects():
    v = grid(5, 5, repeats=10)
    codes, state = v + normal(len(v), 2), torch.get_rng_state()
    assert mig(codes, v) == mig(torch.tensor(codes), torch.tensor(v))
    assert mig(codes, v, seed=1) != mig(codes, v)
    assert torch.equal(state, torch.get_rng_state())
    assert np.isnan(mig(codes, v, resamples=0).error)


V = grid(4, 10)


@pytest.mark.parametrize(
    ("codes", "factors", "options", "message"),
    [
        (normal(50, 2), V, {}, "50 codes but 40 rows of factors"),
        (normal(40), V, {}, r"codes have shape \(40,\)"),
        (normal(0, 3), np.zeros((0, 2)), {}, r"codes have shape \(0, 3\)"),
        (np.full((40, 2), np.nan), V, {}, "of the codes contains NaN"),
        (normal(40, 2), V + np.inf, {}, "of the factors contains NaN or infinity"),
        (normal(40, 2), V * [1, 0], {}, "Factor 1 is constant"),
        (normal(40, 2), normal(40, 2), {}, "Factor 0 has 40 distinct values in 40 rows"),
        (normal(40, 2), V, {"bins": 1}, "bins=1 must be at least 2"),
    ],
)
def test_mig_refuses(codes, factors, options, message):
    with pytest.raises(VariedError, match=message), np.errstate(invalid="ignore"):
        mig(codes, factors, **options)
