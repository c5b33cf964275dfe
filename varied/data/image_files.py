"""One picture: its header, its pixels, and the size that a set of them is read at."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from varied.data.arrays import white
from varied.errors import VariedError

__all__ = [
    "EXTENSIONS",
    "Header",
    "Unreadable",
    "as_size",
    "choose_size",
    "header",
    "pixels",
    "quiet",
    "resized",
]

Array = npt.NDArray[Any]
Size = tuple[int, int]

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
EXTENSIONS = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
MAX_PIXELS = 100_000_000
KEPT = 128  # sets of one size up to here are left as they are
SIDE = 64  # the shorter side of what is resized
ORIENTATION = 0x0112  # of EXIF: how the camera was held
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """A picture that cannot be read; its text is the reason."""


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before its pixels are decoded: height, width, what is odd."""

    size: Size
    gray: bool
    odd: tuple[str, ...] = ()


def header(file: IO[bytes]) -> Header:
    """Read the header of a picture.

    Raises:
        Unreadable: If it is none that we read, or it is too large.
    """
    with _opened(file) as image:
        width, height = image.size
        if _orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        gray = image.mode in ("1", "L", "LA", "F", "I") or image.mode.startswith("I;16")
        return Header((height, width), gray, tuple(_odd(image)))


def pixels(file: IO[bytes], size: Size, gray: bool) -> Array:
    """Return the pixels of a picture, uint8 with shape `(H, W)` or `(H, W, 3)`.

    It is turned as its camera says, laid on white if transparent, and scaled to cover `size`;
    what stands out is cut off evenly.

    Raises:
        Unreadable: If it is damaged or cut short.
    """
    with _opened(file) as image:
        if image.format == "JPEG":
            image.draft(None, (2 * max(size), 2 * max(size)))
        turn, upright = TURNS.get(_orientation(image)), _eight_bits(image)
        upright = upright.transpose(turn) if turn is not None else upright
        flat = upright.convert("L" if gray else "RGB")
        if flat.size != (size[1], size[0]):
            flat = ImageOps.fit(flat, (size[1], size[0]), Image.Resampling.LANCZOS)
        return np.asarray(flat)


def resized(x: Array, size: Size) -> Array:
    """Return pictures, uint8 `(N, H, W)` or `(N, H, W, 3)`, scaled to cover another size."""
    lanczos = Image.Resampling.LANCZOS
    return np.stack(
        [np.asarray(ImageOps.fit(Image.fromarray(row), (size[1], size[0]), lanczos)) for row in x]
    )


def choose_size(sizes: Sequence[Size]) -> tuple[Size, str]:
    """Return the size to read pictures at, and the reason in words.

    One common size up to 128 pixels is kept. Else the shorter side becomes 64 (or that of the
    smallest picture), with the common shape where there is one and square where there is none.

    Example:
        >>> choose_size([(28, 28)] * 5)
        ((28, 28), '')
        >>> choose_size([(600, 800), (300, 400)])[0]
        (64, 88)
    """
    (common, _), *others = Counter(sizes).most_common()
    if not others and max(common) <= KEPT:
        return common, ""
    least = min(min(s) for s in sizes)
    side = min(SIDE, least - least % 8 if least >= 16 else least)
    aspects = np.array([w / h for h, w in sizes])
    middle = float(np.median(aspects))
    alike = np.mean(np.abs(aspects / middle - 1) < 0.05) >= 0.9
    aspect = min(4.0, max(0.25, middle)) if alike else 1.0
    size = (side, _round(side * aspect)) if aspect >= 1 else (_round(side / aspect), side)
    reason = "they are large" if not others else f"they come in {len(others) + 1:,} sizes"
    if not alike:
        reason += " and shapes"
    return size, reason


@contextmanager
def quiet() -> Any:
    """Keep Pillow's warnings from the screen: what matters of them is a `Problem`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(file: IO[bytes]) -> Any:
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(f"{image.width}x{image.height} pixels are too many")
            yield image
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        raise Unreadable("it is no picture in a format that is read, or damaged") from error
    except Image.DecompressionBombError as error:
        raise Unreadable("its size is that of a decompression bomb") from error
    except MemoryError as error:
        raise Unreadable("it does not fit in memory") from error
    except Exception as error:  # the decoders raise many kinds for damaged files
        raise Unreadable(f"it is damaged ({str(error)[:60] or type(error).__name__})") from error


def _orientation(image: Image.Image) -> int:
    """Read how the camera was held; a picture whose EXIF part is damaged is still a picture."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _odd(image: Image.Image) -> list[str]:
    odd = {
        "transparent": image.mode in ("LA", "RGBA", "PA", "La", "RGBa")
        or "transparency" in image.info,
        "CMYK": image.mode == "CMYK",
        "16-bit": image.mode.startswith("I"),
        "real-valued": image.mode == "F",
        "with several frames": getattr(image, "is_animated", False),
    }
    return [name for name, holds in odd.items() if holds]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pixels of other depths as 8 bits, transparency laid on white, all else as it is."""
    if image.mode.startswith("I"):
        deep = np.clip(np.asarray(image), 0, 65535).astype(np.float64)
        return Image.fromarray(np.round(deep / 257).astype(np.uint8))
    if image.mode == "F":
        real = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = float(np.ptp(real)) or 1.0
        return Image.fromarray(np.round((real - real.min()) / span * 255).astype(np.uint8))
    if "transparent" in _odd(image):
        return Image.fromarray(white(np.asarray(image.convert("RGBA"))))
    return image


def _round(side: float) -> int:
    return max(8, 8 * round(side / 8)) if side >= 16 else max(1, round(side))


def as_size(size: int | Size | None) -> Size | None:
    """Return what a person gives as a size as height and width.

    Raises:
        VariedError: If it is no size between 1 and 4096.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size) if size is not None else None
    if pair is None:
        return None
    if len(pair) != 2 or not all(isinstance(s, int) and 1 <= s <= 4096 for s in pair):
        raise VariedError(f"size={size!r} is no size: give 64, or (height, width), up to 4096.")
    return pair
