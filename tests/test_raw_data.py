"""Data as read: selected rows, labels and digests."""

import numpy as np
import pandas as pd
import pytest

from varied.data import RawData

TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "kind": ["x", None, "y"]}, dtype=object)


def rows(n, **fields):
    return RawData(np.arange(2 * n, dtype=np.float32).reshape(n, 2), "array", **fields)


def test_take_selects_labels_names_and_test_rows():
    data = rows(5, labels=np.arange(5), classes=tuple("abcde"), names=tuple("vwxyz"))
    selected = data.take([3, 1])
    assert (selected.labels.tolist(), selected.names, selected.classes) == (
        [3, 1],
        ("y", "w"),
        data.classes,
    )
    np.testing.assert_array_equal(selected.x, data.x[[3, 1]])
    assert rows(5, test=np.array([1, 4])).take([4, 0, 1]).test.tolist() == [0, 2]


def test_take_resets_the_index_of_a_table():
    selected = RawData(TABLE, "table").take([2, 0])
    assert selected.x["a"].tolist() == [3.0, 1.0]
    assert selected.x.index.tolist() == [0, 1]


def test_head_returns_at_most_all_rows():
    assert rows(5).head(2).x.tolist() == rows(5).x[:2].tolist()
    assert len(rows(5).head(9)) == 5


def test_replace_and_with_notes_return_new_data():
    data = rows(5, notes=("first",))
    assert data.with_notes("second", "third").notes == ("first", "second", "third")
    assert data.replace(source="mnist").source == "mnist"
    assert (data.notes, data.source) == (("first",), None)


@pytest.mark.parametrize(
    ("x", "is_image"),
    [
        (np.zeros((3, 8, 8), np.uint8), True),
        (np.zeros((3, 8, 8, 3), np.uint8), True),
        (np.zeros((3, 8), np.uint8), False),
        (np.zeros((3, 1, 8, 8), np.float32), False),
        (TABLE, False),
    ],
)
def test_8_bit_arrays_with_three_or_four_axes_are_images(x, is_image):
    assert RawData(x, "image").is_image == is_image


def test_frames_have_columns_and_arrays_have_none():
    assert RawData(TABLE, "table").is_frame
    assert RawData(TABLE, "table").columns == ("a", "kind")
    assert not rows(5).is_frame
    assert rows(5).columns == ()


def test_repr_shows_rows_kind_shape_and_classes():
    data = rows(1200, labels=np.zeros(1200, int), classes=("a", "b"))
    assert repr(data) == "RawData(1,200 rows, kind='array', shape=(2,), 2 classes)"
    assert repr(RawData(TABLE, "table")) == "RawData(3 rows, kind='table', shape=(2,))"


def test_class_indices_are_minus_one_without_labels():
    assert rows(3).class_indices.tolist() == [-1, -1, -1]
    assert rows(3, labels=np.array([1, -1, 0])).class_indices.dtype == np.int64


def test_label_columns_contain_the_labels():
    data = RawData(TABLE, "table", labels=np.array([0, -1, 1]), classes=("x", "y"))
    assert data.label_columns == ("kind",)
    assert data.replace(labels=np.array([1, -1, 0])).label_columns == ()
    assert data.replace(labels=None).label_columns == ()
    assert rows(3, labels=np.zeros(3, int), classes=("a",)).label_columns == ()


def test_covariates_are_the_labels_by_name():
    classes, numbers = np.array([0, -1, 1]), np.array([2.5, 1.0, np.nan], np.float32)
    assert rows(3).covariates == {}
    for labels, names, expected in (
        (classes, ("x", "y"), ["class"]),
        (numbers, (), ["label"]),
        (numbers[:, None], (), ["label"]),
        (np.stack([numbers, numbers], 1), (), ["label 1", "label 2"]),
    ):
        assert list(rows(3, labels=labels, classes=names).covariates) == expected
    data = rows(3).with_labels({"kind": (classes, ("x", "y")), "size": (numbers, ())}).take([0, 1])
    (kind, levels), (size, none) = data.covariates["kind"], data.covariates["size"]
    assert (kind.tolist(), levels, kind.dtype) == ([0, -1], ("x", "y"), np.int64)
    assert (size.tolist(), none) == ([2.5, 1.0], ())
    assert list(data.with_labels({"kind": (kind, levels)}).covariates) == ["kind"]


def test_the_digest_depends_on_the_classes_of_covariates_only():
    labels, numbers = np.array([0, 1, 1]), np.ones(3, np.float32)
    data = rows(3).with_labels({"a": (labels, ("x", "y")), "b": (numbers, ())})
    other = rows(3).with_labels({"a": (labels, ("x", "z")), "b": (numbers, ())})
    assert data.digest() != other.digest()
    pairs = rows(3).with_labels({"a": (numbers, ()), "b": (numbers, ())})
    assert pairs.digest() == rows(3, labels=pairs.labels).digest()


def test_the_digest_depends_on_values_shape_type_labels_and_classes():
    data = rows(5)
    others = [
        rows(6),
        RawData(data.x.reshape(5, 2, 1), "array"),
        RawData(data.x.astype(np.float64), "array"),
        RawData(data.x, "other"),
        rows(5, labels=np.arange(5)),
        rows(5, classes=("a",)),
    ]
    assert len({each.digest() for each in [data, *others]}) == 7
    assert data.digest() == rows(5, names=tuple("abcde"), notes=("note",)).digest()
    assert data.digest() == RawData(np.asfortranarray(data.x), "array").digest()
    assert RawData(data.x, "other").digest("array") == data.digest()
