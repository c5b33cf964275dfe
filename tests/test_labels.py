"""Labels as classes or numbers, and subsets of them for experiments with few labels."""

import numpy as np
import pytest
import torch

from varied.data.labels import parse_covariates, parse_labels, parse_names, subsample_labels
from varied.errors import VariedError


@pytest.mark.parametrize(
    ("labels", "indices", "classes"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (["b", None, ""], [0, -1, -1], ("b",)),
        (np.array([b"x", b"y", b"x"]), [0, 1, 0], ("x", "y")),
        ([3, 5, 3], [0, 1, 0], ("3", "5")),
        ([0, -1, 1], [0, -1, 1], ("0", "1")),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        ([True, False, True], [1, 0, 1], ("0", "1")),
        (torch.tensor([[0], [1], [1]]), [0, 1, 1], ("0", "1")),
        ([1, "a", 1], [0, 1, 0], ("1", "a")),
    ],
)
def test_names_and_integers_are_classes(labels, indices, classes):
    values, names = parse_labels(labels, 3)
    assert (values.tolist(), names) == (indices, classes)
    assert values.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        ([0.5, float("nan"), 2.0], (3,)),
        (np.ones((12, 5)), (12, 5)),
        (np.ones((12, 5), int), (12, 5)),
        (np.arange(200), (200,)),
    ],
    ids=["floats", "columns", "columns of integers", "many distinct integers"],
)
def test_floats_columns_and_many_integers_are_numbers(labels, shape):
    values, names = parse_labels(labels, len(labels))
    assert (values.dtype, values.shape, names) == (np.float32, shape, ())


@pytest.mark.parametrize(
    ("labels", "indices"), [([1, 0, -1], [1, 0, -1]), (["dog", "cat", ""], [1, 0, -1])]
)
def test_given_classes_keep_their_order(labels, indices):
    values, names = parse_labels(labels, 3, ["cat", "dog"])
    assert (values.tolist(), names) == (indices, ("cat", "dog"))


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([1, 2], None, "number of labels, 2, differs from the number of rows, 3"),
        (7, None, "labels are a single value"),
        ([[1], [1, 2], []], None, "different lengths"),
        ([0, 1, 2], ["a", "b"], "from 0 to 2, but the number of class names is 2"),
        (["a", "b", "z"], ["a", "b"], "'z' is not one of the classes a, b"),
        ([0.1, float("inf"), 1], None, "row 1 is infinite"),
        ([1j, 2j, 3j], None, "type complex128 are not supported"),
        ([["a", "b"]] * 3, None, "several class names"),
    ],
)
def test_invalid_labels_are_refused(labels, classes, message):
    with pytest.raises(VariedError, match=message):
        parse_labels(labels, 3, classes)


# Subsets


@pytest.mark.parametrize(
    ("n", "expected"),
    [(3, [1, 1, 1]), (9, [3, 3, 3]), (30, [14, 13, 3]), (999, [500, 40, 3])],
)
def test_subsampled_labels_are_balanced(n, expected):
    labels = np.repeat([0, 1, 2, -1], [500, 40, 3, 100])
    subsample = subsample_labels(labels, n, seed=0)
    is_labeled = subsample >= 0
    assert np.array_equal(subsample[is_labeled], labels[is_labeled])
    counts = np.bincount(subsample[is_labeled], minlength=3)
    assert abs(counts - np.array(expected)).max() <= 1
    assert counts.sum() == min(n, 543)


def test_subsampled_labels_depend_on_the_seed_only():
    labels = np.arange(1000) % 10
    first, second, other = (subsample_labels(labels, 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert (labels == np.arange(1000) % 10).all()


@pytest.mark.parametrize(
    ("labels", "n", "message"),
    [
        (np.arange(10.0), 5, "these labels are numeric"),
        (np.arange(10), 9, r"n_labels=9 must be at least the number of classes \(10\)"),
    ],
)
def test_labels_that_cannot_be_subsampled_are_refused(labels, n, message):
    with pytest.raises(VariedError, match=message):
        subsample_labels(labels, n, seed=0)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ("batch", ("batch",)),
        ("batch, donor", ("batch", "donor")),
        ("batch,batch", ("batch",)),
        ("a,b", ("a,b",)),
        (["batch", "donor"], ("batch", "donor")),
        (["cat", "dog"] * 10, ()),
        ([1, 2], ()),
        (np.array(["x", "y"]), ()),
        (None, ()),
    ],
)
def test_labels_may_be_names(labels, names):
    assert parse_names(labels, 20, ["a,b", "batch", "donor"]) == names


def test_an_array_with_several_columns_becomes_several_covariates():
    covariates = parse_covariates({"kind": ["a", None, "b"], "pose": np.ones((3, 2))}, 3)
    assert list(covariates) == ["kind", "pose 1", "pose 2"]
    assert covariates["kind"][1] == ("a", "b")
    assert covariates["pose 2"][0].shape == (3,)


def test_names_of_classes_are_refused_for_several_labels():
    with pytest.raises(VariedError, match="`classes` can be passed only with a single label"):
        parse_covariates({"a": [0, 1], "b": [1, 0]}, 2, ["no", "yes"])
