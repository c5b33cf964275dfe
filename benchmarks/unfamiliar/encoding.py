"""Encoding of tables for the methods that require numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column)


def encoder():
    """Return a transformer that standardizes numbers and one-hot encodes text.

    Missing numbers are replaced by the median, and missing text is a level of its own.
    """
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )


class Encoding:
    """Standardized numbers and encoded text, in which missing cells stay missing.

    Arguments:
        frame: The rows that define the scales and the levels.
        one_hot: Whether text is one-hot encoded; otherwise, a level is represented by its index.
    """

    def __init__(self, frame: pd.DataFrame, *, one_hot: bool) -> None:
        self.one_hot, self.names = one_hot, list(frame)
        numbers = [name for name in frame if is_number(frame[name])]
        self.means, self.scales = (
            frame[numbers].mean(),
            frame[numbers].std().replace(0, 1).fillna(1),
        )
        self.levels = {
            name: np.array(sorted(frame[name].dropna().unique()), object)
            for name in frame.columns.difference(numbers)
        }

    def width(self, name: str) -> int:
        """Return the number of encoded columns of a column."""
        return len(self.levels[name]) if self.one_hot and name in self.levels else 1

    def index(self, name: str) -> slice:
        """Return the encoded columns of a column."""
        start = sum(map(self.width, self.names[: self.names.index(name)]))
        return slice(start, start + self.width(name))

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the numbers, with shape (N, encoded columns)."""
        return np.column_stack([self._encode(frame[name], name) for name in self.names])

    def _encode(self, cells: pd.Series, name: str) -> np.ndarray:
        if name not in self.levels:
            return ((cells - self.means[name]) / self.scales[name]).to_numpy(float)
        is_level = cells.to_numpy(object)[:, None] == self.levels[name]
        x = is_level.astype(float) if self.one_hot else is_level.argmax(1)[:, None].astype(float)
        x[cells.isna().to_numpy()] = np.nan
        return x

    def decode(self, x: np.ndarray) -> pd.DataFrame:
        """Return the table in which a category is the level with the largest or nearest value."""
        columns = {}
        for name in self.names:
            part, levels = x[:, self.index(name)], self.levels.get(name)
            if levels is None:
                columns[name] = part[:, 0] * self.scales[name] + self.means[name]
            elif self.one_hot:
                columns[name] = levels[part.argmax(1)]
            else:
                columns[name] = levels[part[:, 0].round().clip(0, len(levels) - 1).astype(int)]
        return pd.DataFrame(columns)
