"""Laws that every learned prior keeps, and what each of them says it is. A new one is one row."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from torch import distributions as td
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from varied.errors import VariedError
from varied.nets import with_context
from varied.posteriors import Gaussian, Posterior
from varied.priors import (
    PRIORS,
    Flow,
    FlowMatching,
    GaussianMixture,
    LearnedGaussianMixture,
    Transformer,
    VampPrior,
)
from varied.priors.ex_post import ExPostPrior
from varied.priors.mixtures import DiagonalMixture, PosteriorMixture
from varied.trace import ConditionalDistribution

DATA = (3, 2)


# What a prior is attached to


class Laplace(Posterior):
    """A posterior with another shape, for what must not count on Gaussians."""

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


# The rows: from an event and features of context to a prior that is ready


def shaken(prior):
    """Return a prior that is not as it starts."""
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.2 * torch.randn_like(param))
    return prior


def mixture(event, context=0, **settings):
    return shaken(LearnedGaussianMixture(event, **settings))


def vamp(event, context=0, posterior=Gaussian, n_components=7):
    prior = VampPrior(event, context, n_components=n_components)
    prior.attach(encoder(event, context, posterior))
    c = torch.randn(50, context) if context else None
    prior.init_from_data(torch.rand(50, *DATA), c)
    return prior


def flow(event, context=0, **settings):
    return shaken(Flow(event, context, **{"width": 8, "n_transforms": 2} | settings))


def matching(event, context=0, **settings):
    prior = FlowMatching(event, context, **{"width": 8, "depth": 1, "steps": 10} | settings)
    prior.init_from_data(1 + 1.5 * torch.randn(200, *event))
    return shaken(prior)


def gmm(event, context=0, **settings):
    prior = GaussianMixture(event, **settings)
    z = torch.randn(300, *event)
    prior.fit(z + (z > 0) * 0.7 * z.roll(1, -1))
    return prior


ROWS = {
    "learned-gmm": partial(mixture, n_components=5),
    "vamp": vamp,
    "vamp-laplace": partial(vamp, posterior=Laplace),
    "flow-maf": flow,
    "flow-nsf": partial(flow, flow="nsf"),
    "flow-realnvp": partial(flow, flow="realnvp", n_transforms=3),
    "flow-nsf-coupling": partial(flow, flow="nsf-coupling"),
    "flow-matching": matching,
    "gmm": partial(gmm, n_components=3),
}
MINE = {"learned-gmm", "vamp", "flow", "transformer", "flow-matching", "gmm"}
EVENTS = [(1,), (5,), (2, 3, 3)]

rows = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
contexts = pytest.mark.parametrize("context", [0, 2], ids=["", "context"])


def halves(make, event):
    return not (make is ROWS["flow-realnvp"] and event == (1,))


def given(prior, context, batch_size=4):
    like = next(itertools.chain(prior.parameters(), prior.buffers()))
    return prior(torch.randn(batch_size, context).to(like.dtype) if context else None)


def doubled(prior):
    for part in getattr(prior, "_encoder", ()):
        part.double()
    return prior.double()


def test_every_learned_prior_is_tried():
    tried = {type(make((3,))) for make in ROWS.values()} | {Transformer}
    assert tried == {PRIORS[name] for name in MINE}
    assert {name for name in MINE if PRIORS[name].fitted_later} == {
        "transformer",
        "flow-matching",
        "gmm",
    }


@rows
@contexts
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_a_prior_is_a_distribution_over_latents(make, context, event):
    if not halves(make, event):
        return
    p = given(make(event, context), context)
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
def test_a_prior_that_reads_its_context_does_so_and_one_row_each(make, context):
    prior = doubled(make((3,), context))
    z, c = torch.randn(6, 4, 3).double(), torch.randn(4, context).double()
    p = prior(c)
    if not p.batch_shape:
        return
    each = torch.stack([prior(one[None]).log_prob(z[:, [i]])[:, 0] for i, one in enumerate(c)], 1)
    torch.testing.assert_close(p.log_prob(z), each, atol=1e-9, rtol=1e-9)
    assert (p.log_prob(z[:, :1]).std(1) > 1e-4).all()


def grid(reach, points):
    line = torch.linspace(-reach, reach, points).double()
    return torch.cartesian_prod(line, line), (2 * reach / (points - 1)) ** 2


@rows
@contexts
def test_adds_up_to_one_and_draws_as_it_says(make, context):
    p = given(doubled(make((2,), context)), context, batch_size=1)
    z, cell = grid(16.0, 161)
    lead = (len(z), *p.batch_shape, 2)
    with torch.no_grad():
        mass = p.log_prob(z.reshape(len(z), *[1] * len(p.batch_shape), 2).expand(lead)).exp() * cell
        drawn = p.sample((20_000,)).reshape(-1, 2)
    mass = mass.reshape(-1)
    assert mass.sum() == pytest.approx(1, abs=4e-3)  # the grid is coarse for the narrow ones
    features = (lambda z: z, lambda z: z.tanh(), lambda z: z.square(), lambda z: z.prod(-1))
    for feature in features:
        found, wanted = feature(drawn), torch.tensordot(mass, feature(z), 1)
        error = found.std(0) / math.sqrt(len(found))
        assert ((found.mean(0) - wanted).abs() < 5 * error + 0.01 * found.std(0)).all()


@rows
@contexts
def test_gradient_reaches_every_parameter(make, context):
    prior = make((3,), context)
    p = given(prior, context)
    z = torch.randn(9, 4, 3, requires_grad=True)
    (p.cost(z) if hasattr(p, "cost") else -p.log_prob(z)).sum().backward()
    for name, param in prior.named_parameters():
        assert param.grad is not None, name
        assert param.grad.isfinite().all()
        assert param.grad.any(), name
    assert z.grad.isfinite().all() and z.grad.any()


@rows
def test_a_loaded_prior_is_the_same(make):
    prior, other = make((3,)), make((3,))
    if isinstance(prior, VampPrior):
        other.attach(prior._encoder[0])
    if isinstance(other, ExPostPrior):
        other.settled = False
    other.load_state_dict(prior.state_dict())
    torch.manual_seed(3)
    z, once = torch.randn(5, 3), prior().sample((4,))
    torch.manual_seed(3)
    assert (torch.randn(5, 3) == z).all() and (other().sample((4,)) == once).all()
    assert (prior().log_prob(z) == other().log_prob(z)).all()


@rows
def test_temperature_draws_in_towards_the_typical(make):
    p = make((3,))()
    torch.manual_seed(1)
    wide = p.draw(500)
    torch.manual_seed(1)
    narrow = p.draw(500, temperature=0.3)
    assert p.log_prob(narrow).mean() > p.log_prob(wide).mean() + 0.3
    torch.manual_seed(1)
    assert (p.sample((500,)) == wide).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (partial(LearnedGaussianMixture, (3,), n_components=0), "at least 1; 50"),
        (partial(VampPrior, (3,), 0, n_components=0), "at least 1; 500"),
        (partial(Flow, (3,), 0, flow="naf"), "There is no flow"),
        (partial(Flow, (3,), 0, n_transforms=0), "n_transforms=0"),
        (partial(Flow, (3,), 0, width=0), "width=0"),
        (partial(Flow, (1,), 0, flow="realnvp"), "use flow='maf'"),
        (partial(Transformer, (3,), 0, width=10, n_heads=4), "multiple of n_heads=4"),
        (partial(Transformer, (3,), 0, depth=0), "depth=0"),
        (partial(Transformer, (3,), 0, dropout=1.0), "dropout=1.0"),
        (partial(FlowMatching, (3,), 0, steps=0), "steps=0"),
        (partial(GaussianMixture, (3,), n_components=0), "at least 1; 10"),
        (partial(GaussianMixture, (64, 7, 7)), "use prior='flow-matching'"),
        (lambda: GaussianMixture((3,)).fit(torch.randn(9, 3)), "fewer components or more data"),
        (lambda: GaussianMixture((3,)).fit(torch.full((90, 3), math.nan)), "not finite"),
        (lambda: VampPrior((3,), 0)(), r"call attach\(encoder\) first"),
        (lambda: Transformer((3,), 0)(), r"call attach\(encoder\) first"),
        (lambda: Transformer((3,), 0).attach(encoder((3,))), "use posterior='vq'"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(VariedError, match=match):
        make()


# Mixtures


def theirs(logits, mean, log_variance):
    parts = td.Independent(td.Normal(mean, (0.5 * log_variance).exp()), mean.dim() - 1)
    return td.MixtureSameFamily(td.Categorical(logits=logits), parts)


def test_diagonal_mixture_is_that_of_torch():
    logits, mean, log_variance = torch.randn(6), torch.randn(6, 2, 3), torch.randn(6, 2, 3)
    params = logits.double(), mean.double(), log_variance.double()
    ours, wanted = DiagonalMixture(*params), theirs(*params)
    z = torch.randn(50, 4, 2, 3).double()
    torch.testing.assert_close(ours.log_prob(z), wanted.log_prob(z), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(ours.mean, wanted.mean, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours.variance, wanted.variance, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("log_variance", [-9.0, -4.0, 0.0, 4.0])
def test_multiplied_out_in_float32_it_is_as_exact_as_a_sum_of_squares(log_variance):
    logits, mean = torch.randn(500), 3 * torch.randn(500, 40)
    spread = log_variance + 0.3 * torch.randn(500, 40)
    p = DiagonalMixture(logits, mean, spread)
    z = p.sample((200,))
    exact = theirs(logits.double(), mean.double(), spread.double()).log_prob(z.double())
    assert p.log_prob(z).dtype == torch.float32
    torch.testing.assert_close(p.log_prob(z).double(), exact, atol=1e-4, rtol=0)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that was made."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and "view" not in func.__name__:
            self.size = max(self.size, out.numel())
        return out


def test_many_samples_of_a_large_mixture_fit_in_memory():
    p = DiagonalMixture(torch.zeros(500), torch.randn(500, 40), torch.zeros(500, 40))
    z = torch.randn(5000, 4, 40)
    with torch.no_grad(), Largest() as seen:
        found = p.log_prob(z)
    assert found.shape == (5000, 4)
    assert seen.size <= 2**23 < found.numel() * 500


def test_pieces_change_nothing():
    p, z = gmm((4,))(), torch.randn(50, 4)
    whole = p.log_prob(z)
    p.needs = 2**23 // 7
    torch.testing.assert_close(p.log_prob(z), whole, atol=1e-6, rtol=1e-6)


def test_a_learned_mixture_starts_spread_out_and_as_wide_as_the_standard_normal():
    p = LearnedGaussianMixture((5,), n_components=400)()
    assert p.mean.abs().max() < 0.2
    assert (p.variance - 1).abs().max() < 0.2
    assert torch.cdist(p.means, p.means).fill_diagonal_(9).min() > 0.01


def test_components_far_out_stay_finite_with_a_gradient():
    prior = LearnedGaussianMixture((2,), n_components=2)
    with torch.no_grad():
        prior.means[0], prior.spreads[0], prior.spreads[1] = 1e3, -60.0, 60.0
    prior().log_prob(torch.randn(9, 2)).sum().backward()
    assert all(p.grad.isfinite().all() for p in prior.parameters())
    assert prior.spreads.grad[1].all()


def test_moments_of_mixtures_are_those_of_their_draws():
    for prior in (gmm((3,)), vamp((3,), posterior=Laplace), mixture((3,))):
        p = prior()
        with torch.no_grad():
            z, mean, variance = p.sample((60_000,)), p.mean, p.variance
        torch.testing.assert_close(z.mean(0), mean, atol=0.05, rtol=0.02)
        torch.testing.assert_close(z.var(0), variance, atol=0.02, rtol=0.05)


# VampPrior


def test_vamp_is_the_posterior_averaged_over_its_pseudo_inputs():
    for posterior in (Gaussian, Laplace):
        prior = doubled(vamp((2, 3), posterior=posterior))
        given = prior._encoder[0]
        z = torch.randn(10, 2, 3).double()
        wanted = torch.stack([given(u[None]).log_prob(z) for u in prior.pseudo()]).exp().mean(0)
        torch.testing.assert_close(prior().log_prob(z), wanted.log(), atol=1e-10, rtol=1e-10)
        assert isinstance(prior(), DiagonalMixture if posterior is Gaussian else PosteriorMixture)


def test_vamp_starts_from_rows_and_stays_where_the_data_are():
    x, c = torch.rand(40, *DATA).round(), torch.randn(40, 2)
    for data, inside in ((x, True), (x.sub(0.5).mul(4), False)):
        prior = VampPrior((3,), 2, n_components=30)
        prior.attach(encoder((3,), 2))
        assert not prior.unit
        prior.init_from_data(data, c)
        assert bool(prior.unit) is inside
        away = torch.cdist(prior.pseudo().flatten(1), data.flatten(1))
        assert away.min(1).values.max() < (0.1 if inside else 0.6)
        nearest = (prior.contexts.unsqueeze(1) - c).abs().sum(-1).min(1)
        assert nearest.values.max() == 0
        assert len(nearest.indices.unique()) == 30
        with torch.no_grad():
            prior.inputs.mul_(1e3)
        assert bool(((prior.pseudo() >= 0) & (prior.pseudo() <= 1)).all()) is inside


def test_vamp_makes_do_with_fewer_rows_than_components_and_with_missing_numbers():
    prior = VampPrior((3,), 0, n_components=30)
    prior.attach(encoder((3,)))
    x = torch.rand(7, *DATA)
    x[2, 1] = math.nan
    prior.init_from_data(x)
    assert prior.inputs.isfinite().all()
    apart = torch.cdist(prior.inputs.flatten(1), prior.inputs.flatten(1))
    assert apart.fill_diagonal_(9).min() > 0


def test_vamp_trains_the_encoder_but_does_not_own_it():
    prior = vamp((3,), 2)
    assert {name for name, _ in prior.named_parameters()} == {"inputs", "contexts"}
    assert set(prior.state_dict()) == {"inputs", "contexts", "unit"}
    prior().log_prob(torch.randn(5, 3)).sum().backward()
    assert all(param.grad.any() for param in prior._encoder[0].parameters())


def test_a_copy_of_a_model_has_a_vamp_that_asks_the_copied_encoder():
    model = nn.Module()
    model.prior = vamp((3,))
    model.encoder = model.prior._encoder[0]
    other = copy.deepcopy(model)
    assert other.prior._encoder[0] is other.encoder
    assert other.encoder is not model.encoder


def test_vamp_encodes_its_pseudo_inputs_once_and_for_draws_only_those_that_are_drawn():
    seen = []
    prior = vamp((3,), posterior=Laplace, n_components=50)
    prior._encoder[0].register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    p = prior()
    p.log_prob(torch.randn(20, 6, 3))
    assert seen == [50]
    p.sample((4,))
    assert seen == [50, 4]


# Flows


@pytest.mark.parametrize("kind", ["maf", "nsf", "realnvp", "nsf-coupling"])
@contexts
def test_log_determinant_of_a_flow_is_that_of_its_jacobian(kind, context):
    prior = flow((4,), context, flow=kind).double()
    p = given(prior, context, batch_size=1)
    for z in torch.randn(5, 4).double():
        z = z.expand(*p.batch_shape, 4)
        jacobian = torch.autograd.functional.jacobian(p.flow.transform, z).reshape(4, 4)
        base = td.Normal(0, 1).log_prob(p.flow.transform(z)).sum()
        wanted = base + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(p.log_prob(z).sum(), wanted, atol=1e-9, rtol=0)
        back = p.flow.transform.inv(p.flow.transform(z))
        torch.testing.assert_close(back, z, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["maf", "nsf", "realnvp", "nsf-coupling"])
@pytest.mark.parametrize("size", [2, 9])
def test_a_flow_starts_close_to_the_standard_normal(kind, size):
    p, z = Flow((size,), 0, flow=kind)(), torch.randn(200, size)
    wanted = td.Normal(0, 1).log_prob(z).sum(1)
    assert (p.log_prob(z) - wanted).abs().mean() < 0.05 * size


def test_a_flow_draws_with_a_gradient_and_its_middle_is_where_zero_goes():
    prior = flow((2, 3), 2)
    p = given(prior, 2)
    p.rsample((5,)).square().sum().backward()
    assert any(param.grad is not None and param.grad.any() for param in prior.parameters())
    assert (p.draw(temperature=0.0) == p.mean).all()
