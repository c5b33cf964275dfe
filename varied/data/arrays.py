"""Arrays and tensors as items: what is a picture, what is a vector, what cannot be used."""

from __future__ import annotations

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

__all__ = ["from_array", "from_tensor", "over_white"]

Array = npt.NDArray[Any]

CHANNELS = (1, 3, 4)


def from_array(
    x: Array,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    *,
    what: str = "the array",
    channels_first: bool = False,
) -> RawData:
    """Return an array as items.

    uint8 of shape `(N, H, W)`, or with 1, 3 or 4 channels at the end (else at the front), are
    pictures; so are other types of that shape whose values are all whole numbers up to 255, or
    all of the form k / 255. Everything else becomes float32.

    Arguments:
        x: The rows.
        labels: One label for each row.
        classes: The names of the classes.
        what: What the messages call it.
        channels_first: Whether the channels of a 4-D array stand at the front, if they can.

    Raises:
        VariedError: If it has no rows, holds no numbers, or holds NaN or infinity.
    """
    _usable(np.asarray(x), what)
    if np.ma.is_masked(x):
        raise VariedError(f"{_start(what)} has masked cells: fill them or drop the rows.")
    x = np.asarray(x)
    notes: list[str] = []
    if x.ndim == 1:
        x, notes = x[:, None], ["One number a row."]
    if (axis := _channel_axis(x.shape, channels_first)) is not None:
        items = _images(np.moveaxis(x, axis, -1), what) if axis else _grays(x, what)
    else:
        items = RawData(_float(x, what), "array")
    if labels is not None:
        indices, names = parse_labels(labels, len(x), classes)
        items = RawData(items.x, items.kind, indices, names, notes=items.notes)
    return items.with_notes(*notes)


def from_tensor(x: Tensor, labels: Any = None, classes: Sequence[str] | None = None) -> RawData:
    """Return a tensor as items; four axes are `(N, C, H, W)`.

    Raises:
        VariedError: As `from_array`.
    """
    if x.is_complex():
        raise VariedError("The tensor holds complex numbers: give its real and imaginary parts.")
    if x.is_nested or x.is_meta or x.is_quantized:
        raise VariedError("The tensor is nested, quantized or without values: give a plain one.")
    check_memory(8 * x.numel(), "The tensor", "give fewer rows, or smaller ones")
    rows = x.detach().to_dense().cpu() if x.layout != torch.strided else x.detach().cpu()
    rows = rows.float() if rows.is_floating_point() else rows
    return from_array(rows.numpy(), labels, classes, what="the tensor", channels_first=True)


def over_white(x: Array) -> Array:
    """Return pictures with transparency, `(..., H, W, 4)`, laid on white: `(..., H, W, 3)`."""
    alpha = x[..., 3:].astype(np.uint16)
    mixed = x[..., :3] * alpha + 255 * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _usable(x: Array, what: str) -> None:
    if x.dtype == object:
        raise VariedError(
            f"{_start(what)} is ragged or holds Python objects: make all rows the same shape and "
            "save them as numbers."
        )
    if x.dtype.kind not in "biuf":
        raise VariedError(f"{_start(what)} holds {x.dtype}, and not numbers: give numbers.")
    if x.ndim == 0:
        raise VariedError(f"{_start(what)} is a single number: give an array with a row for each.")
    if x.size == 0:
        raise VariedError(f"{_start(what)} is empty, of shape {x.shape}: give rows with values.")


def _start(what: str) -> str:
    # The name of a file is told as it is written.
    return what if "." in what else what[0].upper() + what[1:]


def _channel_axis(shape: tuple[int, ...], first: bool) -> int | None:
    """Where the channels of picture-shaped rows are; 0 for gray ones with none, else None."""
    if len(shape) == 3:
        return 0
    if len(shape) != 4:
        return None
    return next((i for i in ((1, 3) if first else (3, 1)) if shape[i] in CHANNELS), None)


def _grays(x: Array, what: str) -> RawData:
    if x.dtype == np.uint8 and x.max() > 1:
        return RawData(x, "image")
    values = _float(x, what)
    if min(x.shape[1:]) >= 8 and (items := _levels(values)) is not None:
        return items
    unit = values.min() >= 0 and values.max() <= 1
    return RawData(values[:, None] if unit else values, "array")


def _images(x: Array, what: str) -> RawData:
    """Take rows of a picture's shape, with their channels last."""
    if x.dtype == np.uint8 and x.max() > 1:
        return _picture(x)
    values = _float(x, what)
    first = np.ascontiguousarray(np.moveaxis(values, -1, 1))
    return _levels(values) or RawData(first, "array")


def _picture(x: Array) -> RawData:
    notes = ("Transparency was laid on white.",) if x.shape[-1] == 4 else ()
    x = over_white(x) if x.shape[-1] == 4 else x
    x = x[..., 0] if x.shape[-1] == 1 else x
    return RawData(np.ascontiguousarray(x), "image", notes=notes)


def _levels(values: Array) -> RawData | None:
    """Pictures of 8 bits that only came in another type: a quarter of the memory as they were."""
    low, high = values.min(), values.max()
    for top, name in ((1.0, "k / 255"), (255.0, "whole numbers up to 255")):
        if low < 0 or high > top or (top == 255 and high <= 1):
            continue
        scaled = values[:50] * (255 / top)
        if np.abs(scaled - np.round(scaled)).max() > 1e-3 or np.isin(values, (0, 1)).all():
            continue
        scaled = values * (255 / top)
        if np.abs(scaled - np.round(scaled)).max() <= 1e-3:
            x = np.round(scaled).astype(np.uint8)
            items = RawData(x, "image") if x.ndim == 3 else _picture(x)
            return items.with_notes(f"The values are {name}: kept as pictures of 8 bits.")
    return None


def _float(x: Array, what: str) -> Array:
    check_memory(2 * 4 * x.size, _start(what), "give fewer rows, or smaller ones")
    with np.errstate(over="ignore", invalid="ignore"):
        values = x.astype(np.float32)
    if x.dtype.kind == "f" and not np.isfinite(values).all():
        _refuse_gaps(x, values, what)
    return values


def _refuse_gaps(x: Array, values: Array, what: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    row, *rest = (int(i) for i in bad[0])
    place = f", column {rest[0]}" if len(rest) == 1 else f", position {tuple(rest)}" if rest else ""
    value = x[tuple(bad[0])]
    kind = (
        "NaN"
        if np.isnan(value)
        else "infinity"
        if np.isinf(value)
        else f"{value:g} (infinity in 32 bits)"
    )
    more = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
    raise VariedError(
        f"{_start(what)} has {kind} in row {row}{place}{more}: fill them or drop the rows."
    )
