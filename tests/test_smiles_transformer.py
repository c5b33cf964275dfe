"""Estimators fitted to lists of SMILES."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from varied.errors import VariedError
from varied.estimators import SmilesTransformer, VAEDetector, VAETransformer

SMILES = ["C" * i + end for i in range(1, 9) for end in ("O", "N", "C=O")]


def test_molecules_are_restored_in_canonical_form():
    tokens = SmilesTransformer().fit(SMILES)
    table = tokens.transform(["OCC", "CCC=O"])
    assert table.shape == (2, tokens.codec_.length)
    assert table.iloc[0].tolist()[:4] == ["[C]", "[C]", "[O]", ""]
    assert tokens.inverse_transform(table).tolist() == ["CCO", "CCC=O"]
    np.testing.assert_array_equal(tokens.inverse_transform(tokens.transform(SMILES)), SMILES)


def test_an_unknown_token_is_marked_and_omitted():
    tokens = SmilesTransformer().fit(SMILES)
    table = tokens.transform(["CS"])
    assert table.iloc[0, 1] == "?"
    assert tokens.inverse_transform(table).tolist() == ["C"]


@pytest.mark.slow
def test_estimators_take_lists_of_smiles_in_a_pipeline():
    options = {"steps": 300, "random_state": 0}
    vae = clone(make_pipeline(SmilesTransformer(), VAETransformer(4, **options))).fit(SMILES * 4)
    assert vae.transform(SMILES).shape == (24, 4)
    restored = vae.inverse_transform(vae.transform(SMILES))
    assert np.mean(restored == np.array(SMILES)) > 0.3
    options["steps"] = 100  # for each of the six models
    detector = make_pipeline(SmilesTransformer(), VAEDetector(**options)).fit(SMILES * 4)
    normal, anomalous = detector.score_samples(["CCCCO", "O=CC=CC=O"])
    assert normal > anomalous + 3


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        (["CCO", "C(("], r"Row 1, 'C\(\(', cannot be used: it is not a valid SMILES"),
        ([3.5], "Row 0 is 3.5, which is not a SMILES"),
    ],
)
def test_text_that_is_not_smiles_is_refused(smiles, message):
    with pytest.raises(VariedError, match=message):
        SmilesTransformer().fit(smiles)
