"""Terms about the codes of all data together, against sums over a grid and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent

from varied.distributions import Gaussian, kl_per_factor
from varied.errors import VariedError
from varied.objectives import annealed_capacity, beta_tc_vae, dip_vae
from varied.schedules import Linear
from varied.spec import Spec, compose
from varied.terms import (
    Capacity,
    DimensionWiseKL,
    IndexCodeMI,
    TotalCorrelation,
    VariancePenalty,
    covariance_penalty,
    kl,
)
from varied.trace import Level, Trace

PARTS = (IndexCodeMI, TotalCorrelation, DimensionWiseKL)


def made(mean, log_variance, samples=1):
    q = Independent(Gaussian(mean, log_variance), mean.dim() - 1)
    zero = torch.zeros_like(mean[0])
    z = q.rsample((samples,))
    x = torch.zeros(len(mean), 4)
    px = Independent(Gaussian(x.expand(samples, -1, -1), x), 1)
    p = Independent(Gaussian(zero, zero), mean.dim() - 1)
    return Trace(x, px, [Level(z, q, p)])


def posterior(rows=6, dims=3):
    mean = torch.randn(rows, dims).double().requires_grad_()
    return mean, (0.3 * torch.randn(rows, dims).double()).requires_grad_()


# The capacity


def test_the_capacity_is_held_by_the_mean_over_the_batch():
    trace = made(*posterior())
    mean = kl(trace).mean()
    for nats in (0.0, 1.0, 50.0):
        found = Capacity(nats)(trace)
        torch.testing.assert_close(found, (mean - nats).abs().expand(6))
    # Taken for each datum, this would be above 0: no datum has just the mean.
    assert Capacity(mean.item())(trace).mean() < 1e-5


def test_below_its_capacity_the_rate_is_pulled_up():
    mean, log_variance = posterior()
    plain = torch.autograd.grad(kl(made(mean, log_variance)).mean(), mean)[0]
    for nats, sign in ((0.0, 1.0), (50.0, -1.0)):
        loss = Capacity(nats)(made(mean, log_variance)).mean()
        torch.testing.assert_close(torch.autograd.grad(loss, mean)[0], sign * plain)


def test_the_capacity_may_move():
    objective, trace = annealed_capacity(capacity=Linear(0, 10, 5)), made(*posterior())
    nats = kl(trace).mean()
    for step, goal in ((0, 0.0), (5, 10.0)):
        parts = objective(trace, step)[1]
        torch.testing.assert_close(parts["capacity"], (nats - goal).abs())


def test_each_part_of_a_latent_has_a_capacity_of_its_own():
    spec = Spec.of(
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
    loss, told = objective(trace)
    q, p = trace.levels[0].q, trace.levels[0].p
    numbers, choice = (part.mean() for part in kl_per_factor(q, p))
    torch.testing.assert_close(told["continuous_capacity"], (numbers - 3).abs())
    torch.testing.assert_close(told["discrete_capacity"], (choice - 1).abs())
    torch.testing.assert_close(told["kl"], numbers + choice)
    torch.testing.assert_close(
        loss.detach(),
        told["reconstruction"] + 2 * (told["continuous_capacity"] + told["discrete_capacity"]),
    )


def test_parts_are_refused_where_there_are_none():
    with pytest.raises(VariedError, match="posterior='gaussian-gumbel' or objective="):
        compose(Spec.of(objective="joint-vae"), (5,))


# The KL in three parts


def on_a_grid(mean, log_variance):
    """Return the three parts of two-dimensional codes by sums over a grid, in NumPy alone."""
    axis, step = np.linspace(-9, 9, 1201, retstep=True)

    def normal(x, mean, variance):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    each = normal(axis[:, None, None], mean, np.exp(log_variance))  # (grid, rows, 2)
    rows = np.einsum("ir,jr->rij", each[:, :, 0], each[:, :, 1])
    whole, first, second = rows.mean(0), each[:, :, 0].mean(1), each[:, :, 1].mean(1)
    prior = normal(axis, 0, 1)

    def kl(p, q, area):
        return (p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300))).sum() * area

    index = np.mean([kl(row, whole, step**2) for row in rows])
    total = kl(whole, np.outer(first, second), step**2)
    return index, total, kl(first, prior, step) + kl(second, prior, step)


def test_parts_are_exact_where_the_batch_is_all_data():
    mean = torch.tensor([[2.0, 1.5], [-2.0, -1.5], [0.5, 0.0]]).double()
    log_variance = torch.tensor([[-1.0, -0.5], [0.2, -1.5], [-0.3, 0.0]]).double()
    trace = made(mean, log_variance, samples=20_000)
    wanted = on_a_grid(mean.numpy(), log_variance.numpy())
    assert wanted[1] > 0.2
    for term, exact in zip(PARTS, wanted, strict=True):
        term = term()
        draws = term._part(trace.levels[0], *term._mixture(trace.levels[0]))
        error = float(draws.std()) / math.sqrt(draws.numel())
        assert float(term(trace).mean()) == pytest.approx(exact, abs=4 * error)


@pytest.mark.parametrize("rows", [0, 1000])
def test_parts_sum_to_the_kl_of_the_draws(rows):
    trace = made(*posterior(), samples=3)
    told = sum(term(rows)(trace) for term in PARTS)
    torch.testing.assert_close(told, -trace.levels[0].log_ratio.mean(0))


def test_equal_posteriors_say_nothing_and_are_independent():
    trace = made(torch.ones(5, 3).double(), torch.zeros(5, 3).double())
    for term in (IndexCodeMI(), TotalCorrelation()):
        torch.testing.assert_close(term(trace), torch.zeros(5).double())


def test_posteriors_far_apart_tell_which_datum_it_is():
    mean = 100 * torch.eye(4).double()
    trace = made(mean, torch.zeros_like(mean), samples=50)
    torch.testing.assert_close(IndexCodeMI()(trace), torch.full((4,), math.log(4)).double())


@pytest.mark.parametrize(("term", "times"), list(zip(PARTS, (1, 2, -3), strict=True)))
def test_rows_shift_the_value_and_not_the_gradient(term, times):
    mean, log_variance = posterior()
    trace = made(mean, log_variance)
    few, many = term()(trace), term(1000)(trace)
    torch.testing.assert_close(many - few, torch.full((6,), times * math.log(1000)).double())
    slopes = [torch.autograd.grad(v.sum(), mean, retain_graph=True)[0] for v in (few, many)]
    torch.testing.assert_close(*slopes)


def test_equal_weights_are_the_bound_of_the_draws():
    trace = made(*posterior(), samples=2)
    loss, parts = beta_tc_vae(tc_weight=1.0)(trace)
    torch.testing.assert_close(loss, -trace.log_weight.mean())
    torch.testing.assert_close(parts["kl"], kl(trace).mean())


def test_each_part_has_its_weight():
    objective = beta_tc_vae(tc_weight=5.0, mi_weight=2.0, dimension_kl_weight=3.0)
    names = ["reconstruction", "mutual_information", "total_correlation", "dimension_kl"]
    assert objective.names == names
    assert [objective.weight(name) for name in names] == [1, 2, 5, 3]


def test_latents_of_any_shape_are_flat_to_the_parts():
    mean, log_variance = (t.detach() for t in posterior(dims=8))
    torch.manual_seed(1)
    flat = made(mean, log_variance)
    torch.manual_seed(1)
    maps = made(mean.reshape(6, 2, 2, 2), log_variance.reshape(6, 2, 2, 2))
    for term in (*(part() for part in PARTS), covariance_penalty, VariancePenalty("ii")):
        torch.testing.assert_close(term(maps), term(flat))


# The covariance


def by_numpy(mean, spread, variant):
    cov = np.cov(mean.T, bias=True)
    cov = cov + (np.diag(spread.mean(0)) if variant == "ii" else 0)
    off = (cov**2).sum() - (np.diag(cov) ** 2).sum()
    return off, ((np.diag(cov) - 1) ** 2).sum()


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_covariance_is_that_of_numpy(variant):
    mean, log_variance = posterior(rows=9)
    trace = made(mean, log_variance)
    wanted = by_numpy(mean.detach().numpy(), log_variance.exp().detach().numpy(), variant)
    for term, value in zip((covariance_penalty, VariancePenalty(variant)), wanted, strict=True):
        np.testing.assert_allclose(term(trace).detach(), value)
    loss, parts = dip_vae(variant, lambda_od=2.0, lambda_d=3.0)(trace)
    plain = parts["reconstruction"] + parts["kl"]
    torch.testing.assert_close(loss, plain + 2 * float(wanted[0]) + 3 * float(wanted[1]))


def test_codes_like_the_prior_cost_nothing():
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double()
    still = made(corners, torch.full_like(corners, -100.0))
    assert covariance_penalty(still).abs().max() < 1e-12
    assert VariancePenalty("i")(still).abs().max() < 1e-12
    noisy = made(0.6 * corners, torch.full_like(corners, math.log(0.64)))
    assert VariancePenalty("ii")(noisy).abs().max() < 1e-12
    assert VariancePenalty("i")(noisy).min() > 0.1


# Refusals


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: dip_vae(variant=3), "variant='3' must be 'i'"),
        (lambda: VariancePenalty(0), "variant='0' must be 'i'"),
        (lambda: beta_tc_vae(dataset_size=-1), "rows=-1 must not be below 0"),
    ],
)
def test_bad_settings_are_refused(make, told):
    with pytest.raises(VariedError, match=told):
        make()


@pytest.mark.parametrize(
    "term", [*(part() for part in PARTS), covariance_penalty, VariancePenalty("ii")]
)
def test_a_posterior_for_each_draw_is_refused(term):
    trace = made(*posterior(), samples=2)
    level = trace.levels[0]
    trace.levels = [Level(level.z, level.q.expand((2, 6)), level.p)]
    with pytest.raises(VariedError, match="one posterior for each datum"):
        term(trace)
