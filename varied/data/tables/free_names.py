"""Names for columns that are added to the user's columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping


def free_names(names: Iterable[str], used: Collection[str]) -> dict[str, str]:
    """Return an unused name for each added column: the name itself, or the name with a number.

    Arguments:
        names: The names of the added columns.
        used: The names of the user's columns.

    Example:
        >>> free_names(["row", "score"], ["age", "score"])
        {'row': 'row', 'score': 'score_1'}
    """
    names = list(names)
    reserved, free = {*names, *used}, {}
    for name in names:
        candidates = (f"{name}_{i}" for i in itertools.count(1))
        free[name] = next(c for c in candidates if c not in reserved) if name in used else name
        reserved.add(free[name])
    return free


def describe_renaming(free: Mapping[str, str]) -> list[str]:
    """Return a note about the added columns that were renamed; empty if there are none.

    Example:
        >>> describe_renaming({"row": "row", "score": "score_1"})
        ["The table has a column 'score', so the added column is named 'score_1'."]
    """
    renamed = {name: new for name, new in free.items() if name != new}
    if not renamed:
        return []
    names, new = (", ".join(map(repr, each)) for each in (renamed, renamed.values()))
    is_single = len(renamed) == 1
    columns = (
        f"a column {names}, so the added column is"
        if is_single
        else (f"columns {names}, so the added columns are")
    )
    return [f"The table has {columns} named {new}."]
