"""A dataset of PyTorch as items: of tensors, arrays or PIL pictures, with a label or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from varied.data.arrays import from_array, from_tensor
from varied.data.memory import check_memory
from varied.data.raw_data import RawData
from varied.errors import VariedError

__all__ = ["read_dataset"]

Array = npt.NDArray[Any]


def read_dataset(
    dataset: Dataset[Any], labels: Any = None, classes: Sequence[str] | None = None
) -> RawData:
    """Return the rows of a dataset.

    Each item is a tensor, an array or a PIL picture, or a tuple that begins with one and a label.
    A tensor of three axes is `(C, H, W)`.

    Arguments:
        dataset: The dataset; it must know its length.
        labels: A label for each row; those of the dataset if None.
        classes: The names of the classes; `dataset.classes` if None.

    Raises:
        VariedError: If it has no length or no rows, or a row is none of these.
    """
    if classes is None and all(isinstance(c, str) for c in getattr(dataset, "classes", [None])):
        classes = dataset.classes  # type: ignore[attr-defined]
    if isinstance(dataset, TensorDataset):
        given = dataset.tensors[1] if len(dataset.tensors) > 1 else None
        return from_tensor(dataset.tensors[0], given if labels is None else labels, classes)
    x, own, first = _rows(dataset, _length(dataset))
    labels = own if labels is None else labels
    return from_array(x, labels, classes, what="the dataset", channels_first=first)


def _length(dataset: Dataset[Any]) -> int:
    try:
        n = len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError) as error:
        raise VariedError(
            "The dataset has no length (it is a stream): give one with `__len__`, or an array."
        ) from error
    if n < 1:
        raise VariedError("The dataset is empty: give one with rows.")
    return n


def _rows(dataset: Dataset[Any], n: int) -> tuple[Array, list[Any] | None, bool]:
    """Fill one array; its shape and type are those of the first row."""
    start, label, first = _parts(dataset, 0)
    check_memory(n * start.nbytes, "The dataset", "give smaller rows, or fewer")
    x = np.empty((n, *start.shape), start.dtype)
    labels = [label] * n
    for i in range(n):
        row, labels[i], _ = _parts(dataset, i)
        if row.shape != start.shape:
            raise VariedError(
                f"Row {i} of the dataset has shape {row.shape} and row 0 has {start.shape}: "
                "resize them to one shape."
            )
        x[i] = row
    return x, None if label is None else labels, first


def _parts(dataset: Dataset[Any], i: int) -> tuple[Array, Any, bool]:
    item = dataset[i]
    values, label = (item[0], item[1] if len(item) > 1 else None) if _pair(item) else (item, None)
    if not isinstance(values, Tensor | np.ndarray | Image.Image):
        raise VariedError(
            f"Row {i} of the dataset is a {type(values).__name__}: give tensors, arrays or "
            "pictures (or tuples of one and a label)."
        )
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return values.numpy(), _label(label), True
    return np.asarray(values), _label(label), False


def _pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) > 0


def _label(label: Any) -> Any:
    array = label.detach().cpu().numpy() if isinstance(label, Tensor) else label
    return array.item() if isinstance(array, np.ndarray | np.generic) and array.ndim == 0 else array
