"""Flows against autograd's Jacobian, against their own inverse, and against quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from varied.distributions import GatedAffine
from varied.errors import VariedError
from varied.heads import Head
from varied.likelihoods import Gaussian as Likelihood
from varied.models import VAE
from varied.posteriors import IAF, Flow, Gaussian
from varied.posteriors.flows import KINDS
from varied.priors import StandardNormal
from varied.trace import ConditionalDistribution, Level

MAKERS = {
    "iaf": IAF,
    **{
        kind: lambda event, flow=kind, **settings: Flow(event, flow=kind, **settings)
        for kind in KINDS
    },
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def wild(make, event, gain=10, **settings):
    """Return a posterior in float64 that is far from its calm start, and what a net put out."""
    head = make(event, **{"width": 16, "n_transforms": 3} | settings).double()
    with torch.no_grad():
        for step in head.steps:
            step.hyper[-1].weight.mul_(gain)
            step.hyper[-1].bias.normal_(0, gain / 20)
    return head, torch.randn(1, *head.param_shape).double() * 0.7


@makers
@pytest.mark.parametrize("event", [(1,), (4,), (2, 2, 1)], ids=str)
def test_log_determinant_is_that_of_autograd(make, event):
    head, h = wild(make, event)
    q = head(h)
    start = q.base.rsample()[0]
    log_det = q.map.call_and_ladj(start[None])[1]
    slope = jacobian(lambda s: q.map(s[None])[0], start)
    wanted = torch.linalg.slogdet(slope).logabsdet
    torch.testing.assert_close(log_det[0], wanted, atol=1e-9, rtol=1e-9)
    assert wanted.abs() > 0.05  # not near the identity, where all would agree


@makers
@pytest.mark.parametrize("event", [(1,), (5,), (2, 2, 2)], ids=str)
def test_density_of_own_draws_is_that_through_the_inverse(make, event):
    head, h = wild(make, event)
    q = head(torch.cat([h, -h]))
    z = q.rsample((3,))
    known = q.log_prob(z)
    assert known is q.log_prob(z)
    torch.testing.assert_close(known, q.log_prob(z.clone()), atol=1e-9, rtol=1e-9)
    other = head(torch.cat([h, -h])).rsample((3,))
    assert not torch.allclose(q.log_prob(other), known)


@makers
def test_density_of_own_draws_has_the_gradient_of_that_through_the_inverse(make):
    head, h = wild(make, (3,))
    found = []
    for clone in (False, True):
        torch.manual_seed(1)
        raw = h.clone().requires_grad_()
        q = head(raw)
        z = q.rsample((4,))
        loss = q.log_prob(z.clone() if clone else z).sum()
        found.append(torch.autograd.grad(loss, (raw, *head.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-8)


@makers
def test_density_at_a_copy_has_a_slope_in_the_value(make):
    head, h = wild(make, (3,))
    q = head(h)
    z = q.sample((4,))
    with torch.no_grad():
        step = 1e-6 * torch.eye(3).double()
        wanted = torch.stack([q.log_prob(z + s) - q.log_prob(z - s) for s in step], -1) / 2e-6
    copy = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(q.log_prob(copy).sum(), copy)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_what_it_remembers_is_its_last_draw_alone():
    head, h = wild(IAF, (3,))
    q = head(h)
    first, second = q.rsample(), q.rsample()
    assert (q.log_prob(first) - q.log_prob(second)).abs() > 1e-6
    torch.testing.assert_close(q.log_prob(first), head(h).log_prob(first))


@makers
@pytest.mark.parametrize("dims", [1, 2])
def test_density_adds_up_to_one(make, dims):
    head, h = wild(make, (dims,), gain=10 if dims == 1 else 5)
    q = head(h)
    draws = q.sample((10_000,))[:, 0]
    low, high = draws.amin(0) - 0.5, draws.amax(0) + 0.5
    count = 8001 if dims == 1 else 160
    lines = [
        torch.linspace(a, b, count, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    points = torch.cartesian_prod(*lines).reshape(-1, dims)
    with torch.no_grad():
        density = q.log_prob(points[:, None]).exp()
    area = math.prod(float(line[1] - line[0]) for line in lines)
    assert density.sum() * area == pytest.approx(1, abs=1e-5 if dims == 1 else 1e-3)


@makers
def test_draws_are_those_of_the_density(make):
    head, h = wild(make, (1,))
    q = head(h)
    with torch.no_grad():
        draws = q.rsample((40_000,))[:, 0, 0].sort().values
        line = torch.linspace(draws[0] - 2, draws[-1] + 2, 20_001, dtype=torch.float64)
        below = q.log_prob(line[:, None, None])[:, 0].exp().cumsum(0) * (line[1] - line[0])
    share = (torch.searchsorted(draws, line) / len(draws)).double()
    # Kolmogorov's distance; 1.95 is passed once in a thousand.
    assert (share - below).abs().max() * math.sqrt(len(draws)) < 1.95


@makers
def test_starts_as_a_normal_distribution(make):
    head = make((6,))
    with torch.no_grad():
        q = head(torch.zeros(1, *head.param_shape))
        z = q.rsample((20_000,))[:, 0]
    kept = 0.9 ** len(head.steps) if isinstance(head, IAF) else 1.0
    torch.testing.assert_close(z.mean(0), torch.zeros(6), atol=0.1, rtol=0)
    torch.testing.assert_close(z.std(0), torch.full((6,), kept), atol=0.1, rtol=0)
    skew = ((z - z.mean(0)) / z.std(0)).pow(3).mean(0)
    assert skew.abs().max() < 0.15


@makers
def test_with_steps_that_do_nothing_it_is_the_gaussian_posterior(make):
    head = make((3,)).double()
    with torch.no_grad():
        for step in head.steps:
            step.hyper[-1].weight.zero_()
        h = torch.randn(2, 9).double()
        # A gate that does nothing keeps nine tenths.
        kept = 0.9 ** len(head.steps) if isinstance(head, IAF) else 1.0
        z = torch.randn(4, 2, 3).double()
        plain = Gaussian((3,))(h[:, :6])
        normal = plain.log_prob(z)
        found = head(h).log_prob(torch.lerp(plain.mean, z, kept)) + 3 * math.log(kept)
    torch.testing.assert_close(found, normal, atol=1e-9, rtol=1e-9)


@makers
def test_dimensions_come_to_depend_on_each_other(make):
    head, h = wild(make, (4,))
    q = head(h)
    slope = jacobian(lambda s: q.map(s[None])[0], q.base.mean[0])
    off = slope - slope.diag().diag()
    assert (off.abs().sum(0) > 1e-3).sum() >= 3
    assert (off.abs().sum(1) > 1e-3).sum() >= 3


@makers
def test_learns_what_no_normal_distribution_of_apart_dimensions_can(make):
    rho = 0.9
    wanted = MultivariateNormal(torch.zeros(2), torch.tensor([[1, rho], [rho, 1]]))
    torch.manual_seed(0)
    head = make((2,), width=16)
    raw = torch.zeros(1, *head.param_shape, requires_grad=True)
    steps = torch.optim.Adam([raw, *head.parameters()], lr=1e-2)

    def rate(draws):
        q = head(raw)
        z = q.rsample((draws,))
        return (q.log_prob(z) - wanted.log_prob(z)).mean()

    for _ in range(200):
        steps.zero_grad()
        rate(64).backward()
        steps.step()
    apart = -0.5 * math.log(1 - rho**2)  # the least KL of a diagonal one, 0.83 nats
    with torch.no_grad():
        assert rate(4000) < 0.1 * apart


@makers
def test_context_of_the_encoder_reaches_every_step(make):
    head = make((3,), width=8)
    h = torch.randn(2, *head.param_shape)
    h[:, -3:].requires_grad_()
    other = h.clone()
    other[:, -3:] += 1
    torch.manual_seed(0)
    one = head(h).rsample()
    torch.manual_seed(0)
    assert (head(other).rsample() - one).abs().amin() > 0


def test_steps_see_what_came_before_alone_and_turn_round():
    head, h = wild(IAF, (5,), n_transforms=2)
    maps = head(h).map.transforms
    slopes = [jacobian(lambda s, m=m: m(s[None])[0], torch.randn(5).double()) for m in maps]
    assert (slopes[0].triu(1) == 0).all() and (slopes[0].tril(-1) != 0).any()
    assert (slopes[1].tril(-1) == 0).all() and (slopes[1].triu(1) != 0).any()


def test_mean_is_where_the_mean_of_the_base_goes():
    head, h = wild(IAF, (3,))
    q = head(h)
    assert torch.equal(q.mean, q.map(q.base.mean))
    assert torch.equal(q.variance, q.variance)


# The gate


def test_gate_is_the_mean_of_two_numbers_and_undoes_itself():
    x, m, h = torch.randn(3, 50).double()
    gate = GatedAffine(m, 3 * h)
    share = torch.sigmoid(math.log(9) + 5 * torch.tanh(3 * h / 5))
    torch.testing.assert_close(gate(x), share * x + (1 - share) * m)
    torch.testing.assert_close(gate.inv(gate(x)), x, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(gate.log_abs_det_jacobian(x, gate(x)), share.log())


def test_gate_starts_at_nine_tenths_and_is_never_shut():
    zero = torch.zeros(1)
    torch.testing.assert_close(GatedAffine(zero, zero)(torch.ones(1)), torch.tensor([0.9]))
    shut = GatedAffine(zero, torch.tensor([-1e6]))
    assert shut(torch.ones(1)) > 0.05
    torch.testing.assert_close(shut.inv(shut(torch.ones(1))), torch.ones(1))


# In a model


class Fixed(torch.nn.Module):
    """A net that puts out the same numbers for every input."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, b):
        return self.value.expand(len(b), *self.value.shape)


class Curve(torch.nn.Module):
    """A decoder of two latents to one number."""

    def forward(self, z):
        return z[:, :1].sin() + z[:, 1:].square()


def toy(head: Head, h) -> VAE:
    encoder = ConditionalDistribution(Fixed(h[0]), head, (1,))
    decoder = ConditionalDistribution(Curve(), Likelihood((1,), scale=0.7), (2,))
    return VAE(encoder, decoder, StandardNormal((2,))).double()


@makers
def test_importance_weights_average_to_the_evidence(make):
    head, h = wild(make, (2,), gain=3)
    with torch.no_grad():
        # An encoder narrower than the truth has weights without a variance.
        h[:, :2], h[:, 2:4] = 0, 1.5
        model = toy(head, h)
        x = torch.tensor([[0.8]]).double()
        line = torch.linspace(-8, 8, 401, dtype=torch.float64)
        z = torch.cartesian_prod(line, line)
        joint = model.decoder(z[:, None]).log_prob(x) + model.prior().log_prob(z[:, None])
        evidence = joint.logsumexp(0) + 2 * math.log(16 / 400)
        trace = model(x, samples=20_000)
        weights = (trace.log_weight - evidence).exp()
    error = weights.std() / math.sqrt(len(weights))
    assert error < 0.05
    assert (weights.mean() - 1).abs() < 4 * error


@makers
def test_rate_is_the_mean_log_ratio_by_quadrature(make):
    head, h = wild(make, (1,))
    q, p = head(h), StandardNormal((1,)).double()()
    with torch.no_grad():
        level = Level(q.rsample((20_000,)), q, p)
        line = torch.linspace(-25, 25, 40_001, dtype=torch.float64)[:, None, None]
        log_q = q.log_prob(line)
        exact = (log_q.exp() * (log_q - p.log_prob(line))).sum() * (50 / 40_000)
    error = level.kl.std() / math.sqrt(20_000)
    assert level.kl.shape == (20_000, 1)
    assert (level.kl.mean() - exact).abs() < 4 * error


# Refusals


def test_bad_settings_are_refused():
    for settings, match in (
        ({"n_transforms": 0}, "at least 1"),
        ({"width": 0}, "at least 1"),
        ({"flow": "splines"}, "kind of flow"),
        ({"bins": 1}, "at least 2"),
    ):
        with pytest.raises(VariedError, match=match):
            Flow((3,), **settings)
    with pytest.raises(VariedError, match="at least 1"):
        IAF((3,), n_transforms=0)
