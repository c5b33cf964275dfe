"""Nearest neighbors in the latent space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import functional, plots
from varied.data import Codec, RawData
from varied.data.tables import SUFFIXES, describe_renaming, free_names
from varied.errors import VariedError
from varied.runs.base import RunBase

Array = npt.NDArray[Any]

#: The columns that are added to the columns of a table.
_COLUMNS = ("query", "rank", "neighbor", "distance")
#: The number of queries that are plotted with their neighbors.
_PLOTTED = 12


@dataclass(frozen=True, repr=False)
class Neighbors:
    """Examples and their nearest neighbors.

    Arguments:
        index: The indices in ``among`` of the neighbors of each query, nearest first, int64 with
            shape (N, k).
        distance: The distance to each neighbor, in standard deviations of the prior, with shape
            (N, k).
        query: The N query examples.
        among: The examples that were searched.
        codec: The codec of the run.
    """

    index: Array
    distance: Array
    query: RawData
    among: RawData
    codec: Codec

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Neighbors({self.index.shape[1]} of each of {len(self):,} examples)"

    @property
    def default_ending(self) -> str:
        """The file extension that `save` uses by default."""
        return self.codec.default_ending or ".png"

    @property
    def frame(self) -> Any:
        """A `pandas.DataFrame` with one row per neighbor; for tables, it includes their columns.

        Rows are numbered from 1. For tables, each query precedes its neighbors, with rank 0.
        """
        import pandas as pd

        n, k = self.index.shape
        values = (
            _row_names(self.query, np.repeat(np.arange(n), k)),
            np.tile(np.arange(1, k + 1), n),
            _row_names(self.among, self.index.ravel()),
            self.distance.ravel().round(4),
        )
        frame = pd.DataFrame(dict(zip(_COLUMNS, values, strict=True)))
        columns = self._columns
        if not columns:
            return frame
        queries = frame.iloc[::k].assign(rank=0, distance=0.0, neighbor=pd.NA)
        neighbors = self.among.x[columns].iloc[self.index.ravel()]
        added = pd.concat([part.astype({"neighbor": "Int64"}) for part in (queries, frame)])
        rows = pd.concat([self.query.x[columns], neighbors])
        order = np.lexsort((added["rank"], added["query"]))
        parts = [part.iloc[order].reset_index(drop=True) for part in (added, rows)]
        return pd.concat([parts[0].rename(columns=self._names), parts[1]], axis=1)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the written table, such as renamed columns."""
        return tuple(describe_renaming(self._names))

    @property
    def _columns(self) -> list[str]:
        return [name for name in self.query.columns if name in self.among.columns]

    @property
    def _names(self) -> dict[str, str]:
        return free_names(_COLUMNS, {*self._columns, *self.codec.source_columns})

    def save(self, path: str | Path) -> Path:
        """Write the neighbors to a file in the format of its extension.

        Arguments:
            path: The file to write. ``.csv``, ``.tsv``, ``.parquet`` and ``.feather`` files contain
                one row per neighbor; ``.png`` shows the first examples with their neighbors.

        Raises:
            VariedError: If the file extension is not supported.
        """
        path = Path(path)
        if path.name.lower().endswith(SUFFIXES):
            return self.codec.write_table(self.frame, path)
        if path.suffix.lower() == ".png":
            return self._plot(path)
        raise VariedError(
            f"'{path.name}' does not have a supported file extension; use .csv, .tsv, .parquet, "
            ".feather or .png."
        )

    def _plot(self, path: Path) -> Path:
        if self.codec.column_names:
            return plots.table_rows(self.frame, path)
        index, distance = self.index[:_PLOTTED], self.distance[:_PLOTTED]
        query = self._images(self.query.take(np.arange(len(index))))
        neighbors = self._images(self.among.take(index.ravel()))
        neighbors = neighbors.reshape(*index.shape, *neighbors.shape[1:])
        images = np.concatenate([query[:, None], neighbors], 1)
        flat, columns = images.reshape(-1, *images.shape[2:]), images.shape[1]
        captions = [text for row in distance for text in ("", *(f"{d:.2f}" for d in row))]
        if flat.dtype == np.uint8:
            titles = ["query", *(_ordinal(i) for i in range(1, columns))]
            return plots.grid(flat, path, columns=columns, captions=captions, column_titles=titles)
        titles = [text or "query" for text in captions]
        return plots.curves(flat.reshape(len(flat), -1), path, columns=columns, titles=titles)

    def _images(self, data: RawData) -> Array:
        return self.codec.to_images(self.codec.to_distances(data))

    def _repr_html_(self) -> str:
        return str(self.frame._repr_html_())


def neighbors(run: RunBase, query: Any = None, among: Any = None, *, n: int = 5) -> Neighbors:
    """Find the examples whose codes are nearest to the code of each query.

    Arguments:
        run: The run.
        query: The examples whose neighbors are returned; None uses the test rows.
        among: The examples to search; None searches the training rows.
        n: The number of neighbors for each query.

    Raises:
        VariedError: If fewer than n examples are searched, or no latent dimension is active.
    """
    queries = run.read(query)
    searched = run.split("train") if among is None else run.read(among)
    # `to_values` is not random, unlike `load`: an example must be its own nearest neighbor.
    a, b = (
        functional.embed(run.model, run.codec.to_values, run.batches(data))
        for data in (queries, searched)
    )
    index, distance = functional.nearest_codes(run.model, a, b, n, run.encode_data(searched).c)
    return Neighbors(index.numpy(), distance.numpy(), queries, searched, run.codec)


def _row_names(data: RawData, rows: Array) -> Any:
    """Return the names of the rows, or their numbers, starting from 1."""
    return rows + 1 if data.names is None else [data.names[i] for i in rows]


def _ordinal(number: int) -> str:
    return {1: "nearest", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
