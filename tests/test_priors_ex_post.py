"""Tests for priors that are fitted after the model: flow matching and Gaussian mixtures."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from sklearn import mixture as sklearn_mixture
from torch import distributions as td
from torch.autograd import gradcheck
from torch.distributions import Independent

from varied.distributions import Gaussian, analytic_kl
from varied.priors import FlowMatching, GaussianMixture
from varied.priors.mixtures import DiagonalMixture, FullMixture
from varied.priors.ode_flow import OdeFlow


def flow_matching(event, context=0, **settings):
    """Return a fitted prior away from its initialization."""
    prior = FlowMatching(event, context, **{"width": 8, "depth": 1, "steps": 10} | settings)
    prior.init_from_data(1 + 1.5 * torch.randn(200, *event))
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.2 * torch.randn_like(param))
    return prior


@pytest.mark.parametrize("make", [partial(FlowMatching, context=0), GaussianMixture])
def test_unfitted_prior_is_the_standard_normal(make):
    prior = make((2, 3))
    q = Independent(Gaussian(torch.randn(4, 2, 3), torch.randn(4, 2, 3)), 2)
    assert analytic_kl(q, prior()).shape == (4,)
    z = torch.randn(9, 2, 3)
    expected = td.Normal(0, 1).log_prob(z).sum((1, 2))
    torch.testing.assert_close(prior().log_prob(z), expected)
    loaded = make((2, 3))
    loaded.load_state_dict(prior.state_dict())
    assert not loaded.is_fitted


@pytest.mark.parametrize("size", [3, 120])  # exact, and estimated, which is exact if diagonal
def test_density_of_a_linear_ode_equals_its_closed_form(size):
    rates = torch.tensor([0.7, -0.4, 0.2]).double().repeat(size // 3)
    shift, scale = torch.full((size,), 2.0).double(), torch.full((size,), 3.0).double()
    p = OdeFlow(lambda z, t: rates * z, shift, scale, 400)
    z = p.sample((5,)).double()
    expected = td.Normal(2.0, 3 * rates.exp()).log_prob(z).sum(1)
    torch.testing.assert_close(p.log_prob(z), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(p.mean, shift)


def test_estimated_trace_is_unbiased(monkeypatch):
    prior = flow_matching((4,)).double()
    z = torch.randn(2, 4).double()
    exact = prior().log_prob(z)
    monkeypatch.setattr("varied.priors.ode_flow.MAX_EXACT_DIMS", 3)
    estimates = prior().log_prob(z.expand(4000, 2, 4).contiguous())
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert (error > 0).all()
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()


def test_gradient_of_the_density_equals_finite_differences():
    prior = flow_matching((2,), 2, steps=3).double()
    p, z = prior(torch.randn(3, 2).double()), torch.randn(3, 2).double().requires_grad_()
    assert gradcheck(p.log_prob, (z,), atol=1e-6, rtol=1e-6)
    p.log_prob(z).sum().backward()
    assert all(
        param.grad.any()
        for name, param in prior.named_parameters()
        if name != "velocity.out_proj.bias"
    )


def test_flow_matching_starts_as_a_gaussian_with_the_moments_of_the_latents():
    prior = FlowMatching((5,), 0, width=64, steps=20)
    latents = 7 + 0.01 * torch.randn(4000, 5)
    prior.init_from_data(latents)
    gaussian = td.Normal(latents.mean(0), latents.std(0))
    z = prior().sample((2000,))
    assert (z.mean(0) - 7).abs().max() < 0.002
    assert (z.std(0) / 0.01 - 1).abs().max() < 0.2
    difference = prior().log_prob(latents[:50]) - gaussian.log_prob(latents[:50]).sum(1)
    assert difference.abs().mean() < 0.5


def test_constant_dimensions_can_be_fitted():
    z = torch.randn(50, 3)
    z[:, 1] = 4.0
    for prior in (FlowMatching((3,), 0, width=8), GaussianMixture((3,), n_components=2)):
        prior.fit(z) if prior.has_direct_fit else prior.init_from_data(z)
        assert prior().log_prob(z).isfinite().all()
        assert (prior().sample((9,))[:, 1] - 4).abs().max() < 0.1


def test_flow_matching_loss_is_lowest_at_the_exact_velocity():
    def cost(change):
        torch.manual_seed(0)
        p = OdeFlow(
            lambda z, t: ((2 * t - 1) / (t**2 + (1 - t) ** 2) + change) * z,
            torch.zeros(3),
            torch.ones(3),
            10,
        )
        return p.cost(torch.randn(40_000, 3)).mean()

    assert cost(0.0) + 0.005 < min(cost(0.1), cost(-0.1))
    # E |z1 - z0 - E[z1 - z0 | z_t]|^2 is the integral of 1 / (t^2 + (1-t)^2) in each dimension.
    assert cost(0.0) == pytest.approx(3 * math.pi / 2, rel=0.02)


def test_flow_matching_learns_a_mixture_and_its_density():
    def data(n):
        side = torch.randint(2, (n, 1)).float() * 2 - 1
        return side * torch.tensor([1.5, 1.0]) + 0.4 * torch.randn(n, 2)

    prior = FlowMatching((2,), 0, width=48, depth=2, steps=20)
    prior.init_from_data(data(2000))
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        prior().cost(data(256)).mean().backward()
        optimizer.step()
    truth = DiagonalMixture(
        torch.zeros(2), torch.tensor([[1.5, 1.0], [-1.5, -1.0]]), torch.full((2, 2), math.log(0.16))
    )
    z = data(1000)
    with torch.no_grad():
        kl = (truth.log_prob(z) - prior().log_prob(z)).mean()
        samples = prior().sample((1000,))
    assert -0.02 < kl < 0.1
    assert truth.log_prob(samples).mean() > truth.log_prob(z).mean() - 0.3


def test_gmm_equals_that_of_scikit_learn():
    z = torch.cat([torch.randn(150, 2, 2), 4 + 0.5 * torch.randn(150, 2, 2)])
    prior = GaussianMixture((2, 2), n_components=2).double()
    torch.manual_seed(5)
    prior.fit(z)
    flat = z.flatten(1).double()
    mean, std = flat.mean(0), flat.std(0, correction=0)
    scaled = ((flat - mean) / std).numpy()
    # For two distant clusters, EM converges to the same mixture from any start.
    reference = sklearn_mixture.GaussianMixture(2, random_state=0).fit(scaled)
    expected = torch.from_numpy(reference.score_samples(scaled)) - std.log().sum()
    torch.testing.assert_close(prior().log_prob(z.double()), expected, atol=1e-4, rtol=0)
    assert isinstance(prior(), FullMixture)


def test_gmm_depends_on_the_seed():
    z = torch.randn(200, 3)

    def log_prob(seed):
        prior = GaussianMixture((3,), n_components=4)
        torch.manual_seed(seed)
        prior.fit(z)
        return prior().log_prob(z)

    assert (log_prob(1) == log_prob(1)).all()
    assert (log_prob(1) != log_prob(2)).any()


def test_fit_of_a_gmm_does_not_depend_on_the_scale():
    z = torch.randn(400, 3)
    results = []
    for scale in (1.0, 1e-3):
        prior = GaussianMixture((3,), n_components=3)
        torch.manual_seed(0)
        prior.fit(scale * z)
        results.append(prior().log_prob(scale * z).mean() + 3 * math.log(scale))
    assert results[0] == pytest.approx(results[1].item(), abs=1e-3)
