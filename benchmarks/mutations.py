"""Valid files of every format, and random changes of their bytes."""

from __future__ import annotations

import functools
import gzip
import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: The folder of small runs, which are changed as well.
RUNS = Path(__file__).resolve().parent.parent / "tests" / "old_runs"
#: Integers at the limits of the fields of headers.
_LIMITS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
#: Characters and words that are significant in text formats and in the headers of NumPy files.
_WORDS = (
    b'"',
    b"'",
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\t",
    b";",
    b"(",
    b"[",
    b"{",
    b"-",
    b"nan",
    b"1e999",
)
_WORDS = (
    *_WORDS,
    b"inf",
    b"\xff",
    b"\xef\xbb\xbf",
    b"<f4",
    b"|O",
    b"<U4",
    b"True",
    b"None",
    b"9" * 30,
)
_N = 12


@functools.cache
def seeds() -> Mapping[str, bytes]:
    """Return the contents of small valid files by name."""
    import pandas as pd

    from varied.compression.container import pack
    from varied.spec import Spec

    random = np.random.default_rng(0)
    numbers = random.normal(size=(_N, 4)).astype(np.float32)
    gray = random.integers(0, 256, (_N, 8, 8), dtype=np.uint8)
    labels = np.arange(_N) % 3
    frame = pd.DataFrame({"a": numbers[:, 0].round(2), "b": list("uvwx" * 3), "n": labels})
    frame["day"] = pd.date_range("2024-01-01", periods=_N).strftime("%Y-%m-%d")
    csv = frame.to_csv(index=False)
    idx = struct.pack(">4B3I", 0, 0, 8, 3, *gray.shape) + gray.tobytes()
    classes = np.array(["cat", "dog", "owl"])
    sparse = {"format": b"csr", "shape": (3, 3), "data": np.ones(3, "f4")}
    sparse |= {"indices": np.arange(3, dtype="i4"), "indptr": np.arange(4, dtype="i4")}
    files = {
        "numbers.npy": _written(np.save, numbers),
        "images.npz": _written(np.savez_compressed, x=gray, y=labels, classes=classes),
        "kind.npz": _written(np.savez, x=gray, y=labels, varied_kind="image"),
        "sparse.npz": _written(np.savez, **sparse),
        "images-idx": idx,
        "images-idx.gz": gzip.compress(idx, mtime=0),
        "table.csv": csv.encode(),
        "decimal.csv": csv.replace(",", ";").replace(".", ",").encode("utf-16"),
        "quoted.tsv": csv.replace(",", "\t").replace("u", '"u""\n"').encode(),
        "table.csv.gz": gzip.compress(csv.encode(), mtime=0),
        "table.parquet": _written(lambda f: frame.to_parquet(f)),
        "table.feather": _written(lambda f: frame.to_feather(f)),
        "molecules.smi": b"CCO\nc1ccccc1\nCC(=O)O\n",
        "model.safetensors": (RUNS / "images" / "split.safetensors").read_bytes(),
        "codec.json": (RUNS / "images" / "codec.json").read_bytes(),
        "spec.toml": Spec(latent=2).to_toml(defaults=True).encode(),
        "metrics.jsonl": b'{"step": 1}\n{"step": 2}\n',
        "rows.varied": pack({"n": 3}, np.arange(5, dtype=np.uint32)),
    }
    return files | _images(gray) | _sounds(random)


@functools.cache
def run_files() -> Mapping[str, bytes]:
    """Return the contents of the files of a small run, which is not trained, by name."""
    import tempfile

    from varied.composition import compose
    from varied.data import read, split
    from varied.data.codecs import fit_codec
    from varied.runs.store import Store
    from varied.spec import Spec

    random = np.random.default_rng(0)
    data = read(random.normal(size=(_N, 4)))
    codec = fit_codec(data)
    spec = Spec.parse(net={"name": "mlp", "width": 4}, likelihood="gaussian", latent=2)
    model, _ = compose(spec, codec.shape, codec.domain)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        metadata = {"source": None, "options": {}, "digest": ""}
        store.create(spec, codec, None, metadata, split(data, seed=0))
        store.write_weights("model.safetensors", model, step=1)
        # Without the manifest, which would detect each mutation of the other files.
        (store / "manifest.json").unlink()
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _images(gray: Any) -> dict[str, bytes]:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a text", zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    color = Image.fromarray(np.stack([gray[0], gray[1], gray[2]], -1))
    frames = [Image.fromarray(image) for image in gray[:3]]
    animation = {"save_all": True, "append_images": frames[1:]}
    options: dict[str, dict[str, Any]] = {
        "png": {"pnginfo": text, "exif": exif},
        "jpg": {"exif": exif.tobytes(), "progressive": True},
        "gif": animation,
        "tif": animation | {"compression": "tiff_lzw"},
        "webp": animation,
        "bmp": {},
        "ppm": {},
    }
    files = {}
    for ending, arguments in options.items():
        image = frames[0] if "save_all" in arguments else color
        name = f"image.{ending}"
        files[name] = _written(lambda f, i=image, n=name, a=arguments: i.save(f, _format(n), **a))
    files["mask.png"] = _written(lambda f: Image.fromarray(gray[0] // 128 * 255).save(f, "PNG"))
    images = {f"{i % 2}/{i}.png": files["image.png"] for i in range(3)}
    files["images.zip"] = zip_files(images)
    return files


def _format(name: str) -> str:
    ending = name.rpartition(".")[2]
    return {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper())


def _sounds(random: np.random.Generator) -> dict[str, bytes]:
    import soundfile

    wave = np.sin(np.arange(1600) / 3) + random.normal(size=1600) / 10
    files = {
        f"sound.{ending}": _written(
            lambda f, e=ending: soundfile.write(f, wave / 2, 8000, format=e.upper())
        )
        for ending in ("wav", "flac", "ogg")
    }
    files["sounds.zip"] = zip_files({f"{i}.wav": files["sound.wav"] for i in range(2)})
    return files


def _written(write: Any, *values: Any, **arrays: Any) -> bytes:
    """Return the bytes that a function writes to a file."""
    file = io.BytesIO()
    write(file, *values, **arrays)
    return file.getvalue()


def zip_files(files: Mapping[str, bytes]) -> bytes:
    """Return a zip file, without compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, contents in files.items():
            archive.writestr(zipfile.ZipInfo(name), contents)
    return buffer.getvalue()


def mutate(contents: bytes, random: np.random.Generator, other: bytes = b"") -> bytes:
    """Return the contents after one to four random changes.

    Arguments:
        contents: The contents of a valid file.
        random: The source of random numbers.
        other: The contents of another file, of which a piece may be inserted.
    """
    changed = bytearray(contents)
    for _ in range(random.integers(1, 5)):
        change = _CHANGES[random.integers(len(_CHANGES))]
        # Most changes are near the start or the end, where the headers are.
        span = len(changed) if random.random() < 0.4 else min(len(changed), 128)
        position = int(random.integers(max(span, 1)))
        position = len(changed) - position if random.random() < 0.25 else position
        change(changed, max(0, position), random, other)
    return bytes(changed)


def _flip_bit(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    if position < len(data):
        data[position] ^= 1 << int(random.integers(8))


def _set_integer(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    size = int(random.choice([1, 2, 4, 8]))
    value = int(random.choice(np.array(_LIMITS, dtype=object))) % 2 ** (8 * size)
    order = "little" if random.random() < 0.5 else "big"
    data[position : position + size] = value.to_bytes(size, order)


def _truncate(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    del data[position:]


def _delete(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    del data[position : position + int(random.integers(1, 9))]


def _repeat(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    piece = data[position : position + int(random.integers(1, 33))]
    data[position:position] = piece * int(random.choice([1, 2, 1000]))


def _insert_word(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    data[position:position] = _WORDS[random.integers(len(_WORDS))]


def _splice(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    start = int(random.integers(max(len(other), 1)))
    piece = other[start : start + int(random.integers(1, 65))]
    data[position : position + len(piece)] = piece


def _edit_digits(data: bytearray, position: int, random: np.random.Generator, other: bytes) -> None:
    """Replace the next decimal digit, as in the shapes and lengths of text headers."""
    digits = [i for i in range(position, min(position + 200, len(data))) if 48 <= data[i] <= 57]
    if digits:
        data[digits[0] : digits[0] + 1] = str(random.choice([-1, 0, 7, 99, 10**12])).encode()


_CHANGES = (
    *(_flip_bit, _flip_bit, _set_integer, _set_integer, _edit_digits, _insert_word),
    *(_truncate, _delete, _repeat, _splice),
)
