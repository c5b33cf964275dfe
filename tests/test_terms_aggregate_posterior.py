"""Terms for the aggregate posterior are compared with sums over a grid and with NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from traces import posterior, posterior_trace

from varied.composition import compose
from varied.distributions import kl_per_factor
from varied.errors import VariedError
from varied.objectives import annealed_capacity, beta_tc_vae, dip_vae
from varied.schedules import Linear
from varied.spec import Spec
from varied.terms import (
    Capacity,
    DimensionWiseKL,
    IndexCodeMI,
    TotalCorrelation,
    VariancePenalty,
    covariance_penalty,
    kl,
)
from varied.trace import Level

KL_TERMS = (IndexCodeMI, TotalCorrelation, DimensionWiseKL)


def double_posterior(rows=6, dims=3):
    return posterior(rows, dims, torch.float64)


# Capacity


def test_capacity_is_the_distance_of_the_batch_mean():
    trace = posterior_trace(*double_posterior())
    mean = kl(trace).mean()
    for nats in (0.0, 1.0, 50.0):
        torch.testing.assert_close(Capacity(nats)(trace), (mean - nats).abs().expand(6))
    # Per example, it would be positive, since no example has exactly the mean KL.
    assert Capacity(mean.item())(trace).mean() < 1e-5


@pytest.mark.parametrize(("nats", "sign"), [(0.0, 1.0), (50.0, -1.0)])
def test_capacity_gradient_has_the_sign_of_the_distance(nats, sign):
    mean, log_variance = double_posterior()
    of_kl = torch.autograd.grad(kl(posterior_trace(mean, log_variance)).mean(), mean)[0]
    loss = Capacity(nats)(posterior_trace(mean, log_variance)).mean()
    torch.testing.assert_close(torch.autograd.grad(loss, mean)[0], sign * of_kl)


def test_capacity_can_be_scheduled():
    objective = annealed_capacity(capacity=Linear(0, 10, 5))
    trace = posterior_trace(*double_posterior())
    for step, capacity in ((0, 0.0), (5, 10.0)):
        parts = objective(trace, step)[1]
        torch.testing.assert_close(parts["capacity"], (kl(trace).mean() - capacity).abs())


def test_joint_vae_has_a_capacity_per_factor():
    spec = Spec.parse(
        posterior={"name": "gaussian-gumbel", "n_classes": 4},
        prior={"name": "gaussian-categorical", "n_classes": 4},
        objective={
            "name": "joint-vae",
            "gamma": 2.0,
            "continuous_capacity": 3.0,
            "discrete_capacity": 1.0,
        },
        latent=6,
    )
    model, objective = compose(spec, (5,))
    trace = model(torch.rand(8, 5).round())
    loss, parts = objective(trace)
    level = trace.levels[0]
    continuous, discrete = (factor.mean() for factor in kl_per_factor(level.q, level.p))
    torch.testing.assert_close(parts["continuous_capacity"], (continuous - 3).abs())
    torch.testing.assert_close(parts["discrete_capacity"], (discrete - 1).abs())
    torch.testing.assert_close(parts["kl"], continuous + discrete)
    penalty = 2 * (parts["continuous_capacity"] + parts["discrete_capacity"])
    torch.testing.assert_close(loss.detach(), parts["reconstruction"] + penalty)


def test_joint_vae_raises_without_a_product_posterior():
    with pytest.raises(VariedError, match="posterior='gaussian-gumbel' or objective="):
        compose(Spec.parse(objective="joint-vae"), (5,))


# The decomposition of the KL


def decomposition_on_a_grid(mean, log_variance):
    """Return the three terms for two-dimensional codes, as sums over a grid in NumPy."""
    axis, step = np.linspace(-9, 9, 1201, retstep=True)

    def normal(x, mean, variance):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    marginals = normal(axis[:, None, None], mean, np.exp(log_variance))  # (grid, rows, 2)
    posteriors = np.einsum("ir,jr->rij", marginals[:, :, 0], marginals[:, :, 1])
    aggregate = posteriors.mean(0)
    first, second = marginals[:, :, 0].mean(1), marginals[:, :, 1].mean(1)
    prior = normal(axis, 0, 1)

    def kl(p, q, area):
        return (p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300))).sum() * area

    mutual_information = np.mean([kl(q, aggregate, step**2) for q in posteriors])
    total_correlation = kl(aggregate, np.outer(first, second), step**2)
    dimension_kl = kl(first, prior, step) + kl(second, prior, step)
    return mutual_information, total_correlation, dimension_kl


def test_terms_are_exact_if_the_batch_is_the_dataset():
    mean = torch.tensor([[2.0, 1.5], [-2.0, -1.5], [0.5, 0.0]]).double()
    log_variance = torch.tensor([[-1.0, -0.5], [0.2, -1.5], [-0.3, 0.0]]).double()
    trace = posterior_trace(mean, log_variance, samples=20_000)
    expected = decomposition_on_a_grid(mean.numpy(), log_variance.numpy())
    assert expected[1] > 0.2
    for create, exact in zip(KL_TERMS, expected, strict=True):
        term, level = create(), trace.levels[0]
        draws = term._value(level, *term._log_mixture(level))
        error = float(draws.std()) / math.sqrt(draws.numel())
        assert float(term(trace).mean()) == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("dataset_size", [0, 1000])
def test_terms_sum_to_the_kl_of_the_draws(dataset_size):
    trace = posterior_trace(*double_posterior(), samples=3)
    total = sum(create(dataset_size)(trace) for create in KL_TERMS)
    torch.testing.assert_close(total, -trace.levels[0].log_ratio.mean(0))


@pytest.mark.parametrize("term", [IndexCodeMI(), TotalCorrelation()])
def test_equal_posteriors_are_independent_and_uninformative(term):
    trace = posterior_trace(torch.ones(5, 3).double(), torch.zeros(5, 3).double())
    torch.testing.assert_close(term(trace), torch.zeros(5).double())


def test_mutual_information_of_distant_posteriors_is_the_entropy_of_the_index():
    mean = 100 * torch.eye(4).double()
    trace = posterior_trace(mean, torch.zeros_like(mean), samples=50)
    torch.testing.assert_close(IndexCodeMI()(trace), torch.full((4,), math.log(4)).double())


@pytest.mark.parametrize(("create", "factor"), list(zip(KL_TERMS, (1, 2, -3), strict=True)))
def test_dataset_size_shifts_the_value_but_not_the_gradient(create, factor):
    mean, log_variance = double_posterior()
    trace = posterior_trace(mean, log_variance)
    batch, dataset = create()(trace), create(1000)(trace)
    shift = torch.full((6,), factor * math.log(1000)).double()
    torch.testing.assert_close(dataset - batch, shift)
    gradients = [
        torch.autograd.grad(value.sum(), mean, retain_graph=True)[0] for value in (batch, dataset)
    ]
    torch.testing.assert_close(*gradients)


def test_beta_tc_vae_with_equal_weights_is_the_elbo_of_the_draws():
    trace = posterior_trace(*double_posterior(), samples=2)
    loss, parts = beta_tc_vae(tc_weight=1.0)(trace)
    torch.testing.assert_close(loss, -trace.log_weight.mean())
    torch.testing.assert_close(parts["kl"], kl(trace).mean())


def test_beta_tc_vae_weights():
    objective = beta_tc_vae(tc_weight=5.0, mi_weight=2.0, dimension_kl_weight=3.0)
    names = ["reconstruction", "mutual_information", "total_correlation", "dimension_kl"]
    assert objective.names == names
    assert [objective.weight(name) for name in names] == [1, 2, 5, 3]


@pytest.mark.parametrize(
    "term", [*(create() for create in KL_TERMS), covariance_penalty, VariancePenalty("ii")]
)
def test_latent_maps_are_flattened(term):
    mean, log_variance = (t.detach() for t in double_posterior(dims=8))
    traces = []
    for shape in ((6, 8), (6, 2, 2, 2)):
        torch.manual_seed(1)
        traces.append(posterior_trace(mean.reshape(shape), log_variance.reshape(shape)))
    torch.testing.assert_close(*(term(trace) for trace in traces))


# Covariance


def numpy_penalties(mean, variance, variant):
    cov = np.cov(mean.T, bias=True)
    cov = cov + (np.diag(variance.mean(0)) if variant == "ii" else 0)
    off_diagonal = (cov**2).sum() - (np.diag(cov) ** 2).sum()
    return off_diagonal, ((np.diag(cov) - 1) ** 2).sum()


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_covariance_penalties_match_numpy(variant):
    mean, log_variance = double_posterior(rows=9)
    trace = posterior_trace(mean, log_variance)
    arrays = mean.detach().numpy(), log_variance.exp().detach().numpy()
    expected = numpy_penalties(*arrays, variant)
    for term, value in zip((covariance_penalty, VariancePenalty(variant)), expected, strict=True):
        np.testing.assert_allclose(term(trace).detach(), value)
    loss, parts = dip_vae(variant, lambda_od=2.0, lambda_d=3.0)(trace)
    elbo = parts["reconstruction"] + parts["kl"]
    torch.testing.assert_close(loss, elbo + 2 * float(expected[0]) + 3 * float(expected[1]))


def test_covariance_penalties_are_zero_for_codes_with_the_moments_of_the_prior():
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double()
    deterministic = posterior_trace(corners, torch.full_like(corners, -100.0))
    assert covariance_penalty(deterministic).abs().max() < 1e-12
    assert VariancePenalty("i")(deterministic).abs().max() < 1e-12
    noisy = posterior_trace(0.6 * corners, torch.full_like(corners, math.log(0.64)))
    assert VariancePenalty("ii")(noisy).abs().max() < 1e-12
    assert VariancePenalty("i")(noisy).min() > 0.1


# Errors


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: dip_vae(variant=3), "variant='3' must be 'i'"),
        (lambda: VariancePenalty(0), "variant='0' must be 'i'"),
        (lambda: beta_tc_vae(dataset_size=-1), "dataset_size=-1 must not be negative"),
    ],
)
def test_invalid_settings_raise(create, message):
    with pytest.raises(VariedError, match=message):
        create()


@pytest.mark.parametrize(
    "term", [*(create() for create in KL_TERMS), covariance_penalty, VariancePenalty("ii")]
)
def test_one_posterior_per_draw_raises(term):
    trace = posterior_trace(*double_posterior(), samples=2)
    level = trace.levels[0]
    trace.levels = [Level(level.z, level.q.expand((2, 6)), level.p)]
    with pytest.raises(VariedError, match="one posterior per example"):
        term(trace)
