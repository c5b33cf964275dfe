"""The distance to the closest record against brute force, and its tests against simulations."""

import numpy as np
import pandas as pd
import pytest
from mixed_table import NAMES, mixed_table
from scipy import stats

from varied.evaluate import dcr
from varied.evaluate.dcr import distance_to_closest_record


def gower(x, y, ranges):
    """Return Gower's distance between two rows, computed cell by cell."""
    total = 0.0
    for a, b, width in zip(x, y, ranges, strict=True):
        if pd.isna(a) or pd.isna(b):
            total += pd.isna(a) != pd.isna(b)
        elif width is None:
            total += a != b
        else:
            total += abs((a - b) / width)
    return total / len(ranges)


def test_distances_are_those_of_gower():
    train, held_out, generated = mixed_table(0, 60), mixed_table(2, 25), mixed_table(1, 30)
    train["same"], held_out["same"] = 3.0, 3.0
    generated["same"] = [3.0] * 15 + [4.0] * 14 + [np.nan]
    result = distance_to_closest_record(generated, train, held_out, resamples=2)
    ranges = [train[name].max() - train[name].min() for name in NAMES[:3]] + [None] * 3
    for row in range(len(generated)):
        exact = [gower(generated.iloc[row], train.iloc[k], ranges) for k in range(len(train))]
        assert result.distance[row] == pytest.approx(min(exact), abs=1e-9)
        assert exact[result.index[row]] == pytest.approx(min(exact), abs=1e-6)
    assert result.median.value == np.median(result.distance)


@pytest.mark.parametrize("missing", [(0.8, 0.1, 0.1), (0.1, 0.1, 0.8)])
def test_distances_of_missing_numbers(missing):
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(n, 4)) * 3 for n in (90, 30, 40)]
    train, held_out, generated = (
        pd.DataFrame(np.where(rng.random(x.shape) < p, np.nan, x), columns=list("abcd"))
        for x, p in zip(tables, missing, strict=True)
    )
    result = distance_to_closest_record(generated, train, held_out, resamples=2)
    ranges = list(train.max() - train.min())
    for row in range(len(generated)):
        exact = [gower(generated.iloc[row], train.iloc[k], ranges) for k in range(len(train))]
        assert result.distance[row] == pytest.approx(min(exact), abs=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch):
    tables = mixed_table(1, 30), mixed_table(0, 60), mixed_table(2, 25)
    expected = distance_to_closest_record(*tables)
    monkeypatch.setattr(dcr, "CHUNK", 7 * 60)
    result = distance_to_closest_record(*tables)
    assert result == expected
    assert (result.index == expected.index).all()


def test_exact_copies_are_found():
    train, held_out = mixed_table(0, 400), mixed_table(0, 800)[400:]
    generated = pd.concat([train[:50], mixed_table(3, 350)])
    result = distance_to_closest_record(generated, train, held_out)
    assert (result.distance[:50] == 0).all()
    assert (result.index[:50] == np.arange(50)).all()
    assert result.copies.value == 0.125
    assert result.copies_held_out.value == 0
    expected = stats.fisher_exact([[50, 350], [0, 400]], "greater").pvalue
    assert result.copies_p == pytest.approx(expected)
    assert result.is_close
    assert "exact copies 12.5% (held-out rows: 0.0%)" in str(result)


def test_near_duplicates_are_found():
    rng = np.random.default_rng(0)
    real = pd.DataFrame(rng.normal(size=(1500, 4)), columns=list("abcd"))
    generated = real[:500] + rng.normal(size=(500, 4)) * 0.001
    result = distance_to_closest_record(generated, real[:500], real[1000:])
    assert result.copies.value == 0
    assert result.is_close
    assert [test.share.value for test in result.percentiles] == [1, 1]
    assert result.median.value < 0.1 * result.median_held_out.value


def test_subsampled_rows():
    train, held_out, generated = mixed_table(0, 300), mixed_table(2, 200), mixed_table(1, 200)
    limits = {"max_rows": 50, "max_train_rows": 100}
    result = distance_to_closest_record(generated, train, held_out, **limits)
    assert (result.n_generated, result.n_held_out, result.n_train) == (50, 50, 100)
    assert result == distance_to_closest_record(generated, train, held_out, **limits)
    other = distance_to_closest_record(generated, train, held_out, **limits, seed=1)
    assert (other.rows != result.rows).any()
    assert len(np.unique(result.rows)) == 50
    full = distance_to_closest_record(generated.iloc[result.rows], train, held_out)
    assert (full.distance <= result.distance + 1e-12).all()
    copies = distance_to_closest_record(train, train, held_out, **limits)
    is_copy = copies.distance == 0
    assert 0 < is_copy.sum() < 50
    assert (copies.index[is_copy] == copies.rows[is_copy]).all()
    assert copies.copies.value == 1  # all rows are searched
