"""Attribute directions, edits and style transfer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from varied import functional
from varied.composition import compose
from varied.errors import VariedError
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.posteriors import Gaussian as GaussianPosterior
from varied.priors import StandardNormal
from varied.spec import Spec
from varied.trace import ConditionalDistribution

UNITS, COLUMNS = 3, 5


def orthonormal() -> torch.Tensor:
    """Return a random matrix with orthonormal columns, with shape (COLUMNS, UNITS)."""
    return torch.linalg.qr(torch.randn(COLUMNS, UNITS))[0]


def linear_model(w: torch.Tensor) -> VAE:
    """Return the model x = w z, whose encoder is the exact inverse of its decoder."""
    posterior = GaussianPosterior((UNITS,))
    encoder = nn.Linear(COLUMNS, 2 * UNITS, bias=False)
    decoder = nn.Linear(UNITS, COLUMNS, bias=False)
    encoder.weight.data = torch.cat([w.T, torch.zeros(UNITS, COLUMNS)])
    decoder.weight.data = w
    return VAE(
        ConditionalDistribution(encoder, posterior, (COLUMNS,)),
        ConditionalDistribution(decoder, GaussianLikelihood((COLUMNS,), scale=0.1), (UNITS,)),
        StandardNormal((UNITS,)),
    )


def correlated_attributes(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes, an attribute in unit 0 and a correlated attribute in unit 1."""
    rng = np.random.default_rng(0)
    other = rng.random(n) < 0.5
    has = rng.random(n) < np.where(other, 0.9, 0.2)
    codes = np.stack([2.0 * has, 3.0 * other, 0 * other], 1) + rng.normal(0, 0.1, (n, 3))
    return torch.from_numpy(codes).float(), torch.from_numpy(has), torch.from_numpy(other)


# Directions


def test_edit_of_a_linear_model_is_exact():
    w = orthonormal()
    model, z, step = linear_model(w), torch.randn(4, UNITS), torch.randn(UNITS)
    strengths = (-2.0, 0.0, 0.5)
    edited = functional.edit(model, z @ w.T, step, strengths=strengths)
    for i, strength in enumerate(strengths):
        torch.testing.assert_close(edited[:, i], (z + strength * step) @ w.T)


def test_direction_leads_from_mean_to_mean():
    codes, has = torch.randn(200, UNITS), torch.arange(200) % 3 == 0
    shifted = codes[~has].mean(0) + functional.direction(codes, has)
    torch.testing.assert_close(shifted, codes[has].mean(0), atol=1e-5, rtol=0)


def test_logistic_direction_has_the_length_of_the_mean_difference_along_it():
    has = torch.arange(400) % 2 == 0
    codes = torch.randn(400, UNITS) + torch.tensor([3.0, 0.0, 0.0]) * has[:, None]
    step = functional.direction(codes, has, method="logistic")
    difference = functional.direction(codes, has)
    assert torch.cosine_similarity(step, torch.tensor([1.0, 0, 0]), dim=0) > 0.95
    torch.testing.assert_close(step @ step, step @ difference, atol=1e-3, rtol=0)


def test_direction_from_few_examples_has_the_expected_error():
    units, distance, n, repeats = 20, 2.0, 20, 60
    has = torch.arange(2 * n) % 2 == 0
    cosines = []
    for _ in range(repeats):
        codes = torch.randn(2 * n, units)
        codes[:, 0] += distance * has
        step = functional.direction(codes, has)
        cosines.append(step[0] / step.norm())
    expected = distance / (distance**2 + units * 2 / n) ** 0.5
    assert abs(torch.stack(cosines).mean() - expected) < 0.03


@pytest.mark.parametrize(
    ("n", "method", "message"),
    [(1, "means", "at least two examples"), (5, "mean", "There is no direction 'mean'")],
)
def test_direction_refuses_small_groups_and_unknown_methods(n, method, message):
    with pytest.raises(VariedError, match=message):
        functional.direction(torch.randn(10, UNITS), torch.arange(10) < n, method=method)


@pytest.mark.parametrize("method", functional.DIRECTIONS)
def test_balance_weights_remove_a_correlation(method):
    codes, has, other = correlated_attributes()
    weights = functional.balance_weights(has, other[:, None].long())
    balanced = functional.direction(codes, has, weights, method=method)
    assert functional.direction(codes, has, method=method)[1] > 0.2
    torch.testing.assert_close(balanced, torch.tensor([2.0, 0.0, 0.0]), atol=0.03, rtol=0)


def test_balance_weights_equalize_both_kinds_in_each_stratum():
    has = torch.tensor([True, True, True, False, True, False])
    others = torch.tensor([[0], [0], [0], [0], [1], [1]])
    weights = functional.balance_weights(has, others)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.25, 0.25, 0.75, 0.5, 0.5]))
    weights = functional.balance_weights(has, torch.tensor([[0], [0], [1], [0], [1], [2]]))
    assert (weights > 0).tolist() == [True, True, False, True, False, False]
    with pytest.raises(VariedError, match="control for fewer attributes"):
        functional.balance_weights(has, has[:, None].long())


def test_effects_report_side_effects_of_a_step():
    codes, has, other = correlated_attributes()
    known = torch.ones_like(has)
    attributes = {"target": (has, known), "other": (other, known)}

    def effects(step):
        result = functional.effects(step, codes, attributes, codes[:500], codes[:500] + step)
        return {effect.name: effect for effect in result}

    biased, balanced = (
        effects(step) for step in (functional.direction(codes, has), torch.tensor([2.0, 0.0, 0.0]))
    )
    assert biased["other"].cosine > balanced["other"].cosine + 0.2
    assert biased["other"].cosine > 0.5
    assert biased["other"].after - biased["other"].before > 0.2
    assert abs(balanced["other"].after - balanced["other"].before) < 0.05
    assert balanced["target"].after > 0.95
    assert next(iter(balanced)) == "target"


def test_reencode_returns_codes_only_if_the_decoder_is_invertible():
    w = orthonormal()
    model, z = linear_model(w), 3 * torch.randn(450, UNITS)
    torch.testing.assert_close(functional.reencode(model, z), z, atol=1e-5, rtol=0)
    model.decoder.net = nn.Sequential(model.decoder.net, nn.Hardtanh(-1, 1))
    far, near = 9 * torch.eye(UNITS), 0.1 * torch.eye(UNITS)
    assert ((functional.reencode(model, far) - far).norm(dim=1) > 5).all()
    torch.testing.assert_close(functional.reencode(model, near), near, atol=1e-5, rtol=0)


# Style transfer


def test_recondition_with_the_original_context_reconstructs():
    model, _ = compose(Spec.parse(net={"name": "mlp", "width": 8}, latent=2, context=3), (1, 4, 4))
    x, c = torch.rand(3, 1, 4, 4).round(), torch.eye(3)
    result = functional.recondition(model, x, c, c)
    assert result.shape == (3, 3, 1, 4, 4)
    same_context = result[torch.arange(3), torch.arange(3)]
    torch.testing.assert_close(same_context, functional.reconstruct(model, x, c))
    z = model.encode(x, c).mean
    torch.testing.assert_close(result[2, 0], functional.decode(model, z[2:], c[:1])[0])


def test_recondition_accepts_different_contexts_for_each_example():
    model, _ = compose(Spec.parse(net={"name": "mlp", "width": 8}, latent=2, context=3), (1, 4, 4))
    x, c, new_c = torch.rand(3, 1, 4, 4).round(), torch.eye(3), torch.rand(3, 2, 3)
    result = functional.recondition(model, x, c, new_c)
    assert result.shape == (3, 2, 1, 4, 4)
    torch.testing.assert_close(
        result[1], functional.recondition(model, x[1:2], c[1:2], new_c[1])[0]
    )


def test_contexts_of_a_conditional_prior_are_exchanged_at_equal_quantiles():
    parts = {"net": {"name": "mlp", "width": 8}, "prior": "conditional-normal"}
    model, _ = compose(Spec.parse(latent=2, context=3, **parts), (1, 4, 4))
    with torch.no_grad():
        for param in model.prior.parameters():
            param.add_(0.3 * torch.randn_like(param))
    x, c = torch.rand(3, 1, 4, 4).round(), torch.eye(3)
    z = model.encode(x, c).mean
    moved = model.prior.unstandardize(model.prior.standardize(z, c)[:1], c[1:2])
    assert (moved - z[:1]).abs().max() > 0.01
    result = functional.recondition(model, x, c, c)
    torch.testing.assert_close(result[0, 1], functional.decode(model, moved, c[1:2])[0])
    mixed = functional.mix_codes(model, x[1:2], x[:1], [0, 1], c[1:2], c[:1])
    torch.testing.assert_close(mixed[0, 0], result[0, 1])
    corners = functional.grid(model, x[[0, 1, 0, 1]], c[[0, 1, 0, 1]], steps=2)
    torch.testing.assert_close(corners[1, 1], result[1, 1])
    traversal, values = functional.traverse(model, z[0], [0], c[:1])
    p = model.prior(c[:1])
    z = torch.stack([p.mean[0, 0] + p.stddev[0, 0] * values[0], z[0, 1]])
    torch.testing.assert_close(traversal[0, 0], functional.decode(model, z[None], c[:1])[0])


def test_mix_codes_of_a_linear_model_is_exact():
    w = orthonormal()
    content, style = torch.randn(2, UNITS), torch.randn(4, UNITS)
    result = functional.mix_codes(linear_model(w), content @ w.T, style @ w.T, [1])
    assert result.shape == (4, 2, COLUMNS)
    expected = torch.stack([content[1, 0], style[3, 1], content[1, 2]])
    torch.testing.assert_close(result[3, 1], w @ expected)


def test_level_units_are_those_of_the_levels_of_a_ladder():
    ladder = {"name": "ladder", "levels": 2, "hidden_size": 8}
    model, _ = compose(Spec.parse(latent=3, architecture=ladder, net="mlp"), (6,))
    first, second = model.sizes
    assert functional.level_units(model, [1]) == list(range(first))
    assert functional.level_units(model, [2]) == list(range(first, first + second))
    with pytest.raises(VariedError, match=r"between 1 \(the bottom level\) and 2, got \[3\]"):
        functional.level_units(model, [3])
    with pytest.raises(VariedError, match="single level"):
        functional.level_units(linear_model(orthonormal()), [1])
