"""Labels as people have them: names, numbers, booleans; made into classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.errors import VariedError
from varied.seeding import permutation

__all__ = ["parse_labels", "subsample_labels"]

Array = npt.NDArray[Any]
Labels = tuple[Array, tuple[str, ...]]

MISSING = ("", "None", "nan", "NaN")


def parse_labels(labels: Any, n: int, classes: Sequence[str] | None = None) -> Labels:
    """Return labels as indices into classes, or as numbers.

    Words and booleans are classes; integers are classes unless more than half of them differ;
    numbers with a point, and tables of numbers, stay numbers.

    Arguments:
        labels: One label for each row.
        n: The number of rows.
        classes: The names of the classes, if the labels are indices into them.

    Returns:
        int64 `(n,)` and the class names; or float32 `(n,)` or `(n, F)` and no names.

    Raises:
        VariedError: If there are too few labels, or they are neither names nor numbers.

    Example:
        >>> parse_labels(["dog", "cat", None], 3)
        (array([ 1,  0, -1]), ('cat', 'dog'))
        >>> parse_labels([0.5, 1.5], 2)
        (array([0.5, 1.5], dtype=float32), ())
    """
    values = _array(labels)
    if values.ndim == 0 or len(values) != n:
        count = f"{len(values):,}" if values.ndim else "one value"
        raise VariedError(f"There are {n:,} rows and {count} labels: give one label for each row.")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind in "OUS":
        return _words(values, classes)
    if values.dtype.kind not in "biuf":
        raise VariedError(f"Labels of type {values.dtype} are not read: give names or numbers.")
    if values.dtype.kind == "f" or values.ndim > 1:
        return _numbers(values)
    return _integers(values.astype(np.int64), classes)


def subsample_labels(labels: Array, n: int, seed: int) -> Array:
    """Return the labels of classes with all but so many hidden: what a few labels are worth.

    As many of each class are kept as of the others, as far as there are; which, the seed says.

    Arguments:
        labels: Indices into classes, -1 where missing, with shape `(N,)`.
        n: How many labels to keep.
        seed: Which choice.

    Returns:
        The indices, -1 where hidden or missing.

    Raises:
        VariedError: If the labels are numbers, or there would not be one of each class.

    Example:
        >>> subsample_labels(np.array([0, 1, 1, 0]), 2, seed=0)
        array([ 0,  1, -1, -1])
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise VariedError("Only labels that are classes can be hidden; these are numbers.")
    order = permutation(len(labels), seed, "labels").numpy()
    order = order[labels[order] >= 0]
    classes, counts = np.unique(labels[order], return_counts=True)
    if n < len(classes):
        raise VariedError(
            f"{n} labels are fewer than the {len(classes)} classes: keep one of each at least."
        )
    by_class = np.argsort(labels[order], kind="stable")
    turn = np.empty(len(order), np.int64)  # the how manieth of its class a row is
    turn[by_class] = np.concatenate([np.arange(count) for count in counts])
    kept = order[np.argsort(turn, kind="stable")[:n]]
    few = np.full_like(labels, -1)
    few[kept] = labels[kept]
    return few


def _array(labels: Any) -> Array:
    try:
        values = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    except ValueError as error:
        raise VariedError("The labels are ragged: give one label for each row.") from error
    mixed = isinstance(labels, list | tuple) and values.dtype.kind in "US"
    return np.asarray(labels, dtype=object) if mixed else values


def _words(values: Array, classes: Sequence[str] | None) -> Labels:
    if values.ndim > 1:
        raise VariedError("A row has several labels in words: give one label for each row.")
    words = [_word(v) for v in values]
    names = tuple(classes) if classes else tuple(sorted({w for w in words if w not in MISSING}))
    index = {name: i for i, name in enumerate(names)} | dict.fromkeys(MISSING, -1)
    try:
        return np.array([index[w] for w in words], dtype=np.int64), names
    except KeyError as error:
        raise VariedError(
            f"The label {error.args[0]!r} is none of the classes {', '.join(names[:10])}: "
            "add it to the classes, or leave the classes out."
        ) from error


def _word(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _numbers(values: Array) -> Labels:
    with np.errstate(over="ignore"):
        numbers = values.reshape(len(values), -1).astype(np.float32)
    if np.isinf(numbers).any():
        row = int(np.argwhere(np.isinf(numbers))[0, 0])
        raise VariedError(f"The label of row {row} is infinite: mend it, or make it NaN (missing).")
    return (numbers[:, 0] if values.ndim == 1 else numbers), ()


def _integers(values: npt.NDArray[np.int64], classes: Sequence[str] | None) -> Labels:
    seen = np.unique(values)
    signs = seen.tolist() == [-1, 1]  # two classes, and not "missing"
    if classes:
        if len(seen) and not -1 <= seen[0] <= seen[-1] < len(classes):
            raise VariedError(
                f"The labels go from {seen[0]} to {seen[-1]} and there are {len(classes)} classes: "
                "give a name for each, from 0 up."
            )
        return values, tuple(str(name) for name in classes)
    if len(seen) > 50 and len(seen) > len(values) / 2:
        return values.astype(np.float32), ()
    known = seen if signs else seen[seen != -1]
    indices = np.searchsorted(known, values) if len(known) else np.full(len(values), -1)
    if not signs:
        indices = np.where(values == -1, -1, indices)
    return indices.astype(np.int64), tuple(str(v) for v in known)
