"""Data: reading, encoding, splitting and batching."""

from varied.data.batches import Batch, Batches, DiskBatches, iter_batches, mask_missing
from varied.data.catalog import CATALOG, NamedSet, catalog_rows
from varied.data.codecs import (
    CODECS,
    ArrayCodec,
    Codec,
    ImageCodec,
    MoleculeCodec,
    TableCodec,
    fit_codec,
    is_nearly_binary,
    open_codec,
)
from varied.data.context import ContextCodec, open_context
from varied.data.raw_data import Problem, RawData, describe_problems
from varied.data.readers import codec_of, read
from varied.data.splits import Split, split

__all__ = [
    "CATALOG",
    "CODECS",
    "ArrayCodec",
    "Batch",
    "Batches",
    "Codec",
    "ContextCodec",
    "DiskBatches",
    "ImageCodec",
    "MoleculeCodec",
    "NamedSet",
    "Problem",
    "RawData",
    "Split",
    "TableCodec",
    "catalog_rows",
    "codec_of",
    "describe_problems",
    "fit_codec",
    "is_nearly_binary",
    "iter_batches",
    "mask_missing",
    "open_codec",
    "open_context",
    "read",
    "split",
]
