"""The person's data: read them, encode them, divide them, take batches of them."""

from varied.data.batches import Batch, Batches, chunks
from varied.data.catalog import CATALOG, NamedSet, catalog_rows
from varied.data.codecs import (
    ArrayCodec,
    Codec,
    PictureCodec,
    fit_codec,
    is_nearly_binary,
    open_codec,
)
from varied.data.context import ContextCodec, open_context
from varied.data.items import Items, Problem
from varied.data.sources import read
from varied.data.splits import Split, split

__all__ = [
    "CATALOG",
    "ArrayCodec",
    "Batch",
    "Batches",
    "Codec",
    "ContextCodec",
    "Items",
    "NamedSet",
    "PictureCodec",
    "Problem",
    "Split",
    "catalog_rows",
    "chunks",
    "fit_codec",
    "is_nearly_binary",
    "open_codec",
    "open_context",
    "read",
    "split",
]
