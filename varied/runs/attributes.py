"""What is known of each row beside the row itself: labels, columns of a table, further tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data import RawData
from varied.data.codecs import Codec, TableCodec
from varied.data.codecs.columns import NumericColumn
from varied.data.labels import parse_labels
from varied.errors import VariedError, lookup

__all__ = ["Attribute", "attributes", "described", "found"]

Array = npt.NDArray[Any]

#: Levels of one attribute that are reported, and rows that each must have.
LEVELS, ROWS = 10, 10


@dataclass(frozen=True)
class Attribute:
    """Which level each row has.

    Arguments:
        name: What the attribute is called.
        levels: Its levels; numbers have "low" and "high", parted by their median.
        index: The level of each row, -1 where it is not known, with shape (N).
    """

    name: str
    levels: tuple[str, ...]
    index: Array

    def having(self, level: str) -> tuple[Tensor, Tensor]:
        """Return which rows have a level, and of which that is known, as bool with shape (N)."""
        wanted = lookup(
            {name: i for i, name in enumerate(self.levels)}, level, f"{self.name} called"
        )
        return torch.from_numpy(self.index == wanted), torch.from_numpy(self.index >= 0)


def attributes(items: RawData, codec: Codec, more: Any = None) -> dict[str, Attribute]:
    """Return all that is known of rows, by name: "class", or the columns of a table.

    Arguments:
        items: The rows.
        codec: What the run knows of its data.
        more: A table or a mapping from names to a label for each row, or None.
    """
    every = {}
    if isinstance(codec, TableCodec):
        for column in codec.learned:
            cells = items.x[column.name]
            if isinstance(column, NumericColumn):
                every[column.name] = _halved(column.name, column.to_float(cells))
            else:
                words = [str(cell) for cell in cells.astype(object).where(cells.notna(), "")]
                every[column.name] = _of(column.name, words)
    elif items.labels is not None:
        if items.classes:
            every["class"] = Attribute("class", tuple(items.classes), np.asarray(items.labels))
        else:
            columns = np.asarray(items.labels).reshape(len(items), -1).T
            names = (
                ["label"] if len(columns) == 1 else [f"label {i + 1}" for i in range(len(columns))]
            )
            every |= {n: _halved(n, v) for n, v in zip(names, columns, strict=True)}
    return every | {
        str(name): _of(str(name), more[name]) for name in (() if more is None else more)
    }


def _of(name: str, labels: Any) -> Attribute:
    values, levels = parse_labels(labels, len(labels))
    return Attribute(name, levels, values) if levels else _halved(name, values)


def _halved(name: str, values: Array) -> Attribute:
    known = ~np.isnan(values)
    middle = np.median(values[known]) if known.any() else 0.0
    return Attribute(name, ("low", "high"), np.where(known, values > middle, -1).astype(np.int64))


def found(
    every: Mapping[str, Attribute], level: str | None, name: str | None
) -> tuple[Attribute, str]:
    """Return the attribute and the level that a person asked for.

    Arguments:
        every: What is known of the rows.
        level: A level, such as a class; None takes "high" where the attribute has numbers.
        name: The attribute; None takes the one that has the level.

    Raises:
        VariedError: If there is none, or several.
    """
    if not every:
        raise VariedError("The rows of this run have no labels: give examples with and without.")
    if name is not None:
        one = lookup(every, name, "attribute")
        if level is None and one.levels != ("low", "high"):
            raise VariedError(
                f"'{name}' has several levels: say towards which of {_list(one.levels)}."
            )
        return one, level or "high"
    if level is None:
        raise VariedError(
            "Say which attribute: a class to go towards, a column, or examples with and without."
        )
    having = [one for one in every.values() if level in one.levels]
    if not having and "class" in every and level.isdecimal():
        return every["class"], dict(enumerate(every["class"].levels)).get(int(level), level)
    if len(having) > 1:
        names = _list([one.name for one in having])
        raise VariedError(f"Several attributes have a level '{level}': name one of {names}.")
    if not having:
        first = next(iter(every.values())) if len(every) == 1 else None
        known = (
            first.levels
            if first
            else tuple(f"{a.name}: {b}" for a in every.values() for b in a.levels)
        )
        lookup(dict.fromkeys(known), level, "class" if first else "level")
    return having[0], level


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:10])


def described(every: Mapping[str, Attribute]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each level that enough rows have: which have it, and of which that is known.

    Of two levels the rarer one is told, since the other is its mirror.
    """
    told = {}
    for one in every.values():
        counts = np.bincount(one.index[one.index >= 0], minlength=len(one.levels))
        order = np.argsort(-counts, kind="stable")[:LEVELS]
        if len(one.levels) == 2:
            order = order[1:] if one.levels != ("low", "high") else np.array([1])
        for level in order:
            if min(counts[level], counts.sum() - counts[level]) >= ROWS:
                told[f"{one.name}: {one.levels[level]}"] = one.having(one.levels[level])
    return told
