"""Made rows of a table, in the person's own columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from varied import plots
from varied.data.tables import SUFFIXES, TableDialect
from varied.errors import VariedError
from varied.runs.result import Result

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableResult", "table_result"]


@dataclass(frozen=True, repr=False)
class TableResult(Result):
    """Made rows.

    Arguments:
        array: The rows as a `pandas.DataFrame`, with the columns, types and order of the table;
            where they belong together, its index says how.
        form: How the table was written.
    """

    array: Any
    form: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What the data are: "table"."""
        return "table"

    @property
    def frame(self) -> Any:
        """The rows in the kind of frame that the person gave: pandas, polars or pyarrow.

        What belongs together is said by the index, and by columns of a frame that has none.
        """
        from varied.data.tables import to_frame

        form = TableDialect.from_json(self.form)
        indexed = form.kind not in ("polars", "pyarrow")
        return to_frame(self.array if indexed else _told(self.array), form)

    def __repr__(self) -> str:
        return f"Rows({len(self.array):,} rows of {self.array.shape[1]} columns)"

    def save(self, path: str | Path) -> Path:
        """Write the rows by the ending of the name.

        Arguments:
            path: ``.csv`` and ``.tsv`` are written as the table was; ``.parquet`` and ``.feather``
                keep the types; ``.png`` draws the first rows.

        Raises:
            VariedError: If the ending is not known.
        """
        path = Path(path)
        if path.suffix.lower() == ".png":
            path.parent.mkdir(parents=True, exist_ok=True)
            return self.draw(_told(self.array), path)
        if not path.name.lower().endswith(SUFFIXES):
            raise VariedError(
                f"'{path.name}': save rows as .csv, .tsv, .parquet or .feather, or a picture of "
                "the first as .png."
            )
        from varied.data.tables import write_table

        path.parent.mkdir(parents=True, exist_ok=True)
        return write_table(_told(self.array), path, TableDialect.from_json(self.form))


def table_result(
    frame: pd.DataFrame,
    form: Mapping[str, Any],
    lead: Sequence[int] = (),
    names: Mapping[str, Sequence[str] | None] | None = None,
) -> TableResult:
    """Return rows that belong together as the index says.

    Arguments:
        frame: The rows.
        form: How the table was written.
        lead: How many there are of each name.
        names: What the parts of the index are called, and what each is; None counts from 1.
    """
    import pandas as pd

    if names:
        levels = [
            list(range(1, n + 1)) if each is None else list(each)
            for n, each in zip(lead, names.values(), strict=True)
        ]
        frame = frame.set_index(pd.MultiIndex.from_product(levels, names=list(names)))
    return TableResult(frame, frame, plots.table_rows, form)


def _told(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the index as columns, first; a name that the table has already gets an underscore."""
    if frame.index.names == [None]:
        return frame
    taken = set(frame.columns)
    free = {name: f"{name}_" if name in taken else name for name in frame.index.names}
    return frame.rename_axis(index=free).reset_index()
