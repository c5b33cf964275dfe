"""Importance-weighted bounds against a model whose log p(x) is known, and who learns from which."""

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
    MultiplyIWAE,
    SubsampledIWAE,
    gradient_penalty,
    kl,
    reconstruction,
)
from varied.terms import iwae as bound
from varied.trace import Level, Trace

NOISE = 0.5


class Tiny(nn.Module):
    """x = W z + noise, in float64, with a prior that learns and a linear encoder."""

    def __init__(self, rows=4, inner=2, outer=3):
        super().__init__()
        self.x = torch.randn(rows, outer).double()
        self.decoder = nn.Linear(inner, outer).double()
        self.encoder = nn.Linear(outer, inner).double()
        self.spread = nn.Parameter(torch.full((inner,), -0.5).double())
        self.prior = nn.Parameter(torch.randn(inner).double())

    @property
    def of_encoder(self):
        return [*self.encoder.parameters(), self.spread]

    @property
    def of_decoder(self):
        return [*self.decoder.parameters(), self.prior]

    def exact(self):
        """Return log p(x), with shape (B)."""
        w = self.decoder.weight
        mean = self.decoder(self.prior.expand(len(self.x), -1))
        covariance = w @ w.T + NOISE**2 * torch.eye(len(w)).double()
        return MultivariateNormal(mean, covariance).log_prob(self.x)

    def posterior(self):
        """Return p(z given x), as a distribution of vectors."""
        w = self.decoder.weight
        precision = torch.eye(w.shape[1]).double() + w.T @ w / NOISE**2
        shift = (self.x - self.decoder.bias) @ w / NOISE**2 + self.prior
        mean = torch.linalg.solve(precision, shift.T).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def q(self):
        mean = self.encoder(self.x)
        return Independent(Gaussian(mean, self.spread.expand_as(mean)), 1)

    def decode(self, z, c=None):
        mean = self.decoder(z)
        return Independent(Gaussian(mean, torch.full_like(mean, 2 * math.log(NOISE))), 1)

    def trace(self, samples, q=None, z=None):
        q = q or self.q()
        z = q.rsample((samples,)) if z is None else z
        px = self.decode(z)
        p = Independent(Gaussian(self.prior, torch.zeros_like(self.prior)), 1)
        return Trace(self.x, px, [Level(z, q, p)])


@pytest.fixture
def tiny():
    return Tiny()


def of(loss, parameters):
    return torch.autograd.grad(loss, parameters, retain_graph=True)


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def of_model(term, tiny):
    """Return a term that has been shown the model, where it wants to see it."""
    if hasattr(term, "attach"):
        term.attach(tiny)
    return term


# The value


@pytest.mark.parametrize("term", [bound, DReG(), MultiplyIWAE(3), PIWAE(3)])
def test_the_true_posterior_makes_every_bound_exact_from_any_draw(tiny, term):
    trace = tiny.trace(6, tiny.posterior())
    torch.testing.assert_close(of_model(term, tiny)(trace), -tiny.exact())


def test_more_draws_are_tighter_and_tend_to_the_likelihood(tiny):
    with torch.no_grad():
        true = tiny.posterior()
        near = MultivariateNormal(true.loc + 0.3, 1.5 * true.covariance_matrix)
        log_w = tiny.trace(100_000, near).log_weight
        gaps, errors = [], []
        for k in (1, 4, 16, 1000):
            parts = bound(Weights(log_w.reshape(k, -1, len(tiny.x))))
            gaps.append((parts + tiny.exact()).mean().item())
            errors.append((parts.std(0).mean() / parts.numel() ** 0.5).item())
    for far, nearer, error in zip(gaps, gaps[1:], errors, strict=False):
        assert nearer < far - 4 * error
    assert -4 * errors[-1] < gaps[-1] < 0.01


class Weights:
    """A trace that is nothing but log-weights."""

    weights = None

    def __init__(self, log_w):
        self.log_weight = log_w


def test_a_bound_of_one_draw_is_the_evidence_lower_bound_of_it(tiny):
    trace = tiny.trace(1)
    torch.testing.assert_close(bound(trace), -trace.log_weight[0])


def test_groups_are_means_of_bounds(tiny):
    trace = tiny.trace(6)
    parts = [bound(Weights(trace.log_weight[at : at + 2])) for at in (0, 2, 4)]
    torch.testing.assert_close(MultiplyIWAE(3)(trace), torch.stack(parts).mean(0))
    torch.testing.assert_close(MultiplyIWAE(1)(trace), bound(trace))
    torch.testing.assert_close(MultiplyIWAE(6)(trace), -trace.log_weight.mean(0))
    torch.testing.assert_close(of_model(PIWAE(3), tiny)(trace), bound(trace))


def test_a_mixture_goes_from_one_bound_to_the_other(tiny):
    trace, term = tiny.trace(4), CIWAE(Linear(0, 1, 10))
    elbo = reconstruction(trace) + kl(trace)
    for step, share in ((0, 0.0), (5, 0.5), (10, 1.0)):
        term.mix.set_step(step)
        torch.testing.assert_close(term(trace), share * elbo + (1 - share) * bound(trace))


@pytest.mark.parametrize("term", [DReG(), DReG(2), SubsampledIWAE(2), PIWAE(2)])
def test_without_gradients_there_is_the_value(tiny, term):
    of_model(term, tiny)
    with torch.no_grad():
        trace = tiny.trace(4)
        torch.testing.assert_close(term(trace), bound(trace))


# The gradient


@pytest.mark.parametrize("term", [DReG(), PIWAE(2)])
def test_the_decoder_learns_by_the_bound_of_all_draws(tiny, term):
    trace, term = tiny.trace(4), of_model(term, tiny)
    wanted = of(bound(trace).sum(), tiny.of_decoder)
    for found, plain in zip(of(term(trace).sum(), tiny.of_decoder), wanted, strict=True):
        torch.testing.assert_close(found, plain)


def test_the_encoder_of_piwae_learns_by_the_groups(tiny):
    trace = tiny.trace(6)
    groups = of(MultiplyIWAE(3)(trace).sum(), tiny.of_encoder)
    whole = of(bound(trace).sum(), tiny.of_encoder)
    found = of(of_model(PIWAE(3), tiny)(trace).sum(), tiny.of_encoder)
    torch.testing.assert_close(flat(found), flat(groups))
    assert not torch.allclose(flat(found), flat(whole), rtol=1e-2)


def test_piwae_counts_draws_that_are_worth_nothing_beside_the_best(tiny):
    """In float32, where one group lies hundreds of nats below the other."""
    tiny = tiny.float()
    tiny.x, tiny.spread = tiny.x.float(), nn.Parameter(torch.full((2,), 8.0))
    z = torch.randn(4, 4, 2)
    z[2:] += 30
    found, wanted = [], []
    for term, told in ((of_model(PIWAE(2), tiny), found), (MultiplyIWAE(2), wanted)):
        trace = tiny.trace(4, tiny.q(), z + tiny.encoder(tiny.x))
        told += of(term(trace).sum(), tiny.of_encoder)
    assert (trace.log_weight[:2].amax(0) - trace.log_weight[2:].amax(0)).min() > 100
    torch.testing.assert_close(flat(found), flat(wanted), rtol=1e-3, atol=1e-3)


def by_the_paper(tiny, trace):
    """Return the encoder's gradient with q's parameters stopped inside log q."""
    level, mean = trace.levels[0], tiny.encoder(tiny.x).detach()
    stopped = Independent(Gaussian(mean, tiny.spread.detach().expand_as(mean)), 1)
    log_w = trace.log_px + level.p.log_prob(level.z) - stopped.log_prob(level.z)
    weights = log_w.softmax(0).detach()
    return of(-(weights.square() * log_w).sum(), tiny.of_encoder)


def test_dreg_is_the_formula_of_the_paper(tiny):
    trace = tiny.trace(5)
    found = of(of_model(DReG(), tiny)(trace).sum(), tiny.of_encoder)
    torch.testing.assert_close(flat(found), flat(by_the_paper(tiny, trace)))


class Remembers(Gaussian):
    """A distribution that knows its last draw, as a flow does, and does not look at it again."""

    def rsample(self, sample_shape=()):
        noise = torch.randn(*sample_shape, *self.mean.shape, dtype=self.mean.dtype)
        self.drawn = self.mean + (self.log_variance / 2).exp() * noise
        self.known = Gaussian(torch.zeros_like(noise), torch.zeros_like(noise)).log_prob(noise)
        return self.drawn

    def log_prob(self, value):
        if value is self.drawn:
            return self.known - self.log_variance / 2
        return super().log_prob(value)


@pytest.mark.parametrize("term", [DReG(), PIWAE(2)])
def test_a_posterior_that_remembers_its_draw_has_the_same_gradient(tiny, term):
    mean, term = tiny.encoder(tiny.x), of_model(term, tiny)
    trace = tiny.trace(4, Independent(Remembers(mean, tiny.spread.expand_as(mean)), 1))
    plain = tiny.trace(4, tiny.q(), trace.levels[0].z)
    torch.testing.assert_close(term(trace), term(plain))
    found, wanted = (of(term(each).sum(), tiny.of_encoder) for each in (trace, plain))
    torch.testing.assert_close(flat(found), flat(wanted))


def test_dreg_has_no_bias_and_less_noise(tiny):
    tiny, times = Tiny(rows=1), 10_000
    tiny.x = tiny.x.expand(times, -1)  # a row for each repetition
    shift = tiny.encoder(tiny.x)[:, 0].detach().requires_grad_()  # one number of q, for each row

    def q():
        mean = torch.stack([shift, tiny.encoder(tiny.x)[:, 1].detach()], 1)
        return Independent(Gaussian(mean, tiny.spread.detach().expand_as(mean)), 1)

    found = []
    for term in (bound, of_model(DReG(), tiny)):
        gradient = of(term(tiny.trace(16, q())).sum(), [shift])[0]
        found.append((gradient.mean(), gradient.std()))
    (plain, wide), (ours, narrow) = found
    assert (plain - ours).abs() < 4 * torch.hypot(wide, narrow) / times**0.5
    assert plain.abs() > 8 * wide / times**0.5  # or there would be nothing to compare
    assert narrow < 0.8 * wide


def test_dreg_is_silent_where_the_posterior_is_true(tiny):
    mean, w = tiny.encoder(tiny.x), tiny.decoder.weight
    with torch.no_grad():  # an orthogonal decoder has a posterior with independent dimensions
        w.copy_(torch.linalg.qr(w)[0])
    true = tiny.posterior()
    variance = true.covariance_matrix[0].diagonal().log().detach()
    mean = true.mean.detach().requires_grad_()
    trace = tiny.trace(5, Independent(Gaussian(mean, variance.expand_as(mean)), 1))
    assert of(of_model(DReG(), tiny)(trace).sum(), [mean])[0].abs().max() < 1e-12
    assert of(bound(trace).sum(), [mean])[0].abs().max() > 1e-2


@pytest.mark.parametrize("term", [bound, DReG(), MultiplyIWAE(2), PIWAE(2), CIWAE(0.5)])
def test_a_term_leaves_no_mark_on_the_trace(tiny, term):
    trace, term = tiny.trace(4), of_model(term, tiny)
    alone = flat(of(reconstruction(trace).mean(), tiny.of_encoder[:2]))
    term_alone = flat(of(term(trace).mean(), tiny.of_encoder[:2]))
    both = Objective(WeightedTerm("a", term), WeightedTerm("b", reconstruction, 2.0))
    found = flat(of(both(trace)[0], tiny.of_encoder[:2]))
    torch.testing.assert_close(found, (term_alone + 2 * alone).to(found))


# Few draws to learn from


def test_the_bound_is_that_of_all_draws_however_few_are_kept(tiny):
    trace = tiny.trace(8)
    torch.testing.assert_close(of_model(SubsampledIWAE(2), tiny)(trace), bound(trace))
    with torch.no_grad():
        torch.testing.assert_close(of_model(SubsampledIWAE(2), tiny)(trace), bound(trace))


@pytest.mark.parametrize("masked", [False, True])
def test_draws_kept_by_their_weights_have_the_gradient_of_all(tiny, masked):
    trace, everything = tiny.trace(8), [*tiny.of_encoder, *tiny.of_decoder]
    if masked:
        trace.mask = torch.tensor([1.0, 0.0, 1.0]).expand_as(tiny.x).double()
    # Each draw is kept as often as its weight says, to within one in all that are kept.
    found = of(of_model(SubsampledIWAE(20_000), tiny)(trace).sum(), everything)
    torch.testing.assert_close(
        flat(found), flat(of(bound(trace).sum(), everything)), rtol=1e-3, atol=1e-3
    )


def test_dreg_of_draws_kept_by_their_weights_has_the_gradient_of_all(tiny):
    trace, everything = tiny.trace(8), [*tiny.of_encoder, *tiny.of_decoder]
    found, wanted = (
        of(of_model(DReG(kept), tiny)(trace).sum(), everything) for kept in (20_000, 0)
    )
    torch.testing.assert_close(flat(found), flat(wanted), rtol=1e-3, atol=1e-3)


def test_few_draws_have_no_bias(tiny):
    trace, times = tiny.trace(8), 4000
    wanted = flat(of(bound(trace).sum(), tiny.of_decoder))
    term = of_model(SubsampledIWAE(2), tiny)
    found = torch.stack([flat(of(term(trace).sum(), tiny.of_decoder)) for _ in range(times)])
    error = found.std(0) / times**0.5
    assert ((found.mean(0) - wanted).abs() < 5 * error).all()
    assert (wanted.abs() > 20 * error).any()  # or there would be nothing to compare


def test_where_one_draw_has_all_the_weight_one_is_enough(tiny):
    trace, everything = tiny.trace(6), [*tiny.of_encoder, *tiny.of_decoder]
    with torch.no_grad():
        z = trace.levels[0].z.clone()
        z[1:] += 100
    trace = tiny.trace(6, z=z)
    found = of(of_model(SubsampledIWAE(1), tiny)(trace).sum(), everything)
    torch.testing.assert_close(flat(found), flat(of(bound(trace).sum(), everything)))


# Settings and refusals


def test_an_objective_asks_for_its_draws():
    asked = [iwae(7), iwae(7, "dreg"), iwae(7, "dreg", 2), iwae(7, n_kept=2)]
    assert [objective.samples for objective in asked] == [7] * 4
    asked = [multiply_iwae(3, 4), piwae(3, 4), ciwae(0.1, 6)]
    assert [objective.samples for objective in asked] == [12, 12, 6]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: iwae(samples=0), "samples=0 must be at least 1"),
        (lambda: multiply_iwae(n_groups=0), "n_groups=0 must be at least 1"),
        (lambda: piwae(samples=-1), "samples=-1 must be at least 1"),
        (lambda: ciwae(elbo_share=1.5), "from 0 to 1"),
        (lambda: iwae(gradient_estimator="drag"), "did you mean 'dreg'"),
        (lambda: iwae(gradient_estimator="dreg", n_kept=-1), "kept=-1 must be at least 1"),
        (lambda: iwae(n_kept=-1), "kept=-1 must be at least 1"),
    ],
)
def test_bad_settings_are_refused(make, told):
    with pytest.raises(VariedError, match=told):
        make()


def test_draws_that_are_no_groups_are_refused(tiny):
    with pytest.raises(VariedError, match="5 draws are no 2 equal groups"):
        MultiplyIWAE(2)(tiny.trace(5))


@pytest.mark.parametrize(
    "term", [bound, DReG(), MultiplyIWAE(2), PIWAE(2), CIWAE(0.5), SubsampledIWAE(1)]
)
def test_draws_with_weights_are_refused(tiny, term):
    trace = tiny.trace(2)
    trace.weights = torch.full((2, 4), 0.5)
    with pytest.raises(VariedError, match="objective='elbo'"):
        term(trace)


@pytest.mark.parametrize("term", [DReG(), PIWAE(2), SubsampledIWAE(1)])
def test_two_levels_cannot_be_taught_apart(tiny, term):
    trace = tiny.trace(4)
    trace.levels *= 2
    with pytest.raises(VariedError, match="one level of latents"):
        term(trace)


def test_what_cannot_be_seen_is_refused_and_not_left_out(tiny):
    trace = tiny.trace(4)
    level = trace.levels[0]
    trace.levels = [Level(level.z.clone(), level.q, level.p)]  # as the outputs of a compiled step
    with pytest.raises(VariedError, match="compile='no'"):
        gradient_penalty(trace)


class Even(Independent):
    """A density that is the same everywhere, as on a sphere."""

    def log_prob(self, value):
        return torch.zeros(value.shape[:-1]).double()


@pytest.mark.parametrize("term", [DReG(), PIWAE(2)])
def test_a_constant_density_has_no_slope(tiny, term):
    trace, term = tiny.trace(4), of_model(term, tiny)
    level = trace.levels[0]
    trace.levels = [Level(level.z, level.q, Even(level.p.base_dist, 1))]
    assert flat(of(term(trace).sum(), tiny.of_encoder)).isfinite().all()


def test_terms_that_take_slopes_say_so():
    assert gradient_penalty.eager
    assert not hasattr(bound, "eager")
