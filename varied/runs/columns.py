"""Tables of numbers with one row per example, such as codes and class probabilities."""

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

#: Endings of the files that `write_columns` writes.
ENDINGS = (".csv", ".npz", ".parquet", ".feather")


def write_columns(path: Path, columns: Mapping[str, Array], names: Names) -> Path:
    """Write columns to a file, by its ending.

    Arguments:
        path: The file, with one of `ENDINGS`; ``.npz`` stores the arrays.
        columns: Arrays with shape (N) or (N, D), which become D columns.
        names: The name of each row; None numbers them from 1.

    Raises:
        VariedError: If the ending is another.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise VariedError(f"'{path.name}': save it as .csv, .npz, .parquet or .feather.")
    if ending == ".npz":
        arrays: dict[str, Any] = (
            dict(columns) if names is None else {**columns, "names": np.array(names)}
        )
        return atomic_io.atomic_write(path, lambda file: np.savez(file, **arrays))
    frame = columns_frame(columns, names)
    if ending == ".csv":
        return atomic_io.atomic_write(path, frame.to_csv(index=False, lineterminator="\n"))
    from varied.data.tables import TableDialect, write_table

    return write_table(frame, path, TableDialect())


def columns_frame(columns: Mapping[str, Array], names: Names) -> Any:
    """Return columns as a `pandas.DataFrame`, after the names or numbers of the rows."""
    import pandas as pd

    rows = len(next(iter(columns.values())))
    flat: dict[str, Any] = {"row": range(1, rows + 1)} if names is None else {"name": list(names)}
    for name, array in columns.items():
        if array.ndim == 1:
            flat[name] = array
        else:
            flat |= {f"{name}_{j}": array[:, j] for j in range(array.shape[1])}
    return pd.DataFrame(flat)
