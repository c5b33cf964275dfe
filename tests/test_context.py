"""The codec of the context: classes as one-hot vectors, and standardized numbers."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from varied.data import ContextCodec, RawData, open_context
from varied.errors import VariedError


def fit(labels, classes=()):
    """Return the codec of labels without a name."""
    labels = np.asarray(labels)
    return ContextCodec.fit(RawData(labels, "array", labels, classes).covariates)


NAMES = fit([0, 1, 2, -1], ("zero", "one", "two"))
MANY = fit(np.arange(100), tuple(f"kind {n:03}" for n in range(100)))
DIGITS = fit([0, 1], ("3", "4"))
NUMBERS = fit(np.array([10.0, 30.0, np.nan], np.float32))
PAIRS = fit([[1.0, 5.0], [3.0, 5.0]])
#: Each donor occurs in one batch only; the age of one row is missing.
MIXED = ContextCodec.fit(
    {
        "batch": (np.array([0, 0, 0, 1]), ("1", "2")),
        "donor": (np.array([0, 0, 1, 2]), ("ann", "bob", "eve")),
        "age": (np.array([30.0, 30.0, np.nan, 50.0], np.float32), ()),
    }
)


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
        (fit([0, 1], ("a", " a")), [" a", "a ", "a"], [1, 0, 0]),
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
    decoded = [list(v.values()) if isinstance(v, dict) else v for v in codec.decode(c)]
    np.testing.assert_allclose(np.ravel(decoded), np.ravel(values), rtol=1e-6)


def test_rare_values_are_not_encoded_as_large_numbers():
    pixel, age = np.zeros(5000), np.arange(5000) / 100
    pixel[7] = 1.0
    codec = ContextCodec.fit({"pixel": (pixel, ()), "age": (age, ())})
    c = codec.encode(np.stack([pixel, age], 1))
    assert c[:, 0].abs().max() <= 5
    assert c.std(0, correction=0).tolist() == pytest.approx([5 * pixel.std(), 1.0], rel=1e-4)


@pytest.mark.parametrize(
    ("codec", "values", "expected"),
    [
        (NUMBERS, None, [[0.0]]),
        (NUMBERS, [float("nan"), 20], [[0.0], [0.0]]),
        (PAIRS, None, [[0.0, 0.0]]),
        (PAIRS, [[None, float("nan")]], [[0.0, 0.0]]),
    ],
)
def test_missing_numbers_are_zero(codec, values, expected):
    assert codec.encode(values).tolist() == expected


@pytest.mark.parametrize("codec", [NAMES, DIGITS, NUMBERS, PAIRS, MIXED])
def test_a_context_is_restored_from_json(codec):
    assert open_context(json.loads(json.dumps(codec.to_json()))) == codec
    assert open_context(None) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batch": "2", "donor": "eve", "age": 50}, ("2", "eve", 50.0)),
        ({"age": "30", "donor": 0}, (None, "ann", 30.0)),
        ({}, (None, None, MIXED.covariates[2].mean)),
        (["1", "bob", None], ("1", "bob", MIXED.covariates[2].mean)),
        (np.array([[1.0, np.nan, 50.0]]), ("2", None, 50.0)),
    ],
)
def test_covariates_are_encoded_by_name_or_in_order(values, expected):
    c = MIXED.encode(values)
    assert (c.shape, c.dtype) == ((1, 6), torch.float32)
    (decoded,) = MIXED.decode(c)
    assert tuple(decoded.values()) == pytest.approx(expected)
    assert list(decoded) == ["batch", "donor", "age"]


def test_a_mapping_may_contain_several_values_of_a_covariate():
    rows = MIXED.decode(MIXED.encode({"batch": "1", "donor": ["ann", "bob"]}))
    assert [(row["batch"], row["donor"]) for row in rows] == [("1", "ann"), ("1", "bob")]


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
def test_drawn_contexts_have_the_frequencies_of_the_training_rows(n):
    codec = fit(np.repeat([0, 1, 2], [10, 70, 20]), ("a", "b", "c"))
    c = codec.draw(n)
    assert c.shape == (n, 3)
    assert (c.sum(1) == 1).all()
    assert (c.sum(0) - n * torch.tensor([0.1, 0.7, 0.2])).abs().max() < 1
    if n > 99:
        assert (c.argmax(1).diff() != 0).sum() > n / 5  # shuffled


def test_covariates_are_drawn_jointly():
    rows = MIXED.decode(MIXED.draw(400))
    counts = Counter((row["batch"], row["donor"], round(row["age"])) for row in rows)
    mean = round(MIXED.covariates[2].mean)  # of the row without an age
    assert counts == {("1", "ann", 30): 200, ("1", "bob", mean): 100, ("2", "eve", 50): 100}


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"batch": "1"}, {("1", "ann"), ("1", "bob")}),
        ({"donor": "eve"}, {("2", "eve")}),
        ({"donor": ["eve", "bob"]}, {("2", "eve"), ("1", "bob")}),
        ({"batch": "2", "donor": "ann"}, {("2", "ann")}),
        ({"age": 99}, {("1", "ann"), ("1", "bob"), ("2", "eve")}),
    ],
)
def test_other_covariates_are_drawn_from_rows_with_the_given_classes(label, expected):
    rows = MIXED.decode(MIXED.draw(40, label))
    assert len(rows) == 40
    assert {(row["batch"], row["donor"]) for row in rows} == expected
    if "age" in label:
        assert {round(row["age"]) for row in rows} == {99}


def test_drawn_numbers_are_training_numbers():
    values = np.random.default_rng(0).gamma(2.0, size=5000).astype(np.float32)
    codec = fit(values)
    assert len(codec.rows) == 1000
    numbers = np.array(codec.decode(codec.draw(500)))
    assert np.abs(numbers[:, None] - values).min(1).max() < 1e-5
    assert np.quantile(numbers, [0.1, 0.5, 0.9]) == pytest.approx(
        np.quantile(values, [0.1, 0.5, 0.9]), rel=0.15
    )


def test_frequent_rows_are_stored_once():
    assert MIXED.rows == ((0, 0, 30), (0, 1, None), (1, 2, 50))
    assert MIXED.counts == (2, 1, 1)


@pytest.mark.parametrize(
    ("values", "size", "frequencies"),
    [
        ({"classes": ["a", "b"], "counts": [1, 3]}, 2, [0.25, 0.75]),
        ({"classes": ["a", "b"]}, 2, [0, 0]),
        ({"classes": [], "mean": [3.0], "scale": [2.0], "counts": []}, 1, [0]),
        ({"mean": [3.0, 1.0], "scale": [2.0, 1.0]}, 2, [0, 0]),
    ],
)
def test_contexts_of_earlier_versions_are_zero_without_counts(values, size, frequencies):
    codec = open_context(values)
    assert codec.size == size
    assert codec.draw(4).mean(0).tolist() == frequencies


@pytest.mark.parametrize(
    ("codec", "cells", "expected"),
    [
        (NAMES, ["two", None, "zero"], [2, -1, 0]),
        (DIGITS, [3.0, np.nan, 4.0], [0, -1, 1]),
        (NUMBERS, ["1.5", None, "x"], [1.5, np.nan, np.nan]),
    ],
)
def test_a_column_of_a_table_becomes_labels(codec, cells, expected):
    labels, classes = codec.covariates[0].column(pd.Series(cells, name="y"))
    np.testing.assert_array_equal(labels, expected)
    assert classes == codec.classes


def test_an_unknown_class_of_a_column_is_refused_or_missing():
    cells = pd.Series(["one", "tow"], name="y")
    with pytest.raises(VariedError, match=r"In row 2, 'y' is 'tow', .*did you mean 'two'"):
        NAMES.covariates[0].column(cells)
    assert NAMES.covariates[0].column(cells, strict=False)[0].tolist() == [1, -1]


@pytest.mark.parametrize(
    ("codec", "values", "message"),
    [
        (NAMES, "tow", "There is no class 'tow': did you mean 'two'"),
        (NAMES, 9, "There is no class '9'"),
        (MANY, "knid 097", "did you mean 'kind 097'"),
        (NAMES, np.array([0, 3]), "between 0 and 2"),
        (NAMES, np.array([[0, 1]]), "one class index for each row"),
        (NUMBERS, "old", r"'label' must be a number, got 'old'; pass a number such as 20"),
        (NUMBERS, [[1, 2]], r"of shape \(N, 1\), not \(1, 2\)"),
        (PAIRS, [[1, 2, 3]], r"each of label 1, label 2: .* be \(N, 2\), not \(1, 3\)"),
        (MIXED, {"bacth": "1"}, "no covariate 'bacth': did you mean 'batch'"),
        (MIXED, {"donor": "anne"}, "no class 'anne': did you mean 'ann'"),
        (MIXED, ["1", "ann"], r"must be \(N, 3\), not \(1, 2\)"),
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
        (np.array([[1, np.nan], [2, np.nan]]), (), "'label 2' is missing in all rows; omit it"),
    ],
)
def test_labels_without_a_value_are_refused(labels, classes, message):
    with pytest.raises(VariedError, match=message):
        fit(labels, classes)


def test_a_damaged_context_is_refused():
    with pytest.raises(VariedError, match="did you mean 'classes'"):
        open_context({"clases": ["a"]})
