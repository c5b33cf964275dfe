"""Images of too many pixels, frames, scans or texts, and with malformed headers."""

from __future__ import annotations

import struct
import zlib

from hostile_zip_files import MIB, Files, deflate_zeros

from benchmarks.mutations import seeds


def png(width: int, height: int, depth: int, color: int, data: bytes, *chunks: bytes) -> bytes:
    """Return a PNG file with any header, which need not match the compressed pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = (png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", data), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zlib_zeros(megabytes: int) -> bytes:
    """Return zeros that are compressed with zlib, as the pixels of a PNG file."""
    n = megabytes * MIB % 65521
    return b"\x78\x01" + deflate_zeros(megabytes) + struct.pack(">I", n << 16 | 1)


def image_files() -> Files:
    """Yield images of too many pixels, frames, scans or texts."""
    for width, height in ((50_000, 50_000), (2**31 - 1, 1), (0, 8), (2**31, 2**31), (9000, 9000)):
        for depth, color in ((1, 0), (8, 2), (16, 6), (8, 3), (3, 7)):
            yield "claim.png", png(width, height, depth, color, zlib.compress(bytes(99)))
    yield "large.png", png(7000, 7000, 8, 6, zlib_zeros(187))
    yield "large.png", png(4000, 4000, 16, 0, zlib_zeros(31))
    yield "large.png", png(7000, 7000, 1, 0, zlib_zeros(6))
    yield "large.png", png(12_000, 12_000, 8, 6, zlib_zeros(550))
    text = png_chunk(b"tEXt", b"a\0" + b"b" * 1000)
    packed = zlib.compress(bytes(8 * MIB))
    pixels = zlib.compress(bytes(9 * 8))
    for chunks in ([text] * 3000, [png_chunk(b"zTXt", b"a\0\0" + packed)] * 20):
        yield "text.png", png(8, 8, 8, 0, pixels, *chunks)
    for kind, data in (
        (b"iCCP", b"a\0\0" + packed), (b"iTXt", b"a\0\1\0\0\0" + packed), (b"eXIf", b"MM\0*" * 99),
        (b"acTL", struct.pack(">II", 2**31 - 1, 0)), (b"PLTE", bytes(9999)), (b"tRNS", bytes(999)),
        (b"pHYs", b""), (b"IHDR", bytes(13)), (b"fcTL", bytes(26)), (b"gAMA", b""),
    ):  # fmt: skip
        yield "chunk.png", png(8, 8, 8, 0, pixels, png_chunk(kind, data))
    yield from other_images()
    for name in ("mask.png", "mask.npy", "mask"):
        yield name, png(50_000, 50_000, 1, 0, zlib.compress(bytes(99)))


def other_images() -> Files:
    """Yield images in other formats than PNG."""
    gif = seeds()["image.gif"]
    yield "claim.gif", gif[:6] + struct.pack("<HH", 65535, 65535) + gif[10:]
    frame = b"!\xf9\4\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    yield "frames.gif", b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 20_000 + b";"
    yield "comments.gif", b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\x01a\0" * 50_000
    for width, height, depth in ((2**31 - 1, 2**31 - 1, 1), (-5, 5, 24), (2**16, -(2**16), 32)):
        header = struct.pack("<IiiHHIIIIII", 40, width, height, 1, depth, 0, 0, 0, 0, 0, 0)
        yield "claim.bmp", b"BM" + struct.pack("<IHHI", 99, 0, 0, 54) + header + bytes(99)
    for magic in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF"):
        for size in (b"100000 100000", b"0 0", b"-5 5", b"9" * 40 + b" 1", b"7000 7000"):
            yield "claim.ppm", magic + b"\n" + size + b"\n255\n" + bytes(99)
    webp = seeds()["image.webp"]
    extended = b"VP8X\x0a\0\0\0\x02\0\0\0" + b"\xff" * 6 + webp[30:]
    yield "claim.webp", b"RIFF" + struct.pack("<I", len(extended) + 4) + b"WEBP" + extended
    yield from tiff_images()
    yield from jpeg_images()


def tiff_images() -> Files:
    """Yield TIFF files of many or cyclic directories, and of huge fields."""

    def directory(fields: dict[int, tuple[int, int, int]], after: int) -> bytes:
        rows = b"".join(struct.pack("<HHII", tag, *field) for tag, field in sorted(fields.items()))
        return struct.pack("<H", len(fields)) + rows + struct.pack("<I", after)

    size = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    size |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64)}
    length, start = len(directory(size, 0)), 8 + 64
    pixels = b"II*\0" + struct.pack("<I", start) + bytes(64)
    many = (directory(size, start + (i + 1) * length) for i in range(3000))
    yield "frames.tif", pixels + b"".join(many)
    yield "cycle.tif", pixels + directory(size, start)
    changes = [{256: (4, 1, 2**31), 257: (4, 1, 2**31)}, {256: (4, 1, 0)}, {258: (3, 2**31, 9)}]
    changes += [{273: (4, 2**30, 8)}, {279: (4, 1, 2**32 - 1)}, {278: (4, 1, 0)}, {259: (3, 1, 5)}]
    changes += [{256: (4, 1, 9000), 257: (4, 1, 9000)}, {277: (3, 1, 65535)}, {259: (3, 1, 7)}]
    changes += [{273: (4, 1, 2**32 - 1)}, {320: (3, 2**31, 8)}, {34665: (4, 1, start)}]
    changes += [{259: (3, 1, n)} for n in (2, 3, 4, 6, 8, 32773, 34712, 50000, 65535)]
    for change in changes:
        yield "field.tif", pixels + directory(size | change, 0)


def jpeg_images() -> Files:
    """Yield JPEG files of many pixels or scans, and with damaged EXIF data."""
    jpeg = seeds()["image.jpg"]
    start = jpeg.index(b"\xff\xc2") + 5
    for height, width in ((65535, 65535), (10_000, 10_000), (9000, 9000), (0, 8), (7000, 7000)):
        yield "claim.jpg", jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]
    scan = jpeg.rindex(b"\xff\xda")
    large = jpeg[:start] + struct.pack(">HH", 6000, 6000) + jpeg[start + 4 :]
    yield "scans.jpg", large[:-2] + (large[scan:-2]) * 3000 + b"\xff\xd9"
    for data in (b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(99)):
        segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
        yield "exif.jpg", jpeg[:2] + segment + jpeg[2:]
        yield "exif.jpg", jpeg[:2] + segment * 500 + jpeg[2:]
