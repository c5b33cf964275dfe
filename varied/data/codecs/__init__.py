"""What a run remembers about raw data: how to make tensors of them, and how to give them back.

A codec is fitted on the training rows alone. `encode` gives what is stored (uint8 for pictures: a
quarter of the memory), `load` turns stored rows into what the model sees, inside the step and on
the device, and `decode` gives back what the person has.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from varied.data.codecs.arrays import ArrayCodec
from varied.data.codecs.base import Codec
from varied.data.codecs.images import ImageCodec, is_nearly_binary
from varied.data.codecs.tables import TableCodec
from varied.data.raw_data import RawData
from varied.errors import VariedError, lookup, suggest

__all__ = [
    "CODECS",
    "ArrayCodec",
    "Codec",
    "ImageCodec",
    "TableCodec",
    "fit_codec",
    "is_nearly_binary",
    "open_codec",
]


def fit_codec(items: RawData, **options: Any) -> Codec:
    """Fit the codec that the kind of the items asks for.

    Arguments:
        items: The training rows.
        options: Options of its `fit`: `binarize`, `seed` for pictures; `domain` for arrays;
            `columns` for tables.

    Raises:
        VariedError: If it has no such option.
    """
    codec = lookup(CODECS, items.kind, "kind of data")
    _known(options, list(inspect.signature(codec.fit).parameters)[1:], f"{items.kind} codec")
    return codec.fit(items, **options)


def open_codec(values: Mapping[str, Any]) -> Codec:
    """Return the codec that `to_json` wrote.

    Raises:
        VariedError: If a key is unknown; the message names the nearest.

    Example:
        >>> open_codec(ImageCodec((1, 8, 8)).to_json())
        ImageCodec(shape=(1, 8, 8), binarize='none', seed=0, notes=())
    """
    name = str(values.get("codec", ""))
    codec = lookup(CODECS, name, "codec")
    fields = {k: v for k, v in values.items() if k != "codec"}
    _known(fields, list(inspect.signature(codec).parameters), f"{name} codec")
    try:
        return codec(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    except TypeError as error:
        raise VariedError(f"The saved {name} codec is damaged ({error}): train again.") from error


def _known(options: Mapping[str, Any], names: list[str], owner: str) -> None:
    for name in options:
        if name not in names:
            raise VariedError(f"The {owner} has no '{name}': {suggest(name, names)}")


CODECS: dict[str, type[Codec]] = {
    "image": ImageCodec,
    "array": ArrayCodec,
    "table": TableCodec,
}
