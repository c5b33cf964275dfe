"""Evaluation against closed forms: exactly k samples, standard errors, active units."""

import math

import pytest
import torch

from varied import evaluate as e
from varied.data import Batch, iter_batches
from varied.evaluate import elbo
from varied.evaluate.estimate import Estimate
from varied.spec import Part, Plan, Spec, compose

SHAPE = (1, 6, 6)


def model_of(**axes):
    spec = Spec.parse(**({"net": {"name": "mlp", "width": 16}, "latent": 3, "plan": Plan()} | axes))
    return compose(spec, SHAPE)[0]


def binary(n=40):
    return torch.rand((n, *SHAPE), generator=torch.Generator().manual_seed(0)).round()


class Counted(torch.nn.Module):
    """A model that counts the samples it is asked for."""

    def __init__(self, model):
        super().__init__()
        self.model, self.drawn = model, 0
        self.encoder, self.decoder, self.prior = model.encoder, model.decoder, model.prior
        self.params_per_element = model.params_per_element

    def forward(self, x, c=None, mask=None, samples=1):
        self.drawn += samples
        return self.model(x, c, mask, samples)


@pytest.mark.parametrize("samples", [1, 7, 100])
@pytest.mark.parametrize("chunk", [1, 36 * 40 * 3, 2**25])
def test_the_bound_draws_exactly_k_samples(samples, chunk, monkeypatch):
    monkeypatch.setattr(elbo, "CHUNK", chunk)
    model = Counted(model_of())
    e.log_likelihood(model, torch.Tensor.float, [Batch(binary())], samples=samples)
    assert model.drawn == samples


def test_the_bound_is_log_mean_of_the_weights():
    model, x = model_of(), binary(5)
    found, size = e.log_likelihood(model, torch.Tensor.float, [Batch(x)], samples=11, seed=4)
    with elbo.seeded(4, "importance", 0), torch.no_grad():
        log_w = model(x, samples=11).log_weight.double()
    w = log_w.exp()
    assert torch.allclose(found.double(), w.mean(0).log(), atol=1e-4)
    assert torch.allclose(size.double(), w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-3)


def test_more_samples_give_a_tighter_bound_on_average():
    model, x = model_of(), binary(200)
    found = [
        float(e.log_likelihood(model, torch.Tensor.float, [Batch(x)], samples=k)[0].mean())
        for k in (1, 10, 200)
    ]
    assert found[0] < found[1] < found[2]


def test_an_evaluation_adds_up_and_changes_nothing():
    model, x = model_of(), binary()
    state, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    model.train()
    found = e.evaluate(model, torch.Tensor.float, lambda: iter_batches(x, size=16), samples=3)
    assert found.elbo.value == pytest.approx(-found.reconstruction.value - found.kl.value)
    assert found.kl.value == pytest.approx(sum(found.kl_by_unit), rel=1e-5)
    assert found.log_likelihood.value > found.elbo.value - 3 * found.elbo.error
    assert (found.n, found.latent, found.dimensions, found.samples) == (40, 3, 36, 3)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_evaluation_is_in_float32_whatever_the_precision_of_training():
    model, x = model_of(), binary()
    plain = e.forward_pass(model, torch.Tensor.float, iter_batches(x, size=16))
    model.encoder.precision = model.decoder.precision = torch.bfloat16
    again = e.forward_pass(model, torch.Tensor.float, iter_batches(x, size=16))
    assert torch.equal(plain.distortion, again.distortion)
    assert model.encoder.precision == torch.bfloat16


def test_a_point_posterior_has_no_elbo():
    model = model_of(posterior="deterministic", objective="reconstruction")
    found = e.evaluate(
        model, torch.Tensor.float, lambda: iter_batches(binary(), size=16), samples=5
    )
    assert (found.elbo, found.kl, found.log_likelihood, found.kl_by_unit) == (None,) * 4
    assert found.to_json()["elbo"] is None
    assert found.warnings == []


def test_one_sample_tells_all_of_codes():
    """Every draw of a point on a code is that code, so the bound of many is the bound of one."""
    axes = {
        "posterior": {"name": "vq", "codebook_size": 8},
        "prior": "transformer",
        "objective": "vq-vae",
    }
    model = model_of(latent=(4, 2, 2), net="conv", **axes)
    rows = [Batch(binary())]
    found = e.evaluate(model, torch.Tensor.float, lambda: rows, samples=50)
    assert found.samples == 1
    assert found.log_likelihood.value == pytest.approx(found.elbo.value, rel=1e-5)
    many, _ = e.log_likelihood(model, torch.Tensor.float, rows, samples=3)
    assert many.mean().item() == pytest.approx(found.log_likelihood.value, rel=1e-5)
    assert not any("importance weights" in sentence for sentence in found.warnings)


def test_the_standard_error_covers_the_truth():
    torch.manual_seed(0)
    hits = [abs(Estimate.of(torch.randn(200)).value) < 0.0707 * 1.96 for _ in range(300)]
    assert 0.90 < sum(hits) / 300 < 0.99
    estimate = Estimate.of(torch.randn(10_000) * 3)
    assert estimate.error == pytest.approx(0.03, rel=0.05)
    assert math.isnan(Estimate.of(torch.ones(1)).error)


@pytest.mark.parametrize("rank", [0, 1, 4, 8])
def test_active_units_find_a_planted_rank(rank):
    means = torch.randn(500, 8, generator=torch.Generator().manual_seed(1)) * 0.01
    means[:, :rank] += torch.randn(500, rank, generator=torch.Generator().manual_seed(2))
    assert e.active_units(means).value == rank
    assert e.active_units(means).error == 0
    assert (e.collapse_warning(rank, 8) is None) == (rank > 0)


def test_poor_importance_weights_are_said():
    model = model_of(likelihood=Part("gaussian", {"scale": 0.01}).plain)
    rows = lambda: iter_batches(torch.randn(20, *SHAPE), size=20)  # noqa: E731
    found = e.evaluate(model, torch.Tensor.float, rows, samples=50)
    assert any("importance weights are poor" in sentence for sentence in found.warnings)
