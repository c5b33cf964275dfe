"""The tables of the benchmark: a name, a half, a source and a function that loads the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

TUNED, HELD_OUT = "tuned on", "held out"


class UnavailableError(Exception):
    """A table whose files are missing; the message is a sentence."""


@dataclass(frozen=True)
class Table:
    """Rows, and optionally a target column.

    Arguments:
        frame: The rows, with numbers, text and missing cells.
        target: The column that is predicted from the other columns.
        anomaly: The value of the target in anomalous rows; None if there are no labels.
    """

    frame: pd.DataFrame
    target: str | None = None
    anomaly: Any = None

    @property
    def is_anomaly(self) -> np.ndarray:
        """Which rows are anomalous, with shape (N)."""
        if self.anomaly is None:
            return np.zeros(len(self.frame), dtype=bool)
        return (self.frame[self.target] == self.anomaly).to_numpy(dtype=bool)

    @property
    def features(self) -> pd.DataFrame:
        """The rows without the labels of anomalies."""
        return self.frame if self.anomaly is None else self.frame.drop(columns=self.target)

    def sample(self, rows: int, seed: int) -> Table:
        """Return at most ``rows`` rows in random order."""
        return replace(self, frame=self.frame.sample(min(rows, len(self.frame)), random_state=seed))


@dataclass(frozen=True)
class Source:
    """Where a table comes from.

    Arguments:
        half: Whether Varied was tuned on the table.
        origin: The package or collection.
        load: Loads the table; raises ImportError or `UnavailableError` if it is not available.
    """

    half: str
    origin: str
    load: Callable[[], Table]


SOURCES: dict[str, Source] = {}


def add(half: str, origin: str, name: str = "") -> Callable[..., Callable[[], Any]]:
    """Return a decorator that adds the function that loads a table."""

    def decorate(load: Callable[[], Any]) -> Callable[[], Any]:
        SOURCES[name or load.__name__] = Source(half, origin, load)
        return load

    return decorate


def load_table(name: str) -> Table:
    """Return a table with plain numbers and text, without constant or empty columns."""
    table = SOURCES[name].load()
    table = table if isinstance(table, Table) else Table(table)
    frame = pd.DataFrame({str(c): _plain(table.frame[c]) for c in table.frame})
    frame = frame.loc[:, frame.nunique() > 1].reset_index(drop=True)
    return replace(table, frame=frame)


def _plain(column: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(column):
        return column.map({True: "yes", False: "no"})
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(column.dtype.name.lower() if not column.isna().any() else "float64")
    return column.astype(str).where(column.notna(), None)
