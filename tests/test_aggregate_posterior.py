"""The aggregate posterior against closed forms, numerical integration and SciPy."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from varied.errors import VariedError
from varied.evaluate.aggregate_posterior import _log_densities, aggregate_posterior

TERMS = ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def posteriors(n=300, d=3, seed=0):
    return normal(n, d, seed=seed), (0.3 * normal(n, d, seed=seed + 1) - 0.5).exp()


def assert_within_errors(estimate, expected, errors=4.0):
    assert abs(estimate.value - expected) < errors * estimate.error
    assert estimate.error < 0.05 * (1 + abs(expected))


# Known values


def test_equal_posteriors_have_no_mutual_information():
    mean, std = torch.full((500, 3), 1.5), torch.full((500, 3), 0.5)
    result = aggregate_posterior(mean, std)
    for name in ("mutual_information", "mutual_information_upper", "total_correlation"):
        assert getattr(result, name).value == pytest.approx(0, abs=1e-12)
    expected = 3 * kl_divergence(Normal(1.5, 0.5), Normal(0.0, 1.0)).item()
    assert_within_errors(result.marginal_kl, expected)
    assert_within_errors(result.dimension_wise_kl, expected)
    assert result.dimension_wise_kl_by_unit == pytest.approx([expected / 3] * 3, rel=0.1)
    assert not result.warnings


def test_disjoint_posteriors_reach_the_maximum_with_a_warning():
    result = aggregate_posterior(100.0 * torch.arange(64)[:, None].repeat(1, 2), torch.ones(64, 2))
    assert result.mutual_information.value == pytest.approx(math.log(64), abs=1e-12)
    assert result.max_information == math.log(64)
    assert result.mutual_information_upper.value > 100
    (warning,) = result.warnings
    assert "4.16 nats is close to its maximum, log 64 = 4.16" in warning


def test_clusters_have_the_information_of_the_cluster():
    # There are 8 distant clusters of 25 rows: without its own row, a sample is near 24 of 199 rows.
    centers = 100.0 * torch.arange(8).repeat(25)[:, None]
    result = aggregate_posterior(centers, torch.ones(200, 1))
    assert result.mutual_information.value == pytest.approx(math.log(8), abs=1e-12)
    upper = math.log(199 / 24)
    assert result.mutual_information_upper.value == pytest.approx(upper, abs=1e-12)
    assert not result.warnings


@pytest.mark.parametrize("units", [2, 5])
def test_total_correlation_of_identical_units(units):
    centers = 100.0 * torch.arange(10)[:, None].repeat(1, units)
    result = aggregate_posterior(centers, torch.ones(10, units))
    expected = (units - 1) * math.log(10)
    assert result.total_correlation.value == pytest.approx(expected, abs=1e-12)


def test_total_correlation_of_a_full_grid_is_zero():
    grid = torch.cartesian_prod(torch.linspace(-2, 2, 7), torch.linspace(0, 3, 7))
    std = torch.tensor([0.3, 1.2]).expand(len(grid), 2)
    result = aggregate_posterior(grid, std)
    assert result.total_correlation.value == pytest.approx(0, abs=1e-12)
    assert result.total_correlation.error < 1e-12
    assert result.mutual_information.value > 1


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_linear_gaussian_model(rho):
    # z | x ~ N(x, 0.25), x ~ N(0, S): q(z) = N(0, S + 0.25).
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    mean = normal(2000, 2) @ torch.linalg.cholesky(covariance).T
    total = covariance + 0.25 * torch.eye(2)
    result = aggregate_posterior(mean, torch.full_like(mean, 0.5))
    information = 0.5 * (total.logdet() - 2 * math.log(0.25)).item()
    marginal_kl = 0.5 * (total.trace() - 2 - total.logdet()).item()
    correlation = -0.5 * math.log(1 - (rho / 1.25) ** 2)
    # The two estimates of the mutual information have a small bias of opposite signs.
    assert result.mutual_information.value < result.mutual_information_upper.value
    assert result.mutual_information.value == pytest.approx(information, abs=0.07)
    assert result.mutual_information_upper.value == pytest.approx(information, abs=0.07)
    assert result.marginal_kl.value == pytest.approx(marginal_kl, abs=0.07)
    assert result.total_correlation.value == pytest.approx(correlation, abs=0.05)
    assert result.dimension_wise_kl.value == pytest.approx(0.25 - math.log(1.25), abs=0.06)


# Identities


def test_terms_sum_to_the_kl():
    mean, std = posteriors()
    result = aggregate_posterior(mean, std)
    total = result.mutual_information.value + result.marginal_kl.value
    assert total == pytest.approx(result.kl.value, abs=1e-10)
    total = result.total_correlation.value + result.dimension_wise_kl.value
    assert total == pytest.approx(result.marginal_kl.value, abs=1e-10)
    total = sum(result.dimension_wise_kl_by_unit)
    assert total == pytest.approx(result.dimension_wise_kl.value, abs=1e-10)
    exact = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1).mean().item()
    assert abs(result.kl.value - exact) < 3 * result.kl.error
    assert result.kl.error < 0.1 * exact


@pytest.mark.parametrize("seed", range(5))
def test_mutual_information_is_at_most_log_n(seed):
    for scale in (0.1, 1.0, 30.0):
        mean, std = posteriors(n=40, seed=seed)
        result = aggregate_posterior(scale * mean, std, seed=seed)
        assert result.mutual_information.value <= math.log(40) + 1e-12
        assert result.mutual_information.value < result.mutual_information_upper.value


def test_estimates_from_few_rows_bracket_the_mutual_information():
    # The mutual information is log sqrt(1 + 1 / 0.1^2) = 2.31; the maximum for 12 rows is 2.48.
    results = [
        aggregate_posterior(normal(12, 1, seed=s), torch.full((12, 1), 0.1), seed=s)
        for s in range(40)
    ]
    truth = 0.5 * math.log(1 + 100)
    assert np.mean([r.mutual_information.value for r in results]) < truth - 0.3
    assert np.mean([r.mutual_information_upper.value for r in results]) > truth + 0.3


# Independent implementations


def test_log_densities_match_torch_and_scipy():
    mean, std = posteriors(n=50, d=4)
    z, own = normal(50, 4, seed=9), torch.arange(50)
    posterior, others, aggregate, marginals = _log_densities(z, own, mean, std)
    components = Independent(Normal(mean, std), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(50).double()), components)
    torch.testing.assert_close(aggregate, mixture.log_prob(z))
    torch.testing.assert_close(posterior, components.log_prob(z))
    densities = norm(mean.numpy(), std.numpy()).pdf(z.numpy()[:, None]).mean(1)
    assert np.allclose(marginals, np.log(densities), atol=1e-12)
    for row in (0, 17, 49):
        rest = [i for i in range(50) if i != row]
        pdf = [multivariate_normal(mean[i], torch.diag(std[i] ** 2)).pdf(z[row]) for i in rest]
        assert others[row] == pytest.approx(np.log(np.mean(pdf)), abs=1e-10)


def test_terms_match_numerical_integration():
    mean, std = posteriors(n=20, d=2)
    axis = torch.linspace(-7, 7, 701, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    density = Normal(mean, std).log_prob(axis[:, None, None]).exp()  # (701, 20, 2)
    joint = torch.einsum("an,bn->ab", density[:, :, 0], density[:, :, 1]) / 20
    marginals = density.mean(1)
    product = marginals[:, None, 0] * marginals[None, :, 1]
    prior = Normal(0.0, 1.0).log_prob(axis).exp()

    def kl(p, q):
        return (p * (p / q).clamp(min=1e-300).log()).sum().item()

    entropy = -Normal(mean, std).entropy().sum(1).mean().item()
    expected = {
        "mutual_information": entropy - (joint * joint.log()).nan_to_num().sum().item() * step**2,
        "marginal_kl": kl(joint, prior[:, None] * prior) * step**2,
        "total_correlation": kl(joint, product) * step**2,
        "dimension_wise_kl": sum(kl(marginals[:, j], prior) for j in (0, 1)) * step,
    }
    results = [aggregate_posterior(mean, std, seed=seed) for seed in range(300)]
    for name, value in expected.items():
        values = np.array([getattr(result, name).value for result in results])
        error = values.std() / math.sqrt(300)
        assert values.mean() == pytest.approx(value, abs=4 * error), name
        assert error < 0.02


def test_standard_errors_are_not_smaller_than_the_variation_over_samples():
    mean, std = posteriors(n=200)
    results = [aggregate_posterior(mean, std, seed=seed) for seed in range(60)]
    for name in TERMS:
        variation = np.std([getattr(result, name).value for result in results], ddof=1)
        error = np.mean([getattr(result, name).error for result in results])
        # The errors also include the variation over rows.
        assert 0.8 * variation < error < 4 * variation, name


def test_chunks_do_not_change_the_result(monkeypatch):
    mean, std = posteriors(n=97)
    full = aggregate_posterior(mean, std)
    module = import_module("varied.evaluate.aggregate_posterior")  # not the function
    monkeypatch.setattr(module, "PAIRS", 500)
    monkeypatch.setattr(module, "CHUNK", 7)
    for prior in (None, Normal(0.0, 1.0).log_prob):
        result = aggregate_posterior(mean, std, log_prior=prior)
        for name in TERMS:
            expected = getattr(full, name).value
            assert getattr(result, name).value == pytest.approx(expected, abs=1e-6)


def test_samples_of_some_rows():
    mean, std = posteriors(n=97)
    full, subset = aggregate_posterior(mean, std), aggregate_posterior(mean, std, n_samples=60)
    information = subset.mutual_information
    assert (subset.n, information.n) == (97, 60)
    assert abs(information.value - full.mutual_information.value) < 4 * information.error
    permuted = aggregate_posterior(mean, std, n_samples=97)
    assert permuted.marginal_kl.value == pytest.approx(full.marginal_kl.value)


# Priors


def test_another_prior():
    mean, std = posteriors()
    prior = Normal(0.5, 2.0)
    default = aggregate_posterior(mean, std)
    result = aggregate_posterior(mean, std, log_prior=prior.log_prob)
    exact = kl_divergence(Normal(mean, std), prior).sum(1).mean().item()
    assert abs(result.kl.value - exact) < 3 * result.kl.error
    assert result.mutual_information == default.mutual_information
    joint = aggregate_posterior(mean, std, log_prior=lambda z: prior.log_prob(z).sum(1))
    assert joint.marginal_kl.value == pytest.approx(result.marginal_kl.value)
    assert (joint.dimension_wise_kl, joint.dimension_wise_kl_by_unit) == (None, None)


def test_aggregate_posterior_as_prior_has_no_marginal_kl():
    mean, std = posteriors(n=40)
    components = Independent(Normal(mean, std), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(40)), components)
    result = aggregate_posterior(mean, std, log_prior=mixture.log_prob)
    assert result.marginal_kl.value == pytest.approx(0, abs=1e-6)
    assert result.marginal_kl.error < 1e-6


# Seeds and errors


def test_same_seed_gives_the_same_result_without_side_effects():
    mean, std = posteriors(n=60)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = aggregate_posterior(mean, std)
    assert first == aggregate_posterior(mean.numpy(), std.numpy())
    assert first != aggregate_posterior(mean, std, seed=1)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


ZEROS, ONES = torch.zeros(5, 2), torch.ones(5, 2)


@pytest.mark.parametrize(
    ("mean", "std", "options", "message"),
    [
        (torch.zeros(5), torch.ones(5), {}, r"means have shape \(5,\)"),
        (torch.zeros(1, 2), torch.ones(1, 2), {}, "N >= 2"),
        (ZEROS, torch.ones(5, 3), {}, "both must have the same shape"),
        (ZEROS, torch.zeros(5, 2), {}, "is not positive"),
        (ZEROS, -ONES, {}, "is not positive"),
        (ZEROS * math.nan, ONES, {}, "Row 0 of the means contains NaN"),
        (ZEROS, ONES / 0, {}, "standard deviations contains NaN or infinity"),
        (ZEROS, ONES, {"n_samples": 6}, "n_samples=6 must be between 2"),
        (ZEROS, ONES, {"log_prior": lambda z: z.sum(1, keepdim=True)}, "one for each code"),
        (ZEROS, ONES, {"log_prior": lambda z: z[:, 0] * -math.inf}, "non-finite"),
    ],
)
def test_aggregate_posterior_refuses(mean, std, options, message):
    with pytest.raises(VariedError, match=message):
        aggregate_posterior(mean, std, **options)
