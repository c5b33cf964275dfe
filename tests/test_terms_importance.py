"""Importance-weighted bounds are tested on a linear model whose log p(x) is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal

from varied.distributions import Gaussian
from varied.errors import VariedError
from varied.objectives import Objective, WeightedTerm, ciwae, iwae, multiply_iwae, piwae
from varied.schedules import Linear
from varied.terms import (
    CIWAE,
    PIWAE,
    DReG,
    FunctionTerm,
    MultiplyIWAE,
    SubsampledIWAE,
    gradient_penalty,
    kl,
    reconstruction,
)
from varied.terms import iwae as iwae_term
from varied.trace import Level, Trace

NOISE = 0.5


class LinearModel(nn.Module):
    """x = W z + noise, in float64, with a learned prior and a linear encoder."""

    def __init__(self, rows=4, latent=2, data=3):
        super().__init__()
        self.x = torch.randn(rows, data).double()
        self.decoder = nn.Linear(latent, data).double()
        self.encoder = nn.Linear(data, latent).double()
        self.log_variance = nn.Parameter(torch.full((latent,), -0.5).double())
        self.prior_mean = nn.Parameter(torch.randn(latent).double())

    @property
    def encoder_params(self):
        return [*self.encoder.parameters(), self.log_variance]

    @property
    def decoder_params(self):
        return [*self.decoder.parameters(), self.prior_mean]

    def log_px(self):
        """Return the exact log p(x), with shape (B)."""
        w = self.decoder.weight
        mean = self.decoder(self.prior_mean.expand(len(self.x), -1))
        covariance = w @ w.T + NOISE**2 * torch.eye(len(w)).double()
        return MultivariateNormal(mean, covariance).log_prob(self.x)

    def true_posterior(self):
        """Return the true posterior p(z | x)."""
        w = self.decoder.weight
        precision = torch.eye(w.shape[1]).double() + w.T @ w / NOISE**2
        shift = (self.x - self.decoder.bias) @ w / NOISE**2 + self.prior_mean
        mean = torch.linalg.solve(precision, shift.T).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def q(self):
        mean = self.encoder(self.x)
        return Independent(Gaussian(mean, self.log_variance.expand_as(mean)), 1)

    def decode(self, z, c=None):
        mean = self.decoder(z)
        return Independent(Gaussian(mean, torch.full_like(mean, 2 * math.log(NOISE))), 1)

    def trace(self, samples, q=None, z=None):
        q = q or self.q()
        z = q.rsample((samples,)) if z is None else z
        p = Independent(Gaussian(self.prior_mean, torch.zeros_like(self.prior_mean)), 1)
        return Trace(self.x, self.decode(z), [Level(z, q, p)])


class Weights:
    """A trace that consists of log-weights only."""

    weights = None

    def __init__(self, log_weight):
        self.log_weight = log_weight


@pytest.fixture
def model():
    return LinearModel()


def gradient(loss, params):
    grads = torch.autograd.grad(loss, params, retain_graph=True)
    return torch.cat([grad.flatten() for grad in grads])


def attached(term, model):
    term.attach(model)
    return term


# Values


@pytest.mark.parametrize("term", [iwae_term, DReG(), MultiplyIWAE(3), PIWAE(3)])
def test_every_bound_is_exact_with_the_true_posterior(model, term):
    trace = model.trace(6, model.true_posterior())
    torch.testing.assert_close(attached(term, model)(trace), -model.log_px())


def test_bound_converges_to_the_likelihood_with_more_draws(model):
    with torch.no_grad():
        p = model.true_posterior()
        q = MultivariateNormal(p.loc + 0.3, 1.5 * p.covariance_matrix)
        log_weight = model.trace(100_000, q).log_weight
        gaps, errors = [], []
        for k in (1, 4, 16, 1000):
            bounds = iwae_term(Weights(log_weight.reshape(k, -1, len(model.x))))
            gaps.append((bounds + model.log_px()).mean().item())
            errors.append((bounds.std(0).mean() / bounds.numel() ** 0.5).item())
    for gap, next_gap, error in zip(gaps, gaps[1:], errors, strict=False):
        assert next_gap < gap - 4 * error
    assert -4 * errors[-1] < gaps[-1] < 0.01


def test_bound_of_one_draw_is_the_elbo_of_that_draw(model):
    trace = model.trace(1)
    torch.testing.assert_close(iwae_term(trace), -trace.log_weight[0])


def test_multiply_iwae_is_the_mean_of_the_bounds_of_groups(model):
    trace = model.trace(6)
    bounds = [iwae_term(Weights(trace.log_weight[i : i + 2])) for i in (0, 2, 4)]
    torch.testing.assert_close(MultiplyIWAE(3)(trace), torch.stack(bounds).mean(0))
    torch.testing.assert_close(MultiplyIWAE(1)(trace), iwae_term(trace))
    torch.testing.assert_close(MultiplyIWAE(6)(trace), -trace.log_weight.mean(0))


def test_ciwae_interpolates_between_the_two_bounds(model):
    trace, term = model.trace(4), CIWAE(Linear(0, 1, 10))
    elbo = reconstruction(trace) + kl(trace)
    for step, share in ((0, 0.0), (5, 0.5), (10, 1.0)):
        term.elbo_share.set_step(step)
        torch.testing.assert_close(term(trace), share * elbo + (1 - share) * iwae_term(trace))


@pytest.mark.parametrize("term", [DReG(), DReG(2), SubsampledIWAE(2), PIWAE(2)])
@pytest.mark.parametrize("needs_gradient", [False, True])
def test_gradient_estimators_have_the_value_of_the_bound(model, term, needs_gradient):
    attached(term, model)
    with torch.set_grad_enabled(needs_gradient):
        trace = model.trace(4)
        torch.testing.assert_close(term(trace), iwae_term(trace))


# Gradients


@pytest.mark.parametrize("term", [DReG(), PIWAE(2)])
def test_decoder_gradient_is_that_of_the_bound_of_all_draws(model, term):
    trace = model.trace(4)
    expected = gradient(iwae_term(trace).sum(), model.decoder_params)
    actual = gradient(attached(term, model)(trace).sum(), model.decoder_params)
    torch.testing.assert_close(actual, expected)


def test_piwae_encoder_gradient_is_that_of_the_groups(model):
    trace = model.trace(6)
    actual = gradient(attached(PIWAE(3), model)(trace).sum(), model.encoder_params)
    of_groups = gradient(MultiplyIWAE(3)(trace).sum(), model.encoder_params)
    of_all = gradient(iwae_term(trace).sum(), model.encoder_params)
    torch.testing.assert_close(actual, of_groups)
    assert not torch.allclose(actual, of_all, rtol=1e-2)


def test_piwae_encoder_gradient_includes_groups_of_negligible_weight(model):
    """Uses float32 and a group whose weights are hundreds of nats below those of the other."""
    model = model.float()
    model.x, model.log_variance = model.x.float(), nn.Parameter(torch.full((2,), 8.0))
    z = torch.randn(4, 4, 2)
    z[2:] += 30
    gradients = []
    for term in (attached(PIWAE(2), model), MultiplyIWAE(2)):
        trace = model.trace(4, model.q(), z + model.encoder(model.x))
        gradients.append(gradient(term(trace).sum(), model.encoder_params))
    assert (trace.log_weight[:2].amax(0) - trace.log_weight[2:].amax(0)).min() > 100
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_dreg_is_the_formula_of_the_paper(model):
    trace = model.trace(5)
    level, mean = trace.levels[0], model.encoder(model.x).detach()
    q = Independent(Gaussian(mean, model.log_variance.detach().expand_as(mean)), 1)
    log_weight = trace.log_px + level.p.log_prob(level.z) - q.log_prob(level.z)
    weights = log_weight.softmax(0).detach()
    expected = gradient(-(weights.square() * log_weight).sum(), model.encoder_params)
    actual = gradient(attached(DReG(), model)(trace).sum(), model.encoder_params)
    torch.testing.assert_close(actual, expected)


class CachedGaussian(Gaussian):
    """A Gaussian that caches the log-density of its last sample, as flows do."""

    def rsample(self, sample_shape=()):
        noise = torch.randn(*sample_shape, *self.mean.shape, dtype=self.mean.dtype)
        self.sample = self.mean + (self.log_variance / 2).exp() * noise
        self.noise_log_prob = Gaussian(torch.zeros_like(noise), torch.zeros_like(noise)).log_prob(
            noise
        )
        return self.sample

    def log_prob(self, value):
        if value is self.sample:
            return self.noise_log_prob - self.log_variance / 2
        return super().log_prob(value)


@pytest.mark.parametrize("term", [DReG(), PIWAE(2)])
def test_gradient_does_not_depend_on_caching_by_the_posterior(model, term):
    mean, term = model.encoder(model.x), attached(term, model)
    q = Independent(CachedGaussian(mean, model.log_variance.expand_as(mean)), 1)
    cached = model.trace(4, q)
    plain = model.trace(4, model.q(), cached.levels[0].z)
    torch.testing.assert_close(term(cached), term(plain))
    gradients = [gradient(term(t).sum(), model.encoder_params) for t in (cached, plain)]
    torch.testing.assert_close(*gradients)


def test_dreg_is_unbiased_and_has_less_variance():
    torch.manual_seed(1)  # whose model is far enough from the optimum
    model, repetitions = LinearModel(rows=1), 10_000
    model.x = model.x.expand(repetitions, -1)
    shift = model.encoder(model.x)[:, 0].detach().requires_grad_()  # one parameter per repetition

    def q():
        mean = torch.stack([shift, model.encoder(model.x)[:, 1].detach()], 1)
        return Independent(Gaussian(mean, model.log_variance.detach().expand_as(mean)), 1)

    moments = []
    for term in (iwae_term, attached(DReG(), model)):
        grad = gradient(term(model.trace(16, q())).sum(), [shift])
        moments.append((grad.mean(), grad.std()))
    (mean, std), (dreg_mean, dreg_std) = moments
    assert (mean - dreg_mean).abs() < 4 * torch.hypot(std, dreg_std) / repetitions**0.5
    assert mean.abs() > 8 * std / repetitions**0.5  # the gradient is not 0
    assert dreg_std < 0.8 * std


def test_dreg_gradient_vanishes_at_the_true_posterior(model):
    with torch.no_grad():  # with an orthogonal decoder the posterior is diagonal
        model.decoder.weight.copy_(torch.linalg.qr(model.decoder.weight)[0])
    p = model.true_posterior()
    log_variance = p.covariance_matrix[0].diagonal().log().detach()
    mean = p.mean.detach().requires_grad_()
    trace = model.trace(5, Independent(Gaussian(mean, log_variance.expand_as(mean)), 1))
    assert gradient(attached(DReG(), model)(trace).sum(), [mean]).abs().max() < 1e-12
    assert gradient(iwae_term(trace).sum(), [mean]).abs().max() > 1e-2


@pytest.mark.parametrize("term", [iwae_term, DReG(), MultiplyIWAE(2), PIWAE(2), CIWAE(0.5)])
def test_term_does_not_affect_the_gradients_of_other_terms(model, term):
    trace, params = model.trace(4), model.encoder_params[:2]
    alone = gradient(reconstruction(trace).mean(), params)
    of_term = gradient(attached(term, model)(trace).mean(), params)
    objective = Objective(WeightedTerm("a", term), WeightedTerm("b", reconstruction, 2.0))
    actual = gradient(objective(trace)[0], params)
    torch.testing.assert_close(actual, (of_term + 2 * alone).to(actual))


@pytest.mark.parametrize("term", [DReG(), PIWAE(2)])
def test_gradient_is_finite_for_a_constant_prior_density(model, term):
    class Constant(Independent):
        def log_prob(self, value):
            return torch.zeros(value.shape[:-1]).double()

    trace = model.trace(4)
    level = trace.levels[0]
    trace.levels = [Level(level.z, level.q, Constant(level.p.base_dist, 1))]
    assert gradient(attached(term, model)(trace).sum(), model.encoder_params).isfinite().all()


# Subsampled draws


@pytest.mark.parametrize("masked", [False, True])
def test_subsampled_gradient_converges_to_that_of_all_draws(model, masked):
    trace, params = model.trace(8), [*model.encoder_params, *model.decoder_params]
    if masked:
        trace.mask = torch.tensor([1.0, 0.0, 1.0]).expand_as(model.x).double()
    # Systematic resampling selects each draw in proportion to its weight, to within one.
    actual = gradient(attached(SubsampledIWAE(20_000), model)(trace).sum(), params)
    expected = gradient(iwae_term(trace).sum(), params)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_subsampled_dreg_converges_to_that_of_all_draws(model):
    trace, params = model.trace(8), [*model.encoder_params, *model.decoder_params]
    gradients = [
        gradient(attached(DReG(n_kept), model)(trace).sum(), params) for n_kept in (20_000, 0)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_subsampled_gradient_is_unbiased(model):
    trace, repetitions = model.trace(8), 4000
    expected = gradient(iwae_term(trace).sum(), model.decoder_params)
    term = attached(SubsampledIWAE(2), model)
    gradients = torch.stack(
        [gradient(term(trace).sum(), model.decoder_params) for _ in range(repetitions)]
    )
    error = gradients.std(0) / repetitions**0.5
    assert ((gradients.mean(0) - expected).abs() < 5 * error).all()
    assert (expected.abs() > 20 * error).any()  # the gradient is not 0


def test_one_draw_is_enough_if_it_has_all_the_weight(model):
    params = [*model.encoder_params, *model.decoder_params]
    z = model.trace(6).levels[0].z.detach().clone()
    z[1:] += 100
    trace = model.trace(6, z=z)
    actual = gradient(attached(SubsampledIWAE(1), model)(trace).sum(), params)
    torch.testing.assert_close(actual, gradient(iwae_term(trace).sum(), params))


# Settings and errors


@pytest.mark.parametrize(
    ("objective", "samples"),
    [
        (iwae(7), 7),
        (iwae(7, "dreg"), 7),
        (iwae(7, "dreg", 2), 7),
        (iwae(7, n_kept=2), 7),
        (multiply_iwae(3, 4), 12),
        (piwae(3, 4), 12),
        (ciwae(0.1, 6), 6),
    ],
)
def test_objective_has_the_number_of_draws(objective, samples):
    assert objective.samples == samples


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: iwae(samples=0), "samples=0 must be at least 1"),
        (lambda: multiply_iwae(n_groups=0), "n_groups=0 must be at least 1"),
        (lambda: piwae(samples=-1), "samples=-1 must be at least 1"),
        (lambda: ciwae(elbo_share=1.5), "between 0 and 1"),
        (lambda: iwae(gradient_estimator="drag"), "did you mean 'dreg'"),
        (lambda: iwae(gradient_estimator="dreg", n_kept=-1), "n_kept=-1 must not be negative"),
        (lambda: iwae(n_kept=-1), "n_kept=-1 must not be negative"),
    ],
)
def test_invalid_settings_raise(create, message):
    with pytest.raises(VariedError, match=message):
        create()


def test_draws_that_do_not_form_equal_groups_raise(model):
    with pytest.raises(VariedError, match="5 draws cannot be divided into 2 groups of equal size"):
        MultiplyIWAE(2)(model.trace(5))


@pytest.mark.parametrize(
    "term", [iwae_term, DReG(), MultiplyIWAE(2), PIWAE(2), CIWAE(0.5), SubsampledIWAE(1)]
)
def test_weighted_draws_raise(model, term):
    trace = model.trace(2)
    trace.weights = torch.full((2, 4), 0.5)
    with pytest.raises(VariedError, match="objective='elbo'"):
        term(trace)


@pytest.mark.parametrize("term", [DReG(), PIWAE(2), SubsampledIWAE(1)])
def test_several_levels_raise(model, term):
    trace = model.trace(4)
    trace.levels *= 2
    with pytest.raises(VariedError, match="single level of latent variables"):
        term(trace)


def test_gradient_penalty_raises_without_a_path_from_the_latents(model):
    trace = model.trace(4)
    level = trace.levels[0]
    trace.levels = [Level(level.z.clone(), level.q, level.p)]  # like the output of a compiled step
    with pytest.raises(VariedError, match="compile='no'"):
        gradient_penalty(trace)


def test_only_terms_that_compute_gradients_cannot_be_compiled():
    assert not gradient_penalty.can_compile
    assert iwae_term.can_compile
    assert FunctionTerm(lambda trace: trace.x).can_compile
