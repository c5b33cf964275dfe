"""The codec for molecules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from varied import atomic_io, plots
from varied.data import molecules
from varied.data.codecs.base import Array, Codec
from varied.data.codecs.field_checks import check_fields
from varied.data.codecs.options import check_options
from varied.data.codecs.plain_formats import PlainFormat, PlainMolecules
from varied.data.defaults import Default
from varied.data.raw_data import RawData
from varied.data.tables.dialect import SUFFIXES
from varied.errors import VariedError

#: The tokens with which each vocabulary begins: the end of a molecule, and unknown tokens.
_END, _UNKNOWN = "", "?"
#: The size of a drawing in pixels, and the maximum number of molecules that are drawn, since each
#: takes more than a millisecond.
_SIZE, _MAX_DRAWN = 120, 1000
#: The width of the hidden layer. After the same training time, one wide layer reconstructs more
#: molecules exactly than two narrower ones.
_WIDTH = 1024
#: The KL weight rises during 90% of training. With a short warm-up, the code contains much less
#: information.
_OBJECTIVE = {"name": "elbo", "beta": "linear(0, 1, 0.9)"}
_OBJECTIVE_REASON = (
    "a KL weight that rises to 1 during almost all of training keeps more information in the code"
)
#: The numbers of molecules and positions from which the autoregressive likelihood is the default.
#: After five minutes on 40,000 molecules of QM9, its samples were more diverse, and their
#: properties closer to the data, than with independent tokens (`benchmarks/molecules.py`); with
#: independent tokens, hardly any drug-sized molecule is reconstructed exactly.
_ENOUGH_ROWS, _LONG = 1000, 33
#: The number of latent variables for every two positions, and the free bits of the KL in nats, for
#: each position and at most. Without free bits, the KL falls below 10 nats
#: (`benchmarks/results/moses.md`). With more free bits, more molecules of QM9 are reconstructed
#: exactly, but samples are less similar to them: if the KL exceeds the logarithm of the number of
#: possible molecules (12 nats for QM9), the codes do not fill the prior.
_CHANNELS, _FREE_BITS, _MAX_FREE_BITS = 4, 0.6, 28.0
_FREE_BITS_REASON = "free bits keep information in the code, which this decoder may ignore"
#: The number of molecules that are plotted if there are more than `_MAX_DRAWN`.
_PLOTTED = 100
#: A note for a table that may contain molecules, if the packages are not installed.
_NOT_INSTALLED = (
    "The table may contain molecules, which are ignored; to model them, run "
    "`pip install 'varied[molecules]'`."
)


@dataclass(frozen=True)
class MoleculeCodec(Codec):
    """Molecules as sequences of SELFIES tokens; the model input is a one-hot vector per position.

    SELFIES is a language in which each sequence of tokens represents a molecule with valid
    valences. A molecule is decoded from the most probable token at each position; a molecule that
    RDKit rejects nevertheless is decoded as an empty string.

    References:
        Self-Referencing Embedded Strings (SELFIES): A 100% robust molecular string representation
        (Krenn et al., 2020), https://arxiv.org/abs/1905.13741

    Arguments:
        tokens: The vocabulary; the first token is the end of a molecule, and the second represents
            tokens that are not in the training rows.
        length: The number of positions.
    """

    kind: ClassVar[str] = "molecules"
    noun: ClassVar[str] = "molecules"
    endings: ClassVar[tuple[str, ...]] = molecules.ENDINGS
    data_ending: ClassVar[str] = ".smi"
    labeled_ending: ClassVar[str] = ".csv"
    plain_format: ClassVar[PlainFormat] = PlainMolecules()
    is_compressible: ClassVar[bool] = False
    reading_option_names: ClassVar[tuple[str, ...]] = ("keep_duplicates", "scaffold_split")
    domain: ClassVar[str] = "one-hot"  # type: ignore[misc]

    tokens: tuple[str, ...]
    length: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_valid = self.tokens[:2] == (_END, _UNKNOWN) and self.length > 0
        check_fields((max(self.length, 0), len(self.tokens)), is_valid)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The number of tokens in the vocabulary, and the number of positions."""
        return len(self.tokens), self.length

    # Reading

    @classmethod
    def read_file(cls, path: Path) -> RawData:
        """Read a file of SMILES or an SDF file; see `varied.data.molecules.read_molecules`."""
        return molecules.read_molecules(path)

    @classmethod
    def from_table(cls, data: RawData, *, is_chosen: bool = False) -> RawData | None:
        """Return the molecules of a table, if a column contains SMILES.

        Raises:
            VariedError: If the user chose this kind of data, but the table has no such column, or a
                package is not installed.
        """
        if is_chosen:
            molecules.import_chemistry()
        elif not molecules.possible_columns(data.x):
            return None
        elif not molecules.is_available():
            return data.with_notes(_NOT_INSTALLED)
        column = molecules.smiles_column(data.x, is_chosen=is_chosen)
        if column is None and is_chosen:
            raise VariedError(
                "No column of the table contains SMILES; name the column of the molecules 'smiles'."
            )
        return None if column is None else molecules.from_table(data, column)

    @classmethod
    def apply_options(cls, data: RawData, **options: Any) -> RawData:
        """Omit repeated molecules unless ``keep_duplicates`` is set.

        With ``scaffold_split``, the molecules with the rarest scaffolds are the test rows.
        """
        check_options(options, cls.reading_option_names, "molecules")
        data = data if options.get("keep_duplicates") else molecules.drop_duplicates(data)
        return molecules.split_scaffolds(data) if options.get("scaffold_split") else data

    @classmethod
    def parse_source(cls, text: str) -> Any:
        """Return a list with the molecule if the text is a SMILES string, not an existing path.

        Otherwise, return the text.
        """
        return [text] if not Path(text).exists() and molecules.is_smiles(text) else text

    @property
    def reading_options(self) -> dict[str, Any]:
        """The options with which lists of SMILES and tables are read as molecules, one per row."""
        return {"kind": self.kind, "keep_duplicates": True}

    @classmethod
    def summarize(cls, data: RawData) -> str:
        """Return a phrase with the number of molecules."""
        return f"{len(data):,} molecules"

    # To tensors and back

    @classmethod
    def fit(cls, data: RawData) -> Self:
        """Fit the vocabulary and the number of positions to the training rows."""
        rows = molecules.to_tokens(_texts(data))
        known = sorted({token for row in rows for token in row} - {_UNKNOWN})
        length = max(map(len, rows), default=0)
        note = f"Molecules have up to {length} SELFIES tokens, from a vocabulary of {len(known)}."
        return cls((_END, _UNKNOWN, *known), length, (note,))

    def encode(self, data: RawData | Array) -> Tensor:
        """Return the index of each token, uint8 or int16 with shape ``(N, length)``.

        Tokens that are not in the training rows become unknown tokens, and tokens after the last
        position are omitted.
        """
        index = {token: i for i, token in enumerate(self.tokens)}
        texts = _texts(data)
        stored = np.zeros((len(texts), self.length), self._dtype)
        for row, tokens in zip(stored, molecules.to_tokens(texts), strict=True):
            indices = [index.get(token, 1) for token in tokens[: self.length]]
            row[: len(indices)] = indices
        return torch.from_numpy(stored)

    @property
    def _dtype(self) -> type[np.integer[Any]]:
        return np.uint8 if len(self.tokens) <= 256 else np.int16

    def load(self, stored: Tensor) -> Tensor:
        """Return a one-hot vector for each position, float32 with shape ``(B, tokens, length)``."""
        return one_hot(stored.long(), len(self.tokens)).movedim(-1, -2).to(torch.float32)

    def decode(self, x: Tensor, labels: Sequence[str | None] | None = None) -> Array:
        """Return the SMILES of the most probable tokens, as an array of strings with shape (N)."""
        rows = x.argmax(1).tolist()
        tokens = [[self.tokens[i] for i in row if i > 1] for row in rows]
        return np.array(molecules.to_smiles(tokens), dtype=str)

    def describe_conversion(self) -> dict[str, Any]:
        """Return the vocabulary."""
        return {
            "to_input": "Split the SELFIES of a molecule into tokens, and encode the token at each "
            "position as a one-hot vector along the first axis. Token 0 marks the positions after "
            "the end, and token 1 represents unknown tokens.",
            "from_mean": "Take the most probable token at each position, and omit tokens 0 and 1.",
            "tokens": list(self.tokens),
        }

    # Results

    def to_images(self, x: Tensor) -> Array:
        """Return drawings of molecules, or the rows as numbers if there are more than 1,000."""
        if len(x) > _MAX_DRAWN:
            rows: Array = x.detach().float().cpu().numpy()
            return rows
        return molecules.draw(self.decode(x), _SIZE)

    def plot(
        self, examples: Any, images: Array, draw: Callable[[Array, Path], Path], path: Path
    ) -> Path:
        """Plot the molecules, or the first 100 of them if there are more than 1,000."""
        if images.dtype != np.uint8:
            shown = examples.reshape(-1)[:_PLOTTED]
            return plots.grid(molecules.draw(shown, _SIZE), path)
        return draw(images, path)

    def to_frame(self, examples: Any) -> Any:
        """Return a `pandas.DataFrame` with the SMILES and the properties of the molecules.

        If the examples have several axes, the first columns are the positions along these axes.
        """
        import pandas as pd

        smiles = np.asarray(examples)
        axes = np.indices(smiles.shape).reshape(smiles.ndim, -1) + 1
        names = ("row", "column", *(f"axis {i}" for i in range(3, smiles.ndim + 1)))
        positions = dict(zip(names, axes, strict=False)) if smiles.ndim > 1 else {}
        flat = smiles.reshape(-1)
        properties = {name: values.round(4) for name, values in self.properties(flat).items()}
        return pd.DataFrame({**positions, "smiles": flat, **properties})

    def save(self, examples: Any, path: Path, names: Sequence[str] = ()) -> Path:
        """Write molecules to a ``.smi`` file, or with their properties to a table.

        Raises:
            VariedError: If the file has another extension.
        """
        if path.name.lower().endswith(SUFFIXES):
            return self.write_table(self.to_frame(examples), path)
        if path.suffix.lower() not in (".smi", ".smiles"):
            raise VariedError(
                f"'{path.name}' does not have a supported file extension; use .smi, .csv, .parquet "
                "or .png."
            )
        return atomic_io.atomic_write(path, "".join(f"{s}\n" for s in np.ravel(examples)))

    def save_labeled(self, data: RawData, path: Path) -> Path:
        """Write molecules and their labels to a table."""
        import pandas as pd

        columns = {
            name: [names[i] if i >= 0 else None for i in y] if names else y
            for name, (y, names) in data.covariates.items()
        }
        return self.write_table(pd.DataFrame({"smiles": data.x, **columns}), path)

    # Comparison

    def to_features(self, x: Tensor, without: Sequence[str] = ()) -> Tensor:
        """Return the one-hot vectors of molecules."""
        return (self.load(x) if x.dim() == 2 else x).flatten(1)

    def properties(self, examples: Any) -> dict[str, Array]:
        """Return properties of molecules; see `varied.data.molecules.properties`."""
        return dict(molecules.properties(np.ravel(examples).tolist()))

    def attributes(self, data: RawData) -> dict[str, Any]:
        """Return the properties of the molecules by name."""
        return {**self.properties(data.x), **super().attributes(data)}

    def similarities(self, example: Any, others: Any) -> Array:
        """Return Tanimoto similarities; see `varied.data.molecules.similarities`."""
        return molecules.similarities(str(example), np.ravel(others).tolist())

    # Defaults

    def defaults(self, n: int) -> dict[str, Default]:
        """Return the default parts for ``n`` molecules."""
        parts = super().defaults(n)
        if n >= _ENOUGH_ROWS or self.length >= _LONG:
            return parts | self._autoregressive_defaults()
        net = {"name": "mlp", "width": _WIDTH, "depth": 1}
        parts["net"] = Default(net, "a single wide layer reconstructs most molecules exactly")
        parts["objective"] = Default(_OBJECTIVE, _OBJECTIVE_REASON)
        return parts

    def _autoregressive_defaults(self) -> dict[str, Default]:
        """Return the default parts for the autoregressive likelihood."""
        free_bits = min(round(_FREE_BITS * self.length), _MAX_FREE_BITS)
        objective = {
            "name": "elbo",
            "beta": "linear(0, 1, 0.1)",
            "free_bits_per_level": float(free_bits),
        }
        return {
            "likelihood": Default(
                "autoregressive-one-hot", "each token depends on the preceding ones"
            ),
            "net": Default("conv1d", "the code is a sequence that follows the tokens"),
            "latent": Default(
                (_CHANNELS, -(-self.length // 2)),
                f"there are {_CHANNELS} latent dimensions for every two tokens",
            ),
            "objective": Default(objective, _FREE_BITS_REASON),
        }


def _texts(data: RawData | Array) -> list[str]:
    texts: list[str] = np.ravel(data.x if isinstance(data, RawData) else data).tolist()
    if not all(isinstance(text, str) for text in texts[:1]):
        raise VariedError("This run was trained on molecules; use SMILES.")
    return texts
