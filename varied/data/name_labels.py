"""Labels in the names of files, such as ``7_jackson_3.wav``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from varied.data.labels import Labels, parse_covariates
from varied.errors import VariedError

#: The names of fields that are not labels.
_IGNORED = ("", "index")
#: The character between the fields of a name.
_SEPARATOR = "_"
#: The minimum mean number of files with the same value of an inferred label.
_MIN_FILES_PER_VALUE = 5


def is_pattern(labels: Any) -> bool:
    """Return whether an argument ``labels`` is a pattern such as ``"{digit}_{speaker}_{index}"``.

    Example:
        >>> is_pattern("{digit}_{speaker}_{index}.wav"), is_pattern("digit")
        (True, False)
    """
    return isinstance(labels, str) and "{" in labels


def match_labels(pattern: str, names: Sequence[str]) -> dict[str, Labels]:
    """Return the labels that a pattern extracts from file names.

    Arguments:
        pattern: A file name whose labels are replaced by names in braces. ``{}`` and ``{index}``
            match text that is not a label. The extension and the folder may be omitted.
        names: The paths of the files.

    Raises:
        VariedError: If the pattern is not valid, or does not match a file name.

    Example:
        >>> match_labels("{word}_{index}", ["yes_0.wav", "no_0.wav", "yes_1.wav"])
        {'word': (array([1, 0, 1]), ('no', 'yes'))}
    """
    fields = re.findall(r"\{(.*?)\}", pattern)
    labels = [field for field in fields if field not in _IGNORED]
    if not labels or len(set(labels)) < len(labels):
        raise VariedError(
            f"The pattern '{pattern}' must contain one or more different labels in braces, as in "
            "'{digit}_{speaker}_{index}.wav'."
        )
    text = [re.escape(part) for part in re.split(r"\{.*?\}", pattern)]
    regex = re.compile("(.+?)".join(text))
    rows = [regex.fullmatch(_part_of(name, pattern)) for name in names]
    if None in rows:
        raise VariedError(
            f"The pattern '{pattern}' does not match {rows.count(None):,} of {len(rows):,} file "
            f"names, such as {names[rows.index(None)]}; correct it, or rename the files."
        )
    values = zip(*(row.groups() for row in rows if row), strict=True)
    columns = dict(zip(fields, map(list, values), strict=True))
    return parse_covariates({name: columns[name] for name in labels}, len(names))


def infer_pattern(names: Sequence[str]) -> str:
    """Return a pattern that matches all file names, or "" if they contain no labels.

    The fields of a name are separated by underscores. A field is a label if it has several values,
    each of which occurs in at least five files on average. If no field has too many values for a
    label, the integer field with the most values is assumed to number the files, and is not a
    label. Names with different numbers of fields contain no labels.

    Example:
        >>> infer_pattern([f"{d}_{s}_{i}.wav" for d in "12" for s in "ab" for i in range(9)])
        '{field1}_{field2}_{index}'
    """
    rows = [PurePosixPath(name).stem.split(_SEPARATOR) for name in names]
    if len({len(row) for row in rows}) != 1:
        return ""
    counts = [len(set(column)) for column in zip(*rows, strict=True)]
    is_label = [1 < n <= len(rows) / _MIN_FILES_PER_VALUE for n in counts]
    numbered = [
        i for i, column in enumerate(zip(*rows, strict=True)) if "".join(column).isdecimal()
    ]
    if max(counts) <= len(rows) / _MIN_FILES_PER_VALUE and numbered:
        is_label[max(numbered, key=counts.__getitem__)] = False
    if not any(is_label):
        return ""
    fields = [f"field{i}" if label else "index" for i, label in enumerate(is_label, 1)]
    return _SEPARATOR.join(f"{{{field}}}" for field in fields)


def _part_of(name: str, pattern: str) -> str:
    """Return the part of a path that is compared with a pattern.

    It has as many folders as the pattern, and an extension only if the pattern has one.
    """
    path = PurePosixPath(name)
    if not PurePosixPath(pattern).suffix:
        path = path.with_suffix("")
    return "/".join(path.parts[-len(PurePosixPath(pattern).parts) :])
