"""Tests for the Gaussian posterior with a minimum KL."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from varied.errors import VariedError
from varied.posteriors import DeltaGaussian
from varied.priors import StandardNormal
from varied.trace import Level

numbers = st.floats(-1e4, 1e4, width=32)


def kl(q):
    return Level(torch.zeros(1, 1), q, StandardNormal((1,))()).kl.item()


@given(st.floats(1e-5, 20), numbers, numbers)
def test_kl_is_never_below_delta(delta, mean, raw):
    q = DeltaGaussian((1,), delta=delta)(torch.tensor([mean, raw]))
    assert delta <= kl(q) < math.inf


@pytest.mark.parametrize("delta", [1e-4, 0.01, 0.1, 1.0, 10.0])
def test_minimum_kl_is_delta(delta):
    q = DeltaGaussian((1,), delta=delta, logvar_bound=30.0)(torch.tensor([0.0, 1e6]))
    assert kl(q) == pytest.approx(delta, rel=2e-3)
    ell = q.base_dist.log_variance.double().item()
    assert (math.exp(ell) - 1 - ell) / 2 == pytest.approx(delta, rel=2e-3)


def test_mean_is_free_and_variance_can_shrink():
    q = DeltaGaussian((1,), delta=0.5)(torch.tensor([[-3.0, -1e3], [7.0, 1e3]]))
    assert q.mean.flatten().tolist() == [-3.0, 7.0]
    assert q.variance[0] < 1e-4 < 0.1 < q.variance[1] < 1


@pytest.mark.parametrize(
    ("settings", "match"), [({"delta": 0}, "delta=0"), ({"logvar_bound": 0}, "logvar_bound=0")]
)
def test_invalid_settings_are_rejected(settings, match):
    with pytest.raises(VariedError, match=match):
        DeltaGaussian((3,), **settings)
