"""Laws that every learned prior keeps, and what each of them says it is. A new one is one row."""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from functools import partial

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import distributions as td
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Independent
from torch.utils._python_dispatch import TorchDispatchMode

from varied.distributions import Gaussian as Normal
from varied.distributions import closed_kl
from varied.distributions.code import Code
from varied.errors import VariedError
from varied.nets import with_context
from varied.posteriors import Gaussian, Posterior
from varied.priors import PRIORS, Flow, FlowMatching, FullMixture, Mixture, Transformer, VampPrior
from varied.priors.blend import DiagonalBlend, FullBlend, PosteriorBlend
from varied.priors.later import Later
from varied.priors.transported import Transported
from varied.trace import Given, Level

DATA = (3, 2)


# What a prior is attached to


class Laplace(Posterior):
    """A posterior with another shape, for what must not count on Gaussians."""

    arity = 2

    def build(self, loc, h):
        return td.Laplace(loc, 0.2 + h.exp(), validate_args=False)


def encoder(event, context=0, posterior=Gaussian):
    head = posterior(event)

    def net(shape):
        linear = nn.Linear(math.prod(shape), math.prod(head.raw))
        nn.init.normal_(linear.weight, std=0.7)
        return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, head.raw))

    return Given(with_context(net, DATA, context), head, DATA)


class Quantizer(nn.Module):
    """A codebook, as a prior over codes sees it: each site is one number of a flat latent."""

    def __init__(self, codes=3, sites=4):
        super().__init__()
        self.codes, self.sites, self.event = codes, sites, (sites,)
        self.register_buffer("book", 10.0 * torch.arange(codes))

    def lookup(self, index):
        return self.book[index]


class Quantized:
    def __init__(self, head):
        self.head, self.inputs = head, DATA


# The rows: from an event and features of context to a prior that is ready


def shaken(prior):
    """Return a prior that is not as it starts."""
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.2 * torch.randn_like(param))
    return prior


def mixture(event, context=0, **settings):
    return shaken(Mixture(event, **settings))


def vamp(event, context=0, posterior=Gaussian, components=7):
    prior = VampPrior(event, context, components=components)
    prior.attach(encoder(event, context, posterior))
    c = torch.randn(50, context) if context else None
    prior.begin(torch.rand(50, *DATA), c)
    return prior


def flow(event, context=0, **settings):
    return shaken(Flow(event, context, **{"width": 8, "transforms": 2} | settings))


def matching(event, context=0, **settings):
    prior = FlowMatching(event, context, **{"width": 8, "depth": 1, "steps": 10} | settings)
    prior.begin(1 + 1.5 * torch.randn(200, *event))
    return shaken(prior)


def gmm(event, context=0, **settings):
    prior = FullMixture(event, **settings)
    z = torch.randn(300, *event)
    prior.fit(z + (z > 0) * 0.7 * z.roll(1, -1))
    return prior


ROWS = {
    "mixture": partial(mixture, components=5),
    "vamp": vamp,
    "vamp-laplace": partial(vamp, posterior=Laplace),
    "flow-maf": flow,
    "flow-nsf": partial(flow, kind="nsf"),
    "flow-realnvp": partial(flow, kind="realnvp", transforms=3),
    "flow-nsf-coupling": partial(flow, kind="nsf-coupling"),
    "flow-matching": matching,
    "gmm": partial(gmm, components=3),
}
MINE = {"mixture", "vamp", "flow", "transformer", "flow-matching", "gmm"}
EVENTS = [(1,), (5,), (2, 3, 3)]

rows = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
contexts = pytest.mark.parametrize("context", [0, 2], ids=["", "context"])


def halves(make, event):
    return not (make is ROWS["flow-realnvp"] and event == (1,))


def given(prior, context, batch=4):
    like = next(itertools.chain(prior.parameters(), prior.buffers()))
    return prior(torch.randn(batch, context).to(like.dtype) if context else None)


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
    p = given(doubled(make((2,), context)), context, batch=1)
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
    if isinstance(other, Later):
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
        (partial(Mixture, (3,), components=0), "at least 1; 50"),
        (partial(VampPrior, (3,), 0, components=0), "at least 1; 500"),
        (partial(Flow, (3,), 0, kind="naf"), "There is no flow"),
        (partial(Flow, (3,), 0, transforms=0), "transforms=0"),
        (partial(Flow, (3,), 0, width=0), "width=0"),
        (partial(Flow, (1,), 0, kind="realnvp"), "use kind='maf'"),
        (partial(Transformer, (3,), 0, width=10, heads=4), "multiple of heads=4"),
        (partial(Transformer, (3,), 0, depth=0), "depth=0"),
        (partial(Transformer, (3,), 0, dropout=1.0), "dropout=1.0"),
        (partial(FlowMatching, (3,), 0, steps=0), "steps=0"),
        (partial(FullMixture, (3,), components=0), "at least 1; 10"),
        (partial(FullMixture, (64, 7, 7)), "use prior='flow-matching'"),
        (lambda: FullMixture((3,)).fit(torch.randn(9, 3)), "fewer components or more data"),
        (lambda: FullMixture((3,)).fit(torch.full((90, 3), math.nan)), "not finite"),
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
    ours, wanted = DiagonalBlend(*params), theirs(*params)
    z = torch.randn(50, 4, 2, 3).double()
    torch.testing.assert_close(ours.log_prob(z), wanted.log_prob(z), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(ours.mean, wanted.mean, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours.variance, wanted.variance, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("log_variance", [-9.0, -4.0, 0.0, 4.0])
def test_multiplied_out_in_float32_it_is_as_exact_as_a_sum_of_squares(log_variance):
    logits, mean = torch.randn(500), 3 * torch.randn(500, 40)
    spread = log_variance + 0.3 * torch.randn(500, 40)
    p = DiagonalBlend(logits, mean, spread)
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
    p = DiagonalBlend(torch.zeros(500), torch.randn(500, 40), torch.zeros(500, 40))
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
    p = Mixture((5,), components=400)()
    assert p.mean.abs().max() < 0.2
    assert (p.variance - 1).abs().max() < 0.2
    assert torch.cdist(p.means, p.means).fill_diagonal_(9).min() > 0.01


def test_components_far_out_stay_finite_with_a_gradient():
    prior = Mixture((2,), components=2)
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
        assert isinstance(prior(), DiagonalBlend if posterior is Gaussian else PosteriorBlend)


def test_vamp_starts_from_rows_and_stays_where_the_data_are():
    x, c = torch.rand(40, *DATA).round(), torch.randn(40, 2)
    for data, inside in ((x, True), (x.sub(0.5).mul(4), False)):
        prior = VampPrior((3,), 2, components=30)
        prior.attach(encoder((3,), 2))
        assert not prior.unit
        prior.begin(data, c)
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
    prior = VampPrior((3,), 0, components=30)
    prior.attach(encoder((3,)))
    x = torch.rand(7, *DATA)
    x[2, 1] = math.nan
    prior.begin(x)
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
    prior = vamp((3,), posterior=Laplace, components=50)
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
    prior = flow((4,), context, kind=kind).double()
    p = given(prior, context, batch=1)
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
    p, z = Flow((size,), 0, kind=kind)(), torch.randn(200, size)
    wanted = td.Normal(0, 1).log_prob(z).sum(1)
    assert (p.log_prob(z) - wanted).abs().mean() < 0.05 * size


def test_a_flow_draws_with_a_gradient_and_its_middle_is_where_zero_goes():
    prior = flow((2, 3), 2)
    p = given(prior, 2)
    p.rsample((5,)).square().sum().backward()
    assert any(param.grad is not None and param.grad.any() for param in prior.parameters())
    assert (p.draw(temperature=0.0) == p.mean).all()


# Over codes


def transformer(context=0, codes=3, sites=4, **settings):
    quantizer = Quantizer(codes, sites)
    prior = Transformer((sites,), context, **{"width": 16, "depth": 2, "dropout": 0.0} | settings)
    prior.attach(Quantized(quantizer))
    with torch.no_grad():
        for param in prior.parameters():
            param.add_(0.3 * torch.randn_like(param))
    return prior


EVERY = torch.tensor(list(itertools.product(range(3), repeat=4)))


@contexts
def test_strings_of_codes_add_up_to_one(context):
    prior = transformer(context).double()
    c = torch.randn(5, context).double() if context else None
    p = prior(c)
    found = p.log_prob_index(EVERY.unsqueeze(1)) if context else p.log_prob_index(EVERY)
    total = found.exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-12, rtol=0)
    assert found.exp().std(0).min() > 1e-3
    if context:
        assert found.std(1).min() > 1e-3


@contexts
def test_a_site_does_not_see_itself_or_what_comes_after(context):
    net = transformer(context, sites=6).net
    index = torch.randint(3, (2, 6))
    c = torch.randn(2, context) if context else None
    logits = net(index, c)
    for site in range(6):
        other = index.clone()
        other[:, site] = (other[:, site] + 1) % 3
        moved = (net(other, c) - logits).abs().amax((0, 2)) > 1e-6
        assert not moved[: site + 1].any()
        assert moved[site + 1 :].all()


@contexts
def test_spelling_with_a_memory_is_the_net_with_teacher_forcing(context):
    net = transformer(context, sites=6).double().net
    index = torch.randint(3, (5, 6))
    c = torch.randn(5, context).double() if context else None
    spell = net.spelling(5, c)
    found = [spell(index[:, site - 1] if site else None) for site in range(6)]
    torch.testing.assert_close(torch.stack(found, 1), net(index, c), atol=1e-12, rtol=1e-12)


def test_draws_of_codes_have_the_law_of_their_probabilities():
    prior = transformer(2)
    p = prior(torch.randn(2, 2))
    drawn = p.draw_index(8_000)
    assert drawn.shape == (8_000, 2, 4)
    for row in range(2):
        wanted = 8_000 * p.log_prob_index(EVERY.unsqueeze(1).expand(-1, 2, -1))[:, row].exp()
        counts = Counter(map(tuple, drawn[:, row].tolist()))
        found = torch.tensor([counts[tuple(one)] for one in EVERY.tolist()])
        often = wanted > 5
        chi = ((found - wanted).square() / wanted)[often].sum()
        assert often.sum() > 20
        assert chi < often.sum() + 5 * math.sqrt(2 * often.sum())


@contexts
def test_latents_over_codes_have_the_shapes_that_were_asked_for(context):
    prior = transformer(context)
    c = torch.randn(5, context) if context else None
    p = prior(c)
    batch = (5,) if context else ()
    assert p.batch_shape == batch and p.event_shape == (4,)
    for shape, lead in (((), ()), (3, (3,)), ((2, 3), (2, 3)), ((0,), (0,))):
        assert p.draw(shape).shape == (*lead, *batch, 4)
    assert set(p.sample((9,)).unique().tolist()) <= {0.0, 10.0, 20.0}
    assert p.log_prob_index(torch.randint(3, (7, 5, 4))).shape == (7, 5)


def test_temperature_and_top_keep_to_the_likely_codes():
    p = transformer()()
    likeliest = p.draw_index(5, temperature=0)
    assert (likeliest == likeliest[0]).all()
    assert (p.draw_index(50, top=1) == likeliest[0]).all()
    assert (p.draw_index(50, temperature=1e-3) == likeliest[0]).all()
    first = p.net.spelling(1)(None)[0]
    kept = p.draw_index(500, top=2)[:, 0].unique().tolist()
    assert sorted(kept) == sorted(first.topk(2).indices.tolist())
    for wrong in ({"temperature": -1.0}, {"top": 0}):
        with pytest.raises(VariedError, match="must"):
            p.draw(3, **wrong)


@contexts
def test_kl_of_a_code_is_minus_its_log_probability(context):
    prior = transformer(context)
    index = torch.randint(3, (5, 4))
    value = prior._quantizer[0].lookup(index)
    q = Independent(Code(value, index, torch.zeros(5)), 1)
    p = prior(torch.randn(5, context) if context else None)
    kl = closed_kl(q, p)
    torch.testing.assert_close(kl, -p.log_prob_index(index), atol=0, rtol=0)
    assert kl.shape == (5,)
    assert Level(q.rsample((2,)), q, p).kl.shape == (2, 5)
    torch.testing.assert_close(p.cost(index), kl, atol=0, rtol=0)
    normal = Independent(Normal(value, torch.zeros(5, 4)), 1)
    assert closed_kl(normal, p) is None


def test_gradient_of_the_cost_reaches_every_parameter_of_the_transformer():
    prior = transformer(2, dropout=0.1)
    assert Transformer.over == "codes" and FlowMatching.over == "latents"
    prior(torch.randn(5, 2)).cost(torch.randint(3, (5, 4))).mean().backward()
    for name, param in prior.named_parameters():
        assert param.grad.isfinite().all() and param.grad.any(), name
    assert not any("book" in name for name in prior.state_dict())


def test_what_codes_do_not_have_is_refused():
    p = transformer()()
    with pytest.raises(VariedError, match="use log_prob_index"):
        p.log_prob(torch.zeros(4))
    with pytest.raises(VariedError, match="use draw"):
        _ = p.mean


def test_pieces_of_codes_change_nothing(monkeypatch):
    prior, index = transformer(2), torch.randint(3, (40, 4))
    p = prior(torch.randn(40, 2))
    whole = p.log_prob_index(index)
    prior.net.memory = 2**26 // 7
    torch.testing.assert_close(p.log_prob_index(index), whole, atol=1e-5, rtol=1e-5)
    assert p.draw(()).shape == (40, 4)


def test_a_transformer_starts_with_equal_chances_and_learns_a_law():
    prior = Transformer((4,), 0, width=32, depth=1, dropout=0.0)
    prior.attach(Quantized(Quantizer()))
    start = prior().log_prob_index(EVERY)
    assert (start + 4 * math.log(3)).abs().mean() < 0.4
    law = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])  # the next, given one

    def data(n):
        index = [torch.randint(3, (n,))]
        for _ in range(3):
            index.append(torch.multinomial(law[index[-1]], 1)[:, 0])
        return torch.stack(index, 1)

    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        prior().cost(data(128)).mean().backward()
        optimizer.step()
    entropy = math.log(3) - 3 * (law[0] * law[0].log()).sum()
    assert prior().cost(data(4000)).mean().item() == pytest.approx(entropy.item(), abs=0.1)


# Fitted later


@pytest.mark.parametrize("make", [partial(FlowMatching, context=0), FullMixture])
def test_before_it_is_fitted_a_later_prior_is_the_standard_normal(make):
    prior = make((2, 3))
    q = Independent(Normal(torch.randn(4, 2, 3), torch.randn(4, 2, 3)), 2)
    assert closed_kl(q, prior()).shape == (4,)
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
        p = Transported(
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
    monkeypatch.setattr("varied.priors.transported.EXACT", 3)
    many = prior().log_prob(z.expand(4000, 2, 4).contiguous())
    error = many.std(0) / math.sqrt(len(many))
    assert (error > 0).all()
    assert ((many.mean(0) - exact).abs() < 4 * error).all()


def test_density_of_what_was_carried_has_the_gradient_of_finite_differences():
    prior = matching((2,), 2, steps=3).double()
    p, z = given(prior, 2, batch=3), torch.randn(3, 2).double().requires_grad_()
    assert gradcheck(p.log_prob, (z,), atol=1e-6, rtol=1e-6)
    p.log_prob(z).sum().backward()
    assert all(
        param.grad.any() for name, param in prior.named_parameters() if "leave.b" not in name
    )


def test_flow_matching_starts_at_the_standard_normal_in_units_of_the_latents():
    prior = FlowMatching((5,), 0, width=64, steps=20)
    latents = 7 + 0.01 * torch.randn(4000, 5)
    prior.begin(latents)
    wanted = td.Normal(latents.mean(0), latents.std(0))
    z = prior().sample((2000,))
    assert (z.mean(0) - 7).abs().max() < 0.002
    assert (z.std(0) / 0.01 - 1).abs().max() < 0.2
    off = prior().log_prob(latents[:50]) - wanted.log_prob(latents[:50]).sum(1)
    assert off.abs().mean() < 0.5


def test_latents_that_do_not_vary_are_no_trouble():
    z = torch.randn(50, 3)
    z[:, 1] = 4.0
    for prior in (FlowMatching((3,), 0, width=8), FullMixture((3,), components=2)):
        prior.fit(z) if hasattr(prior, "fit") else prior.begin(z)
        assert prior().log_prob(z).isfinite().all()
        assert (prior().sample((9,))[:, 1] - 4).abs().max() < 0.1


def test_cost_of_flow_matching_is_least_at_the_velocity_that_carries_the_noise():
    def cost(change):
        torch.manual_seed(0)
        ideal = Transported(
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
    prior.begin(heaps(2000)[0])
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        prior().cost(heaps(256)[0]).mean().backward()
        optimizer.step()
    truth = theirs(
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
    prior = FullMixture((2, 2), components=2).double()
    torch.manual_seed(5)
    prior.fit(z)
    flat = z.flatten(1).double()
    scaled = (flat - flat.mean(0)) / flat.std(0, correction=0)
    # Two heaps far apart: any start of EM ends at the same mixture.
    sklearn = GaussianMixture(2, random_state=0).fit(scaled.numpy())
    wanted = torch.from_numpy(sklearn.score_samples(scaled.numpy()))
    wanted -= flat.std(0, correction=0).log().sum()
    torch.testing.assert_close(prior().log_prob(z.double()), wanted, atol=1e-4, rtol=0)
    assert isinstance(prior(), FullBlend)


def test_gmm_follows_from_the_seed():
    z = torch.randn(200, 3)

    def fitted(seed):
        prior = FullMixture((3,), components=4)
        torch.manual_seed(seed)
        prior.fit(z)
        return prior().log_prob(z)

    assert (fitted(1) == fitted(1)).all()
    assert (fitted(1) != fitted(2)).any()


def test_a_narrow_gmm_is_fitted_as_well_as_a_wide_one():
    z = torch.randn(400, 3)
    found = []
    for scale in (1.0, 1e-3):
        prior = FullMixture((3,), components=3)
        torch.manual_seed(0)
        prior.fit(scale * z)
        found.append(prior().log_prob(scale * z).mean() + 3 * math.log(scale))
    assert found[0] == pytest.approx(found[1].item(), abs=1e-3)
