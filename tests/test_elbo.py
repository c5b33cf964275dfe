"""The ELBO, the importance-weighted bound and active units against closed forms."""

import math

import pytest
import torch

from varied.composition import compose
from varied.data import Batch, iter_batches
from varied.evaluate import (
    active_units,
    collapse_warning,
    elbo,
    evaluate,
    forward_pass,
    log_likelihood,
)
from varied.evaluate.estimate import Estimate
from varied.evaluate.formatting import (
    format_active_units,
    format_bits,
    format_estimate,
    format_metric,
    metric_rows,
)
from varied.seeding import seeded
from varied.spec import Plan, Spec

SHAPE = (1, 6, 6)
LOAD = torch.Tensor.float


def build_model(**axes):
    spec = Spec.parse(**({"net": {"name": "mlp", "width": 16}, "latent": 3, "plan": Plan()} | axes))
    return compose(spec, SHAPE)[0]


def binary(n=40):
    return torch.rand((n, *SHAPE), generator=torch.Generator().manual_seed(0)).round()


class PriorOfContext(torch.nn.Module):
    """An encoder network whose posterior is the prior, except for the mean of the first unit."""

    def __init__(self, prior):
        super().__init__()
        self.net = prior.net

    def forward(self, x, c):
        h = self.net(c)
        return torch.cat([h[:, :1] + x.flatten(1).mean(1, keepdim=True), h[:, 1:]], 1)


class CountingModel(torch.nn.Module):
    """A model that counts its samples."""

    def __init__(self, model):
        super().__init__()
        self.model, self.n_samples = model, 0
        self.encoder, self.decoder, self.prior = model.encoder, model.decoder, model.prior
        self.params_per_element = model.params_per_element

    def forward(self, x, c=None, mask=None, samples=1):
        self.n_samples += samples
        return self.model(x, c, mask, samples)


# The importance-weighted bound


@pytest.mark.parametrize("samples", [1, 7, 100])
@pytest.mark.parametrize("chunk", [1, 36 * 40 * 3, 2**25])
def test_bound_draws_exactly_k_samples(samples, chunk, monkeypatch):
    monkeypatch.setattr(elbo, "CPU_CHUNK", chunk)
    model = CountingModel(build_model())
    log_likelihood(model, LOAD, [Batch(binary())], samples=samples)
    assert model.n_samples == samples


def test_bound_is_the_log_of_the_mean_weight():
    model, x = build_model(), binary(5)
    bound, size = log_likelihood(model, LOAD, [Batch(x)], samples=11, seed=4)
    with seeded(4, "importance", 0), torch.no_grad():
        w = model(x, samples=11).log_weight.double().exp()
    assert torch.allclose(bound.double(), w.mean(0).log(), atol=1e-4)
    assert torch.allclose(size.double(), w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-3)


def test_more_samples_tighten_the_bound():
    model, x = build_model(), [Batch(binary(200))]
    bounds = [log_likelihood(model, LOAD, x, samples=k)[0].mean() for k in (1, 10, 200)]
    assert bounds[0] < bounds[1] < bounds[2]


# Evaluation


def test_evaluation_adds_up_without_side_effects():
    model, x = build_model().train(), binary()
    state, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    result = evaluate(model, LOAD, iter_batches(x, size=16), samples=3)
    assert result.elbo.value == pytest.approx(-result.reconstruction.value - result.kl.value)
    assert result.kl.value == pytest.approx(sum(result.kl_by_unit), rel=1e-5)
    assert result.log_likelihood.value > result.elbo.value - 3 * result.elbo.error
    sizes = (result.n, result.latent_dim, result.dimensions, result.importance_samples)
    assert sizes == (40, 3, 36, 3)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_evaluation_is_a_table_in_notebooks():
    html = evaluate(build_model(), LOAD, [Batch(binary())], likelihood="bernoulli")._repr_html_()
    assert html.startswith("<table><tr><th></th><th>bernoulli likelihood, 40 examples</th>")
    assert html.count("<tr>") == 5


def test_evaluation_uses_float32():
    model, x = build_model(), binary()
    expected = forward_pass(model, LOAD, iter_batches(x, size=16))
    model.encoder.precision = model.decoder.precision = torch.bfloat16
    result = forward_pass(model, LOAD, iter_batches(x, size=16))
    assert torch.equal(expected.reconstruction, result.reconstruction)
    assert model.encoder.precision == torch.bfloat16


def test_point_posterior_has_no_elbo():
    model = build_model(posterior="deterministic", objective="reconstruction")
    result = evaluate(model, LOAD, iter_batches(binary(), size=16), samples=5)
    assert (result.elbo, result.kl, result.log_likelihood, result.kl_by_unit) == (None,) * 4
    values = result.to_json()
    assert values["elbo"] is None and values["elbo_error"] is None
    assert format_metric(values, "elbo") == "none: a deterministic posterior has no density"
    assert result.warnings == []


def test_one_importance_sample_of_discrete_codes_suffices():
    """All samples of a discrete code are equal, so the bound does not depend on their number."""
    model = build_model(
        posterior={"name": "vq", "codebook_size": 8},
        prior="transformer",
        objective="vq-vae",
        latent=(4, 2, 2),
        net="conv",
    )
    batches = [Batch(binary())]
    result = evaluate(model, LOAD, batches, samples=50)
    assert result.importance_samples == 1
    assert result.log_likelihood.value == pytest.approx(result.elbo.value, rel=1e-5)
    bound, _ = log_likelihood(model, LOAD, batches, samples=3)
    assert bound.mean().item() == pytest.approx(result.log_likelihood.value, rel=1e-5)
    assert not any("importance weights" in warning for warning in result.warnings)
    assert result.codebook_size == 8 and 0 < result.codebook_usage <= 1


def test_degenerate_importance_weights_have_a_warning():
    model = build_model(likelihood={"name": "gaussian", "scale": 0.01})
    result = evaluate(model, LOAD, iter_batches(torch.randn(20, *SHAPE), size=20), samples=50)
    assert any("importance weights are degenerate" in warning for warning in result.warnings)


# Active units


@pytest.mark.parametrize("rank", [0, 1, 4, 8])
def test_active_units_of_codes_with_a_known_rank(rank):
    means = torch.randn(500, 8, generator=torch.Generator().manual_seed(1)) * 0.01
    means[:, :rank] += torch.randn(500, rank, generator=torch.Generator().manual_seed(2))
    assert active_units(means).value == rank
    assert active_units(means).error == 0
    assert (collapse_warning(rank, 8) is None) == (rank > 0)


# Estimates


@pytest.mark.parametrize(
    ("likelihood", "expected"), [("discretized-logistic", "2.50 ± 0.12"), ("bernoulli", None)]
)
def test_bits_per_dimension_are_for_levels(likelihood, expected):
    values = {"elbo": -500 * math.log(2), "elbo_error": 24 * math.log(2), "dimensions": 200}
    values |= {"likelihood": likelihood, "reconstruction": 1.0, "kl": 1.0}
    values |= {"active_units": 2, "latent_dim": 2}
    assert format_bits(values) == expected
    rows = [row[1:] for row in metric_rows(values)]
    assert ((expected, "bits per dimension") in rows) == (expected is not None)


def test_estimates_are_formatted_as_numbers():
    estimate = Estimate(91.2345, 0.253, 100)
    assert f"{estimate:.2f}" == "91.23"
    assert f"{estimate}" == str(estimate) == "91.23 ± 0.25"
    assert float(estimate) == 91.2345


def test_standard_error_covers_the_mean():
    torch.manual_seed(0)
    hits = [abs(Estimate.of(torch.randn(200)).value) < 0.0707 * 1.96 for _ in range(300)]
    assert 0.90 < sum(hits) / 300 < 0.99
    estimate = Estimate.of(torch.randn(10_000) * 3)
    assert estimate.error == pytest.approx(0.03, rel=0.05)
    assert math.isnan(Estimate.of(torch.ones(1)).error)


def test_scaled_estimate():
    assert -Estimate(2.0, 0.5, 10) * 3 == Estimate(-6.0, 1.5, 10)


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [
        (91.2345, 0.253, "nats", "91.23 ± 0.25 nats"),
        (91.2345, 1.253, "nats", "91.2 ± 1.3 nats"),
        (12345.6, 120.0, "nats", "12,346 ± 120 nats"),
        (0.0002, 0.000012, "", "0.000200 ± 0.000012"),
        (0.0002, 1e-9, "", "0.0002"),
        (0.5, math.nan, "", "0.5"),
        (0.123456, None, "", "0.1235"),
        (15.0, 0.0, "", "15"),
        (math.inf, math.nan, "dB", "inf dB"),
    ],
)
def test_format_estimate(value, error, unit, text):
    assert format_estimate(value, error, unit) == text


def test_format_signed_estimate():
    assert format_estimate(1.5, 0.12, "%", signed=True) == "+1.50 ± 0.12%"
    assert format_estimate(-1.5, 0.12, "%", signed=True) == "-1.50 ± 0.12%"


def test_format_active_units():
    evaluation = {"active_units": 19.0, "active_units_error": 0.58, "latent_dim": 32}
    assert format_active_units(evaluation) == "19.00 ± 0.58 of 32"
    assert format_active_units(evaluation | {"active_units_error": 0.0}) == "19 of 32"


def test_units_whose_posterior_equals_the_conditional_prior_are_inactive():
    model = build_model(prior="conditional-normal", context=2)
    torch.nn.init.normal_(model.prior.net[-2].weight)
    model.encoder.net = PriorOfContext(model.prior)
    x = torch.randn(200, 1, 1, 1).expand(-1, *SHAPE)
    batches = list(iter_batches(x, torch.randn(200, 2), size=100))
    assert (forward_pass(model, LOAD, batches).mean.var(0) > 0.01).all()
    assert evaluate(model, LOAD, batches).active_by_unit == (True, False, False)
