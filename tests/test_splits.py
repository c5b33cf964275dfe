"""Random splits and official test rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varied.data import RawData, split
from varied.errors import VariedError


def rows(n, **fields):
    return RawData(np.arange(2.0 * n, dtype=np.float32).reshape(n, 2), "array", **fields)


@settings(max_examples=50, deadline=None)
@given(st.integers(10, 3000), st.integers(0, 2**31), st.booleans())
def test_a_split_is_disjoint_complete_and_sorted(n, seed, has_test_rows):
    data = rows(n, test=np.arange(n // 3) if has_test_rows else None)
    s = split(data, seed=seed)
    assert sorted(np.concatenate([s.train, s.validation, s.test]).tolist()) == list(range(n))
    assert all(len(part) for part in (s.train, s.validation, s.test))
    assert all((np.diff(part) > 0).all() for part in (s.train, s.validation, s.test))
    if has_test_rows:
        np.testing.assert_array_equal(s.test, data.test)


def test_a_split_depends_on_the_seed():
    first, second, other = (split(rows(100), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, second.test)
    assert first.test.tolist() != other.test.tolist()


@pytest.mark.parametrize(
    ("n", "options", "sizes"),
    [
        (200_000, {}, (185_000, 5_000, 10_000)),
        (100, {"validation": 7, "test": 9}, (84, 7, 9)),
        (100, {"validation": 0.2, "test": 0.3}, (56, 14, 30)),
    ],
)
def test_sizes_of_a_split(n, options, sizes):
    s = split(rows(n), **options)
    assert (len(s.train), len(s.validation), len(s.test)) == sizes


@pytest.mark.parametrize(
    "options", [{"test": 100}, {"validation": 0}, {"test": -0.5}, {"test": np.nan}]
)
def test_an_empty_split_is_refused(options):
    with pytest.raises(VariedError, match=r"leaves a split of the [0-9]+ rows empty"):
        split(rows(100), **options)


@pytest.mark.parametrize("has_test_rows", [False, True])
@pytest.mark.parametrize("kind", ["array", "table"])
def test_equal_rows_are_in_the_same_part(kind, has_test_rows):
    numbers = np.repeat(np.random.default_rng(0).normal(size=(60, 2)), 5, axis=0)
    x = numbers if kind == "array" else pd.DataFrame(numbers, columns=["a", "b"])
    s = split(RawData(x, kind, test=np.arange(50) if has_test_rows else None))
    parts = [{tuple(row) for row in numbers[rows]} for rows in (s.train, s.validation, s.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert min(map(len, parts)) >= 4


def test_equal_rows_of_categories_are_not_kept_together():
    x = np.random.default_rng(0).integers(0, 2, (200, 2)).astype(np.float32)
    s = split(RawData(x, "array"))
    assert (len(s.train), len(s.validation), len(s.test)) == (162, 18, 20)
    frame = pd.DataFrame({"a": ["x", "y"] * 100, "b": [1, 2] * 100})
    assert len(split(RawData(frame, "table")).test) == 20


def test_rows_that_are_all_equal_can_be_split():
    x = np.tile(np.arange(30.0), (50, 1))
    assert len(split(RawData(x, "array")).test) == 5
