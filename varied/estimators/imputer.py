"""Imputation of missing cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.sparse import issparse
from sklearn.base import TransformerMixin
from sklearn.utils.validation import (
    FLOAT_DTYPES,
    _check_feature_names_in,
    check_array,
    check_is_fitted,
)

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator, isolated_rng
from varied.estimators.blend import MAX_ROWS, Blend
from varied.estimators.column_scaler import ColumnScaler, Support
from varied.estimators.table_converter import TableConverter, has_text, is_frame
from varied.functional.interval_calibration import CALIBRATION_DRAWS
from varied.seeding import derive_seed
from varied.spec import Part

Array = npt.NDArray[Any]

#: The maximum number of held-out cells in total; and the number of cells to hold out in a column
#: with many missing cells, but at most a quarter of its observed cells.
MAX_HELD_OUT, MIN_HELD_OUT = 2000, 20
#: The minimum number of held-out cells for estimating weights and scales.
MIN_CELLS = 30
#: The number of rows per batch in calibration, which requires many draws for each row.
CALIBRATION_ROWS = 200
#: The maximum fraction of equal values in a continuous column.
MAX_EQUAL = 0.1


@dataclass(eq=False, repr=False, kw_only=True)
class VAEImputer(TransformerMixin, Estimator):  # type: ignore[misc]
    r"""Imputation of missing cells with their conditional mean given the observed cells of the row.

    .. math:: \mathbb E[x_m \mid x_o] \approx \sum_k \bar w_k \, \mathbb E[x_m \mid z_k], \qquad
        \bar w_k \propto \frac{p(x_o, z_k)}{q(z_k \mid x_o)}

    During training, additional cells are masked at random, so that the encoder learns to handle
    missing cells even if the training rows are complete. The imputed values of a row depend only on
    that row. The default network has two layers of 256 units.

    By default, the mean :math:`\mu_j` of the column is combined with four predictions: the
    conditional mean of the VAE, :math:`\hat x_{j1}`; the conditional mean of a multivariate normal
    distribution, :math:`\hat x_{j2}`; and the predictions of a ridge regression of each column on
    the others, :math:`\hat x_{j3}`, and of extremely randomized trees, :math:`\hat x_{j4}`:

    .. math:: \hat x_j = \mu_j + \sum_k w_{jk} (\hat x_{jk} - \mu_j), \qquad w_{jk} \ge 0, \quad
        \sum_k w_{jk} \le 1

    The weights of each column minimize the squared error for cells that are held out from training,
    and are shrunk toward weights that are fitted to all columns together. A draw is the combined
    mean plus the deviation of a VAE draw from the mean of the VAE; this deviation is multiplied by
    a factor for each column (`draw_scale_`).

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei & Frellsen,
        2019), https://arxiv.org/abs/1812.02633

    Warning:
        Cells must be missing at random given the observed cells. Means have a smaller variance than
        the data: for statistical analyses, use several imputations with ``n_draws=1``, or `draw`.

    Arguments:
        missing_values: The placeholder for missing cells.
        n_draws: If 0, impute the conditional mean; if 1, impute a single draw from
            p(missing | observed), like scikit-learn's ``IterativeImputer`` with
            ``sample_posterior=True``; if greater than 1, impute the mean of ``n_draws`` draws, or
            the most frequent category.
        samples: The number of importance samples for each row.
        blend: Whether to combine the VAE with linear models and trees. If False, or if fewer than
            30 cells are held out, the conditional mean of the VAE is imputed. Trees are not used
            for fewer than 50 rows or more than 100 columns, the normal distribution is not used for
            more than 60 columns (counting each level of a category), and the combination is not
            available for likelihoods for counts or for values between 0 and 1.
        calibration_fraction: The fraction of the observed cells (at most 2,000 cells) that is held
            out from training to combine the models and to calibrate draws. The standard deviation
            of the draws of a column is scaled such that their central 90% intervals cover 90% of
            the held-out cells, since the model is overconfident if there are few rows. If 0, all
            cells are used for training, and the models are not combined.
        keep_empty_features: Whether columns without any observed cell in training are imputed with
            0; otherwise they are dropped, as in scikit-learn's imputers.

    Attributes:
        draw_scale_: The factor by which the deviations of the draws of each column are multiplied;
            1 for columns in which a single value occurs in more than a tenth of the observed cells,
            and for categories.
        blend_: The combination of the models, or None.
        model_: The model, a `varied.models.LatentModel` in float64.
        spec_: The specification of the model and its training, a `varied.Spec`.
        loss_curve_: The loss at each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0]
        >>> imputer = VAEImputer(steps=300, random_state=0).fit(x)
        >>> bool(abs(imputer.transform([[1.0, np.nan]])[0, 1] - 2) < 0.5)
        True
    """

    default_parts: ClassVar[dict[str, Any]] = Estimator.default_parts | {
        "net": {"name": "mlp", "width": 256}
    }
    min_steps = 3000
    max_epochs = 250
    mask_cells = True

    missing_values: Any = np.nan
    n_draws: int = 0
    samples: int = 100
    blend: bool = True
    calibration_fraction: float = 0.1
    keep_empty_features: bool = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to rows, with or without missing cells; ``y`` is ignored.

        Raises:
            ValueError: If a column contains infinite values, free text or identifiers, or there are
                fewer than two rows.
        """
        rows = self._validate(X, fit=True)
        if not isinstance(self.n_draws, int | np.integer) or self.n_draws < 0:
            raise VariedError(f"n_draws must be a non-negative integer, got {self.n_draws!r}.")
        if not 0 <= self.calibration_fraction < 1:
            raise VariedError(
                "calibration_fraction must be at least 0 and below 1, got "
                f"{self.calibration_fraction}; a typical value is 0.1."
            )
        self._is_continuous = _is_continuous(rows, self.converter_.supports)
        self.draw_scale_: Array = np.ones(rows.shape[1])
        self.blend_: Blend | None = None
        held_out = self._hold_out(rows)
        training = np.where(held_out, np.nan, rows)
        self._fit_model(training)
        self._mean_scaler = self.scaler_
        if self.scaler_.domain == "table":
            # Numbers are scaled as in `scaler_`, but ordered levels are numbers, too.
            gaussian = Part("gaussian")
            self._mean_scaler = ColumnScaler.fit(training, gaussian, self.scaler_.supports)
        if held_out.any() and self.scaler_.domain in ("table", "real"):
            self._fit_blend(rows, held_out)
        return self

    def _fit_blend(self, X: Array, held_out: Array) -> None:
        """Combine the models and scale the draws using held-out cells, then refit the models."""
        index, columns = self._blend_rows(held_out), self._mean_scaler.element_columns
        if self.blend:
            means = self._model_means(np.where(held_out, np.nan, X)[index])
            elements = self._mean_scaler.elements(X[index])
            self.blend_ = Blend.fit(elements, means, columns, held_out[index][:, columns])
        self.draw_scale_ = self._calibrate(X, held_out)
        if self.blend_ is not None:
            self.blend_ = self.blend_.refit(elements, self._model_means(X[index]))

    def _blend_rows(self, held_out: Array) -> Array:
        """Return the indices of the rows to which the blend is fitted.

        Rows with held-out cells come first; the number of rows is limited.
        """
        rng = np.random.default_rng(derive_seed(self.seed_, "blend"))
        order = rng.permutation(len(held_out))
        return order[np.argsort(~held_out[order].any(1), kind="stable")][:MAX_ROWS]

    def _calibrate(self, X: Array, held_out: Array) -> Array:
        """Return the factor by which the deviations of the draws of each column are multiplied."""
        columns, outputs = self._continuous_elements
        rows = np.flatnonzero(held_out[:, self._is_continuous].any(1))
        deviations, residuals, scale = [], [], np.ones(X.shape[1])
        if not len(rows):
            return scale
        for index in np.split(rows, range(CALIBRATION_ROWS, len(rows), CALIBRATION_ROWS)):
            cells = held_out[index][:, self._is_continuous]
            training = np.where(held_out[index], np.nan, X[index])
            means, estimates = (part[:, outputs] for part in self._estimate(training))
            draws = self._draw_elements(training, CALIBRATION_DRAWS, self.seed_)
            deviations.append((draws[..., columns] - means)[:, cells])
            truth = self._mean_scaler.elements(X[index])[:, outputs]
            residuals.append((truth - estimates)[cells])
        scale[self._is_continuous] = functional.draw_scale(
            torch.from_numpy(np.concatenate(deviations, 1)),
            torch.from_numpy(np.concatenate(residuals)),
            torch.from_numpy(np.nonzero(held_out[:, self._is_continuous])[1]),
            int(self._is_continuous.sum()),
        )
        return scale

    def transform(self, X: Any) -> Any:
        """Return the rows with imputed values in missing cells.

        Observed cells are unchanged. A DataFrame is returned as a DataFrame with the same types.
        The most probable category is imputed. Means of whole numbers, of dates and of categories
        that are numbers are rounded to values that the column can have.
        """
        rows = self._validate(X)
        missing = np.isnan(rows) & self.scaler_.has_values
        values = rows.copy()
        incomplete = np.flatnonzero(missing.any(1))
        if len(incomplete):
            values[incomplete] = self._impute(rows[incomplete])
        return self._complete(X, values, missing)

    def draw(self, X: Any, n: int = 20) -> Any:
        """Return multiple imputations: n draws from p(missing | observed) for each row.

        Analyze each imputation as a complete dataset, and pool the results with Rubin's rules. The
        quantiles of the draws of a cell define an interval.

        Arguments:
            X: The rows with missing cells.
            n: The number of draws.

        Returns:
            The completed rows, with shape (n, N, columns); for a DataFrame, a list of n DataFrames.
        """
        rows = self._validate(X)
        missing = np.isnan(rows) & self.scaler_.has_values
        draws = self._draw(rows, n, self.seed_, *self._estimate(rows))
        completed = [self._complete(X, draw, missing) for draw in draws]
        return completed if is_frame(X) else np.stack(completed)

    def _complete(self, X: Any, values: Array, missing: Array) -> Any:
        """Return the rows with missing cells filled in, without the columns to be dropped."""
        is_output = self.scaler_.has_values | self.keep_empty_features
        if is_frame(X) or has_text(X):
            return self.converter_.fill(X, values, missing, is_output)
        rows = check_array(X, dtype=FLOAT_DTYPES, ensure_all_finite="allow-nan", accept_sparse=True)
        rows = rows.toarray() if issparse(rows) else rows
        completed = np.where(missing, values, rows)
        completed[:, ~self.scaler_.has_values] = 0
        return completed[:, is_output].astype(rows.dtype)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the output columns."""
        check_is_fitted(self)
        names: Array = _check_feature_names_in(self, input_features)
        return np.asarray(names[self.scaler_.has_values | self.keep_empty_features])

    def _fit_converter(self, X: Any) -> None:
        self.converter_ = TableConverter.fit(X, self.categorical_features, self._marker)

    @property
    def _marker(self) -> Any:
        """A value that marks missing cells, in addition to NaN and similar values, or None."""
        value = self.missing_values
        is_missing = (
            value is None or value is pd.NA or (isinstance(value, float) and value != value)
        )
        return None if is_missing else value

    @property
    def _continuous_elements(self) -> tuple[Array, Array]:
        """The elements of the continuous columns in the model input and in `_mean_scaler`."""
        columns = np.flatnonzero(self._is_continuous)

        def index(scaler: ColumnScaler) -> Array:
            """Return the index of the last element of each column, since flags precede values."""
            last = [np.flatnonzero(scaler.element_columns == j)[-1] for j in columns]
            return np.array(last, np.intp)

        return index(self.scaler_), index(self._mean_scaler)

    def _model_means(self, X: Array) -> Array:
        """Return the conditional means of the VAE for rows with missing cells, and 0 for others."""
        means = np.zeros((len(X), len(self._mean_scaler.mean)))
        incomplete = np.flatnonzero(np.isnan(X).any(1))
        if len(incomplete):
            rows = self.scaler_.transform(X[incomplete])
            with isolated_rng(self.threads):
                mean = functional.conditional_mean(
                    self.model_, rows.x, rows.mask, samples=self.samples, seed=self.seed_
                )
            means[incomplete] = self.scaler_.means_of_columns(mean, self._mean_scaler)
        return means

    def _estimate(self, X: Array) -> tuple[Array, Array]:
        """Return the means of the VAE and the means to impute, each with shape (N, M)."""
        means = self._model_means(X)
        if self.blend_ is None:
            return means, means
        return means, self.blend_.predict(self._mean_scaler.elements(X), means)

    def _impute(self, X: Array) -> Array:
        """Return the conditional mean, a draw or the mean of several draws; shape (N, columns)."""
        means, estimates = self._estimate(X)
        if not self.n_draws:
            return self._mean_scaler.inverse_transform(torch.from_numpy(estimates))
        # The seed depends on the contents of the row, not on its position.
        seeds = [derive_seed(self.seed_, row.tobytes().hex()) for row in X]
        draws = [
            self._draw(X[i : i + 1], int(self.n_draws), seed, means[[i]], estimates[[i]])
            for i, seed in enumerate(seeds)
        ]
        completed = np.concatenate(draws, 1)
        if self.n_draws == 1:
            return np.asarray(completed[0])
        elements = self._mean_scaler.elements(completed.reshape(-1, X.shape[1]))
        mean = elements.reshape(int(self.n_draws), len(X), -1).mean(0)
        return self._mean_scaler.inverse_transform(torch.from_numpy(mean))

    def _draw(self, X: Array, n: int, seed: int, means: Array, estimates: Array) -> Array:
        """Return draws of complete rows given the observed cells, with shape (n, N, columns)."""
        draws = self._draw_elements(X, n, seed)
        inputs, outputs = self._continuous_elements
        scale = self.draw_scale_[self._is_continuous]
        if self.blend_ is not None or (scale != 1).any():
            deviations = draws[..., inputs] - means[:, outputs]
            draws[..., inputs] = estimates[:, outputs] + scale * deviations
        rows = torch.from_numpy(draws.reshape(-1, draws.shape[-1]))
        return self.scaler_.inverse_transform(rows).reshape(n, *X.shape)

    def _draw_elements(self, X: Array, n: int, seed: int) -> Array:
        """Return draws from the model given the observed cells, with shape (n, N, W)."""
        rows = self.scaler_.transform(X)
        with isolated_rng(self.threads):
            draws = functional.impute(
                self.model_, rows.x, mask=rows.mask, n_draws=n, samples=self.samples, seed=seed
            )
        return np.asarray(draws.double().numpy())

    def _hold_out(self, X: Array) -> Array:
        """Return which cells to hold out; at least one observed cell per column is not held out."""
        observed, held_out = np.isfinite(X), np.zeros(X.shape, bool)
        n_observed, fraction = observed.sum(0), self.calibration_fraction
        minimum = np.minimum(np.minimum(MIN_HELD_OUT, n_observed / 4), fraction * len(X))
        n = (
            np.maximum(fraction * n_observed, minimum)
            .astype(int)
            .clip(max=MAX_HELD_OUT // X.shape[1])
        )
        if n.sum() >= MIN_CELLS:
            rng = np.random.default_rng(derive_seed(self.seed_, "held"))
            for column in range(X.shape[1]):
                cells = np.flatnonzero(observed[:, column])
                held_out[rng.choice(cells, n[column], replace=False), column] = True
        return held_out


def _is_continuous(X: Array, supports: Sequence[Support]) -> Array:
    """Return which columns are numeric and have no frequent value."""
    counts = [np.unique(column[np.isfinite(column)], return_counts=True)[1] for column in X.T]
    is_diverse = [len(n) > 0 and n.max() <= MAX_EQUAL * n.sum() for n in counts]
    return np.array([d and not s.levels for d, s in zip(is_diverse, supports, strict=True)], bool)
