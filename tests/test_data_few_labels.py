"""Data with few labels: which labels are kept, and batches with a share of labeled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from varied.data.batches import Batches
from varied.data.labels import subsample_labels
from varied.errors import VariedError

ROWS = 50


def partly_labeled(labeled=(3, 7, 20)):
    """Return rows that hold their number, and a context in which few have a label."""
    c = torch.zeros(ROWS, 2)
    c[list(labeled), 0] = 1
    return torch.arange(float(ROWS))[:, None], c


def test_batch_has_a_share_of_labeled_rows_and_an_epoch_has_all_rows():
    x, c = partly_labeled()
    batches = Batches(x, c, size=20, seed=0, labeled=0.5)
    assert batches.steps_per_epoch == 5
    for epoch in range(2):
        of_epoch = [batches.at(epoch * 5 + i) for i in range(5)]
        assert all(len(b) == 20 and b.c[10:].any(1).all() for b in of_epoch)
        assert sorted(torch.cat([b.x[:10, 0] for b in of_epoch]).tolist()) == list(range(ROWS))
    extra = torch.cat([batches.at(step).x[10:, 0] for step in range(6)]).tolist()
    passes = [tuple(extra[i : i + 3]) for i in range(0, 60, 3)]
    assert all(set(rows) == {3, 7, 20} for rows in passes)
    assert len(set(passes)) > 1  # each pass has a new order


def test_batch_is_a_function_of_seed_and_step():
    x, c = partly_labeled()
    first, second, other = (Batches(x, c, size=20, seed=s, labeled=0.25) for s in (0, 0, 1))
    forwards = [first.at(i).x for i in range(9)]
    backwards = [second.at(i).x for i in reversed(range(9))]
    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    assert not torch.equal(forwards[0], other.at(0).x)


@pytest.mark.parametrize(
    ("c", "share"),
    [(partly_labeled()[1], 0.0), (torch.eye(2)[torch.arange(ROWS) % 2], 0.25)],
    ids=["no share", "all rows labeled"],
)
def test_batches_without_extra_rows(c, share):
    x, expected_c = partly_labeled()
    expected = Batches(x, expected_c, size=20, seed=0)
    actual = Batches(x, c, size=20, seed=0, labeled=share)
    assert all(torch.equal(expected.at(step).x, actual.at(step).x) for step in range(5))
    assert repr(actual) == repr(expected) == "Batches(50 rows, size=20, seed=0)"


@pytest.mark.parametrize(
    ("c", "share", "message"),
    [
        (None, 0.25, "No row has a label"),
        (torch.zeros(ROWS, 2), 0.25, "No row has a label"),
        (partly_labeled()[1], 1.0, "from 0 to below 1"),
        (partly_labeled()[1], 0.99, "leaves no row"),
    ],
)
def test_invalid_shares_raise(c, share, message):
    with pytest.raises(VariedError, match=message):
        Batches(partly_labeled()[0], c, size=20, seed=0, labeled=share)


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
    assert sorted(counts) == sorted(expected) or abs(counts - np.array(expected)).max() <= 1
    assert counts.sum() == min(n, 543)


def test_subsampled_labels_depend_on_the_seed_only():
    labels = np.arange(1000) % 10
    first, second, other = (subsample_labels(labels, 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert (labels == np.arange(1000) % 10).all()


@pytest.mark.parametrize(
    ("labels", "n", "message"),
    [(np.arange(10.0), 5, "these are numbers"), (np.arange(10), 9, "fewer than the 10 classes")],
)
def test_labels_that_cannot_be_subsampled_raise(labels, n, message):
    with pytest.raises(VariedError, match=message):
        subsample_labels(labels, n, seed=0)
