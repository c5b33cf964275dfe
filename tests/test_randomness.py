"""Noise is a function of seed, purpose and index, and looking changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from varied.seeding import derive_seed, generator, permutation, seed_torch, seeded

triples = st.tuples(st.integers(0, 2**40), st.text(max_size=12), st.integers(0, 2**40))


@given(triples, triples)
def test_a_key_depends_on_all_three(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


@given(triples)
def test_a_key_is_a_seed(triple):
    assert 0 <= derive_seed(*triple) < 2**63
    assert torch.equal(*(torch.rand(3, generator=generator(*triple)) for _ in range(2)))


def test_keys_never_change():
    # A run of an older version is resumed with the same noise.
    assert derive_seed(0, "rows", 1) == 6736030723251148658


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_a_permutation_has_each_row_once(n):
    order = permutation(n, 0, "rows", 3)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(n))
    assert torch.equal(order, permutation(n, 0, "rows", 3))


def test_permutations_of_epochs_differ():
    assert not torch.equal(permutation(100, 0, "rows", 0), permutation(100, 0, "rows", 1))
    assert not torch.equal(permutation(100, 0, "rows", 0), permutation(100, 1, "rows", 0))


def test_reseed_forgets_what_was_drawn_before():
    torch.rand(5)
    seed_torch(3, "step", 9)
    first = torch.randn(7)
    torch.rand(11)
    seed_torch(3, "step", 9)
    assert torch.equal(first, torch.randn(7))


def test_looking_leaves_the_generator_as_it_was():
    before = torch.get_rng_state()
    with seeded(0, "look"):
        torch.rand(100)
    assert torch.equal(before, torch.get_rng_state())


def test_a_look_that_fails_leaves_the_generator_as_it_was():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(0, "look"):
        torch.rand(100) @ torch.rand(99)
    assert torch.equal(before, torch.get_rng_state())


def test_looks_nest():
    with seeded(0, "look"):
        alone = torch.rand(2)
    with seeded(0, "look"):
        first = torch.rand(1)
        with seeded(1, "look"):
            torch.rand(3)
        assert torch.equal(alone, torch.cat([first, torch.rand(1)]))
