"""The result of an operation on a run: examples in the form of the original data."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from varied import plots
from varied.data import Codec

Array = npt.NDArray[Any]
Draw = Callable[[Array, Path], Path]


@dataclass(frozen=True, repr=False)
class Result:
    """Examples in the form of the original data.

    Arguments:
        codec: The codec of the run.
        array: The examples: uint8 images with shape (..., H, W) or (..., H, W, 3); arrays in the
            original units; or a `pandas.DataFrame` whose index contains the leading axes.
        images: The examples in the form in which they are plotted: uint8 if the data are images.
        draw: The function that writes a plot of the examples to a file.
        shape: The leading shape, such as (paths, steps).
        names: The names of the original files, if there are any.
        is_path: Whether the second axis is a path, which can be animated as a ``.gif``.
    """

    codec: Codec
    array: Any
    images: Array
    draw: Draw
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    is_path: bool = False

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{type(self).__name__}({shape} {self.codec.noun})"

    @property
    def frame(self) -> Any:
        """The table as a DataFrame of the original library: pandas, polars or pyarrow.

        Raises:
            VariedError: If the data are not a table.
        """
        return self.codec.to_frame(self.array)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the written table, such as renamed columns."""
        return tuple(self.codec.describe_axes(self.array))

    @property
    def folder_ending(self) -> str:
        """The default file extension for storing all examples; "" stands for a folder."""
        return self.codec.data_ending

    @property
    def default_ending(self) -> str:
        """The file extension that `save` uses by default."""
        return self.codec.default_ending

    def save(self, path: str | Path) -> Path:
        """Write the examples to a file in the format of its extension.

        Arguments:
            path: The file to write. ``.png`` plots the examples, and ``.gif`` animates paths of
                images. The other formats depend on the data: ``.npy`` and ``.csv`` for arrays;
                ``.csv``, ``.tsv``, ``.parquet`` and ``.feather`` for tables; ``.npy``, or a folder
                (a name without an extension), for images; see `Codec.save` for other data.

        Raises:
            VariedError: If the data cannot be written in this format.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".png":
            return self.codec.plot(self.array, self.images, self.draw, path)
        if ending == ".gif" and self.is_path and self.images.dtype == np.uint8:
            return plots.interpolation_gif(self.images, path)
        return self.codec.save(self.array, path, self.names)

    def _repr_png_(self) -> bytes:
        """Return the plot, for notebooks."""
        with tempfile.TemporaryDirectory() as folder:
            return self.save(Path(folder) / "result.png").read_bytes()

    def _repr_html_(self) -> str:
        """Return the rows of a table, or the plot of other data, for notebooks."""
        if self.codec.column_names:
            return str(self.array._repr_html_())
        data = base64.b64encode(self._repr_png_()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(repr(self))}">'


def draw_grid(images: Array, path: Path) -> Path:
    """Plot images as a grid, and other arrays as curves."""
    if images.dtype == np.uint8:
        return plots.grid(images, path)
    return plots.curves(_curves(images)[:32], path)


def draw_pairs(images: Array, path: Path) -> Path:
    """Plot originals above their reconstructions."""
    if images.dtype == np.uint8:
        return plots.pairs(images[0], images[1], path)
    originals, reconstructions = (_curves(half)[:32] for half in images)
    return plots.curves(originals, path, overlay=reconstructions)


def _curves(values: Array) -> Array:
    return values.reshape(len(values), -1)
