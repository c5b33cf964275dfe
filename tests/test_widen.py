"""Draws that are widened: closed forms for normal cells, and cells that were never learned from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from varied import VAEImputer
from varied.errors import VariedError
from varied.functional import inflate_draws, inflation_factor

M, N = 500, 4000


def normal(spread, seed=0):
    """Draws of cells that are standard normal, by a model that gives them another spread."""
    dice = torch.Generator().manual_seed(seed)
    center = torch.randn(N, generator=dice, dtype=torch.float64) * 3
    truth = center + torch.randn(N, generator=dice, dtype=torch.float64)
    return center + spread * torch.randn(M, N, generator=dice, dtype=torch.float64), truth


@pytest.mark.parametrize("factor", [1.0, 1.25, 2.0])
def test_the_spread_of_draws_is_so_many_times_what_it_was(factor):
    draws, _ = normal(0.7)
    wide = inflate_draws(draws, factor, seed=3)
    assert float((wide.std(0) / draws.std(0)).mean()) == pytest.approx(factor, rel=0.01)
    assert float((wide.mean(0) - draws.mean(0)).abs().mean()) < 0.06
    assert torch.equal(wide, inflate_draws(draws, factor, seed=3))


def test_cells_that_are_known_stay_what_they_are():
    draws = torch.arange(4.0).repeat(10, 1)
    assert torch.equal(inflate_draws(draws, 3.0), draws)


@pytest.mark.parametrize("spread", [0.4, 0.5, 0.8])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_width_is_what_a_model_was_too_sure_by(spread, level):
    draws, truth = normal(spread)
    assert inflation_factor(draws, truth, level=level) == pytest.approx(1 / spread, rel=0.06)


def test_draws_that_keep_their_word_are_left_alone():
    assert inflation_factor(*normal(1.05)) == 1.0
    assert inflation_factor(*normal(2.0)) == 1.0


def test_too_few_cells_say_nothing():
    draws, truth = normal(0.01)
    assert inflation_factor(draws[:, :29], truth[:29]) == 1.0


def test_a_model_that_knows_nothing_is_widened_to_the_end():
    draws, truth = normal(0.01)
    assert inflation_factor(draws, truth) == 4.0


def table(n, seed=0):
    """Rows of few causes, with a column of three values."""
    dice = np.random.default_rng(seed)
    z = dice.normal(size=(n, 3))
    x = np.tanh(z @ dice.normal(size=(3, 9))) + 0.4 * dice.normal(size=(n, 9))
    return np.column_stack([x, (z[:, 0] > 0).astype(float) + (z[:, 0] > 1)])


def test_intervals_of_a_small_table_hold_what_they_promise():
    inside = {0.0: [], 0.2: []}
    for seed in range(2):
        x = table(140, seed)
        hidden = np.random.default_rng(seed).random(x.shape) < 0.3
        hidden[:, -1] = False
        gaps = np.where(hidden, np.nan, x)
        for share, found in inside.items():
            imputer = VAEImputer(steps=600, calibrate=share, random_state=seed).fit(gaps)
            low, high = np.quantile(imputer.draw(gaps, 100), (0.05, 0.95), axis=0)
            found.append(((low <= x) & (x <= high))[hidden].mean())
            assert (imputer.width_ > 1) == (share > 0)
    assert np.mean(inside[0.0]) < 0.82
    assert 0.86 < np.mean(inside[0.2]) < 0.96


def test_few_draws_are_as_wide_as_many():
    x = table(140)
    x[::2, 0] = np.nan
    imputer = VAEImputer(steps=600, calibrate=0.2, random_state=0).fit(x)
    assert imputer.width_ > 1
    many, one = imputer.draw(x, 200), imputer.draw(x, 1)
    assert one.shape == (1, *x.shape)
    known = ~np.isnan(x)
    assert np.array_equal(one[0][known], x[known])
    apart = (one[0] - many.mean(0))[::2, 0] / many.std(0)[::2, 0]
    assert 0.7 < apart.std() < 1.4
    drawn = VAEImputer(steps=600, calibrate=0.2, random_state=0, n_draws=1).fit(x)
    assert np.array_equal(drawn.transform(x[:6])[:2], drawn.transform(x[:2]))


def test_values_that_come_again_and_again_are_not_blurred():
    x = table(140)
    x[::3, -1] = np.nan
    imputer = VAEImputer(steps=600, calibrate=0.2, random_state=0).fit(x)
    plain = imputer.draw(x, 50)[:, ::3, -1]
    imputer.width_ = 1.0
    again = imputer.draw(x, 50)[:, ::3, -1]
    assert np.allclose(plain, again)


def test_a_table_of_few_cells_is_learned_whole():
    imputer = VAEImputer(steps=20, random_state=0).fit(table(12))
    assert imputer.width_ == 1.0


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(VariedError, match=r"must be from 0 to below 1; 0\.1 is usual"):
        VAEImputer(calibrate=share).fit(table(12))
