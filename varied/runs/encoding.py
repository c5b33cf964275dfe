"""Codes with the names of what they are codes of, and columns of numbers in files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import atomic_io, functional
from varied.errors import VariedError
from varied.functional import Codes
from varied.runs.opening import OpenRun

__all__ = ["ENDINGS", "Encoding", "encode", "write_columns"]

Array = npt.NDArray[Any]
Names = tuple[str, ...] | None

#: What columns of numbers are written to.
ENDINGS = (".csv", ".npz", ".parquet", ".feather")


@dataclass(frozen=True)
class Encoding(Codes):
    """The code of each datum, and its name.

    Arguments:
        mean: The posterior mean, which is the code, with shape (N, D).
        std: The posterior standard deviation, with shape (N, D).
        kl: KL(q(z | x) || p(z)) in nats, with shape (N); None if the posterior has no density.
        names: The name of each datum, such as that of its file; None where it has none.
    """

    names: Names = None

    @property
    def columns(self) -> dict[str, Array]:
        """The numbers by their names."""
        found = {"mean": self.mean.numpy(), "std": self.std.numpy()}
        return found if self.kl is None else found | {"kl": self.kl.numpy()}

    @property
    def frame(self) -> Any:
        """A row for each datum as a `pandas.DataFrame`: mean_0, mean_1 ... std_0 ... kl."""
        return _frame(self.columns, self.names)

    def save(self, path: str | Path) -> Path:
        """Write the codes by the ending of the name.

        Arguments:
            path: ``.csv``, ``.parquet`` and ``.feather`` have a row for each datum, ``.npz`` the
                arrays mean, std, kl and names.

        Raises:
            VariedError: If the ending is not known.
        """
        return write_columns(Path(path), self.columns, self.names)


def encode(run: OpenRun, source: Any = None) -> Encoding:
    """Return the codes of data, in order, with the names of the data."""
    items = run.read(source)
    found = functional.encode(run.model, run.codec.load, run.batches(items))
    return Encoding(found.mean, found.std, found.kl, items.names)


def write_columns(path: Path, columns: Mapping[str, Array], names: Names) -> Path:
    """Write columns by the ending of the name, whole or not at all.

    Arguments:
        path: Where; one of `ENDINGS`.
        columns: Arrays with shape (N) or (N, D), which are D columns.
        names: The name of each row; its number, from 1, where there are none.

    Raises:
        VariedError: If the ending is not known.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise VariedError(f"'{path.name}': write it as .csv, .npz, .parquet or .feather.")
    if ending == ".npz":
        more = {} if names is None else {"names": np.array(names)}
        arrays: dict[str, Any] = {**columns, **more}
        return atomic_io.atomic_write(path, lambda file: np.savez(file, **arrays))
    if ending == ".csv":
        return atomic_io.atomic_write(path, _text(columns, names))
    from varied.data.tables import TableDialect, write_table

    return write_table(_frame(columns, names), path, TableDialect())


def _flat(columns: Mapping[str, Array]) -> dict[str, Array]:
    """Return one array for each column."""
    found: dict[str, Array] = {}
    for name, array in columns.items():
        parts = (
            {f"{name}_{j}": array[:, j] for j in range(array.shape[1])} if array.ndim > 1 else {}
        )
        found |= parts or {name: array}
    return found


def _frame(columns: Mapping[str, Array], names: Names) -> Any:
    import pandas as pd

    rows = len(next(iter(columns.values())))
    first = {"row": range(1, rows + 1)} if names is None else {"name": list(names)}
    return pd.DataFrame(first | _flat(columns))


def _text(columns: Mapping[str, Array], names: Names) -> str:
    flat, text = _flat(columns), io.StringIO()
    rows = zip(*(column.tolist() for column in flat.values()), strict=True)
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["row" if names is None else "name", *flat])
    lines.writerows([names[i - 1] if names else i, *row] for i, row in enumerate(rows, 1))
    return text.getvalue()
