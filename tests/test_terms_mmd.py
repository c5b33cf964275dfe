"""The maximum mean discrepancy is compared with a double loop over all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from traces import code_trace, standard_normal

from varied.composition import compose
from varied.distributions import Gaussian
from varied.errors import VariedError
from varied.objectives import info_vae, rae, wae_mmd
from varied.spec import Spec
from varied.terms import MMD
from varied.terms.mmd import SCALES

kernels = pytest.mark.parametrize("kernel", ["imq", "rbf"])


def mmd_by_loops(codes, samples, kernel):
    def k(a, b):
        square, width = float(((a - b) ** 2).sum()), 2 * len(a)
        return sum(
            width * s / (width * s + square) if kernel == "imq" else math.exp(-square / width / s)
            for s in SCALES
        )

    n, total = len(codes), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += (k(codes[i], codes[j]) + k(samples[i], samples[j])) / (n * (n - 1))
            total -= 2 * k(codes[i], samples[j]) / n**2
    return total


@kernels
@pytest.mark.parametrize("draws", [1, 2])
def test_mmd_is_the_mean_over_all_pairs(kernel, draws):
    z = 2 * torch.randn(draws, 7, 3).double() + 1
    torch.manual_seed(3)
    samples = standard_normal(3, dtype=torch.float64).sample((draws, 7))
    torch.manual_seed(3)
    actual = MMD(kernel)(code_trace(z))
    expected = sum(mmd_by_loops(z[k], samples[k], kernel) for k in range(draws)) / draws
    torch.testing.assert_close(actual, torch.full((7,), expected).double())


@kernels
def test_mmd_of_equal_distributions_has_mean_zero(kernel):
    values = [MMD(kernel)(code_trace(torch.randn(1, 6, 2).double()))[0] for _ in range(400)]
    values = torch.stack(values)
    assert values.mean().abs() < 4 * values.std() / 20
    assert values.min() < 0 < values.max()


def test_mmd_of_different_distributions_is_positive():
    z = torch.randn(1, 200, 2).double()
    equal, scaled, shifted = (float(MMD()(code_trace(c))[0]) for c in (z, 3 * z, z + 2))
    assert abs(equal) < 0.05
    assert min(scaled, shifted) > 0.3


def test_gradient_reaches_codes_and_a_learned_conditional_prior():
    mean = torch.randn(5, 3).double().requires_grad_()
    z = torch.randn(2, 5, 3).double().requires_grad_()
    p = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
    MMD()(code_trace(z, p)).mean().backward()
    for grad in (mean.grad, z.grad):
        assert grad.isfinite().all()
        assert (grad != 0).any()


def test_mmd_of_a_single_row_is_finite():
    z = torch.zeros(1, 1, 3).double().requires_grad_()
    value = MMD()(code_trace(z)).mean()
    value.backward()
    assert value.isfinite()
    assert z.grad.isfinite().all()


def test_prior_without_reparameterization_is_sampled():
    weights = Categorical(torch.ones(3).double())
    components = Independent(Normal(torch.randn(3, 2).double(), torch.ones(3, 2).double()), 1)
    p = MixtureSameFamily(weights, components)
    assert not p.has_rsample
    assert MMD()(code_trace(torch.randn(1, 5, 2).double(), p)).isfinite().all()


def test_info_vae_weights_are_those_of_the_paper():
    objective = info_vae(alpha=0.25, mmd_weight=10.0)
    assert objective.names == ["reconstruction", "kl", "mmd"]
    assert [objective.weight(name) for name in objective.names] == [1, 0.75, 9.25]


@pytest.mark.parametrize("name", ["wae-mmd", "rae"])
def test_objectives_without_a_density_accept_deterministic_codes(name):
    model, objective = compose(Spec.parse(objective=name, posterior="deterministic"), (6,))
    assert not objective.requires
    assert "kl" not in objective(model(torch.rand(5, 6).round()))[1]


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: info_vae(alpha=1.5), "alpha=1.5 must be at most 1"),
        (lambda: info_vae(alpha=0.0, mmd_weight=0.5), "must sum to at least 1"),
        (lambda: wae_mmd(kernel="imk"), "did you mean 'imq'"),
        (lambda: rae(regularizer="l3"), "choose from l2, gp"),
    ],
)
def test_invalid_settings_raise(create, message):
    with pytest.raises(VariedError, match=message):
        create()
