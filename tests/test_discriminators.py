"""Adversarial terms: separate gradients for model and discriminator, and latent objectives."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal
from traces import code_trace

from varied.composition import compose
from varied.data.batches import Batches
from varied.discriminators import LatentDiscriminator, TotalCorrelation
from varied.discriminators.latent import permute_dims
from varied.distributions import Gaussian
from varied.errors import VariedError
from varied.runtime import eval_float32
from varied.spec import Plan, Spec
from varied.training_loop import train
from varied.training_step import Step

SHAPE = (1, 8, 9)
SMALL = {"disc_width": 8, "disc_depth": 1}
OBJECTIVES = {
    "factor-vae": SMALL,
    "aae": SMALL,
    "wae-gan": SMALL,
    "vae-gan": SMALL | {"r1_weight": 1.0, "disc_start": 0.2},
    "patchgan": SMALL | {"disc_start": 0.2, "r1_weight": 1.0},
}
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def compose_small(name, likelihood="gaussian", **axes):
    """Return a small model, its objective after the start of adversarial training, and data."""
    spec = Spec.parse(
        **({"net": {"name": "conv", "width": 2, "dense_width": 8}, "latent": 3} | axes),
        likelihood=likelihood,
        objective={"name": name} | OBJECTIVES[name],
    )
    model, objective = compose(spec, SHAPE)
    objective.set_step(10**6, 1.0)
    return model, objective, torch.rand(6, *SHAPE)


def model_with_latent(size):
    """Return a model with a latent vector, for `attach`."""
    return compose(Spec.parse(latent=size, net={"name": "mlp", "width": 4}), (4,))[0]


def gradients(module):
    return {k: p.grad for k, p in module.named_parameters() if p.grad is not None}


def are_equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# Gradients


@every_objective
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "discretized-logistic-mixture"])
def test_discriminator_loss_does_not_change_the_gradient_of_the_model(
    name, likelihood, monkeypatch
):
    composed = compose_small(name, likelihood)
    model, objective, x = copy.deepcopy(composed)
    torch.manual_seed(1)
    objective(model(x.round()))[0].backward()
    of_model, of_discriminator = gradients(model), gradients(objective)
    model, objective, x = copy.deepcopy(composed)
    (term,) = objective.discriminators.values()
    monkeypatch.setattr(term, "discriminator_loss", lambda trace: torch.zeros(()))
    torch.manual_seed(1)
    objective(model(x.round()))[0].backward()
    assert len(of_model) == len(list(model.parameters()))
    assert are_equal(of_model, gradients(model))
    assert not gradients(objective)
    assert len(of_discriminator) == len(list(objective.parameters()))


@every_objective
def test_gradient_of_the_discriminator_is_that_of_its_loss(name):
    composed = compose_small(name)
    model, objective, x = copy.deepcopy(composed)
    torch.manual_seed(1)
    objective(model(x))[0].backward()
    of_sum = gradients(objective)
    model, objective, x = copy.deepcopy(composed)
    torch.manual_seed(1)
    trace = model(x)
    for term in objective.terms:
        term(trace)
    (term,) = objective.discriminators.values()
    term.discriminator_loss(trace).backward()
    assert are_equal(of_sum, gradients(objective))
    assert not gradients(model)


@every_objective
def test_objective_does_not_own_the_model(name):
    model, objective, _ = compose_small(name)
    model_params = {id(p) for p in model.parameters()}
    assert not model_params & {id(p) for p in objective.parameters()}
    assert not {k for k in objective.state_dict() if "encoder" in k or "decoder" in k}


# The training loop


@every_objective
def test_model_and_discriminator_are_trained_together(name):
    model, objective, _ = compose_small(name)
    step = Step(model, objective)
    before = {k: p.clone() for k, p in step.named_parameters()}
    plan = Plan(batch_size=8, steps=50, precision="float32", compile="no", threads=1)
    for event in train(step, Batches(torch.rand(40, *SHAPE), size=8, seed=0), plan):
        assert all(math.isfinite(float(value)) for value in event.parts.values())
    assert event.state.skipped == 0
    assert not [k for k, p in step.named_parameters() if torch.equal(p, before[k])]
    (term,) = objective.discriminators
    assert event.parts[f"{term}_discriminator"] > 0


@every_objective
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_training_equals_uninterrupted_training(name, precision):
    batches = Batches(torch.rand(40, *SHAPE), size=8, seed=0)
    plan = Plan(batch_size=8, steps=20, precision=precision, compile="no", threads=1)

    def new_step():
        model, objective, _ = compose_small(name)
        return Step(model, objective)

    torch.manual_seed(0)
    uninterrupted = new_step()
    for event in train(uninterrupted, batches, plan):
        if event.state.step == 9:
            state = event.snapshot()
            moments = {k: v.clone() for k, v in state.moments.items()}
            state = dataclasses.replace(state, moments=moments)
            weights = {k: v.clone() for k, v in uninterrupted.state_dict().items()}
    resumed = new_step()
    resumed.load_state_dict(weights)
    for _ in train(resumed, batches, plan, state):
        pass
    assert are_equal(uninterrupted.state_dict(), resumed.state_dict())
    assert are_equal(dict(uninterrupted.named_buffers()), dict(resumed.named_buffers()))


@every_objective
def test_evaluation_changes_no_buffer(name):
    model, objective, x = compose_small(name, "bernoulli")
    step = Step(model, objective)
    objective(model(x.round()))  # so that no buffer has its initial value
    before = {k: v.clone() for k, v in step.named_buffers()}
    with eval_float32(step):
        loss = step(x.round())[0]
    with torch.no_grad():
        step.train()(x.round())
    assert math.isfinite(float(loss))
    assert are_equal(before, dict(step.named_buffers()))


@every_objective
def test_single_row_has_a_finite_loss(name):
    model, objective, x = compose_small(name)
    loss, parts = objective(model(x[:1]))
    assert math.isfinite(loss.item())
    assert all(math.isfinite(value.item()) for value in parts.values())


@every_objective
def test_several_draws_have_one_value_per_example(name):
    model, objective, x = compose_small(name)
    (term,) = objective.discriminators.values()
    trace = model(x, samples=3)
    assert term(trace).shape == (6,)
    assert term.discriminator_loss(trace).shape == ()


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        *((name, {"latent": (2, 4, 5)}) for name in ("factor-vae", "aae", "wae-gan")),
        *((name, {"posterior": "deterministic"}) for name in ("aae", "wae-gan")),
        # A uniform prior has a constant density, without a gradient.
        *(
            (name, {"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"})
            for name in ("aae", "wae-gan")
        ),
        *(
            (name, {"architecture": "ladder", "net": {"name": "mlp", "width": 8}})
            for name in ("factor-vae", "vae-gan", "patchgan")
        ),
    ],
    ids=str,
)
def test_objective_supports_the_model(name, axes):
    model, objective, x = compose_small(name, **axes)
    objective(model(x))[0].backward()
    assert len(gradients(objective)) == len(list(objective.parameters()))
    assert gradients(model)


def test_prior_matching_raises_without_a_single_prior():
    with pytest.raises(VariedError, match="use architecture='vae'"):
        compose_small("aae", architecture="ladder", net={"name": "mlp", "width": 8})
    with pytest.raises(VariedError, match="use objective='vq-vae'"):
        compose_small("aae", posterior="vq", prior="transformer", latent=4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("factor-vae", {"disc_width": 0}),
        ("aae", {"disc_depth": 0}),
        ("wae-gan", {"disc_lr": 0.0}),
        ("aae", {"r1_weight": -1.0}),
        ("vae-gan", {"r1_weight": -1.0}),
        ("vae-gan", {"adv_weight": -1.0}),
        ("vae-gan", {"feature_layer": 7}),
        ("patchgan", {"feature_weight": -1.0}),
        ("patchgan", {"recon_tolerance": 0.0}),
        ("patchgan", {"disc_start": -0.1}),
        ("patchgan", {"disc_depth": 0}),
        ("factor-vae", {"gamma": -1.0}),
        ("patchgan", {"adv_weight": -1.0}),
    ],
)
def test_invalid_settings_raise(name, settings):
    with pytest.raises(VariedError, match=next(iter(settings))):
        compose(Spec.parse(objective={"name": name} | settings), SHAPE)


# Total correlation


def trained(term, sample, steps, lr=3e-3):
    """Train the discriminator of a term on traces from ``sample``."""
    optimizer = torch.optim.Adam(term.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        term.discriminator_loss(sample(512)).backward()
        optimizer.step()
    return term


def test_permute_dims_keeps_the_marginals_and_removes_dependence():
    z = torch.randn(2000, 1).expand(2000, 3) + 0.1 * torch.randn(2000, 3)
    permuted = permute_dims(z)
    assert torch.equal(permuted.sort(0).values, z.sort(0).values)
    assert permuted.T.corrcoef().triu(1).abs().max() < 0.1


@pytest.mark.parametrize("rho", [0.4, 0.8])
def test_total_correlation_of_a_gaussian(rho):
    correlation = torch.full((3, 3), rho).fill_diagonal_(1.0)
    source = MultivariateNormal(torch.zeros(3), correlation)
    term = TotalCorrelation(width=64, depth=2)
    term.attach(model_with_latent(3))
    trained(term, lambda n: code_trace(source.sample((1, n))), 500)
    estimate = term(code_trace(source.sample((1, 20_000)))).mean().item()
    assert estimate == pytest.approx(-0.5 * correlation.logdet().item(), rel=0.15)


def test_codes_and_permuted_codes_come_from_different_rows(monkeypatch):
    term = TotalCorrelation()
    term.attach(model_with_latent(1))
    inputs = []
    monkeypatch.setattr(term, "logits", lambda z, frozen: inputs.append(z) or z[..., 0])
    term.discriminator_loss(code_trace(torch.arange(6.0).reshape(1, 6, 1)))
    assert [set(z.flatten().tolist()) for z in inputs] == [{0, 1, 2}, {3, 4, 5}]


# Matching the prior


def latent_discriminator(size, **settings):
    term = LatentDiscriminator(**settings)
    term.attach(model_with_latent(size))
    return term


@pytest.mark.parametrize("prior_in_logit", [False, True])
def test_optimal_logit_is_the_density_ratio(prior_in_logit):
    term = latent_discriminator(1, prior_in_logit=prior_in_logit, r1_weight=0.0, width=64, depth=2)
    trained(term, lambda n: code_trace(1 + torch.randn(1, n, 1)), 400)
    z = torch.linspace(-1, 2, 9).reshape(1, 9, 1)
    log_ratio = (0.5 - z).squeeze()  # log N(z; 0, 1) - log N(z; 1, 1)
    expected = torch.nn.functional.softplus(-log_ratio)
    torch.testing.assert_close(term(code_trace(z)), expected, atol=0.15, rtol=0)


def test_prior_in_the_logit_has_a_gradient_before_the_discriminator_is_trained():
    term = latent_discriminator(2, prior_in_logit=True)
    nn.init.zeros_(term.discriminator[-2].weight)
    z = torch.full((1, 4, 2), 3.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(term(code_trace(z)).sum(), z)
    assert (gradient > 1).all()


@pytest.mark.parametrize("prior_in_logit", [False, True])
def test_r1_penalty_is_that_of_the_entire_logit(prior_in_logit):
    term = latent_discriminator(2, prior_in_logit=prior_in_logit, r1_weight=0.5)
    last = term.discriminator[-2]
    nn.init.zeros_(last.weight)
    real = torch.randn(50, 2)
    penalty = term.r1_penalty(real, code_trace(torch.zeros(1, 50, 2)))
    # The output of the network is 0, so the logit is that of the prior, whose gradient is -z.
    expected = 0.25 * real.square().sum(1).mean() if prior_in_logit else torch.zeros(())
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    assert last.weight.grad is not None


def test_real_codes_are_one_sample_from_the_prior_per_row():
    term = latent_discriminator(1)
    p = Independent(Gaussian(torch.arange(4.0)[:, None] * 100, torch.zeros(4, 1)), 1)
    conditional = code_trace(torch.zeros(2, 4, 1), p)
    samples = term.sample_prior(conditional)[0, :, 0]
    torch.testing.assert_close((samples / 100).round(), torch.arange(4.0))
    assert term.sample_prior(code_trace(torch.zeros(2, 4, 1))).unique().numel() == 4
