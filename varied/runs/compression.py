"""Compression and decompression of data with a run."""

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
from varied.models import LatentModel
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_grid

Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class CompressedData:
    """Compressed examples, as the bytes of a file.

    Arguments:
        data: The bytes of the file.
        array: The examples that were compressed. Decompression restores them if ``lossless`` is
            True, and returns their reconstructions otherwise.
        model_bits: The information content of the examples under the model, in bits: the negative
            ELBO, or the negative log-probability of the codes.
        initial_bits: The number of random bits that bits-back coding starts with; the file
            contains them.
        lossless: Whether decompression restores the data exactly.
        binarized: Whether the run binarizes images, in which case the compressed images are binary.
        psnr: The PSNR of reconstructed images in decibels; None for lossless compression, and for
            data other than images.
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
        """The file size in bits per dimension."""
        return 8 * len(self.data) / self.array.size

    @property
    def bound(self) -> float:
        """The information content of the examples under the model, in bits per dimension."""
        return self.model_bits / self.array.size

    @property
    def bits(self) -> float:
        """The file size in bits per example."""
        return 8 * len(self.data) / len(self.array)

    @cached_property
    def others(self) -> dict[str, float]:
        """The sizes of the same data as a single PNG, gzip or xz file, in bits per dimension."""
        sizes = baseline_sizes(self.array)
        return {name: 8 * size / self.array.size for name, size in sizes.items()}

    def save(self, path: str | Path) -> Path:
        """Write the file; it can be decompressed only with the same run."""
        return atomic_io.atomic_write(Path(path), self.data)


def compress(run: RunBase, source: Any = None) -> CompressedData:
    """Compress data losslessly or, with a VQ-VAE, store their codes.

    The result is verified by decompressing it. A prior that was fitted after training is not used,
    since bits-back coding requires a standard normal prior.

    Arguments:
        run: The run.
        source: The data; None uses the test rows.

    Raises:
        VariedError: If the run does not support compression, values are missing, or the
            verification fails.
    """
    model = run.original_model()
    lossless = _is_lossless(run, model)
    data = run.read(source)
    if run.encode_data(data).mask is not None:
        raise VariedError(
            "Data with missing values cannot be compressed; fill them in with `varied impute`."
        )
    x, _ = run.model_input(data)
    notes = {"names": list(data.names)} if data.names else {}
    packed = compression.compress(model, x, notes)
    restored, _ = compression.decompress(model, packed.data)
    array = run.codec.decode(x)
    if lossless and not np.array_equal(array, run.codec.decode(restored)):
        raise VariedError(
            "The compressed data do not decompress to the original data on this machine, so they "
            "were discarded; compress the data on another machine, or in a standard format."
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
    """Restore the data from a compressed file.

    Arguments:
        run: The run that was used for compression.
        path: The file.

    Raises:
        VariedError: If the file is corrupted, or was compressed with a different run.
    """
    data = atomic_io.read_bytes(Path(path))
    model = run.original_model()
    _is_lossless(run, model)
    x, notes = compression.decompress(model, data)
    return run.result(x, draw_grid, names=tuple(map(str, notes.get("names", ()))))


def _is_lossless(run: RunBase, model: LatentModel) -> bool:
    """Return whether compression with the run is lossless.

    Raises:
        VariedError: If the run does not support compression.
    """
    if not run.codec.is_compressible:
        raise VariedError(
            f"Compression is not supported for {run.codec.noun}; use a standard format, such as "
            ".parquet for tables, .flac for recordings and .xz for other files."
        )
    if run.context is not None:
        raise VariedError(
            "Compression is not supported for conditional runs, since decompression does not know "
            "the labels; train a model with `varied train DATA --model vae`."
        )
    return compression.is_lossless(model)
