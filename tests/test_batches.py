"""Batches as a function of seed and step, with a fraction of labeled rows."""

import pytest
import torch

from varied.data import Batch, Batches, iter_batches, mask_missing
from varied.errors import VariedError

N_ROWS = 50


def test_a_batch_depends_on_seed_and_step_only():
    x = torch.arange(103)[:, None]
    first, second = (Batches(x, size=10, seed=4) for _ in range(2))
    for step in (57, 3, 31, 9, 10):
        assert torch.equal(first.at(step).x, Batches(x, size=10, seed=4).at(step).x)
    assert torch.equal(second.at(57).x, first.at(57).x)
    assert not torch.equal(first.at(0).x, Batches(x, size=10, seed=5).at(0).x)


def test_an_epoch_has_each_row_at_most_once_and_a_new_order():
    batches = Batches(torch.arange(103)[:, None], size=10, seed=0)
    assert batches.steps_per_epoch == 10
    epochs = [torch.cat([batches.at(e * 10 + i).x for i in range(10)]) for e in range(2)]
    assert all(len(epoch.unique()) == 100 for epoch in epochs)
    assert not torch.equal(*epochs)
    assert batches.epoch(25) == 2.5


def test_context_and_mask_belong_to_the_rows():
    x = torch.arange(50, dtype=torch.uint8)[:, None]
    batch = Batches(x, x.float(), x > 3, size=8, seed=0).at(3)
    assert batch.x.dtype == torch.uint8
    assert torch.equal(batch.c, batch.x.float())
    assert torch.equal(batch.mask, batch.x > 3)


def test_nan_marks_missing_values():
    x = torch.arange(10.0)[:, None].repeat(1, 2)
    x[3, 1] = x[8] = torch.nan
    mask = torch.ones(10, 2)
    mask[3, 1] = mask[8] = 0
    batch = mask_missing(x, x)
    assert torch.equal(batch.mask, mask)
    assert torch.equal(batch.x, x.nan_to_num(0.0))
    assert batch.c is x
    batches = list(iter_batches(x, size=4))
    assert torch.equal(torch.cat([b.x for b in batches]), batch.x)
    assert torch.equal(torch.cat([b.mask for b in batches]), mask)
    first = Batches(x, size=10, seed=0).at(0)
    assert torch.equal(first.x * first.mask, first.x)
    assert first.mask.sum() == mask.sum()


def test_rows_without_nan_get_no_mask():
    x = torch.zeros(4, 2)
    assert mask_missing(x).mask is None
    assert mask_missing(x.to(torch.uint8)).mask is None
    assert next(iter_batches(x, size=4)).mask is None
    assert Batches(x, size=4, seed=0).at(0).mask is None


def test_a_given_mask_is_kept():
    x, mask = torch.full((4, 2), torch.nan), torch.zeros(4, 2)
    assert mask_missing(x, None, mask).mask is mask
    assert mask_missing(x, None, mask).x is x


def test_take_selects_rows_of_all_tensors():
    x = torch.arange(6.0)[:, None]
    rows = torch.tensor([4, 1])
    batch = Batch(x, 2 * x, x > 2).take(rows)
    assert len(batch) == 2
    assert torch.equal(batch.x, x[rows])
    assert torch.equal(batch.c, 2 * x[rows])
    assert torch.equal(batch.mask, x[rows] > 2)
    assert Batch(x).take(rows).c is None
    assert Batch(x).take(rows).mask is None


def test_fewer_rows_than_the_batch_size():
    batches = Batches(torch.arange(5)[:, None], size=64, seed=0)
    assert batches.steps_per_epoch == 1
    assert sorted(batches.at(7).x.ravel().tolist()) == list(range(5))


def test_batches_do_not_use_the_default_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Batches(torch.zeros(9, 1), size=2, seed=3).at(5)
    assert torch.equal(torch.rand(1), expected)


def test_iter_batches_yields_all_rows_in_order():
    x = torch.arange(23)[:, None]
    parts = list(iter_batches(x, x.float(), x > 3, size=10))
    assert [len(part) for part in parts] == [10, 10, 3]
    assert torch.equal(torch.cat([part.x for part in parts]), x)
    assert torch.equal(torch.cat([part.c for part in parts]), x.float())
    assert torch.equal(torch.cat([part.mask for part in parts]), x > 3)


# Labeled rows


def partly_labeled(labeled=(3, 7, 20)):
    """Return rows that contain their index, and a context in which few rows have a label."""
    c = torch.zeros(N_ROWS, 2)
    c[list(labeled), 0] = 1
    return torch.arange(float(N_ROWS))[:, None], c


def test_a_batch_has_a_fraction_of_labeled_rows_and_an_epoch_has_all_rows():
    x, c = partly_labeled()
    batches = Batches(x, c, size=20, seed=0, labeled=0.5)
    assert (batches.n_labeled, batches.steps_per_epoch) == (10, 5)
    assert repr(batches) == "Batches(50 rows, size=10 + 10 labeled, seed=0)"
    for epoch in range(2):
        parts = [batches.at(epoch * 5 + i) for i in range(5)]
        assert all(len(part) == 20 for part in parts)
        assert all(part.c[10:].any(1).all() for part in parts)
        assert sorted(torch.cat([p.x[:10, 0] for p in parts]).tolist()) == list(range(N_ROWS))
    added = torch.cat([batches.at(step).x[10:, 0] for step in range(6)]).tolist()
    repetitions = [tuple(added[i : i + 3]) for i in range(0, 60, 3)]
    assert all(set(rows) == {3, 7, 20} for rows in repetitions)
    assert len(set(repetitions)) > 1  # each repetition has a new order


def test_batches_with_labeled_rows_depend_on_seed_and_step_only():
    x, c = partly_labeled()
    first, second, other = (Batches(x, c, size=20, seed=s, labeled=0.25) for s in (0, 0, 1))
    forward = [first.at(i).x for i in range(9)]
    backward = [second.at(i).x for i in reversed(range(9))]
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    assert not torch.equal(forward[0], other.at(0).x)


@pytest.mark.parametrize(
    ("c", "fraction"),
    [(partly_labeled()[1], 0.0), (torch.eye(2)[torch.arange(N_ROWS) % 2], 0.25)],
    ids=["a fraction of zero", "all rows labeled"],
)
def test_batches_without_added_rows(c, fraction):
    x, expected_c = partly_labeled()
    expected = Batches(x, expected_c, size=20, seed=0)
    batches = Batches(x, c, size=20, seed=0, labeled=fraction)
    assert all(torch.equal(expected.at(step).x, batches.at(step).x) for step in range(5))
    assert repr(batches) == repr(expected) == "Batches(50 rows, size=20, seed=0)"


# Errors


@pytest.mark.parametrize(
    ("c", "fraction", "message"),
    [
        (None, 0.25, "No row has a label"),
        (torch.zeros(N_ROWS, 2), 0.25, "No row has a label"),
        (partly_labeled()[1], 1.0, r"must be in \[0, 1\)"),
        (partly_labeled()[1], 0.99, "leaves no room for other rows in a batch of 20"),
    ],
)
def test_invalid_fractions_of_labeled_rows_are_refused(c, fraction, message):
    with pytest.raises(VariedError, match=message):
        Batches(partly_labeled()[0], c, size=20, seed=0, labeled=fraction)


@pytest.mark.parametrize(
    ("x", "c", "size", "message"),
    [
        (torch.zeros(0, 2), None, 4, "must be at least 1"),
        (torch.zeros(5, 2), None, 0, "must be at least 1"),
        (torch.zeros(5, 2), torch.zeros(3, 1), 4, "`c` has 3 rows, but `x` has 5"),
    ],
)
def test_invalid_batches_are_refused(x, c, size, message):
    with pytest.raises(VariedError, match=message):
        Batches(x, c, size=size, seed=0)
    with pytest.raises(VariedError, match=message):
        list(iter_batches(x, c, size=size))
