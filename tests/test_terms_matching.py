"""The discrepancy of codes and prior, against a double loop, and what keeps a decoder smooth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from varied.distributions import Delta, Gaussian
from varied.errors import VariedError
from varied.objectives import info_vae, rae, wae_mmd
from varied.spec import Spec, compose
from varied.terms import MMD, WeightNorm, code_norm, gradient_penalty
from varied.terms.mmd import SCALES
from varied.trace import Level, Trace


def standard(dims):
    zero = torch.zeros(dims).double()
    return Independent(Gaussian(zero, zero), 1)


def coded(z, p=None, decoder=None):
    """Return a trace with these codes, as points, of shape (K, B, D)."""
    x = torch.zeros(z.shape[1], 4).double()
    mean = x.expand(len(z), -1, -1) if decoder is None else decoder(z)
    px = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
    return Trace(x, px, [Level(z, Independent(Delta(z[0]), 1), p or standard(z.shape[2]))])


# Codes against the prior


def by_loops(codes, draws, kernel):
    def like(a, b):
        square, width = float(((a - b) ** 2).sum()), 2 * len(a)
        return sum(
            width * s / (width * s + square) if kernel == "imq" else math.exp(-square / width / s)
            for s in SCALES
        )

    n, total = len(codes), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += (like(codes[i], codes[j]) + like(draws[i], draws[j])) / (n * (n - 1))
            total -= 2 * like(codes[i], draws[j]) / n**2
    return total


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
@pytest.mark.parametrize("samples", [1, 2])
def test_discrepancy_is_the_double_loop(kernel, samples):
    z = 2 * torch.randn(samples, 7, 3).double() + 1
    torch.manual_seed(3)
    draws = standard(3).sample((samples, 7))
    torch.manual_seed(3)
    found = MMD(kernel)(coded(z))
    wanted = sum(by_loops(z[k], draws[k], kernel) for k in range(samples)) / samples
    torch.testing.assert_close(found, torch.full((7,), wanted).double())


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_equal_laws_have_no_discrepancy_in_the_mean(kernel):
    found = torch.stack([MMD(kernel)(coded(torch.randn(1, 6, 2).double()))[0] for _ in range(400)])
    assert found.mean().abs() < 4 * found.std() / 20
    assert found.min() < 0 < found.max()


def test_other_laws_have_one():
    z = torch.randn(1, 200, 2).double()
    here, wide, away = (float(MMD()(coded(codes))[0]) for codes in (z, 3 * z, z + 2))
    assert abs(here) < 0.05
    assert min(wide, away) > 0.3


def test_a_prior_of_each_datum_and_a_prior_that_learns():
    mean = torch.randn(5, 3).double().requires_grad_()
    z = torch.randn(2, 5, 3).double().requires_grad_()
    p = Independent(Gaussian(mean, torch.zeros_like(mean)), 1)
    MMD()(coded(z, p)).mean().backward()
    for grad in (mean.grad, z.grad):
        assert grad.isfinite().all()
        assert (grad != 0).any()


def test_one_row_alone_is_finite():
    z = torch.zeros(1, 1, 3).double().requires_grad_()
    found = MMD()(coded(z)).mean()
    found.backward()
    assert found.isfinite()
    assert z.grad.isfinite().all()


def test_a_prior_without_a_gradient_is_drawn_from():
    choice = Categorical(torch.ones(3).double())
    parts = Independent(Normal(torch.randn(3, 2).double(), torch.ones(3, 2).double()), 1)
    p = MixtureSameFamily(choice, parts)
    assert not p.has_rsample
    assert MMD()(coded(torch.randn(1, 5, 2).double(), p)).isfinite().all()


def test_weights_of_info_are_those_of_the_paper():
    objective = info_vae(alpha=0.25, mmd_weight=10.0)
    assert objective.names == ["reconstruction", "kl", "mmd"]
    assert [objective.weight(name) for name in objective.names] == [1, 0.75, 9.25]


@pytest.mark.parametrize("make", [wae_mmd, rae])
def test_codes_may_be_points(make):
    objective = make()
    assert not objective.requires
    parts = objective.double()
    attached(parts)
    assert "kl" not in parts(coded(torch.randn(1, 5, 3).double()))[1]


def attached(objective):
    objective.attach(nn.ModuleDict({"decoder": nn.Linear(3, 4)}))


# A decoder that is smooth


def test_the_length_of_a_code():
    z = torch.randn(2, 5, 3).double()
    torch.testing.assert_close(code_norm(coded(z)), z.square().sum(2).mean(0) / 2)


def small(name):
    spec = Spec.of(
        objective={"name": "rae", "regularizer": name},
        posterior="deterministic",
        latent=3,
        net={"name": "mlp", "width": 8},
    )
    return compose(spec, (6,))


def test_small_weights_are_those_of_the_decoder():
    model, objective = small("l2")
    wanted = sum(
        float(p.detach().square().sum()) for p in model.decoder.parameters() if p.dim() > 1
    )
    parts = objective(model(torch.rand(4, 6).round()))[1]
    assert float(parts["weight_norm"]) == pytest.approx(wanted)
    term = objective.terms[2]
    slopes = torch.autograd.grad(term(model(torch.rand(4, 6))).mean(), model.decoder.net[1].weight)
    torch.testing.assert_close(slopes[0], 2 * model.decoder.net[1].weight)
    # It looks at the decoder and does not own it.
    assert not list(objective.parameters())
    assert not objective.state_dict()


def test_small_weights_of_no_decoder_are_refused():
    trace = coded(torch.zeros(1, 2, 3).double())
    with pytest.raises(VariedError, match="attach"):
        WeightNorm()(trace)
    with pytest.raises(VariedError, match="decoder='gp'"):
        WeightNorm().attach(nn.Module())


def test_slopes_of_a_straight_decoder_are_its_weights():
    decoder = nn.Linear(3, 4).double()
    z = torch.randn(1, 20_000, 3).double().requires_grad_()
    found = gradient_penalty(coded(z, decoder=decoder))
    wanted = decoder.weight.square().sum()
    error = found.std() / math.sqrt(len(found))
    assert (found.mean() - wanted).abs() < 4 * error
    slopes = torch.autograd.grad(found.mean(), decoder.weight)[0]
    assert (slopes - 2 * decoder.weight).abs().max() < 0.3


def test_slopes_reach_each_weight_of_the_decoder():
    model = small("gp")[0]
    gradient_penalty(model(torch.rand(4, 6).round())).mean().backward()
    weights = [p for p in model.decoder.parameters() if p.dim() > 1]
    assert all(p.grad.isfinite().all() and (p.grad != 0).any() for p in weights)


def test_where_gradients_are_off_there_are_no_slopes():
    model = small("gp")[0]
    with torch.no_grad():
        assert not gradient_penalty(model(torch.rand(4, 6).round())).any()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: info_vae(alpha=1.5), "alpha=1.5 must be at most 1"),
        (lambda: info_vae(alpha=0.0, mmd_weight=0.5), "must come to 1"),
        (lambda: wae_mmd(kernel="imk"), "did you mean 'imq'"),
        (lambda: rae(regularizer="l3"), "choose from l2, gp"),
    ],
)
def test_bad_settings_are_refused(make, told):
    with pytest.raises(VariedError, match=told):
        make()
