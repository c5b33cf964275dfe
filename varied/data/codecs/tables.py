"""The codec of tables: each column by itself, gaps kept as gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from varied.data.codecs.base import Array, Codec, validate_shape
from varied.data.codecs.column_types import column_of
from varied.data.codecs.columns import (
    CategoricalColumn,
    Cells,
    Column,
    IgnoredColumn,
    NumericColumn,
    TargetColumn,
    open_column,
)
from varied.data.raw_data import RawData
from varied.data.tables.dialect import truncate
from varied.distributions import ColumnLayout
from varied.errors import VariedError, suggest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableCodec"]

#: Rows below which few latents can be told apart, and how many a table gets at most.
FEW_ROWS, MOST_LATENTS = 320, 16
#: What one message tells of at most.
MOST_TOLD = 8


@dataclass(frozen=True)
class TableCodec(Codec):
    """Rows of a table: as many numbers as `varied.likelihoods.TableRow` reads.

    Arguments:
        columns: Every column of the table, in its order.
        form: How the table was written, so that it is given back so.
    """

    kind: ClassVar[str] = "table"
    domain: ClassVar[str] = "table"  # type: ignore[misc]
    decodes_by_sampling: ClassVar[bool] = True

    columns: tuple[Column, ...]
    form: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = tuple(c if isinstance(c, Column) else open_column(c) for c in self.columns)
        object.__setattr__(self, "columns", columns)
        validate_shape(self.shape if self.learned else (), True)

    @classmethod
    def fit(cls, items: RawData, *, column_types: Mapping[str, str] | None = None) -> Self:
        """Fit to the training rows.

        Arguments:
            items: The rows.
            column_types: What columns are, where the person knows better: "number", "category" or
                "ignore", by name.

        Raises:
            VariedError: If a name is unknown, or nothing is left to learn.
        """
        frame, asked = _frame(items), dict(column_types or {})
        for name in asked:
            if name not in frame.columns:
                near = truncate(suggest(name, list(frame.columns)), 200)
                raise VariedError(f"The table has no column '{name}': {near}")
        digits = items.form.get("decimals", {})
        found = tuple(
            column_of(frame[name], asked.get(name), digits.get(name)) for name in frame.columns
        )
        if not any(column.word for column in found):
            kinds = "; ".join(
                f"{truncate(column.name)}: {column.kind}" for column in found[:MOST_TOLD]
            )
            raise VariedError(
                f"The table has no column to learn from ({kinds}): give another table, or say "
                "which column is a number or a category (column_types={...}, --column-types NAME=category)."
            )
        return cls(found, dict(items.form), tuple(_notes(found)))

    @property
    def learned(self) -> tuple[Column, ...]:
        """The columns that a model learns, in order."""
        return tuple(column for column in self.columns if column.word)

    @cached_property
    def layout(self) -> ColumnLayout:
        """Where they stand in a row."""
        return ColumnLayout.parse(self.words)

    @property
    def words(self) -> str:
        """The layout as `varied.likelihoods.TableRow` is told it."""
        return " ".join(column.word for column in self.learned)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """One row: flags, scores, options."""
        return (self.layout.width,)

    def advice(self, n: int) -> dict[str, tuple[object, str]]:
        """Return for each part its suggested value and the reason."""
        advice, columns = super().advice(n), len(self.learned)
        if n >= FEW_ROWS:
            reason = (
                "units in excess fall silent, and few tables need more than 16 or a column each"
            )
            advice["latent"] = (min(MOST_LATENTS, max(2, columns)), reason)
        return advice

    def suggest(self, n: int) -> dict[str, object]:
        """Return the parts that fit a table of `n` training rows."""
        return super().suggest(n) | {"likelihood": {"name": "table", "layout": self.words}}

    def encode(self, items: RawData | Array) -> Tensor:
        """Return float32 with shape `(N, W)`.

        Raises:
            VariedError: If a column is missing, or has another type than the run knows.
        """
        frame = self._matched(_frame(items))
        cells = [column.encode(frame[column.name]) for column in self.learned]
        known = np.stack([one.known for one in cells], 1)
        scores = [one.score[:, None] for one in cells if one.score is not None]
        chosen = [one.option[:, None] for one in cells if one.option is not None]
        options = [
            np.arange(size) == option
            for size, option in zip(self.layout.n_levels, chosen, strict=True)
        ]
        return torch.from_numpy(np.concatenate([known, *scores, *options], 1).astype("f4"))

    def load(self, stored: Tensor) -> Tensor:
        """Return the stored rows: they are already as the model sees them."""
        return stored.to(torch.float32)

    def decode(self, x: Tensor, classes: Sequence[str | None] | None = None) -> pd.DataFrame:
        """Return rows as the person has them: all columns, in their order and types.

        Arguments:
            x: Rows as the model has them, with shape (N, W).
            classes: The class of each by its name, for the column of a label that is not read.
        """
        import pandas as pd

        rows = x.detach().double().cpu().numpy()
        flags, numbers, _ = self.layout.block_sizes
        known, scores, options = np.split(rows, [flags, flags + numbers], 1)
        score = dict(zip(self.layout.number_columns, scores.T, strict=True))
        parts = np.split(options, np.cumsum(self.layout.n_levels)[:-1], 1)
        option = {
            column: part.argmax(1)
            for column, part in zip(self.layout.category_columns, parts, strict=False)
        }
        found: dict[str, Any] = {}
        for i, column in enumerate(self.learned):
            cells = Cells(known[:, i] > 0.5, score.get(i), option.get(i))
            found[column.name] = column.decode(cells)
        for column in self.columns:
            if isinstance(column, TargetColumn) and classes is not None:
                found[column.name] = column.of(classes)
            elif isinstance(column, IgnoredColumn):
                found[column.name] = column.decode(Cells(np.ones(len(rows))))
        return pd.DataFrame({column.name: found[column.name] for column in self.columns})

    def to_images(self, x: Tensor) -> Array:
        """Return the numbers of each row: a table has no look."""
        rows: Array = x.detach().float().cpu().numpy()
        return rows

    def unseen(self, items: RawData) -> Array:
        """Return which cells have a level that was never seen, as bool (N, learned columns)."""
        frame = self._matched(_frame(items))
        none = np.zeros(len(frame), bool)
        cells = [
            column.unseen(frame[column.name]) if isinstance(column, CategoricalColumn) else none
            for column in self.learned
        ]
        return np.stack(cells, 1)

    def strangers(self, items: RawData) -> list[str]:
        """Return a sentence for each column that has levels which the training rows have not."""
        frame, new, said = _frame(items), self.unseen(items), []
        for index, column in enumerate(self.learned):
            found = list(dict.fromkeys(frame[column.name][new[:, index]]))
            if found:
                some = ", ".join(truncate(repr(level)) for level in found[:3])
                some += ", ..." if len(found) > 3 else ""
                name = truncate(column.name)
                said.append(f"{name} has levels that were not there in training: {some}.")
        return said

    def to_json(self) -> dict[str, object]:
        """Return plain values that `open_codec` reads."""
        columns = [column.to_json() for column in self.columns]
        return {
            "codec": self.kind,
            "columns": columns,
            "form": dict(self.form),
            "notes": list(self.notes),
        }

    def _matched(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that are learned, in the types that the run knows."""
        problems = []
        frame = frame.copy(deep=False)
        for column in self.learned:
            if column.name not in frame.columns:
                problems.append(f"there is no column '{truncate(column.name)}'")
            elif str(frame[column.name].dtype) != column.dtype:
                try:
                    frame[column.name] = frame[column.name].astype(column.dtype)
                except (TypeError, ValueError):
                    problems.append(
                        f"'{truncate(column.name)}' is {frame[column.name].dtype} and the run knows "
                        f"{column.dtype}"
                    )
        if problems:
            raise VariedError(
                "This table is not like the one of the run, since "
                f"{'; '.join(problems[:MOST_TOLD])}{', ...' * (len(problems) > MOST_TOLD)}: give "
                "one with the same columns."
            )
        return frame


def _frame(items: RawData | Array) -> Any:
    if isinstance(items, RawData) and items.kind == "table":
        return items.x
    raise VariedError("This run was trained on a table: give a table with the same columns.")


def _notes(columns: tuple[Column, ...]) -> list[str]:
    """Say what was understood of the columns."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.kind, []).append(column.name)
    notes = [f"{_several(names)}: {kind}." for kind, names in kinds.items()]
    for column in columns:
        if isinstance(column, NumericColumn) and column.frequent:
            values = column.restore(np.array(column.frequent))
            some = ", ".join(str(v) if column.kind == "date" else f"{v:g}" for v in values)
            notes.append(
                f"{truncate(column.name)}: places of their own for {some}, which came often."
            )
        if isinstance(column, CategoricalColumn) and column.rare:
            notes.append(
                f"{truncate(column.name)}: its {len(column.levels):,} most frequent levels have places "
                f"of their own, and the other {len(column.rare):,} share one."
            )
    return notes


def _several(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(truncate(name, 80) for name in names[:most]) + more
