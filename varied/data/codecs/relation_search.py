"""Detection of relations between the numeric columns of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np

from varied.data.codecs.columns import Column, NumericColumn
from varied.data.codecs.relations import (
    MIN_UNKNOWN,
    Array,
    Relation,
    days,
    numeric_columns,
    resolution,
    to_numbers,
)

if TYPE_CHECKING:
    import pandas as pd

#: The maximum number of rows in the search for sums, and in the search for products and
#: inequalities. Each relation is then checked in all rows.
_SUM_ROWS, _FEW_ROWS = 2000, 200
#: An equation requires the first number of rows, plus the second number for each coefficient.
_MIN_ROWS, _ROWS_PER_COEFFICIENT = 20, 5
#: The maximum number of columns that are tried as the y of a sum.
_MAX_TARGETS = 3
#: Products are searched in tables with at most this number of numeric columns.
_MAX_PRODUCT_COLUMNS = 30
#: The minimum number of rows for an inequality, and the maximum probability that it holds in
#: independent columns.
_MIN_ORDER_ROWS, _MAX_COINCIDENCE = 100, 1e-6
#: The maximum denominators of the fractions to which coefficients are rounded; the first that fits
#: is used.
_DENOMINATORS = (1, 10, 100, 1000, 10_000, 86_400)
#: Shifts of the intercept, as fractions of the resolution of y, so that ties are rounded to even,
#: up or down.
_NUDGES = (0.0, 1e-6, -1e-6)
#: The ridge of the correlation matrix, which limits the accuracy of residual variances.
_RIDGE = 1e-10
#: Columns with a smaller residual variance are collinear, up to rounding errors of float64.
_COLLINEAR = 1e-7
#: The smallest standard deviation of a column, since the square of 1e-200 is 0.
_MIN_STD = 1e-100
#: The smallest coefficient of a sum of standardized columns.
_MIN_WEIGHT = 1e-6


def detect_relations(
    frame: pd.DataFrame, columns: Sequence[Column], *, fixed: Collection[str] = ()
) -> tuple[Relation, ...]:
    """Return the relations that hold in all training rows.

    They are sorted so that no y precedes its x, and each column is the y of at most one relation;
    see `Relation` for y and x.

    Arguments:
        frame: The training rows.
        columns: The columns of the table.
        fixed: The names of columns that must not become a y.
    """
    numeric = numeric_columns(columns)
    search = _Search(
        numeric, {name: to_numbers(column, frame[name]) for name, column in numeric.items()}, fixed
    )
    if len(numeric) > 1:
        search.add_sums()
        search.add_products()
        search.add_inequalities([c for c in columns if isinstance(c, NumericColumn)])
    return search.sorted_relations()


class _Search:
    """A search for relations.

    Arguments:
        columns: The numeric columns.
        numbers: The numbers in each column.
        fixed: The names of columns that must not become a y.
    """

    def __init__(
        self,
        columns: Mapping[str, NumericColumn],
        numbers: Mapping[str, Array],
        fixed: Collection[str],
    ) -> None:
        self.columns, self.numbers, self.fixed = columns, numbers, set(fixed)
        self.relations: dict[str, Relation] = {}
        self.resolutions = {name: resolution(c) * days(c) for name, c in columns.items()}

    def sorted_relations(self) -> tuple[Relation, ...]:
        """Return the relations in an order in which no y precedes its x."""
        graph = {name: relation.members for name, relation in self.relations.items()}
        order = TopologicalSorter(graph).static_order()
        return tuple(
            self.relations[name].fit(self.columns[name], self.numbers)
            for name in order
            if name in self.relations
        )

    # Sums

    def add_sums(self) -> None:
        """Add linear relations.

        A column is independent if its residual variance, given all other columns, exceeds the
        square of its maximum rounding error. Each of the other columns is regressed on a growing
        set of independent columns.
        """
        names, x = self._complete_rows()
        if len(names) < 2:
            return
        correlation = np.corrcoef(x.T) + _RIDGE * np.eye(len(names))
        tolerance = np.array([self.resolutions[name] / 2 for name in names]) / x.std(0)
        bound = tolerance**2 * 1.01 + 1e-7
        candidates = np.flatnonzero(1 / np.linalg.inv(correlation).diagonal() <= bound)
        independent = np.setdiff1d(np.arange(len(names)), candidates).tolist()
        for j in candidates.tolist():
            r = correlation[independent, j]
            c = np.linalg.solve(correlation[np.ix_(independent, independent)], r)
            residual, target = 1 - c @ r, None
            if residual <= bound[j]:
                weights = dict(zip([names[k] for k in independent], np.abs(c), strict=True))
                target = self._add_sum(names[j], weights, tolerance[j])
            if target is not None:
                independent = [k for k in (*independent, j) if names[k] != target]
            elif residual > _COLLINEAR:
                independent.append(j)

    def _complete_rows(self) -> tuple[list[str], Array]:
        """Return the names of columns that are observed together in enough rows, and these rows."""
        x = np.stack(list(self.numbers.values()), 1)
        missing = np.isnan(x)
        order = np.argsort(missing.sum(0), kind="stable")
        n_complete = len(x) - np.logical_or.accumulate(missing[:, order], 1).sum(0)
        enough = np.flatnonzero(n_complete >= np.arange(len(order)) + 1 + _MIN_ROWS)
        used = np.sort(order[: enough[-1] + 1]) if len(enough) else order[:0]
        complete = _sample(x[:, used][~missing[:, used].any(1)], _SUM_ROWS)
        varying = complete.std(0) > _MIN_STD if len(complete) else np.zeros(len(used), bool)
        names = list(self.numbers)
        return [names[j] for j in used[varying]], complete[:, varying]

    def _add_sum(self, name: str, weights: Mapping[str, float], tolerance: float) -> str | None:
        """Add a relation between a column and others, and return its y, or None if there is none.

        Arguments:
            name: The name of the column.
            weights: The absolute coefficients of the other columns, for standardized columns.
            tolerance: The rounding error of the column, in standard deviations.
        """
        for threshold in (tolerance, tolerance / 10, tolerance / 100):
            terms = {k: w for k, w in weights.items() if w > max(threshold, _MIN_WEIGHT)}
            members = {name: 1.0, **terms}
            possible = members.keys() - self.fixed - self.relations.keys()
            # The y with the largest coefficient has the smallest errors; on ties, prefer `name`.
            order = sorted(members, key=lambda k: -round(members[k], 2))
            for target in [k for k in order if k in possible][:_MAX_TARGETS]:
                if self._add(target, [k for k in self.numbers if k in members and k != target]):
                    return target
        return None

    # Products

    def add_products(self) -> None:
        """Add products and ratios of two columns."""
        names = [
            name
            for name, column in self.columns.items()
            if name not in self.relations and not column.dtype.startswith("datetime64")
        ]
        if not 3 <= len(names) <= _MAX_PRODUCT_COLUMNS:
            return
        x = np.stack([self.numbers[name] for name in names], 1)
        x = _sample(x[~np.isnan(x).any(1)], _FEW_ROWS)
        if len(x) < _MIN_ROWS:
            return
        columns = range(len(names))
        forms = [(*pair, 1) for pair in combinations(columns, 2)]
        forms += [(*pair, -1) for pair in permutations(columns, 2)]
        left, right, exponent = np.array(forms).T
        with np.errstate(all="ignore"):  # a ratio with a zero denominator fits no column
            p = x[:, left] * x[:, right] ** exponent.astype(float)
            p /= np.sqrt((p**2).mean(0))
            c = x.T @ p / len(x)
            size = np.array([self.resolutions[name] for name in names])
            fits = [(np.abs(x[:, [t]] - c[t] * p) <= size[t]).all(0) for t in columns]
        for form, t in np.argwhere(np.array(fits).T).tolist():
            i, j, e = forms[form]
            if t not in (i, j) and not {names[i], names[j]} & self.relations.keys():
                self._add(names[t], [names[i], names[j]], (1, e))

    # Inequalities

    def add_inequalities(self, targets: Sequence[NumericColumn]) -> None:
        """Add inequalities between two columns of numbers, or of dates.

        Arguments:
            targets: The columns that may become a y.
        """
        names = list(self.numbers)
        sample = _sample(np.stack([self.numbers[name] for name in names], 1), _FEW_ROWS)
        for column in targets:
            if column.name not in names or column.name in (*self.relations, *self.fixed):
                continue
            y = sample[:, [names.index(column.name)]]
            possible = [names[j] for j in np.flatnonzero(~(y < sample).any(0))]
            scales = {x: self._order_scale(column.name, x) for x in possible if x != column.name}
            for x in sorted(scales, key=lambda name: scales[name]):
                relation = Relation(column.name, (x,), (1.0,), is_order=True)
                if np.isfinite(scales[x]) and not self._closes_cycle(relation):
                    self.relations[column.name] = relation
                    break

    def _order_scale(self, target: str, member: str) -> float:
        """Return the standard deviation of y - x, or infinity if y >= x is not a relation."""
        y, x = self.numbers[target], self.numbers[member]
        rows = ~np.isnan(y) & ~np.isnan(x)
        y, x = y[rows], x[rows]
        is_date = [self.columns[name].dtype.startswith("datetime64") for name in (target, member)]
        if is_date[0] != is_date[1] or len(y) < _MIN_ORDER_ROWS:
            return np.inf
        if not self._can_learn_unknown(target, [member]):
            return np.inf
        if (y < x).any() or x.max() <= y.min() or (y - x).std() >= y.std():
            return np.inf
        # The probability that a random x is greater than a random y.
        f = 1 - np.searchsorted(np.sort(x), y, "right").mean() / len(x)
        is_coincidence = len(y) * np.log1p(-f) > np.log(_MAX_COINCIDENCE)
        return np.inf if is_coincidence else float((y - x).std())

    def _closes_cycle(self, relation: Relation) -> bool:
        graph = {name: r.members for name, r in self.relations.items()}
        try:
            TopologicalSorter({**graph, relation.target: relation.members}).prepare()
        except CycleError:
            return True
        return False

    # Equations

    def _add(self, target: str, members: Sequence[str], exponents: tuple[int, ...] = ()) -> bool:
        """Add an equation if it holds in all rows, and return whether it does."""
        if target in self.relations or target in self.fixed or not members:
            return False
        column, y = self.columns[target], self.numbers[target]
        x = np.stack([self.numbers[name] for name in members], 1)
        if exponents:
            with np.errstate(all="ignore"):
                x = (x ** np.array(exponents, float)).prod(1, keepdims=True)
        rows = np.isfinite(y) & np.isfinite(x).all(1)
        if not self._can_learn_unknown(target, members):
            return False
        n_informative = rows.sum() - np.unique(y[rows], return_counts=True)[1].max(initial=0)
        if n_informative < _MIN_ROWS + _ROWS_PER_COEFFICIENT * (len(members) + 1):
            return False
        is_rounded = column.digits is not None
        y, x, size = (
            _sample(y[rows], _SUM_ROWS),
            _sample(x[rows], _SUM_ROWS),
            self.resolutions[target],
        )
        for c, b in _coefficients(y, x, size, is_rounded, has_intercept=not exponents):
            relation = Relation(target, tuple(members), tuple(c.tolist()), b, exponents)
            if not relation.is_violated(column, self.numbers).any():
                self.relations[target] = relation
                return True
        return False

    def _can_learn_unknown(self, target: str, members: Sequence[str]) -> bool:
        """Return whether y can be learned in the rows in which an x is missing.

        Otherwise, the model would lose the y of these rows.
        """
        is_missing = np.stack([np.isnan(self.numbers[name]) for name in members]).any(0)
        n_unknown = int((is_missing & ~np.isnan(self.numbers[target])).sum())
        return n_unknown == 0 or n_unknown >= MIN_UNKNOWN


def _sample(x: Array, n: int) -> Array:
    """Return at most ``n`` evenly spaced rows."""
    return x[np.linspace(0, len(x) - 1, n).astype(int)] if len(x) > n else x


def _coefficients(
    y: Array, x: Array, size: float, is_rounded: bool, has_intercept: bool
) -> Iterator[tuple[Array, float]]:
    """Yield coefficients and intercepts that reproduce y up to rounding errors, simplest first.

    Arguments:
        y: The numbers y, with shape (N).
        x: The numbers x, with shape (N, K).
        size: The resolution of y.
        is_rounded: Whether y is rounded to this resolution.
        has_intercept: Whether the intercept may differ from 0.
    """
    x_mean, y_mean = (x.mean(0), y.mean()) if has_intercept else (np.zeros(x.shape[1]), 0.0)
    exact = np.linalg.lstsq(x - x_mean, y - y_mean, rcond=None)[0]
    if np.ptp(y - x @ exact) > 4 * size:
        return
    half = size / 2 * (1 + 1e-6)
    for denominator in (*_DENOMINATORS, None):
        c = exact if denominator is None else _round_to_fractions(exact, denominator)
        residuals = y - x @ c
        # If y is not rounded, a fraction may be a mere approximation, so its tolerance is smaller.
        error = half if is_rounded or denominator is None else half / 1000
        low, high = residuals.max() - error, residuals.min() + error
        if low > high or not c.all() or not (has_intercept or low <= 0 <= high):
            continue
        middle = (low + high) / 2
        simplest = 0.0 if low <= 0 <= high else round(middle / size) * size
        b = simplest if low <= simplest <= high else middle
        for nudge in _NUDGES if is_rounded else (0.0,):
            yield c, b + nudge * size


def _round_to_fractions(c: Array, denominator: int) -> Array:
    return np.array([float(Fraction(v).limit_denominator(denominator)) for v in c.tolist()])
