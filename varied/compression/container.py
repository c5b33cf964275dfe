"""The format of compressed files: a JSON header and the words of the entropy coder."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from varied.errors import VariedError

Words = npt.NDArray[np.uint32]

#: Every file begins with these bytes, followed by a byte for the version of the format.
MAGIC, VERSION = b"varied\x00", 2
DIGEST_SIZE = 8
#: The maximum size of the header, which contains the names of the examples, in bytes.
_MAX_HEADER = 64 * 2**20

#: Keys and values of version 1 that have been renamed.
_V1 = {"law": "source", "pace": "group_ratio", "data": "checksum", "bits back": "bits-back"}


def pack(header: Mapping[str, Any], words: Words) -> bytes:
    """Pack a header and words into the bytes of a compressed file.

    Example:
        >>> header, words = unpack(pack({"n": 2}, np.array([1, 2, 3], np.uint32)))
        >>> header, words.tolist()
        ({'n': 2}, [1, 2, 3])
    """
    text = json.dumps(dict(header), separators=(",", ":"), ensure_ascii=False).encode()
    packed = zlib.compress(text, 9)
    body = len(packed).to_bytes(4, "little") + packed + words.astype("<u4").tobytes()
    return MAGIC + bytes([VERSION]) + _digest(body) + body


def unpack(data: bytes) -> tuple[dict[str, Any], Words]:
    """Return the header and the words of a file.

    Raises:
        VariedError: If the file has a different format or is corrupted.
    """
    start = len(MAGIC) + 1
    if data[: len(MAGIC)] != MAGIC:
        raise VariedError("This file was not written by `varied compress`; check the path.")
    version, digest = data[start - 1 : start], data[start : start + DIGEST_SIZE]
    body = data[start + DIGEST_SIZE :]
    if version > bytes([VERSION]):
        raise VariedError(
            "This file was written by a newer version of varied; upgrade with "
            "`pip install --upgrade varied`."
        )
    if digest != _digest(body):
        raise VariedError("This file is corrupted; restore a backup, or compress the data again.")
    end = 4 + int.from_bytes(body[:4], "little")
    try:
        header = json.loads(zlib.decompressobj().decompress(body[4:end], _MAX_HEADER))
        words = np.frombuffer(body[end:], "<u4").astype(np.uint32)
        header = dict(header)
    except (TypeError, ValueError, RecursionError, zlib.error) as error:
        raise VariedError(
            "This file is corrupted; restore a backup, or compress the data again."
        ) from error
    if version < bytes([VERSION]):
        header = {_V1.get(k, k): _V1.get(v, v) if k == "kind" else v for k, v in header.items()}
        header["model"] = None  # the value depended on weight names, which have changed
    return header, words


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest()


def checksum(index: Tensor) -> str:
    """Return a digest of integers and their shape, as 16 hexadecimal digits."""
    data = f"{tuple(index.shape)}".encode() + index.contiguous().numpy().tobytes()
    return _digest(data).hex()


def fingerprint(model: nn.Module) -> str:
    """Return a digest of the weights of a model, without their names, as 16 hexadecimal digits."""
    digests = []
    for tensor in model.state_dict().values():
        head = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digests.append(_digest(head + flat.view(torch.uint8).numpy().tobytes()))
    return _digest(b"".join(sorted(digests))).hex()
