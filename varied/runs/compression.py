"""Data as a small file, what it costs beside other files, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from varied import atomic_io, compression
from varied.compression.baselines import baseline_sizes
from varied.data import RawData
from varied.data.codecs import TableCodec
from varied.errors import VariedError
from varied.evaluate.image_similarity import psnr
from varied.runs.opening import OpenRun
from varied.runs.result import Result, draw_many

__all__ = ["CompressedData", "Restored", "compress", "decompress"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CompressedData:
    """Data as bits, by what a run knows of them.

    Arguments:
        data: The bytes of the file.
        array: What is kept, in the person's own form: what the file is read to, or, where
            ``lossless`` is false, the originals of that.
        least: Bits that the model gives as the least for all of it: minus its ELBO, or minus the
            log-probability of the codes.
        start: Bits of the file that tell nothing: what bits back begins with.
        lossless: Whether all comes back; else the reconstructions do.
        binarized: Whether the run made pictures black and white, which is then what is kept.
        psnr: How near reconstructed pictures are, in decibels; None where nothing is lost.
    """

    data: bytes
    array: Array
    least: float
    start: int
    lossless: bool
    binarized: bool
    psnr: float | None = None

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"Compressed({len(self):,} data, {len(self.data):,} bytes)"

    @property
    def rate(self) -> float:
        """Bits a dimension of the whole file."""
        return 8 * len(self.data) / self.array.size

    @property
    def bound(self) -> float:
        """Bits a dimension that the model gives as the least."""
        return self.least / self.array.size

    @property
    def bits(self) -> float:
        """Bits a datum of the whole file."""
        return 8 * len(self.data) / len(self.array)

    @cached_property
    def others(self) -> dict[str, float]:
        """Bits a dimension of the same data by PNG, gzip and xz, all data in one file."""
        found = baseline_sizes(self.array)
        return {name: 8 * size / self.array.size for name, size in found.items()}

    def save(self, path: str | Path) -> Path:
        """Write the file; the run is needed to read it."""
        return atomic_io.atomic_write(Path(path), self.data)


@dataclass(frozen=True)
class Restored(Result):
    """Data that were read back.

    Arguments:
        names: The names of their files, where they had names.
    """

    names: tuple[str, ...] = ()

    def _save_each(self, folder: Path) -> Path:
        for path, picture in zip(_paths(self.names, len(self)), self.shown, strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / path)
        return folder


def _paths(names: tuple[str, ...], n: int) -> list[str]:
    """Return where pictures go in their folder: under their names, where these are fit for it."""
    found = [str(PurePosixPath(name).with_suffix(".png")) for name in names if _within(name)]
    sound = len(found) == n and len({path.lower() for path in found}) == n
    return found if sound else [f"{index:05d}.png" for index in range(n)]


def _within(name: str) -> bool:
    """Return whether a name, which a stranger may have written, stays in its folder."""
    path = PurePosixPath(name)
    odd = any(mark in name for mark in ("\\", ":", "\0"))
    return bool(path.name) and not (odd or path.is_absolute() or ".." in path.parts)


def compress(run: OpenRun, items: RawData) -> CompressedData:
    """Return data as bits, once they were read back and found to be the same.

    Arguments:
        run: What knows them.
        items: The data.

    Raises:
        VariedError: If the run is of a kind that makes no bits.
    """
    lossless = _lossless(run)
    x, _ = run.as_model_input(items)
    notes = {"names": list(items.names)} if items.names else {}
    packed = compression.compress(run.model, x, notes)
    made, _ = compression.decompress(run.model, packed.data)
    array, back = run.codec.decode(x), run.codec.decode(made)
    if lossless and not np.array_equal(array, back):
        raise VariedError("What was written does not read back here, so nothing is kept of it.")
    binarized = getattr(run.codec, "binarize", "none") != "none"
    near = None if lossless or array.dtype != np.uint8 else psnr(x, made).value
    return CompressedData(
        packed.data, array, packed.model_bits, packed.initial_bits, lossless, binarized, near
    )


def decompress(run: OpenRun, path: Path) -> Restored:
    """Return the data that a file tells."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise VariedError(f"{path} cannot be read ({error.strerror}).") from None
    _lossless(run)
    x, notes = compression.decompress(run.model, data)
    array, shown = run.codec.decode(x), run.codec.to_images(x)
    return Restored(array, shown, draw_many, tuple(map(str, notes.get("names", ()))))


def _lossless(run: OpenRun) -> bool:
    """Return whether a run keeps all of its data; one that cannot keep them is refused."""
    if isinstance(run.codec, TableCodec):
        raise VariedError(
            "Rows of a table are not compressed by a run; name a run of pictures, and keep the "
            "table as .csv.xz or .parquet."
        )
    if run.context is not None:
        raise VariedError(
            "This run is told the class of each datum, which a reader would not know; train one "
            "with `varied train DATA --model vae`."
        )
    return compression.is_lossless(run.model)
