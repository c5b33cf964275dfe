"""The codec of pictures: 8 bits in, 8 bits out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from varied.data.codecs.base import Array, Codec, validate_shape, within_unit
from varied.data.raw_data import RawData
from varied.errors import VariedError, lookup
from varied.seeding import generator

__all__ = ["ImageCodec", "is_nearly_binary"]

BINARIZE = {"none": "none", "dynamic": "dynamic", "fixed": "fixed"}


@dataclass(frozen=True)
class ImageCodec(Codec):
    """Pictures of 8 bits: stored as uint8, seen as `k / 255`, or as 0 and 1 where `binarize` says.

    Arguments:
        shape: `(1, H, W)` for gray and `(3, H, W)` for color.
        binarize: `"none"`; `"dynamic"`: at every load, fresh draws of 0 or 1 with the brightness
            as the probability (from torch's default generator); `"fixed"`: such a draw once, in
            `encode`, from the seed and the picture itself, wherever it stands.
        seed: The seed of `"fixed"`.

    Example:
        >>> items = RawData(np.full((20, 8, 8), 100, np.uint8), "image")
        >>> codec = ImageCodec.fit(items)
        >>> x = codec.load(codec.encode(items))
        >>> codec.domain, x.shape, codec.decode(x).shape
        ('levels', torch.Size([20, 1, 8, 8]), (20, 8, 8))
    """

    kind: ClassVar[str] = "image"

    shape: tuple[int, ...]
    binarize: str = "none"
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lookup(BINARIZE, self.binarize, "binarize")
        validate_shape(self.shape, len(self.shape) == 3 and self.shape[0] in (1, 3))

    @classmethod
    def fit(cls, items: RawData, *, binarize: str = "auto", seed: int = 0) -> Self:
        """Fit to the training rows; `binarize="auto"` is dynamic where pictures are nearly binary.

        Raises:
            VariedError: If the items are no pictures, or `binarize` is unknown.
        """
        x = _pictures(items)
        shape = (3, *x.shape[1:3]) if x.ndim == 4 else (1, *x.shape[1:])
        notes: tuple[str, ...] = ()
        if binarize == "auto":
            binarize = "dynamic" if is_nearly_binary(x) else "none"
            if binarize == "dynamic":
                notes = ("The pictures are nearly black and white: binarized anew at every look.",)
        return cls(shape, binarize, seed, notes)

    @property
    def domain(self) -> str:  # type: ignore[override]
        """`"levels"`, or `"binary"` where the pictures are binarized."""
        return "levels" if self.binarize == "none" else "binary"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width: what `read(..., size=codec.size)` takes."""
        return self.shape[1], self.shape[2]

    def encode(self, items: RawData | Array) -> Tensor:
        """Return uint8 with shape `(N, C, H, W)`.

        Raises:
            VariedError: If the pictures have another size than the run knows.
        """
        x = _channels(_pictures(items), self.shape[0])
        if x.shape[1:] != self.shape:
            raise VariedError(
                f"These pictures are {_size(x.shape)} and the run knows {_size(self.shape)}: "
                f"read them with size={self.size}."
            )
        stored = torch.from_numpy(np.require(x, requirements=("C", "W")))
        return _draw_once(stored, self.seed) if self.binarize == "fixed" else stored

    def load(self, stored: Tensor) -> Tensor:
        """Return float32 in [0, 1]; under `"dynamic"` a fresh draw of 0 and 1."""
        if self.binarize == "dynamic":
            # k of the 255 numbers below 255 lie below k: exactly k / 255, and in whole bytes
            noise = torch.randint(0, 255, stored.shape, dtype=torch.uint8, device=stored.device)
            return (noise < stored).to(torch.float32)
        return stored.to(torch.float32) / 255

    def decode(self, x: Tensor) -> Array:
        """Return uint8 with shape `(N, H, W)` or `(N, H, W, 3)`; values outside [0, 1] are cut."""
        x = torch.nan_to_num(x.detach().float()).clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
        return (x[:, 0] if self.shape[0] == 1 else x.permute(0, 2, 3, 1)).contiguous().numpy()


def is_nearly_binary(x: Array) -> bool:
    """Return whether gray pictures are drawings in black and white.

    That is so where at least 80 % of the pixels lie within 10 of 0 or 255.

    Example:
        >>> is_nearly_binary(np.zeros((10, 8, 8), np.uint8))
        True
    """
    some = x[:: max(1, len(x) // 2000)]  # two thousand pictures are enough to see it
    return x.ndim == 3 and bool(np.mean((some <= 10) | (some >= 245)) >= 0.8)


def _pictures(items: RawData | Array) -> Array:
    x: Array = items.x if isinstance(items, RawData) else np.asarray(items)
    if isinstance(items, RawData) and items.kind == "array" and x.ndim == 4 and within_unit(x):
        levels = np.moveaxis(np.round(x * 255).astype(np.uint8), 1, -1)
        x = levels[..., 0] if levels.shape[-1] == 1 else levels
    color = x.ndim == 4 and x.shape[-1] == 3
    if x.dtype != np.uint8 or not (x.ndim == 3 or color):
        raise VariedError(
            f"Pictures are uint8 of shape (N, H, W) or (N, H, W, 3), not {x.dtype} of shape "
            f"{x.shape}: give pictures, or train on arrays."
        )
    return x


def _channels(x: Array, channels: int) -> Array:
    """Channels first; a color run takes gray pictures and a gray run takes color ones."""
    if x.ndim == 3:
        return x[:, None] if channels == 1 else np.repeat(x[:, None], channels, axis=1)
    if channels == 1:
        luma: Array = np.round(x @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        return luma[:, None]
    return np.moveaxis(x, -1, 1)


def _draw_once(stored: Tensor, seed: int) -> Tensor:
    """Seeded by the picture itself, so that the split and the order change no draw."""
    drawn = torch.empty_like(stored)
    for i, row in enumerate(stored):
        noise = generator(seed, "binarize", zlib.crc32(row.numpy().tobytes()))
        drawn[i] = (
            torch.randint(0, 255, row.shape, dtype=torch.uint8, generator=noise) < row
        ) * 255
    return drawn


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape[-3:]
    return f"{height}x{width} in {'gray' if channels == 1 else 'color'}"
