"""A compressed file: plain notes, then the words of the entropy coder, under one digest."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.errors import VariedError

__all__ = ["pack", "unpack"]

Words = npt.NDArray[np.uint32]

#: What every file begins with; the last byte is the version of the form.
MARK = b"varied\x00\x01"
DIGEST = 8


def pack(notes: Mapping[str, Any], words: Words) -> bytes:
    """Return the bytes of a file.

    Example:
        >>> notes, words = unpack(pack({"n": 2}, np.array([1, 2, 3], np.uint32)))
        >>> notes, words.tolist()
        ({'n': 2}, [1, 2, 3])
    """
    plain = json.dumps(dict(notes), separators=(",", ":"), ensure_ascii=False).encode()
    head = zlib.compress(plain, 9)
    body = len(head).to_bytes(4, "little") + head + words.astype("<u4").tobytes()
    return MARK + _digest(body) + body


def unpack(data: bytes) -> tuple[dict[str, Any], Words]:
    """Return the notes and the words of a file.

    Raises:
        VariedError: If it is of another kind, cut short or changed.
    """
    if data[: len(MARK) - 1] != MARK[:-1]:
        raise VariedError("This is no file of `varied compress`; name the one that it wrote.")
    if data[: len(MARK)] != MARK:
        raise VariedError("This file is of another version of varied; read it with that one.")
    digest, body = data[len(MARK) :][:DIGEST], data[len(MARK) + DIGEST :]
    if digest != _digest(body):
        raise VariedError("This file is damaged: a byte was changed or lost; take another copy.")
    start = 4 + int.from_bytes(body[:4], "little")
    notes = json.loads(zlib.decompress(body[4:start]))
    return notes, np.frombuffer(body[start:], "<u4").astype(np.uint32)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST).digest()
