"""Validation of the arrays from which metrics are computed."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate._types import Array, Data, Floats


def as_tensor(values: Data) -> Tensor:
    """Return a tensor in main memory, detached from its graph."""
    if isinstance(values, Tensor):
        return values.detach().cpu()
    return torch.from_numpy(np.require(values, requirements=("C", "W")))


def as_array(values: Any) -> Array:
    """Convert values, such as a tensor on any device, to a NumPy array."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def as_table(values: Data, name: str, *, min_rows: int = 1, flatten: bool = False) -> Tensor:
    """Return the rows as a float64 tensor with shape (N, D), after checking that they are finite.

    Arguments:
        values: The rows, with shape (N, D), or (N, ...) if ``flatten`` is set.
        name: The name of the rows in error messages.
        min_rows: The minimum number of rows.
        flatten: Whether to flatten rows that have more than one dimension.

    Raises:
        VariedError: If the shape is wrong, or a value is not finite.
    """
    rows = as_tensor(values)
    is_table = rows.ndim == 2 or (flatten and rows.ndim > 2)
    if not is_table or len(rows) < min_rows or not rows.numel():
        shape = "(N, D) or (N, ...)" if flatten else "(N, D)"
        least = f" with N >= {min_rows} and D >= 1"
        raise VariedError(
            f"The {name} have shape {tuple(rows.shape)}, but must have shape {shape}{least}."
        )
    rows = rows.double().flatten(1)
    invalid = (~rows.isfinite().all(1)).nonzero()[:, 0]
    if len(invalid):
        raise VariedError(
            f"Row {invalid[0]} of the {name} contains NaN or infinity ({len(invalid):,} such "
            "rows); remove or impute them."
        )
    return rows


def as_column(values: Data, name: str, *, allow_infinite: bool = False) -> Floats:
    """Return the values as a float64 array with shape (N).

    Raises:
        VariedError: If the shape is wrong, a value is NaN, or a value is infinite and
            ``allow_infinite`` is not set.
    """
    column = as_array(values).astype(np.float64)
    if column.ndim != 1 or not column.size:
        raise VariedError(
            f"The {name} have shape {column.shape}; one number for each row is required."
        )
    invalid = np.flatnonzero(np.isnan(column) if allow_infinite else ~np.isfinite(column))
    if len(invalid):
        raise VariedError(
            f"Row {invalid[0]} of the {name} is {column[invalid[0]]} ({len(invalid):,} such "
            "rows); remove or impute them."
        )
    return column


def as_images(values: Data, *, min_side: int = 1) -> Tensor:
    """Return images with shape (N, C, H, W), uint8 or floating point in [0, 1].

    Arguments:
        values: The images, with shape (N, C, H, W), or (N, H, W) if they are grayscale.
        min_side: The minimum height and width.

    Raises:
        VariedError: If the shape, data type or range is wrong.
    """
    x = as_tensor(values)
    if x.ndim not in (3, 4) or not x.numel() or min(x.shape[-2:]) < min_side:
        least = f" and at least {min_side}x{min_side} pixels" if min_side > 1 else ""
        raise VariedError(
            "Images must have shape (N, C, H, W), or (N, H, W) if they are grayscale, with N >= 1"
            f"{least}, got {tuple(x.shape)}; put the channels before the height and width, reshape "
            "flat rows, or enlarge small images."
        )
    # Comparisons with NaN are false.
    is_unit = x.is_floating_point() and bool(x.min() >= -1e-6) and bool(x.max() <= 1 + 1e-6)
    if x.dtype != torch.uint8 and not is_unit:
        raise VariedError(
            "Images must be uint8, or floating point with values in [0, 1], got "
            f"{x.dtype} with values from {x.double().min():g} to "
            f"{x.double().max():g}; rescale or convert them."
        )
    return x[:, None] if x.ndim == 3 else x


def to_unit_range(images: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return images in [0, 1]; uint8 images are divided by 255."""
    return images.to(dtype) / (255 if images.dtype == torch.uint8 else 1)


def as_table_pair(
    a: Data, b: Data, names: tuple[str, str], *, min_rows: int = 1
) -> tuple[Tensor, Tensor]:
    """Return two tables of finite, flattened rows in float64, with the same number of columns.

    Raises:
        VariedError: If the shapes do not match, or a value is not finite.
    """
    x, y = (
        as_table(rows, name, min_rows=min_rows, flatten=True)
        for rows, name in zip((a, b), names, strict=True)
    )
    if x.shape[1] != y.shape[1]:
        raise VariedError(
            f"The {names[0]} have {x.shape[1]:,} columns, but the {names[1]} have "
            f"{y.shape[1]:,}; compute the same features for both."
        )
    return x, y


def check_same_length(a: Sized, b: Sized, names: tuple[str, str]) -> None:
    """Raise VariedError unless two sequences have the same length."""
    if len(a) != len(b):
        raise VariedError(
            f"There are {len(a):,} {names[0]} but {len(b):,} {names[1]}; both must have the same "
            "length."
        )
