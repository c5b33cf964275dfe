"""Standardization of numeric columns with missing cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from varied.data import Batch
from varied.errors import VariedError
from varied.spec import Part

Array = npt.NDArray[Any]

#: The number of standard deviations at which cells are clipped.
MAX_DEVIATIONS = 1000.0


@dataclass(frozen=True)
class ColumnScaler:
    r"""A scaler that shifts and scales each column and converts rows to model input.

    .. math:: s_j = (x_j - \mu_j) / \sigma_j, \qquad \log p(x) = \log p(s) - \sum_j \log \sigma_j

    A linear transformation suffices: the likelihood has a mixture for each column, so columns need
    not be normally distributed, and the mean of x follows exactly from the mean of s. Quantile
    normalization would replace the density with the density of a histogram of the training rows.

    The scale of a constant column is 1. Cells are clipped at 1,000 standard deviations, so that
    squares do not overflow.

    Arguments:
        mean: The training mean of each column, or 0 if the column is not scaled, with shape (D).
        scale: The training standard deviation of each column, or 1 if the column is constant or not
            scaled.
        has_values: Whether each column has any observed cells in training; if not, all its cells
            are treated as missing.
        domain: "table" (mask and standardized values), "real" (standardized values), or
            "unit-interval" or "binary" (both unscaled).
    """

    mean: Array
    scale: Array
    has_values: Array
    domain: str

    @classmethod
    def fit(cls, X: Array, likelihood: Part) -> Self:
        """Return a scaler for a likelihood, fitted to the observed cells of the rows.

        Raises:
            VariedError: If the values are outside the domain of the likelihood.
        """
        accepts = likelihood.builder("likelihood").accepts
        observed = np.isfinite(X)
        has_values = np.asarray(observed.any(0))
        mean, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        if not accepts & {"table", "real"}:
            values = np.where(observed, X, 0.0)
            if values.min() < 0 or values.max() > 1:
                raise VariedError(
                    f"likelihood='{likelihood.name}' requires values between 0 and 1; scale the "
                    "columns, or use the default likelihood."
                )
            domain = "binary" if np.isin(values, (0, 1)).all() else "unit-interval"
            return cls(mean, scale, has_values, domain)
        if has_values.any():
            with np.errstate(over="ignore", invalid="ignore"):  # overflow raises an error below
                scaler = StandardScaler().fit(X[:, has_values].astype(np.float64))
            mean[has_values], scale[has_values] = scaler.mean_, scaler.scale_
        if not np.isfinite(mean + scale).all():
            raise VariedError("The variance of a column overflows; rescale the column.")
        return cls(mean, scale, has_values, "table" if "table" in accepts else "real")

    @property
    def shape(self) -> tuple[int]:
        """The shape of one row of model input."""
        return (len(self.mean) * (1 + (self.domain == "table")),)

    @property
    def layout(self) -> str:
        """The column layout for `varied.likelihoods.TableRow`."""
        return " ".join("n" * len(self.mean))

    def is_observed(self, X: Array) -> Array:
        """Return a mask of the observed cells in columns that have values in training."""
        return ~np.isnan(X) & self.has_values

    def transform(self, X: Array) -> Batch:
        """Convert rows to model input in float64, with a mask if the domain requires one."""
        observed = self.is_observed(X)
        deviations = (np.where(observed, X, self.mean) - self.mean) / self.scale
        clipped = deviations.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        s = torch.from_numpy(np.ascontiguousarray(clipped, dtype=np.float64))
        mask = torch.from_numpy(observed.astype(np.float64))
        if self.domain == "table":
            return Batch(torch.cat([mask, s], 1))
        return Batch(s, mask=None if observed.all() else mask)

    def inverse_transform(self, x: Tensor) -> Array:
        """Convert samples or means of the model to the units of X, in float64."""
        s = x.detach().double().cpu().numpy()[:, -len(self.mean) :]
        values: Array = s * self.scale + self.mean
        return values

    def log_det(self, X: Array) -> Array:
        """Return log p(s) - log p(x), the sum of log scales over the observed cells of each row."""
        log_det: Array = self.is_observed(X) @ np.log(self.scale)
        return log_det
