"""The codec for tables, which encodes each row as flags, numbers and one-hot levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from varied import plots
from varied.data.codecs.base import Array, Axes, Codec
from varied.data.codecs.cell_conversion import convert_cells
from varied.data.codecs.column_notes import describe_columns, describe_rare_classes
from varied.data.codecs.column_types import infer_column
from varied.data.codecs.columns import (
    Column,
    EncodedColumn,
    IgnoredColumn,
    LearnedColumn,
    NumericColumn,
    TargetColumn,
)
from varied.data.codecs.field_checks import check_fields
from varied.data.codecs.invalid_cells import InvalidCells, find_invalid_cells, find_violations
from varied.data.codecs.plain_formats import PlainFormat, PlainRows
from varied.data.codecs.relation_search import detect_relations
from varied.data.codecs.relations import (
    Relation,
    describe,
    determine,
    from_differences,
    numeric_columns,
    to_differences,
)
from varied.data.codecs.table_conversion import describe_rows
from varied.data.codecs.table_imputer import TableImputer
from varied.data.codecs.table_index import axis_names, index_as_columns, index_by_axes
from varied.data.defaults import Default, table_likelihood
from varied.data.raw_data import RawData
from varied.data.tables.dialect import SUFFIXES, TableDialect, truncate
from varied.data.tables.free_names import describe_renaming
from varied.distributions import ColumnLayout
from varied.errors import VariedError, lookup, suggest
from varied.stored_values import read_value

if TYPE_CHECKING:
    import pandas as pd

#: With at least this many rows, the number of latent dimensions is the number of columns, up to a
#: maximum.
_ENOUGH_ROWS, _MAX_LATENT = 320, 16
#: Up to this number of unreadable cells in a column are always treated as missing.
_MAX_UNREADABLE = 5
#: The number of columns that a message lists.
_LISTED = 8


@dataclass(frozen=True)
class TableCodec(Codec):
    """The codec for tables, whose rows are modeled by `varied.likelihoods.TableRow`.

    Arguments:
        columns: All columns of the table, in order.
        dialect: The format of the table, as in `varied.data.tables.TableDialect`.
        notes: Notes for the user, one sentence each.
        relations: Relations between columns that hold in all training rows; decoded rows satisfy
            them.
    """

    kind: ClassVar[str] = "table"
    noun: ClassVar[str] = "rows"
    endings: ClassVar[tuple[str, ...]] = SUFFIXES
    default_ending: ClassVar[str] = ".csv"
    data_ending: ClassVar[str] = ".csv"
    labeled_ending: ClassVar[str] = ".csv"
    plain_format: ClassVar[PlainFormat] = PlainRows()
    decodes_by_sampling: ClassVar[bool] = True
    is_compressible: ClassVar[bool] = False
    has_missing_values = True
    domain: ClassVar[str] = "table"  # type: ignore[misc]

    columns: tuple[Column, ...]
    dialect: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        is_unique = len(set(self.source_columns)) == len(self.columns)
        check_fields(self.shape if self.learned else (), is_unique)
        for name in (name for r in self.relations for name in (r.target, *r.members)):
            lookup(self.numeric, name, "numeric column")
        read_value({"dialect": self.dialect}, dict[str, TableDialect])

    # Reading

    @classmethod
    def read_file(cls, path: Path) -> RawData:
        """Read a table; see `varied.data.tables.read_table`."""
        from varied.data.tables import read_table

        frame, dialect, notes = read_table(path)
        return RawData(frame, cls.kind, notes=notes, dialect=dialect.to_json())

    @property
    def reading_options(self) -> dict[str, Any]:
        """The option ``kind``, so that a table of molecules is read as a table."""
        return {"kind": self.kind}

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return a phrase with the number of rows and columns."""
        return f"{len(data):,} rows of {len(data.columns):,} columns"

    # To tensors and back

    @classmethod
    def fit(cls, data: RawData, *, column_types: Mapping[str, str] | None = None) -> Self:
        """Fit the codec to the training rows.

        Arguments:
            data: The rows.
            column_types: A mapping from column names to types that override the inferred ones:
                "number", "count", "category" or "ignore". Such a column is never the y of a
                `Relation`.

        Raises:
            VariedError: If a name or type is unknown, a column does not fit its type, or the model
                cannot be trained on any column.
        """
        frame, types = _frame(data), dict(column_types or {})
        for name in types:
            if name not in frame.columns:
                near = truncate(suggest(name, list(frame.columns)), 200)
                raise VariedError(f"The table has no column '{name}': {near}")
        digits = data.dialect.get("decimals", {})
        columns = tuple(
            infer_column(frame[name], types.get(name), digits.get(name)) for name in frame.columns
        )
        if not any(isinstance(column, LearnedColumn) for column in columns):
            kinds = "; ".join(f"{truncate(c.name)}: {c.kind}" for c in columns[:_LISTED])
            raise VariedError(
                f"The table has no column to train on ({kinds}); add one, or declare a column as a "
                "number or a category (column_types={...}, or --column-types NAME=category)."
            )
        relations = detect_relations(frame, columns, fixed=types)
        rare_classes = describe_rare_classes(columns, frame) if data.labels is None else []
        notes = (*describe_columns(columns), *describe(relations), *rare_classes)
        return cls(columns, dict(data.dialect), notes, relations)

    @property
    def learned(self) -> tuple[LearnedColumn, ...]:
        """The columns that the model is trained on, in order."""
        return tuple(column for column in self.columns if isinstance(column, LearnedColumn))

    @cached_property
    def numeric(self) -> dict[str, NumericColumn]:
        """The columns of numbers and dates by name, including categories that are numbers."""
        return numeric_columns(self.learned)

    @cached_property
    def modeled(self) -> tuple[LearnedColumn, ...]:
        """The columns of an encoded row: the learned columns, or differences in their place."""
        differences = {r.target: r.difference for r in self.relations}
        return tuple(differences.get(column.name) or column for column in self.learned)

    @cached_property
    def layout(self) -> ColumnLayout:
        """The positions of the columns in an encoded row."""
        return ColumnLayout.parse(self.layout_text)

    @property
    def layout_text(self) -> str:
        """The layout as text, as in the setting ``layout`` of `varied.likelihoods.TableRow`."""
        return " ".join(column.layout_code for column in self.modeled)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of an encoded row."""
        return (self.layout.width,)

    def encode(self, data: RawData | Array) -> Tensor:
        """Encode rows as a tensor.

        Returns:
            The encoded rows, float32 with shape (N, W): flags, scores and one-hot levels.

        Raises:
            VariedError: If a column is missing, or a cell does not fit the type of its column.
        """
        frame = self._convert(data, lambda unreadable, _: not unreadable.any())
        differences = to_differences(frame, self.relations, self.numeric)
        cells = [c.encode(differences.get(c.name, frame[c.name])) for c in self.modeled]
        observed = np.stack([c.observed for c in cells], 1)
        scores = [c.score[:, None] for c in cells if c.score is not None]
        choices = [c.choice[:, None] for c in cells if c.choice is not None]
        one_hot = [
            np.arange(size) == choice
            for size, choice in zip(self.layout.n_levels, choices, strict=True)
        ]
        return torch.from_numpy(np.concatenate([observed, *scores, *one_hot], 1).astype("f4"))

    def decode(
        self,
        x: Tensor,
        labels: Sequence[str | None] | None = None,
        *,
        observed_cells: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Decode rows to a DataFrame with the columns, order and types of the original table.

        Arguments:
            x: Encoded rows, with shape (N, W).
            labels: The class name of each row, for the target column.
            observed_cells: Observed cells, which replace the decoded ones; missing cells do not.
        """
        import pandas as pd

        rows = x.detach().double().cpu().numpy()
        n_flags, n_scores, _ = self.layout.block_sizes
        observed, scores, one_hot = np.split(rows, [n_flags, n_flags + n_scores], 1)
        score = dict(zip(self.layout.number_columns, scores.T, strict=True))
        blocks = np.split(one_hot, np.cumsum(self.layout.n_levels), 1)
        choice = {
            i: b.argmax(1) for i, b in zip(self.layout.category_columns, blocks, strict=False)
        }
        cells: dict[str, Any] = {}
        for i, column in enumerate(self.modeled):
            encoded = EncodedColumn(observed[:, i] > 0.5, score.get(i), choice.get(i))
            cells[column.name] = column.decode(encoded)
        cells = from_differences(cells, self.relations, self.numeric, observed_cells)
        for other in self.columns:
            if isinstance(other, TargetColumn):
                cells[other.name] = other.decode(labels or [None] * len(rows))
            elif isinstance(other, IgnoredColumn):
                cells[other.name] = other.decode(len(rows))
        return pd.DataFrame({column.name: cells[column.name] for column in self.columns})

    @property
    def decodes_labels(self) -> bool:
        """Whether the table has a target column."""
        return any(isinstance(column, TargetColumn) for column in self.columns)

    # Results

    def arrange(self, examples: Any, shape: Sequence[int], axes: Axes) -> Any:
        """Return rows with an index whose levels are the axes; numbered axes come first."""
        return index_by_axes(examples, shape, axes)

    def to_images(self, x: Tensor) -> Array:
        """Return encoded rows as numbers, since tables cannot be plotted as images."""
        rows: Array = x.detach().float().cpu().numpy()
        return rows

    def describe_axes(self, examples: Any) -> list[str]:
        """Return a note if axes are renamed in the written table of a result; empty otherwise."""
        return describe_renaming(axis_names(examples))

    def plot(
        self, examples: Any, images: Array, draw: Callable[[Array, Path], Path], path: Path
    ) -> Path:
        """Plot the first rows as a table."""
        return plots.table_rows(index_as_columns(examples), path)

    def to_frame(self, examples: Any) -> Any:
        """Convert rows to a DataFrame of the original library.

        The index levels become columns, except in pandas.
        """
        from varied.data.tables import to_frame

        dialect = TableDialect.from_json(self.dialect)
        is_indexed = dialect.library == "pandas"
        return to_frame(examples if is_indexed else index_as_columns(examples), dialect)

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write rows to .parquet or .feather, or to .csv or .tsv in the training table's dialect.

        Raises:
            VariedError: If the file has another extension.
        """
        if not path.name.lower().endswith(SUFFIXES):
            raise VariedError(
                f"'{path.name}' does not have a supported file extension; use .csv, .tsv, .parquet "
                "or .feather, or .png for a plot of the first rows."
            )
        return self.write_table(index_as_columns(examples), path)

    def save_labeled(self, data: RawData, path: Path) -> Path:
        """Write the rows, which already contain their labels."""
        return self.save(data.x, path)

    def write_table(self, frame: Any, path: Path, *, has_columns: bool = True) -> Path:
        """Write a table in the dialect of the training table; see `Codec.write_table`."""
        from varied.data.tables import write_table

        dialect = TableDialect.from_json(self.dialect)
        return write_table(frame, path, dialect if has_columns else dialect.without_columns())

    # Comparison

    def to_features(self, x: Tensor, without: Sequence[str] = ()) -> Tensor:
        """Return encoded rows without the elements that encode the excluded columns."""
        excluded = [i for i, name in enumerate(self.column_names) if name in without]
        indices = torch.tensor(excluded, dtype=torch.int64)
        return x[:, ~torch.isin(self.layout.element_columns, indices)]

    # Columns

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The names of all columns of the training table, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns that the model is trained on."""
        return tuple(column.name for column in self.learned)

    def by_column(self, elementwise: Tensor) -> Tensor:
        """Return the sum of elementwise values over each column that the model is trained on."""
        return self.layout.sum_by_column(elementwise)

    def convert(self, data: RawData) -> RawData:
        """Convert new rows to the types of the training rows; unreadable cells become missing.

        Raises:
            VariedError: If a column is missing, or most of its cells cannot be read.
        """
        return data.replace(x=self._convert(data, _is_tolerable))

    def invalid_cells(self, data: RawData) -> list[InvalidCells]:
        """Return the invalid cells of new rows by column; see `InvalidCells`."""
        frame = _frame(data)
        invalid = [
            cells
            for column in self.columns
            if column.name in frame
            for cells in find_invalid_cells(
                column, frame[column.name], **self._formats(data, column)
            )
        ]
        converted = self._convert(data, _is_tolerable)
        return invalid + find_violations(converted, self.relations, self.numeric)

    def attributes(self, data: RawData) -> dict[str, Any]:
        """Return the values of each column that the model is trained on, as numbers or names."""
        values: dict[str, Any] = {}
        for column in self.learned:
            cells = data.x[column.name]
            if isinstance(column, NumericColumn):
                values[column.name] = column.to_float(cells)
            else:
                known = cells.astype(object).where(cells.notna(), "")
                values[column.name] = [str(cell) for cell in known]
        return values

    def determine(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Compute the missing cells that follow exactly from relations and observed cells."""
        return determine(frame, self.relations, self.numeric)

    def satisfy(self, frame: pd.DataFrame, observed: pd.DataFrame) -> pd.DataFrame:
        """Change cells that are not observed so that all relations are satisfied."""
        differences = to_differences(frame, self.relations, self.numeric)
        cells = {name: frame[name] for name in self.numeric} | differences
        satisfied = from_differences(cells, self.relations, self.numeric, observed)
        return frame.assign(**{name: c.set_axis(frame.index) for name, c in satisfied.items()})

    def imputer(self) -> TableImputer:
        """Return the imputer that fills the missing cells."""
        return TableImputer(self)

    def defaults(self, n: int) -> dict[str, Default]:
        """Return the default parts for a table with ``n`` training rows."""
        parts = super().defaults(n)
        name, reason = table_likelihood(len(self.learned))
        parts["likelihood"] = Default({"name": name, "layout": self.layout_text}, reason)
        if n >= _ENOUGH_ROWS:
            parts["latent"] = Default(
                min(_MAX_LATENT, max(2, len(self.learned))),
                "unused latent dimensions become inactive, and few tables need more than one per "
                f"column or more than {_MAX_LATENT}",
            )
        return parts

    def describe_conversion(self) -> dict[str, Any]:
        """Return the elements and the parameters of each column; see `describe_rows`."""
        return describe_rows(self.modeled, self.layout, self.relations)

    # Storage

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable description of the codec, to be read by `open_codec`."""
        columns = [column.to_json() for column in self.columns]
        relations = [relation.to_json() for relation in self.relations]
        lists = {"columns": columns, "relations": relations}
        return super().to_json() | lists | {"dialect": dict(self.dialect)}

    def _convert(
        self, data: RawData | Array, accepts: Callable[[Array, Array], bool]
    ) -> pd.DataFrame:
        """Convert the columns of the model to the types that they had during training.

        Arguments:
            data: The rows.
            accepts: A function that returns whether a column is accepted, given whether each cell
                is unreadable, and whether it is observed.
        """
        problems, frame = [], _frame(data).copy(deep=False)
        for column in self.learned:
            name = truncate(column.name)
            if column.name not in frame:
                problems.append(f"column '{name}' is missing")
                continue
            cells = frame[column.name]
            formats = self._formats(data, column)
            converted, unreadable = convert_cells(cells, column.dtype, **formats)
            if not accepts(unreadable, cells.notna().to_numpy(dtype=bool)):
                problems.append(f"column '{name}' is {cells.dtype} instead of {column.dtype}")
            frame[column.name] = converted
        if problems:
            more = ", ..." * (len(problems) > _LISTED)
            raise VariedError(
                f"The table differs from the training table ({'; '.join(problems[:_LISTED])}"
                f"{more}); use a table with the same columns and types."
            )
        return frame

    def _formats(self, data: RawData | Array, column: Column) -> dict[str, Any]:
        """Return the formats in which the cells of new rows are read."""
        dialects = (data.dialect if isinstance(data, RawData) else {}, self.dialect)
        decimals = [dialect["decimal"] for dialect in dialects if "decimal" in dialect]
        date_format = self.dialect.get("dates", {}).get(column.name, "")
        style = self.dialect.get("styles", {}).get(column.name)
        return {"decimals": decimals or ["."], "date_format": date_format, "style": style}


def _is_tolerable(unreadable: Array, observed: Array) -> bool:
    """Return whether so few cells are unreadable that the column probably has the right type."""
    return bool((n := unreadable.sum()) <= _MAX_UNREADABLE or 2 * n <= observed.sum())


def _frame(data: RawData | Array) -> Any:
    if isinstance(data, RawData) and data.is_frame:
        return data.x
    raise VariedError("This run was trained on a table; use a table with the same columns.")
