"""The mutual information gap against closed forms, and against scikit-learn's count."""

from importlib import import_module

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from varied.data import sprites
from varied.errors import VariedError
from varied.evaluate import disentanglement as d

LOG = np.log


def grid(*sizes, repeats=1):
    """Every setting of factors, so that shares are exact."""
    one = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))
    return np.tile(one, (repeats, 1))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_codes_that_are_the_factors_have_a_gap_of_one():
    v = grid(4, 5, 3, repeats=10)
    for codes in (v * 1.0, v[:, ::-1] * [-1e-4, 1e4, 0.5] + 7, np.hstack([0 * v, v])):
        assert d.gaps(codes, v).tolist() == pytest.approx([1, 1, 1])
        assert d.mig(codes, v).value == pytest.approx(1)
        assert d.mig(codes, v).error < 0.01


def test_a_gap_that_is_a_half_is_found_to_be_a_half():
    # A unit tells 2 bits of a factor of 2 bits, another 1 bit of them: the gap is 1/2, exactly.
    v = grid(4, 4, repeats=20)
    a, b = v.T
    codes = np.stack([a * 0.01, a // 2, b - 30.0, b % 2], axis=1)
    order = np.random.default_rng(0).permutation(len(v))
    for rows in (slice(None), order):  # the order of the rows tells nothing
        found = d.mig(torch.tensor(codes[rows]), torch.tensor(v[rows]))
        assert found.value == pytest.approx(0.5)
        assert found.n == 320
    # Rows that are no longer beside their own factors have none.
    assert d.mig(codes[order], v).value < 0.05


def test_what_units_tell_of_factors_in_nats():
    v = grid(4, 2, repeats=50)
    a, b = v.T
    told = d.information(np.stack([a, a // 2, b, 0 * a, 2 * b + a // 2], axis=1), v)
    wanted = [[LOG(4), 0], [LOG(2), 0], [0, LOG(2)], [0, 0], [LOG(2), LOG(2)]]
    assert np.allclose(told, wanted, atol=1e-12)


@pytest.mark.parametrize("bins", [2, 7, 20, 50])
def test_information_is_that_of_another_count(bins):
    z, v = noise(500, 6), np.random.default_rng(1).integers(0, 7, (500, 3))
    z[:, :3] += v
    edges = [np.linspace(column.min(), column.max(), bins + 1)[1:-1] for column in z.T]
    binned = [np.digitize(column, edge) for column, edge in zip(z.T, edges, strict=True)]
    wanted = [[mutual_info_score(column, factor) for factor in v.T] for column in binned]
    assert np.allclose(d.information(z, v, bins=bins), wanted, atol=1e-12)


def test_random_codes_have_next_to_no_gap():
    v = grid(5, 8, repeats=100)
    found = d.mig(noise(len(v), 10), v)
    assert 0 <= found.value < 0.01


def test_turned_codes_have_a_small_gap():
    v = grid(20, 20, repeats=5)
    assert d.mig(v, v).value == pytest.approx(1)
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    assert d.mig(v @ turn, v).value < 0.05
    slight = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    assert 0.3 < d.mig(v @ slight, v).value < 0.95


def test_a_unit_twice_has_no_gap_and_one_alone_is_its_own():
    v = grid(4, 4, repeats=10)
    assert d.mig(np.hstack([v, v]), v).value == 0
    assert d.gaps(v[:, :1], v).tolist() == pytest.approx([1, 0])
    assert d.gaps(0 * v, v).tolist() == [0, 0]


def test_factors_of_sprites_as_their_items_hold_them():
    factors = sprites.sprites(3000).labels
    found = d.mig(torch.from_numpy(factors[:, [4, 0, 3, 1]]), factors[:, [0, 1, 3, 4]])
    # 32 places in 20 bins: what a bin merges is lost, so the gap cannot be quite 1.
    assert 0.85 < found.value < 0.98
    assert d.mig(factors, factors, bins=40).value > 0.95


def test_the_standard_error_is_the_spread_over_other_data():
    def one(seed):
        v = np.random.default_rng(seed).integers(0, 5, (400, 2))
        return d.mig(v + noise(400, 2, seed=seed + 100), v, seed=seed)

    found = [one(seed) for seed in range(40)]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.35)


def test_a_small_resample_gives_the_error_of_all_rows(monkeypatch):
    v = grid(5, 5, repeats=160)
    codes = v + noise(len(v), 2)
    whole = d.mig(codes, v, resamples=200).error
    monkeypatch.setattr(import_module("varied.evaluate.disentanglement.mig"), "RESAMPLED", 1000)
    assert d.mig(codes, v, resamples=200).error == pytest.approx(whole, rel=0.35)


def test_the_same_seed_gives_the_same_and_changes_nothing():
    v = grid(5, 5, repeats=10)
    codes, state = v + noise(len(v), 2), torch.get_rng_state()
    assert d.mig(codes, v) == d.mig(torch.tensor(codes), torch.tensor(v))
    assert d.mig(codes, v, seed=1) != d.mig(codes, v)
    assert torch.equal(state, torch.get_rng_state())
    assert np.isnan(d.mig(codes, v, resamples=0).error)


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (noise(50, 2), grid(4, 10), "50 codes and 40 rows"),
        (noise(40), grid(4, 10), r"codes have shape \(40,\)"),
        (noise(0, 3), np.zeros((0, 2)), r"codes have shape \(0, 3\)"),
        (np.full((40, 2), np.nan), grid(4, 10), "codes hold NaN"),
        (noise(40, 2), grid(4, 10) + np.inf, "factors hold NaN"),
        (noise(40, 2), grid(4, 10) * [1, 0], "Factor 1 has one value"),
        (noise(40, 2), noise(40, 2), "Factor 0 has 40 values in 40 rows"),
    ],
)
def test_what_cannot_be_counted_is_refused(codes, factors, message):
    with pytest.raises(VariedError, match=message), np.errstate(invalid="ignore"):
        d.mig(codes, factors)


def test_one_bin_is_refused():
    with pytest.raises(VariedError, match="bins=1 tells nothing apart"):
        d.mig(noise(40, 2), grid(4, 10), bins=1)
