"""PyTorch datasets as data."""

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

Array = npt.NDArray[Any]


def read_dataset(
    dataset: Dataset[Any], labels: Any = None, classes: Sequence[str] | None = None
) -> RawData:
    """Return the rows of a dataset.

    Each element is a tensor, an array or a PIL image, or a tuple that starts with one and its
    label. A tensor with three axes is ``(C, H, W)``.

    Arguments:
        dataset: The dataset, with a length.
        labels: A label for each row; None takes those of the dataset.
        classes: The names of the classes; None takes ``dataset.classes``.

    Raises:
        VariedError: If the dataset has no length or no rows, or an element is none of these.
    """
    names = getattr(dataset, "classes", None)
    if classes is None and isinstance(names, list | tuple):
        classes = names if all(isinstance(name, str) for name in names) else None
    if isinstance(dataset, TensorDataset):
        own = dataset.tensors[1] if len(dataset.tensors) > 1 else None
        return from_tensor(dataset.tensors[0], own if labels is None else labels, classes)
    x, own_labels, channels_first = _read_rows(dataset, _length(dataset))
    labels = own_labels if labels is None else labels
    return from_array(x, labels, classes, what="the dataset", channels_first=channels_first)


def _length(dataset: Dataset[Any]) -> int:
    try:
        n = len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError) as error:
        raise VariedError(
            "The dataset has no length: give one with `__len__`, or an array."
        ) from error
    if n < 1:
        raise VariedError("The dataset is empty: give one with rows.")
    return n


def _read_rows(dataset: Dataset[Any], n: int) -> tuple[Array, list[Any] | None, bool]:
    """Return the rows, the labels, and whether the channels are first, as in the first row."""
    first, label, channels_first = _read_row(dataset, 0)
    check_memory(n * first.nbytes, "The dataset", "give smaller rows, or fewer")
    x = np.empty((n, *first.shape), first.dtype)
    labels = [label] * n
    for i in range(n):
        row, labels[i], _ = _read_row(dataset, i)
        if row.shape != first.shape:
            raise VariedError(
                f"Row {i} of the dataset has shape {row.shape} and row 0 has {first.shape}: resize "
                "them to one shape."
            )
        x[i] = row
    return x, None if label is None else labels, channels_first


def _read_row(dataset: Dataset[Any], i: int) -> tuple[Array, Any, bool]:
    element, label = dataset[i], None
    if isinstance(element, tuple | list) and len(element) > 0:
        element, label = element[0], element[1] if len(element) > 1 else None
    if isinstance(element, Tensor):
        return element.detach().cpu().numpy(), _scalar(label), True
    if isinstance(element, np.ndarray | Image.Image):
        return np.asarray(element), _scalar(label), False
    raise VariedError(
        f"Row {i} of the dataset is a {type(element).__name__}: give tensors, arrays or images, or "
        "tuples of one and a label."
    )


def _scalar(label: Any) -> Any:
    array = label.detach().cpu().numpy() if isinstance(label, Tensor) else label
    return array.item() if isinstance(array, np.ndarray | np.generic) and array.ndim == 0 else array
