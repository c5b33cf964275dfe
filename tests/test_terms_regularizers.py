"""Regularizers for deterministic autoencoders."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from traces import code_trace

from varied.composition import compose
from varied.errors import VariedError
from varied.spec import Spec
from varied.terms import WeightNorm, code_norm, gradient_penalty


def small_rae(regularizer):
    spec = Spec.parse(
        objective={"name": "rae", "regularizer": regularizer},
        posterior="deterministic",
        latent=3,
        net={"name": "mlp", "width": 8},
    )
    return compose(spec, (6,))


def test_code_norm_is_half_the_squared_norm():
    z = torch.randn(2, 5, 3).double()
    torch.testing.assert_close(code_norm(code_trace(z)), z.square().sum(2).mean(0) / 2)


def test_weight_norm_is_that_of_the_matrices_of_the_decoder():
    model, objective = small_rae("l2")
    weights = [p for p in model.decoder.parameters() if p.dim() > 1]
    parts = objective(model(torch.rand(4, 6).round()))[1]
    expected = sum(float(p.detach().square().sum()) for p in weights)
    assert float(parts["weight_norm"]) == pytest.approx(expected)
    value = objective.terms[2](model(torch.rand(4, 6))).mean()
    torch.testing.assert_close(torch.autograd.grad(value, weights[0])[0], 2 * weights[0])


def test_weight_norm_does_not_own_the_decoder():
    _, objective = small_rae("l2")
    assert not list(objective.parameters())
    assert not objective.state_dict()


def test_weight_norm_raises_without_a_decoder():
    with pytest.raises(VariedError, match="attach"):
        WeightNorm()(code_trace(torch.zeros(1, 2, 3).double()))
    ladder, _ = compose(Spec.parse(architecture="ladder", net={"name": "mlp", "width": 8}), (6,))
    with pytest.raises(VariedError, match="regularizer='gp'"):
        WeightNorm().attach(ladder)


def test_gradient_penalty_of_a_linear_decoder_is_its_squared_norm():
    decoder = nn.Linear(3, 4).double()
    z = torch.randn(1, 20_000, 3).double().requires_grad_()
    values = gradient_penalty(code_trace(z, decoder=decoder))
    error = values.std() / math.sqrt(len(values))
    assert (values.mean() - decoder.weight.square().sum()).abs() < 4 * error
    gradient = torch.autograd.grad(values.mean(), decoder.weight)[0]
    assert (gradient - 2 * decoder.weight).abs().max() < 0.3


def test_gradient_penalty_trains_all_weights_of_the_decoder():
    model = small_rae("gp")[0]
    gradient_penalty(model(torch.rand(4, 6).round())).mean().backward()
    weights = [p for p in model.decoder.parameters() if p.dim() > 1]
    assert all(p.grad.isfinite().all() and (p.grad != 0).any() for p in weights)


def test_gradient_penalty_is_zero_without_gradients():
    model = small_rae("gp")[0]
    with torch.no_grad():
        assert not gradient_penalty(model(torch.rand(4, 6).round())).any()
