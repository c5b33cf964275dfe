"""General-purpose compressors as baselines: PNG, gzip and xz."""

from __future__ import annotations

import gzip
import io
import lzma
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]


def baseline_sizes(x: Array, *, xz_preset: int = lzma.PRESET_EXTREME | 9) -> dict[str, int]:
    """Return the size of the data in bytes after compression with PNG (images), gzip -9 and xz.

    Arguments:
        x: uint8 images (N, H, W) or (N, H, W, 3), or other arrays. Arrays that contain only 0 and
            one other value are compressed both as bits and as bytes, and the smaller size is used.
        xz_preset: The compression level of xz.

    Example:
        >>> sizes = baseline_sizes(np.zeros((2, 28, 28), np.uint8))
        >>> sorted(sizes), sizes["gzip"] < 100
        (['PNG', 'gzip', 'xz'], True)
    """
    is_rgb = x.shape[-1:] == (3,)
    is_binary = bool(x.size and not is_rgb and np.isin(x, (0, x.max())).all())
    bits = x != 0
    forms = [np.packbits(bits), bits.astype(np.uint8)] if is_binary else [np.ascontiguousarray(x)]
    sizes = {
        "gzip": min(len(gzip.compress(form.tobytes(), 9)) for form in forms),
        "xz": min(len(lzma.compress(form.tobytes(), preset=xz_preset)) for form in forms),
    }
    if x.dtype != np.uint8 or not len(x) or (x.ndim != 3 and not is_rgb):
        return sizes
    file, column = io.BytesIO(), np.concatenate(x)
    Image.fromarray(column == x.max() if is_binary else column).save(file, "PNG", optimize=True)
    return {"PNG": file.tell()} | sizes
