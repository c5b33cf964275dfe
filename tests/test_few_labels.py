"""Few labels: which are kept, and how they go round through the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from varied.data.batches import Batches
from varied.data.labels import subsample_labels
from varied.errors import VariedError


def few(n=50, labeled=(3, 7, 20)):
    c = torch.zeros(n, 2)
    c[list(labeled), 0] = 1
    return torch.arange(float(n))[:, None], c


def test_each_batch_has_its_share_of_labels_and_each_epoch_all_rows():
    x, c = few()
    stream = Batches(x, c, size=20, seed=0, labeled=0.5)
    assert stream.steps_per_epoch == 5
    for epoch in range(2):
        batches = [stream.at(epoch * 5 + i) for i in range(5)]
        assert all(len(b) == 20 and b.c[10:].any(1).all() for b in batches)
        assert sorted(torch.cat([b.x[:10, 0] for b in batches]).tolist()) == list(range(50))
    extra = torch.cat([stream.at(step).x[10:, 0] for step in range(6)]).tolist()
    assert all(set(extra[i : i + 3]) == {3, 7, 20} for i in range(0, 60, 3))  # in turn, reordered
    assert len({tuple(extra[i : i + 3]) for i in range(0, 60, 3)}) > 1


def test_a_batch_is_a_function_of_seed_and_step():
    x, c = few()
    a, b, other = (Batches(x, c, size=20, seed=s, labeled=0.25) for s in (0, 0, 1))
    forth, back = [a.at(i).x for i in range(9)], [b.at(i).x for i in reversed(range(9))][::-1]
    assert all(torch.equal(p, q) for p, q in zip(forth, back, strict=True))
    assert not torch.equal(forth[0], other.at(0).x)


def test_no_share_changes_nothing():
    x, c = few()
    plain, none = Batches(x, c, size=20, seed=0), Batches(x, c, size=20, seed=0, labeled=0.0)
    every = Batches(x, torch.eye(2)[torch.arange(50) % 2], size=20, seed=0, labeled=0.25)
    for step in range(5):
        assert torch.equal(plain.at(step).x, none.at(step).x)
        assert torch.equal(plain.at(step).x, every.at(step).x)  # all rows have a label already
    assert repr(plain) == "Batches(50 rows, size=20, seed=0)"


@pytest.mark.parametrize(
    ("c", "share", "sentence"),
    [
        (None, 0.25, "No row has a label"),
        (torch.zeros(50, 2), 0.25, "No row has a label"),
        (few()[1], 1.0, "from 0 to below 1"),
        (few()[1], 0.99, "leaves no row"),
    ],
)
def test_a_share_of_no_labels_is_refused(c, share, sentence):
    with pytest.raises(VariedError, match=sentence):
        Batches(few()[0], c, size=20, seed=0, labeled=share)


def test_few_labels_are_kept_and_balanced():
    given = np.repeat([0, 1, 2, -1], [500, 40, 3, 100])
    for n, wanted in ((3, [1, 1, 1]), (9, [3, 3, 3]), (30, [14, 13, 3]), (999, [500, 40, 3])):
        kept = subsample_labels(given, n, seed=0)
        seen = kept >= 0
        assert np.array_equal(kept[seen], given[seen])
        counts = np.bincount(kept[seen], minlength=3)
        assert sorted(counts) == sorted(wanted) or abs(counts - np.array(wanted)).max() <= 1
        assert counts.sum() == min(n, 543)


def test_which_labels_are_kept_follows_from_the_seed():
    given = np.arange(1000) % 10
    a, b, c = (subsample_labels(given, 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert (given == np.arange(1000) % 10).all()


@pytest.mark.parametrize(
    ("given", "n", "sentence"),
    [(np.arange(10.0), 5, "these are numbers"), (np.arange(10), 9, "fewer than the 10 classes")],
)
def test_labels_that_cannot_be_few_are_refused(given, n, sentence):
    with pytest.raises(VariedError, match=sentence):
        subsample_labels(given, n, seed=0)
