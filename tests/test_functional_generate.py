"""Encoding, sampling, reconstruction, traversal, variations and nearest neighbors."""

import numpy as np
import pytest
import torch
from torch import nn

from varied import functional
from varied.composition import compose
from varied.data import Batch
from varied.errors import VariedError
from varied.functional.traverse import normal_quantiles
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.posteriors import Gaussian as GaussianPosterior
from varied.priors import StandardNormal
from varied.spec import Spec
from varied.trace import ConditionalDistribution

SHAPE = (1, 5, 7)


@pytest.fixture(params=[0, 3], ids=["unconditional", "conditional"])
def case(request):
    """A model, data and their context."""
    spec = Spec.parse(net={"name": "mlp", "width": 8}, latent=2, context=request.param)
    c = torch.eye(3)[torch.arange(6) % 3] if request.param else None
    return compose(spec, SHAPE)[0], torch.rand(6, *SHAPE).round(), c


# Sampling and reconstruction


def test_samples_depend_on_the_seed_and_keep_the_random_state(case):
    model, _, c = case
    state = torch.get_rng_state()
    first, same = (functional.sample(model, 6, c, seed=1) for _ in range(2))
    assert torch.equal(first, same)
    assert not torch.equal(first, functional.sample(model, 6, c, seed=2))
    assert first.shape == (6, *SHAPE)
    assert set(functional.sample(model, 6, c, sample_x=True).unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(state, torch.get_rng_state())


def test_temperature_scales_the_deviation_from_the_prior_mean(case):
    model, _, c = case
    with torch.random.fork_rng():
        torch.manual_seed(0)
        scaled = model.sample_prior(6, c, 2.0)
        torch.manual_seed(0)
        assert torch.allclose(scaled, 2 * model.sample_prior(6, c))
    same_c = None if c is None else c[:1].expand(6, -1)
    samples = functional.sample(model, 6, same_c, temperature=0.0)
    assert torch.allclose(samples, samples[:1].expand_as(samples))


def test_reconstructions_have_the_shape_of_the_data(case):
    model, x, c = case
    assert functional.reconstruct(model, x, c).shape == x.shape


def test_codes_are_deterministic(case):
    model, x, c = case
    first, same = (functional.encode(model, torch.Tensor.float, [Batch(x, c)]) for _ in range(2))
    assert torch.equal(first.mean, same.mean)
    assert torch.equal(first.mean, functional.embed(model, torch.Tensor.float, [Batch(x, c)]))
    assert first.mean.shape == first.std.shape == (6, 2)
    assert (first.kl >= 0).all()


# Traversal


def test_traverse_varies_one_dimension_at_a_time(case):
    model, _, c = case
    c = None if c is None else c[:1]
    x, values = functional.traverse(model, torch.tensor([0.3, -0.2]), [1, 0], c, steps=5)
    assert x.shape == (2, 5, *SHAPE)
    assert torch.allclose(values, -values.flip(0))
    z = torch.tensor([[0.3, values[0]]])
    assert torch.allclose(x[0, 0], functional.decode(model, z, c)[0], atol=1e-6)


def test_manifold_is_a_grid_of_prior_quantiles(case):
    model, _, c = case
    c = None if c is None else c[:1]
    x, values = functional.manifold(model, 4, c)
    assert x.shape == (16, *SHAPE)
    assert torch.allclose(torch.special.ndtr(values).diff(), torch.full((3,), 0.33))
    assert values.tolist() == pytest.approx(normal_quantiles(4).tolist())
    for i, j in ((0, 0), (0, 3), (2, 1)):
        z = torch.stack([values[j], values[i]])[None]
        assert torch.allclose(x[i * 4 + j], functional.decode(model, z, c)[0], atol=1e-6)


# Variations

D, K = 3, 2


def linear_model() -> tuple[VAE, torch.Tensor, torch.Tensor]:
    """Return a linear model, the matrix of its decoder, and its posterior variance."""
    posterior = GaussianPosterior((K,))
    encoder, decoder = nn.Linear(D, 2 * K), nn.Linear(K, D)
    variance = torch.tensor([0.5, 2.0])
    encoder.weight.data[K:] = 0
    encoder.bias.data[K:] = posterior.logvar_bound * torch.atanh(
        variance.log() / posterior.logvar_bound
    )
    model = VAE(
        ConditionalDistribution(encoder, posterior, (D,)),
        ConditionalDistribution(decoder, GaussianLikelihood((D,), scale=0.3), (K,)),
        StandardNormal((K,)),
    )
    return model, decoder.weight.detach(), variance


@pytest.mark.parametrize(("scale", "sample_x"), [(1.0, False), (2.5, False), (1.0, True)])
def test_variations_of_a_linear_model_have_the_exact_moments(scale, sample_x):
    model, w, variance = linear_model()
    x = torch.randn(2, D)
    result = functional.variations(model, x, n=40_000, scale=scale, sample_x=sample_x)
    noise = 0.09 * torch.eye(D) if sample_x else 0
    covariance = scale**2 * (w * variance) @ w.T + noise
    for variations, mean in zip(result, functional.reconstruct(model, x), strict=True):
        assert torch.allclose(variations.mean(0), mean, atol=0.04)
        assert torch.allclose(variations.T.cov(), covariance, atol=0.04 * scale**2)


def test_variations_of_scale_0_are_reconstructions_and_others_depend_on_the_seed():
    model, _, _ = linear_model()
    x, state = torch.randn(4, D), torch.get_rng_state()
    result = functional.variations(model, x, n=2, scale=0)
    expected = functional.reconstruct(model, x)[:, None].expand(-1, 2, -1)
    assert torch.allclose(result, expected, atol=1e-6)
    first, same, other = (functional.variations(model, x, n=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("parts", "scale", "message"),
    [
        ({"posterior": "deterministic", "objective": "reconstruction"}, 1.0, "deterministic"),
        ({"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"}, 2.0, "real-valued"),
        ({}, -1.0, "at least 0"),
    ],
)
def test_variations_refuse_latent_spaces_that_cannot_be_scaled(parts, scale, message):
    spec = Spec.parse(likelihood="gaussian", latent=3, net={"name": "mlp", "width": 8}, **parts)
    model, _ = compose(spec, (5,))
    with pytest.raises(VariedError, match=message):
        functional.variations(model, torch.randn(2, 5), scale=scale)


# Nearest neighbors


def model_with_prior(prior="standard-normal"):
    parts = {"likelihood": "gaussian", "latent": 3, "net": {"name": "mlp", "width": 8}}
    return compose(Spec.parse(prior=prior, **parts), (5,))[0]


def test_nearest_codes_ignore_inactive_units():
    query, candidates = torch.randn(20, 3), torch.randn(200, 3)
    query[:, 1], candidates[:, 1] = 5 * torch.randn(20), 0.01 * torch.randn(200)
    index, distance = functional.nearest_codes(model_with_prior(), query, candidates, 4)
    difference = (query[:, None] - candidates[None])[..., [0, 2]]
    exact = np.linalg.norm(difference.double().numpy(), axis=2)
    assert np.array_equal(index, np.argsort(exact, 1)[:, :4])
    assert np.allclose(distance, np.sort(exact, 1)[:, :4])


def test_nearest_codes_measure_in_standard_deviations_of_the_prior():
    model = model_with_prior("learned-gmm")
    with torch.no_grad():
        std = model.sample_prior(200_000).std(0)
        model.prior.requires_grad_(False)
    query, candidates = torch.randn(5, 3), torch.randn(50, 3)
    state = torch.get_rng_state()
    first, same = (functional.nearest_codes(model, query, candidates, 1)[1] for _ in range(2))
    exact = torch.cdist(query / std, candidates / std).min(1).values
    assert torch.allclose(first[:, 0].float(), exact, rtol=0.03)
    assert torch.equal(first, same)
    assert torch.equal(state, torch.get_rng_state())


def test_nearest_codes_have_distance_0_if_equal():
    codes = 1000 + torch.randn(300, 3)
    index, distance = functional.nearest_codes(model_with_prior(), codes[[7, 100]], codes, 3)
    assert index[:, 0].tolist() == [7, 100]
    assert (distance[:, 0] == 0).all()
    assert (distance.diff(dim=1) >= 0).all()


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (torch.eye(3)[:2], r"number of candidates \(2\), got 3"),
        (1e-3 * torch.eye(3), "No latent unit"),
    ],
)
def test_nearest_codes_refuse_too_few_or_inactive_candidates(candidates, message):
    with pytest.raises(VariedError, match=message):
        functional.nearest_codes(model_with_prior(), torch.randn(1, 3), candidates, 3)
