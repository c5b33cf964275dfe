"""Conversion of arrays and tensors to `RawData`: images or arrays of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.labels import parse_labels
from varied.data.memory import check_memory
from varied.data.raw_data import RawData
from varied.errors import VariedError

Array = npt.NDArray[Any]

_CHANNELS = (1, 3, 4)


def from_array(
    x: Array,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    *,
    what: str = "the array",
    channels_first: bool = False,
) -> RawData:
    """Convert an array to `RawData`.

    An array is read as images if both its shape and its values are those of images. The shape must
    be ``(N, H, W)``, or have four axes, the last or the second of which has length 1, 3 or 4 (the
    channels). The dtype must be uint8, or the values must be all integers from 0 to 255, or all
    multiples of 1 / 255 from 0 to 1. Arrays that contain only 0 and 1 are not read as images, nor
    are arrays with shape ``(N, H, W)``, a side of less than 8 pixels and a dtype other than uint8.
    All other arrays are converted to float32, with channels first, and may contain NaN, which marks
    missing values.

    Arguments:
        x: The rows.
        labels: A label for each row.
        classes: The names of the classes.
        what: The name of the array in messages.
        channels_first: Whether channels are first in an array with four axes, if the shape
            allows both orders.

    Raises:
        VariedError: If the array is empty or not numeric, or contains infinity or masked values.
    """
    _check_numeric(np.asarray(x), what)
    if np.ma.is_masked(x):
        raise VariedError(
            f"{_capitalize(what)} contains masked values; fill them with NaN, or drop their rows."
        )
    x = np.asarray(x)
    notes: list[str] = []
    if x.ndim == 1:
        x, notes = x[:, None], ["Each row is one number."]
    axis = _channel_axis(x.shape, channels_first)
    if axis is None:
        data = RawData(_as_float(x, what), "array")
    elif axis == 0:
        data = _from_gray(x, what)
    else:
        data = _from_channels_last(np.moveaxis(x, axis, -1), what)
    if labels is not None:
        indices, names = parse_labels(labels, len(x), classes)
        data = data.replace(labels=indices, classes=names)
    return data.with_notes(*notes, *_missing_values(data.x))


def from_tensor(x: Tensor, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Convert a tensor to `RawData`; a tensor with four axes has the shape ``(N, C, H, W)``.

    Raises:
        VariedError: If the tensor is complex, nested, quantized or on the meta device, or for one
            of the reasons in `from_array`.
    """
    if x.is_complex():
        raise VariedError("The tensor is complex; pass its real and imaginary parts instead.")
    if x.is_nested or x.is_meta or x.is_quantized:
        raise VariedError(
            "The tensor is nested, quantized or on the meta device; pass a dense tensor."
        )
    check_memory(8 * x.numel(), "The tensor", "use fewer or smaller rows")
    rows = x.detach().to_dense().cpu() if x.layout != torch.strided else x.detach().cpu()
    rows = rows.float() if rows.is_floating_point() else rows
    return from_array(rows.numpy(), labels, classes, what="the tensor", channels_first=True)


def from_sparse(
    x: Any, labels: Any = None, classes: Sequence[str] | None = None, what: str = "the matrix"
) -> RawData:
    """Convert a SciPy sparse matrix to `RawData`, as a dense array.

    Raises:
        VariedError: If the dense array does not fit in memory, or for one of the reasons in
            `from_array`.
    """
    check_memory(4 * math.prod(x.shape), f"{_capitalize(what)} as a dense array", "use fewer rows")
    return from_array(x.toarray(), labels, classes, what=what)


def over_white(x: Array) -> Array:
    """Composite images with an alpha channel, with shape ``(..., H, W, 4)``, over white."""
    alpha = x[..., 3:].astype(np.uint16)
    mixed = 255 * 255 - (255 - x[..., :3]) * alpha
    return ((mixed + 127) // 255).astype(np.uint8)


def _check_numeric(x: Array, what: str) -> None:
    name = _capitalize(what)
    if x.dtype == object:
        raise VariedError(
            f"{name} contains rows of different shapes, or Python objects; convert all rows "
            "to the same shape and a numeric dtype."
        )
    if x.dtype.kind not in "biuf":
        raise VariedError(f"{name} has the dtype {x.dtype}, but must be numeric; convert it.")
    if x.ndim == 0:
        raise VariedError(f"{name} is a single number; pass an array with several rows.")
    if x.size == 0:
        raise VariedError(f"{name} is empty, with shape {x.shape}; pass a non-empty array.")


def _capitalize(what: str) -> str:
    """Capitalize a name for the start of a sentence, unless it is a file name."""
    return what if "." in what else what[0].upper() + what[1:]


def _channel_axis(shape: tuple[int, ...], first: bool) -> int | None:
    """Return the channel axis of a 4-D array of images, 0 for gray images (3-D), or None.

    Arguments:
        shape: The shape of the array.
        first: Whether channels are first if the shape allows both orders.
    """
    if len(shape) == 3:
        return 0
    if len(shape) != 4:
        return None
    return next((i for i in ((1, 3) if first else (3, 1)) if shape[i] in _CHANNELS), None)


def _from_gray(x: Array, what: str) -> RawData:
    if x.dtype == np.uint8 and x.max() > 1:
        return RawData(x, "image")
    values = _as_float(x, what)
    if min(x.shape[1:]) >= 8 and (data := _as_8_bit(values)) is not None:
        return data
    is_unit = not ((values < 0) | (values > 1)).any()  # comparisons with NaN are false
    return RawData(values[:, None] if is_unit else values, "array")


def _from_channels_last(x: Array, what: str) -> RawData:
    if x.dtype == np.uint8 and x.max() > 1:
        return _from_uint8(x)
    values = _as_float(x, what)
    channels_first = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    return _as_8_bit(values) or RawData(channels_first, "array")


def _from_uint8(x: Array) -> RawData:
    notes = ("Transparent images are composited over white.",) if x.shape[-1] == 4 else ()
    x = over_white(x) if x.shape[-1] == 4 else x
    x = x[..., 0] if x.shape[-1] == 1 else x
    return RawData(np.ascontiguousarray(x), "image", notes=notes)


def _as_8_bit(values: Array) -> RawData | None:
    """Return the values as uint8 if they represent 8-bit images, or None otherwise."""
    if np.isnan(values).any():
        return None
    low, high = values.min(), values.max()
    for top, name in ((1.0, "multiples of 1 / 255"), (255.0, "integers up to 255")):
        if low < 0 or high > top or (top == 255 and high <= 1):
            continue
        sample = values[:50] * (255 / top)
        if np.abs(sample - np.round(sample)).max() > 1e-3 or np.isin(values, (0, 1)).all():
            continue
        scaled = values * (255 / top)
        if np.abs(scaled - np.round(scaled)).max() <= 1e-3:
            x = np.round(scaled).astype(np.uint8)
            data = RawData(x, "image") if x.ndim == 3 else _from_uint8(x)
            return data.with_notes(f"The values are {name} and are stored as 8-bit images.")
    return None


def _as_float(x: Array, what: str) -> Array:
    check_memory(2 * 4 * x.size, _capitalize(what), "use fewer or smaller rows")
    with np.errstate(over="ignore", invalid="ignore"):
        values = x.astype(np.float32)
    if x.dtype.kind == "f" and np.isinf(values).any():
        raise VariedError(_infinite(x, values, what))
    return values


def _missing_values(x: Array) -> list[str]:
    """Return a note with the number of missing values; empty if there are none."""
    if x.dtype.kind != "f" or not (is_missing := np.isnan(x)).any():
        return []
    n_rows = int(is_missing.reshape(len(x), -1).any(1).sum())
    return [
        f"{is_missing.sum():,} of {x.size:,} values are missing in {n_rows:,} of {len(x):,} rows; "
        "the likelihood counts observed values only."
    ]


def _infinite(x: Array, values: Array, what: str) -> str:
    positions = np.argwhere(np.isinf(values))
    row, *rest = (int(i) for i in positions[0])
    place = f", position {tuple(rest)}" if rest else ""
    place = f", column {rest[0]}" if len(rest) == 1 else place
    value = x[tuple(positions[0])]
    name = "infinity" if np.isinf(value) else f"{value:g} (infinite in float32)"
    more = f" (and {len(positions) - 1:,} more)" if len(positions) > 1 else ""
    return (
        f"{_capitalize(what)} contains {name} in row {row}{place}{more}; replace such values "
        "with NaN if they are missing, or drop the rows."
    )


def to_gray_levels(x: Array, *, is_scaled: bool) -> Array:
    """Return numbers as images, uint8 with shape (N, H, W) or (N, H, W, 3); NaN is gray.

    Arguments:
        x: The numbers, with shape (N, 1, H, W) or (N, 3, H, W).
        is_scaled: Whether black and white represent the smallest and the largest number, instead of
            0 and 1.
    """
    low, high = (np.fmin.reduce(x, None), np.fmax.reduce(x, None)) if is_scaled else (0.0, 1.0)
    gray = np.clip((x - low) / max(high - low, 1e-12), 0, 1) * 255
    levels = np.nan_to_num(gray, nan=128).round().astype(np.uint8)
    images: Array = np.moveaxis(levels, 1, -1)
    return images[..., 0] if x.shape[1] == 1 else images
