"""Columns of numbers, standardized, and back again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from varied.data import Batch
from varied.errors import VariedError, lookup
from varied.likelihoods import LIKELIHOODS

__all__ = ["ColumnScaler"]

Array = npt.NDArray[Any]

#: A cell is taken as no farther from the mean than so many standard deviations.
FARTHEST = 1000.0


@dataclass(frozen=True)
class ColumnScaler:
    r"""Where each column lies, and how wide it is: the one thing between X and the model.

    .. math:: s_j = (x_j - \mu_j) / \sigma_j, \qquad \log p(x) = \log p(s) - \sum_j \log \sigma_j

    A shift and a factor are enough: the likelihood has a mixture for each column, so that a
    column need not be normal, the mean of x is exactly that of s, and a density of s is one of x.
    Quantiles would make every column normal, but their density is that of a histogram of the
    training rows.

    A constant column is taken in units of 1. What lies beyond `FARTHEST` standard deviations is
    taken as lying there, so that no square overflows.

    Arguments:
        mean: The training mean of each column, 0 where it is not scaled, with shape (D).
        width: The training standard deviation, 1 where it is constant or not scaled.
        seen: Whether a column has any known cell; one that has none is never known.
        domain: "table" (flags and scores, each with a mixture), "real", or "unit" and "binary",
            which are not scaled.
    """

    mean: Array
    width: Array
    seen: Array
    domain: str

    @classmethod
    def fit(cls, X: Array, likelihood: str) -> ColumnScaler:
        """Fit to the known cells of rows, for a likelihood by its name.

        Raises:
            VariedError: If the rows are none that the likelihood is a probability for.
        """
        accepts = lookup(LIKELIHOODS, likelihood, "likelihood").accepts
        known = np.isfinite(X)
        seen, size = np.asarray(known.any(0)), X.shape[1]
        if not accepts & {"table", "real"}:
            whole = np.where(known, X, 0.0)
            if whole.min() < 0 or whole.max() > 1:
                raise VariedError(
                    f"likelihood='{likelihood}' is for numbers from 0 to 1; scale the columns, or "
                    "leave the likelihood out."
                )
            domain = "binary" if np.isin(whole, (0, 1)).all() else "unit"
            return cls(np.zeros(size), np.ones(size), seen, domain)
        mean, width = np.zeros(size), np.ones(size)
        if seen.any():
            with np.errstate(over="ignore", invalid="ignore"):  # refused below, in a sentence
                scaler = StandardScaler().fit(X[:, seen].astype(np.float64))
            mean[seen], width[seen] = scaler.mean_, scaler.scale_
        if not np.isfinite(mean + width).all():
            raise VariedError("A column is too wide for its variance to be a number: rescale it.")
        return cls(mean, width, seen, "table" if "table" in accepts else "real")

    @property
    def shape(self) -> tuple[int]:
        """The shape of a row as the model sees it."""
        return (len(self.mean) * (1 + (self.domain == "table")),)

    @property
    def layout(self) -> str:
        """The columns for `varied.likelihoods.TableRow`."""
        return " ".join("n" * len(self.mean))

    def known(self, X: Array) -> Array:
        """Return which cells are known, in columns that were ever."""
        return ~np.isnan(X) & self.seen

    def rows(self, X: Array) -> Batch:
        """Return rows as the model sees them, float64, with a mask where they need one."""
        known = self.known(X)
        far = (np.where(known, X, self.mean) - self.mean) / self.width
        s = torch.from_numpy(np.ascontiguousarray(far.clip(-FARTHEST, FARTHEST), dtype=np.float64))
        flags = torch.from_numpy(known.astype(np.float64))
        if self.domain == "table":
            return Batch(torch.cat([flags, s], 1))
        return Batch(s, mask=None if known.all() else flags)

    def back(self, x: Tensor) -> Array:
        """Return rows of the model, or means of them, as float64 in units of X."""
        s = x.detach().double().cpu().numpy()[:, -len(self.mean) :]
        found: Array = s * self.width + self.mean
        return found

    def log_width(self, X: Array) -> Array:
        """Return the sum of the log-widths of what is known, which turns densities of s to X."""
        found: Array = self.known(X) @ np.log(self.width)
        return found
