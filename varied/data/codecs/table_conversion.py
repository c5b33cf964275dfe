"""The description of an encoded table row, for programs that use an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from varied.data.codecs.columns import LearnedColumn
from varied.data.codecs.relations import Relation
from varied.distributions import ColumnLayout

_TO_INPUT = (
    "Element `flag` of a row is 1 if the cell is observed; all elements of a missing cell are 0. "
    "Element `number` is the score of a number: the linear interpolation of `scores` at the "
    "positions `values`, extrapolated with the slope 1 / scale, or log(1 + v) for a count v. The "
    "elements from `levels[0]` up to, but not including, `levels[1]` are a one-hot vector of "
    "`levels`, followed by the rare levels, or of `frequent` values, followed by all others; the "
    "score of a frequent value is 0. A column with a relation contains the difference between the "
    "cell and the right-hand side of the relation."
)
_FROM_MEAN = (
    "A cell is observed if its flag is above 0.5, and its level is the most probable one. A number "
    "is a frequent value if that is the most probable level; otherwise it is the linear "
    "interpolation of `values` at the positions `scores`, rounded to `digits` decimals."
)


def describe_rows(
    columns: Sequence[LearnedColumn], layout: ColumnLayout, relations: Sequence[Relation]
) -> dict[str, Any]:
    """Return the elements and the parameters of each column of an encoded row.

    Arguments:
        columns: The columns of an encoded row.
        layout: The positions of the columns.
        relations: The relations between columns.

    Example:
        >>> from varied.data.codecs.columns import CategoricalColumn
        >>> column = CategoricalColumn("pet", "object", "category", levels=("cat", "dog"))
        >>> described = describe_rows([column], ColumnLayout.parse("c2"), ())["columns"][0]
        >>> described["flag"], described["number"], described["levels"]
        (0, None, [1, 3])
    """
    n_flags, n_numbers, _ = layout.block_sizes
    numbers = {j: n_flags + i for i, j in enumerate(layout.number_columns)}
    levels, start = dict[int, list[int]](), n_flags + n_numbers
    for j, n_levels in zip(layout.category_columns, layout.n_levels, strict=True):
        levels[j] = [start, start + n_levels]
        start += n_levels
    described = [
        {
            "name": column.name,
            "flag": i,
            "number": numbers.get(i),
            "levels": levels.get(i),
            "parameters": column.to_json(),
        }
        for i, column in enumerate(columns)
    ]
    return {
        "to_input": _TO_INPUT,
        "from_mean": _FROM_MEAN,
        "columns": described,
        "relations": [{"text": str(r), **r.to_json()} for r in relations],
    }
