"""Heads handle shapes, so that a subclass only has to define the distribution."""

from __future__ import annotations

import pytest
import torch

from varied.distributions import Gaussian
from varied.heads import Head


class GaussianHead(Head):
    params_per_element = 2

    def build(self, mean, log_variance):
        return Gaussian(mean, log_variance)


@pytest.mark.parametrize("event", [(1,), (7,), (1, 5, 5), (3, 4, 6), (2, 9)], ids=str)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_leading_dimensions_form_the_batch_shape(event, lead):
    head = GaussianHead(event)
    distribution = head(torch.randn(*lead, *head.param_shape))
    assert distribution.batch_shape == lead
    assert distribution.event_shape == event
    assert distribution.log_prob(torch.zeros(event)).shape == lead


def test_parameters_are_blocks_of_channels():
    h = torch.arange(4 * 6.0).reshape(4, 2, 3)
    gaussian = GaussianHead((2, 2, 3))(h).base_dist
    assert torch.equal(gaussian.mean, h[:2])
    assert torch.equal(gaussian.log_variance, h[2:])


def test_log_prob_is_the_sum_over_elements():
    small, large = (
        GaussianHead((n,))(torch.zeros(2 * n)).log_prob(torch.zeros(n)) for n in (5, 10)
    )
    torch.testing.assert_close(large, 2 * small)


def test_size_and_param_shape():
    head = GaussianHead((3, 4, 6))
    assert head.size == 72
    assert head.param_shape == (6, 4, 6)


def test_head_without_build_is_abstract():
    with pytest.raises(TypeError, match="build"):
        Head((3,))
