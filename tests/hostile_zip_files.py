"""Zip files that are written by hand, so that their headers may be false."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

MIB = 2**20
#: The names and the contents of files.
Files = Iterator[tuple[str, bytes]]


class Entry(NamedTuple):
    """A member of a zip file.

    Arguments:
        name: The name, which may be anything.
        contents: The contents as stored.
        is_deflated: Whether to compress the contents.
        method: The method of compression that the headers state; by default, the true method.
        size: The size that the headers state; by default, the true size.
        flags: The flags.
        attributes: The external attributes, which contain the permissions.
        packed: The compressed contents, if they are given.
    """

    name: str
    contents: bytes
    is_deflated: bool = False
    method: int | None = None
    size: int | None = None
    flags: int = 0
    attributes: int = 0
    packed: bytes | None = None

    @classmethod
    def zeros(cls, name: str, megabytes: int, start: bytes = b"", size: int | None = None) -> Self:
        """Return a member that unpacks to zeros after a start, with a false checksum."""
        size = len(start) + megabytes * MIB if size is None else size
        packed = deflate_zeros(megabytes, start)
        return cls(name, b"", True, size=size, packed=packed)


def deflate_zeros(megabytes: int, start: bytes = b"", block: bytes = bytes(MIB)) -> bytes:
    """Return a raw deflate stream of a start and many copies of a block, without much work."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * megabytes + packer.flush()


def zip_archive(entries: Sequence[Entry], *, overlap: bool = False) -> bytes:
    """Return a zip file.

    Arguments:
        entries: The members.
        overlap: Whether all members refer to the contents of the first one.
    """
    body, directory = bytearray(), bytearray()
    for entry in entries:
        offset = 0 if overlap else len(body)
        name = entry.name.encode("utf-8", "surrogateescape")
        packed = entry.packed
        if packed is None:
            packed = deflate(entry.contents) if entry.is_deflated else entry.contents
        method = (8 if entry.is_deflated else 0) if entry.method is None else entry.method
        size = len(entry.contents) if entry.size is None else entry.size
        fields = (entry.flags | 0x800, method, 0, 33, zlib.crc32(entry.contents), len(packed), size)
        common = struct.pack("<HHHHIII", *fields)
        start = struct.pack("<IH", 0x04034B50, 20) + common + struct.pack("<HH", len(name), 0)
        if not overlap or not body:
            body += start + name + packed
        directory += struct.pack("<IHH", 0x02014B50, 20 | 3 << 8, 20) + common
        rest = struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, entry.attributes, offset)
        directory += rest + name
    n = min(len(entries), 65_535)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, n, n, len(directory), len(body), 0)
    return bytes(body + directory + end)


def deflate(contents: bytes) -> bytes:
    """Return the contents as a raw deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(contents) + packer.flush()
