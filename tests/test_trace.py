"""One pass leaves a trace; Given does leading dimensions, context and precision for all nets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace

from varied import likelihoods, posteriors
from varied.distributions import Gaussian
from varied.models import VAE
from varied.nets import NETS, with_context
from varied.priors import StandardNormal
from varied.spec import Spec, compose
from varied.trace import ConditionalDistribution, Level, Trace

CONTEXT = 3
SHAPE = (2, 6, 5)


def given(name, context=0, inputs=SHAPE, latent=4):
    head = posteriors.Gaussian((latent,))
    small = {"width": 8}
    net = with_context(lambda shape: NETS[name](shape, head.param_shape, **small), inputs, context)
    return ConditionalDistribution(net, head, inputs)


def vae(likelihood="bernoulli", context=0, shape=SHAPE, **others):
    spec = Spec.of(
        net={"name": "mlp", "width": 16}, likelihood=likelihood, latent=4, context=context, **others
    )
    return compose(spec, shape)[0]


def binary(*shape):
    return torch.rand(shape).round()


# Given


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_leading_dimensions_are_as_a_loop_over_rows(name, context, lead):
    encoder = given(name, context).double()
    b = torch.randn(*lead, *SHAPE).double()
    c = torch.randn(*lead[-1:], context).double() if context else None
    q = encoder(b, c)
    assert q.batch_shape == lead
    flat = b.reshape(-1, *SHAPE)
    spread = None if c is None else c.expand(*lead, context).reshape(len(flat), context)
    alone = [
        encoder(flat[i : i + 1], None if spread is None else spread[i : i + 1]).mean
        for i in range(len(flat))
    ]
    torch.testing.assert_close(q.mean.reshape(-1, 4), torch.cat(alone), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_context_changes_the_answer(name):
    encoder = given(name, CONTEXT)
    b = torch.randn(2, *SHAPE)
    assert not torch.equal(
        encoder(b, torch.zeros(2, CONTEXT)).mean, encoder(b, torch.ones(2, CONTEXT)).mean
    )


@pytest.mark.parametrize("name", NETS)
def test_half_precision_runs_and_the_head_gets_float32(name):
    encoder = given(name)
    b = torch.randn(2, 3, *SHAPE)
    exact = encoder(b)
    encoder.precision = torch.bfloat16
    rough = encoder(b)
    assert rough.mean.dtype == torch.float32
    assert rough.log_prob(torch.zeros(4)).dtype == torch.float32
    torch.testing.assert_close(rough.mean, exact.mean, atol=0.05, rtol=0.05)
    assert not torch.equal(rough.mean, exact.mean)
    rough.rsample().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in encoder.parameters())


def test_float64_stays_float64():
    assert given("mlp").double()(torch.randn(2, *SHAPE).double()).mean.dtype == torch.float64


def test_a_head_computes_in_float32_under_the_autocast_of_another():
    encoder = given("mlp")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = encoder(torch.randn(2, *SHAPE))
        assert q.mean.dtype == torch.float32


# Level


@pytest.mark.parametrize("samples", [1, 7])
def test_kl_is_for_each_sample_and_row(samples):
    trace = vae()(binary(5, *SHAPE), samples=samples)
    level = trace.levels[0]
    assert level.z.shape == (samples, 5, 4)
    assert level.kl.shape == level.log_ratio.shape == (samples, 5)
    assert level.kl_per_element.shape == (5, 4)
    torch.testing.assert_close(level.kl_per_element.sum(-1), level.kl[0])


def test_without_a_closed_form_the_kl_is_that_of_the_draws():
    q = Independent(Laplace(torch.zeros(5, 2), torch.ones(5, 2)), 1)
    p = StandardNormal((2,))()
    z = q.rsample((100_000,))
    level = Level(z, q, p)
    assert torch.equal(level.kl, -level.log_ratio)
    # KL(Laplace(0, 1), N(0, 1)) = log(2 pi) / 2 + 1 - 1 - log 2, for each of two dimensions.
    exact = 2 * (math.log(2 * math.pi) / 2 - math.log(2))
    error = level.kl.std() / math.sqrt(level.kl.numel())
    assert (level.kl.mean() - exact).abs() < 4 * error


# Trace


def test_log_w_is_the_sum_of_its_parts():
    trace = vae()(binary(5, *SHAPE), samples=3)
    level = trace.levels[0]
    wanted = trace.px.log_prob(trace.x) + level.p.log_prob(level.z) - level.q.log_prob(level.z)
    torch.testing.assert_close(trace.log_weight, wanted)
    assert trace.log_weight.shape == trace.log_px.shape == (3, 5)


def test_log_w_adds_up_the_rungs_of_a_ladder():
    trace = vae()(binary(5, *SHAPE), samples=2)
    ladder = Trace(trace.x, trace.px, trace.levels * 2)
    torch.testing.assert_close(ladder.log_weight, trace.log_px + 2 * trace.levels[0].log_ratio)


def test_expectation_is_a_mean_or_a_weighted_sum():
    trace = vae()(binary(5, *SHAPE), samples=3)
    value = torch.randn(3, 5)
    torch.testing.assert_close(trace.expect(value), value.mean(0))
    trace.weights = torch.full((3, 5), 1 / 3)
    torch.testing.assert_close(trace.expect(value), value.mean(0))
    trace.weights = torch.eye(3)[:, [0, 1, 2, 0, 1]]
    torch.testing.assert_close(trace.expect(value), value[[0, 1, 2, 0, 1], range(5)])


# Masks

MASKED = {
    "bernoulli": binary,
    "continuous-bernoulli": torch.rand,
    "gaussian": torch.randn,
    "laplace": torch.randn,
    "discretized-logistic": lambda *shape: torch.randint(256, shape) / 255,
    "discretized-logistic-mixture": lambda *shape: torch.randint(256, shape) / 255,
    "categorical": lambda *shape: torch.randint(256, shape) / 255,
}
masked = pytest.mark.parametrize(("name", "draw"), MASKED.items(), ids=MASKED)


def passed(model, x, mask):
    torch.manual_seed(1)
    return model(x, mask=mask, samples=2)


@masked
def test_a_mask_of_ones_is_no_mask(name, draw):
    model = vae(name)
    x = draw(5, *SHAPE)
    torch.testing.assert_close(
        passed(model, x, torch.ones_like(x)).log_px, passed(model, x, None).log_px
    )


@masked
@pytest.mark.parametrize("filler", [1.0, math.nan, math.inf, -1e30])
@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_what_is_missing_changes_nothing(name, draw, filler, kind):
    model = vae(name)
    x, mask = draw(5, *SHAPE), torch.rand(5, *SHAPE).round().to(kind)
    traces = [passed(model, x.masked_fill(mask == 0, fill), mask) for fill in (0.0, filler)]
    assert torch.equal(traces[0].log_px, traces[1].log_px)
    assert torch.equal(traces[0].levels[0].kl, traces[1].levels[0].kl)
    assert traces[1].log_weight.isfinite().all()


@masked
def test_no_gradient_through_what_is_missing(name, draw):
    decoded = vae(name).decoder
    mask = torch.zeros(5, *SHAPE)
    mask[:, :, :3] = 1
    h = torch.randn(1, 5, *decoded.head.param_shape, requires_grad=True)
    Trace(draw(5, *SHAPE), decoded.head(h), [], mask).log_px.sum().backward()
    assert (h.grad[..., 3:, :] == 0).all()
    assert (h.grad[..., :3, :] != 0).any()


def test_gradient_with_missing_nan_is_finite():
    model = vae("gaussian")
    x, mask = torch.randn(5, *SHAPE), torch.rand(5, *SHAPE).round()
    model(x.masked_fill(mask == 0, math.nan), mask=mask).log_weight.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_an_all_missing_row_has_no_distortion():
    trace = vae()(binary(2, *SHAPE), mask=torch.zeros(2, *SHAPE))
    assert (trace.log_px == 0).all()


def test_observing_more_adds_nats_for_a_probability():
    model, x = vae("bernoulli"), binary(5, *SHAPE)
    half = torch.zeros_like(x)
    half[..., :2] = 1
    px = passed(model, x, None).px
    assert (Trace(x, px, [], half).log_px >= Trace(x, px, []).log_px).all()


# The model


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "categorical"])
def test_new_data_have_the_shape_of_data(name, context):
    model = vae(name, context)
    c = torch.randn(7, context) if context else None
    assert model.sample_prior(7, c).shape == (7, 4)
    assert model.sample(7, c).shape == (7, *SHAPE)


def test_temperature_scales_the_deviation_from_the_mean():
    model = vae()
    drawn = []
    for temperature in (1.0, 0.5, 0.0):
        torch.manual_seed(2)
        drawn.append(model.sample_prior(6, temperature=temperature))
    torch.testing.assert_close(drawn[1], drawn[0] / 2)
    assert (drawn[2] == 0).all()


def test_a_vae_of_any_latent_shape():
    encoder = ConditionalDistribution(
        NETS["mlp"](SHAPE, (4, 3, 3), width=8), posteriors.Gaussian((2, 3, 3)), SHAPE
    )
    head = likelihoods.Bernoulli(SHAPE)
    decoder = ConditionalDistribution(
        NETS["mlp"]((2, 3, 3), head.param_shape, width=8), head, (2, 3, 3)
    )
    trace = VAE(encoder, decoder, StandardNormal((2, 3, 3)))(binary(5, *SHAPE), samples=2)
    assert trace.levels[0].z.shape == (2, 5, 2, 3, 3)
    assert trace.log_weight.shape == (2, 5)
    assert trace.levels[0].kl_per_element.shape == (5, 2, 3, 3)


def test_the_prior_may_look_at_the_context():
    class ByContext(nn.Module):
        provides = frozenset({"density", "marginals"})

        def forward(self, c=None):
            mean = c[:, :1].expand(-1, 4)
            return Independent(Gaussian(mean, torch.zeros_like(mean)), 1)

    plain = vae(context=CONTEXT)
    model = VAE(plain.encoder, plain.decoder, ByContext())
    c = torch.randn(5, CONTEXT)
    trace = model(binary(5, *SHAPE), c, samples=3)
    assert trace.levels[0].kl.shape == trace.levels[0].log_ratio.shape == (3, 5)
    assert model.sample_prior(5, c).shape == (5, 4)
