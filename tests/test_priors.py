"""Tests that every learned prior passes, and tests of each prior. To test a new one, add a row."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import distributions as td
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from varied.distributions.base import HasTrainingCost, analytic_kl
from varied.errors import VariedError
from varied.heads import Head
from varied.models.vae import sample_with_temperature
from varied.nets import with_context
from varied.posteriors import Gaussian
from varied.priors import (
    PRIORS,
    ConditionalNormal,
    Flow,
    FlowMatching,
    GaussianMixture,
    LearnedGaussianMixture,
    Transformer,
    VampPrior,
)
from varied.priors.ex_post import ExPostPrior
from varied.priors.flow import FLOWS
from varied.priors.mixtures import DiagonalMixture, PosteriorMixture
from varied.trace import ConditionalDistribution

DATA = (3, 2)


class Laplace(Head):
    """A posterior that is not Gaussian."""

    params_per_element = 2

    def build(self, loc, h):
        return td.Laplace(loc, 0.2 + h.exp(), validate_args=False)


def encoder(event, context=0, posterior=Gaussian):
    head = posterior(event)

    def net(shape):
        linear = nn.Linear(math.prod(shape), math.prod(head.param_shape))
        nn.init.normal_(linear.weight, std=0.7)
        return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, head.param_shape))

    return ConditionalDistribution(with_context(net, DATA, context), head, DATA)


# The rows are functions that build a prior from an event and a number of context features


def perturbed(prior):
    """Return a prior away from its initialization."""
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.2 * torch.randn_like(param))
    return prior


def conditional_normal(event, context=0, **settings):
    """Return a prior that depends on two features if ``context`` is 0; they are then missing."""
    return perturbed(ConditionalNormal(event, context or 2, **{"hidden_units": 8} | settings))


def learned_gmm(event, context=0, **settings):
    return perturbed(LearnedGaussianMixture(event, **settings))


def vamp(event, context=0, posterior=Gaussian, n_components=7):
    prior = VampPrior(event, context, n_components=n_components)
    prior.attach(encoder(event, context, posterior))
    c = torch.randn(50, context) if context else None
    prior.init_from_data(torch.rand(50, *DATA), c)
    return prior


def flow(event, context=0, **settings):
    return perturbed(Flow(event, context, **{"width": 8, "n_transforms": 2} | settings))


def flow_matching(event, context=0, **settings):
    prior = FlowMatching(event, context, **{"width": 8, "depth": 1, "steps": 10} | settings)
    prior.init_from_data(1 + 1.5 * torch.randn(200, *event))
    return perturbed(prior)


def gmm(event, context=0, **settings):
    prior = GaussianMixture(event, **settings)
    z = torch.randn(300, *event)
    prior.fit(z + (z > 0) * 0.7 * z.roll(1, -1))
    return prior


ROWS = {
    "conditional-normal": conditional_normal,
    "learned-gmm": partial(learned_gmm, n_components=5),
    "vamp": vamp,
    "vamp-laplace": partial(vamp, posterior=Laplace),
    "flow-maf": flow,
    "flow-nsf": partial(flow, flow="nsf"),
    "flow-realnvp": partial(flow, flow="realnvp", n_transforms=3),
    "flow-nsf-coupling": partial(flow, flow="nsf-coupling"),
    "flow-matching": flow_matching,
    "gmm": partial(gmm, n_components=3),
}
LEARNED = {
    "conditional-normal",
    "learned-gmm",
    "vamp",
    "flow",
    "transformer",
    "flow-matching",
    "gmm",
}
EVENTS = [(1,), (5,), (2, 3, 3)]

rows = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
contexts = pytest.mark.parametrize("context", [0, 2], ids=["", "context"])
flows = pytest.mark.parametrize("name", FLOWS)


def distribution(prior, context, batch_size=4):
    """Return p(z | c) for a random context."""
    return prior(torch.randn(batch_size, context).to(prior.zero) if context else None)


def doubled(prior):
    if isinstance(prior, VampPrior):
        prior.encoder.double()
    return prior.double()


def test_every_learned_prior_has_a_row():
    assert {type(make((3,))) for make in ROWS.values()} | {Transformer} == {
        PRIORS[name] for name in LEARNED
    }
    assert {name for name in LEARNED if PRIORS[name].fitted_later} == {
        "transformer",
        "flow-matching",
        "gmm",
    }


@rows
@contexts
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_shapes(make, context, event):
    if make is ROWS["flow-realnvp"] and event == (1,):
        return  # which cannot be halved
    p = distribution(make(event, context), context)
    assert p.event_shape == event
    batch = tuple(p.batch_shape)
    assert batch in ((), (4,))
    z = p.sample((3,))
    assert z.shape == (3, *batch, *event)
    assert not z.requires_grad
    assert z.isfinite().all()
    assert p.log_prob(torch.zeros(6, 4, *event)).shape == (6, 4)
    assert p.log_prob(p.sample()).shape == batch
    assert p.mean.shape == (*batch, *event)
    assert p.sample((0,)).shape == (0, *batch, *event)


@rows
@contexts
def test_conditional_density_depends_on_the_context_of_each_row(make, context):
    prior = doubled(make((3,), context))
    z, c = torch.randn(6, 4, 3).double(), torch.randn(4, context or prior.context).double()
    p = prior(c)
    if not p.batch_shape:
        return
    expected = [prior(c[i : i + 1]).log_prob(z[:, i : i + 1]) for i in range(4)]
    torch.testing.assert_close(p.log_prob(z), torch.cat(expected, 1), atol=1e-9, rtol=1e-9)
    assert (p.log_prob(z[:, :1]).std(1) > 1e-4).all()


@rows
@contexts
def test_density_integrates_to_one_and_samples_follow_it(make, context):
    p = distribution(doubled(make((2,), context)), context, batch_size=1)
    line = torch.linspace(-16, 16, 161).double()
    z = torch.cartesian_prod(line, line)
    lead = [1] * len(p.batch_shape)
    with torch.no_grad():
        log_prob = p.log_prob(z.reshape(len(z), *lead, 2)).reshape(-1)
        mass = log_prob.exp() * (32 / 160) ** 2
        samples = p.sample((20_000,)).reshape(-1, 2)
    assert mass.sum() == pytest.approx(1, abs=4e-3)  # the grid is coarse for narrow densities
    for feature in (torch.clone, torch.tanh, torch.square, partial(torch.prod, dim=-1)):
        values, expected = feature(samples), torch.tensordot(mass, feature(z), 1)
        error = values.std(0) / math.sqrt(len(values))
        assert ((values.mean(0) - expected).abs() < 5 * error + 0.01 * values.std(0)).all()


@rows
@contexts
def test_gradient_reaches_every_parameter(make, context):
    prior = make((3,), context)
    p = distribution(prior, context or prior.context)
    z = torch.randn(9, 4, 3, requires_grad=True)
    (p.cost(z) if isinstance(p, HasTrainingCost) else -p.log_prob(z)).sum().backward()
    for name, param in prior.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all()
        assert param.grad.any(), name
    assert z.grad.isfinite().all() and z.grad.any()


@rows
def test_loaded_prior_is_equal(make):
    prior, loaded = make((3,)), make((3,))
    if isinstance(prior, VampPrior):
        loaded.attach(prior.encoder)
    if isinstance(loaded, ExPostPrior):
        loaded.is_fitted = False
    loaded.load_state_dict(prior.state_dict())
    z = torch.randn(5, 3)
    assert (prior().log_prob(z) == loaded().log_prob(z)).all()
    samples = []
    for p in (prior(), loaded()):
        torch.manual_seed(3)
        samples.append(p.sample((4,)))
    assert torch.equal(*samples)


@rows
def test_low_temperature_gives_samples_of_higher_density(make):
    p = make((3,))()
    samples = []
    draw = partial(sample_with_temperature, p, 500)
    for draws in (partial(draw, 1.0), partial(draw, 0.3), partial(p.sample, (500,))):
        torch.manual_seed(1)
        samples.append(draws())
    wide, narrow, plain = samples
    assert p.log_prob(narrow).mean() > p.log_prob(wide).mean() + 0.3
    assert torch.equal(plain, wide)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (partial(LearnedGaussianMixture, (3,), n_components=0), "at least 1; the default is 50"),
        (partial(ConditionalNormal, (3,), 0), "train with --conditional"),
        (partial(ConditionalNormal, (3,), 2, hidden_units=0), "at least 1; the default is 256"),
        (partial(VampPrior, (3,), 0, n_components=0), "at least 1; the default is 500"),
        (partial(Flow, (3,), 0, flow="naf"), "There is no flow"),
        (partial(Flow, (3,), 0, n_transforms=0), "n_transforms=0"),
        (partial(Flow, (3,), 0, width=0), "width=0"),
        (partial(Flow, (1,), 0, flow="realnvp"), "use flow='maf'"),
        (partial(Transformer, (3,), 0, width=10, n_heads=4), "multiple of n_heads=4"),
        (partial(Transformer, (3,), 0, depth=0), "depth=0"),
        (partial(Transformer, (3,), 0, dropout=1.0), "dropout=1.0"),
        (partial(FlowMatching, (3,), 0, steps=0), "steps=0"),
        (partial(GaussianMixture, (3,), n_components=0), "at least 1; the default is 10"),
        (partial(GaussianMixture, (64, 7, 7)), "use prior='flow-matching'"),
        (lambda: GaussianMixture((3,)).fit(torch.randn(9, 3)), "fewer components or more data"),
        (lambda: GaussianMixture((3,)).fit(torch.full((90, 3), math.nan)), "non-finite"),
        (lambda: VampPrior((3,), 0).encoder, r"call attach\(encoder\) first"),
        (lambda: Transformer((3,), 0)(), r"call attach\(encoder\) first"),
        (lambda: Transformer((3,), 0).attach(encoder((3,))), "use posterior='vq'"),
    ],
)
def test_invalid_settings_and_data_are_rejected(make, match):
    with pytest.raises(VariedError, match=match):
        make()


# Conditional normal distributions


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_conditional_normal_starts_as_the_standard_normal_with_a_closed_form_kl(event):
    prior, c = ConditionalNormal(event, 2), torch.randn(4, 2)
    normal, p = PRIORS["standard-normal"](event)(), prior(c)
    z = torch.randn(3, 4, *event)
    torch.testing.assert_close(p.log_prob(z), normal.log_prob(z))
    q = perturbed(ConditionalNormal(event, 2))(torch.randn(4, 2))
    assert analytic_kl(q, p).shape == (4,)
    torch.testing.assert_close(analytic_kl(q, p), analytic_kl(q, normal))
    assert analytic_kl(q, perturbed(prior)(c)).ne(analytic_kl(q, normal)).all()


def test_standardized_latents_of_a_conditional_normal_are_standard_normal_in_every_context():
    prior, c = conditional_normal((2, 3, 3), 2), torch.randn(4, 2)
    z = prior(c).sample((20_000,))
    standardized = prior.standardize(z, c)
    assert standardized.mean(0).abs().max() < 0.05
    assert (standardized.std(0) - 1).abs().max() < 0.05
    torch.testing.assert_close(prior.unstandardize(standardized, c), z, atol=1e-4, rtol=1e-4)


def test_marginal_of_a_conditional_normal_is_the_average_over_contexts():
    prior, c = conditional_normal((3,), 2), torch.randn(5, 2)
    c, z = c[[0, 1, 1, 2, 4, 1]], torch.randn(7, 1, 3)
    expected = prior(c).log_prob(z).exp().mean(1).log()
    torch.testing.assert_close(prior.marginal(c).log_prob(z[:, 0]), expected)


# Mixtures


def torch_mixture(logits, mean, log_variance):
    components = td.Independent(td.Normal(mean, (0.5 * log_variance).exp()), mean.dim() - 1)
    return td.MixtureSameFamily(td.Categorical(logits=logits), components)


def test_diagonal_mixture_equals_that_of_torch():
    params = [torch.randn(*shape).double() for shape in ((6,), (6, 2, 3), (6, 2, 3))]
    p, expected = DiagonalMixture(*params), torch_mixture(*params)
    z = torch.randn(50, 4, 2, 3).double()
    torch.testing.assert_close(p.log_prob(z), expected.log_prob(z), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(p.mean, expected.mean, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(p.variance, expected.variance, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("log_variance", [-9.0, -4.0, 0.0, 4.0])
def test_diagonal_mixture_in_float32_is_precise(log_variance):
    logits, mean = torch.randn(500), 3 * torch.randn(500, 40)
    log_variances = log_variance + 0.3 * torch.randn(500, 40)
    p = DiagonalMixture(logits, mean, log_variances)
    z = p.sample((200,))
    exact = torch_mixture(logits.double(), mean.double(), log_variances.double())
    log_prob = p.log_prob(z)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob.double(), exact.log_prob(z.double()), atol=1e-4, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and "view" not in func.__name__:
            self.size = max(self.size, out.numel())
        return out


def test_memory_of_a_large_mixture_is_bounded():
    p = DiagonalMixture(torch.zeros(500), torch.randn(500, 40), torch.zeros(500, 40))
    z = torch.randn(5000, 4, 40)
    with torch.no_grad(), LargestTensor() as largest:
        log_prob = p.log_prob(z)
    assert log_prob.shape == (5000, 4)
    assert largest.size <= 2**23 < log_prob.numel() * 500


def test_density_in_chunks_is_the_same():
    p, z = gmm((4,))(), torch.randn(50, 4)
    expected = p.log_prob(z)
    p.floats_per_row = 2**23 // 7
    torch.testing.assert_close(p.log_prob(z), expected, atol=1e-6, rtol=1e-6)


def test_learned_mixture_starts_with_distinct_components_and_standard_moments():
    p = LearnedGaussianMixture((5,), n_components=400)()
    assert p.mean.abs().max() < 0.2
    assert (p.variance - 1).abs().max() < 0.2
    assert torch.cdist(p.means, p.means).fill_diagonal_(9).min() > 0.01


def test_extreme_components_have_finite_gradients():
    prior = LearnedGaussianMixture((2,), n_components=2)
    with torch.no_grad():
        prior.means[0], prior.log_variances[0], prior.log_variances[1] = 1e3, -60.0, 60.0
    prior().log_prob(torch.randn(9, 2)).sum().backward()
    assert all(p.grad.isfinite().all() for p in prior.parameters())
    assert prior.log_variances.grad[1].all()


@pytest.mark.parametrize("make", [gmm, ROWS["vamp-laplace"], learned_gmm])
def test_moments_of_mixtures_equal_those_of_samples(make):
    p = make((3,))()
    with torch.no_grad():
        z, mean, variance = p.sample((60_000,)), p.mean, p.variance
    torch.testing.assert_close(z.mean(0), mean, atol=0.05, rtol=0.02)
    torch.testing.assert_close(z.var(0), variance, atol=0.02, rtol=0.05)


# VampPrior


@pytest.mark.parametrize(
    ("posterior", "mixture"), [(Gaussian, DiagonalMixture), (Laplace, PosteriorMixture)]
)
def test_vamp_is_the_average_posterior_of_its_pseudo_inputs(posterior, mixture):
    prior = doubled(vamp((2, 3), posterior=posterior))
    z = torch.randn(10, 2, 3).double()
    posteriors = [prior.encoder(u[None]).log_prob(z) for u in prior.pseudo_inputs()]
    expected = torch.stack(posteriors).exp().mean(0).log()
    torch.testing.assert_close(prior().log_prob(z), expected, atol=1e-10, rtol=1e-10)
    assert isinstance(prior(), mixture)


@pytest.mark.parametrize("is_unit_interval", [True, False])
def test_vamp_starts_from_examples_and_stays_in_their_range(is_unit_interval):
    data, c = torch.rand(40, *DATA).round(), torch.randn(40, 2)
    data = data if is_unit_interval else data.sub(0.5).mul(4)
    prior = VampPrior((3,), 2, n_components=30)
    prior.attach(encoder((3,), 2))
    assert not prior.is_unit_interval
    prior.init_from_data(data, c)
    assert bool(prior.is_unit_interval) is is_unit_interval
    distance = torch.cdist(prior.pseudo_inputs().flatten(1), data.flatten(1))
    assert distance.min(1).values.max() < (0.1 if is_unit_interval else 0.6)
    nearest = (prior.contexts.unsqueeze(1) - c).abs().sum(-1).min(1)
    assert nearest.values.max() == 0
    assert len(nearest.indices.unique()) == 30
    with torch.no_grad():
        prior.inputs.mul_(1e3)
    inputs = prior.pseudo_inputs()
    assert bool(((inputs >= 0) & (inputs <= 1)).all()) is is_unit_interval


def test_vamp_starts_from_few_examples_with_missing_values():
    prior = VampPrior((3,), 0, n_components=30)
    prior.attach(encoder((3,)))
    x = torch.rand(7, *DATA)
    x[2, 1] = math.nan
    prior.init_from_data(x)
    assert prior.inputs.isfinite().all()
    distance = torch.cdist(prior.inputs.flatten(1), prior.inputs.flatten(1))
    assert distance.fill_diagonal_(9).min() > 0


def test_vamp_trains_the_encoder_without_owning_its_weights():
    prior = vamp((3,), 2)
    assert {name for name, _ in prior.named_parameters()} == {"inputs", "contexts"}
    assert set(prior.state_dict()) == {"inputs", "contexts", "is_unit_interval"}
    prior().log_prob(torch.randn(5, 3)).sum().backward()
    assert all(param.grad.any() for param in prior.encoder.parameters())


def test_vamp_of_a_copied_model_uses_the_copied_encoder():
    model = nn.Module()
    model.prior = vamp((3,))
    model.encoder = model.prior.encoder
    other = copy.deepcopy(model)
    assert other.prior.encoder is other.encoder
    assert other.encoder is not model.encoder


def test_vamp_encodes_all_pseudo_inputs_once_and_again_only_those_of_samples():
    sizes = []
    prior = vamp((3,), posterior=Laplace, n_components=50)
    prior.encoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    p = prior()
    p.log_prob(torch.randn(20, 6, 3))
    assert sizes == [50]
    p.sample((4,))
    assert sizes == [50, 4]


# Flows


@flows
@contexts
def test_log_determinant_of_a_flow_equals_that_of_its_jacobian(name, context):
    prior = flow((4,), context, flow=name).double()
    p = distribution(prior, context, batch_size=1)
    transform = p.flow.transform
    for z in torch.randn(5, 4).double():
        z = z.expand(*p.batch_shape, 4)
        jacobian = torch.autograd.functional.jacobian(transform, z).reshape(4, 4)
        expected = td.Normal(0, 1).log_prob(transform(z)).sum() + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(p.log_prob(z).sum(), expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(transform.inv(transform(z)), z, atol=1e-6, rtol=0)


@flows
@pytest.mark.parametrize("size", [2, 9])
def test_flow_starts_close_to_the_standard_normal(name, size):
    p, z = Flow((size,), 0, flow=name)(), torch.randn(200, size)
    expected = td.Normal(0, 1).log_prob(z).sum(1)
    assert (p.log_prob(z) - expected).abs().mean() < 0.05 * size


def test_flow_has_samples_with_gradients_and_its_mean_is_the_image_of_zero():
    prior = flow((2, 3), 2)
    p = distribution(prior, 2)
    p.rsample((5,)).square().sum().backward()
    assert any(param.grad is not None and param.grad.any() for param in prior.parameters())
    assert torch.equal(p.draw(temperature=0.0), p.mean)
