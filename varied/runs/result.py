"""What a use gives back: data in the person's own form, that can be saved or looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from varied import files
from varied.errors import VariedError

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """Made data.

    Arguments:
        array: uint8 pictures (..., H, W) or (..., H, W, 3), or numbers in their own units.
        kind: "picture" or "array".
        draw: Draws the data into a picture file.
    """

    array: npt.NDArray[np.generic]
    kind: str
    draw: Callable[[npt.NDArray[np.generic], Path], Path]

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
            return self.draw(self.array, path)
        if ending == ".npy":
            return _save_array(self.array, path)
        if ending == ".csv" and self.kind == "array":
            rows = self.array.reshape(len(self.array), -1)
            return files.write(path, "".join(",".join(map(repr, r)) + "\n" for r in rows.tolist()))
        if not ending and self.kind == "picture":
            return self._save_each(path)
        raise VariedError(f"'{path.name}': save {self.kind}s as .png or .npy, or give a folder.")

    def _save_each(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        colour = self.array.ndim > 3 and self.array.shape[-1] == 3
        frame = self.array.shape[-3 if colour else -2 :]
        for index, picture in enumerate(self.array.reshape(-1, *frame)):
            Image.fromarray(picture).save(folder / f"{index:05d}.png")
        return folder


def _save_array(array: npt.NDArray[np.generic], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return path
