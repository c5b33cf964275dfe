"""Combination of the conditional mean of a VAE with normal, linear and tree models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV

from varied.estimators.multivariate_normal import MultivariateNormal

Array = npt.NDArray[Any]

#: The maximum number of rows to which the linear and tree models are fitted, and the minimum number
#: of observed cells in a column to which they are fitted.
MAX_ROWS, MIN_CELLS = 5000, 10
#: The maximum number of elements from which a column is predicted; those with the largest
#: correlation are used.
MAX_PREDICTORS = 50
#: The minimum number of rows and the maximum number of columns for tree models, and the number of
#: trees.
MIN_TREE_ROWS, MAX_TREE_COLUMNS, TREES = 50, 100, 30
#: The maximum number of elements for the normal distribution, since its cost is cubic.
MAX_NORMAL_ELEMENTS = 60
#: The strength of two priors, in held-out cells: the weights fitted to all columns together are
#: shrunk toward equal weights, and the weights of each column toward those fitted to all columns.
EQUAL_CELLS, POOLED_CELLS = 5, 100


@dataclass(frozen=True)
class ColumnModel:
    """A regression of a column on other columns.

    Arguments:
        targets: The indices of the elements of the column: one for a number, or one per level.
        predictors: The indices of the elements from which they are predicted.
        low: The minimum of each target in the training rows.
        high: The maximum of each target in the training rows.
        regressor: A fitted scikit-learn regressor.
    """

    targets: Array
    predictors: Array
    low: Array
    high: Array
    regressor: Any

    def impute(self, x: Array, completed: Array) -> None:
        """Replace the missing cells of the column in ``completed`` with predictions."""
        rows = np.flatnonzero(np.isnan(x[:, self.targets[0]]))
        if len(rows):
            predicted = self.regressor.predict(completed[np.ix_(rows, self.predictors)])
            values = predicted.reshape(len(rows), len(self.targets)).clip(self.low, self.high)
            completed[np.ix_(rows, self.targets)] = values


@dataclass(frozen=True)
class ChainedRegression:
    """A regression of each column on the others, with missing predictors filled in beforehand.

    Columns are predicted one after the other, starting with the one with the fewest missing cells;
    the predictions replace the values in missing cells before later columns are predicted.

    References:
        Multivariate Imputation by Chained Equations in R (van Buuren & Groothuis-Oudshoorn, 2011),
        https://doi.org/10.18637/jss.v045.i03
    """

    models: tuple[ColumnModel, ...]

    @classmethod
    def fit(cls, regressor: Any, x: Array, completed: Array, columns: Array) -> Self:
        """Fit a copy of a regressor to each column.

        Arguments:
            regressor: A scikit-learn regressor that supports multiple outputs.
            x: The rows, with shape (N, M); NaN marks missing cells.
            completed: The rows with the missing cells filled in.
            columns: The column of each element, with shape (M).
        """
        completed, models = completed.copy(), []
        n_missing = np.isnan(x).sum(0)
        order = np.argsort(n_missing, kind="stable")
        for column in dict.fromkeys(columns[order].tolist()):
            targets = np.flatnonzero(columns == column)
            rows = np.flatnonzero(~np.isnan(x[:, targets[0]]))
            predictors = _select_predictors(completed, targets, np.flatnonzero(columns != column))
            if len(rows) < MIN_CELLS or not len(predictors):
                continue
            y = x[np.ix_(rows, targets)]
            fitted = clone(regressor).fit(
                completed[np.ix_(rows, predictors)], y if len(targets) > 1 else y[:, 0]
            )
            model = ColumnModel(targets, predictors, y.min(0), y.max(0), fitted)
            model.impute(x, completed)
            models.append(model)
        return cls(tuple(models))

    def impute(self, x: Array, completed: Array) -> Array:
        """Return the completed rows, with predictions in the missing cells."""
        completed = completed.copy()
        for model in self.models:
            model.impute(x, completed)
        return completed


@dataclass(frozen=True)
class Blend:
    r"""A weighted mean of the predictions of several models for missing cells.

    .. math:: \hat x_j = \mu_j + \sum_k w_{jk} (\hat x_{jk} - \mu_j), \qquad w_{jk} \ge 0, \quad
        \sum_k w_{jk} \le 1

    The models are

    - the VAE;
    - a multivariate normal distribution;
    - a ridge regression of each column on the others, with missing predictors filled in by the mean
      of the first two models;
    - extremely randomized trees, with missing predictors filled in by the ridge regression.

    The column mean :math:`\mu_j` receives the remaining weight, so that a column that does not
    depend on the others is imputed with its mean. The weights minimize the squared error for
    held-out cells:

    .. math:: w_j = \arg\min_w \sum_i (x_{ij} - \hat x_{ij}(w))^2 + n_0 v_j \|w - \bar w\|^2

    where :math:`v_j` is the mean squared deviation of the predictions from :math:`\mu_j`,
    :math:`\bar w` are the weights fitted to all columns together, and :math:`n_0 = 100`.

    References:
        Stacked generalization (Wolpert, 1992), https://doi.org/10.1016/S0893-6080(05)80023-1; for
        non-negative weights, Stacked Regressions (Breiman, 1996),
        https://doi.org/10.1007/BF00117832

    Arguments:
        columns: The column of each element, with shape (M).
        center: The mean of each element, with shape (M).
        weights: The weight of each model for each element, with shape (K, M).
        normal: The normal distribution, or None for more than 60 elements.
        chain: The linear model and, unless there are few rows or many columns, the trees.
    """

    columns: Array
    center: Array
    weights: Array
    normal: MultivariateNormal | None
    chain: tuple[ChainedRegression, ...]

    @classmethod
    def fit(cls, x: Array, mean: Array, columns: Array, held_out: Array) -> Self:
        """Fit the weights to the held-out cells, and the models to all other observed cells.

        Arguments:
            x: The standardized rows, with shape (N, M); NaN marks missing cells. The elements of a
                row are numbers and one-hot levels.
            mean: The conditional mean of the VAE given the cells that are not held out, with shape
                (N, M).
            columns: The column of each element, with shape (M).
            held_out: Whether each cell was held out when the VAE was trained, with shape (N, M).
        """
        training = np.where(held_out, np.nan, x)
        n_observed = (~np.isnan(training)).sum(0)
        center = np.nansum(training, 0) / n_observed.clip(1)
        normal, chain = _fit_models(training, mean, columns)
        sources = np.stack(list(_predict(normal, chain, training, mean))) - center
        predictions, errors = sources[:, held_out].T, (x - center)[held_out]
        column_of_cell = np.broadcast_to(columns, x.shape)[held_out]
        equal = np.full(len(sources), 1 / len(sources))
        pooled = _weights(predictions, errors, equal, EQUAL_CELLS)
        weights = np.empty((len(sources), len(columns)))
        for column in np.unique(columns):
            cells = column_of_cell == column
            w = _weights(predictions[cells], errors[cells], pooled, POOLED_CELLS)
            weights[:, columns == column] = w[:, None]
        return cls(columns, center, weights, normal, chain)

    def refit(self, x: Array, mean: Array) -> Blend:
        """Return a blend with the same weights and with models that are fitted to all cells.

        Arguments:
            x: The standardized rows, with shape (N, M).
            mean: The conditional mean of the VAE given all observed cells, with shape (N, M).
        """
        normal, chain = _fit_models(x, mean, self.columns)
        return replace(self, normal=normal, chain=chain)

    def predict(self, x: Array, mean: Array) -> Array:
        """Return predictions for the missing cells, with shape (N, M).

        Arguments:
            x: The standardized rows, with shape (N, M); NaN marks missing cells.
            mean: The conditional mean of the VAE, with shape (N, M).
        """
        sources = np.stack(list(_predict(self.normal, self.chain, x, mean)))
        return np.asarray(self.center + (self.weights[:, None] * (sources - self.center)).sum(0))


def _fit_models(
    x: Array, mean: Array, columns: Array
) -> tuple[MultivariateNormal | None, tuple[ChainedRegression, ...]]:
    """Fit a normal distribution, a linear model and trees.

    The normal distribution is omitted if there are many elements, and trees are omitted if there
    are few rows or many columns.
    """
    regressors: list[Any] = [RidgeCV(np.logspace(-5, 4, 19))]
    if len(x) >= MIN_TREE_ROWS and len(np.unique(columns)) <= MAX_TREE_COLUMNS:
        trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0)
        regressors.append(trees)
    normal = MultivariateNormal.fit(x) if x.shape[1] <= MAX_NORMAL_ELEMENTS else None
    *_, completed = _complete(normal, x, mean)
    chain: list[ChainedRegression] = []
    for regressor in regressors:
        chain.append(ChainedRegression.fit(regressor, x, completed, columns))
        completed = chain[-1].impute(x, completed)
    return normal, tuple(chain)


def _predict(
    normal: MultivariateNormal | None,
    chain: tuple[ChainedRegression, ...],
    x: Array,
    mean: Array,
) -> Iterator[Array]:
    """Yield the rows as completed by the VAE and by each other model."""
    *predictions, completed = _complete(normal, x, mean)
    yield from predictions
    for model in chain:
        completed = model.impute(x, completed)
        yield completed


def _complete(normal: MultivariateNormal | None, x: Array, mean: Array) -> list[Array]:
    """Return the rows as completed by the VAE and by the normal distribution, and their mean."""
    completed = [np.where(np.isnan(x), mean, x)]
    if normal is not None:
        completed.append(normal.impute(x))
    return [*completed, np.mean(completed, 0)]


def _select_predictors(x: Array, targets: Array, others: Array) -> Array:
    """Return up to 50 elements, those with the largest correlation with any of the targets."""
    if len(others) <= MAX_PREDICTORS:
        return others
    deviations = x - x.mean(0)
    scores = deviations / np.sqrt((deviations**2).sum(0)).clip(1e-12)
    correlation = np.abs(scores[:, others].T @ scores[:, targets]).max(1)
    return others[np.argsort(-correlation, kind="stable")[:MAX_PREDICTORS]]


def _weights(predictions: Array, y: Array, prior: Array, n: int) -> Array:
    """Return non-negative weights with a sum of at most 1 that minimize the squared error.

    Arguments:
        predictions: The predictions of each model, with shape (cells, K).
        y: The values of the cells, with shape (cells).
        prior: The weights toward which the result is shrunk, with shape (K).
        n: The number of cells to which the prior is equivalent.
    """
    if not predictions.any():
        return prior
    penalty = np.sqrt(n * (predictions**2).mean())
    a = np.vstack([predictions, penalty * np.eye(len(prior))])
    b = np.concatenate([y, penalty * prior])
    weights: Array = nnls(a, b)[0]
    if weights.sum() > 1:  # a large weight turns the last equation into a constraint
        large = 1e4 * np.sqrt((a**2).sum())
        weights = nnls(np.vstack([a, np.full(len(prior), large)]), np.append(b, large))[0]
    return weights
