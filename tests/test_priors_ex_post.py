"""Priors that are fitted after the model: a velocity from noise to latents, and full Gaussians."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from sklearn import mixture as sklearn_mixture
from torch import distributions as td
from torch.autograd import gradcheck
from torch.distributions import Independent

from varied.distributions import Gaussian as Normal
from varied.distributions import analytic_kl
from varied.priors import FlowMatching, GaussianMixture
from varied.priors.mixtures import DiagonalMixture, FullMixture
from varied.priors.ode_flow import OdeFlow


def matching(event, context=0, **settings):
    """Return flow matching that is fitted, and not as it starts."""
    prior = FlowMatching(event, context, **{"width": 8, "depth": 1, "steps": 10} | settings)
    prior.init_from_data(1 + 1.5 * torch.randn(200, *event))
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.2 * torch.randn_like(param))
    return prior


@pytest.mark.parametrize("make", [partial(FlowMatching, context=0), GaussianMixture])
def test_before_it_is_fitted_a_later_prior_is_the_standard_normal(make):
    prior = make((2, 3))
    q = Independent(Normal(torch.randn(4, 2, 3), torch.randn(4, 2, 3)), 2)
    assert analytic_kl(q, prior()).shape == (4,)
    z = torch.randn(9, 2, 3)
    wanted = td.Normal(0, 1).log_prob(z).sum((1, 2))
    torch.testing.assert_close(prior().log_prob(z), wanted)
    other = make((2, 3))
    other.load_state_dict(prior.state_dict())
    assert not other.settled


def test_a_velocity_that_is_known_gives_the_density_that_is_known():
    rate = torch.tensor([0.7, -0.4, 0.2]).double()
    for size in (3, 120):  # the trace is exact, and estimated, which for a diagonal is exact too
        rates = rate.repeat(size // 3)
        p = OdeFlow(
            lambda z, t, rates=rates: rates * z,
            torch.full((size,), 2.0).double(),
            torch.full((size,), 3.0).double(),
            400,
        )
        z = p.sample((5,)).double()
        wanted = td.Normal(2.0, 3 * rates.exp()).log_prob(z).sum(1)
        torch.testing.assert_close(p.log_prob(z), wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(p.mean, torch.full((size,), 2.0).double())


def test_an_estimated_trace_is_right_on_average(monkeypatch):
    prior = matching((4,)).double()
    z = torch.randn(2, 4).double()
    exact = prior().log_prob(z)
    monkeypatch.setattr("varied.priors.ode_flow.EXACT", 3)
    many = prior().log_prob(z.expand(4000, 2, 4).contiguous())
    error = many.std(0) / math.sqrt(len(many))
    assert (error > 0).all()
    assert ((many.mean(0) - exact).abs() < 4 * error).all()


def test_density_of_what_was_carried_has_the_gradient_of_finite_differences():
    prior = matching((2,), 2, steps=3).double()
    p, z = prior(torch.randn(3, 2).double()), torch.randn(3, 2).double().requires_grad_()
    assert gradcheck(p.log_prob, (z,), atol=1e-6, rtol=1e-6)
    p.log_prob(z).sum().backward()
    assert all(
        param.grad.any() for name, param in prior.named_parameters() if "leave.b" not in name
    )


def test_flow_matching_starts_at_the_standard_normal_in_units_of_the_latents():
    prior = FlowMatching((5,), 0, width=64, steps=20)
    latents = 7 + 0.01 * torch.randn(4000, 5)
    prior.init_from_data(latents)
    wanted = td.Normal(latents.mean(0), latents.std(0))
    z = prior().sample((2000,))
    assert (z.mean(0) - 7).abs().max() < 0.002
    assert (z.std(0) / 0.01 - 1).abs().max() < 0.2
    off = prior().log_prob(latents[:50]) - wanted.log_prob(latents[:50]).sum(1)
    assert off.abs().mean() < 0.5


def test_latents_that_do_not_vary_are_no_trouble():
    z = torch.randn(50, 3)
    z[:, 1] = 4.0
    for prior in (FlowMatching((3,), 0, width=8), GaussianMixture((3,), n_components=2)):
        prior.fit(z) if hasattr(prior, "fit") else prior.init_from_data(z)
        assert prior().log_prob(z).isfinite().all()
        assert (prior().sample((9,))[:, 1] - 4).abs().max() < 0.1


def test_cost_of_flow_matching_is_least_at_the_velocity_that_carries_the_noise():
    def cost(change):
        torch.manual_seed(0)
        ideal = OdeFlow(
            lambda z, t: ((2 * t - 1) / (t**2 + (1 - t) ** 2) + change) * z,
            torch.zeros(3),
            torch.ones(3),
            10,
        )
        return ideal.cost(torch.randn(40_000, 3)).mean()

    assert cost(0.0) + 0.005 < min(cost(0.1), cost(-0.1))
    # E |z1 - z0 - E[z1 - z0 given z_t]|^2 for normal ends is the integral of 1 / (t^2 + (1-t)^2).
    assert cost(0.0) == pytest.approx(3 * math.pi / 2, rel=0.02)


def test_flow_matching_learns_two_heaps_and_its_density_says_so():
    def heaps(n):
        side = torch.randint(2, (n, 1)).float() * 2 - 1
        return side * torch.tensor([1.5, 1.0]) + 0.4 * torch.randn(n, 2), side

    prior = FlowMatching((2,), 0, width=48, depth=2, steps=20)
    prior.init_from_data(heaps(2000)[0])
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        prior().cost(heaps(256)[0]).mean().backward()
        optimizer.step()
    truth = DiagonalMixture(
        torch.zeros(2), torch.tensor([[1.5, 1.0], [-1.5, -1.0]]), torch.full((2, 2), math.log(0.16))
    )
    z = heaps(1000)[0]
    with torch.no_grad():
        gap = (truth.log_prob(z) - prior().log_prob(z)).mean()
        drawn = prior().sample((1000,))
    assert -0.02 < gap < 0.1
    assert truth.log_prob(drawn).mean() > truth.log_prob(z).mean() - 0.3


def test_gmm_is_the_mixture_that_was_fitted():
    z = torch.cat([torch.randn(150, 2, 2), 4 + 0.5 * torch.randn(150, 2, 2)])
    prior = GaussianMixture((2, 2), n_components=2).double()
    torch.manual_seed(5)
    prior.fit(z)
    flat = z.flatten(1).double()
    scaled = (flat - flat.mean(0)) / flat.std(0, correction=0)
    # Two heaps far apart: any start of EM ends at the same mixture.
    sklearn = sklearn_mixture.GaussianMixture(2, random_state=0).fit(scaled.numpy())
    wanted = torch.from_numpy(sklearn.score_samples(scaled.numpy()))
    wanted -= flat.std(0, correction=0).log().sum()
    torch.testing.assert_close(prior().log_prob(z.double()), wanted, atol=1e-4, rtol=0)
    assert isinstance(prior(), FullMixture)


def test_gmm_follows_from_the_seed():
    z = torch.randn(200, 3)

    def fitted(seed):
        prior = GaussianMixture((3,), n_components=4)
        torch.manual_seed(seed)
        prior.fit(z)
        return prior().log_prob(z)

    assert (fitted(1) == fitted(1)).all()
    assert (fitted(1) != fitted(2)).any()


def test_a_narrow_gmm_is_fitted_as_well_as_a_wide_one():
    z = torch.randn(400, 3)
    found = []
    for scale in (1.0, 1e-3):
        prior = GaussianMixture((3,), n_components=3)
        torch.manual_seed(0)
        prior.fit(scale * z)
        found.append(prior().log_prob(scale * z).mean() + 3 * math.log(scale))
    assert found[0] == pytest.approx(found[1].item(), abs=1e-3)
