"""Attributes of examples: their labels, the columns of a table, or additional labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data import Codec, RawData
from varied.data.labels import parse_labels
from varied.errors import VariedError, lookup

Array = npt.NDArray[Any]

#: The levels of a numeric attribute: up to the median, and above the median.
_HALVES = ("low", "high")
#: The maximum number of levels per attribute, and the minimum number of rows with and without a
#: level.
_MAX_LEVELS, _MIN_ROWS = 10, 10


@dataclass(frozen=True)
class Attribute:
    """An attribute with finitely many levels.

    Arguments:
        name: The name of the attribute.
        levels: The names of the levels; a numeric attribute has the levels "low" and "high", split
            at the median.
        index: The index of the level of each row, or -1 if it is unknown, with shape (N).
    """

    name: str
    levels: tuple[str, ...]
    index: Array

    def having(self, level: str) -> tuple[Tensor, Tensor]:
        """Return which rows have a level, and for which rows this is known.

        Returns:
            Two bool tensors with shape (N).
        """
        indices = {name: i for i, name in enumerate(self.levels)}
        index = lookup(indices, level, f"'{self.name}' level")
        return torch.from_numpy(self.index == index), torch.from_numpy(self.index >= 0)


def attributes(data: RawData, codec: Codec, more: Any = None) -> dict[str, Attribute]:
    """Return the attributes of examples by name.

    They are the columns of a table or the properties of molecules, and the labels.

    Arguments:
        data: The examples.
        codec: The codec of the run.
        more: Additional attributes: a table, or a mapping from attribute names to a label for each
            example.
    """
    values = codec.attributes(data)
    by_name = {
        name: Attribute(name, classes, labels) if classes else _halves(name, labels)
        for name, (labels, classes) in data.covariates.items()
    }
    if data.classes and not values:
        by_name = {"class": Attribute("class", data.classes, data.class_indices)}
    by_name |= {name: _from_values(name, column) for name, column in values.items()}
    further = {str(name): more[name] for name in (() if more is None else more)}
    return by_name | {name: _from_labels(name, labels) for name, labels in further.items()}


def numeric_attributes(data: RawData, codec: Codec, more: Any = None) -> dict[str, Array]:
    """Return the values of the numeric attributes of examples by name, NaN where unknown.

    The arguments are the same as for `attributes`.

    Returns:
        Arrays, float64 with shape (N).
    """
    labels = {name: y for name, (y, classes) in data.covariates.items() if not classes}
    further = {str(name): more[name] for name in (() if more is None else more)}
    parsed = {name: parse_labels(column, len(column)) for name, column in further.items()}
    values = (
        codec.attributes(data) | labels | {n: y for n, (y, levels) in parsed.items() if not levels}
    )
    return {
        name: np.asarray(column, np.float64)
        for name, column in values.items()
        if isinstance(column, np.ndarray)
    }


def select_numeric(
    data: RawData, codec: Codec, more: Any, name: str
) -> tuple[str, dict[str, Array]]:
    """Find a numeric attribute, ignoring case; return its name and all numeric attributes.

    Arguments:
        data: The examples.
        codec: The codec of the run.
        more: Additional attributes, as in `attributes`.
        name: The name that the user passed.

    Raises:
        VariedError: If there is no such attribute, or its values are not numbers.
    """
    numeric = numeric_attributes(data, codec, more)
    exact = next((other for other in numeric if other.lower() == name.lower()), name)
    if name in numeric or exact in numeric:
        return name if name in numeric else exact, numeric
    candidates = attributes(data, codec, more)
    if name in candidates:
        raise VariedError(
            f"'{name}' has levels ({_list(candidates[name].levels)}) instead of numbers; change "
            "it with `varied edit`."
        )
    if not numeric:
        raise VariedError(
            "The data have no numeric property; provide one in a table with one row per example "
            "(attributes=..., or --attributes FILE)."
        )
    lookup(numeric, name, "property")
    raise AssertionError("lookup raises an error for an unknown property")


def further_labels(n: int, more: Any, rows: Array) -> dict[str, list[Any]]:
    """Return additional labels of rows of a run's data.

    Arguments:
        n: The number of rows of the run's data.
        more: A table or a mapping with a label for each row of the run's data, or None.
        rows: The indices of the rows to return.

    Raises:
        VariedError: If the number of labels differs from the number of rows.
    """
    further: dict[str, list[Any]] = {}
    for name in () if more is None else more:
        values = list(more[name])
        if len(values) != n:
            raise VariedError(
                f"'{name}' has {len(values):,} labels, but the data of the run have {n:,} rows; "
                "one label per row is required."
            )
        further[str(name)] = [values[row] for row in rows]
    return further


def _from_values(name: str, values: Any) -> Attribute:
    return _halves(name, values) if isinstance(values, np.ndarray) else _from_labels(name, values)


def _from_labels(name: str, labels: Any) -> Attribute:
    indices, levels = parse_labels(labels, len(labels))
    return Attribute(name, levels, indices) if levels else _halves(name, indices)


def _halves(name: str, values: Array) -> Attribute:
    known = ~np.isnan(values)
    median = np.median(values[known]) if known.any() else 0.0
    return Attribute(name, _HALVES, np.where(known, values > median, -1).astype(np.int64))


def select(
    candidates: Mapping[str, Attribute], level: str | None, name: str | None
) -> tuple[Attribute, str]:
    """Return the attribute and the level that the user selected.

    Arguments:
        candidates: The attributes by name.
        level: A level, such as a class; None selects "high" for a numeric attribute.
        name: The name of the attribute; None selects the attribute that has the level.

    Raises:
        VariedError: If no attribute matches, or more than one.
    """
    if not candidates:
        raise VariedError(
            "The data have no labels; provide examples with and without the attribute "
            "(examples=(..., ...), or --positive and --negative)."
        )
    if name is not None:
        attribute = lookup(candidates, name, "attribute")
        if level is None and attribute.levels != _HALVES:
            raise VariedError(f"Choose a level of '{name}': {_list(attribute.levels)}.")
        return attribute, level or "high"
    if level is None:
        raise VariedError(
            "An attribute is required; choose a class or a column, or provide examples with and "
            "without the attribute."
        )
    having = [attribute for attribute in candidates.values() if level in attribute.levels]
    if len(having) > 1:
        names = _list([attribute.name for attribute in having])
        raise VariedError(f"Several attributes have a level '{level}'; choose one of {names}.")
    if having:
        return having[0], level
    if "class" in candidates and level.isdecimal():
        attribute = candidates["class"]
        return attribute, dict(enumerate(attribute.levels)).get(int(level), level)
    if len(candidates) == 1:
        levels = next(iter(candidates.values())).levels
        lookup(dict.fromkeys(levels), level, "class")
    pairs = {f"{a.name}: {b}": (a, b) for a in candidates.values() for b in a.levels}
    return lookup(pairs, level, "level")


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:10])


def frequent_levels(
    candidates: Mapping[str, Attribute],
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the result of `Attribute.having` for frequent levels, by "attribute: level".

    A level is frequent if at least 10 rows have it, at least 10 rows have another level, and it is
    among the 10 most frequent levels of the attribute. For an attribute with two levels, only the
    rarer level is returned ("high" for a numeric attribute), since the other one is its complement.
    """
    levels = {}
    for attribute in candidates.values():
        index = attribute.index
        counts = np.bincount(index[index >= 0], minlength=len(attribute.levels))
        order = np.argsort(-counts, kind="stable")[:_MAX_LEVELS]
        if len(attribute.levels) == 2:
            order = np.array([1]) if attribute.levels == _HALVES else order[1:]
        for i in order:
            if min(counts[i], counts.sum() - counts[i]) >= _MIN_ROWS:
                level = attribute.levels[i]
                levels[f"{attribute.name}: {level}"] = attribute.having(level)
    return levels
