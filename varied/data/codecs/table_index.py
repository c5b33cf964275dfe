"""The index of a table of results, whose levels are the axes of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from varied.data.codecs.base import Axes
from varied.data.tables.free_names import free_names

if TYPE_CHECKING:
    import pandas as pd


def index_by_axes(examples: Any, shape: Sequence[int], axes: Axes) -> Any:
    """Return rows with an index whose levels are the axes; numbered axes come first."""
    import pandas as pd

    if not axes:
        return examples
    levels = [
        range(1, n + 1) if entries is None else entries
        for n, entries in zip(shape, axes.values(), strict=True)
    ]
    frame = examples.set_axis(pd.MultiIndex.from_product(levels, names=list(axes)))
    numbered = [name for name, entries in axes.items() if entries is None]
    if not numbered or list(axes)[: len(numbered)] == numbered:
        return frame
    named = [name for name in axes if name not in numbered]
    frame = frame.reorder_levels(numbered + named)
    return frame.sort_index(level=numbered, sort_remaining=False, kind="stable")


def index_as_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Insert the index levels as the first columns, with unused names."""
    names = axis_names(frame)
    return frame.rename_axis(index=names).reset_index() if names else frame


def axis_names(frame: pd.DataFrame) -> dict[str, str]:
    """Return an unused column name for each named level of the index."""
    names = [str(name) for name in frame.index.names if name is not None]
    return free_names(names, list(frame.columns))
