"""What a use gives back: data in the person's own form, that can be saved or looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from varied import atomic_io, plots
from varied.errors import VariedError

__all__ = ["Draw", "Result", "draw_many", "draw_pairs", "draw_paths", "draw_traversals"]

Array = npt.NDArray[Any]
Draw = Callable[[Array, Path], Path]


@dataclass(frozen=True)
class Result:
    """Made data.

    Arguments:
        array: The data in the person's own form: uint8 pictures (..., H, W) or (..., H, W, 3), or
            numbers in their own units.
        shown: The same as it is looked at: uint8 pictures where the data are pictures.
        draw: Draws what is shown into one picture file.
    """

    array: Array
    shown: Array
    draw: Draw

    @property
    def kind(self) -> str:
        """What the data are to look at: "image" or "array"."""
        return "image" if self.shown.dtype == np.uint8 else "array"

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        return f"Result({self.kind}s, {'x'.join(map(str, self.array.shape))})"

    def save(self, path: str | Path) -> Path:
        """Write the data by the ending of the name.

        Arguments:
            path: ``.png`` draws all in one picture, ``.npy`` keeps the numbers, ``.csv`` writes
                vectors as rows, and a name without an ending is a folder of single pictures.

        Raises:
            VariedError: If the ending is not known, or does not suit the data.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".png":
            path.parent.mkdir(parents=True, exist_ok=True)
            return self.draw(self.shown, path)
        if ending == ".npy":
            return _save_array(self.array, path)
        if ending == ".csv" and self.kind == "array":
            rows = self.array.reshape(len(self.array), -1)
            return atomic_io.atomic_write(
                path, "".join(",".join(map(repr, r)) + "\n" for r in rows.tolist())
            )
        if not ending and self.kind == "image":
            return self._save_each(path)
        raise VariedError(f"'{path.name}': save {self.kind}s as .png or .npy, or give a folder.")

    def _save_each(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        color = self.shown.ndim > 3 and self.shown.shape[-1] == 3
        frame = self.shown.shape[-3 if color else -2 :]
        for index, picture in enumerate(self.shown.reshape(-1, *frame)):
            Image.fromarray(picture).save(folder / f"{index:05d}.png")
        return folder


def _save_array(array: Array, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return path


def draw_many(array: Array, path: Path) -> Path:
    """Draw pictures as a grid, and vectors as curves."""
    if array.dtype == np.uint8:
        return plots.grid(array, path)
    return plots.curves(array.reshape(len(array), -1)[:32], path)


def draw_pairs(array: Array, path: Path) -> Path:
    """Draw originals over reconstructions."""
    if array.dtype == np.uint8:
        return plots.pairs(array[0], array[1], path)
    original, made = (half.reshape(len(half), -1)[:32] for half in array)
    return plots.curves(original, path, overlay=made)


def draw_paths(array: Array, path: Path) -> Path:
    """Draw a row for each path."""
    if array.dtype == np.uint8:
        return plots.interpolations(array, path)
    return plots.curves(
        array.reshape(-1, int(np.prod(array.shape[2:]))), path, columns=array.shape[1]
    )


def draw_traversals(
    array: Array, path: Path, *, rates: Array, values: Array, dims: Sequence[int]
) -> Path:
    """Draw a row for each dimension."""
    if array.dtype == np.uint8:
        return plots.traversals(array, rates, values, path, units=dims)
    titles = [f"z{d}" for d in dims for _ in range(array.shape[1])]
    rows = array.reshape(-1, int(np.prod(array.shape[2:])))
    return plots.curves(rows, path, columns=array.shape[1], titles=titles)
