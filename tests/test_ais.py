"""Annealed importance sampling against models with known log p(x), rate and distortion."""

import math
from importlib import import_module

import pytest
import torch
from torch.distributions import MultivariateNormal

from varied.composition import compose
from varied.data import Batch, iter_batches
from varied.errors import VariedError
from varied.evaluate.ais import (
    PILOTS,
    TARGET_ACCEPTANCE,
    _Chains,
    _Path,
    _sigmoid_schedule,
    ais,
    bdmc,
    rate_distortion,
)
from varied.seeding import seeded
from varied.spec import Plan, Spec

LOAD = torch.Tensor.float
SIZE = 6
CONV = {"net": {"name": "conv", "width": 4}, "latent": (2, 2, 2)}
FEW = {"chains": 2, "steps": 4, "leapfrog_steps": 2}


def build_model(shape=(SIZE,), **axes):
    default = {"net": {"name": "mlp", "width": 16, "depth": 1}, "latent": 2, "plan": Plan()}
    return compose(Spec.parse(**(default | axes)), shape)[0]


def binary(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).round()


def first_linear(net):
    return next(m for m in net.modules() if isinstance(m, torch.nn.Linear))


class LinearGaussian:
    """x = W z + b + Gaussian noise: all quantities have closed forms, computed in float64."""

    def __init__(self, latent=3, scale=0.5, **axes):
        likelihood = {"name": "gaussian", "scale": scale}
        net = {"name": "mlp", "depth": 0}
        self.model = build_model(net=net, likelihood=likelihood, latent=latent, **axes)
        layers = [m for m in self.model.decoder.net.modules() if isinstance(m, torch.nn.Linear)]
        last, noise = layers[-1], torch.Generator().manual_seed(0)
        with torch.no_grad():
            last.weight.copy_(torch.randn(last.weight.shape, generator=noise))
        weight = last.weight.detach().double()
        self.w, self.context_weight = weight[:, :latent], weight[:, latent:]
        self.b, self.variance = last.bias.detach().double(), scale**2
        self.covariance = self.w @ self.w.T + self.variance * torch.eye(SIZE).double()

    def log_px(self, x, observed=slice(None)):
        covariance = self.covariance[observed][:, observed]
        return MultivariateNormal(self.b[observed], covariance).log_prob(x.double()[:, observed])

    def sample(self, n):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return MultivariateNormal(self.b, self.covariance).sample((n,)).float()

    def rate_and_distortion(self, x, beta):
        """Return the rate and distortion of p(z) p(x | z)^beta, each with shape (N)."""
        eye = torch.eye(self.w.shape[1]).double()
        precision = eye + beta * self.w.T @ self.w / self.variance
        covariance = torch.linalg.inv(precision)
        mean = beta / self.variance * (x.double() - self.b) @ self.w @ covariance
        rate = covariance.trace() + mean.square().sum(1) - len(eye) + precision.logdet()
        error = (x.double() - self.b - mean @ self.w.T).square().sum(1)
        error = error + (self.w @ covariance @ self.w.T).trace()
        constant = SIZE / 2 * math.log(2 * math.pi * self.variance)
        return rate / 2, constant + error / (2 * self.variance)


# log p(x)


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_bound_is_close_to_and_below_log_px(start):
    exact = LinearGaussian()
    x = exact.sample(100)
    settings = {"chains": 16, "steps": 100, "leapfrog_steps": 3, "start": start}
    result = ais(exact.model, LOAD, [Batch(x)], **settings)
    error = result.lower_bound - exact.log_px(x)
    assert result.lower_bound.dtype == torch.float64 and result.lower_bound.shape == (100,)
    assert -0.3 < error.mean() < 0.02
    assert error.abs().median() < 0.6
    size = result.effective_sample_size
    assert ((size >= 1) & (size <= 16)).all() and size.mean() > 3
    assert abs(result.acceptance_rate.mean() - TARGET_ACCEPTANCE) < 0.08
    assert result.log_likelihood.n == 100


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_more_temperatures_tighten_the_bound(start):
    exact = LinearGaussian()
    x = exact.sample(60)
    slack = []
    for steps in (2, 8, 32, 128):
        settings = {"chains": 4, "steps": steps, "leapfrog_steps": 3, "start": start}
        result = ais(exact.model, LOAD, [Batch(x)], **settings)
        slack.append((exact.log_px(x) - result.lower_bound).mean())
    assert slack[0] > slack[1] > slack[2] > slack[3] > -0.02
    assert slack[0] > 10 * slack[3]


def test_mean_weight_is_an_unbiased_estimate_of_the_likelihood():
    """With one chain and few temperatures, the bound is loose, but the mean weight is unbiased."""
    exact = LinearGaussian(latent=2, scale=1.0)
    x = exact.sample(4).repeat(2500, 1)
    settings = {"chains": 1, "steps": 12, "leapfrog_steps": 3, "start": "prior"}
    error = ais(exact.model, LOAD, [Batch(x)], **settings).lower_bound - exact.log_px(x)
    assert error.mean() < -0.1
    weights = error.exp()
    standard_error = weights.std() / math.sqrt(len(x))
    assert abs(weights.mean() - 1) < 4 * standard_error < 4 * 0.02


def test_one_temperature_is_importance_sampling():
    model, x = build_model((1, 8, 8), **CONV), binary(5, 1, 8, 8)
    result = ais(model, LOAD, [Batch(x)], chains=7, steps=1, leapfrog_steps=1, seed=3)
    with torch.no_grad(), seeded(3, "annealed", 0):
        q = model.encode(x)
        q.sample((64,))  # for the scale
        z = q.sample((PILOTS + 7,))[PILOTS:]
        log_w = model.decode(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
    w = log_w.double().exp()
    torch.testing.assert_close(result.lower_bound, w.mean(0).log(), atol=1e-5, rtol=1e-5)
    size = w.sum(0) ** 2 / (w**2).sum(0)
    torch.testing.assert_close(result.effective_sample_size, size, rtol=1e-4, atol=0)


def integrate(model, x, beta):
    """Return log Z, distortion and rate of p(z) p(x | z)^beta by a sum over a fine grid of z."""
    z = torch.linspace(-8, 8, 4001)[:, None, None]
    with torch.no_grad():
        log_px = model.decode(z).log_prob(x).double()
        log_pz = model.prior().log_prob(z).double() + math.log(16 / 4000)
    log_z = (beta * log_px + log_pz).logsumexp(0)
    weights = (beta * log_px + log_pz - log_z).exp()
    distortion = -(weights * log_px).sum(0)
    return log_z, distortion, -beta * distortion - log_z


def nonlinear():
    """Return a strongly nonlinear decoder of one latent variable, and samples."""
    model = build_model((16,), latent=1)
    with torch.no_grad():
        for layer in model.decoder.net.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(3)
    with seeded(0, "data"), torch.no_grad():
        return model, model.sample(40)


def test_nonlinear_decoder_matches_numerical_integration():
    model, x = nonlinear()
    exact = integrate(model, x, 1.0)[0]
    settings = {"steps": 60, "leapfrog_steps": 3}
    result = ais(model, LOAD, [Batch(x)], **settings)
    assert abs((result.lower_bound - exact).mean()) < 0.03
    curve = rate_distortion(model, LOAD, [Batch(x)], betas=(0.5, 3.0), **settings)
    for index, beta in enumerate(curve.betas):
        _, distortion, rate = integrate(model, x, beta)
        assert abs((curve.distortions[index] - distortion).mean()) < 0.15
        assert abs((curve.rates[index] - rate).mean()) < 0.1


def test_exact_posterior_has_equal_weights():
    """If q(z | x) = p(z | x), each weight is p(x)."""
    exact = LinearGaussian(latent=2)
    decoder, encoder = (
        first_linear(net) for net in (exact.model.decoder.net, exact.model.encoder.net)
    )
    with torch.no_grad():
        # With orthogonal columns, the units of the posterior are independent.
        exact.w = torch.linalg.qr(exact.w).Q * torch.tensor([2.0, 0.7]).double()
        decoder.weight.copy_(exact.w)
        exact.covariance = exact.w @ exact.w.T + exact.variance * torch.eye(SIZE).double()
        variance = 1 / (1 + exact.w.square().sum(0) / exact.variance)
        gain = variance[:, None] * exact.w.T / exact.variance
        encoder.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
        encoder.bias.copy_(torch.cat([-gain @ exact.b, 10 * torch.atanh(variance.log() / 10)]))
    x, settings = exact.sample(20), {"chains": 4, "steps": 5, "leapfrog_steps": 2}
    result = ais(exact.model, LOAD, [Batch(x)], **settings)
    torch.testing.assert_close(result.lower_bound, exact.log_px(x), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.effective_sample_size, torch.full((20,), 4.0).double())
    gap = bdmc(exact.model, n=20, **settings).gap
    assert abs(gap.value) < 1e-4 and gap.error < 1e-4


# Bidirectional Monte Carlo


@pytest.mark.parametrize("start", ["posterior", "prior"])
@pytest.mark.parametrize(("steps", "largest_gap"), [(20, 6.0), (100, 1.2)])
def test_log_px_is_between_the_bounds(start, steps, largest_gap):
    exact = LinearGaussian()
    settings = {"chains": 16, "steps": steps, "leapfrog_steps": 3, "start": start}
    result = bdmc(exact.model, n=80, **settings)
    with seeded(0, "bidirectional", 0), torch.no_grad():
        truth = exact.log_px(exact.model.sample(80)).mean().item()
    assert result.lower.value < truth + 0.05
    assert result.upper.value > truth - 0.05
    assert result.gap.value == pytest.approx(result.upper.value - result.lower.value)
    assert -0.05 < result.gap.value < largest_gap
    assert 0 < result.gap.error < largest_gap / 2
    assert (result.lower.n, result.upper.n, result.gap.n) == (80, 80, 80)


def test_backward_chains_reverse_the_forward_chains():
    """Let v be the log-weight of a path minus log p(x). Its densities differ by a factor of exp(v).

    The logistic function of v therefore has the same mean as that of -v of backward paths. It is
    bounded, and it is sensitive to errors in the weights, the transitions and log p(x) in both
    directions.
    """
    exact, n = LinearGaussian(latent=2, scale=0.7), 5000
    with torch.no_grad(), seeded(0, "back"):
        z = exact.model.sample_prior(n)
        x = exact.model.decode(z).sample()
        path = _Path(exact.model, Batch(x), "prior")
        betas = _sigmoid_schedule(12)
        forward, backward = _Chains(path, 1, 3), _Chains(path, 1, 3, z)
        list(forward.forward(betas))
        backward.backward(betas, forward.step_sizes)
    truth = exact.log_px(x)
    assert all(map(torch.equal, forward.step_sizes, reversed(backward.step_sizes)))
    a = (forward.log_mean_weight - truth).sigmoid()
    b = (backward.log_mean_weight + truth).sigmoid()
    assert a.mean() < 0.4
    assert abs((a - b).mean()) < 4 * (a - b).std() / math.sqrt(n) < 0.03


def test_step_size_only_depends_on_the_pilot_chains():
    """The weights would be biased if the step size depended on the chains that are counted."""
    exact, results = LinearGaussian(), []
    for moved in (slice(0, 0), slice(PILOTS, None), slice(0, PILOTS)):
        with torch.no_grad(), seeded(0, "sizes"):
            path = _Path(exact.model, Batch(exact.sample(5)), "prior")
            chains = _Chains(path, 4, 3)
            chains.z[moved] += 3
            chains.s, chains.d = path.log_densities(chains.z)
            list(chains.forward(_sigmoid_schedule(20)))
        results.append((torch.stack(chains.step_sizes), chains.log_mean_weight))
    (size, bound), (size_of_counted, bound_of_counted), (size_of_pilots, _) = results
    assert torch.equal(size, size_of_counted) and not torch.equal(bound, bound_of_counted)
    assert not torch.equal(size, size_of_pilots)


def test_contexts_are_used_in_turn(monkeypatch):
    exact, contexts = LinearGaussian(context=2), []
    context = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    settings = {"chains": 8, "steps": 60, "leapfrog_steps": 3, "start": "prior"}
    c = context.repeat(17, 1)[:50]
    with seeded(0, "bidirectional", 0), torch.no_grad():
        x = exact.model.sample(50, c)
    sample_prior = exact.model.sample_prior
    monkeypatch.setattr(
        exact.model, "sample_prior", lambda n, c: contexts.append(c) or sample_prior(n, c)
    )
    result = bdmc(exact.model, n=50, context=context, **settings)
    assert torch.equal(contexts[0], c)
    truth = exact.log_px(x - c @ exact.context_weight.T.float()).mean().item()
    assert result.lower.value - 0.05 < truth < result.upper.value + 0.05
    assert result.gap.value < 1.2
    assert abs(ais(exact.model, LOAD, [Batch(x, c)], **settings).lower_bound.mean() - truth) < 0.6


# Rate and distortion


def test_rate_distortion_curve_of_a_linear_gaussian_model():
    exact = LinearGaussian(scale=1.0)
    x, betas = exact.sample(150), (4.0, 0.1, 1.0, 0.0, 0.5)
    settings = {"betas": betas, "steps": 100, "leapfrog_steps": 3}
    curve = rate_distortion(exact.model, LOAD, [Batch(x)], **settings)
    assert curve.rates.shape == curve.distortions.shape == (5, 150)
    for index, beta in enumerate(betas):
        rate, distortion = exact.rate_and_distortion(x, beta)
        assert -0.05 < curve.rate[index].value - rate.mean() < 0.2
        error = (curve.distortions[index] - distortion).std() / math.sqrt(150)
        assert abs(curve.distortion[index].value - distortion.mean()) < 4 * error + 0.05
    assert (curve.rates[3] == 0).all()
    bound = -curve.rate[2].value - curve.distortion[2].value
    assert abs(bound - exact.log_px(x).mean()) < 0.15


# Other models


def test_missing_values_are_ignored():
    exact = LinearGaussian()
    x, mask = exact.sample(40), torch.ones(40, SIZE)
    mask[:, 4:] = 0
    incomplete = x.masked_fill(mask == 0, math.nan)
    settings = {"chains": 16, "steps": 100, "leapfrog_steps": 3}
    result = ais(exact.model, LOAD, [Batch(incomplete, mask=mask)], **settings)
    truth = exact.log_px(x, torch.arange(4))
    assert -0.3 < (result.lower_bound - truth).mean() < 0.15
    with pytest.raises(VariedError, match="NaN"):
        ais(exact.model, LOAD, [Batch(incomplete)], steps=2, leapfrog_steps=1)


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
def test_other_priors_and_posteriors_match_numerical_integration(axes):
    model, x = build_model(**axes), binary(4, SIZE)
    if model.prior.fitted_later:
        model.prior.mark_fitted()
    line = torch.linspace(-8, 8, 61)
    z = torch.cartesian_prod(line, line)[:, None]
    with torch.no_grad():
        log_joint = model.decode(z).log_prob(x) + model.prior().log_prob(z)
    truth = log_joint.double().logsumexp(0) + 2 * math.log(16 / 60)
    settings = {"chains": 24, "steps": 6, "leapfrog_steps": 1}
    for start, tolerance in (("posterior", 0.35), ("prior", 0.06)):
        result = ais(model, LOAD, [Batch(x)], start=start, **settings)
        assert abs((result.lower_bound - truth).mean()) < tolerance


POINT = {"posterior": "deterministic", "objective": "reconstruction"}


def test_autoencoder_is_annealed_from_its_prior():
    model, x = build_model(**POINT), torch.rand(4, SIZE).round()
    settings = {"chains": 8, "steps": 20, "leapfrog_steps": 2}
    result = ais(model, LOAD, [Batch(x)], start="prior", **settings)
    assert result.lower_bound.isfinite().all()
    assert rate_distortion(model, LOAD, [Batch(x)], **settings).rates.min() > -0.5


# Side effects, memory and errors


@pytest.mark.parametrize(
    "run",
    [
        lambda model, x, seed: (
            ais(model, LOAD, iter_batches(x, size=5), seed=seed, **FEW).lower_bound
        ),
        lambda model, x, seed: bdmc(model, n=5, seed=seed, **FEW).gap.value,
        lambda model, x, seed: (
            rate_distortion(model, LOAD, iter_batches(x, size=5), seed=seed, **FEW).rates
        ),
    ],
    ids=["ais", "bdmc", "rate_distortion"],
)
def test_same_seed_gives_the_same_result_without_side_effects(run):
    model, x = build_model((1, 8, 8), **CONV).train(), binary(8, 1, 8, 8)
    model.decoder.net.requires_grad_(False)
    requires_grad = [p.requires_grad for p in model.parameters()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (torch.as_tensor(run(model, x, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not first.requires_grad
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and all(module.training for module in model.modules())
    assert requires_grad == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)


def test_chunk_size_does_not_change_the_result(monkeypatch):
    model, x = nonlinear()
    settings = {"chains": 5, "steps": 20, "leapfrog_steps": 2}
    expected = ais(model, LOAD, [Batch(x)], **settings).lower_bound
    sizes, log_densities = [], _Path._log_densities
    module = import_module("varied.evaluate.ais")  # not the function
    monkeypatch.setattr(module, "CHUNK", 2 * x.numel())
    monkeypatch.setattr(
        _Path, "_log_densities", lambda path, z: sizes.append(len(z)) or log_densities(path, z)
    )
    result = ais(model, LOAD, [Batch(x)], **settings).lower_bound
    assert set(sizes) == {1, 2}
    # Products of different sizes are rounded differently.
    torch.testing.assert_close(result, expected, atol=1e-3, rtol=0)


SPHERE = {"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform", "latent": 3}
CODES = {
    "posterior": {"name": "vq", "codebook_size": 8},
    "prior": "transformer",
    "objective": "vq-vae",
    "latent": (4, 2, 2),
    "net": "conv",
}
GUMBEL = {"posterior": "gumbel-softmax", "prior": "categorical", "latent": 8}


@pytest.mark.parametrize(
    ("axes", "settings", "message"),
    [
        (SPHERE, {}, "classes or points on a sphere"),
        (GUMBEL, {}, "importance sampling"),
        (CODES, {}, "importance sampling"),
        ({"architecture": {"name": "ladder"}, "latent": 2}, {}, "no classes, not Ladder"),
        (POINT, {}, "start='prior'"),
        ({}, {"start": "priro"}, "did you mean 'prior'"),
        ({}, {"chains": 0}, "chains=0"),
    ],
)
def test_ais_and_bdmc_refuse(axes, settings, message):
    model = build_model((1, 8, 8), **axes)
    with pytest.raises(VariedError, match=message):
        ais(model, LOAD, [], **settings)
    with pytest.raises(VariedError, match=message):
        bdmc(model, **settings)


@pytest.mark.parametrize("betas", [(), (0.0,), (-1.0, 1.0), (math.nan,), (math.inf,)])
def test_rate_distortion_refuses_invalid_temperatures(betas):
    with pytest.raises(VariedError, match="must be finite, non-negative and not all 0"):
        rate_distortion(build_model(), LOAD, [], betas=betas)


def test_bdmc_refuses_zero_examples():
    with pytest.raises(VariedError, match="n=0 must be at least 1"):
        bdmc(build_model(), n=0)


def test_prior_with_an_estimated_density_is_refused():
    model = build_model(latent=65, prior={"name": "flow-matching", "width": 8, "depth": 1})
    x = [Batch(torch.rand(2, SIZE).round())]
    settings = {"chains": 1, "steps": 1, "leapfrog_steps": 1}
    assert ais(model, LOAD, x, **settings).lower_bound.isfinite().all()  # before it is fitted
    model.prior.mark_fitted()
    with pytest.raises(VariedError, match="only be estimated"):
        ais(model, LOAD, x, **settings)
