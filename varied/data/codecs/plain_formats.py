"""Conversion of examples to plain Python values, as in JSON, and back."""

from __future__ import annotations

import base64
import binascii
import io
import math
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from varied.data.archive import Member
from varied.data.codecs.cell_conversion import TYPE_NAMES
from varied.data.raw_data import RawData
from varied.errors import VariedError, suggest

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]
Plain = dict[str, Any]

#: The maximum length of a data URL in characters.
MAX_URL = 64_000_000
_NOUNS = {
    "image": "an image",
    "row": "a row of a table",
    "array": "an array",
    "sound": "a recording",
    "molecule": "a molecule",
}


class ReadResult(NamedTuple):
    """Examples that were converted from plain values.

    Arguments:
        data: The examples that can be read, in order.
        errors: The reason why each of the other examples cannot be read, by index.
    """

    data: RawData
    errors: dict[int, str]


class PlainFormat(ABC):
    """Converts the examples of one kind of data to plain values, and back.

    A codec from outside may set `varied.data.Codec.plain_format` to an instance of a subclass; its
    examples must have one of the forms that the other formats return.

    Attributes:
        kind: The value of ``kind`` in each example: "image", "row", "array", "sound" or "molecule".
    """

    kind: ClassVar[str]

    @abstractmethod
    def to_plain(self, codec: Any, examples: Any) -> list[Plain]:
        """Return examples, in the form that `Codec.decode` returns, as plain values."""

    def read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        """Convert plain values to data that the codec can encode.

        Arguments:
            codec: The codec.
            examples: The examples, as `to_plain` returns them.
        """
        errors = {
            i: f"This is {_NOUNS.get(str(e.get('kind')), 'an unknown example')}, but the run "
            f"was trained on {codec.noun}; pass {_NOUNS[self.kind]}."
            for i, e in enumerate(examples)
            if e.get("kind") != self.kind
        }
        rows = [i for i in range(len(examples)) if i not in errors]
        data, problems = self._read(codec, [examples[i] for i in rows])
        return ReadResult(data, errors | {rows[j]: text for j, text in problems.items()})

    @abstractmethod
    def _read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        """Convert examples of the right kind; see `read`."""


class PlainArrays(PlainFormat):
    """Arrays as their shape and a list of numbers, in which None is a missing value."""

    kind = "array"

    def to_plain(self, codec: Any, examples: Any) -> list[Plain]:
        """Return the shape and the values of each array.

        Raises:
            VariedError: If the examples are not arrays of numbers.
        """
        array = np.asarray(examples)
        if array.dtype.kind not in "fiub":
            raise VariedError(
                f"{codec.noun.capitalize()} have no plain form; set plain_format in the class "
                f"{type(codec).__name__}."
            )
        rows = array.reshape(len(array), -1)
        values = rows.astype(object)
        if array.dtype.kind == "f":
            values[~np.isfinite(rows)] = None
        shape = list(array.shape[1:])
        return [{"kind": self.kind, "shape": shape, "values": row} for row in values.tolist()]

    def _read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        shape, rows, errors = tuple(codec.shape), list[Array](), dict[int, str]()
        for i, example in enumerate(examples):
            values = [math.nan if v is None else float(v) for v in example["values"]]
            if tuple(example["shape"]) != shape or len(values) != math.prod(shape):
                errors[i] = (
                    f"The array has shape {tuple(example['shape'])} and {len(values):,} values, "
                    f"but the run was trained on shape {shape}; pass {math.prod(shape):,} values."
                )
            elif any(map(math.isinf, values)):
                errors[i] = "The array contains infinity; replace it with null if it is missing."
            else:
                rows.append(np.array(values, np.float32).reshape(shape))
        return ReadResult(
            RawData(np.array(rows, np.float32).reshape(-1, *shape), codec.kind), errors
        )


class PlainImages(PlainFormat):
    """Images as PNG data URLs."""

    kind = "image"

    def to_plain(self, codec: Any, examples: Any) -> list[Plain]:
        """Return a data URL for each image."""
        return [{"kind": self.kind, "image": image_url(image)} for image in np.asarray(examples)]

    def _read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        from varied.data.image_files import read_images

        files, errors = _files(examples, "image", "The image")
        members = [Member(f"image {i}", partial(io.BytesIO, file)) for i, file in files]
        x, problems, _ = read_images(members, codec.size)
        for j, problem in problems.items():
            errors[files[j][0]] = f"The image is unreadable: {problem.reason}; pass a PNG image."
        return ReadResult(
            RawData(x if len(x) else np.empty((0, *codec.size), np.uint8), "image"), errors
        )


class PlainSounds(PlainFormat):
    """Recordings as WAV data URLs, with their spectrograms as PNG data URLs."""

    kind = "sound"

    def to_plain(self, codec: Any, examples: Any) -> list[Plain]:
        """Return a data URL for each recording and its spectrogram."""
        from varied.data.sound_files import encode_sound

        waves = np.asarray(examples)
        images = codec.to_images(codec.encode(waves)) if len(waves) else []
        return [
            {
                "kind": self.kind,
                "audio": _url("audio/wav", encode_sound(wave, "WAV", codec.rate)),
                "image": image_url(image),
            }
            for wave, image in zip(waves, images, strict=True)
        ]

    def _read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        from varied.data.sound_files import read_sounds

        files, errors = _files(examples, "audio", "The recording")
        members = [Member(f"sound {i}", partial(io.BytesIO, file)) for i, file in files]
        waves, rate, problems, _ = read_sounds(members, codec.rate, codec.seconds)
        for j, problem in problems.items():
            errors[files[j][0]] = f"The recording is unreadable: {problem.reason}; pass a WAV file."
        waves = waves if len(waves) else np.empty((0, codec.mel.n_samples), np.float32)
        return ReadResult(RawData(waves, "sound", dialect={"rate": rate}), errors)


class PlainMolecules(PlainFormat):
    """Molecules as SMILES, with their drawings as PNG data URLs."""

    kind = "molecule"
    #: The size of a drawing in pixels, and the maximum number of molecules that are drawn.
    size, max_drawn = 160, 300

    def to_plain(self, codec: Any, examples: Any) -> list[Plain]:
        """Return the SMILES and the drawing of each molecule."""
        from varied.data import molecules

        texts = [str(text) for text in np.ravel(examples)]
        images = map(image_url, molecules.draw(texts[: self.max_drawn], self.size))
        return [{"kind": self.kind, "smiles": t, "image": next(images, None)} for t in texts]

    def _read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        from varied.data.molecules.parsing import parse

        results = parse([str(e["smiles"]).strip() for e in examples]) if examples else []
        errors = {
            i: f"The SMILES is unreadable: {result.reason}; correct it."
            for i, result in enumerate(results)
            if result.reason
        }
        smiles = [result.smiles for result in results if not result.reason]
        return ReadResult(RawData(np.array(smiles, dtype=str), codec.kind), errors)


class PlainRows(PlainFormat):
    """Rows of a table as mappings from column names to cells, in which None is a missing cell."""

    kind = "row"

    def to_plain(self, codec: Any, examples: Any) -> list[Plain]:
        """Return the cells of each row by column; a date is a text in ISO format."""
        columns = {str(name): _plain_cells(examples[name]) for name in examples.columns}
        rows = zip(*columns.values(), strict=True)
        return [{"kind": self.kind, "row": dict(zip(columns, row, strict=True))} for row in rows]

    def _read(self, codec: Any, examples: Sequence[Mapping[str, Any]]) -> ReadResult:
        names, rows, errors = list(codec.source_columns), list[Any](), dict[int, str]()
        for i, example in enumerate(examples):
            problem = self._problem(codec, example["row"], names)
            if problem:
                errors[i] = problem
            else:
                rows.append(example["row"])
        return ReadResult(_table(rows, names), errors)

    def _problem(self, codec: Any, row: Mapping[str, Any], names: list[str]) -> str:
        """Return the reason why a row cannot be read, or "" if it can."""
        unknown = next((name for name in row if name not in names), None)
        if unknown is not None:
            return f"The table has no column '{unknown}': {suggest(unknown, names)}"
        for cells in codec.invalid_cells(_table([row], names)):
            if cells.expected in TYPE_NAMES.values():
                return f"{cells.reason(0)}; correct it, or leave it out."
        return ""


def image_url(image: Array) -> str:
    """Return an image, uint8 with shape (H, W) or (H, W, 3), as a PNG data URL."""
    return _url("image/png", encode_png(image))


def encode_png(image: Array) -> bytes:
    """Return an image, uint8 with shape (H, W), (H, W, 3) or (H, W, 4), as a PNG file.

    For small images, this takes a fifth of the time of Pillow.

    References:
        Portable Network Graphics (PNG) Specification, https://www.w3.org/TR/png-3/
    """
    height, width = image.shape[:2]
    color_type = {1: 0, 3: 2, 4: 6}[math.prod(image.shape[2:])]
    # Each row of pixels follows a byte with its filter, which is 0 for no filter.
    rows = np.zeros((height, 1 + math.prod(image.shape[1:])), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def _png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def parse_url(url: str) -> bytes:
    """Return the content of a base64 data URL.

    Raises:
        VariedError: If it is not a base64 data URL, or too long.
    """
    head, comma, content = url[:MAX_URL].partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise VariedError(
            "The text is not a data URL; write data:image/png;base64, followed by the file."
        )
    if len(url) > MAX_URL:
        raise VariedError("The data URL is longer than 64 MB; reduce the size of the file.")
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise VariedError("The data URL is not valid base64; encode the file again.") from None


def _url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _files(
    examples: Sequence[Mapping[str, Any]], field: str, what: str
) -> tuple[list[tuple[int, bytes]], dict[int, str]]:
    """Return the contents of data URLs with their indices, and the errors of the others."""
    files, errors = list[tuple[int, bytes]](), dict[int, str]()
    for i, example in enumerate(examples):
        try:
            files.append((i, parse_url(str(example[field]))))
        except VariedError as error:
            errors[i] = f"{what} is unreadable: {error}"
    return files, errors


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> RawData:
    import pandas as pd

    columns = {name: [row.get(name) for row in rows] for name in names}
    frame = pd.DataFrame({n: pd.Series(cells, dtype=object) for n, cells in columns.items()})
    return RawData(frame, "table", dialect={"decimal": "."})


def _plain_cells(cells: pd.Series[Any]) -> list[Any]:
    """Return the cells of a column as plain values, with None where missing."""
    if cells.dtype.kind == "M":
        is_date = bool((cells.dropna() == cells.dropna().dt.normalize()).all())
        cells = cells.dt.strftime("%Y-%m-%d" if is_date else "%Y-%m-%dT%H:%M:%S")
    known = cells.notna().tolist()
    return [_plain_cell(v) if k else None for v, k in zip(cells.tolist(), known, strict=True)]


def _plain_cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)
