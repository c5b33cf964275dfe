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


class OneHot:
    """Standardized numbers and one-hot levels, in which missing cells stay missing.

    Arguments:
        frame: The rows that define the scales and the levels.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.levels = {c: sorted(frame[c].dropna().unique()) for c in frame if not is_number(frame[c])}

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the numbers, with shape (N, numbers and levels)."""
        return np.column_stack([self._encode(frame, name) for name in frame])

    def _encode(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        cells = frame[name]
        if name not in self.levels:
            scale = self.frame[name].std() or 1.0
            return ((cells - self.frame[name].mean()) / scale).to_numpy(float)[:, None]
        levels = cells.to_numpy(object)[:, None] == np.array(self.levels[name], object)
        return np.where(cells.isna().to_numpy()[:, None], np.nan, levels)

    def decode(self, x: np.ndarray) -> pd.DataFrame:
        """Return the table in which a category is the level with the largest value."""
        columns, start = {}, 0
        for name in self.frame:
            width = len(self.levels.get(name, "x"))
            part = x[:, start : start + width]
            if name in self.levels:
                columns[name] = np.array(self.levels[name], object)[part.argmax(1)]
            else:
                columns[name] = part[:, 0] * (self.frame[name].std() or 1.0) + self.frame[name].mean()
            start += width
        return pd.DataFrame(columns)
