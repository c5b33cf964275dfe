"""Encoding: the codes of examples, and the names of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from varied import functional
from varied.functional import Codes
from varied.runs.base import RunBase
from varied.runs.columns import Names, columns_frame, write_columns

Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class Encoding(Codes):
    """The code and the name of each example.

    Arguments:
        mean: The mean of the posterior (the embedding), with shape (N, D).
        std: The standard deviation of the posterior, with shape (N, D).
        kl: The KL divergence KL(q(z | x) || p(z)) of each example in nats, with shape (N); None if
            the posterior has no density.
        names: The name of each example, such as its file name.
    """

    names: Names = None

    def __repr__(self) -> str:
        n, dimensions = self.mean.flatten(1).shape
        return f"Encoding({n:,} examples, {dimensions} latent dimensions)"

    @property
    def columns(self) -> dict[str, Array]:
        """The arrays by name: mean, std and, if the posterior has a density, kl."""
        columns = {"mean": self.mean.numpy(), "std": self.std.numpy()}
        return columns if self.kl is None else columns | {"kl": self.kl.numpy()}

    @property
    def frame(self) -> Any:
        """A `pandas.DataFrame` with a row per example and columns mean_0, ..., std_0, ..., kl."""
        return columns_frame(self.columns, self.names)

    def save(self, path: str | Path) -> Path:
        """Write the codes to a file in the format of its extension.

        Arguments:
            path: The file to write. ``.csv``, ``.parquet`` and ``.feather`` files contain one row
                per example; ``.npz`` files contain the arrays mean, std, kl and names.

        Raises:
            VariedError: If the file extension is not supported.
        """
        return write_columns(Path(path), self.columns, self.names)

    def _repr_html_(self) -> str:
        return str(self.frame._repr_html_())


def encode(run: RunBase, source: Any = None) -> Encoding:
    """Return the code of each example, in order.

    Arguments:
        run: The run.
        source: The data; None uses the test rows.
    """
    data = run.read(source)
    codes = functional.encode(run.model, run.codec.load, run.batches(data))
    return Encoding(codes.mean, codes.std, codes.kl, data.names)
