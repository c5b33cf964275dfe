"""Recordings whose headers claim too much, or whose samples are not numbers."""

from __future__ import annotations

import struct

import numpy as np
from hostile_zip_files import MIB, Files

from benchmarks.mutations import seeds


def wav(
    samples: bytes,
    channels: int = 1,
    rate: int = 8000,
    bits: int = 16,
    tag: int = 1,
    size: int | None = None,
) -> bytes:
    """Return a WAV file with any header."""
    block = channels * bits // 8
    values = (tag, channels, rate % 2**32, rate * block % 2**32, block % 2**16, bits)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, *values)
    data = b"data" + struct.pack("<I", len(samples) if size is None else size) + samples
    return b"RIFF" + struct.pack("<I", len(form) + len(data) + 4) + b"WAVE" + form + data


def sound_files() -> Files:
    """Yield recordings whose headers claim too much."""
    noise = np.random.default_rng(0).integers(-9999, 9999, 4000, dtype=np.int16).tobytes()
    for rate in (0, 1, 999, 7999, 767_999, 768_001, 2**31 - 1, 2**31, 2**32 - 1):
        yield "rate.wav", wav(noise, rate=rate)
    for channels in (0, 2, 1000, 1024, 1025, 65535):
        yield "channels.wav", wav(noise, channels)
    for bits, tag in (
        (0, 1),
        (7, 1),
        (8, 1),
        (24, 1),
        (64, 1),
        (16, 0),
        (16, 2),
        (16, 85),
        (64, 3),
    ):
        yield "bits.wav", wav(noise, bits=bits, tag=tag)
    for size in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        yield "size.wav", wav(noise, size=size)
    for value in (np.nan, np.inf, -np.inf, 1e38, 1e-45, 0.0):
        yield "float.wav", wav(np.full(4000, value, "<f4").tobytes(), bits=32, tag=3)
    yield "silent.wav", wav(bytes(8000))
    yield "long.wav", wav(bytes(MIB), bits=8, rate=1000)
    flac = seeds()["sound.flac"]
    for claim in (0, 99_999_999, 2**31, 2**36 - 1):
        low = (int.from_bytes(flac[18:26], "big") >> 36 << 36 | claim).to_bytes(8, "big")
        yield "claim.flac", flac[:18] + low + flac[26:]
    for rate in (0, 1, 2**20 - 1):
        high = int.from_bytes(flac[18:26], "big") & 2**44 - 1 | rate << 44
        yield "rate.flac", flac[:18] + high.to_bytes(8, "big") + flac[26:]
    ogg = seeds()["sound.ogg"]
    for position in (6, 27, 28, 39, 40, 44, 60):
        for value in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
            yield "field.ogg", ogg[:position] + value + ogg[position + 4 :]
    for start in (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b".snd", b"ID3", b"caff", b"wvpk"):
        yield "start.wav", start + b"\xff" * 200
