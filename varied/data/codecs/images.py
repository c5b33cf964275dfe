"""The codec for 8-bit images."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from varied.atomic_io import atomic_write
from varied.data.archive import Member
from varied.data.codecs.base import Array, Codec, Examples
from varied.data.codecs.field_checks import check_fields
from varied.data.codecs.options import check_options
from varied.data.codecs.plain_formats import PlainFormat, PlainImages
from varied.data.image_cache import read_images_cached
from varied.data.image_files import ENDINGS, Size, as_mask, as_size, resize
from varied.data.labels import class_folders
from varied.data.raw_data import RawData
from varied.errors import VariedError, lookup
from varied.seeding import generator

_BINARIZE = dict.fromkeys(("none", "dynamic", "fixed"))


@dataclass(frozen=True)
class ImageCodec(Codec):
    """8-bit images, stored as uint8; the model input is ``k / 255``, or 0 and 1 if binarized.

    Arguments:
        shape: ``(1, H, W)`` for grayscale images and ``(3, H, W)`` for color images.
        binarize: If "none", the images are not binarized. If "dynamic", each time an image is
            loaded, each pixel is sampled from a Bernoulli distribution whose probability is the
            brightness of the pixel, using PyTorch's default generator. If "fixed", each pixel is
            sampled once, in `encode`; the seed also depends on the image itself, so the order and
            the split of the images do not matter.
        seed: The seed for "fixed" binarization.

    Example:
        >>> data = RawData(np.full((20, 8, 8), 100, np.uint8), "image")
        >>> codec = ImageCodec.fit(data)
        >>> x = codec.load(codec.encode(data))
        >>> codec.domain, x.shape, codec.decode(x).shape
        ('uint8', torch.Size([20, 1, 8, 8]), (20, 8, 8))
    """

    kind: ClassVar[str] = "image"
    noun: ClassVar[str] = "images"
    endings: ClassVar[tuple[str, ...]] = ENDINGS
    reads_folders: ClassVar[bool] = True
    data_ending: ClassVar[str] = ""
    labeled_ending: ClassVar[str] = ""
    plain_format: ClassVar[PlainFormat] = PlainImages()
    reading_option_names: ClassVar[tuple[str, ...]] = ("image_size",)
    # A training step on images takes longer than a step on other rows.
    max_rows_by_epochs: ClassVar[int] = 0
    # On 4,000 faces of 64 x 64 pixels, after seven minutes of training with one thread, -ELBO was
    # 54,220 nats with batches of 32, 54,350 nats with 16, and 55,741 nats with 128.
    small_batches_below: ClassVar[int] = 10_000
    # Chosen by experiments with a hundred labels.
    classifier_defaults: ClassVar[Mapping[str, Any]] = {"classifier": "conv", "augment": 1.0}

    shape: tuple[int, ...]
    binarize: str = "none"
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lookup(_BINARIZE, self.binarize, "binarization method")
        check_fields(self.shape, len(self.shape) == 3 and self.shape[0] in (1, 3))

    @classmethod
    def read_members(  # type: ignore[override]
        cls, members: Sequence[Member], *, image_size: Any = None
    ) -> Examples:
        """Read image files and resize them; see `varied.data.image_files.read_images`."""
        return Examples(*read_images_cached(members, as_size(image_size)))

    @classmethod
    def apply_options(cls, data: RawData, **options: Any) -> RawData:
        """Resize images in memory to ``image_size``."""
        check_options(options, cls.reading_option_names, "image data")
        size = as_size(options.get("image_size"))
        if size is None or data.x.shape[1:3] == size:
            return data
        note = f"Resized to {size[0]}x{size[1]}, as requested."
        return data.replace(x=resize(data.x, size)).with_notes(note)

    @property
    def reading_options(self) -> dict[str, Any]:
        """The option ``image_size``, set to the size of the training images."""
        return {"image_size": self.size}

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return a phrase with the number, color and size of the images."""
        color = "color" if data.x.ndim == 4 else "gray"
        return f"{len(data):,} {color} images, {data.x.shape[1]}x{data.x.shape[2]}"

    @classmethod
    def fit(cls, data: RawData, *, binarize: str = "auto", seed: int = 0) -> Self:
        """Fit the codec to the training images.

        Arguments:
            data: The images.
            binarize: "none", "dynamic" or "fixed"; "auto" selects "dynamic" for images that are
                nearly black and white, and "none" for all others.
            seed: The seed for "fixed" binarization.

        Raises:
            VariedError: If the data are not images, or ``binarize`` is unknown.
        """
        x = _as_images(data)
        shape = (3, *x.shape[1:3]) if x.ndim == 4 else (1, *x.shape[1:])
        if binarize != "auto":
            return cls(shape, binarize, seed)
        if not is_nearly_binary(x):
            return cls(shape)
        note = "The images are nearly black and white and are binarized randomly in every step."
        return cls(shape, "dynamic", seed, (note,))

    @classmethod
    def fit_options(cls, accepted_domains: frozenset[str]) -> dict[str, Any]:
        """Disable binarization if the likelihood accepts gray levels."""
        return {"binarize": "none" if "uint8" in accepted_domains else "auto"}

    @property
    def domain(self) -> str:  # type: ignore[override]
        """The domain of the pixels: "uint8", or "binary" if they are binarized."""
        return "binary" if self.is_lossy else "uint8"

    @property
    def is_lossy(self) -> bool:
        """Whether encoding loses information, which it does if the images are binarized."""
        return self.binarize != "none"

    @property
    def size(self) -> Size:
        """The height and width of the images."""
        return self.shape[1], self.shape[2]

    def encode(self, data: RawData | Array) -> Tensor:
        """Return the images as uint8 with shape ``(N, C, H, W)``.

        Raises:
            VariedError: If the size of the images differs from that of the training images.
        """
        x = _channels_first(np.asarray(_as_images(data)), self.shape[0])
        if x.shape[1:] != self.shape:
            raise VariedError(
                f"These images are {_describe(x.shape)}, but the training images are "
                f"{_describe(self.shape)}; read them with image_size={self.size}."
            )
        stored = torch.from_numpy(np.require(x, requirements=("C", "W")))
        return _binarize_once(stored, self.seed) if self.binarize == "fixed" else stored

    def load(self, stored: Tensor) -> Tensor:
        """Return the images as float32 in [0, 1]; "dynamic" binarization samples zeros and ones."""
        if self.binarize != "dynamic":
            return self.to_values(stored)
        # k of the 255 integers below 255 are below k, so P(noise < k) is exactly k / 255.
        noise = torch.randint(0, 255, stored.shape, dtype=torch.uint8, device=stored.device)
        return (noise < stored).to(torch.float32)

    def to_values(self, stored: Tensor) -> Tensor:
        """Return the gray levels, float32 in [0, 1]."""
        return stored.to(torch.float32) / 255

    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> Array:
        """Return images as uint8 with shape ``(N, H, W)`` or ``(N, H, W, 3)``, after clipping."""
        x = _to_uint8(torch.nan_to_num(x.detach().float())).cpu()
        return (x[:, 0] if self.shape[0] == 1 else x.permute(0, 2, 3, 1)).contiguous().numpy()

    def describe_conversion(self) -> dict[str, Any]:
        """Return how images are scaled, and in which order their axes are."""
        to_input = "Arrange the axes as channels, height and width, and divide gray levels by 255."
        if self.is_lossy:
            to_input += " In training, each pixel was 1 with this probability and 0 otherwise."
        return {"to_input": to_input, "from_mean": "Clip to [0, 1], multiply by 255 and round."}

    def to_features(self, x: Tensor, without: Sequence[str] = ()) -> Tensor:
        """Return images as uint8, for a convolutional classifier."""
        return x if x.dtype == torch.uint8 else _to_uint8(x)

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write images to an ``.npy`` file, or as ``.png`` files to a folder.

        Raises:
            VariedError: If the file has another extension.
        """
        if path.suffix:
            return super().save(examples, path, names)
        n_axes = 3 if self.shape[0] == 3 else 2
        images = examples.reshape(-1, *examples.shape[-n_axes:])
        for name, image in zip(_file_names(names, len(images)), images, strict=True):
            _write_png(image, path / name)
        return path

    def save_labeled(self, data: RawData, path: Path) -> Path:
        """Write labeled images to an ``.npz`` file, or to a folder with one subfolder per class.

        Raises:
            VariedError: If the file has another extension, the folder exists, or two classes would
                have the same folder.
        """
        if path.suffix:
            return super().save_labeled(data, path)
        folders = class_folders(path, data.classes, self.noun)
        for i, (image, label) in enumerate(zip(data.x, data.class_indices, strict=True)):
            _write_png(image, folders[label] / f"generated-{i:06d}.png")
        return path

    def parse_mask(self, mask: Any) -> Array:
        """Return which pixels to inpaint, as bool with shape (H, W).

        Arguments:
            mask: The left, top, width and height of the missing rectangle, in pixels, as
                "7,7,14,14" or a tuple; or an image (a path or array) that is white where pixels are
                missing.

        Raises:
            VariedError: If the mask is none of these, or covers no pixels or all pixels.
        """
        return as_mask(mask, self.size)


def is_nearly_binary(x: Array) -> bool:
    """Return whether at least 80% of the pixels of gray images are within 10 levels of 0 or 255.

    Example:
        >>> is_nearly_binary(np.zeros((10, 8, 8), np.uint8))
        True
    """
    sample = x[:: max(1, len(x) // 2000)]
    return x.ndim == 3 and bool(np.mean((sample <= 10) | (sample >= 245)) >= 0.8)


def _to_uint8(x: Tensor) -> Tensor:
    return x.clamp(0, 1).mul(255).round().to(torch.uint8)


def _as_images(data: RawData | Array) -> Array:
    x: Array = data.x if isinstance(data, RawData) else np.asarray(data)
    if x.ndim == 4 and isinstance(data, RawData) and not data.is_image and _within_unit(x):
        levels = np.moveaxis(np.round(x * 255).astype(np.uint8), 1, -1)
        x = levels[..., 0] if levels.shape[-1] == 1 else levels
    if x.dtype != np.uint8 or not (x.ndim == 3 or (x.ndim == 4 and x.shape[-1] == 3)):
        raise VariedError(
            f"Images must be uint8 of shape (N, H, W) or (N, H, W, 3), got {x.dtype} of shape "
            f"{x.shape}; pass images, or train on arrays."
        )
    return x


def _channels_first(x: Array, channels: int) -> Array:
    """Return images with channels first, converted between grayscale and color if necessary."""
    if x.ndim == 3:
        return np.repeat(x[:, None], channels, axis=1) if channels > 1 else x[:, None]
    if channels == 1:
        luma: Array = np.round(x @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        return luma[:, None]
    return np.moveaxis(x, -1, 1)


def _binarize_once(stored: Tensor, seed: int) -> Tensor:
    """Binarize each image with noise whose seed also depends on the image itself."""
    binary = torch.empty_like(stored)
    for i, row in enumerate(stored):
        noise = generator(seed, "binarize", zlib.crc32(row.numpy().tobytes()))
        below = torch.randint(0, 255, row.shape, dtype=torch.uint8, generator=noise) < row
        binary[i] = below * 255
    return binary


def _describe(shape: tuple[int, ...]) -> str:
    channels, height, width = shape[-3:]
    return f"{height}x{width} in {'gray' if channels == 1 else 'color'}"


def _file_names(names: Sequence[str], n: int) -> list[str]:
    """Return file names for images: the original names if all are valid, or else numbers."""
    own = [str(PurePosixPath(name).with_suffix(".png")) for name in names if _is_inside(name)]
    if len(own) == n and len({name.lower() for name in own}) == n:
        return own
    return [f"{i:05d}.png" for i in range(n)]


def _write_png(image: Array, path: Path) -> None:
    atomic_write(path, lambda file: Image.fromarray(image).save(file, "PNG"), sync=False)


def _is_inside(name: str) -> bool:
    """Return whether a file name that was read from data refers to a path inside its folder."""
    path = PurePosixPath(name)
    is_odd = any(mark in name for mark in ("\\", ":", "\0"))
    return bool(path.name) and not (is_odd or path.is_absolute() or ".." in path.parts)


def _within_unit(x: Array) -> bool:
    """Return whether all values are in [0, 1]."""
    return bool(x.min() >= 0 and x.max() <= 1)
