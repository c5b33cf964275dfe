"""Items, and those that lie nearest to them in the latent space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from varied import functional, plots
from varied.data import RawData, iter_batches
from varied.data.codecs import Codec, ImageCodec
from varied.data.tables import SUFFIXES, TableDialect
from varied.errors import VariedError
from varied.runs.nearest_training import plain
from varied.runs.opening import ROWS, OpenRun

__all__ = ["Neighbors", "neighbors"]

Array = npt.NDArray[Any]

#: Items that are drawn with their neighbors.
DRAWN = 12


@dataclass(frozen=True, repr=False)
class Neighbors:
    """Items, and those that lie nearest to them.

    Arguments:
        index: Which of ``among`` they are, int64 with shape (N, n), nearest first.
        distance: How far each is, in standard deviations of the prior, with shape (N, n).
        query: The N items that were asked for.
        among: The items that were searched.
        codec: What the run knows of its data.
    """

    index: Array
    distance: Array
    query: RawData
    among: RawData
    codec: Codec

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Neighbors({self.index.shape[1]} of each of {len(self):,} items)"

    @property
    def frame(self) -> Any:
        """A row for each neighbor as a `pandas.DataFrame`; of a table, with its columns.

        Rows are counted from 1, and a table has the row that was asked for first, as rank 0.
        """
        import pandas as pd

        n, k = self.index.shape
        told = pd.DataFrame(
            {
                "query": _named(self.query, np.repeat(np.arange(n), k)),
                "rank": np.tile(np.arange(1, k + 1), n),
                "neighbor": _named(self.among, self.index.ravel()),
                "distance": self.distance.ravel().round(4),
            }
        )
        if self.query.kind != "table":
            return told
        asked = told.iloc[::k].assign(rank=0, distance=0.0, neighbor=pd.NA)
        names = [name for name in self.query.x.columns if name in self.among.x.columns]
        found = self.among.x[names].iloc[self.index.ravel()].reset_index(drop=True)
        whole = [
            pd.concat([head.reset_index(drop=True), _apart(rows, head)], axis=1)
            for head, rows in ((asked, self.query.x[names].reset_index(drop=True)), (told, found))
        ]
        rows = pd.concat([part.astype({"neighbor": "Int64"}) for part in whole])
        return rows.sort_values(["query", "rank"], kind="stable", ignore_index=True)

    def save(self, path: str | Path) -> Path:
        """Write the neighbors by the ending of the name.

        Arguments:
            path: ``.csv`` and its kin for a row for each neighbor; ``.png`` draws the first items,
                each before its neighbors.

        Raises:
            VariedError: If the ending is not known.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.lower().endswith(SUFFIXES):
            from varied.data.tables import write_table

            form = (
                TableDialect.from_json(self.query.form)
                if self.query.kind == "table"
                else TableDialect()
            )
            return write_table(self.frame, path, form)
        if path.suffix.lower() == ".png":
            return self._draw(path)
        raise VariedError(f"'{path.name}': save neighbors as .csv, .parquet or .png.")

    def _draw(self, path: Path) -> Path:
        if self.query.kind == "table":
            return plots.table_rows(self.frame, path)
        rows, far = self.index[:DRAWN], self.distance[:DRAWN]
        parts = (self.query.take(np.arange(len(rows))), self.among.take(rows.ravel()))
        asked, found = (self.codec.to_images(plain(self.codec, part)) for part in parts)
        each = np.concatenate([asked[:, None], found.reshape(*rows.shape, *found.shape[1:])], 1)
        flat = each.reshape(-1, *each.shape[2:])
        told = [text for row in far for text in ("", *(f"{one:.2f}" for one in row))]
        columns = rows.shape[1] + 1
        if flat.dtype == np.uint8:
            heads = ["query", *(_nth(i) for i in range(1, columns))]
            return plots.grid(flat, path, columns=columns, captions=told, column_titles=heads)
        titles = [text or "query" for text in told]
        return plots.curves(flat.reshape(len(flat), -1), path, columns=columns, titles=titles)


def neighbors(run: OpenRun, query: Any = None, among: Any = None, n: int = 5) -> Neighbors:
    """Return the items whose codes are nearest to those of others.

    Arguments:
        run: The run.
        query: The others; None for the run's own test items.
        among: The items to search; None for the run's training items.
        n: How many of them for each.
    """
    asked, known = run.read(query), run.split("train") if among is None else run.read(among)
    batches = [run.encode_items(items) for items in (asked, known)]
    load = _gray if isinstance(run.codec, ImageCodec) else run.codec.load
    a, b = (
        functional.embed(run.model, load, iter_batches(batch.x, batch.c, size=ROWS))
        for batch in batches
    )
    index, distance = functional.nearest_codes(run.model, a, b, n, batches[1].c)
    return Neighbors(index.numpy(), distance.numpy(), asked, known, run.codec)


def _gray(stored: Tensor) -> Tensor:
    """Return pictures as they are: drawn in black and white, one would lie away from itself."""
    return stored.float() / 255


def _named(items: RawData, rows: Array) -> Any:
    """Return the names of rows; their numbers, from 1, where they have none."""
    return rows + 1 if items.names is None else [items.names[i] for i in rows]


def _apart(own: Any, head: Any) -> Any:
    return own.rename(columns={name: f"{name}_" for name in own.columns if name in head.columns})


def _nth(number: int) -> str:
    return {1: "nearest", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
