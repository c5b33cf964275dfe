"""Annealed importance sampling against models whose log p(x), rate and distortion are known."""

import math
from importlib import import_module

import pytest
import torch
from torch.distributions import MultivariateNormal

from varied.data import Batch, iter_batches
from varied.errors import VariedError
from varied.evaluate.ais import WANTED, ais, bdmc, rate_distortion
from varied.seeding import seeded
from varied.spec import Plan, Spec, compose

module = import_module("varied.evaluate.ais")

PLAIN = torch.Tensor.float
SIZE = 6


def model_of(shape=(SIZE,), **axes):
    usual = {"net": {"name": "mlp", "width": 16, "depth": 1}, "latent": 2, "plan": Plan()}
    return compose(Spec.parse(**(usual | axes)), shape)[0]


class Linear:
    """x = W z + b + noise of variance v: all is known in closed form, in float64."""

    def __init__(self, latent=3, scale=0.5, **axes):
        likelihood = {"name": "gaussian", "scale": scale}
        net = {"name": "mlp", "depth": 0}
        self.model = model_of(net=net, likelihood=likelihood, latent=latent, **axes)
        last = [m for m in self.model.decoder.net.modules() if isinstance(m, torch.nn.Linear)][-1]
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            last.weight.copy_(torch.randn(last.weight.shape, generator=draws))
        whole = last.weight.detach().double()
        self.w, self.beside = whole[:, :latent], whole[:, latent:]
        self.b, self.v = last.bias.detach().double(), scale**2
        self.covariance = self.w @ self.w.T + self.v * torch.eye(SIZE).double()

    def log_px(self, x, seen=slice(None)):
        covariance = self.covariance[seen][:, seen]
        return MultivariateNormal(self.b[seen], covariance).log_prob(x.double()[:, seen])

    def rows(self, n):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return MultivariateNormal(self.b, self.covariance).sample((n,)).float()

    def tempered(self, x, beta):
        """The rate and distortion of the Gaussian p(z) p(x | z)^beta, with shape (N) each."""
        eye = torch.eye(self.w.shape[1]).double()
        precision = eye + beta * self.w.T @ self.w / self.v
        covariance = torch.linalg.inv(precision)
        mean = beta / self.v * (x.double() - self.b) @ self.w @ covariance
        rate = covariance.trace() + mean.square().sum(1) - len(eye) + precision.logdet()
        off = (x.double() - self.b - mean @ self.w.T).square().sum(1)
        off = off + (self.w @ covariance @ self.w.T).trace()
        return rate / 2, SIZE / 2 * math.log(2 * math.pi * self.v) + off / (2 * self.v)


# log p(x)


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_the_bound_is_near_the_truth_and_below_it(start):
    world = Linear()
    x = world.rows(100)
    found = ais(world.model, PLAIN, [Batch(x)], chains=16, steps=100, leaps=3, start=start)
    off = found.bound - world.log_px(x)
    assert found.bound.dtype == torch.float64 and found.bound.shape == (100,)
    assert -0.3 < off.mean() < 0.02
    assert off.abs().median() < 0.6
    assert ((found.effective >= 1) & (found.effective <= 16)).all() and found.effective.mean() > 3
    assert abs(found.accepted.mean() - WANTED) < 0.08
    assert found.log_likelihood.n == 100


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_more_temperatures_give_a_tighter_bound(start):
    world = Linear()
    x = world.rows(60)
    slack = []
    for steps in (2, 8, 32, 128):
        how = {"chains": 4, "steps": steps, "leaps": 3, "start": start}
        found = ais(world.model, PLAIN, [Batch(x)], **how)
        slack.append((world.log_px(x) - found.bound).mean())
    assert slack[0] > slack[1] > slack[2] > slack[3] > -0.02
    assert slack[0] > 10 * slack[3]


def test_the_mean_of_the_weights_is_the_likelihood():
    """One chain and few temperatures: a loose bound, and still no bias before the logarithm."""
    world = Linear(latent=2, scale=1.0)
    x = world.rows(4).repeat(2500, 1)
    how = {"chains": 1, "steps": 12, "leaps": 3, "start": "prior"}
    off = ais(world.model, PLAIN, [Batch(x)], **how).bound - world.log_px(x)
    assert off.mean() < -0.1
    weights = off.exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(x))
    assert weights.std() / math.sqrt(len(x)) < 0.02


def test_one_temperature_is_importance_sampling_without_the_scouts():
    model = model_of((1, 8, 8), net={"name": "conv", "width": 4}, latent=(2, 2, 2))
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    found = ais(model, PLAIN, [Batch(x)], chains=7, steps=1, leaps=1, seed=3)
    with torch.no_grad(), seeded(3, "annealed", 0):
        q = model.encode(x)
        q.sample((64,))
        z = q.sample((module.SCOUTS + 7,))[module.SCOUTS :]
        log_w = model.decode(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
    w = log_w.double().exp()
    torch.testing.assert_close(found.bound, w.mean(0).log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.effective, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-4, atol=0)


def grid_of(model, x, beta):
    """log Z, distortion and rate of p(z) p(x | z)^beta by a sum over a fine grid of one z."""
    z = torch.linspace(-8, 8, 4001)[:, None, None]
    with torch.no_grad():
        log_px = model.decode(z).log_prob(x).double()
        log_pz = model.prior().log_prob(z).double() + math.log(16 / 4000)
    log_z = (beta * log_px + log_pz).logsumexp(0)
    share = (beta * log_px + log_pz - log_z).exp()
    distortion = -(share * log_px).sum(0)
    return log_z, distortion, -beta * distortion - log_z


def bent():
    """A decoder that is far from linear, of one latent."""
    model = model_of((16,), latent=1)
    with torch.no_grad():
        for one in model.decoder.net.modules():
            if isinstance(one, torch.nn.Linear):
                one.weight.mul_(3)
    with seeded(0, "data"), torch.no_grad():
        return model, model.sample(40)


def test_a_bent_decoder_agrees_with_a_sum_over_its_latent():
    model, x = bent()
    exact = grid_of(model, x, 1.0)[0]
    found = ais(model, PLAIN, [Batch(x)], steps=60, leaps=3)
    assert abs((found.bound - exact).mean()) < 0.03
    curve = rate_distortion(model, PLAIN, [Batch(x)], betas=(0.5, 3.0), steps=60, leaps=3)
    for index, beta in enumerate(curve.betas):
        _, distortion, rate = grid_of(model, x, beta)
        assert abs((curve.distortions[index] - distortion).mean()) < 0.15
        assert abs((curve.rates[index] - rate).mean()) < 0.1


def test_an_exact_posterior_leaves_nothing_to_chance():
    """Where q(z | x) is p(z | x), each weight is p(x), whatever the chains do."""
    world = Linear(latent=2)
    decode, encode = (
        next(m for m in net.modules() if isinstance(m, torch.nn.Linear))
        for net in (world.model.decoder.net, world.model.encoder.net)
    )
    with torch.no_grad():
        # Orthogonal columns: then the units of the posterior are independent.
        world.w = torch.linalg.qr(world.w).Q * torch.tensor([2.0, 0.7]).double()
        decode.weight.copy_(world.w)
        world.covariance = world.w @ world.w.T + world.v * torch.eye(SIZE).double()
        variance = 1 / (1 + world.w.square().sum(0) / world.v)
        gain = variance[:, None] * world.w.T / world.v
        encode.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
        encode.bias.copy_(torch.cat([-gain @ world.b, 10 * torch.atanh(variance.log() / 10)]))
    x, how = world.rows(20), {"chains": 4, "steps": 5, "leaps": 2}
    found = ais(world.model, PLAIN, [Batch(x)], **how)
    torch.testing.assert_close(found.bound, world.log_px(x), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.effective, torch.full((20,), 4.0).double())
    gap = bdmc(world.model, n=20, **how).gap
    assert abs(gap.value) < 1e-4 and gap.error < 1e-4


# From both sides


@pytest.mark.parametrize("start", ["posterior", "prior"])
@pytest.mark.parametrize(("steps", "most"), [(20, 6.0), (100, 1.2)])
def test_the_truth_lies_between(start, steps, most):
    world = Linear()
    found = bdmc(world.model, n=80, chains=16, steps=steps, leaps=3, start=start)
    with seeded(0, "bidirectional", 0), torch.no_grad():
        exact = world.log_px(world.model.sample(80)).mean().item()
    assert found.lower.value < exact + 0.05
    assert found.upper.value > exact - 0.05
    assert found.gap.value == pytest.approx(found.upper.value - found.lower.value)
    assert -0.05 < found.gap.value < most
    assert 0 < found.gap.error < most / 2
    assert (found.lower.n, found.upper.n, found.gap.n) == (80, 80, 80)


def test_the_way_back_is_the_way_there_reversed():
    """Seen both ways, a path's log-weight v less log p(x) has one density but for a factor exp(v).

    So the logistic function has the same mean of v there and of -v back: a bounded figure, which
    sees each fault of a weight, a transition or log p(x) on either way.
    """
    world, n = Linear(latent=2, scale=0.7), 5000
    with torch.no_grad(), seeded(0, "back"):
        z = world.model.sample_prior(n)
        x = world.model.decode(z).sample()
        path = module._Path(world.model, Batch(x), "prior")
        heats = module._sigmoid(12)
        there, back = module._Walk(path, 1, 3), module._Walk(path, 1, 3, z)
        list(there.passing(heats))
        back.back(heats, there.sizes)
    exact = world.log_px(x)
    assert all(map(torch.equal, there.sizes, reversed(back.sizes)))
    one, other = (there.bound - exact).sigmoid(), (back.bound + exact).sigmoid()
    assert one.mean() < 0.4
    assert abs((one - other).mean()) < 4 * (one - other).std() / math.sqrt(n) < 0.03


def test_the_size_of_a_step_is_that_of_the_scouts_alone():
    """What the counted chains do must not choose how they go on: the weights would be biased."""
    world, found = Linear(), []
    for moved in (slice(0, 0), slice(module.SCOUTS, None), slice(0, module.SCOUTS)):
        with torch.no_grad(), seeded(0, "sizes"):
            path = module._Path(world.model, Batch(world.rows(5)), "prior")
            walk = module._Walk(path, 4, 3)
            walk.z[moved] += 3
            walk.s, walk.d = path.both(walk.z)
            list(walk.passing(module._sigmoid(20)))
        found.append((torch.stack(walk.sizes), walk.bound))
    (size, bound), (same, other), (another, _) = found
    assert torch.equal(size, same) and not torch.equal(bound, other)
    assert not torch.equal(size, another)


def test_contexts_are_taken_in_turn(monkeypatch):
    world, asked = Linear(context=2), []
    context, latents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), world.model.sample_prior
    how = {"chains": 8, "steps": 60, "leaps": 3, "start": "prior"}
    c = context.repeat(17, 1)[:50]
    with seeded(0, "bidirectional", 0), torch.no_grad():
        x = world.model.sample(50, c)
    monkeypatch.setattr(world.model, "sample_prior", lambda n, c: asked.append(c) or latents(n, c))
    found = bdmc(world.model, n=50, context=context, **how)
    assert torch.equal(asked[0], c)
    exact = world.log_px(x - c @ world.beside.T.float()).mean().item()
    assert found.lower.value - 0.05 < exact < found.upper.value + 0.05
    assert found.gap.value < 1.2
    one = ais(world.model, PLAIN, [Batch(x, c)], **how)
    assert abs(one.bound.mean() - exact) < 0.6


# Rate and distortion


def test_the_curve_is_that_of_the_tempered_gaussian():
    world = Linear(scale=1.0)
    x, betas = world.rows(150), (4.0, 0.1, 1.0, 0.0, 0.5)
    curve = rate_distortion(world.model, PLAIN, [Batch(x)], betas=betas, steps=100, leaps=3)
    assert curve.rates.shape == curve.distortions.shape == (5, 150)
    for index, beta in enumerate(betas):
        rate, distortion = world.tempered(x, beta)
        assert -0.05 < curve.rate[index].value - rate.mean() < 0.2
        spread = (curve.distortions[index] - distortion).std() / math.sqrt(150)
        assert abs(curve.distortion[index].value - distortion.mean()) < 4 * spread + 0.05
    assert (curve.rates[3] == 0).all()
    exact = world.log_px(x).mean()
    assert abs(-curve.rate[2].value - curve.distortion[2].value - exact) < 0.15


# What must not matter, and what is refused


def test_missing_numbers_are_left_out():
    world = Linear()
    x, mask = world.rows(40), torch.ones(40, SIZE)
    mask[:, 4:] = 0
    holes = x.masked_fill(mask == 0, math.nan)
    how = {"chains": 16, "steps": 100, "leaps": 3}
    found = ais(world.model, PLAIN, [Batch(holes, mask=mask)], **how)
    exact = world.log_px(x, torch.arange(4))
    assert -0.3 < (found.bound - exact).mean() < 0.15
    with pytest.raises(VariedError, match="NaN"):
        ais(world.model, PLAIN, [Batch(holes)], steps=2, leaps=1)


@pytest.mark.parametrize(
    "axes",
    [
        {"prior": {"name": "learned-gmm", "n_components": 3}},
        {"prior": {"name": "vamp", "n_components": 4}},
        {"prior": {"name": "flow", "width": 8, "n_transforms": 2}},
        {"posterior": "iaf"},
        {"posterior": "flow"},
        {"prior": {"name": "gmm", "n_components": 3}},
        {"prior": {"name": "flow-matching", "width": 8, "depth": 1, "steps": 4}},
    ],
)
def test_any_prior_or_posterior_with_a_density_agrees_with_a_sum(axes):
    model = model_of(**axes)
    x = torch.rand(4, SIZE, generator=torch.Generator().manual_seed(0)).round()
    if model.prior.fitted_later:
        model.prior.mark_fitted()
    line = torch.linspace(-8, 8, 61)
    z = torch.cartesian_prod(line, line)[:, None]
    with torch.no_grad():
        log_joint = model.decode(z).log_prob(x) + model.prior().log_prob(z)
    exact = log_joint.double().logsumexp(0) + 2 * math.log(16 / 60)
    how = {"chains": 24, "steps": 6, "leaps": 1}
    for start, most in (("posterior", 0.35), ("prior", 0.06)):
        found = ais(model, PLAIN, [Batch(x)], start=start, **how)
        assert abs((found.bound - exact).mean()) < most


def test_nothing_is_changed_and_a_seed_is_a_seed():
    model = model_of((1, 8, 8), net={"name": "conv", "width": 4}, latent=(2, 2, 2)).train()
    x = torch.rand(8, 1, 8, 8).round()
    model.decoder.net.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    how = {"chains": 2, "steps": 4, "leaps": 2}
    for run in (
        lambda seed: ais(model, PLAIN, iter_batches(x, size=5), seed=seed, **how).bound,
        lambda seed: bdmc(model, n=5, seed=seed, **how).gap.value,
        lambda seed: rate_distortion(model, PLAIN, iter_batches(x, size=5), seed=seed, **how).rates,
    ):
        first, again, other = (torch.as_tensor(run(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert not first.requires_grad
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and all(m.training for m in model.modules())
    assert flags == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    now = model.state_dict()
    assert all(torch.equal(now[name], was) for name, was in weights.items())


def test_what_fits_in_memory_does_not_matter(monkeypatch):
    """The noise is that of the batch: pieces differ by the rounding of products alone."""
    model, x = bent()
    how = {"chains": 5, "steps": 20, "leaps": 2}
    whole = ais(model, PLAIN, [Batch(x)], **how)
    seen, both = [], module._Path._both
    monkeypatch.setattr(module, "CHUNK", 2 * x.numel())
    monkeypatch.setattr(module._Path, "_both", lambda p, z: seen.append(len(z)) or both(p, z))
    pieces = ais(model, PLAIN, [Batch(x)], **how)
    assert set(seen) == {1, 2}
    torch.testing.assert_close(pieces.bound, whole.bound, atol=1e-3, rtol=0)


SPHERE = {"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform", "latent": 3}
CODES = {
    "posterior": {"name": "vq", "codebook_size": 8},
    "prior": "transformer",
    "objective": "vq-vae",
}
GUMBEL = {"posterior": "gumbel-softmax", "prior": "categorical", "latent": 8}
POINT = {"posterior": "deterministic", "objective": "reconstruction"}


@pytest.mark.parametrize(
    ("axes", "how", "said"),
    [
        (SPHERE, {}, "directions have none"),
        (GUMBEL, {}, "importance samples"),
        (CODES | {"latent": (4, 2, 2), "net": "conv"}, {}, "importance samples"),
        ({"architecture": {"name": "ladder"}, "latent": 2}, {}, "Ladder has more"),
        (POINT, {}, "start='prior'"),
        ({}, {"start": "priro"}, "did you mean 'prior'"),
        ({}, {"chains": 0}, "chains=0"),
    ],
)
def test_what_cannot_be_annealed_is_refused(axes, how, said):
    model = model_of((1, 8, 8), **axes)
    with pytest.raises(VariedError, match=said):
        ais(model, PLAIN, [], **how)
    with pytest.raises(VariedError, match=said):
        bdmc(model, **how)


@pytest.mark.parametrize("betas", [(), (0.0,), (-1.0, 1.0), (math.nan,), (math.inf,)])
def test_temperatures_that_are_none_are_refused(betas):
    with pytest.raises(VariedError, match="from 0 up"):
        rate_distortion(model_of(), PLAIN, [], betas=betas)


def test_nothing_to_draw_is_refused():
    with pytest.raises(VariedError, match="nothing to draw"):
        bdmc(model_of(), n=0)


def test_a_density_that_is_guessed_is_refused():
    model = model_of(latent=65, prior={"name": "flow-matching", "width": 8, "depth": 1})
    x = [Batch(torch.rand(2, SIZE).round())]
    how = {"chains": 1, "steps": 1, "leaps": 1}
    assert ais(model, PLAIN, x, **how).bound.isfinite().all()  # until it is fitted
    model.prior.mark_fitted()
    with pytest.raises(VariedError, match="guesses"):
        ais(model, PLAIN, x, **how)


def test_an_autoencoder_is_annealed_from_its_prior():
    model, x = model_of(**POINT), torch.rand(4, SIZE).round()
    how = {"chains": 8, "steps": 20, "leaps": 2}
    assert ais(model, PLAIN, [Batch(x)], start="prior", **how).bound.isfinite().all()
    assert rate_distortion(model, PLAIN, [Batch(x)], **how).rates.min() > -0.5
