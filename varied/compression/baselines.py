"""What the usual programs make of the same data, to hold a model against."""

from __future__ import annotations

import gzip
import io
import lzma
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["all_in_one", "one_file_each"]

Array = npt.NDArray[Any]


def all_in_one(x: Array) -> dict[str, int]:
    """Return the bytes of all data in one file, by PNG (pictures alone), gzip -9 and xz -9e.

    Arguments:
        x: uint8 pictures (N, H, W) or (N, H, W, 3), or other numbers. What is only 0 and another
            number is given to each as bits and as bytes, and the smaller file counts.
    """
    found = {"PNG": png(np.concatenate(x))} if _pictures(x) else {}
    forms = [form.tobytes() for form in _forms(x)]
    best = lzma.PRESET_EXTREME | 9
    return found | {
        "gzip": min(len(gzip.compress(form, 9)) for form in forms),
        "xz": min(len(lzma.compress(form, preset=best)) for form in forms),
    }


def one_file_each(x: Array) -> dict[str, int]:
    """Return the bytes of a file for each datum, all together; else as `together`."""
    found = {"PNG": sum(png(one) for one in x)} if _pictures(x) else {}
    rows = [[form.tobytes() for form in _forms(one)] for one in x]
    return found | {
        "gzip": sum(min(len(gzip.compress(form, 9)) for form in row) for row in rows),
        "xz": sum(min(len(lzma.compress(form, preset=6)) for form in row) for row in rows),
    }


def png(x: Array) -> int:
    """Return the bytes of a picture, uint8 with shape (H, W) or (H, W, 3), as PNG.

    Example:
        >>> black = np.zeros((28, 28), np.uint8)
        >>> png(black) < png(np.arange(784, dtype=np.uint8).reshape(28, 28))
        True
    """
    picture = Image.fromarray(x == x.max()) if _two(x) else Image.fromarray(x)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.tell()


def _pictures(x: Array) -> bool:
    return x.dtype == np.uint8 and len(x) > 0 and (x.ndim == 3 or x.shape[-1] == 3)


def _two(x: Array) -> bool:
    """Return whether numbers are only 0 and one other."""
    return bool(x.size and x.shape[-1:] != (3,) and np.isin(x, (0, x.max())).all())


def _forms(x: Array) -> list[Array]:
    x = np.ascontiguousarray(x)
    return [np.packbits(x != 0), (x != 0).astype(np.uint8)] if _two(x) else [x]
