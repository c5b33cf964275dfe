"""The codec of arrays: standardized where the numbers are real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.data.codecs.base import Array, Codec, validate_shape, within_unit
from varied.data.raw_data import RawData
from varied.errors import VariedError, lookup

__all__ = ["ArrayCodec"]

DOMAINS = {"real": "real", "unit": "unit", "binary": "binary"}


@dataclass(frozen=True)
class ArrayCodec(Codec):
    """Arrays of numbers: standardized by the training rows where they are real, else as they are.

    A vector is standardized for each feature; an array with more axes for each channel (its first
    axis). Constant features are kept; they are centered alone.

    Arguments:
        shape: The shape of a row.
        domain: `"real"`, `"unit"` or `"binary"`.
        mean: The training mean of each feature or channel; empty unless real.
        scale: The training standard deviation of each; 1 where constant.

    Example:
        >>> items = RawData(np.arange(24, dtype=np.float32).reshape(12, 2), "array")
        >>> codec = ArrayCodec.fit(items)
        >>> codec.domain, codec.mean, float(codec.encode(items).std())
        ('real', (11.0, 12.0), 1.0...)
    """

    kind: ClassVar[str] = "array"

    shape: tuple[int, ...]
    domain: str
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lookup(DOMAINS, self.domain, "domain")
        features = self.shape[0] if self.domain == "real" and self.shape else 0
        validate_shape(self.shape, len(self.mean) == len(self.scale) == features)

    @classmethod
    def fit(cls, items: RawData, *, domain: str = "auto") -> Self:
        """Fit to the training rows; `domain="auto"` reads it off the values.

        Raises:
            VariedError: If the values do not lie in the domain, or are not finite.
        """
        x = _numbers(items)
        shape = tuple(x.shape[1:])
        domain = _domain(x) if domain == "auto" else lookup(DOMAINS, domain, "domain")
        if domain != "real":
            _inside(x, domain)
            return cls(shape, domain)
        axes = tuple(i for i in range(x.ndim) if i != 1)
        low, high = x.min(axes), x.max(axes)
        constant = np.flatnonzero(low == high)
        mean, scale = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
        mean[constant], scale[constant] = low[constant], 1.0
        notes = (_constant(constant),) if len(constant) else ()
        return cls(shape, domain, tuple(mean.tolist()), tuple(scale.tolist()), notes)

    def encode(self, items: RawData | Array) -> Tensor:
        """Return float32 with shape `(N, *shape)`.

        Raises:
            VariedError: If the rows have another shape or domain than the run knows, or NaN.
        """
        x = _numbers(items)
        if x.shape[1:] != self.shape:
            raise VariedError(
                f"These rows have shape {tuple(x.shape[1:])} and the run knows {self.shape}: "
                "give rows of that shape."
            )
        if self.domain != "real":
            _inside(x, self.domain)
            return torch.from_numpy(np.array(x, dtype=np.float32))
        return torch.from_numpy(((x - self._side(self.mean)) / self._side(self.scale)).astype("f4"))

    def load(self, stored: Tensor) -> Tensor:
        """Return the stored rows: they are already as the model sees them."""
        return stored.to(torch.float32)

    def decode(self, x: Tensor) -> Array:
        """Return float32 with shape `(N, *shape)`, in the person's own units."""
        rows: Array = x.detach().float().cpu().numpy()
        if self.domain != "real":
            return rows
        return (rows * self._side(self.scale) + self._side(self.mean)).astype(np.float32)

    def _side(self, values: tuple[float, ...]) -> Array:
        return np.reshape(np.asarray(values), (-1, *[1] * (len(self.shape) - 1)))


def _numbers(items: RawData | Array) -> Array:
    x = items.x if isinstance(items, RawData) else np.asarray(items)
    if isinstance(items, RawData) and items.kind == "image":
        x = np.moveaxis(x if x.ndim == 4 else x[..., None], -1, 1).astype(np.float32) / 255
    if x.ndim < 2 or x.dtype.kind not in "fiub":
        raise VariedError(
            f"Arrays are numbers of shape (N, features) or more, not {x.dtype} of shape {x.shape}: "
            "give such an array."
        )
    numbers: Array = x.astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        row = int(np.argwhere(~np.isfinite(numbers))[0, 0])
        raise VariedError(f"Row {row} has NaN or infinity: fill it, or drop the row.")
    return numbers


def _domain(x: Array) -> str:
    if np.isin(x[:100], (0, 1)).all() and np.isin(x, (0, 1)).all():
        return "binary"
    return "unit" if x.ndim == 4 and x.shape[1] in (1, 3, 4) and within_unit(x) else "real"


def _inside(x: Array, domain: str) -> None:
    good = (x == 0) | (x == 1) if domain == "binary" else (x >= 0) & (x <= 1)
    if good.all():
        return
    first = tuple(int(i) for i in np.argwhere(~good)[0])
    what = "neither 0 nor 1" if domain == "binary" else "outside [0, 1]"
    raise VariedError(
        f"Row {first[0]} has the value {x[first]:g}, {what}, where the run expects {domain} "
        "values: scale it, drop the row, or train with domain='real'."
    )


def _constant(columns: npt.NDArray[np.intp]) -> str:
    some = ", ".join(str(i) for i in columns[:5]) + (", ..." if len(columns) > 5 else "")
    return f"{len(columns)} features are constant in the training rows and carry nothing: {some}."
