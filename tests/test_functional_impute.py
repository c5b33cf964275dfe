"""Importance sampling, imputation, interval calibration and anomaly scores in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributions as td
from torch import nn

from varied import functional
from varied.composition import compose
from varied.data import Batch, iter_batches
from varied.data.codecs import ImageCodec
from varied.errors import VariedError
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.posteriors import Gaussian as GaussianPosterior
from varied.priors import StandardNormal
from varied.spec import Plan, Spec
from varied.trace import ConditionalDistribution

D, NOISE = 6, 0.5
W = torch.linspace(0.5, 2.0, D)
COVARIANCE = torch.outer(W, W) + NOISE**2 * torch.eye(D)


def identity(x):
    return x


def factor_model(log_variance_shift: float = 0.0) -> VAE:
    """Return the model x = w z + noise with its posterior, or one with a different variance."""
    posterior, precision = GaussianPosterior((1,)), W @ W / NOISE**2 + 1
    encoder, decoder = nn.Linear(D, 2), nn.Linear(1, D, bias=False)
    decoder.weight.data = W[:, None].clone()
    encoder.weight.data = torch.stack([W / NOISE**2 / precision, torch.zeros(D)])
    log_variance = log_variance_shift - precision.log()
    output = posterior.logvar_bound * torch.atanh(log_variance / posterior.logvar_bound)
    encoder.bias.data = torch.stack([torch.tensor(0.0), output])
    return VAE(
        ConditionalDistribution(encoder, posterior, (D,)),
        ConditionalDistribution(decoder, GaussianLikelihood((D,), scale=NOISE), (1,)),
        StandardNormal((1,)),
    )


def conditional_moments(x, mask):
    """Return the mean and the standard deviation of missing values given observed ones."""
    a, b = np.flatnonzero(mask == 0), np.flatnonzero(mask)
    gain = COVARIANCE[a][:, b] @ torch.linalg.inv(COVARIANCE[b][:, b])
    covariance = COVARIANCE[a][:, a] - gain @ COVARIANCE[b][:, a]
    return gain @ x[b], covariance.diagonal().sqrt()


# Imputation


@pytest.mark.parametrize("sweeps", [0, 30])
def test_imputations_of_a_linear_model_have_the_exact_moments(sweeps):
    x = torch.tensor([[1.0, 1.5, 0.8, 2.0, 1.0, 3.0], [-1.0, 0, 0.5, -1.0, 0.3, -2.0]])
    mask = torch.tensor([[1.0, 0, 1, 1, 0, 1], [0, 1.0, 1, 0, 1, 0]])
    model = factor_model(0.0 if sweeps else 2.0)  # a wide proposal covers missing values
    samples = 200 if sweeps else 4000
    draws = functional.impute(model, x, mask=mask, n_draws=4000, samples=samples, sweeps=sweeps)
    assert torch.equal(draws[:, mask > 0], x[mask > 0].expand(4000, -1))
    for row in range(2):
        mean, std = conditional_moments(x[row], mask[row].numpy())
        imputed = draws[:, row, mask[row] == 0]
        assert torch.allclose(imputed.mean(0), mean, atol=0.07)
        assert torch.allclose(imputed.std(0), std, atol=0.05)
    if not sweeps:
        means = functional.conditional_mean(model, x, mask, samples=samples)
        assert torch.allclose(means[mask == 0], draws.mean(0)[mask == 0], atol=0.07)


# Negative log-likelihood


def test_nll_of_a_linear_model_is_exact():
    exact = td.MultivariateNormal(torch.zeros(D), COVARIANCE)
    x = torch.cat([exact.sample((20,)), 5 * torch.ones(1, D)])
    result = functional.negative_log_likelihood(factor_model(), identity, [Batch(x)], samples=3000)
    assert torch.allclose(result.nll, -exact.log_prob(x), atol=0.1)
    assert result.nll.argmax() == 20
    assert result.element_nll.shape == x.shape


@pytest.mark.parametrize("posterior", ["gaussian", "iaf", "dynamic binarization"])
def test_nll_does_not_depend_on_the_order_or_the_batches(posterior):
    if posterior == "dynamic binarization":
        spec = Spec.parse(likelihood="bernoulli", latent=3, net={"name": "mlp", "width": 8})
        model, load = compose(spec, (1, 4, 4))[0], ImageCodec((1, 4, 4), binarize="dynamic").load
        x = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8)
    else:
        spec = Spec.parse(
            likelihood="gaussian", posterior=posterior, latent=3, plan=Plan(threads=1)
        )
        model, load, x = compose(spec, (5,))[0], identity, torch.randn(40, 5)

    def nll(batches, seed=0):
        return functional.negative_log_likelihood(model, load, batches, samples=20, seed=seed).nll

    first, order = nll([Batch(x)]), torch.randperm(40)
    torch.testing.assert_close(nll(iter_batches(x[order], size=7)), first[order])
    assert not torch.allclose(nll([Batch(x)], seed=1), first)


@pytest.mark.parametrize("samples", [5, 50])
def test_sweeps_lower_the_nll_of_incomplete_rows(samples):
    """The importance-weighted bound is below log p(x), and is closer with a better proposal."""
    x = td.MultivariateNormal(torch.zeros(D), COVARIANCE).sample((200,))
    mask = torch.ones_like(x)
    mask[:, 3:] = 0
    nll = [
        functional.negative_log_likelihood(
            factor_model(2.0), identity, [Batch(x, None, mask)], samples=samples, sweeps=sweeps
        ).nll
        for sweeps in (0, 5)
    ]
    exact = -td.MultivariateNormal(torch.zeros(3), COVARIANCE[:3, :3]).log_prob(x[:, :3])
    assert (nll[1] - exact).mean() < 0.7 * (nll[0] - exact).mean()


# Anomaly scores


def anomaly_scores(normal, x, method):
    normal_batches = iter_batches(normal, size=64)
    scorer = functional.AnomalyScorer(factor_model(), identity, normal_batches, method=method)
    return scorer.score(iter_batches(x, size=7))


def test_distance_is_that_to_the_nearest_other_example_and_residual():
    normal, x = torch.randn(150, D), torch.randn(20, D)
    projection = torch.outer(W, W) / (W @ W + NOISE**2)  # maps x to the reconstruction
    reference, features = (torch.cat([a, a - a @ projection], 1).double() for a in (normal, x))
    exact = torch.cdist(features, reference).min(1).values
    torch.testing.assert_close(anomaly_scores(normal, x, "distance").score, exact)
    exact = torch.cdist(reference, reference).fill_diagonal_(torch.inf).min(1).values
    scores = anomaly_scores(normal, normal[:30], "distance").score
    torch.testing.assert_close(scores, exact[:30], atol=1e-5, rtol=1e-5)


def test_density_and_distance_are_added_in_units_of_normal_data():
    normal = torch.randn(400, D)
    scores = {
        method: anomaly_scores(normal, normal, method).score.numpy()
        for method in functional.ANOMALY_METHODS
    }
    expected = 0
    for method in ("density", "distance"):
        median, high = np.quantile(scores[method], (0.5, 0.9))
        u = (scores[method] - median) / (high - median)
        expected = expected + np.sign(u) * np.log1p(np.abs(u))
    np.testing.assert_allclose(scores["both"], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("normal_fraction_missing", [0.0, 0.2])
@pytest.mark.parametrize("method", functional.ANOMALY_METHODS)
def test_scores_do_not_depend_on_how_many_values_are_missing(method, normal_fraction_missing):
    random = torch.Generator().manual_seed(0)
    exact = td.MultivariateNormal(torch.zeros(D), COVARIANCE)
    normal, x = exact.sample((600,)), exact.sample((400,))
    normal[torch.rand(normal.shape, generator=random) < normal_fraction_missing] = torch.nan
    complete = anomaly_scores(normal, x, method).score
    for hidden in ([0], [5], [1, 3], [0, 2, 4, 5]):
        incomplete = x.clone()
        incomplete[:, hidden] = torch.nan
        scores = anomaly_scores(normal, incomplete, method).score
        for quantile in (0.5, 0.9):
            rate = (scores > complete.quantile(quantile)).double().mean()
            assert rate == pytest.approx(1 - quantile, abs=0.11)


def test_missing_values_do_not_change_the_scores_of_other_rows():
    normal, x = torch.randn(200, D), torch.randn(30, D)
    complete = anomaly_scores(normal, x, "both").score
    x[::2, :3] = torch.nan
    scores = anomaly_scores(normal, x, "both").score
    torch.testing.assert_close(scores[1::2], complete[1::2])
    for row in range(0, 30, 10):
        alone = anomaly_scores(normal, x[[row]], "both").score
        torch.testing.assert_close(alone[0], scores[row])


def test_center_of_a_ring_is_anomalous_by_distance_but_not_by_density():
    angle = torch.linspace(0, 6.28, 200)
    along = torch.nn.functional.normalize(W, dim=0)
    other = torch.nn.functional.normalize(torch.arange(D) - 2.5, dim=0)
    ring = 3 * (angle.cos()[:, None] * along + angle.sin()[:, None] * other)
    x = torch.cat([torch.zeros(1, D), ring[:50] + 0.01])
    assert anomaly_scores(ring, x, "density").score.argmin() == 0
    assert anomaly_scores(ring, x, "distance").score.argmax() == 0


@pytest.mark.parametrize(
    ("n", "method", "message"),
    [(9, "nearness", "Unknown method 'nearness'"), (1, "both", "at least two normal examples")],
)
def test_anomaly_scorer_refuses_unknown_methods_and_too_few_rows(n, method, message):
    with pytest.raises(VariedError, match=message):
        anomaly_scores(torch.randn(n, D), torch.randn(2, D), method)


# Interval calibration


@pytest.mark.parametrize("factor", [0.5, 1.25, 2.0])
def test_scale_multiplies_the_deviations_of_missing_elements(factor):
    model, x, mask = factor_model(), torch.randn(5, D), torch.ones(5, D)
    mask[:, 2:] = 0
    scale = torch.tensor([factor] * 5 + [1.0])
    plain = functional.impute(model, x, mask=mask, n_draws=30)
    scaled = functional.impute(model, x, mask=mask, n_draws=30, scale=scale)
    assert torch.equal(scaled[..., :2], x[:, :2].expand(30, 5, 2))
    assert torch.equal(scaled[..., 5], plain[..., 5])
    torch.testing.assert_close(scaled.mean(0), plain.mean(0))
    torch.testing.assert_close(scaled.std(0)[:, 2:5], factor * plain.std(0)[:, 2:5])


def cells(std, n=4000, seed=0):
    """Return draws and residuals of standard normal cells from a model with another std."""
    rng = torch.Generator().manual_seed(seed)
    residuals = torch.randn(n, generator=rng, dtype=torch.float64)
    return std * torch.randn(500, n, generator=rng, dtype=torch.float64), residuals


@pytest.mark.parametrize("std", [0.4, 0.8, 2.0])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_draw_scale_corrects_the_standard_deviation(std, level):
    deviations, residuals = cells(std)
    groups = torch.zeros(len(residuals), dtype=torch.int64)
    scale = functional.draw_scale(deviations, residuals, groups, 1, level=level)
    assert float(scale) == pytest.approx(1 / std, rel=0.06)


def test_draw_scale_is_that_of_the_residuals_of_a_group():
    groups = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([400, 400, 2]))
    deviations, residuals = cells(1.0, n=802)
    residuals *= torch.tensor([0.5, 2.0, 2.0])[groups]
    scale = functional.draw_scale(deviations, residuals, groups, 4)
    assert scale[:2].tolist() == pytest.approx([0.5, 2.0], rel=0.15)
    pooled = float(residuals.abs().quantile(0.9)) / 1.645
    assert scale[2:].tolist() == pytest.approx([pooled, pooled], rel=0.2)
    assert (functional.draw_scale(deviations, 100 * residuals, groups, 4) == 4).all()


def test_intervals_of_a_column_with_ten_cells_have_their_coverage():
    std, coverage = 1.35, []
    groups = torch.tensor([0, 1]).repeat_interleave(torch.tensor([10, 400]))
    normal = torch.distributions.Normal(0.0, 1.0)
    for seed in range(100):
        deviations, residuals = cells(1.0, n=410, seed=seed)
        residuals *= torch.tensor([std, 1.0])[groups]
        end = 1.645 * functional.draw_scale(deviations, residuals, groups, 2)[0]
        coverage.append(1 - 2 * normal.cdf(-end / std))
    assert 0.89 < sum(coverage) / 100 < 0.93


def test_draw_scale_does_not_reduce_draws_without_evidence():
    deviations, residuals = cells(5.0, n=4)
    groups = torch.zeros(4, dtype=torch.int64)
    assert functional.draw_scale(deviations, residuals, groups, 2).tolist() == [1, 1]
    none = functional.draw_scale(deviations[:, :0], residuals[:0], groups[:0], 2)
    assert none.tolist() == [1, 1]
