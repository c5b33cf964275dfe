"""Conditional distributions handle shapes and precision; a trace computes the terms of the ELBO."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Laplace

from varied import likelihoods, posteriors
from varied.composition import compose
from varied.distributions import Gaussian
from varied.models import VAE
from varied.nets import NETS, with_context
from varied.priors import StandardNormal
from varied.spec import Spec
from varied.trace import ConditionalDistribution, Level, Trace

CONTEXT = 3
SHAPE = (2, 6, 5)

#: All networks except that of sequences; see test_conv1d.py.
all_nets = pytest.mark.parametrize("name", [name for name in NETS if name != "conv1d"])


def build_encoder(name, context=0, inputs=SHAPE, latent=4):
    head = posteriors.Gaussian((latent,))
    build = partial(NETS[name], outputs=head.param_shape, width=8)
    return ConditionalDistribution(with_context(build, inputs, context), head, inputs)


def build_vae(likelihood="bernoulli", context=0):
    net = {"name": "mlp", "width": 16}
    return compose(Spec.parse(net=net, likelihood=likelihood, latent=4, context=context), SHAPE)[0]


def binary(*shape):
    return torch.rand(shape).round()


# ConditionalDistribution


@all_nets
@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_leading_dimensions_match_a_loop_over_rows(name, context, lead):
    encoder = build_encoder(name, context).double()
    b = torch.randn(*lead, *SHAPE).double()
    c = torch.randn(*lead[-1:], context).double() if context else None
    q = encoder(b, c)
    assert q.batch_shape == lead
    rows = b.reshape(-1, 1, *SHAPE)
    contexts = [None] * len(rows) if c is None else c.expand(*lead, -1).reshape(-1, 1, context)
    means = [encoder(*row).mean for row in zip(rows, contexts, strict=True)]
    torch.testing.assert_close(q.mean.reshape(-1, 4), torch.cat(means), atol=1e-9, rtol=1e-9)


@all_nets
def test_context_changes_the_distribution(name):
    encoder = build_encoder(name, CONTEXT)
    b = torch.randn(2, *SHAPE)
    zeros, ones = (encoder(b, torch.full((2, CONTEXT), value)).mean for value in (0.0, 1.0))
    assert not torch.equal(zeros, ones)


@all_nets
def test_network_runs_in_the_set_precision_and_the_head_in_float32(name):
    encoder = build_encoder(name)
    b = torch.randn(2, 3, *SHAPE)
    exact = encoder(b)
    encoder.precision = torch.bfloat16
    rounded = encoder(b)
    assert rounded.mean.dtype == torch.float32
    assert rounded.log_prob(torch.zeros(4)).dtype == torch.float32
    torch.testing.assert_close(rounded.mean, exact.mean, atol=0.05, rtol=0.05)
    assert not torch.equal(rounded.mean, exact.mean)
    rounded.rsample().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in encoder.parameters())


def test_network_in_float64_gives_a_distribution_in_float64():
    encoder = build_encoder("mlp").double()
    assert encoder(torch.randn(2, *SHAPE).double()).mean.dtype == torch.float64


def test_head_runs_in_float32_under_an_outer_autocast():
    encoder = build_encoder("mlp")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(torch.randn(2, *SHAPE)).mean.dtype == torch.float32


# Level


@pytest.mark.parametrize("samples", [1, 7])
def test_kl_has_a_value_for_each_sample_and_example(samples):
    trace = build_vae()(binary(5, *SHAPE), samples=samples)
    level = trace.levels[0]
    assert level.z.shape == (samples, 5, 4)
    assert level.kl.shape == level.log_ratio.shape == (samples, 5)
    assert level.kl_per_element.shape == (5, 4)
    torch.testing.assert_close(level.kl_per_element.sum(-1), level.kl[0])


def test_kl_without_a_closed_form_is_a_monte_carlo_estimate():
    q = Independent(Laplace(torch.zeros(5, 2), torch.ones(5, 2)), 1)
    p = StandardNormal((2,))()
    level = Level(q.rsample((100_000,)), q, p)
    assert torch.equal(level.kl, -level.log_ratio)
    # KL(Laplace(0, 1) ‖ N(0, 1)) = log(2 pi) / 2 + 1 - 1 - log 2 for each of two dimensions.
    exact = 2 * (math.log(2 * math.pi) / 2 - math.log(2))
    error = level.kl.std() / math.sqrt(level.kl.numel())
    assert (level.kl.mean() - exact).abs() < 4 * error


# Trace


def test_log_weight_is_the_sum_of_its_terms():
    trace = build_vae()(binary(5, *SHAPE), samples=3)
    level = trace.levels[0]
    expected = trace.px.log_prob(trace.x) + level.p.log_prob(level.z) - level.q.log_prob(level.z)
    torch.testing.assert_close(trace.log_weight, expected)
    assert trace.log_weight.shape == trace.log_px.shape == (3, 5)


def test_log_weight_sums_over_levels():
    trace = build_vae()(binary(5, *SHAPE), samples=2)
    ladder = Trace(trace.x, trace.px, trace.levels * 2)
    torch.testing.assert_close(ladder.log_weight, trace.log_px + 2 * trace.levels[0].log_ratio)


def test_expectation_is_a_mean_or_a_weighted_sum():
    trace = build_vae()(binary(5, *SHAPE), samples=3)
    value = torch.randn(3, 5)
    torch.testing.assert_close(trace.expect(value), value.mean(0))
    trace.weights = torch.full((3, 5), 1 / 3)
    torch.testing.assert_close(trace.expect(value), value.mean(0))
    trace.weights = torch.eye(3)[:, [0, 1, 2, 0, 1]]
    torch.testing.assert_close(trace.expect(value), value[[0, 1, 2, 0, 1], range(5)])


# Masks


def gray_levels(*shape):
    return torch.randint(256, shape) / 255


DATA = {
    "bernoulli": binary,
    "continuous-bernoulli": torch.rand,
    "gaussian": torch.randn,
    "laplace": torch.randn,
    "discretized-logistic": gray_levels,
    "discretized-logistic-mixture": gray_levels,
    "categorical": gray_levels,
}
all_likelihoods = pytest.mark.parametrize(("name", "random_data"), DATA.items(), ids=DATA)


def forward(model, x, mask):
    torch.manual_seed(1)
    return model(x, mask=mask, samples=2)


@all_likelihoods
def test_mask_of_ones_changes_nothing(name, random_data):
    model, x = build_vae(name), random_data(5, *SHAPE)
    with_mask, without = (forward(model, x, mask).log_px for mask in (torch.ones_like(x), None))
    torch.testing.assert_close(with_mask, without)


@all_likelihoods
@pytest.mark.parametrize("filler", [1.0, math.nan, math.inf, -1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_missing_values_do_not_change_the_trace(name, random_data, filler, dtype):
    model = build_vae(name)
    x, mask = random_data(5, *SHAPE), torch.rand(5, *SHAPE).round().to(dtype)
    first, second = (forward(model, x.masked_fill(mask == 0, f), mask) for f in (0.0, filler))
    assert torch.equal(first.log_px, second.log_px)
    assert torch.equal(first.levels[0].kl, second.levels[0].kl)
    assert second.log_weight.isfinite().all()


@all_likelihoods
def test_missing_elements_have_no_gradient(name, random_data):
    head = build_vae(name).decoder.head
    mask = torch.zeros(5, *SHAPE)
    mask[:, :, :3] = 1
    h = torch.randn(1, 5, *head.param_shape, requires_grad=True)
    Trace(random_data(5, *SHAPE), head(h), [], mask).log_px.sum().backward()
    assert (h.grad[..., 3:, :] == 0).all()
    assert (h.grad[..., :3, :] != 0).any()


def test_gradient_is_finite_if_missing_values_are_nan():
    model = build_vae("gaussian")
    x, mask = torch.randn(5, *SHAPE), torch.rand(5, *SHAPE).round()
    model(x.masked_fill(mask == 0, math.nan), mask=mask).log_weight.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_example_without_observed_elements_has_log_px_zero():
    trace = build_vae()(binary(2, *SHAPE), mask=torch.zeros(2, *SHAPE))
    assert (trace.log_px == 0).all()


def test_log_probability_decreases_with_every_observed_element():
    model, x = build_vae("bernoulli"), binary(5, *SHAPE)
    mask = torch.zeros_like(x)
    mask[..., :2] = 1
    px = forward(model, x, None).px
    assert (Trace(x, px, [], mask).log_px >= Trace(x, px, []).log_px).all()


# VAE


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "categorical"])
def test_samples_have_the_shape_of_the_data(name, context):
    model = build_vae(name, context)
    c = torch.randn(7, context) if context else None
    assert model.sample_prior(7, c).shape == (7, 4)
    assert model.sample(7, c).shape == (7, *SHAPE)


def test_temperature_scales_the_deviation_from_the_mean():
    model = build_vae()
    samples = []
    for temperature in (1.0, 0.5, 0.0):
        torch.manual_seed(2)
        samples.append(model.sample_prior(6, temperature=temperature))
    torch.testing.assert_close(samples[1], samples[0] / 2)
    assert (samples[2] == 0).all()


def test_vae_with_latent_feature_maps():
    latent = (2, 3, 3)
    posterior, likelihood = posteriors.Gaussian(latent), likelihoods.Bernoulli(SHAPE)
    encoder = ConditionalDistribution(
        NETS["mlp"](SHAPE, posterior.param_shape, width=8), posterior, SHAPE
    )
    decoder = ConditionalDistribution(
        NETS["mlp"](latent, likelihood.param_shape, width=8), likelihood, latent
    )
    trace = VAE(encoder, decoder, StandardNormal(latent))(binary(5, *SHAPE), samples=2)
    assert trace.levels[0].z.shape == (2, 5, *latent)
    assert trace.log_weight.shape == (2, 5)
    assert trace.levels[0].kl_per_element.shape == (5, *latent)


def test_prior_may_depend_on_the_context():
    class ContextPrior(nn.Module):
        provides = frozenset({"density", "marginals"})

        def forward(self, c=None):
            mean = c[:, :1].expand(-1, 4)
            return Independent(Gaussian(mean, torch.zeros_like(mean)), 1)

    vae = build_vae(context=CONTEXT)
    model = VAE(vae.encoder, vae.decoder, ContextPrior())
    c = torch.randn(5, CONTEXT)
    trace = model(binary(5, *SHAPE), c, samples=3)
    assert trace.levels[0].kl.shape == trace.levels[0].log_ratio.shape == (3, 5)
    assert model.sample_prior(5, c).shape == (5, 4)
