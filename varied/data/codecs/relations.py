"""Relations between the numeric columns of a table that hold in all training rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from varied.data.codecs.column_types import infer_digits
from varied.data.codecs.columns import CategoricalColumn, Column, NumericColumn
from varied.data.tables.dialect import truncate
from varied.errors import VariedError

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
Numbers = Mapping[str, Array]

#: Dates are counted in days, which have this number of seconds.
_DAY = 86400.0
#: The resolution of a column without a fixed number of decimals, as a fraction of its largest
#: number; the rounding errors of float32 are smaller.
_FLOAT_RESOLUTION = 1e-6
#: A cell is computed from the others if its error is below this fraction of a standard deviation.
_MAX_ERROR = 0.01
#: Columns with larger numbers are not searched, since float64 does not represent them exactly.
_LARGEST = 1e15
#: The model is trained on the differences of an inequality if their standard deviation is at most
#: this fraction of the standard deviation of y. Otherwise, the model resolves y well enough, and y
#: is a better input where x is missing.
_MAX_ORDER_SCALE = 0.3
#: The differences of an equation are clipped to this multiple of the resolution, since the model
#: was not trained on larger ones.
_MAX_VIOLATION = 10
#: The minimum number of training rows with missing x and observed y from which y can be learned.
MIN_UNKNOWN = 20
#: The number of relations that a note lists.
_LISTED = 3


@dataclass(frozen=True)
class Relation:
    r"""A relation between a column y and other columns x, which holds in all training rows.

    .. math:: y = \sum_k c_k x_k + b, \qquad y = c \prod_k x_k^{e_k} \qquad \text{or} \qquad
        y \ge x_1

    In place of y, the model is trained on the difference between y and the right-hand side, rounded
    like y. The difference is 0 for an equation and not negative for an inequality, so that decoded
    rows satisfy the relation exactly. If the differences of an inequality vary almost as much as y,
    the model is trained on y itself, and a decoded y that is below x is set to x. Dates are counted
    in days.

    Arguments:
        target: The name of y.
        members: The names of the columns x.
        coefficients: The coefficients c.
        intercept: The intercept b.
        exponents: The exponents of a product; empty for a sum or an inequality.
        is_order: Whether the relation is an inequality.
        center: The value that replaces the right-hand side if a cell of x is missing. If None, the
            difference is missing in such rows, since the training data contain too few of them.
        difference: The column of differences, fitted to the training rows; None if the model is
            trained on y itself.
    """

    target: str
    members: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float = 0.0
    exponents: tuple[int, ...] = ()
    is_order: bool = False
    center: float | None = 0.0
    difference: NumericColumn | None = None

    def __post_init__(self) -> None:
        n = len(self.members)
        is_valid = n > 0 and len(self.exponents) in (0, n) and 0 not in self.exponents
        if not (is_valid and len(self.coefficients) == (1 if self.exponents else n)):
            raise VariedError(
                f"A relation between '{truncate(self.target)}' and {n} columns cannot have "
                f"{len(self.coefficients)} coefficients and the exponents {self.exponents}; create "
                "the relation with `detect_relations`."
            )
        if self.difference is not None and self.difference.name != self.target:
            raise VariedError(
                f"The difference column of '{truncate(self.target)}' cannot be named "
                f"'{truncate(self.difference.name)}'; give it the name of the target."
            )

    def predict(self, numbers: Numbers) -> Array:
        """Return the right-hand side of the relation, NaN where a cell of x is missing.

        Arguments:
            numbers: The numbers in each column, as returned by `to_numbers`.
        """
        x = np.stack([numbers[name] for name in self.members], 1)
        with np.errstate(all="ignore"):  # a division by zero is treated as a missing cell
            if self.exponents:
                y = self.coefficients[0] * (x ** np.array(self.exponents, float)).prod(1)
            else:
                y = x @ np.array(self.coefficients) + self.intercept
        return np.where(np.isfinite(y), y, np.nan)

    def fit(self, column: NumericColumn, numbers: Numbers) -> Relation:
        """Fit the differences to the training rows.

        Arguments:
            column: The column y.
            numbers: The numbers in each column.
        """
        y = numbers[self.target] / days(column)
        mean = float(np.nanmean(y))
        difference = self.subtract(column, numbers)
        if self.is_order and np.nanstd(difference) > _MAX_ORDER_SCALE * np.nanstd(y):
            return dataclasses.replace(self, center=mean)
        n_unknown = (np.isnan(self.predict(numbers)) & ~np.isnan(y)).sum()
        centered = dataclasses.replace(self, center=mean if n_unknown >= MIN_UNKNOWN else None)
        column = _fit_difference(column, centered.subtract(column, numbers))
        return dataclasses.replace(centered, difference=column)

    def subtract(self, column: NumericColumn, numbers: Numbers) -> Array:
        """Return the difference in each row, in the unit of column y."""
        base, is_known = self._base(column, numbers)
        difference: Array = numbers[self.target] / days(column) - base
        if column.digits is not None:
            difference = np.round(difference, column.digits)
        if self.is_order:
            return difference
        size = resolution(column)
        violation = np.where(np.abs(difference) < size / 2, 0.0, difference)
        violation = violation.clip(-_MAX_VIOLATION * size, _MAX_VIOLATION * size)
        return np.where(is_known, violation, difference)

    def add(self, column: NumericColumn, numbers: Numbers, difference: Array) -> pd.Series[Any]:
        """Return the cells of column y, given the difference in each row."""
        base, is_known = self._base(column, numbers)
        y = base + difference
        if self.is_order:
            largest = max([*column.values, *column.frequent])
            exact = np.maximum(base, np.minimum(y, largest))
        else:
            exact = base + 0 * difference  # missing where y is missing
        return column.from_float(np.where(is_known, exact, y))

    def is_violated(self, column: NumericColumn, numbers: Numbers) -> Array:
        """Return whether each row violates the relation; false where a cell is missing."""
        difference = np.nan_to_num(self.subtract(column, numbers))
        is_wrong = difference < 0 if self.is_order else difference != 0
        return np.asarray(is_wrong & ~np.isnan(self.predict(numbers)))

    def solve(self, name: str, columns: Mapping[str, NumericColumn], numbers: Numbers) -> Array:
        """Solve an equation for a column.

        Returns:
            The numbers in column ``name``, NaN where the other columns do not determine them.
        """
        x, slope = self._invert(name, numbers)
        column, y = columns[name], columns[self.target]
        cells = column.from_float(np.where(np.isfinite(x), x, np.nan) / days(column))
        x = to_numbers(column, cells)
        precision = max(resolution(column), _MAX_ERROR * column.scale) * days(column)
        is_exact = slope * precision > 0.999 * resolution(y) * days(y)
        is_exact &= ~self.is_violated(y, {**numbers, name: x})
        return np.where(is_exact, x, np.nan)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable description of the relation."""
        difference = None if self.difference is None else self.difference.to_json()
        return dataclasses.asdict(self) | {"difference": difference}

    def __str__(self) -> str:
        names = [truncate(name) for name in self.members]
        if self.is_order:
            return f"{truncate(self.target)} >= {names[0]}"
        if self.exponents:
            signs = [" / " if e < 0 else " * " for e in self.exponents]
            product = "".join(s + n for s, n in zip(signs, names, strict=True))
            terms = [_term(self.coefficients[0], product.removeprefix(" * "))]
        else:
            terms = [_term(c, name) for c, name in zip(self.coefficients, names, strict=True)]
        if abs(self.intercept) > 1e-4:  # a smaller intercept only sets the direction of rounding
            sign = "-" if self.intercept < 0 else "+"
            terms.append(f"{sign} {abs(self.intercept):.6g}")
        return f"{truncate(self.target)} = " + " ".join(terms).removeprefix("+ ")

    def _base(self, column: NumericColumn, numbers: Numbers) -> tuple[Array, Array]:
        """Return the rounded right-hand side, or `center` if unknown, and whether it is known."""
        exact = self.predict(numbers) / days(column)
        is_known = ~np.isnan(exact)
        exact = np.where(is_known, exact, np.nan if self.center is None else self.center)
        base = column.round(exact)
        if self.is_order:  # round up, so that no decoded y is less than x
            size = resolution(column)
            slack = 1e-3 * size if _is_date(column) else 0.0
            base = np.where(base < exact - slack, column.round(exact + size), base)
        return base, is_known

    def _invert(self, name: str, numbers: Numbers) -> tuple[Array, Array]:
        """Return the solution for a column, and the absolute derivative of y with respect to it."""
        if name == self.target:
            return self.predict(numbers), np.array(1.0)
        k, y = self.members.index(name), numbers[self.target]
        if not self.exponents:
            c = self.coefficients[k]
            rest = self.predict({**numbers, name: np.zeros_like(y)})
            return (y - rest) / c, np.array(abs(c))
        rest = self.predict({**numbers, name: np.ones_like(y)})
        with np.errstate(all="ignore"):
            x = (y / rest) ** (1.0 / self.exponents[k])
            return x, np.abs(y / x)


# The numbers in columns


def numeric_columns(columns: Sequence[Column]) -> dict[str, NumericColumn]:
    """Return the columns of numbers and dates by name, including categories that are numbers."""
    views = {column.name: _numeric_view(column) for column in columns}
    return {name: view for name, view in views.items() if view is not None}


def to_numbers(column: NumericColumn, cells: pd.Series[Any]) -> Array:
    """Convert cells to float64, with dates in days; NaN where missing."""
    return column.to_float(cells) * days(column)


def days(column: NumericColumn) -> float:
    """Return the number of days in the unit of a column of dates, or 1 for numbers."""
    return column.unit / _DAY if _is_date(column) else 1.0


def resolution(column: NumericColumn) -> float:
    """Return the smallest possible difference between numbers, in the unit of the column."""
    if column.digits is not None:
        return column.step or 10.0**-column.digits
    return _FLOAT_RESOLUTION * float(np.abs([*column.values, *column.frequent]).max())


# The cells of a table


def to_differences(
    frame: pd.DataFrame, relations: Sequence[Relation], columns: Mapping[str, NumericColumn]
) -> dict[str, pd.Series[Any]]:
    """Return the difference in each row, by the name of column y."""
    import pandas as pd

    numbers = _all_numbers(frame, relations, columns)
    return {
        r.target: pd.Series(r.subtract(columns[r.target], numbers))
        for r in relations
        if r.difference is not None
    }


def from_differences(
    cells: Mapping[str, pd.Series[Any]],
    relations: Sequence[Relation],
    columns: Mapping[str, NumericColumn],
    observed: pd.DataFrame | None = None,
) -> dict[str, pd.Series[Any]]:
    """Return the cells of all columns, given the differences.

    Arguments:
        cells: The cells of each column, with differences in place of each y.
        relations: The relations, in an order in which no y precedes its x.
        columns: The numeric columns.
        observed: Observed cells, which replace the decoded ones; missing cells replace nothing.
    """
    targets = {r.target for r in relations}
    decoded = {name: c if name in targets else _update(c, observed) for name, c in cells.items()}
    for relation in relations:
        column = columns[relation.target]
        names = relation.members
        numbers = {name: to_numbers(columns[name], decoded[name]) for name in names}
        difference = cells[relation.target]
        if relation.difference is None:
            y = {relation.target: to_numbers(column, difference)}
            v = relation.subtract(column, numbers | y)
        else:
            v = difference.to_numpy(np.float64)
        decoded[relation.target] = _update(relation.add(column, numbers, v), observed)
    return decoded


def determine(
    frame: pd.DataFrame, relations: Sequence[Relation], columns: Mapping[str, NumericColumn]
) -> pd.DataFrame:
    """Compute the missing cells that follow exactly from equations and observed cells."""
    frame = frame.copy(deep=False)
    numbers = _all_numbers(frame, relations, columns)
    equations = [relation for relation in relations if not relation.is_order]
    for relation in (*equations, *reversed(equations)):  # one cell may determine the next
        names = (relation.target, *relation.members)
        is_missing = np.stack([np.isnan(numbers[name]) for name in names], 1)
        for name, rows in zip(
            names, (is_missing & (is_missing.sum(1) == 1)[:, None]).T, strict=True
        ):
            if rows.any():
                x = np.where(rows, relation.solve(name, columns, numbers), numbers[name])
                numbers[name] = x
                cells = columns[name].from_float(x / days(columns[name]))
                frame[name] = _fill(frame[name].astype(columns[name].dtype), cells)
    return frame


def violations(
    frame: pd.DataFrame, relations: Sequence[Relation], columns: Mapping[str, NumericColumn]
) -> list[Array]:
    """Return, for each relation, whether each row violates it; false where a cell is missing."""
    numbers = _all_numbers(frame, relations, columns)
    return [relation.is_violated(columns[relation.target], numbers) for relation in relations]


def describe(relations: Sequence[Relation]) -> list[str]:
    """Return a sentence about the equations, and one about the inequalities."""
    sentences = []
    for is_order in (False, True):
        texts = [str(relation) for relation in relations if relation.is_order == is_order]
        if texts:
            more = f", and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
            verb, be = ("holds", "is") if len(texts) == 1 else ("hold", "are")
            listed = ", ".join(texts[:_LISTED])
            sentences.append(
                f"{listed}{more} {verb} in all training rows and {be} satisfied by decoded rows."
            )
    return sentences


def _numeric_view(column: Column) -> NumericColumn | None:
    import pandas as pd

    if isinstance(column, NumericColumn):
        return column if max(map(abs, (*column.values, *column.frequent))) < _LARGEST else None
    if not isinstance(column, CategoricalColumn) or column.dtype not in ("Int64", "float64"):
        return None
    levels = np.sort(np.array([*column.levels, *column.rare], float))
    if np.abs(levels).max() >= _LARGEST:
        return None
    return NumericColumn(
        column.name,
        column.dtype,
        column.kind,
        values=tuple(levels.tolist()),
        scores=tuple(levels.tolist()),
        scale=float(levels.std()) or 1.0,
        digits=0 if column.dtype == "Int64" else infer_digits(pd.Series(levels)),
    )


def _is_date(column: NumericColumn) -> bool:
    return column.dtype.startswith("datetime64")


def _fit_difference(column: NumericColumn, difference: Array) -> NumericColumn:
    import pandas as pd

    cells = pd.Series(difference, name=column.name)
    if np.nan_to_num(difference).any():
        return NumericColumn.fit(cells, column.kind, column.digits)
    return NumericColumn(
        column.name,
        "float64",
        column.kind,
        has_missing=bool(cells.isna().any()),
        scale=resolution(column),
        frequent=(0.0,),
        digits=column.digits,
    )


def _all_numbers(
    frame: pd.DataFrame, relations: Sequence[Relation], columns: Mapping[str, NumericColumn]
) -> dict[str, Array]:
    names = {name for r in relations for name in (r.target, *r.members)}
    return {name: to_numbers(columns[name], frame[name]) for name in names}


def _update(cells: pd.Series[Any], observed: pd.DataFrame | None) -> pd.Series[Any]:
    """Replace cells by observed cells."""
    if observed is None:
        return cells
    return _fill(observed[str(cells.name)].astype(cells.dtype).set_axis(cells.index), cells)


def _fill(observed: pd.Series[Any], cells: pd.Series[Any]) -> pd.Series[Any]:
    """Fill missing cells with other cells, matched by position."""
    return observed.where(observed.notna(), cells.set_axis(observed.index))


def _term(coefficient: float, text: str) -> str:
    """Return a signed term, with the coefficient as a fraction if it is a simple one."""
    fraction = Fraction(abs(coefficient)).limit_denominator(86400)
    is_simple = abs(float(fraction) - abs(coefficient)) < 1e-12 and fraction.numerator < 1000
    is_decimal = float(f"{abs(coefficient):.4g}") == abs(coefficient)
    factor = f"{abs(coefficient):.6g}" if is_decimal or not is_simple else str(fraction)
    return ("- " if coefficient < 0 else "+ ") + (text if factor == "1" else f"{factor} {text}")
