"""Disentanglement scores for codes with known scores."""

import numpy as np
import pytest
import torch

from varied.evaluate import disentanglement as d
from varied.evaluate.disentanglement._checks import labeled_codes
from varied.evaluate.disentanglement.interventional import _draw_groups
from varied.evaluate.disentanglement.modularity import modularity_of

VOTES = {"n_votes": 600, "resamples": 0}
SETTINGS = {
    "dci": {},
    "sap": {"resamples": 0},
    "factor_vae": VOTES,
    "beta_vae": VOTES,
    "modularity": {"resamples": 0},
    "explicitness": {"resamples": 0},
}


def grid(*sizes, repeats=1):
    """All combinations of factor values, so that frequencies are exact."""
    axes = np.meshgrid(*map(np.arange, sizes), indexing="ij")
    return np.tile(np.stack(axes, -1).reshape(-1, len(sizes)), (repeats, 1))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def uniform(n, *sizes, seed=0):
    return np.random.default_rng(seed).integers(0, sizes, (n, len(sizes)))


def score(name, codes, factors, **options):
    """Return the values of a score; DCI has three."""
    result = getattr(d, name)(codes, factors, **SETTINGS[name] | options)
    if name != "dci":
        return [result.value]
    return [
        result.disentanglement.value,
        result.completeness.value,
        result.informativeness.value,
    ]


# Perfect, random and rotated codes

PERFECT = {
    "identity": lambda v: v * 1.0,
    "permuted, scaled, shifted": lambda v: v[:, ::-1] * [-1e-3, 1e3, 0.5] + 7,
    "with constant units": lambda v: np.hstack([0 * v, v + 0.5, 0 * v + 3]),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("codes", PERFECT)
def test_perfect_codes_have_the_maximum(name, codes):
    v = grid(4, 5, 3, repeats=20)
    options = {"min_variance": 0.0} if name == "factor_vae" else {}
    maximum = 1 - np.mean([1 / 4, 1 / 5, 1 / 3]) if name == "sap" else 1.0
    tolerance = 0.03 if name in ("sap", "explicitness") else 1e-9
    for value in score(name, PERFECT[codes](v), v, **options):
        assert value == pytest.approx(maximum, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "chance"),
    [
        ("dci", [0, 0, 0.25]),
        ("sap", [0]),
        ("factor_vae", [1 / 3]),
        ("beta_vae", [1 / 3]),
        ("modularity", [0.4]),  # not 0: see its warning
        ("explicitness", [0.5]),
    ],
)
def test_random_codes_have_chance_level(name, chance):
    # On training rows, trees would predict half of the rows correctly.
    v = uniform(4000, 4, 4, 4)
    tolerance = 0.04 if name == "dci" else 0.08
    assert score(name, normal(4000, 5, seed=1), v) == pytest.approx(chance, abs=tolerance)


def test_modularity_of_random_codes_depends_on_the_numbers_of_values():
    # The bias of mutual information is about (bins - 1)(values - 1) / 2N, so its ratios are known.
    v, squares = uniform(20_000, 2, 5, 9), np.array([1, 4, 8]) ** 2
    expected = 1 - (squares.sum() - squares.max()) / (2 * squares.max())
    (value,) = score("modularity", normal(20_000, 40, seed=1), v)
    assert value == pytest.approx(expected, abs=0.08)


def test_rotated_codes_have_low_scores_of_single_units():
    v = uniform(3000, 8, 8)
    rotated = v @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    disentanglement, completeness, informativeness = score("dci", rotated, v)
    assert disentanglement < 0.05 and completeness < 0.05 and informativeness > 0.9
    for method in ("thresholds", "correlation", "svm"):
        assert score("sap", rotated, v, method=method)[0] < 0.05
    assert score("modularity", rotated, v)[0] < 0.05
    assert score("factor_vae", rotated, v)[0] == pytest.approx(0.5, abs=0.09)
    assert score("beta_vae", rotated, v)[0] == pytest.approx(0.5, abs=0.09)
    # A classifier of all units is not affected.
    expected = score("explicitness", v, v)
    assert score("explicitness", rotated, v) == pytest.approx(expected, abs=0.005)


# DCI


@pytest.mark.parametrize(
    ("importance", "disentanglement", "completeness"),
    [
        (np.diag(5.0 * np.ones(5)), 1, 1),
        (np.array([[1.0, 0], [0, 1], [0, 0]]), 1, 1),  # an inactive unit
        (np.zeros((10, 10)), 0, 0),
        (np.vstack([np.eye(5), np.eye(5)]), 1, 1 - np.log(2) / np.log(10)),  # duplicated units
        (5.0 * np.eye(5)[:2], 1, 1),  # factors without a unit
        (
            np.hstack([np.eye(5), np.eye(5)]),
            1 - np.log(2) / np.log(10),
            1,
        ),  # two factors for each unit
        (np.ones((3, 4)), 0, 0),
        (np.array([[3.0, 0], [0.5, 0.5]]), 0.75, None),  # 3/4 of the weight is pure
    ],
)
def test_dci_of_known_importances(importance, disentanglement, completeness):
    assert d.disentanglement(importance) == pytest.approx(disentanglement, abs=1e-12)
    if completeness is not None:
        assert d.completeness(importance) == pytest.approx(completeness, abs=1e-12)
        assert d.completeness(importance.T) == pytest.approx(disentanglement, abs=1e-12)


def test_forests_find_the_importances():
    v = grid(4, 4, repeats=30)
    mixed = d.dci(np.stack([4 * v[:, 0] + v[:, 1], 0 * v[:, 0]], axis=1), v)
    assert mixed.importance.tolist() == [[1, 1], [0, 0]]
    assert (mixed.disentanglement.value, mixed.completeness.value) == (0, 1)
    duplicated = d.dci(np.hstack([v, v]), v)
    assert duplicated.disentanglement.value == pytest.approx(1)
    assert duplicated.completeness.value == pytest.approx(1 - np.log(2) / np.log(4), abs=0.06)
    partial = d.dci(np.stack([v[:, 0] // 2, v[:, 1]], axis=1), v)
    assert partial.informativeness.value == pytest.approx(3 / 4, abs=0.1)


# Modularity


@pytest.mark.parametrize(
    ("information", "expected"),
    [
        (5.0 * np.eye(5), 1),
        (np.vstack([np.eye(5), np.eye(5)]), 1),
        (np.eye(5)[:2], 1),
        (np.hstack([np.eye(5), np.eye(5)]), 1 - 1 / 9),
        (np.zeros((4, 4)), 0),
        (np.array([[2.0, 1, 0], [0, 0, 3]]), 1 - 1 / 16),
        # An uninformative unit is excluded; the result of disentanglement_lib is 2/3.
        (np.array([[1.0, 0], [0, 1], [0, 0]]), 1),
    ],
)
def test_modularity_of_known_information(information, expected):
    assert modularity_of(information) == pytest.approx(expected, abs=1e-12)


# SAP


def test_sap_of_partly_predictable_factors():
    v = grid(4, 4, repeats=20)
    a, b = v.T
    # The squared correlation of a and a + b is one half.
    mixed = np.stack([a, a + b], axis=1)
    assert d.sap(mixed, v, method="correlation").value == pytest.approx(0.5)
    assert d.sap(v[:, :1], v, method="correlation").value == pytest.approx(0.5)
    # One threshold separates four values into two pairs, and predicts one value of each correctly.
    assert d.sap(np.stack([a, a // 2], axis=1), v[:, :1]).value == pytest.approx(0.5)
    binary = d.sap(b[:, None] // 2, v[:, 1:] // 2, method="svm")
    assert binary.value == pytest.approx(0.5, abs=3 * binary.error)


def test_sap_of_continuous_factors():
    v = normal(5000, 2)
    codes = v + 0.5 * normal(5000, 2, seed=1)
    gap = d.sap(codes, v, method="correlation").value
    assert gap == pytest.approx(1 / 1.25, abs=0.02)
    squares = np.sort(np.corrcoef(np.hstack([codes, v]).T)[:2, 2:] ** 2, axis=0)
    assert gap == pytest.approx((squares[1] - squares[0]).mean(), abs=1e-12)
    shifted = d.sap(codes * 1e-9 + 1, v, method="correlation").value
    assert shifted == pytest.approx(gap, abs=1e-5)


def test_sap_thresholds_are_class_balanced():
    # The balanced accuracy of two Gaussians at a distance of 2 is 84%, for any class frequency.
    v = (np.random.default_rng(0).random((10_000, 1)) < 0.1).astype(int)
    codes = np.hstack([normal(10_000, 1) + 2 * v, 0 * v])
    gap = d.sap(codes, v)
    assert gap.value == pytest.approx(0.8413 - 0.5, abs=max(0.02, 3 * gap.error))


# Voting scores


def test_factor_vae_score_of_one_encoded_factor():
    # If b is fixed, the unit of a and an uninformative unit vote equally often.
    v = uniform(6000, 6, 6)
    codes = np.stack([v[:, 0], uniform(6000, 6, seed=1)[:, 0]], axis=1)
    assert d.factor_vae(codes, v, n_votes=4000).value == pytest.approx(3 / 4, abs=0.03)


def test_units_with_a_small_variance_have_no_vote():
    v = uniform(3000, 4, 4)
    # The first unit would win all votes for factor 0.
    codes = np.hstack([v[:, :1] * 0.01, normal(3000, 1)])
    without = d.factor_vae(codes, v, **VOTES).value
    assert without < 0.6 < 0.7 < d.factor_vae(codes, v, min_variance=0, **VOTES).value
    assert d.factor_vae(0 * codes, v, min_variance=0).value == 0
    limit = v * np.sqrt(0.05 / v.var(0, ddof=1))
    assert d.factor_vae(limit * 1.000001, v, **VOTES).value == 1
    assert d.factor_vae(limit * 0.999, v, **VOTES).value == 0


@pytest.mark.parametrize("factor", [0, 1])
def test_pairs_share_a_value_and_differ(factor):
    v = uniform(300, 3, 7)
    table = labeled_codes(np.arange(300)[:, None], v)
    noise = torch.Generator().manual_seed(0)
    a, b = _draw_groups(table, factor, (200, 16), noise, pairs=True)
    assert a.shape == b.shape == (200, 16)
    shared = v[a, factor]
    assert (shared == shared[:, :1]).all() and (v[b, factor] == shared).all()
    assert (a != b).all()
    assert len(np.unique(a)) == len(np.unique(b)) == 300
    # The other factor varies as in all rows.
    assert v[a, 1 - factor].mean() == pytest.approx(v[:, 1 - factor].mean(), rel=0.1)


@pytest.mark.parametrize("name", ["factor_vae", "beta_vae"])
def test_votes_are_tested_on_other_rows(name):
    # With 30 rows and 20 random units, the training rows could be memorized.
    values = [
        score(name, normal(60, 20, seed=seed), uniform(60, 3, 3, seed=seed)) for seed in range(3)
    ]
    assert np.mean(values) == pytest.approx(0.5, abs=0.12)
