"""Merging of notes about the columns of a table, so that wide tables have few notes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from varied.data.tables.dialect import truncate

#: The number of columns that a note lists.
_LISTED = 5
#: The parts in which notes may differ and still be merged: quotes, parentheses and numbers.
_DETAILS = re.compile(r"'[^']*'|\([^)]*\)|[0-9][0-9,]*")


def merge_notes(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Merge notes that differ only in names, quotes, parentheses and numbers.

    Arguments:
        notes: Pairs of a column name and a sentence about the column.

    Example:
        >>> merge_notes([("a", "a: a date."), ("b", "b: text."), ("c", "c: a date.")])
        ["a: a date; the same applies to 'c'.", 'b: text.']
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, note in notes:
        sort = _DETAILS.sub("", note.replace(truncate(name), "", 1))
        groups.setdefault(sort, []).append((name, note))
    return [_merge(group) for group in groups.values()]


def list_names(names: list[str]) -> str:
    """Return the first few names, in quotes, for a message."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(f"'{truncate(name)}'" for name in names[:_LISTED]) + more


def _merge(group: list[tuple[str, str]]) -> str:
    (_, note), *others = group
    if not others:
        return note
    names = list(dict.fromkeys(name for name, _ in others))
    return f"{note.removesuffix('.')}; the same applies to {list_names(names)}."
