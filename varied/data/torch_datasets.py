"""Reading PyTorch datasets."""

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
    """Read the rows of a dataset.

    Each element must be a tensor, an array or a PIL image, or a tuple that starts with one of these
    and a label. A tensor with three axes has the shape ``(C, H, W)``.

    Arguments:
        dataset: A dataset that has a length.
        labels: A label for each row; by default, the labels of the dataset.
        classes: The names of the classes; by default, ``dataset.classes``.

    Raises:
        VariedError: If the dataset has no length or no rows, or an element has an unsupported type.
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
            "The dataset has no length; pass a dataset with `__len__`, or an array."
        ) from error
    if n < 1:
        raise VariedError("The dataset is empty; at least one row is required.")
    return n


def _read_rows(dataset: Dataset[Any], n: int) -> tuple[Array, list[Any] | None, bool]:
    """Return the rows, the labels, and whether the first row has its channels first."""
    first, label, channels_first = _read_row(dataset, 0)
    check_memory(n * first.nbytes, "The dataset", "use fewer or smaller rows")
    x = np.empty((n, *first.shape), first.dtype)
    labels = [label] * n
    for i in range(n):
        row, labels[i], _ = _read_row(dataset, i)
        if row.shape != first.shape:
            raise VariedError(
                f"Row {i} of the dataset has shape {row.shape}, but row 0 has shape {first.shape}; "
                "resize all rows to the same shape."
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
        f"Row {i} of the dataset has the type {type(element).__name__}, but must be a tensor, an "
        "array or an image, or a tuple of one of these and a label."
    )


def _scalar(label: Any) -> Any:
    array = label.detach().cpu().numpy() if isinstance(label, Tensor) else label
    return array.item() if isinstance(array, np.ndarray | np.generic) and array.ndim == 0 else array
