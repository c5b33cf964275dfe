"""Reading image files: headers, pixels, and the choice of a common size."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from varied.atomic_io import check_is_file
from varied.data.archive import Member, UnreadableFile, attempt, read_members
from varied.data.arrays import over_white
from varied.data.memory import check_memory
from varied.data.raw_data import Problem, printable
from varied.errors import VariedError

Array = npt.NDArray[Any]
Size = tuple[int, int]

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
#: The maximum number of pixels, which is doubled for JPEG files, since they are decoded at a lower
#: resolution. Images with more than `_LARGE_PIXELS` pixels are decoded one at a time, to save
#: memory.
_MAX_PIXELS, _LARGE_PIXELS = 50_000_000, 8_000_000
_LARGE = threading.Lock()
#: The maximum number of scans of a JPEG file; decoding each takes time, even if it is empty.
_MAX_SCANS = 100
#: The number of pixels that are converted to 8 bits at a time.
_STRIP = 2**18
#: If all images have the same size, with sides of at most this length, they are not resized.
_MAX_KEPT_SIDE = 128
#: The length of the shorter side of resized images.
_SHORTER_SIDE = 64
#: The number of images that are decoded at a time.
_BLOCK = 512
#: The EXIF tag of the orientation, and the transposition for each of its values.
_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class ImageHeader:
    """The size of an image, whether it is grayscale, and its unusual properties."""

    size: Size
    is_gray: bool
    unusual: tuple[str, ...] = ()


def read_images(
    members: Sequence[Member], size: Size | None = None
) -> tuple[Array, dict[int, Problem], tuple[str, ...]]:
    """Read image files and resize them to a common size.

    Arguments:
        members: The files.
        size: The height and width; by default, they are chosen by `choose_size`.

    Returns:
        The images, uint8 with shape (N, H, W) or (N, H, W, 3); the unreadable files, keyed by
        index; and notes for the user.

    Raises:
        VariedError: If the images do not fit in memory.
    """
    with _ignore_pillow_warnings():
        headers = dict(enumerate(read_members(members, lambda m: attempt(m, read_header))))
        problems = {i: h for i, h in headers.items() if isinstance(h, Problem)}
        readable = {i: h for i, h in headers.items() if isinstance(h, ImageHeader)}
        if not readable:
            return np.empty(0, np.uint8), problems, ()
        chosen, reason = (size, "") if size else choose_size([h.size for h in readable.values()])
        is_gray = all(h.is_gray for h in readable.values())
        x, failures = _read_pixels([members[i] for i in readable], chosen, is_gray)
    problems |= {list(readable)[j]: problem for j, problem in failures.items()}
    read = list(readable.values())
    notes = _resize_note(chosen, size, reason, read) + _unusual_notes(read)
    return x, problems, tuple(notes)


def read_header(file: IO[bytes]) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        UnreadableFile: If the format is not supported, or the image is too large.
    """
    with _open(file) as image:
        width, height = image.size
        if _orientation(image) in (5, 6, 7, 8):
            width, height = height, width
        is_gray = image.mode in ("1", "L", "LA", "F", "I") or image.mode.startswith("I;16")
        return ImageHeader((height, width), is_gray, tuple(_unusual(image)))


def read_pixels(file: IO[bytes], size: Size, is_gray: bool) -> Array:
    """Return the pixels of an image file, uint8 with shape (H, W) or (H, W, 3).

    The image is rotated according to its EXIF orientation, composited over white if it is
    transparent, scaled to cover ``size``, and center-cropped.

    Raises:
        UnreadableFile: If the file is corrupted.
    """
    with _open(file) as image:
        if image.format == "JPEG":
            _check_scans(file)
            image.draft(None, (2 * max(size), 2 * max(size)))
        transpose, upright = _TRANSPOSE.get(_orientation(image)), _to_8_bit(image)
        upright = upright.transpose(transpose) if transpose is not None else upright
        mode = "L" if is_gray else "RGB"
        flat = upright if upright.mode == mode else upright.convert(mode)
        if flat.size != (size[1], size[0]):
            flat = ImageOps.fit(flat, (size[1], size[0]), _LANCZOS)
        return np.asarray(flat)


def resize(x: Array, size: Size) -> Array:
    """Resize images, uint8 with shape (N, H, W) or (N, H, W, 3), by scaling and center-cropping."""
    images = (ImageOps.fit(Image.fromarray(row), (size[1], size[0]), _LANCZOS) for row in x)
    return np.stack([np.asarray(image) for image in images])


def choose_size(sizes: Sequence[Size]) -> tuple[Size, str]:
    """Return the size to which images are resized, and the reason for it.

    If all images have the same size, with sides up to 128 pixels, the size is kept, and the reason
    is empty. Otherwise, the shorter side becomes 64 pixels, or less if an image is smaller. The
    aspect ratio is the median if the aspect ratios of most images are similar, and 1 otherwise.

    Example:
        >>> choose_size([(28, 28)] * 5)
        ((28, 28), '')
        >>> choose_size([(600, 800), (300, 400)])[0]
        (64, 88)
    """
    (common, _), *others = Counter(sizes).most_common()
    if not others and max(common) <= _MAX_KEPT_SIDE:
        return common, ""
    smallest = min(min(s) for s in sizes)
    side = min(_SHORTER_SIDE, smallest - smallest % 8 if smallest >= 16 else smallest)
    aspects = np.array([w / h for h, w in sizes])
    median = float(np.median(aspects))
    have_one_aspect = np.mean(np.abs(aspects / median - 1) < 0.05) >= 0.9
    aspect = min(4.0, max(0.25, median)) if have_one_aspect else 1.0
    size = (side, _round(side * aspect)) if aspect >= 1 else (_round(side / aspect), side)
    reason = (
        "the images are large"
        if not others
        else f"the images have {len(others) + 1:,} different sizes"
    )
    return size, reason if have_one_aspect else f"{reason} and shapes"


def as_size(size: int | Size | None) -> Size | None:
    """Return an image size as height and width.

    Raises:
        VariedError: If ``size`` is not one or two integers between 1 and 4096.
    """
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(type(s) is int and 1 <= s <= 4096 for s in pair):
        raise VariedError(
            f"image_size={size!r} is not valid; use an integer such as 64, or integers (height, "
            "width), between 1 and 4096."
        )
    return pair


def as_mask(mask: Any, size: Size) -> npt.NDArray[np.bool_]:
    """Return which pixels of an image are missing, as bool with shape (H, W).

    Arguments:
        mask: The left, top, width and height of the missing rectangle, as "7,7,14,14" or a tuple;
            or an image (a path or array) that is white where pixels are missing.
        size: The height and width.

    Raises:
        VariedError: If the mask is none of these, or covers no pixels or all pixels.
    """
    box = _as_box(mask)
    if box is not None:
        left, top, width, height = box
        pixels = np.zeros(size, bool)
        pixels[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    else:
        pixels = _mask_pixels(mask, size)
    if not pixels.any() or pixels.all():
        raise VariedError(
            f"The mask covers {pixels.sum()} of {pixels.size} pixels; use one that covers some, "
            f"but not all, pixels of the images, which are {size[1]} pixels wide and {size[0]} "
            "pixels high."
        )
    return pixels


def _as_box(mask: Any) -> list[int] | None:
    words = mask.split(",") if isinstance(mask, str) else mask
    try:
        numbers = [int(word) for word in words]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 4 else None


def _mask_pixels(mask: Any, size: Size) -> npt.NDArray[np.bool_]:
    try:
        if not isinstance(mask, str | Path):
            return _to_mask(_mask_image(mask), size)
        check_is_file(Path(mask))
        with Path(mask).open("rb") as file, _ignore_pillow_warnings(), _open(file) as image:
            return _to_mask(image, size)
    except (OSError, UnreadableFile, TypeError, ValueError):
        raise VariedError(
            f"{mask!s:.80} is not a mask; use left,top,width,height in pixels, such as 7,7,14,14, "
            "or an image that is white where pixels are missing."
        ) from None


def _to_mask(image: Image.Image, size: Size) -> npt.NDArray[np.bool_]:
    resized = image.convert("L").resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(resized) > 127


def _mask_image(mask: Any) -> Image.Image:
    array = np.asarray(mask)
    return Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array)


def _read_pixels(
    members: list[Member], size: Size, is_gray: bool
) -> tuple[Array, dict[int, Problem]]:
    """Decode images block by block into one array, without rows for corrupted images."""
    shape = (len(members), *size) if is_gray else (len(members), *size, 3)
    n_bytes = int(np.prod(shape, dtype=np.int64))
    what = f"{len(members):,} images of {size[0]}x{size[1]}"
    check_memory(n_bytes, what, "use a smaller size (--image-size), or fewer images")
    x, problems, row = np.empty(shape, np.uint8), dict[int, Problem](), 0
    for start in range(0, len(members), _BLOCK):
        block = members[start : start + _BLOCK]
        images = read_members(block, lambda m: attempt(m, read_pixels, size, is_gray))
        for i, image in enumerate(images, start):
            if isinstance(image, Problem):
                problems[i] = image
            else:
                x[row], row = image, row + 1
    x = x[:row]
    if not is_gray and all(_is_gray(x[i : i + _BLOCK]) for i in range(0, row, _BLOCK)):
        return np.ascontiguousarray(x[..., 0]), problems
    return x, problems


def _is_gray(x: Array) -> bool:
    return bool((x[..., 0] == x[..., 1]).all() and (x[..., 1] == x[..., 2]).all())


def _resize_note(
    chosen: Size, requested: Size | None, reason: str, headers: Sequence[ImageHeader]
) -> list[str]:
    if all(header.size == chosen for header in headers):
        return []
    size = f"{chosen[0]}x{chosen[1]}"
    if requested:
        return [f"Resized to {size}, as requested."]
    return [f"Resized to {size}, because {reason} (`image_size` overrides this)."] if reason else []


def _unusual_notes(headers: Sequence[ImageHeader]) -> list[str]:
    counts = Counter(name for header in headers for name in header.unusual)
    treatment = {
        "transparent": "composited over white",
        "CMYK": "converted to RGB",
        "multi-frame": "only the first frame is read",
    }
    return [
        f"{n:,} {name} image{'s' * (n > 1)}: {treatment.get(name, 'converted to 8 bits')}."
        for name, n in sorted(counts.items())
    ]


@contextmanager
def _ignore_pillow_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _open(file: IO[bytes]) -> Iterator[Any]:
    try:
        with Image.open(file, formats=_FORMATS) as image, _limit_pixels(image):
            yield image
    except UnreadableFile:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableFile("it is corrupted or not an image in a supported format") from error
    except Image.DecompressionBombError as error:
        raise UnreadableFile("it is so large that it may be a decompression bomb") from error
    except MemoryError as error:
        raise UnreadableFile("it does not fit in memory") from error
    except Exception as error:  # the decoders raise errors of many types for corrupted files
        raise UnreadableFile(
            f"it is corrupted ({printable(str(error)[:60]) or type(error).__name__})"
        ) from error


def _limit_pixels(image: Image.Image) -> AbstractContextManager[Any]:
    """Return a lock if an image is so large that only one should be decoded at a time.

    Raises:
        UnreadableFile: If the image is too large to be decoded.
    """
    n_pixels = image.width * image.height
    limit = 2 * _MAX_PIXELS if image.format == "JPEG" else _MAX_PIXELS
    if n_pixels > limit:
        raise UnreadableFile(
            f"it has too many pixels ({image.width:,} x {image.height:,}, and the limit is "
            f"{limit // 10**6} million); reduce its size with another program"
        )
    return _LARGE if n_pixels > _LARGE_PIXELS else nullcontext()


def _check_scans(file: IO[bytes]) -> None:
    """Check the number of scans of a JPEG file.

    Raises:
        UnreadableFile: If there are too many scans.
    """
    position = file.tell()
    file.seek(0)
    n_scans = file.read().count(b"\xff\xda")
    file.seek(position)
    if n_scans > _MAX_SCANS:
        raise UnreadableFile(f"it has {n_scans:,} scans, and the limit is {_MAX_SCANS}")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or 1 if the EXIF data are corrupted."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1


def _unusual(image: Image.Image) -> list[str]:
    properties = {
        "transparent": image.mode in ("LA", "RGBA", "PA", "La", "RGBa")
        or "transparency" in image.info,
        "CMYK": image.mode == "CMYK",
        "16-bit": image.mode.startswith("I"),
        "real-valued": image.mode == "F",
        "multi-frame": getattr(image, "is_animated", False),
    }
    return [name for name, holds in properties.items() if holds]


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits per channel, composited over white if it is transparent."""
    if image.mode.startswith("I"):
        return _convert(image, _from_16_bit)
    if image.mode == "F":
        ranges = [(part.min(), part.max()) for part in map(_real_values, _strips(image))]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        span = float(high - low) or 1.0
        return _convert(image, lambda part: np.round((_real_values(part) - low) / span * 255))
    if "transparent" in _unusual(image):
        return _convert(image, lambda part: over_white(np.asarray(part.convert("RGBA"))))
    return image


def _convert(image: Image.Image, convert: Callable[[Image.Image], Array]) -> Image.Image:
    """Convert the strips of an image to 8-bit arrays, and return the image that they form."""
    return Image.fromarray(
        np.concatenate([convert(part).astype(np.uint8) for part in _strips(image)])
    )


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """Yield an image in horizontal strips, so that their conversion takes little memory."""
    n_rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, n_rows):
        yield image.crop((0, top, image.width, min(top + n_rows, image.height)))


def _from_16_bit(image: Image.Image) -> Array:
    levels = np.clip(np.asarray(image), 0, 65535).astype(np.float64)
    return np.asarray(np.round(levels / 257))


def _real_values(image: Image.Image) -> Array:
    return np.nan_to_num(np.asarray(image, dtype=np.float64))


def _round(side: float) -> int:
    return max(8, 8 * round(side / 8)) if side >= 16 else max(1, round(side))
