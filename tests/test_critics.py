"""Critics learn beside the model: neither sees the other's gradient, and nothing moves unasked."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal

from varied.data.batches import Batches
from varied.discriminators import (
    FeatureMatching,
    LatentDiscriminator,
    PatchGAN,
    TotalCorrelation,
    frozen,
)
from varied.discriminators.adaptive_weight import AdaptiveThrottle, parameters_of
from varied.discriminators.image import LAZY, visible_sample
from varied.discriminators.latent import permute_dims
from varied.discriminators.patchgan import PatchDiscriminator
from varied.distributions import Gaussian
from varied.errors import VariedError
from varied.objectives import OBJECTIVES
from varied.runtime import eval_float32
from varied.spec import Plan, Spec, compose
from varied.terms import reconstruction
from varied.trace import Level, Trace
from varied.training_loop import Step, train

SHAPE = (1, 8, 9)
SMALL = {"disc_width": 8, "disc_depth": 1}
ROWS = {
    "factor-vae": SMALL,
    "aae": SMALL,
    "wae-gan": SMALL,
    "vae-gan": SMALL | {"r1_weight": 1.0, "disc_start": 0.2},
    "patchgan": SMALL | {"disc_start": 0.2, "r1_weight": 1.0},
}
every = pytest.mark.parametrize("name", ROWS)


class Sized:
    """What an attached term asks of a model."""

    def __init__(self, latent=(2,), event=SHAPE):
        self.latent_shape, self.event_shape = latent, event

    def modules(self):
        return iter(())


def made(name, likelihood="gaussian", **axes):
    """Return a small model with its objective, all of it awake, and data."""
    spec = Spec.of(
        **({"net": {"name": "conv", "width": 2, "dense_width": 8}, "latent": 3} | axes),
        likelihood=likelihood,
        objective={"name": name} | ROWS[name],
    )
    model, objective = compose(spec, SHAPE)
    objective.set_step(10**6, 1.0)
    return model, objective, torch.rand(6, *SHAPE)


def gradients(module):
    return {k: p.grad for k, p in module.named_parameters() if p.grad is not None}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def pictured(mean, x, scale=0.1):
    """Return a trace whose reconstructions are these means."""
    log_variance = torch.full_like(mean, 2 * math.log(scale))
    px = Independent(Gaussian(mean, log_variance), 3)
    return Trace(x, px, [coded(torch.zeros(len(mean), len(x), 2)).levels[0]])


def coded(z, p=None):
    """Return a trace with these codes, with shape (K, B, D)."""
    zero = torch.zeros(z.shape[-1])
    p = p or Independent(Gaussian(zero, zero), 1)
    px = Independent(Gaussian(z.sum(-1, keepdim=True), torch.zeros(1)), 1)
    return Trace(z.new_zeros(z.shape[1], 1), px, [Level(z, p, p)])


# Whose gradient is whose


@every
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "discretized-logistic-mixture"])
def test_the_critics_loss_leaves_the_models_gradient_as_it_was(name, likelihood, monkeypatch):
    pair = made(name, likelihood)
    model, objective, x = copy.deepcopy(pair)
    torch.manual_seed(1)
    objective(model(x.round()))[0].backward()
    together, theirs = gradients(model), gradients(objective)
    model, objective, x = copy.deepcopy(pair)
    (critic,) = objective.critics.values()
    monkeypatch.setattr(critic, "loss", lambda trace: torch.zeros(()))
    torch.manual_seed(1)
    objective(model(x.round()))[0].backward()
    assert len(together) == len(list(model.parameters()))
    assert equal(together, gradients(model))
    assert not gradients(objective)
    assert len(theirs) == len(list(objective.parameters()))


@every
def test_the_critics_gradient_is_that_of_its_loss_alone(name):
    pair = made(name)
    model, objective, x = copy.deepcopy(pair)
    torch.manual_seed(1)
    objective(model(x))[0].backward()
    together = gradients(objective)
    model, objective, x = copy.deepcopy(pair)
    torch.manual_seed(1)
    trace = model(x)
    objective(trace)
    model, objective, x = copy.deepcopy(pair)
    torch.manual_seed(1)
    trace = model(x)
    (critic,) = objective.critics.values()
    for term in objective.terms:
        term(trace)
    critic.loss(trace).backward()
    assert equal(together, gradients(objective))
    assert not gradients(model)


@every
def test_a_critic_owns_no_part_of_the_model(name):
    model, objective, _ = made(name)
    ours = {id(p) for p in model.parameters()}
    assert not ours & {id(p) for p in objective.parameters()}
    assert not {k for k in objective.state_dict() if "encoder" in k or "decoder" in k}


def test_fooling_the_critic_teaches_the_decoder_alone():
    found = {}
    for realism in (0.0, 0.5):
        torch.manual_seed(0)
        model, objective, x = made("vae-gan")
        objective.critics["feature_reconstruction"].adv_weight = realism
        torch.manual_seed(1)
        objective(model(x))[0].backward()
        found[realism] = gradients(model.encoder), gradients(model.decoder)
    assert equal(found[0.0][0], found[0.5][0])
    assert not equal(found[0.0][1], found[0.5][1])


# The loop


@every
def test_a_critic_learns_in_the_one_loop(name):
    model, objective, _ = made(name)
    step = Step(model, objective)
    before = {k: p.clone() for k, p in step.named_parameters()}
    plan = Plan(batch_size=8, steps=50, precision="float32", compile="no", threads=1)
    for event in train(step, Batches(torch.rand(40, *SHAPE), size=8, seed=0), plan):
        assert all(math.isfinite(float(value)) for value in event.parts.values())
    assert event.state.skipped == 0
    assert not [k for k, p in step.named_parameters() if torch.equal(p, before[k])]
    (term,) = objective.critics
    assert event.parts[f"{term}_discriminator"] > 0


@every
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_is_the_run_that_never_stopped(name, precision):
    batches = Batches(torch.rand(40, *SHAPE), size=8, seed=0)
    plan = Plan(batch_size=8, steps=20, precision=precision, compile="no", threads=1)

    def fresh():
        model, objective, _ = made(name)
        return Step(model, objective)

    torch.manual_seed(0)
    whole = fresh()
    for event in train(whole, batches, plan):
        if event.state.step == 9:
            state = event.snapshot()
            moments = {k: v.clone() for k, v in state.moments.items()}
            state = dataclasses.replace(state, moments=moments)
            weights = {k: v.clone() for k, v in whole.state_dict().items()}
    again = fresh()
    again.load_state_dict(weights)
    for _ in train(again, batches, plan, state):
        pass
    assert equal(whole.state_dict(), again.state_dict())
    assert equal(dict(whole.named_buffers()), dict(again.named_buffers()))


@every
def test_looking_changes_nothing(name):
    model, objective, x = made(name, "bernoulli")
    step = Step(model, objective)
    objective(model(x.round()))  # so that nothing stands where it began
    before = {k: v.clone() for k, v in step.named_buffers()}
    with eval_float32(step):
        loss = step(x.round())[0]
    with torch.no_grad():
        step.train()(x.round())
    assert math.isfinite(float(loss))
    assert equal(before, dict(step.named_buffers()))


@every
def test_one_row_is_enough(name):
    model, objective, x = made(name)
    loss, parts = objective(model(x[:1]))
    assert math.isfinite(loss.item())
    assert all(math.isfinite(value.item()) for value in parts.values())


@every
def test_samples_have_an_axis_of_their_own(name):
    model, objective, x = made(name)
    (critic,) = objective.critics.values()
    trace = model(x, samples=3)
    assert critic(trace).shape == (6,)
    assert critic.loss(trace).shape == ()


@pytest.mark.parametrize("name", ["factor-vae", "aae", "wae-gan"])
def test_codes_may_be_maps(name):
    model, objective, x = made(name, latent=(2, 4, 5))
    objective(model(x))[0].backward()
    assert len(gradients(objective)) == len(list(objective.parameters()))


@pytest.mark.parametrize("name", ["aae", "wae-gan"])
def test_points_can_be_matched_to_a_prior(name):
    model, objective, x = made(name, posterior="deterministic")
    objective(model(x))[0].backward()
    assert len(gradients(model)) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["aae", "wae-gan"])
def test_a_density_without_a_slope_is_matched_too(name):
    """The density of a uniform prior is a constant, which has no gradient."""
    model, objective, x = made(name, posterior="von-mises-fisher", prior="hyperspherical-uniform")
    objective(model(x))[0].backward()
    assert len(gradients(objective)) == len(list(objective.parameters()))


def test_a_hinge_gan_without_kl_takes_points():
    objective = {"name": "patchgan", "beta": 0.0} | SMALL
    objective = compose(Spec.of(posterior="deterministic", objective=objective), SHAPE)[1]
    assert objective.names == ["reconstruction", "adversarial"]


# Total correlation


def test_shuffling_keeps_each_dimension_and_no_pair():
    z = torch.randn(2000, 1).expand(2000, 3) + 0.1 * torch.randn(2000, 3)
    mixed = permute_dims(z)
    assert torch.equal(mixed.sort(0).values, z.sort(0).values)
    assert mixed.T.corrcoef().triu(1).abs().max() < 0.1


def taught(critic, draw, steps, lr=3e-3):
    optimizer = torch.optim.Adam(critic.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        critic.loss(draw(512)).backward()
        optimizer.step()
    return critic


@pytest.mark.parametrize("rho", [0.4, 0.8])
def test_the_total_correlation_of_a_gaussian_is_that_of_the_closed_form(rho):
    r = torch.full((3, 3), rho).fill_diagonal_(1.0)
    source = MultivariateNormal(torch.zeros(3), r)
    critic = TotalCorrelation(width=64, depth=2)
    critic.attach(Sized((3,)))
    taught(critic, lambda n: coded(source.sample((1, n))), 500)
    estimate = critic(coded(source.sample((1, 20_000)))).mean().item()
    assert estimate == pytest.approx(-0.5 * r.logdet().item(), rel=0.15)


def test_the_rows_of_the_two_sides_differ(monkeypatch):
    critic = TotalCorrelation()
    critic.attach(Sized((1,)))
    seen = []
    monkeypatch.setattr(critic, "score", lambda z, still: seen.append(z) or z[..., 0])
    critic.loss(coded(torch.arange(6.0).reshape(1, 6, 1)))
    assert [set(z.flatten().tolist()) for z in seen] == [{0, 1, 2}, {3, 4, 5}]


# Codes like the prior


@pytest.mark.parametrize("density", [False, True])
def test_the_best_logit_is_the_ratio_of_prior_and_codes(density):
    critic = LatentDiscriminator(prior_in_logit=density, r1_weight=0.0, width=64, depth=2)
    critic.attach(Sized((1,)))
    taught(critic, lambda n: coded(1 + torch.randn(1, n, 1)), 400)
    z = torch.linspace(-1, 2, 9).reshape(1, 9, 1)
    ratio = (0.5 - z).squeeze()  # log N(z; 0, 1) - log N(z; 1, 1)
    cost = critic(coded(z))
    torch.testing.assert_close(cost, torch.nn.functional.softplus(-ratio), atol=0.15, rtol=0)


def test_the_density_of_the_prior_pulls_before_the_critic_knows_anything():
    critic = LatentDiscriminator(prior_in_logit=True)
    critic.attach(Sized((2,)))
    nn.init.zeros_(critic.critic[-2].weight)
    z = torch.full((1, 4, 2), 3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(coded(z)).sum(), z)
    assert (slope > 1).all()


@pytest.mark.parametrize("density", [False, True])
def test_the_penalty_is_of_the_whole_logit(density):
    critic = LatentDiscriminator(prior_in_logit=density, r1_weight=0.5)
    critic.attach(Sized((2,)))
    last = critic.critic[-2]
    nn.init.zeros_(last.weight)
    real = torch.randn(50, 2)
    found = critic.penalty(real, coded(torch.zeros(1, 50, 2)))
    # Without a word of the critic, the logit is that of the normal prior, whose slope is -z.
    wanted = 0.25 * real.square().sum(1).mean() if density else torch.zeros(())
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert last.weight.grad is not None


def test_real_codes_are_draws_of_the_prior_for_each_row():
    prior = Independent(Gaussian(torch.arange(4.0)[:, None] * 100, torch.zeros(4, 1)), 1)
    critic = LatentDiscriminator()
    critic.attach(Sized((1,)))
    trace = coded(torch.zeros(2, 4, 1), prior)
    torch.testing.assert_close((critic.draws(trace)[0, :, 0] / 100).round(), torch.arange(4.0))
    trace = coded(torch.zeros(2, 4, 1))
    assert critic.draws(trace).unique().numel() == 4


@pytest.mark.parametrize("name", ["factor-vae", "vae-gan", "patchgan"])
def test_a_ladder_is_judged_as_well(name):
    net = {"name": "mlp", "width": 8}
    model, objective, x = made(name, architecture="ladder", net=net)
    objective(model(x))[0].backward()
    assert len(gradients(objective)) == len(list(objective.parameters()))


def test_codes_of_several_priors_are_refused():
    with pytest.raises(VariedError, match="use architecture='vae'"):
        made("aae", architecture="ladder", net={"name": "mlp", "width": 8})
    coded = {"posterior": "vq", "prior": "transformer", "latent": 4}
    with pytest.raises(VariedError, match="use objective='vq-vae'"):
        made("aae", **coded)


# What a critic of pictures sees


def test_black_and_white_is_shown_in_draws_with_the_gradient_of_the_mean():
    logits = torch.randn(2, 5, *SHAPE, requires_grad=True)
    p = Independent(Bernoulli(logits=logits, validate_args=False), 3)
    shown, weight = visible_sample(p), torch.randn(2, 5, *SHAPE)
    assert set(shown.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    (slope,) = torch.autograd.grad((weight * shown).sum(), logits, retain_graph=True)
    (wanted,) = torch.autograd.grad((weight * logits.sigmoid()).sum(), logits)
    torch.testing.assert_close(slope, wanted)


@pytest.mark.parametrize("kind", [PatchGAN, FeatureMatching])
def test_holes_in_the_data_are_holes_in_what_the_critic_sees(kind):
    critic = kind()
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE)
    trace = pictured(mean, x)
    trace.mask = (torch.rand(4, *SHAPE) > 0.5).float()
    shown = critic.pairs(trace)[1][0]
    assert torch.equal(shown, mean[0] * trace.mask)


def test_what_a_critic_says_depends_on_the_picture_alone():
    critic, x = PatchDiscriminator((3, 16, 16), width=4).eval(), torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(critic(x)[-1][2:3], critic(x[2:3])[-1])


def test_spectral_normalisation_holds_the_slope():
    critic = PatchDiscriminator((1, 8, 8), width=4, depth=1)
    for layer in (critic.halved[0].conv, critic.mixed, critic.last):
        for _ in range(50):
            matrix = layer.weight.flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1.0, abs=0.02)


class Plane(nn.Module):
    """A critic whose gradient is its weight."""

    def __init__(self):
        super().__init__()
        self.event_shape, self.weight = SHAPE, nn.Parameter(torch.randn(SHAPE))

    def forward(self, x):
        return [x, (x * self.weight).sum((1, 2, 3)).reshape(-1, 1, 1, 1)]


def test_the_penalty_is_the_squared_slope_and_comes_lazily():
    critic = PatchGAN(r1_weight=0.5)
    critic.critic = Plane()
    wanted = LAZY * 0.5 / 2 * critic.critic.weight.square().sum()
    x = torch.rand(4, *SHAPE)
    found = [critic.penalty(x) for _ in range(2 * LAZY)]
    assert [i for i, value in enumerate(found) if value] == [0, LAZY]
    torch.testing.assert_close(found[0], wanted)
    found[0].backward()
    torch.testing.assert_close(critic.critic.weight.grad, LAZY * 0.5 * critic.critic.weight)


def test_the_likeness_is_the_best_gaussian_in_a_hidden_map():
    critic = FeatureMatching(adv_weight=0.0, start=0.0)
    critic.attach(Sized())
    critic.eval()
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE)
    ours = critic._likeness(x, mean)
    gap = (critic.critic(x)[0] - critic.critic(mean[0])[0]).detach().flatten(1).double()
    best = torch.distributions.Normal(0.0, gap.square().mean().sqrt()).log_prob(gap)
    torch.testing.assert_close(ours[0].double(), -best.sum(1), rtol=1e-4, atol=1e-4)


# How loudly it speaks


def hinge(**settings):
    critic = PatchGAN(**({"start": 0.0} | settings))
    critic.attach(Sized())
    return critic


@pytest.mark.parametrize("features", [0.0, 2.0])
def test_a_weight_of_one_pulls_as_hard_as_reconstruction(features):
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE, requires_grad=True)
    critic, trace = hinge(feature_weight=features), pictured(mean, x)
    (slope,) = torch.autograd.grad(critic(trace).sum(), mean)
    wanted = ((mean - x) / 0.1**2).norm()  # of a Gaussian, from its formula
    torch.testing.assert_close(slope.norm(), wanted.detach(), rtol=1e-4, atol=0)
    (plain,) = torch.autograd.grad(-frozen(critic.critic, mean[0])[-1].mean(), mean)
    if not features:
        cosine = torch.cosine_similarity(slope.flatten(), plain.flatten(), 0)
        assert cosine.item() == pytest.approx(1.0, abs=1e-3)
        ratio = wanted / (len(x) * plain.norm())
        torch.testing.assert_close(critic.pulled, ratio.detach(), rtol=1e-3, atol=0)


def test_the_ratio_is_taken_where_density_and_mean_part():
    logits = torch.randn(1, 4, *SHAPE, requires_grad=True)
    x, critic = torch.rand(4, *SHAPE).round(), hinge()
    trace = pictured(torch.zeros(1, 4, *SHAPE), x)
    trace.px = Independent(Bernoulli(logits=logits, validate_args=False), 3)
    (slope,) = torch.autograd.grad(critic(trace).sum(), logits)
    torch.testing.assert_close(slope.norm(), (logits.sigmoid() - x).norm().detach())


def test_what_is_told_is_the_plain_score_with_and_without_a_gradient():
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE, requires_grad=True)
    critic = hinge(spectral_norm=False)
    with torch.no_grad():
        score = -critic.critic(mean[0])[-1].mean((1, 2, 3))
        torch.testing.assert_close(critic(pictured(mean, x)), score)
    torch.testing.assert_close(critic(pictured(mean, x)).detach(), score)


def test_a_critic_without_a_slope_moves_nothing():
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE, requires_grad=True)
    critic = hinge(spectral_norm=False)
    nn.init.zeros_(critic.critic.last.weight)
    (slope,) = torch.autograd.grad(critic(pictured(mean, x)).sum(), mean)
    assert torch.equal(slope, torch.zeros_like(mean))


def test_a_critic_sleeps_until_its_time():
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE, requires_grad=True)
    critic, trace = hinge(start=0.4), pictured(mean, x)
    for progress in (0.0, 0.39):
        for dial in (critic.awake, critic.heard):
            dial.set_step(0, progress)
        assert not critic(trace).requires_grad and not critic.loss(trace).requires_grad
    assert critic.brake.best < math.inf
    critic.awake.set_step(0, 0.41)
    critic.heard.set_step(0, 0.41)
    assert critic.loss(trace) > 0
    assert 0 < critic.heard.value < 1
    critic.heard.set_step(0, 0.45)
    assert critic.heard.value == 1


@pytest.mark.parametrize("start", [0.0, 0.2, 0.97, 1.0, 300.0])
def test_waking_is_counted_in_shares_or_in_steps(start):
    critic = PatchGAN(start=start)
    total, woke = 1000, start * (1000 if 0 < start < 1 else 1)
    seen = []
    for step in range(total):
        for dial in (critic.awake, critic.heard):
            dial.set_step(step, step / total)
        seen.append((bool(critic.awake.value), critic.heard.value.item()))
    assert [i for i, (awake, _) in enumerate(seen) if awake] == list(range(int(woke), total))
    assert all(heard == 0 for awake, heard in seen if not awake)
    assert seen[-1][1] == pytest.approx(1.0)
    ramp = [heard for _, heard in seen if 0 < heard < 1]
    assert ramp == sorted(ramp) and len(ramp) <= 0.1 * woke


def test_the_brake_halves_while_it_is_worse_and_lets_go_when_it_is_not():
    brake = AdaptiveThrottle(0.3, fall=10, rise=40, window=1)
    for error in (4.0, 1.0, 1.2):
        brake.update(torch.tensor(error))
    assert brake.value == 1 and brake.best == 1
    for _ in range(20):
        brake.update(torch.tensor(1.4))
    assert brake.value.item() == pytest.approx(1 / 4, rel=1e-4)
    for _ in range(40):
        brake.update(torch.tensor(1.29))
    assert brake.value.item() == pytest.approx(1 / 2, rel=1e-4)
    for _ in range(400):
        brake.update(torch.tensor(1.0))
    assert brake.value == 1
    for _ in range(4000):
        brake.update(torch.tensor(9.0))
    assert brake.value == AdaptiveThrottle.LEAST


def test_worse_reconstructions_quieten_the_critic_and_better_ones_let_it_speak():
    x, critic = torch.rand(4, *SHAPE), hinge()
    critic.brake = AdaptiveThrottle(0.3, fall=5, rise=10, window=5)
    near, far = x + 0.05 * torch.randn_like(x), x + 0.2 * torch.randn_like(x)

    def seen(mean, times):
        for _ in range(times):
            mean = mean.reshape(1, 4, *SHAPE).detach().requires_grad_()
            (slope,) = torch.autograd.grad(critic(pictured(mean, x)).sum(), mean)
        return (slope.norm() / ((mean - x) / 0.1**2).norm()).item()

    assert seen(near, 20) == pytest.approx(1.0, rel=1e-3)
    quiet = seen(far, 30)
    assert quiet < 0.1
    assert critic.told["throttle"].item() == pytest.approx(quiet, rel=0.1)
    assert seen(near, 150) == pytest.approx(1.0, rel=1e-3)
    torch.testing.assert_close(critic.told["squared_error"], (near - x).square().mean())


def test_numbers_are_those_a_distribution_was_made_of():
    x = torch.rand(2, *SHAPE)
    for name in ("gaussian", "discretized-logistic-mixture", "bernoulli", "categorical"):
        model = compose(Spec.of(net={"name": "mlp", "width": 4}, likelihood=name), SHAPE)[0]
        px = model(x.round()).px
        found = list(parameters_of(px))
        assert found and all(isinstance(one, torch.Tensor) for one in found)
        made_of = torch.autograd.grad(px.mean.sum(), found, allow_unused=True)
        assert any(slope is not None for slope in made_of)


# Refusals


@pytest.mark.parametrize("name", ["vae-gan", "patchgan"])
def test_a_critic_of_pictures_refuses_a_table(name):
    with pytest.raises(VariedError, match="judges pictures"):
        compose(Spec.of(objective=name), (5,))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("factor-vae", {"disc_width": 0}),
        ("aae", {"disc_depth": 0}),
        ("wae-gan", {"disc_lr": 0.0}),
        ("vae-gan", {"r1_weight": -1.0}),
        ("vae-gan", {"adv_weight": -1.0}),
        ("vae-gan", {"feature_layer": 7}),
        ("patchgan", {"recon_tolerance": 0.0}),
        ("patchgan", {"disc_start": -0.1}),
        ("patchgan", {"disc_depth": 0}),
        ("factor-vae", {"gamma": -1.0}),
        ("patchgan", {"adv_weight": -1.0}),
    ],
)
def test_a_wrong_setting_is_refused(name, settings):
    with pytest.raises(VariedError, match=next(iter(settings))):
        compose(Spec.of(objective={"name": name} | settings), SHAPE)


def test_a_picture_without_a_gradient_is_refused():
    x, mean = torch.rand(4, *SHAPE), torch.rand(1, 4, *SHAPE, requires_grad=True)
    trace = pictured(mean, x)
    trace.px = Independent(Drawn(mean, torch.rand_like(mean).requires_grad_()), 3)
    with pytest.raises(VariedError, match="gaussian"):
        hinge()(trace)


class Drawn(Gaussian):
    """A distribution whose density and mean have nothing in common."""

    @property
    def mean(self):
        return self.log_variance

    def log_prob(self, value):
        return -(value - self.params[0]).square()


def test_distortion_is_what_it_was():
    # The gradients that are taken on the way must not use up the graph.
    model, objective, x = made("patchgan")
    trace = model(x)
    loss, parts = objective(trace)
    torch.testing.assert_close(parts["reconstruction"], reconstruction(trace).mean().detach())
    assert set(ROWS) <= set(OBJECTIVES)
    loss.backward()
