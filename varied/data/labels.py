"""Conversion of labels to classes or numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from varied.errors import VariedError
from varied.seeding import permutation

Array = npt.NDArray[Any]
Labels = tuple[Array, tuple[str, ...]]

_MISSING = ("", "None", "nan", "NaN")


def parse_labels(labels: Any, n: int, classes: Sequence[str] | None = None) -> Labels:
    """Convert labels to indices into classes, or to numbers.

    Strings and booleans are classes. Integers are classes, unless the number of distinct values is
    greater than 50 and greater than half the number of rows. Floats, and numeric arrays with
    several columns, are numbers.

    Arguments:
        labels: A label for each row.
        n: The number of rows.
        classes: The names of the classes, if the labels are indices.

    Returns:
        Indices, int64 with shape ``(n)``, and the names of the classes; or numbers, float32 with
        shape ``(n)`` or ``(n, F)``, and an empty tuple.

    Raises:
        VariedError: If the number of labels is wrong, the labels are neither names nor numbers, or
            a label is infinite or not in ``classes``.

    Example:
        >>> parse_labels(["dog", "cat", None], 3)
        (array([ 1,  0, -1]), ('cat', 'dog'))
        >>> parse_labels([0.5, 1.5], 2)
        (array([0.5, 1.5], dtype=float32), ())
    """
    values = _as_array(labels)
    if values.ndim == 0:
        raise VariedError("The labels are a single value; pass one label for each row.")
    if len(values) != n:
        raise VariedError(
            f"The number of labels, {len(values):,}, differs from the number of rows, {n:,}; pass "
            "one label for each row."
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind in "OUS":
        return _from_names(values, classes)
    if values.dtype.kind not in "biuf":
        raise VariedError(
            f"Labels with the dtype {values.dtype} are not supported; use names or numbers."
        )
    if values.dtype.kind == "f" or values.ndim > 1:
        return _from_numbers(values)
    return _from_integers(values.astype(np.int64), classes)


def parse_covariates(
    columns: Mapping[str, Any], n: int, classes: Sequence[str] | None = None
) -> dict[str, Labels]:
    """Convert labels given by name; an array with several columns becomes several covariates.

    Arguments:
        columns: The labels of each row by name.
        n: The number of rows.
        classes: The names of the classes, if there is one label and it is an index.

    Raises:
        VariedError: If labels cannot be converted, or ``classes`` is passed for several labels.

    Example:
        >>> parse_covariates({"pet": ["dog", None], "age": [2.0, 0.5]}, 2)
        {'pet': (array([ 0, -1]), ('dog',)), 'age': (array([2. , 0.5], dtype=float32), ())}
    """
    if classes and len(columns) > 1:
        raise VariedError(
            "`classes` can be passed only with a single label; omit it, or pass one label."
        )
    covariates: dict[str, Labels] = {}
    for name, column in columns.items():
        labels, names = parse_labels(column, n, classes)
        if labels.ndim == 1:
            covariates[name] = labels, names
        else:
            covariates |= {f"{name} {i}": (y, ()) for i, y in enumerate(labels.T, 1)}
    return covariates


def parse_names(labels: Any, n: int, known: Collection[str]) -> tuple[str, ...]:
    """Return the names of the labels, or () if the labels themselves are given.

    Arguments:
        labels: A name, names separated by commas, a list of names, or a label for each row.
        n: The number of rows.
        known: The names of all columns or arrays, since a name may contain a comma.

    Example:
        >>> parse_names("batch,donor", 100, ["batch", "donor"]), parse_names(["a", "a"], 2, ["b"])
        (('batch', 'donor'), ())
    """
    if isinstance(labels, str):
        words = [labels] if labels in known else [word.strip() for word in labels.split(",")]
        return tuple(dict.fromkeys(words))
    is_list = isinstance(labels, list | tuple) and all(isinstance(v, str) for v in labels)
    return tuple(labels) if is_list and len(set(labels)) == len(labels) < n else ()


def join_labels(covariates: Mapping[str, Labels]) -> npt.NDArray[np.float64]:
    """Return the labels of K covariates as an array with shape ``(N, K)``, NaN if missing."""
    columns = [np.where(y < 0, np.nan, y) if names else y for y, names in covariates.values()]
    return np.stack(columns, 1).astype(np.float64)


def subsample_labels(labels: Array, n: int, seed: int) -> Array:
    """Hide all but n labels, for experiments with few labels.

    The remaining labels are balanced across the classes as far as possible.

    Arguments:
        labels: Indices into classes, -1 if missing, with shape ``(N)``.
        n: The number of labels to keep.
        seed: The random seed.

    Returns:
        The indices, -1 if hidden or missing.

    Raises:
        VariedError: If the labels are numbers, or there are more classes than labels to keep.

    Example:
        >>> subsample_labels(np.array([0, 1, 1, 0]), 2, seed=0)
        array([ 0,  1, -1, -1])
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise VariedError(
            "Only class labels can be hidden, but these labels are numeric; omit n_labels."
        )
    order = permutation(len(labels), seed, "labels").numpy()
    order = order[labels[order] >= 0]
    classes, counts = np.unique(labels[order], return_counts=True)
    if n < len(classes):
        raise VariedError(f"n_labels={n} must be at least the number of classes ({len(classes)}).")
    by_class = np.argsort(labels[order], kind="stable")
    rank = np.empty(len(order), np.int64)  # the rank of each row within its class
    rank[by_class] = np.concatenate([np.arange(count) for count in counts])
    rows = order[np.argsort(rank, kind="stable")[:n]]
    few = np.full_like(labels, -1)
    few[rows] = labels[rows]
    return few


def _as_array(labels: Any) -> Array:
    try:
        values = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    except ValueError as error:
        raise VariedError(
            "The label arrays have different lengths; pass one label for each row."
        ) from error
    # NumPy converts a list of names and numbers to strings.
    is_mixed = isinstance(labels, list | tuple) and values.dtype.kind in "US"
    return np.asarray(labels, dtype=object) if is_mixed else values


def _from_names(values: Array, classes: Sequence[str] | None) -> Labels:
    if values.ndim > 1:
        raise VariedError("A row has several class names; pass one label for each row.")
    words = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]
    names = tuple(classes) if classes else tuple(sorted({w for w in words if w not in _MISSING}))
    index = {name: i for i, name in enumerate(names)} | dict.fromkeys(_MISSING, -1)
    try:
        return np.array([index[word] for word in words], dtype=np.int64), names
    except KeyError as error:
        raise VariedError(
            f"The label {error.args[0]!r} is not one of the classes {', '.join(names[:10])}; add "
            "it to the classes, or omit the argument `classes`."
        ) from error


def _from_numbers(values: Array) -> Labels:
    with np.errstate(over="ignore"):
        numbers = values.reshape(len(values), -1).astype(np.float32)
    if np.isinf(numbers).any():
        row = int(np.argwhere(np.isinf(numbers))[0, 0])
        raise VariedError(f"The label of row {row} is infinite; correct it, or set it to NaN.")
    return (numbers[:, 0] if values.ndim == 1 else numbers), ()


def _from_integers(values: npt.NDArray[np.int64], classes: Sequence[str] | None) -> Labels:
    distinct = np.unique(values)
    if classes:
        if len(distinct) and not -1 <= distinct[0] <= distinct[-1] < len(classes):
            raise VariedError(
                f"The labels range from {distinct[0]} to {distinct[-1]}, but the number of class "
                f"names is {len(classes)}; pass a name for each class, starting with class 0."
            )
        return values, tuple(str(name) for name in classes)
    if len(distinct) > 50 and len(distinct) > len(values) / 2:
        return values.astype(np.float32), ()
    is_sign = distinct.tolist() == [-1, 1]  # two classes, where -1 does not mean missing
    known = distinct if is_sign else distinct[distinct != -1]
    indices = np.searchsorted(known, values) if len(known) else np.full(len(values), -1)
    if not is_sign:
        indices = np.where(values == -1, -1, indices)
    return indices.astype(np.int64), tuple(str(v) for v in known)


def class_folders(path: Path, classes: Sequence[str], noun: str) -> list[Path]:
    """Return a folder in ``path`` for each class; folder names contain only safe characters.

    Arguments:
        path: A folder that does not exist yet.
        classes: The names of the classes.
        noun: The plural noun for examples in messages.

    Raises:
        VariedError: If two classes would have the same folder, or ``path`` exists.
    """
    names = [re.sub(r"[^\w .+-]", "_", name).strip(". ") or "_" for name in classes]
    if len({name.lower() for name in names}) < len(names):
        raise VariedError(f"Some classes would have the same folder name; save the {noun} as .npz.")
    if path.exists():
        raise VariedError(f"{path} already exists; choose a new name.")
    return [path / name for name in names]
