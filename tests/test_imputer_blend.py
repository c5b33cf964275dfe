"""The combination of VAEImputer with linear and tree models."""

import numpy as np
import pandas as pd
import pytest

from varied.estimators import VAEImputer
from varied.estimators.blend import Blend, _select_predictors, _weights
from varied.estimators.column_scaler import Support

FAST = {
    "net": {"name": "mlp", "width": 32, "depth": 1},
    "lr": 2e-2,
    "batch_size": 64,
    "random_state": 0,
}


def hide(x, fraction=0.2, seed=1):
    """Return rows with missing cells, and a mask of these cells."""
    missing = np.random.default_rng(seed).random(x.shape) < fraction
    missing[0] = False
    return np.where(missing, np.nan, x), missing


def error(filled, x, missing):
    """Return the root mean squared error in standard deviations."""
    return np.sqrt((((filled - x) / x.std(0))[missing] ** 2).mean())


@pytest.mark.slow
def test_columns_that_copy_each_other_are_imputed_accurately():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(200, 2)).repeat(3, 1) + 0.003 * rng.normal(size=(200, 6))
    incomplete, missing = hide(x)
    groups = missing.reshape(200, 2, 3).all(2).repeat(3, 1)
    filled = VAEImputer(steps=200, **FAST).fit_transform(incomplete)
    assert error(filled, x, missing & ~groups) < 0.1
    plain = VAEImputer(steps=200, blend=False, **FAST).fit_transform(incomplete)
    assert error(plain, x, missing & ~groups) > 0.1


@pytest.mark.slow
def test_independent_columns_are_imputed_with_about_their_mean():
    x = np.random.default_rng(0).normal(size=(100, 8))
    incomplete, missing = hide(x)
    mean = np.broadcast_to(np.nanmean(incomplete, 0), x.shape)
    filled = VAEImputer(steps=600, **FAST).fit_transform(incomplete)
    assert error(filled, x, missing) <= 1.05 * error(mean, x, missing)
    plain = VAEImputer(steps=600, blend=False, **FAST).fit_transform(incomplete)
    assert error(plain, x, missing) > 1.05 * error(mean, x, missing)


def test_sum_of_columns_is_exact():
    x = np.random.default_rng(0).exponential(size=(300, 2))
    x = np.column_stack([x, x.sum(1)])
    incomplete = x.copy()
    for column in range(3):
        incomplete[column::6, column] = np.nan
    filled = VAEImputer(steps=200, **FAST).fit_transform(incomplete)
    assert error(filled, x, np.isnan(incomplete)) < 0.1


@pytest.mark.slow
def test_intervals_of_each_column_have_their_nominal_coverage():
    covered = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(1200, 2)) @ rng.normal(size=(2, 5))
        x += np.array([1.5, 0.2, 0.2, 0.2, 0.2]) * rng.normal(size=x.shape)
        missing = rng.random(x.shape) < np.array([0.95, 0.1, 0.1, 0.1, 0.1])
        imputer = VAEImputer(steps=600, **FAST).fit(np.where(missing, np.nan, x))
        low, high = np.quantile(
            imputer.draw(np.where(missing, np.nan, x), 60), (0.05, 0.95), axis=0
        )
        covered.append(np.where(missing, (low <= x) & (x <= high), np.nan))
    coverage = np.nanmean(np.concatenate(covered), 0)
    assert ((coverage > 0.84) & (coverage < 0.97)).all(), coverage


def test_whole_numbers_are_imputed_with_the_rounded_mean():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.choice(5, 400, p=[0.4, 0.15, 0.1, 0.1, 0.25]), rng.normal(size=400)])
    incomplete = x.copy()
    incomplete[:40, 0] = np.nan
    for blend in (True, False):
        filled = VAEImputer(steps=200, blend=blend, **FAST).fit_transform(incomplete)[:40, 0]
        assert set(filled) <= set(range(5))
        assert abs(filled.mean() - x[40:, 0].mean()) < 0.6  # the median is 1, the mean is 1.7


def test_categories_are_imputed_with_the_mode():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 3, 300)
    frame = pd.DataFrame({"city": np.array(["Rome", "Oslo", "Bonn"])[index], "sun": index * 1.0})
    frame["sun"] += 0.1 * rng.normal(size=300)
    incomplete = frame.copy()
    incomplete.loc[::7, "city"] = None
    imputer = VAEImputer(steps=200, **FAST).fit(incomplete)
    assert imputer.blend_.weights.shape == (4, 4)
    assert (imputer.transform(incomplete)["city"] == frame["city"]).mean() > 0.98


def test_tables_of_categories_are_imputed():
    index = np.random.default_rng(0).integers(0, 3, 200)
    frame = pd.DataFrame({"a": np.array(["x", "y", "z"])[index], "b": np.array([*"uvw"])[index]})
    incomplete = frame.mask(np.random.default_rng(1).random(frame.shape) < 0.1)
    imputer = VAEImputer(steps=200, **FAST).fit(incomplete)
    known = incomplete.notna().any(axis=1)
    assert (imputer.transform(incomplete) == frame)[known].to_numpy().mean() > 0.98
    assert (imputer.draw_scale_ == 1).all()


def test_several_draws_of_a_category_are_combined_as_their_mode():
    rng = np.random.default_rng(0)
    index = rng.choice(3, 300, p=[0.4, 0.33, 0.27])
    frame = pd.DataFrame({"city": np.array(["Bonn", "Oslo", "Rome"])[index]})
    frame["sun"] = np.where(index == 1, -5.0, 5.0) + rng.normal(size=300)
    incomplete = frame.copy()
    incomplete.loc[:99, "city"] = None
    filled = VAEImputer(steps=300, n_draws=9, **FAST).fit_transform(incomplete)[:100]
    assert ((filled["city"] == "Oslo") == (frame["sun"][:100] < 0)).mean() > 0.95


def test_models_are_not_combined_without_held_out_cells():
    x = np.random.default_rng(0).normal(size=(60, 3))
    for options in ({"blend": False}, {"calibration_fraction": 0.0}):
        assert VAEImputer(steps=20, **FAST | options).fit(x).blend_ is None
    assert VAEImputer(steps=20, **FAST).fit(x[:20]).blend_ is None
    counts = np.random.default_rng(0).poisson(2, (100, 4))
    assert VAEImputer(steps=20, likelihood="poisson", **FAST).fit(counts).blend_ is None


def test_trees_require_enough_rows():
    x = np.random.default_rng(0).normal(size=(60, 8))
    columns, held_out = np.arange(8), np.zeros(x.shape, bool)
    held_out[::10] = True
    for n, n_models in ((60, 4), (45, 3)):
        blend = Blend.fit(x[:n], np.zeros((n, 8)), columns, held_out[:n])
        assert len(blend.weights) == n_models
        filled = blend.predict(np.where(held_out, np.nan, x), np.zeros(x.shape))
        assert np.isfinite(filled).all()


def test_weights_are_non_negative_with_a_sum_of_at_most_1():
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    good, opposite = y + 0.1 * rng.normal(size=500), -y
    equal = np.full(2, 0.5)
    weights = _weights(np.stack([good, opposite], 1), y, equal, 1)
    assert weights == pytest.approx([1, 0], abs=0.02)
    weights = _weights(np.stack([good / 2, good / 2], 1), y, equal, 1)
    assert weights == pytest.approx([0.5, 0.5], abs=1e-3)  # without the constraint, 1 and 1
    noise = rng.normal(size=(500, 2))
    assert _weights(noise, y, equal, 1).sum() < 0.1
    assert _weights(noise[:0], y[:0], equal, 1) == pytest.approx(equal)


def test_predictors_are_the_most_correlated_elements():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 80))
    x[:, 0] = x[:, 70] + 0.1 * rng.normal(size=100)
    selected = _select_predictors(x, np.array([0]), np.arange(1, 80))
    assert len(selected) == 50
    assert selected[0] == 70


def test_nearest_level_has_the_smallest_squared_error():
    support = Support(levels=(0.0, 1.0, 5.0))
    values = np.array([-1.0, 0.4, 0.6, 2.9, 3.1, 9.0])
    assert support.nearest(values).tolist() == [0, 0, 1, 1, 5, 5]
