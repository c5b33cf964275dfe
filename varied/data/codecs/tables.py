"""The codec of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from varied.data.codecs.base import Array, Codec, validate_shape
from varied.data.codecs.column_types import infer_column
from varied.data.codecs.columns import (
    CategoricalColumn,
    Column,
    EncodedColumn,
    IgnoredColumn,
    LearnedColumn,
    NumericColumn,
    TargetColumn,
    column_from_json,
)
from varied.data.raw_data import RawData
from varied.data.tables.dialect import truncate
from varied.distributions import ColumnLayout
from varied.errors import VariedError, suggest

if TYPE_CHECKING:
    import pandas as pd

#: With at least this many rows, the latent dimension is the number of columns, up to a maximum.
_ENOUGH_ROWS, _MAX_LATENT = 320, 16
#: The number of columns that a message lists.
_LISTED = 8


@dataclass(frozen=True)
class TableCodec(Codec):
    """The codec of a table, whose rows `varied.likelihoods.TableRow` models.

    Arguments:
        columns: All columns of the table, in order.
        form: The dialect of the table as plain values, see `varied.data.tables.TableDialect`.
        notes: Notes for the user, one sentence each.
    """

    kind: ClassVar[str] = "table"
    domain: ClassVar[str] = "table"  # type: ignore[misc]
    decodes_by_sampling: ClassVar[bool] = True

    columns: tuple[Column, ...]
    form: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = tuple(c if isinstance(c, Column) else column_from_json(c) for c in self.columns)
        object.__setattr__(self, "columns", columns)
        validate_shape(self.shape if self.learned else (), True)

    @classmethod
    def fit(cls, items: RawData, *, column_types: Mapping[str, str] | None = None) -> Self:
        """Fit to the training rows.

        Arguments:
            items: The rows.
            column_types: The types of columns that are not to be inferred: "number", "category"
                or "ignore", by column name.

        Raises:
            VariedError: If a name is unknown, or no column can be learned.
        """
        frame, types = _frame(items), dict(column_types or {})
        for name in types:
            if name not in frame.columns:
                near = truncate(suggest(name, list(frame.columns)), 200)
                raise VariedError(f"The table has no column '{name}': {near}")
        digits = items.form.get("decimals", {})
        columns = tuple(
            infer_column(frame[name], types.get(name), digits.get(name)) for name in frame.columns
        )
        if not any(isinstance(column, LearnedColumn) for column in columns):
            kinds = "; ".join(f"{truncate(c.name)}: {c.kind}" for c in columns[:_LISTED])
            raise VariedError(
                f"The table has no column to learn from ({kinds}): give another table, or declare "
                "a column as a number or a category (column_types={...}, or --column-types "
                "NAME=category)."
            )
        return cls(columns, dict(items.form), tuple(_notes(columns)))

    @property
    def learned(self) -> tuple[LearnedColumn, ...]:
        """The columns that the model learns, in order."""
        return tuple(column for column in self.columns if isinstance(column, LearnedColumn))

    @cached_property
    def layout(self) -> ColumnLayout:
        """The positions of the columns in an encoded row."""
        return ColumnLayout.of(self.layout_text)

    @property
    def layout_text(self) -> str:
        """The layout as a setting of `varied.likelihoods.TableRow`."""
        return " ".join(column.layout_code for column in self.learned)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of an encoded row."""
        return (self.layout.width,)

    def advice(self, n: int) -> dict[str, tuple[object, str]]:
        """Return the suggested value of each part, and the reason for it."""
        advice = super().advice(n)
        if n >= _ENOUGH_ROWS:
            latent = min(_MAX_LATENT, max(2, len(self.learned)))
            reason = (
                "unused latent units become inactive, and few tables need more than one per "
                f"column, or more than {_MAX_LATENT}"
            )
            advice["latent"] = (latent, reason)
        return advice

    def suggest(self, n: int) -> dict[str, object]:
        """Return the suggested parts for a table of `n` training rows."""
        return super().suggest(n) | {"likelihood": {"name": "table", "layout": self.layout_text}}

    def encode(self, items: RawData | Array) -> Tensor:
        """Encode rows.

        Returns:
            The encoded rows, float32 with shape (N, W): flags, scores and one-hot levels.

        Raises:
            VariedError: If a column is missing or has another type than in training.
        """
        frame = self._check_columns(_frame(items))
        cells = [column.encode(frame[column.name]) for column in self.learned]
        observed = np.stack([c.observed for c in cells], 1)
        scores = [c.score[:, None] for c in cells if c.score is not None]
        choices = [c.choice[:, None] for c in cells if c.choice is not None]
        one_hot = [
            np.arange(size) == choice
            for size, choice in zip(self.layout.sizes, choices, strict=True)
        ]
        return torch.from_numpy(np.concatenate([observed, *scores, *one_hot], 1).astype("f4"))

    def load(self, stored: Tensor) -> Tensor:
        """Return stored rows as the model sees them."""
        return stored.to(torch.float32)

    def decode(self, x: Tensor, classes: Sequence[str | None] | None = None) -> pd.DataFrame:
        """Decode rows to a frame with all columns of the table, in their order and types.

        Arguments:
            x: Encoded rows, with shape (N, W).
            classes: The name of the class of each row, for the target column.
        """
        import pandas as pd

        rows = x.detach().double().cpu().numpy()
        n_flags, n_scores, _ = self.layout.parts
        observed, scores, one_hot = np.split(rows, [n_flags, n_flags + n_scores], 1)
        score = dict(zip(self.layout.numbers, scores.T, strict=True))
        blocks = np.split(one_hot, np.cumsum(self.layout.sizes), 1)
        choice = {i: b.argmax(1) for i, b in zip(self.layout.choices, blocks, strict=False)}
        cells: dict[str, Any] = {}
        for i, column in enumerate(self.learned):
            encoded = EncodedColumn(observed[:, i] > 0.5, score.get(i), choice.get(i))
            cells[column.name] = column.decode(encoded)
        for other in self.columns:
            if isinstance(other, TargetColumn):
                cells[other.name] = other.decode(classes or [None] * len(rows))
            elif isinstance(other, IgnoredColumn):
                cells[other.name] = other.decode(len(rows))
        return pd.DataFrame({column.name: cells[column.name] for column in self.columns})

    def to_images(self, x: Tensor) -> Array:
        """Return encoded rows as an array: a table has no image."""
        rows: Array = x.detach().float().cpu().numpy()
        return rows

    def unseen_mask(self, items: RawData) -> Array:
        """Return which cells have a level that is not in the training rows.

        Returns:
            Booleans with shape (N, C), for the C learned columns.
        """
        frame = self._check_columns(_frame(items))
        none = np.zeros(len(frame), bool)
        masks = [
            column.is_unseen(frame[column.name]) if isinstance(column, CategoricalColumn) else none
            for column in self.learned
        ]
        return np.stack(masks, 1)

    def unseen_level_notes(self, items: RawData) -> list[str]:
        """Return a sentence for each column with levels that are not in the training rows."""
        frame, mask, notes = _frame(items), self.unseen_mask(items), []
        for i, column in enumerate(self.learned):
            levels = list(dict.fromkeys(frame[column.name][mask[:, i]]))
            if levels:
                listed = ", ".join(truncate(repr(level)) for level in levels[:3])
                more = ", ..." * (len(levels) > 3)
                name = truncate(column.name)
                notes.append(
                    f"{name} has levels that are not in the training rows: {listed}{more}."
                )
        return notes

    def to_json(self) -> dict[str, object]:
        """Return plain values for `open_codec`."""
        columns = [column.to_json() for column in self.columns]
        return super().to_json() | {"columns": columns, "form": dict(self.form)}

    def _check_columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Convert the learned columns to their types in training."""
        problems, frame = [], frame.copy(deep=False)
        for column in self.learned:
            try:
                frame[column.name] = frame[column.name].astype(column.dtype)
            except KeyError:
                problems.append(f"column '{truncate(column.name)}' is missing")
            except (TypeError, ValueError):
                dtype = frame[column.name].dtype
                problems.append(
                    f"column '{truncate(column.name)}' is {dtype} instead of {column.dtype}"
                )
        if problems:
            more = ", ..." * (len(problems) > _LISTED)
            raise VariedError(
                f"The table differs from that of the run: {'; '.join(problems[:_LISTED])}{more}: "
                "give one with the same columns."
            )
        return frame


def _frame(items: RawData | Array) -> Any:
    if isinstance(items, RawData) and items.kind == "table":
        return items.x
    raise VariedError("This run was trained on a table: give a table with the same columns.")


def _notes(columns: tuple[Column, ...]) -> list[str]:
    """Return sentences on the kinds of columns, on frequent values and on rare levels."""
    kinds: dict[str, list[str]] = {}
    for column in columns:
        kinds.setdefault(column.kind, []).append(column.name)
    notes = [f"{_list_names(names)}: {kind}." for kind, names in kinds.items()]
    for column in columns:
        name = truncate(column.name)
        if isinstance(column, NumericColumn) and column.frequent:
            values = column.from_float(np.array(column.frequent))
            listed = ", ".join(str(v) if column.kind == "date" else f"{v:g}" for v in values)
            notes.append(f"{name}: frequent values are modeled as categories ({listed}).")
        if isinstance(column, CategoricalColumn) and column.rare:
            notes.append(
                f"{name}: the {len(column.levels):,} most frequent levels are modeled "
                f"individually, the other {len(column.rare):,} as one category."
            )
    return notes


def _list_names(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(truncate(name, 80) for name in names[:most]) + more
