"""Conversion of molecules to tokens, so that estimators can be fitted to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from varied.data import RawData, molecules
from varied.data.codecs.molecules import MoleculeCodec
from varied.data.molecules.parsing import parse
from varied.errors import VariedError

if TYPE_CHECKING:
    import pandas as pd


class SmilesTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Conversion of SMILES to SELFIES tokens.

    Each molecule becomes a row of a table with one token per column; the other estimators treat the
    columns as categorical. A pipeline that starts with this transformer accepts lists of SMILES.

    Attributes:
        codec_: The conversion, a `varied.data.codecs.molecules.MoleculeCodec`.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> from varied.estimators import VAETransformer
        >>> smiles = ["C" * i + end for i in range(1, 9) for end in ("O", "N", "C=O")]
        >>> vae = VAETransformer(2, steps=20)
        >>> pipeline = make_pipeline(SmilesTransformer(), vae).fit(smiles)
        >>> pipeline.transform(["CCO", "CCN"]).shape
        (2, 2)
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the vocabulary and the number of positions to a list of SMILES; ``y`` is ignored.

        Raises:
            VariedError: If a SMILES string cannot be parsed, or the packages of
                ``varied[molecules]`` are not installed.
        """
        self.codec_ = MoleculeCodec.fit(RawData(_canonical(X), MoleculeCodec.kind))
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Return a table of tokens with one column for each position.

        Cells after the end of a molecule are empty text, and a token that does not occur in the
        training rows is "?". Tokens after the last position are omitted.

        Raises:
            VariedError: As in `fit`.
        """
        import pandas as pd

        check_is_fitted(self)
        index = self.codec_.encode(_canonical(X)).numpy()
        return pd.DataFrame(np.array(self.codec_.tokens, dtype=object)[index]).add_prefix("token ")

    def inverse_transform(self, X: Any) -> npt.NDArray[np.str_]:
        """Return the canonical SMILES of rows of tokens, with shape (N)."""
        check_is_fitted(self)
        rows = np.asarray(X, dtype=object).tolist()
        return np.array(
            molecules.to_smiles(
                [[token for token in row if token not in ("", "?")] for row in rows]
            )
        )


def _canonical(X: Any) -> npt.NDArray[np.str_]:
    """Return canonical SMILES, or raise an error for the first one that cannot be parsed."""
    molecules.import_chemistry()
    texts = np.ravel(np.asarray(X, dtype=object)).tolist()
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise VariedError(
                f"Row {i} is {text!r}, which is not a SMILES string; correct or omit it."
            )
    results = parse(texts)
    for i, (text, result) in enumerate(zip(texts, results, strict=True)):
        if result.reason:
            raise VariedError(f"Row {i}, '{text}', cannot be used: {result.reason}; omit it.")
    return np.array([result.smiles for result in results])
