"""What every codec is: fitted once, then a way in and a way out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from varied.data.defaults import advise
from varied.data.raw_data import RawData
from varied.errors import VariedError

__all__ = ["Array", "Codec", "validate_shape", "within_unit"]

Array = npt.NDArray[Any]


class Codec(ABC):
    """What a run remembers about raw data.

    Attributes:
        kind: The kind of items that it is for, and its name in a saved run.
        shape: The shape of a datum as the model sees it, channels first: `(1, 28, 28)`, `(140,)`.
        domain: What values it has: `"binary"`, `"levels"` (k / 255), `"unit"` ([0, 1]), `"real"`,
            `"table"` (its columns).
        drawn: Whether new data are drawn from p(x given z), since its mean is no datum.
        notes: What was understood when it was fitted, a sentence each.
    """

    kind: ClassVar[str]
    decodes_by_sampling: ClassVar[bool] = False
    shape: tuple[int, ...]
    domain: str
    notes: tuple[str, ...]

    @classmethod
    @abstractmethod
    def fit(cls, items: RawData) -> Self:
        """Fit to the training rows."""

    @abstractmethod
    def encode(self, items: RawData | Array) -> Tensor:
        """Return the rows as they are stored, with shape `(N, *shape)`."""

    @abstractmethod
    def load(self, stored: Tensor) -> Tensor:
        """Return stored rows as the model sees them: float32, with shape `(B, *shape)`."""

    @abstractmethod
    def decode(self, x: Tensor) -> Array:
        """Return rows of the model as what the person has."""

    def to_images(self, x: Tensor) -> Array:
        """Return rows of the model as they are looked at: 8-bit pictures where they are pictures.

        Returns:
            uint8 with shape `(N, H, W)` or `(N, H, W, 3)`; numbers as `decode` gives them if the
            data have no look.
        """
        rows = self.decode(x)
        if rows.dtype == np.uint8 or not (rows.ndim == 4 and rows.shape[1] in (1, 3)):
            return rows
        low, high = (0.0, 1.0) if self.domain != "real" else (rows.min(), rows.max())
        gray = np.clip((rows - low) / max(high - low, 1e-12), 0, 1) * 255
        shown: Array = np.moveaxis(gray.round().astype(np.uint8), 1, -1)
        return shown[..., 0] if rows.shape[1] == 1 else shown

    def advice(self, n: int) -> dict[str, tuple[object, str]]:
        """Return for each part its suggested value and the reason."""
        return advise(self.shape, self.domain, n)

    def suggest(self, n: int) -> dict[str, object]:
        """Return the parts that fit data of `n` training rows: `net`, `likelihood`, `latent`."""
        return {part: value for part, (value, _) in self.advice(n).items()}

    def reasons(self, n: int) -> list[str]:
        """Return a sentence for each suggestion: why it fits."""
        advice = self.advice(n).items()
        return [f"{part} = {value}, because {reason}." for part, (value, reason) in advice]

    def unseen_level_notes(self, items: RawData) -> list[str]:
        """Return a sentence for each column with levels that are not in the training rows."""
        return []

    def to_json(self) -> dict[str, object]:
        """Return plain values that `open_codec` reads."""
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in fields}
        return {"codec": self.kind, **plain}


def validate_shape(shape: tuple[int, ...], rest: bool) -> None:
    """Refuse the fields of a codec that cannot be: a file was damaged or edited.

    Raises:
        VariedError: If the shape is none, or `rest` does not hold.
    """
    whole = all(isinstance(s, int) and s > 0 for s in shape)
    if not (shape and whole and rest):
        raise VariedError(f"A codec of shape {shape} is damaged: train again.")


def within_unit(x: Array) -> bool:
    """Return whether all values lie in [0, 1]."""
    return bool(x.min() >= 0 and x.max() <= 1)
