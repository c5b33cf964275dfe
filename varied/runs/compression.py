"""Compression of data with a run, and decompression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import atomic_io, compression
from varied.compression.baselines import baseline_sizes
from varied.errors import VariedError
from varied.evaluate.image_similarity import psnr
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_grid

Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class CompressedData:
    """Compressed data.

    Arguments:
        data: The bytes of the file.
        array: The data that decompression restores; if ``lossless`` is False, the originals of
            the reconstructions that it returns.
        model_bits: The information content under the model: the negative ELBO, or the negative
            log-probability of the codes.
        initial_bits: Random bits in the file that bits-back coding starts with.
        lossless: Whether decompression returns the data, or their reconstructions otherwise.
        binarized: Whether the run binarizes its images, so that binary images are compressed.
        psnr: The PSNR of reconstructed images in decibels; None for lossless compression.
    """

    data: bytes
    array: Array
    model_bits: float
    initial_bits: int
    lossless: bool
    binarized: bool
    psnr: float | None = None

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"CompressedData({len(self):,} examples, {len(self.data):,} bytes)"

    @property
    def rate(self) -> float:
        """Bits per dimension of the file."""
        return 8 * len(self.data) / self.array.size

    @property
    def bound(self) -> float:
        """Bits per dimension of the information content under the model."""
        return self.model_bits / self.array.size

    @property
    def bits(self) -> float:
        """Bits per example of the file."""
        return 8 * len(self.data) / len(self.array)

    @cached_property
    def others(self) -> dict[str, float]:
        """Bits per dimension of the same data as PNG, gzip and xz, all in one file."""
        sizes = baseline_sizes(self.array)
        return {name: 8 * size / self.array.size for name, size in sizes.items()}

    def save(self, path: str | Path) -> Path:
        """Write the file; it can only be read with the run."""
        return atomic_io.atomic_write(Path(path), self.data)


def compress(run: RunBase, source: Any = None) -> CompressedData:
    """Compress data: losslessly, or the codes of a VQ-VAE. The file is verified.

    Arguments:
        run: The run.
        source: The data; None for the test rows.

    Raises:
        VariedError: If the run does not support compression.
    """
    lossless = _is_lossless(run)
    data = run.read(source)
    x, _ = run.model_input(data)
    notes = {"names": list(data.names)} if data.names else {}
    packed = compression.compress(run.model, x, notes)
    restored, _ = compression.decompress(run.model, packed.data)
    array = run.codec.decode(x)
    if lossless and not np.array_equal(array, run.codec.decode(restored)):
        raise VariedError(
            "The compressed file does not decompress to the same data on this machine, so it is "
            "not written."
        )
    is_image = array.dtype == np.uint8
    quality = psnr(x, restored).value if is_image and not lossless else None
    return CompressedData(
        packed.data,
        array,
        packed.model_bits,
        packed.initial_bits,
        lossless,
        run.codec.is_lossy,
        quality,
    )


def decompress(run: RunBase, path: Path | str) -> Result:
    """Restore the data of a file that `compress` wrote.

    Arguments:
        run: The same run.
        path: The file.

    Raises:
        VariedError: If the file is damaged, or of another run.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise VariedError(
            f"{path} cannot be read ({error.strerror}); check its name and its permissions."
        ) from None
    _is_lossless(run)
    x, notes = compression.decompress(run.model, data)
    return run.result(x, draw_grid, names=tuple(map(str, notes.get("names", ()))))


def _is_lossless(run: RunBase) -> bool:
    """Return whether compression with a run is lossless.

    Raises:
        VariedError: If the run does not support compression.
    """
    if not run.codec.is_compressible:
        raise VariedError(
            f"Compression is not available for {run.codec.kind} data; save tables as .csv.xz or "
            ".parquet instead."
        )
    if run.context is not None:
        raise VariedError(
            "This run is conditional, and decompression does not know the labels: train one with "
            "`varied train DATA --model vae`."
        )
    return compression.is_lossless(run.model)
