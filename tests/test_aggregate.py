"""The codes of all data together, against closed forms, sums over a grid and SciPy."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from varied.errors import VariedError
from varied.evaluate.aggregate_posterior import aggregate_posterior, c2st

module = import_module("varied.evaluate.aggregate_posterior")

LOG = math.log


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(n=300, d=3, seed=0):
    return drawn(n, d, seed=seed), (0.3 * drawn(n, d, seed=seed + 1) - 0.5).exp()


def close(found, wanted, errors=4.0):
    """The truth is within four standard errors, and these are small enough to tell."""
    assert abs(found.value - wanted) < errors * found.error
    assert found.error < 0.05 * (1 + abs(wanted))


# Known answers


def test_codes_that_are_all_the_same_tell_nothing():
    mean, spread = torch.full((500, 3), 1.5), torch.full((500, 3), 0.5)
    found = aggregate_posterior(mean, spread)
    assert found.information.value == pytest.approx(0, abs=1e-12)
    assert found.information_above.value == pytest.approx(0, abs=1e-12)
    assert found.total_correlation.value == pytest.approx(0, abs=1e-12)
    wanted = 3 * kl_divergence(Normal(1.5, 0.5), Normal(0.0, 1.0)).item()
    close(found.marginal, wanted)
    close(found.by_dimension, wanted)
    assert found.by_unit == pytest.approx([wanted / 3] * 3, rel=0.1)
    assert not found.warnings


def test_codes_far_apart_tell_the_row_and_the_figure_says_that_it_is_cut_off():
    found = aggregate_posterior(100.0 * torch.arange(64)[:, None].repeat(1, 2), torch.ones(64, 2))
    assert found.information.value == pytest.approx(LOG(64), abs=1e-12)
    assert found.ceiling == LOG(64)
    assert found.information_above.value > 100
    (said,) = found.warnings
    assert "4.16 nats is at its ceiling, log 64 = 4.16" in said


def test_groups_of_rows_tell_the_group():
    # 8 far places of 25 rows: 24 of 199 others are where a draw is, with its own row left out.
    places = 100.0 * torch.arange(8).repeat(25)[:, None]
    found = aggregate_posterior(places, torch.ones(200, 1))
    assert found.information.value == pytest.approx(LOG(8), abs=1e-12)
    assert found.information_above.value == pytest.approx(LOG(199 / 24), abs=1e-12)
    assert not found.warnings


@pytest.mark.parametrize("units", [2, 5])
def test_units_that_say_the_same_have_that_as_total_correlation(units):
    places = 100.0 * torch.arange(10)[:, None].repeat(1, units)
    found = aggregate_posterior(places, torch.ones(10, units))
    assert found.total_correlation.value == pytest.approx((units - 1) * LOG(10), abs=1e-12)


def test_units_of_a_full_grid_have_none():
    grid = torch.cartesian_prod(torch.linspace(-2, 2, 7), torch.linspace(0, 3, 7))
    spread = torch.tensor([0.3, 1.2]).expand(len(grid), 2)
    found = aggregate_posterior(grid, spread)
    assert found.total_correlation.value == pytest.approx(0, abs=1e-12)
    assert found.total_correlation.error < 1e-12
    assert found.information.value > 1


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_a_linear_gaussian_model_whose_aggregate_is_a_gaussian(rho):
    # z | x ~ N(x, 0.5), x ~ N(0, S): q(z) = N(0, S + 0.25).
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    mean = drawn(2000, 2) @ torch.linalg.cholesky(covariance).T
    whole = covariance + 0.25 * torch.eye(2)
    found = aggregate_posterior(mean, torch.full_like(mean, 0.5))
    information = 0.5 * (whole.logdet() - 2 * LOG(0.25)).item()
    apart = 0.5 * (whole.trace() - 2 - whole.logdet()).item()
    correlation = -0.5 * LOG(1 - (rho / 1.25) ** 2)
    # Of 2,000 rows the figure is too low by little, and with rows left out too high by little.
    assert found.information.value < found.information_above.value
    assert found.information.value == pytest.approx(information, abs=0.07)
    assert found.information_above.value == pytest.approx(information, abs=0.07)
    assert found.marginal.value == pytest.approx(apart, abs=0.07)
    assert found.total_correlation.value == pytest.approx(correlation, abs=0.05)
    assert found.by_dimension.value == pytest.approx(0.25 - LOG(1.25), abs=0.06)


# Identities


def test_parts_add_up_for_every_draw_and_to_the_rate_in_closed_form():
    mean, spread = rows()
    found = aggregate_posterior(mean, spread)
    parts = found.information.value + found.marginal.value
    assert parts == pytest.approx(found.rate.value, abs=1e-10)
    parts = found.total_correlation.value + found.by_dimension.value
    assert parts == pytest.approx(found.marginal.value, abs=1e-10)
    assert sum(found.by_unit) == pytest.approx(found.by_dimension.value, abs=1e-10)
    exact = kl_divergence(Normal(mean, spread), Normal(0.0, 1.0)).sum(1).mean().item()
    assert abs(found.rate.value - exact) < 3 * found.rate.error
    assert found.rate.error < 0.1 * exact


@pytest.mark.parametrize("seed", range(5))
def test_information_is_never_above_log_n(seed):
    for scale in (0.1, 1.0, 30.0):
        mean, spread = rows(n=40, seed=seed)
        found = aggregate_posterior(scale * mean, spread, seed=seed)
        assert found.information.value <= LOG(40) + 1e-12
        assert found.information.value < found.information_above.value


def test_few_rows_lie_on_either_side_of_what_many_say():
    # I of the model is log sqrt(1 + 1 / 0.1^2) = 2.31; 12 rows say at most 2.48.
    found = [
        aggregate_posterior(drawn(12, 1, seed=s), torch.full((12, 1), 0.1), seed=s)
        for s in range(40)
    ]
    truth = 0.5 * LOG(1 + 100)
    assert np.mean([f.information.value for f in found]) < truth - 0.3
    assert np.mean([f.information_above.value for f in found]) > truth + 0.3


# Other ways to the same figure


def test_the_densities_are_those_of_torch_and_scipy():
    mean, spread = rows(n=50, d=4)
    z, own = drawn(50, 4, seed=9), torch.arange(50)
    itself, others, whole, alone = module._densities(z, own, mean, spread)
    each = Independent(Normal(mean, spread), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(50).double()), each)
    torch.testing.assert_close(whole, mixture.log_prob(z))
    torch.testing.assert_close(itself, each.log_prob(z))
    singly = norm(mean.numpy(), spread.numpy()).pdf(z.numpy()[:, None]).mean(1)
    assert np.allclose(alone, np.log(singly), atol=1e-12)
    for row in (0, 17, 49):
        left = [i for i in range(50) if i != row]
        pdf = [multivariate_normal(mean[i], torch.diag(spread[i] ** 2)).pdf(z[row]) for i in left]
        assert others[row] == pytest.approx(np.log(np.mean(pdf)), abs=1e-10)


def test_the_figures_are_those_of_sums_over_a_grid():
    mean, spread = rows(n=20, d=2)
    axis = torch.linspace(-7, 7, 701, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    one = Normal(mean, spread).log_prob(axis[:, None, None]).exp()  # (701, 20, 2)
    joint = torch.einsum("an,bn->ab", one[:, :, 0], one[:, :, 1]) / 20
    alone = one.mean(1)
    product, prior = alone[:, None, 0] * alone[None, :, 1], Normal(0.0, 1.0).log_prob(axis).exp()
    area = step**2

    def kl(p, q):
        return (p * (p / q).clamp(min=1e-300).log()).sum().item()

    entropy = -Normal(mean, spread).entropy().sum(1).mean().item()
    wanted = {
        "information": entropy - (joint * joint.log()).nan_to_num().sum().item() * area,
        "marginal": kl(joint, prior[:, None] * prior) * area,
        "total_correlation": kl(joint, product) * area,
        "by_dimension": sum(kl(alone[:, j], prior) for j in (0, 1)) * step,
    }
    found = [aggregate_posterior(mean, spread, seed=seed) for seed in range(300)]
    for name, value in wanted.items():
        draws = np.array([getattr(f, name).value for f in found])
        assert draws.mean() == pytest.approx(value, abs=4 * draws.std() / math.sqrt(300)), name
        assert draws.std() / math.sqrt(300) < 0.02


def test_the_standard_error_is_the_spread_over_other_draws():
    mean, spread = rows(n=200)
    found = [aggregate_posterior(mean, spread, seed=seed) for seed in range(60)]
    for name in ("information", "marginal", "total_correlation", "by_dimension"):
        over = np.std([getattr(f, name).value for f in found], ddof=1)
        said = np.mean([getattr(f, name).error for f in found])
        # It counts how rows differ beside the draws, so it is not below.
        assert 0.8 * over < said < 4 * over, name


def test_chunks_and_draws_change_nothing(monkeypatch):
    mean, spread = rows(n=97)
    whole = aggregate_posterior(mean, spread)
    monkeypatch.setattr(module, "PAIRS", 500)
    monkeypatch.setattr(module, "CHUNK", 7)
    for prior in (None, Normal(0.0, 1.0), Independent(Normal(torch.zeros(3), torch.ones(3)), 1)):
        found = aggregate_posterior(mean, spread, log_prior=prior)
        assert found.marginal.value == pytest.approx(whole.marginal.value, abs=1e-6)
        assert found.by_dimension.value == pytest.approx(whole.by_dimension.value, abs=1e-6)
        assert found.information.value == pytest.approx(whole.information.value, abs=1e-12)
    some = aggregate_posterior(mean, spread, draws=60)
    assert (some.n, some.information.n) == (97, 60)
    assert abs(some.information.value - whole.information.value) < 4 * some.information.error
    assert aggregate_posterior(mean, spread, draws=97).marginal.value == pytest.approx(
        whole.marginal.value
    )


# Priors


def test_of_another_prior():
    mean, spread = rows()
    plain = aggregate_posterior(mean, spread)
    wide = aggregate_posterior(mean, spread, log_prior=Normal(0.5, 2.0))
    exact = kl_divergence(Normal(mean, spread), Normal(0.5, 2.0)).sum(1).mean().item()
    assert abs(wide.rate.value - exact) < 3 * wide.rate.error
    assert wide.information == plain.information
    joined = aggregate_posterior(
        mean, spread, log_prior=lambda z: Normal(0.5, 2.0).log_prob(z).sum(1)
    )
    assert joined.marginal.value == pytest.approx(wide.marginal.value)
    assert (joined.by_dimension, joined.by_unit) == (None, None)


def test_the_aggregate_as_its_own_prior_is_no_distance_away():
    mean, spread = rows(n=40)
    each = Independent(Normal(mean, spread), 1)
    found = aggregate_posterior(
        mean, spread, log_prior=MixtureSameFamily(Categorical(torch.ones(40)), each)
    )
    assert found.marginal.value == pytest.approx(0, abs=1e-6)
    assert found.marginal.error < 1e-6


# The classifier


def test_alike_sets_are_not_told_apart():
    for kind in ("linear", "quadratic", "neighbors"):
        found = [c2st(drawn(400, 3, seed=s), drawn(400, 3, seed=s + 50), kind=kind) for s in (1, 2)]
        assert all(abs(f.value - 0.5) < 3.5 * f.error for f in found)
        assert found[0].n == 800
        assert found[0].error == pytest.approx(0.5 / math.sqrt(800), rel=0.02)


def test_shifted_sets_are_told_apart_as_often_as_can_be():
    # The best rule for N(0, 1) against N(1, 1) is right with probability Phi(1/2).
    a, b = drawn(3000, 1), drawn(3000, 1, seed=1) + 1
    for kind in ("linear", "quadratic"):
        close(c2st(a, b, kind=kind), norm.cdf(0.5), errors=3.5)


def test_wider_and_correlated_sets_are_seen_by_products_and_not_by_a_line():
    a, b = drawn(1000, 8), drawn(1000, 8, seed=1)
    turned = b.clone()
    turned[:, 1] = 0.9 * b[:, 0] + math.sqrt(1 - 0.81) * b[:, 1]
    for other in (1.5 * b, turned):
        assert c2st(a, other, kind="linear").value < 0.54
        assert c2st(a, other).value > 0.65


def test_the_smaller_set_says_how_many_of_each_count():
    found = c2st(drawn(3000, 2), drawn(100, 2, seed=1))
    assert found.n == 200
    assert abs(found.value - 0.5) < 0.15


# The same again, and refusals


def test_the_same_seed_gives_the_same_and_changes_nothing():
    mean, spread = rows(n=60)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = aggregate_posterior(mean, spread)
    assert first == aggregate_posterior(mean.numpy(), spread.numpy())
    assert first != aggregate_posterior(mean, spread, seed=1)
    assert c2st(mean, spread) == c2st(mean, spread)
    assert torch.equal(state, torch.get_rng_state())
    assert (other == np.random.get_state()[1]).all()


@pytest.mark.parametrize(
    ("mean", "spread", "options", "message"),
    [
        (torch.zeros(5), torch.ones(5), {}, r"means have shape \(5,\)"),
        (torch.zeros(1, 2), torch.ones(1, 2), {}, "2 rows at least"),
        (torch.zeros(5, 2), torch.ones(5, 3), {}, "one spread for each mean"),
        (torch.zeros(5, 2), torch.zeros(5, 2), {}, "a point has no density"),
        (torch.zeros(5, 2), -torch.ones(5, 2), {}, "not above 0"),
        (torch.full((5, 2), math.nan), torch.ones(5, 2), {}, "means hold NaN"),
        (torch.zeros(5, 2), torch.full((5, 2), math.inf), {}, "spreads hold NaN"),
        (torch.zeros(5, 2), torch.ones(5, 2), {"draws": 6}, "draws=6 must lie between 2"),
        (torch.zeros(5, 2), torch.ones(5, 2), {"log_prior": torch.sum}, "one for each row"),
        (
            torch.zeros(5, 2),
            torch.ones(5, 2),
            {"log_prior": lambda z: z[:, 0] * -math.inf},
            "not finite",
        ),
    ],
)
def test_what_has_no_aggregate_is_refused(mean, spread, options, message):
    if options.get("log_prior") is torch.sum:
        options = {"log_prior": lambda z: z.sum(1, keepdim=True)}
    with pytest.raises(VariedError, match=message):
        aggregate_posterior(mean, spread, **options)


@pytest.mark.parametrize(
    ("a", "b", "kind", "message"),
    [
        (drawn(50, 2), drawn(50, 3), "linear", "2 units and the other 3"),
        (drawn(5, 2), drawn(50, 2), "linear", "5 rows of each set are too few"),
        (drawn(50, 2), drawn(50, 2), "forest", "choose from linear"),
        (drawn(50, 65), drawn(50, 65), "quadratic", "65 units have too many products"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(a, b, kind, message):
    with pytest.raises(VariedError, match=message):
        c2st(a, b, kind=kind)
