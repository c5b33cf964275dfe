"""The normal distribution that is fitted to incomplete rows."""

import numpy as np
import pytest

from varied.estimators.multivariate_normal import MultivariateNormal

COVARIANCE = np.array([[1.0, 0.9, 0.3], [0.9, 1.0, -0.1], [0.3, -0.1, 2.0]])
MEAN = np.array([1.0, -2.0, 0.5])


def sample(n, missing=0.0, seed=0):
    """Return rows with missing cells, and the complete rows."""
    rng = np.random.default_rng(seed)
    x = rng.multivariate_normal(MEAN, COVARIANCE, n)
    return np.where(rng.random(x.shape) < missing, np.nan, x), x


def test_conditional_means_are_those_of_the_formula():
    normal = MultivariateNormal(MEAN, COVARIANCE)
    imputed = normal.impute(np.array([[2.0, np.nan, 3.0], [np.nan] * 3, [1.0, 2.0, 3.0]]))
    a, b = COVARIANCE[np.ix_([0, 2], [0, 2])], COVARIANCE[[0, 2], 1]
    assert imputed[0] == pytest.approx([2, -2 + b @ np.linalg.solve(a, [1.0, 2.5]), 3])
    assert imputed[1] == pytest.approx(MEAN)
    assert (imputed[2] == [1, 2, 3]).all()


def test_fit_to_complete_rows_is_the_maximum_likelihood():
    _, x = sample(1000)
    normal = MultivariateNormal.fit(x)
    assert normal.mean == pytest.approx(x.mean(0))
    assert normal.covariance == pytest.approx(np.cov(x.T, bias=True), abs=0.01)


def test_fit_to_incomplete_rows_recovers_the_distribution():
    incomplete, x = sample(1000, missing=0.3)
    normal = MultivariateNormal.fit(incomplete)
    assert normal.mean == pytest.approx(x.mean(0), abs=0.1)
    assert normal.covariance == pytest.approx(np.cov(x.T), abs=0.1)


def test_copied_and_empty_columns_give_finite_values():
    incomplete, _ = sample(200, missing=0.2)
    x = np.column_stack([incomplete, incomplete[:, 0], np.full(200, np.nan), np.zeros(200)])
    imputed = MultivariateNormal.fit(x).impute(x)
    assert np.isfinite(imputed).all()


def test_an_outlier_does_not_determine_the_covariance():
    incomplete, x = sample(1000, missing=0.2)
    incomplete[0] = [50, 0, 50]
    incomplete[1] = [50, np.nan, 0]
    normal = MultivariateNormal.fit(incomplete)
    imputed = normal.impute(incomplete)
    missing = np.isnan(incomplete[2:, 1])
    error = (imputed - x)[2:, 1][missing]
    assert (error**2).mean() < 0.5
    assert abs(imputed[1, 1]) < 10
