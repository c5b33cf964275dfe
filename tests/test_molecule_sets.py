"""Metrics of generated molecules."""

from __future__ import annotations

import numpy as np
import pytest

from varied import evaluate
from varied.errors import VariedError
from varied.evaluate.molecule_sets import (
    MoleculeSet,
    compare_molecules,
    internal_diversity,
    is_chemnet_available,
    unique_fraction,
)


def test_equal_sets_of_molecules_are_most_similar():
    a = MoleculeSet(["CCO", "CCCO", "c1ccccc1OC", ""])
    b = MoleculeSet(["CCN", "NCCCN", "C1CCCCC1C"])
    same, other = compare_molecules(a, a), compare_molecules(a, b)
    for name in ("SNN", "fragment similarity", "scaffold similarity"):
        assert same[name] == pytest.approx(1)
        assert 0 <= other[name] < 0.5
    if is_chemnet_available():
        assert same["FCD"] == pytest.approx(0, abs=1e-3)
        assert other["FCD"] > 1
    with pytest.raises(VariedError, match="At least 2 valid molecules"):
        MoleculeSet(["CC", ""])


def test_similarities_follow_their_definitions():
    a, b = MoleculeSet(["CCO", "CCCO"]), MoleculeSet(["CCO", "CCN"])
    rows = [[set(np.flatnonzero(row)) for row in m.fingerprints.numpy()] for m in (a, b)]
    similar = lambda x, y: len(x & y) / len(x | y)  # noqa: E731
    snn = np.mean([max(similar(x, y) for y in rows[1]) for x in rows[0]])
    assert compare_molecules(a, b)["SNN"] == pytest.approx(snn)
    pairs = [similar(x, y) for x in rows[0] for y in rows[0]]
    assert internal_diversity(a) == pytest.approx(1 - np.mean(pairs))
    assert compare_molecules(MoleculeSet(["O=C1C=CC(=O)C=C1", "CC"]), b)["without alerts"] == 0.5


def test_uniqueness_is_that_of_the_first_molecules():
    assert unique_fraction(["CC", "", "CC", "CO", "CN"], 2).value == 0.5
    assert unique_fraction(["CC", "", "CC", "CO", "CN"], 10).value == 0.75


def test_generated_molecules_are_counted():
    result = evaluate.generated_molecules(["CC", "CC", "CO", ""], ["CC"])
    values = [result.valid.value, result.unique.value, result.novel.value]
    assert values == pytest.approx([0.75, 2 / 3, 0.5])
    assert evaluate.generated_molecules([], []).valid.value == 0
    assert evaluate.exact_reconstruction(["CC", "CO"], ["CC", "CN"]).value == 0.5


def test_property_distances_are_in_standard_deviations():
    real = {"a": np.array([0.0, 2.0, np.nan])}
    assert evaluate.property_distances({"a": np.array([1.0, 3.0])}, real) == {"a": 1.0}
    assert np.isnan(evaluate.property_distances({"a": np.array([np.nan])}, real)["a"])
