"""Codecs, which convert each kind of data to tensors and back.

A codec is fitted to the training rows. `Codec.encode` returns the tensor that is stored in memory
(uint8 for images, a quarter of the size of float32), `Codec.load` converts stored rows to model
input in each training step, and `Codec.decode` converts rows back to the form of the original data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from varied.data.codecs.arrays import ArrayCodec
from varied.data.codecs.base import Codec
from varied.data.codecs.images import ImageCodec, is_nearly_binary
from varied.data.codecs.molecules import MoleculeCodec
from varied.data.codecs.options import check_options, option_names
from varied.data.codecs.sounds import SoundCodec
from varied.data.codecs.tables import TableCodec
from varied.data.raw_data import RawData
from varied.errors import VariedError
from varied.registry import find
from varied.stored_values import read_variant

__all__ = [
    "CODECS",
    "ArrayCodec",
    "Codec",
    "ImageCodec",
    "MoleculeCodec",
    "SoundCodec",
    "TableCodec",
    "check_rows",
    "fit_codec",
    "is_nearly_binary",
    "open_codec",
]

CODECS: dict[str, type[Codec]] = {
    "image": ImageCodec,
    "array": ArrayCodec,
    "sound": SoundCodec,
    "table": TableCodec,
    "molecules": MoleculeCodec,
}


def fit_codec(data: RawData, **options: Any) -> Codec:
    """Return the codec for the kind of data, fitted to the data.

    Arguments:
        data: The training rows.
        options: Options of the codec's `fit`: ``binarize`` and ``seed`` for images, ``domain`` for
            arrays, ``column_types`` for tables.

    Raises:
        VariedError: If the codec has no such option.
    """
    codec: type[Codec] = find("data", data.kind, CODECS)
    check_options(options, option_names(codec.fit), f"the {data.kind} codec")
    return codec.fit(data, **options)


def check_rows(data: RawData, what: str) -> None:
    """Check that the rows in a file are valid for the kind of data that is stored with them.

    Arguments:
        data: The rows, as stored.
        what: The name of the file in the message.

    Raises:
        VariedError: If the rows are not valid, or there is no such kind.
    """
    x, codec = data.x, find("data", data.kind, CODECS)
    is_real = not data.is_on_disk and x.dtype.kind in "iuf" and x.ndim > 1 and not np.isinf(x).any()
    is_valid = {
        "image": data.is_image and (x.ndim == 3 or x.shape[3] == 3),
        "array": is_real,
        "sound": is_real and x.ndim == 2 and not np.isnan(x).any(),
        "table": False,
        "molecules": False,
    }
    if not x.size or not is_valid.get(data.kind, True):
        raise VariedError(
            f"{what} does not contain valid {codec.noun}, although it states the kind "
            f"'{data.kind}'; save it again."
        )


def open_codec(values: Mapping[str, Any]) -> Codec:
    """Return the codec that `Codec.to_json` describes.

    Raises:
        VariedError: If a value is not valid; the message says where.

    Example:
        >>> open_codec(ImageCodec((1, 8, 8)).to_json())
        ImageCodec(shape=(1, 8, 8), binarize='none', seed=0, notes=())
    """
    codec: Codec = read_variant(values, "codec", partial(find, "data", table=CODECS))
    return codec
