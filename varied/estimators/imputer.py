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
from varied.estimators.column_scaler import Support
from varied.estimators.table_converter import TableConverter, has_text, is_frame
from varied.functional.interval_calibration import CALIBRATION_DRAWS, MIN_CELLS
from varied.seeding import derive_seed

Array = npt.NDArray[Any]

#: Maximum number of cells that are held out for calibration.
MAX_HELD_OUT = 1000
#: Maximum fraction of equal values in a continuous column.
MAX_EQUAL = 0.1


@dataclass(eq=False, repr=False, kw_only=True)
class VAEImputer(TransformerMixin, Estimator):  # type: ignore[misc]
    r"""Imputation of missing cells with their conditional mean given the observed cells of the row.

    .. math:: \mathbb E[x_m \mid x_o] \approx \sum_k \bar w_k \, \mathbb E[x_m \mid z_k], \qquad
        \bar w_k \propto \frac{p(x_o, z_k)}{q(z_k \mid x_o)}

    During training, additional cells are masked at random, so that the encoder learns to handle
    missing cells even if the training rows are complete. The imputed values of a row depend only on
    that row. The default network has two layers of 256 units.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei & Frellsen,
        2019), https://arxiv.org/abs/1812.02633

    Warning:
        Cells must be missing at random given the observed cells. Means have a smaller variance than
        the data: for statistical analyses, use several imputations with ``n_draws=1``, or `draw`.

    Arguments:
        missing_values: The placeholder for missing cells.
        n_draws: If 0, impute the conditional mean; if 1, impute a single draw from
            p(missing | observed), like ``sample_posterior`` of scikit-learn's ``IterativeImputer``;
            if greater than 1, impute the mean of ``n_draws`` draws.
        samples: Number of importance samples for each row.
        calibration_fraction: Fraction of the observed cells (at most 1,000 cells) that is held
            out from training to calibrate draws. The standard deviation of draws is increased until
            their central 90 % intervals cover 90 % of the held-out cells, since the model is
            overconfident if there are few rows. If 0, all cells are used for training, and draws
            are not calibrated.
        keep_empty_features: Whether columns without any observed cell in training are imputed with
            0; otherwise they are dropped, as in scikit-learn's imputers.

    Attributes:
        inflation_factor_: The factor by which the standard deviation of draws is multiplied. It
            applies only to columns in which no single value occurs in more than a tenth of the
            rows.
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
    calibration_fraction: float = 0.1
    keep_empty_features: bool = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to rows, with or without missing cells; ``y`` is ignored.

        Raises:
            ValueError: If the rows are not numeric, or there are fewer than two.
        """
        rows = self._validate(X, fit=True)
        if not isinstance(self.n_draws, int | np.integer) or self.n_draws < 0:
            raise VariedError(f"n_draws must be a non-negative integer, got {self.n_draws!r}.")
        if not 0 <= self.calibration_fraction < 1:
            raise VariedError(
                "calibration_fraction must be at least 0 and below 1, got "
                f"{self.calibration_fraction}; a typical value is 0.1."
            )
        self.inflation_factor_ = 1.0
        self._is_continuous = _is_continuous(rows, self.converter_.supports)
        held_out = self._hold_out(rows)
        training = np.where(held_out, np.nan, rows)
        self._fit_model(training)
        if held_out.any() and self.scaler_.domain in ("table", "real"):
            affected = held_out.any(1)
            with isolated_rng(self.threads):
                draws = self._draw(training[affected], CALIBRATION_DRAWS, self.seed_)
            self.inflation_factor_ = functional.inflation_factor(
                torch.from_numpy(draws[:, held_out[affected]]), torch.from_numpy(rows[held_out])
            )
        return self

    def transform(self, X: Any) -> Any:
        """Return the rows with imputed values in missing cells.

        Observed cells are unchanged. A DataFrame is returned as a DataFrame with the same types.
        The most probable category or the median of ordered categories is imputed, and whole numbers
        and dates are rounded.
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
            X: Rows with missing cells.
            n: Number of draws.

        Returns:
            Complete rows with shape (n, N, columns), or a list of n DataFrames for a DataFrame.
        """
        rows = self._validate(X)
        missing = np.isnan(rows) & self.scaler_.has_values
        with isolated_rng(self.threads):
            draws = self._draw(rows, n, self.seed_)
        completed = [self._complete(X, draw, missing) for draw in draws]
        return completed if is_frame(X) else np.stack(completed)

    def _complete(self, X: Any, values: Array, missing: Array) -> Any:
        """Return rows with values in their missing cells, without columns that have no values."""
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
        """The value of missing cells in addition to NaN and similar values, or None."""
        value = self.missing_values
        is_missing = (
            value is None or value is pd.NA or (isinstance(value, float) and value != value)
        )
        return None if is_missing else value

    def _impute(self, X: Array) -> Array:
        """Return the conditional mean, a draw or the mean of several draws; shape (N, columns)."""
        with isolated_rng(self.threads):
            if not self.n_draws:
                rows = self.scaler_.transform(X)
                mean = functional.conditional_mean(
                    self.model_, rows.x, rows.mask, samples=self.samples, seed=self.seed_
                )
                return self.scaler_.inverse_transform(mean)
            # The seed depends on the contents of the row, not on its position.
            seeds = [derive_seed(self.seed_, row.tobytes().hex()) for row in X]
            draws = [
                self._draw(row[None], int(self.n_draws), seed)
                for row, seed in zip(X, seeds, strict=True)
            ]
            return np.asarray(np.concatenate(draws, 1).mean(0))

    def _draw(self, X: Array, n: int, seed: int) -> Array:
        """Return draws of complete rows given the observed cells, with shape (n, N, columns)."""
        rows, scale = self.scaler_.transform(X), None
        if self.inflation_factor_ > 1:
            is_number = self._is_continuous[self.scaler_.element_columns]
            scale = torch.where(torch.from_numpy(is_number), self.inflation_factor_, 1.0).double()
        draws = functional.impute(
            self.model_,
            rows.x,
            mask=rows.mask,
            n_draws=n,
            samples=self.samples,
            scale=scale,
            seed=seed,
        )
        return self.scaler_.inverse_transform(draws.flatten(0, 1)).reshape(n, *X.shape)

    def _hold_out(self, X: Array) -> Array:
        """Return a mask of the cells to hold out; at least one cell per column is not held out."""
        observed = np.isfinite(X)
        eligible = observed & self._is_continuous
        eligible[observed.argmax(0), np.arange(X.shape[1])] = False
        cells, held_out = np.flatnonzero(eligible), np.zeros(X.shape, bool)
        n = min(int(self.calibration_fraction * len(cells)), MAX_HELD_OUT)
        if n >= MIN_CELLS:
            rng = np.random.default_rng(derive_seed(self.seed_, "held"))
            held_out.flat[rng.choice(cells, n, replace=False)] = True
        return held_out


def _is_continuous(X: Array, supports: Sequence[Support]) -> Array:
    """Return a mask of the columns of numbers in which no value occurs in many observed cells."""
    counts = [np.unique(column[np.isfinite(column)], return_counts=True)[1] for column in X.T]
    is_diverse = [len(n) > 0 and n.max() <= MAX_EQUAL * n.sum() for n in counts]
    return np.array([d and not s.levels for d, s in zip(is_diverse, supports, strict=True)], bool)
