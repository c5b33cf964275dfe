"""Image discriminators: their inputs, their adaptive weights and their schedule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent

from varied.composition import compose
from varied.discriminators import (
    FeatureMatching,
    ImageDiscriminatorSettings,
    PatchGAN,
    apply_frozen,
)
from varied.discriminators.adaptive_weight import AdaptiveThrottle, parameters_of
from varied.discriminators.image import R1_INTERVAL, visible_sample
from varied.discriminators.patchgan import PatchDiscriminator
from varied.distributions import Gaussian
from varied.errors import VariedError
from varied.spec import Spec
from varied.terms import reconstruction
from varied.trace import Level, Trace

SHAPE = (1, 8, 9)


def image_trace(mean, x, scale=0.1):
    """Return a trace with these means of reconstructions, with shape (K, B, *event)."""
    px = Independent(Gaussian(mean, torch.full_like(mean, 2 * math.log(scale))), 3)
    zero = torch.zeros(len(mean), len(x), 2)
    p = Independent(Gaussian(zero, zero), 1)
    return Trace(x, px, [Level(zero, p, p)])


def random_images(needs_gradient=True):
    """Return data, and means of reconstructions with one draw."""
    return torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE, requires_grad=needs_gradient)


def image_model():
    return compose(Spec.parse(net={"name": "mlp", "width": 4}, latent=2), SHAPE)[0]


def patchgan(feature_weight=0.0, **settings):
    """Return an attached term that starts at the first step unless the settings say otherwise."""
    term = PatchGAN(ImageDiscriminatorSettings(**({"start": 0.0} | settings)), feature_weight)
    term.attach(image_model())
    return term


def compose_small(name, **settings):
    spec = Spec.parse(
        net={"name": "conv", "width": 2, "dense_width": 8},
        latent=3,
        likelihood="gaussian",
        objective={"name": name, "disc_width": 8, "disc_depth": 1} | settings,
    )
    model, objective = compose(spec, SHAPE)
    objective.set_step(10**6, 1.0)
    return model, objective, torch.rand(6, *SHAPE)


# The input of the discriminator


def test_binary_images_are_samples_with_the_gradient_of_the_mean():
    logits = torch.randn(2, 5, *SHAPE, requires_grad=True)
    p = Independent(Bernoulli(logits=logits, validate_args=False), 3)
    images, weight = visible_sample(p), torch.randn(2, 5, *SHAPE)
    assert set(images.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    (gradient,) = torch.autograd.grad((weight * images).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((weight * logits.sigmoid()).sum(), logits)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("term", [PatchGAN(), FeatureMatching()])
def test_pixels_missing_in_the_data_are_zero_in_the_reconstructions(term):
    x, mean = random_images()
    trace = image_trace(mean, x)
    trace.mask = (torch.rand(4, *SHAPE) > 0.5).float()
    assert torch.equal(term.visible_pair(trace)[1][0], mean[0] * trace.mask)


# The network and its penalty


def test_logits_of_an_image_do_not_depend_on_the_batch():
    net, x = PatchDiscriminator((3, 16, 16), width=4).eval(), torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(net(x)[-1][2:3], net(x[2:3])[-1])


def test_spectral_norm_of_each_layer_is_one():
    net = PatchDiscriminator((1, 8, 8), width=4, depth=1)
    for layer in (net.downsampling[0].conv, net.hidden, net.out):
        for _ in range(50):
            matrix = layer.weight.flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1.0, abs=0.02)


class LinearDiscriminator(nn.Module):
    """A discriminator whose gradient is its weight."""

    def __init__(self):
        super().__init__()
        self.event_shape, self.weight = SHAPE, nn.Parameter(torch.randn(SHAPE))

    def forward(self, x):
        return [x, (x * self.weight).sum((1, 2, 3)).reshape(-1, 1, 1, 1)]


def test_r1_penalty_is_lazy():
    term = PatchGAN(ImageDiscriminatorSettings(r1_weight=0.5))
    term.discriminator = LinearDiscriminator()
    weight = term.discriminator.weight
    x = torch.rand(4, *SHAPE)
    penalties = [term.r1_penalty(x) for _ in range(2 * R1_INTERVAL)]
    assert [i for i, value in enumerate(penalties) if value] == [0, R1_INTERVAL]
    torch.testing.assert_close(penalties[0], R1_INTERVAL * 0.5 / 2 * weight.square().sum())
    penalties[0].backward()
    torch.testing.assert_close(weight.grad, R1_INTERVAL * 0.5 * weight)


# Feature matching


def test_feature_loss_is_the_likelihood_of_the_best_gaussian():
    term = FeatureMatching(ImageDiscriminatorSettings(start=0.0), adv_weight=0.0)
    term.attach(image_model())
    term.eval()
    x, mean = random_images()
    loss = term._feature_loss(x, mean)
    difference = (term.discriminator(x)[-3] - term.discriminator(mean[0])[-3]).detach()
    difference = difference.flatten(1).double()
    scale = difference.square().mean().sqrt()
    log_prob = torch.distributions.Normal(0.0, scale).log_prob(difference).sum(1)
    torch.testing.assert_close(loss[0].double(), -log_prob, rtol=1e-4, atol=1e-4)


def test_generator_loss_of_feature_matching_trains_the_decoder_only():
    gradients = []
    for adv_weight in (0.0, 0.5):
        torch.manual_seed(0)
        model, objective, x = compose_small("vae-gan", adv_weight=adv_weight)
        torch.manual_seed(1)
        objective(model(x))[0].backward()
        gradients.append(
            [[p.grad for p in part.parameters()] for part in (model.encoder, model.decoder)]
        )
    (encoder, decoder), (other_encoder, other_decoder) = gradients
    assert all(map(torch.equal, encoder, other_encoder))
    assert not all(map(torch.equal, decoder, other_decoder))


# The adaptive weight


@pytest.mark.parametrize("feature_weight", [0.0, 2.0])
def test_gradient_norm_equals_that_of_the_reconstruction(feature_weight):
    x, mean = random_images()
    term, trace = patchgan(feature_weight), image_trace(mean, x)
    (gradient,) = torch.autograd.grad(term(trace).sum(), mean)
    expected = ((mean - x) / 0.1**2).norm()  # of a Gaussian
    torch.testing.assert_close(gradient.norm(), expected.detach(), rtol=1e-4, atol=0)
    logits = apply_frozen(term.discriminator, mean[0])[-1]
    (unscaled,) = torch.autograd.grad(-logits.mean(), mean)
    if not feature_weight:
        cosine = torch.cosine_similarity(gradient.flatten(), unscaled.flatten(), 0)
        assert cosine.item() == pytest.approx(1.0, abs=1e-3)
        weight = expected / (len(x) * unscaled.norm())
        torch.testing.assert_close(term.weight, weight.detach(), rtol=1e-3, atol=0)


def test_gradient_norms_are_taken_at_the_parameters_of_the_likelihood():
    logits = torch.randn(1, 4, *SHAPE, requires_grad=True)
    x, term = torch.rand(4, *SHAPE).round(), patchgan()
    trace = image_trace(torch.zeros(1, 4, *SHAPE), x)
    trace.px = Independent(Bernoulli(logits=logits, validate_args=False), 3)
    (gradient,) = torch.autograd.grad(term(trace).sum(), logits)
    torch.testing.assert_close(gradient.norm(), (logits.sigmoid() - x).norm().detach())


def test_value_is_the_unscaled_logit_with_and_without_gradients():
    x, mean = random_images()
    term = patchgan(spectral_norm=False)
    with torch.no_grad():
        expected = -term.discriminator(mean[0])[-1].mean((1, 2, 3))
        torch.testing.assert_close(term(image_trace(mean, x)), expected)
    torch.testing.assert_close(term(image_trace(mean, x)).detach(), expected)


def test_constant_discriminator_has_no_gradient():
    x, mean = random_images()
    term = patchgan(spectral_norm=False)
    nn.init.zeros_(term.discriminator.out.weight)
    (gradient,) = torch.autograd.grad(term(image_trace(mean, x)).sum(), mean)
    assert torch.equal(gradient, torch.zeros_like(mean))


@pytest.mark.parametrize(
    "name", ["gaussian", "discretized-logistic-mixture", "bernoulli", "categorical"]
)
def test_parameters_of_a_distribution(name):
    x = torch.rand(2, *SHAPE).round()
    px = compose(Spec.parse(net={"name": "mlp", "width": 4}, likelihood=name), SHAPE)[0](x).px
    params = list(parameters_of(px))
    assert params and all(isinstance(param, torch.Tensor) for param in params)
    grads = torch.autograd.grad(px.mean.sum(), params, allow_unused=True)
    assert any(grad is not None for grad in grads)


def test_gradients_within_a_step_keep_the_graph():
    model, objective, x = compose_small("patchgan", disc_start=0.0)
    trace = model(x)
    loss, parts = objective(trace)
    expected = reconstruction(trace).mean().detach()
    torch.testing.assert_close(parts["reconstruction"], expected)
    loss.backward()


def test_patchgan_without_a_kl_accepts_a_deterministic_encoder():
    objective = {"name": "patchgan", "beta": 0.0}
    _, objective = compose(Spec.parse(posterior="deterministic", objective=objective), SHAPE)
    assert objective.names == ["reconstruction", "adversarial"]


# The schedule and the throttle


def set_progress(term, step, progress):
    for value in (term.enabled, term.ramp):
        value.set_step(step, progress)


def test_term_is_zero_before_the_start_and_ramps_up_afterwards():
    x, mean = random_images()
    term, trace = patchgan(start=0.4), image_trace(mean, x)
    for progress in (0.0, 0.39):
        set_progress(term, 0, progress)
        assert not term(trace).requires_grad
        assert not term.discriminator_loss(trace).requires_grad
    assert term.throttle.best < math.inf
    set_progress(term, 0, 0.41)
    assert term.discriminator_loss(trace) > 0
    assert 0 < term.ramp.value < 1
    set_progress(term, 0, 0.45)
    assert term.ramp.value == 1


@pytest.mark.parametrize("start", [0.0, 0.2, 0.97, 1.0, 300.0])
def test_start_is_a_fraction_of_the_training_or_a_step(start):
    term, total = PatchGAN(ImageDiscriminatorSettings(start=start)), 1000
    first = start * (total if 0 < start < 1 else 1)
    values = []
    for step in range(total):
        set_progress(term, step, step / total)
        values.append((bool(term.enabled.value), term.ramp.value.item()))
    assert [i for i, (enabled, _) in enumerate(values) if enabled] == list(range(int(first), total))
    assert all(ramp == 0 for enabled, ramp in values if not enabled)
    assert values[-1][1] == pytest.approx(1.0)
    ramps = [ramp for _, ramp in values if 0 < ramp < 1]
    assert ramps == sorted(ramps) and len(ramps) <= 0.1 * first


def test_throttle_halves_above_the_tolerance_and_recovers_below():
    throttle = AdaptiveThrottle(0.3, halving_steps=10, doubling_steps=40, window=1)

    def update(error, times):
        for _ in range(times):
            throttle.update(torch.tensor(error))

    for error in (4.0, 1.0, 1.2):
        update(error, 1)
    assert throttle.value == 1 and throttle.best == 1
    update(1.4, 20)
    assert throttle.value.item() == pytest.approx(1 / 4, rel=1e-4)
    update(1.29, 40)
    assert throttle.value.item() == pytest.approx(1 / 2, rel=1e-4)
    update(1.0, 400)
    assert throttle.value == 1
    update(9.0, 4000)
    assert throttle.value == AdaptiveThrottle.MIN


def test_worse_reconstructions_throttle_the_gradient():
    x, term = torch.rand(4, *SHAPE), patchgan()
    term.throttle = AdaptiveThrottle(0.3, halving_steps=5, doubling_steps=10, window=5)
    good, bad = x + 0.05 * torch.randn_like(x), x + 0.2 * torch.randn_like(x)

    def relative_norm(mean, steps):
        for _ in range(steps):
            mean = mean.reshape(1, 4, *SHAPE).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(term(image_trace(mean, x)).sum(), mean)
        return (gradient.norm() / ((mean - x) / 0.1**2).norm()).item()

    assert relative_norm(good, 20) == pytest.approx(1.0, rel=1e-3)
    throttled = relative_norm(bad, 30)
    assert throttled < 0.1
    assert term.logs["throttle"].item() == pytest.approx(throttled, rel=0.1)
    assert relative_norm(good, 150) == pytest.approx(1.0, rel=1e-3)
    torch.testing.assert_close(term.logs["squared_error"], (good - x).square().mean())


# Errors


@pytest.mark.parametrize("name", ["vae-gan", "patchgan"])
def test_tables_raise(name):
    with pytest.raises(VariedError, match="requires images"):
        compose(Spec.parse(objective=name), (5,))


class MeanWithoutDensity(Gaussian):
    """A distribution whose density and mean have no parameters in common."""

    @property
    def mean(self):
        return self.log_variance

    def log_prob(self, value):
        return -(value - self.params[0]).square()


def test_mean_without_the_parameters_of_the_density_raises():
    x, mean = random_images()
    trace = image_trace(mean, x)
    other = torch.rand_like(mean).requires_grad_()
    trace.px = Independent(MeanWithoutDensity(mean, other), 3)
    with pytest.raises(VariedError, match="likelihood='gaussian'"):
        patchgan()(trace)
