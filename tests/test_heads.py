"""A head does the shapes, so that a leaf is its mathematics alone."""

from __future__ import annotations

import pytest
import torch

from varied.distributions import Gaussian
from varied.heads import Head


class Pair(Head):
    params_per_element = 2

    def build(self, mean, log_variance):
        return Gaussian(mean, log_variance)


EVENTS = [(1,), (7,), (1, 5, 5), (3, 4, 6), (2, 9)]


@pytest.mark.parametrize("event", EVENTS, ids=str)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_shapes_of_any_event_under_any_leading_dimensions(event, lead):
    head = Pair(event)
    made = head(torch.randn(*lead, *head.param_shape))
    assert made.batch_shape == lead
    assert made.event_shape == event
    assert made.log_prob(torch.zeros(event)).shape == lead


def test_parameters_are_blocks_of_channels():
    h = torch.arange(4 * 6.0).reshape(4, 2, 3)
    made = Pair((2, 2, 3))(h).base_dist
    assert torch.equal(made.mean, h[:2])
    assert torch.equal(made.log_variance, h[2:])


def test_a_sum_over_the_event_never_a_mean():
    small, large = (Pair((n,)) for n in (5, 10))
    zero = small(torch.zeros(10)).log_prob(torch.zeros(5))
    torch.testing.assert_close(large(torch.zeros(20)).log_prob(torch.zeros(10)), 2 * zero)


def test_size_and_raw_shape():
    head = Pair((3, 4, 6))
    assert head.size == 72
    assert head.param_shape == (6, 4, 6)


def test_a_head_without_build_cannot_be_made():
    with pytest.raises(TypeError, match="build"):
        Head((3,))
