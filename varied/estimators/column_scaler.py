"""Conversion of numeric rows to the input of a model, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from varied.data import Batch
from varied.data.codecs.columns import NumericColumn
from varied.errors import VariedError
from varied.spec import Part

Array = npt.NDArray[Any]

#: The number of standard deviations at which cells are clipped.
MAX_DEVIATIONS = 1000.0


@dataclass(frozen=True)
class Support:
    """The values that the cells of a column can have: numbers in an interval, or levels.

    Arguments:
        low: The smallest number.
        high: The largest number.
        column: The column, which rounds numbers; None if they are not rounded.
        levels: The values of a categorical column in increasing order; empty for numbers.
        is_ordered: Whether the order of the levels has a meaning.
    """

    low: float = -np.inf
    high: float = np.inf
    column: NumericColumn | None = None
    levels: tuple[float, ...] = ()
    is_ordered: bool = True

    def nearest(self, values: Array) -> Array:
        """Return the possible values that are closest to the given means."""
        if not self.levels:
            return self.round(values)
        levels = np.asarray(self.levels)
        index = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
        return np.asarray(levels[index])

    def round(self, values: Array) -> Array:
        """Return numbers within the interval, rounded to the possible values of the column."""
        clipped = values.clip(self.low, self.high)
        return clipped if self.column is None else self.column.round(clipped)

    def select(self, probabilities: Array) -> Array:
        """Return the median if the levels are ordered, and the mode otherwise.

        Arguments:
            probabilities: The probabilities of the levels, with shape (N, levels).
        """
        cumulative = probabilities.cumsum(1)
        median = (cumulative < cumulative[:, -1:] / 2).sum(1)
        index = median if self.is_ordered else probabilities.argmax(1)
        values: Array = np.asarray(self.levels).take(index)
        return values


@dataclass(frozen=True)
class ColumnScaler:
    r"""Standardizes numbers, and encodes categories as one-hot vectors.

    .. math:: s_j = (x_j - \mu_j) / \sigma_j, \qquad \log p(x) = \log p(s) - \sum_j \log \sigma_j

    A linear transformation suffices: the likelihood has a mixture for each column, so columns need
    not be normally distributed, and the mean of x follows exactly from the mean of s. Quantile
    normalization would replace the density with the density of a histogram of the training rows.

    The scale of a constant column is 1. Cells are clipped at 1,000 standard deviations, so that
    squares do not overflow. Likelihoods for tables model categories as such. All other likelihoods
    model only numbers: an ordered level is represented by its value, and any other level by a
    one-hot vector.

    Arguments:
        supports: The support of each column, with length D.
        mean: The mean of each element of the input, or 0 if it is not scaled, with shape (M). The
            elements are the numbers, followed by the one-hot vectors.
        scale: The standard deviation of each element, or 1 if it is constant or not scaled.
        has_values: Whether each column has any observed cells in training; if not, all its cells
            are treated as missing.
        domain: The type of model input: "table" (for each column, 1 if the cell is observed and 0
            otherwise, followed by the elements), "real" (the standardized elements), or
            "unit-interval", "binary" or "count" (the elements without scaling).
        n_rows: The number of training rows.
    """

    supports: tuple[Support, ...]
    mean: Array
    scale: Array
    has_values: Array
    domain: str
    n_rows: int

    @classmethod
    def fit(cls, X: Array, likelihood: Part, supports: Sequence[Support] = ()) -> Self:
        """Return a scaler for a likelihood, fitted to the observed cells of the rows.

        Arguments:
            X: The rows, with shape (N, D); NaN marks missing cells.
            likelihood: The likelihood.
            supports: The support of each column; any number by default.

        Raises:
            VariedError: If the values are outside the domain of the likelihood.
        """
        accepts = likelihood.builder("likelihood").accepts
        supports = tuple(supports) or (Support(),) * X.shape[1]
        has_values = np.asarray(np.isfinite(X).any(0))
        domain = "table" if "table" in accepts else "real"
        values = np.where(np.isfinite(X), X, 0.0)
        if accepts == {"count"}:
            if (values < 0).any() or (values != np.round(values)).any():
                raise VariedError(
                    f"likelihood='{likelihood.name}' requires non-negative whole numbers; pass "
                    "counts that are not scaled, or use the default likelihood."
                )
            domain = "count"
        elif not accepts & {"table", "real"}:
            if values.min() < 0 or values.max() > 1:
                raise VariedError(
                    f"likelihood='{likelihood.name}' requires values between 0 and 1; scale the "
                    "columns, or use the default likelihood."
                )
            domain = "binary" if np.isin(values, (0, 1)).all() else "unit-interval"
        scaler = cls(supports, np.zeros(0), np.ones(0), has_values, domain, len(X))
        elements = scaler._expand(X)
        mean, scale = np.zeros(elements.shape[1]), np.ones(elements.shape[1])
        # Levels are not scaled, since a rare level would be many standard deviations from 0.
        is_number = np.arange(len(mean)) < len(scaler._numbers)
        is_scaled = has_values[scaler._columns] & is_number & (domain in ("table", "real"))
        if is_scaled.any():
            with np.errstate(over="ignore", invalid="ignore"):  # overflow raises an error below
                fitted = StandardScaler().fit(elements[:, is_scaled])
            mean[is_scaled], scale[is_scaled] = fitted.mean_, fitted.scale_
        overflows = ~np.isfinite(mean + scale)
        if overflows.any():
            column = scaler._columns[np.flatnonzero(overflows)[0]]
            raise VariedError(f"The variance of column {column} overflows; rescale this column.")
        return cls(supports, mean, scale, has_values, domain, len(X))

    @cached_property
    def _one_hot(self) -> list[int]:
        """The columns that are encoded as one-hot vectors."""
        is_table = self.domain == "table"
        return [
            j for j, s in enumerate(self.supports) if s.levels and (is_table or not s.is_ordered)
        ]

    @cached_property
    def _numbers(self) -> list[int]:
        """The columns that are encoded as numbers."""
        return [j for j in range(len(self.supports)) if j not in set(self._one_hot)]

    @cached_property
    def _columns(self) -> npt.NDArray[np.intp]:
        """The column of each element, with shape (M)."""
        sizes = [len(self.supports[j].levels) for j in self._one_hot]
        return np.concatenate([self._numbers, np.repeat(self._one_hot, sizes)]).astype(np.intp)

    @cached_property
    def element_columns(self) -> npt.NDArray[np.intp]:
        """The column of each entry of the model input, with shape (W)."""
        flags = np.arange(len(self.supports) * (self.domain == "table"))
        return np.concatenate([flags, self._columns])

    @property
    def shape(self) -> tuple[int]:
        """The shape (W) of one row of model input."""
        return (len(self.element_columns),)

    @property
    def layout(self) -> str:
        """The column layout for `varied.likelihoods.TableRow`."""
        return " ".join(f"c{len(s.levels)}" if s.levels else "n" for s in self.supports)

    def is_observed(self, X: Array) -> Array:
        """Return a mask of the observed cells in columns that have values in training."""
        return ~np.isnan(X) & self.has_values

    def is_unseen(self, X: Array) -> Array:
        """Return which categorical cells have a level that did not occur in training."""
        unseen = np.zeros(X.shape, bool)
        for j in self._one_hot:
            unseen[:, j] = ~np.isnan(X[:, j]) & ~np.isin(X[:, j], self.supports[j].levels)
        return unseen

    def transform(self, X: Array) -> Batch:
        """Convert rows to model input in float64, with a mask if the domain requires one.

        The table likelihood has no probability for unknown levels, which are treated as missing.
        """
        observed = self.is_observed(X)
        if self.domain == "table":
            observed &= ~self.is_unseen(X)
        is_element = observed[:, self._columns]
        deviations = (np.where(is_element, self._expand(X), self.mean) - self.mean) / self.scale
        bound = np.inf if self.domain == "count" else MAX_DEVIATIONS
        clipped = deviations.clip(-bound, bound)
        s = torch.from_numpy(np.ascontiguousarray(clipped, dtype=np.float64))
        if self.domain == "table":
            return Batch(torch.cat([torch.from_numpy(observed.astype(np.float64)), s], 1))
        mask = torch.from_numpy(is_element.astype(np.float64))
        return Batch(s, mask=None if observed.all() else mask)

    def elements(self, X: Array) -> Array:
        """Return the standardized elements of rows, with shape (N, M); NaN marks missing cells."""
        deviations = (self._expand(X) - self.mean) / self.scale
        return np.asarray(deviations.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS))

    def inverse_transform(self, x: Tensor) -> Array:
        """Convert samples or means from the model to column values, in float64."""
        elements = x.detach().double().cpu().numpy()[:, -len(self.mean) :] * self.scale + self.mean
        values = np.empty((len(elements), len(self.supports)))
        for i, j in enumerate(self._numbers):
            support, is_real = self.supports[j], self.domain == "real"
            is_count = self.domain == "count"  # the mean of a rare count would be rounded to 0
            round_values = support.nearest if is_real else support.round
            values[:, j] = elements[:, i] if is_count else round_values(elements[:, i])
        start = len(self._numbers)
        for j in self._one_hot:
            stop = start + len(self.supports[j].levels)
            values[:, j] = self.supports[j].select(elements[:, start:stop])
            start = stop
        return values

    def means_of_columns(self, x: Tensor, other: ColumnScaler) -> Array:
        """Convert model means to the standardized elements of another scaler, with shape (N, M).

        If an ordered column is one-hot in this scaler and numeric in ``other``, its mean is
        computed from the probabilities of its levels.
        """
        elements = x.detach().double().cpu().numpy()[:, -len(self.mean) :] * self.scale + self.mean
        mapping = np.zeros((len(self.mean), len(other.mean)))
        for j, support in enumerate(self.supports):
            sources, targets = (
                np.flatnonzero(self._columns == j),
                np.flatnonzero(other._columns == j),
            )
            is_mean = j in self._one_hot and j not in other._one_hot
            block = np.asarray(support.levels)[:, None] if is_mean else np.eye(len(targets))
            mapping[np.ix_(sources, targets)] = block
        return (elements @ mapping - other.mean) / other.scale

    def log_det(self, X: Array) -> Array:
        """Return log p(s) - log p(x) of each row.

        This is the sum of the log scales of the observed elements. The probability of an unknown
        level is 1 / (n + 1), where n is the number of training rows.
        """
        log_scales: Array = self.is_observed(X)[:, self._columns] @ np.log(self.scale)
        if self.domain == "table":
            log_scales += self.is_unseen(X).sum(1) * np.log(self.n_rows + 1)
        return log_scales

    def _expand(self, X: Array) -> Array:
        """Return the elements of rows, before standardization, with shape (N, M)."""
        blocks = [X[:, self._numbers]]
        for j in self._one_hot:
            one_hot = (X[:, [j]] == np.asarray(self.supports[j].levels)).astype(np.float64)
            blocks.append(np.where(np.isnan(X[:, [j]]), np.nan, one_hot))
        return np.concatenate(blocks, 1)
