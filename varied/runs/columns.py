"""Write tables of numbers with one row per example, such as codes and class probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import atomic_io
from varied.errors import VariedError

Array = npt.NDArray[Any]
Names = tuple[str, ...] | None

#: The file extensions that `write_columns` supports.
ENDINGS = (".csv", ".npz", ".parquet", ".feather")


def write_columns(path: Path, columns: Mapping[str, Array], names: Names) -> Path:
    """Write columns to a file in the format of its extension.

    Arguments:
        path: The file, with an extension from `ENDINGS`; ``.npz`` stores the arrays unchanged.
        columns: Arrays by name, with shape (N) or (N, D); the latter are written as D columns
            each.
        names: The name of each row; None numbers the rows from 1.

    Raises:
        VariedError: If the file extension is not supported.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise VariedError(
            f"'{path.name}' does not have a supported file extension; use {', '.join(ENDINGS)}."
        )
    if ending == ".npz":
        arrays: dict[str, Any] = (
            dict(columns) if names is None else {**columns, "names": np.array(names)}
        )
        return atomic_io.atomic_write(path, lambda file: np.savez(file, **arrays))
    frame = columns_frame(columns, names)
    from varied.data.tables import TableDialect, write_table

    return write_table(frame, path, TableDialect())


def columns_frame(columns: Mapping[str, Array], names: Names) -> Any:
    """Return a `pandas.DataFrame` whose first column contains the row names or row numbers."""
    import pandas as pd

    rows = len(next(iter(columns.values())))
    flat: dict[str, Any] = {"row": range(1, rows + 1)} if names is None else {"name": list(names)}
    for name, array in columns.items():
        if array.ndim == 1:
            flat[name] = array
        else:
            flat |= {f"{name}_{j}": array[:, j] for j in range(array.shape[1])}
    return pd.DataFrame(flat)
