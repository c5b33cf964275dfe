"""The codec of the context: classes as one-hot vectors, and standardized numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from varied.data import ContextCodec, open_context
from varied.errors import VariedError

NAMES = ContextCodec.fit(np.array([0, 1, 2, -1]), ("zero", "one", "two"))
MANY = ContextCodec.fit(np.arange(100), tuple(f"kind {n:03}" for n in range(100)))
DIGITS = ContextCodec.fit(np.array([0, 1]), ("3", "4"))
NUMBERS = ContextCodec.fit(np.array([10.0, 30.0, np.nan], np.float32))
PAIRS = ContextCodec.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))


@pytest.mark.parametrize(
    ("codec", "values", "indices"),
    [
        (NAMES, "two", [2]),
        (NAMES, 2, [2]),
        (NAMES, "2", [2]),
        (NAMES, ["one", None, -1, 0], [1, None, None, 0]),
        (NAMES, np.array([1, -1]), [1, None]),
        (NAMES, torch.tensor([2, 0]), [2, 0]),
        (NAMES, None, [None]),
        (NAMES, [True, np.float64(2)], [1, 2]),
        (DIGITS, 3, [0]),
        (DIGITS, ["4", 3], [1, 0]),
        (DIGITS, np.array([0, 1]), [0, 1]),
        (DIGITS, 1, [1]),
        (DIGITS, 3.0, [0]),
    ],
)
def test_classes_are_one_hot_vectors(codec, values, indices):
    c = codec.encode(values)
    assert (c.shape, c.dtype) == ((len(indices), codec.size), torch.float32)
    assert codec.decode(c) == [None if i is None else codec.classes[i] for i in indices]
    assert c.sum(1).tolist() == [0.0 if i is None else 1.0 for i in indices]


@pytest.mark.parametrize(
    ("codec", "values", "shape"),
    [
        (NUMBERS, 20, (1, 1)),
        (NUMBERS, [10, 30.0], (2, 1)),
        (NUMBERS, np.array([[10.0], [30.0]]), (2, 1)),
        (PAIRS, [1, 5], (1, 2)),
        (PAIRS, [[1, 5], [3, 5]], (2, 2)),
        (PAIRS, torch.tensor([[1.0, 5.0]]), (1, 2)),
    ],
)
def test_numbers_are_standardized(codec, values, shape):
    c = codec.encode(values)
    assert c.shape == shape
    np.testing.assert_allclose(codec.decode(c).ravel(), np.ravel(values), rtol=1e-6)


@pytest.mark.parametrize(
    ("codec", "values", "expected"),
    [
        (NUMBERS, None, [[0.0]]),
        (NUMBERS, [float("nan"), 20], [[0.0], [0.0]]),
        (PAIRS, None, [[0.0, 0.0]]),
    ],
)
def test_missing_numbers_are_zero(codec, values, expected):
    assert codec.encode(values).tolist() == expected


@pytest.mark.parametrize("codec", [NAMES, DIGITS, NUMBERS, PAIRS])
def test_a_context_is_restored_from_json(codec):
    assert open_context(json.loads(json.dumps(codec.to_json()))) == codec
    assert open_context(None) is None


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
def test_proportional_contexts_have_the_frequencies_of_the_training_rows(n):
    codec = ContextCodec.fit(np.repeat([0, 1, 2], [10, 70, 20]), ("a", "b", "c"))
    c = codec.proportional(n)
    assert c.shape == (n, 3)
    assert (c.sum(1) == 1).all()
    assert (c.sum(0) - n * torch.tensor([0.1, 0.7, 0.2])).abs().max() < 1
    if n > 99:
        assert (c.argmax(1).diff() != 0).sum() > n / 5  # shuffled


@pytest.mark.parametrize(
    ("codec", "cells", "expected"),
    [
        (NAMES, ["two", None, "zero"], [2, -1, 0]),
        (DIGITS, [3.0, np.nan, 4.0], [0, -1, 1]),
        (NUMBERS, ["1.5", None, "x"], [1.5, np.nan, np.nan]),
    ],
)
def test_a_column_of_a_table_becomes_labels(codec, cells, expected):
    np.testing.assert_array_equal(codec.column(pd.Series(cells, name="y")), expected)


def test_an_unknown_class_of_a_column_is_refused_or_missing():
    cells = pd.Series(["one", "tow"], name="y")
    with pytest.raises(VariedError, match=r"In row 2, 'y' is 'tow', .*did you mean 'two'"):
        NAMES.column(cells)
    assert NAMES.column(cells, strict=False).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("codec", "values", "message"),
    [
        (NAMES, "tow", "There is no class 'tow': did you mean 'two'"),
        (NAMES, 9, "There is no class '9'"),
        (MANY, "knid 097", "did you mean 'kind 097'"),
        (NAMES, np.array([0, 3]), "between 0 and 2"),
        (NAMES, np.array([[0, 1]]), "one class index for each row"),
        (NUMBERS, "old", r"numbers of shape \(N, 1\), not 'old'"),
        (PAIRS, [[1, 2, 3]], r"numbers of shape \(N, 2\), not of shape \(1, 3\)"),
        (NUMBERS, float("inf"), "contains an infinite number"),
        (NAMES, {"zero": 1}.keys, "There is no class"),
    ],
)
def test_invalid_contexts_are_refused(codec, values, message):
    with pytest.raises(VariedError, match=message):
        codec.encode(values)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.array([-1, -1]), ("a", "b"), "No row has a label"),
        (np.array([np.nan, np.nan]), (), "No row has a label"),
        (np.array([[1, np.nan], [2, np.nan]]), (), "A label column contains no numbers"),
    ],
)
def test_labels_without_a_value_are_refused(labels, classes, message):
    with pytest.raises(VariedError, match=message):
        ContextCodec.fit(labels, classes)


def test_a_damaged_context_is_refused():
    with pytest.raises(VariedError, match="did you mean 'classes'"):
        open_context({"clases": ["a"]})
