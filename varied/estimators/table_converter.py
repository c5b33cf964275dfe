"""Conversion of tables to rows of numbers, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse, vstack

from varied.data.codecs.column_types import infer_column
from varied.data.codecs.columns import (
    CategoricalColumn,
    EncodedColumn,
    IgnoredColumn,
    LearnedColumn,
    NumericColumn,
)
from varied.data.tables import from_frame, to_frame
from varied.data.tables.dialect import TableDialect, truncate
from varied.errors import VariedError, suggest
from varied.estimators.column_scaler import Support

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

#: The value of a level that does not occur in the training rows.
UNSEEN = -1.0


@dataclass(frozen=True)
class TableConverter:
    """Converts a table to rows of numbers, and numbers to a table with the same types.

    The types of the columns are inferred as in `varied.train`. Numeric categories are
    represented by their values, other categories by the index of their level, dates by days or
    seconds since 1970, and missing cells by NaN.

    Arguments:
        columns: The columns.
        dialect: The library and the types of the DataFrame; None for arrays.
        marker: A value that marks missing cells, in addition to NaN, None and similar values.
    """

    columns: tuple[LearnedColumn, ...]
    dialect: TableDialect | None = None
    marker: Any = None

    @classmethod
    def fit(cls, X: Any, categorical_features: Any = "auto", marker: Any = None) -> Self:
        """Infer the columns of a DataFrame or an array.

        Arguments:
            X: The rows.
            categorical_features: The names or indices of the categorical columns, or a boolean
                mask; "auto" infers them.
            marker: A value that marks missing cells, in addition to NaN, None and similar values.

        Raises:
            VariedError: If a column contains free text or identifiers, or a categorical feature is
                not a column.
        """
        frame, dialect = _read(X, marker)
        is_category = _parse_features(categorical_features, list(frame.columns))
        digits = dialect.decimals if dialect else {}
        columns = tuple(
            _fit_column(frame[name], is_category.get(name), digits.get(name)) for name in frame
        )
        return cls(columns, dialect if is_frame(X) else None, marker)

    @property
    def supports(self) -> tuple[Support, ...]:
        """The values that the cells of each column can have."""
        return tuple(map(_support, self.columns))

    def to_numbers(self, X: Any) -> Array:
        """Convert a DataFrame or an array to numbers, with shape (N, D).

        Raises:
            VariedError: If the type of a column differs from its type in training.
        """
        is_array = isinstance(X, np.ndarray) and X.dtype.kind in "iufb"
        if is_array and self.dialect is None and not any(map(_is_nominal, self.columns)):
            return X if self.marker is None else np.where(self.marker == X, np.nan, X)
        frame, _ = _read(X, self.marker)
        cells = [frame.iloc[:, i] for i in range(len(self.columns))]
        return np.stack([_numbers(c, v) for c, v in zip(self.columns, cells, strict=True)], 1)

    def from_numbers(self, values: Array) -> Any:
        """Convert rows of numbers, with shape (N, D), to the container passed to `fit`."""
        if self.dialect is not None:
            return to_frame(self._decode(values), self.dialect)
        if any(map(_is_nominal, self.columns)):
            return self._decode(values).to_numpy(dtype=object)
        return values

    def fill(self, X: Any, values: Array, missing: Array, is_output: Array) -> Any:
        """Return the rows with the missing cells filled in; other cells are not converted.

        Arguments:
            X: The rows, with the columns passed to `fit`.
            values: The values of the missing cells, with shape (N, D).
            missing: Whether each cell is missing, with shape (N, D).
            is_output: Whether each column is returned, with shape (D).
        """
        decoded = self._decode(values)
        if not is_frame(X):
            rows: Array = np.asarray(X, dtype=object)
            return np.where(missing, decoded.to_numpy(dtype=object), rows)[:, is_output]
        frame, dialect = _read(X, self.marker)
        is_filled = np.asarray(missing.any(0))
        for i in np.flatnonzero(is_filled):
            cells = frame.iloc[:, i]
            imputed = decoded.iloc[:, i].astype(cells.dtype)
            frame[frame.columns[i]] = cells.mask(missing[:, i], imputed)
        native: Any = nw.from_native(X)
        filled: Any = nw.from_native(to_frame(frame, dialect))
        columns = [
            _with_index(filled[filled.columns[i]], X) if is_filled[i] else native[name]
            for i, name in enumerate(native.columns)
            if is_output[i]
        ]
        return native.select(*columns).to_native()

    def _decode(self, values: Array) -> pd.DataFrame:
        import pandas as pd

        cells = {c.name: _cells(c, v) for c, v in zip(self.columns, values.T, strict=True)}
        return pd.DataFrame(cells)


def is_frame(X: Any) -> bool:
    """Return whether rows are a DataFrame of a library that narwhals supports."""
    return isinstance(nw.from_native(X, pass_through=True), nw.DataFrame | nw.LazyFrame)


def has_text(X: Any) -> bool:
    """Return whether rows are an array or a list with cells that are text or `pandas.NA`."""
    import pandas as pd

    is_array = isinstance(X, np.ndarray)
    if not isinstance(X, list | tuple) and not (is_array and X.dtype.kind in "OU"):
        return False
    try:
        cells = np.asarray(X, dtype=object)
        cells.astype(np.float64)
    except (TypeError, ValueError):
        return cells.ndim == 2 and any(isinstance(v, str) or v is pd.NA for v in cells.flat)
    return False


def append(first: Any, second: Any) -> Any:
    """Append the rows of the second table, matrix or list to the first, keeping its types."""
    if issparse(first):
        return vstack([first, second], first.format, first.dtype)
    if is_frame(first):
        frames = [nw.from_native(part, eager_only=True) for part in (first, second)]
        frames = [nw.maybe_reset_index(frame) for frame in frames]
        return nw.concat(frames, how="vertical").to_native()
    if isinstance(first, list):
        return [*first, *np.asarray(second).tolist()]
    first = np.asarray(first)
    is_number = first.dtype.kind in "iufb"
    return np.concatenate([first, second.astype(first.dtype) if is_number else second])


def repeat(values: Any, indices: Array) -> Any:
    """Return a series, array or list with the elements at the indices appended."""
    rows = np.concatenate([np.arange(len(values)), indices])
    native = nw.from_native(values, allow_series=True, pass_through=True)
    if isinstance(native, nw.Series | nw.DataFrame):
        return nw.maybe_reset_index(native[rows.tolist()]).to_native()
    return [values[i] for i in rows] if isinstance(values, list) else np.asarray(values)[rows]


def _read(X: Any, marker: Any) -> tuple[pd.DataFrame, Any]:
    """Return typed columns and their dialect, which is None for an array of numbers."""
    import pandas as pd

    dialect = None
    if is_frame(X):
        frame, dialect, _ = from_frame(X)
    else:
        frame = pd.DataFrame(np.asarray(X))
        frame.columns = [f"x{i}" for i in range(frame.shape[1])]
        if frame.size and frame.dtypes.iloc[0].kind not in "iufb":
            frame, dialect, _ = from_frame(frame)
    if marker is not None:
        frame = frame.mask((frame == marker).fillna(False).astype(bool))
    return frame, dialect


def _parse_features(features: Any, names: list[str]) -> dict[str, bool]:
    """Return whether each column is categorical, or an empty dict if the types are inferred."""
    if isinstance(features, str) and features == "auto":
        return {}
    listed = np.asarray([] if features is None else features).ravel()
    if listed.dtype.kind == "b":
        if len(listed) != len(names):
            raise VariedError(
                f"categorical_features has {len(listed)} entries for {len(names)} columns; pass "
                "one for each column, or a list of names or indices."
            )
        return dict(zip(names, listed.tolist(), strict=True))
    chosen = set()
    for feature in listed.tolist():
        if isinstance(feature, int) and -len(names) <= feature < len(names):
            chosen.add(names[feature])
        elif feature in names:
            chosen.add(feature)
        else:
            raise VariedError(
                f"categorical_features has '{feature}', which is not a column: "
                f"{suggest(str(feature), names)}"
            )
    return {name: name in chosen for name in names}


def _fit_column(
    cells: pd.Series[Any], is_category: bool | None, digits: int | None
) -> LearnedColumn:
    column_type = None
    if is_category is not None:
        column_type = "category" if is_category else "number"
    column = infer_column(cells, column_type, digits)
    if isinstance(column, LearnedColumn):
        return column
    assert isinstance(column, IgnoredColumn)
    if column.kind in ("text", "identifier") and column.dtype == "object":
        raise VariedError(
            f"Column '{truncate(column.name)}' contains free text or identifiers; drop it, or list "
            "it in categorical_features."
        )
    if column.dtype == "object":
        return CategoricalColumn.fit(cells, column.kind)
    if column.kind == "empty":
        return NumericColumn(column.name, column.dtype, column.kind)
    return NumericColumn.fit(cells, column.kind, digits if column.dtype == "float64" else 0)


def _is_number(column: LearnedColumn) -> bool:
    return column.dtype in ("Int64", "float64")


def _is_nominal(column: LearnedColumn) -> bool:
    """Return whether cells are represented by the index of their level."""
    return isinstance(column, CategoricalColumn) and not _is_number(column)


def _support(column: LearnedColumn) -> Support:
    if isinstance(column, NumericColumn):
        values = [*column.values, *column.frequent]
        is_empty = column.kind == "empty"
        bounds = (-np.inf, np.inf) if is_empty else (min(values), max(values))
        return Support(*bounds, column)
    assert isinstance(column, CategoricalColumn)
    n = len(column.levels) + bool(column.rare)
    if _is_number(column):
        levels = sorted(
            {float(level) for level in (*column.levels, *column.rare) if level is not None}
        )
        return Support(levels=tuple(levels))
    return Support(levels=tuple(map(float, range(n))), is_ordered=n <= 2)


def _numbers(column: LearnedColumn, cells: pd.Series[Any]) -> Array:
    """Convert cells to numbers; NaN marks missing cells."""
    is_date, is_text = cells.dtype.kind == "M", cells.dtype == object
    if cells.isna().all():
        return np.full(len(cells), np.nan)
    if is_date != column.dtype.startswith("datetime") or is_text != (column.dtype == "object"):
        raise VariedError(
            f"Column '{truncate(str(cells.name))}' is {cells.dtype}, but it was {column.dtype} in "
            "training; convert the column."
        )
    if isinstance(column, NumericColumn):
        return column.to_float(cells)
    if _is_number(column):
        return np.asarray(cells.to_numpy(dtype=np.float64, na_value=np.nan))
    assert isinstance(column, CategoricalColumn)
    choice = column.encode(cells).choice
    assert choice is not None
    return np.where(choice >= 0, choice, np.where(cells.isna(), np.nan, UNSEEN))


def _cells(column: LearnedColumn, values: Array) -> pd.Series[Any]:
    """Convert numbers to cells."""
    import pandas as pd

    if isinstance(column, NumericColumn):
        return column.from_float(values)
    if _is_number(column):
        values = np.round(values) if column.dtype == "Int64" else values
        return pd.Series(values, name=column.name).astype(column.dtype)
    observed = values >= 0
    choice = np.where(observed, values, 0).astype(np.int64)
    return column.decode(EncodedColumn(observed, None, choice))


def _with_index(series: Any, X: Any) -> Any:
    """Return a series with the index of a DataFrame; only pandas has an index."""
    index = getattr(X, "index", None)
    if index is None:
        return series
    return nw.from_native(series.to_native().set_axis(index), series_only=True)
