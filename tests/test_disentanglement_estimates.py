"""Disentanglement scores against published code; invariances, standard errors and messages."""

import inspect
from functools import partial

import numpy as np
import pytest
import torch

from varied.errors import VariedError
from varied.evaluate import disentanglement as d

NAMES = ("dci", "sap", "factor_vae", "beta_vae", "modularity", "explicitness")
FAST = {"n_votes": 400, "resamples": 3}


def simulate(n, *sizes, seed=0, noise=0.5):
    """Return codes that mix neighboring factors and have a random unit, and the factors."""
    rng = np.random.default_rng(seed)
    v = rng.integers(0, sizes, (n, len(sizes)))
    mixing = np.eye(len(sizes)) + 0.3 * np.eye(len(sizes), k=1)
    codes = v @ mixing + noise * rng.normal(size=v.shape)
    return np.hstack([codes, rng.normal(size=(n, 1))]), v


def estimates(name, codes, factors, **options):
    """Return the estimates of a score; DCI has three."""
    parameters = inspect.signature(getattr(d, name)).parameters
    fast = {key: value for key, value in FAST.items() if key in parameters}
    result = getattr(d, name)(codes, factors, **fast | options)
    if name != "dci":
        return [result]
    return [result.disentanglement, result.completeness, result.informativeness]


# Published code: disentanglement_lib 1.5 on the rows of `simulate(3000, 3, 5, 8)`

SAP, MODULARITY = 0.8242440829887463, 0.9393819582089117
EXPLICITNESS, SVM = 0.9456, 0.3167
BOOSTED_DCI = (0.630, 0.642, 0.728)
FACTOR_VAE, BETA_VAE = 0.659, 0.7632
#: The standard error of 5,000 votes if factors are not fixed equally often.
VOTING_ERROR = 0.007
ROTATION = np.array([[1, -1, 0], [1, 1, 0], [0, 0, 2**0.5]]) / 2**0.5


def test_scores_match_published_code():
    codes, v = simulate(3000, 3, 5, 8)
    # sap_score._compute_sap(codes.T, v.T, codes.T, v.T, True)
    assert d.sap(codes, v, method="correlation").value == pytest.approx(SAP, abs=1e-9)
    # modularity_explicitness.modularity(d.mutual_information(codes, v))
    assert d.modularity(codes, v).value == pytest.approx(MODULARITY, abs=1e-9)
    # explicitness_per_factor(rows 0 to 2399, the others), the mean over factors
    result = d.explicitness(codes, v)
    assert result.value == pytest.approx(EXPLICITNESS, abs=3 * result.error)
    # _compute_sap(..., continuous_factors=False), standardized, rows 0 to 2399, the others
    result = d.sap(codes, v, method="svm")
    assert result.value == pytest.approx(SVM, abs=3 * result.error)
    # _compute_dci(rows 0 to 2399, the others), with boosted trees
    result = d.dci(codes, v)
    assert result.disentanglement.value == pytest.approx(BOOSTED_DCI[0], abs=0.1)
    assert result.completeness.value == pytest.approx(BOOSTED_DCI[1], abs=0.1)
    assert result.informativeness.value == pytest.approx(BOOSTED_DCI[2], abs=0.05)


@pytest.mark.parametrize(
    ("metric", "expected"), [(d.factor_vae, FACTOR_VAE), (d.beta_vae, BETA_VAE)]
)
def test_voting_scores_match_published_code(metric, expected):
    # factor_vae.compute_factor_vae(data, rotated, RandomState(0), None, 64, 10000, 5000, 5000) and
    # beta_vae.compute_beta_vae_sklearn(data, rotated, RandomState(0), None, 64, 10000, 5000), with
    # data of factors with 3, 5 and 8 values, the first two rotated by 45 degrees
    v = np.random.default_rng(0).integers(0, (3, 5, 8), (6000, 3))
    rotated = (v / np.array([3, 5, 8]) * 4) @ ROTATION
    result = metric(rotated, v, n_votes=3000)
    error = np.hypot(result.error, VOTING_ERROR)
    assert result.value == pytest.approx(expected, abs=3 * error)


@pytest.mark.parametrize(
    ("codes", "ranges"),
    [
        # The bounds of the tests of disentanglement_lib, for ten factors of ten values.
        ("identity", ((0.9, 1), (0.9, 1), (0.9, 1))),
        ("duplicated", ((0.9, 1), (0.67, 0.87), (0, 0.2))),
        ("constant", ((0, 0.2), (0, 0.2), (0, 0.2))),
        # Shuffled within rows, so each unit is slightly informative about all factors.
        ("shuffled", ((0, 0.2), (0, 0.2), None)),
    ],
)
def test_ten_factors(codes, ranges):
    rng = np.random.default_rng(0)
    v = rng.integers(1, 11, (1200, 10))
    z = {
        "identity": v * 1.0,
        "duplicated": np.hstack([v, v]),
        "constant": 0 * v,
        "shuffled": rng.permuted(v, axis=1),
    }[codes]
    forest, gap = d.dci(z, v), d.sap(z, v, method="correlation")
    values = (forest.disentanglement.value, forest.completeness.value, gap.value)
    for value, limits in zip(values, ranges, strict=True):
        if limits is not None:
            assert limits[0] <= value <= limits[1] + 1e-12


# Invariances


@pytest.mark.parametrize("name", NAMES)
def test_scale_order_and_memory_layout_do_not_matter(name):
    codes, v = simulate(900, 3, 4)
    options = {"min_variance": 0.0} if name == "factor_vae" else {}
    expected = estimates(name, codes, v, **options)
    values = [estimate.value for estimate in expected]
    scaled = estimates(name, codes * [2.0, 0.25, 1024.0], v * 10 - 3, **options)
    assert [estimate.value for estimate in scaled] == pytest.approx(values, abs=1e-6)
    by_column = torch.tensor(np.ascontiguousarray(codes.T)).T
    fortran = estimates(name, by_column, np.asfortranarray(v), **options)
    assert [estimate.value for estimate in fortran] == values
    order = np.random.default_rng(0).permutation(900)
    shuffled = estimates(name, codes[order], v[order], **options)
    for a, b in zip(expected, shuffled, strict=True):
        assert b.value == pytest.approx(a.value, abs=0.05 + 4 * a.error)


@pytest.mark.parametrize("name", NAMES)
def test_codes_of_other_rows_are_uninformative(name):
    # A bug of published code: codes are reshaped instead of transposed.
    codes, v = simulate(3000, 4, 4, noise=0.1)
    right, wrong = estimates(name, codes, v), estimates(name, codes.T.reshape(codes.shape), v)
    assert all(b.value < a.value - 0.3 for a, b in zip(right, wrong, strict=True))


# Standard errors and seeds


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sap", "modularity", "explicitness", "dci", "factor_vae"])
def test_standard_errors_match_the_variation_over_data(name):
    options = {} if name == "dci" else {"resamples": 10}
    options |= {"n_votes": 300} if name == "factor_vae" else {}
    # Near 1, scores of resamples are lower, since they have fewer distinct rows.
    noise = 2.0 if name == "factor_vae" else 1.2
    results = [
        estimates(name, *simulate(600, 4, 5, seed=seed, noise=noise), seed=seed, **options)
        for seed in range(14)
    ]
    for column in zip(*results, strict=True):
        variation = np.std([estimate.value for estimate in column], ddof=1)
        assert 0.5 < np.mean([estimate.error for estimate in column]) / variation < 2


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_result_without_side_effects(name):
    codes, v = simulate(400, 3, 4, noise=1.0)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = estimates(name, codes, v, seed=3)
    assert first == estimates(name, torch.tensor(codes), torch.tensor(v), seed=3)
    assert first != estimates(name, codes, v, seed=4)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.random.get_state()[1].tolist() == numpy_state
    if name != "dci":
        assert np.isnan(estimates(name, codes, v, resamples=0)[0].error)


def test_all_scores_equal_the_single_scores(monkeypatch):
    for name in ("factor_vae", "beta_vae"):
        monkeypatch.setattr(d.all_scores, name, partial(getattr(d, name), **FAST))
    codes, v = simulate(300, 3, 4)
    results = d.scores(codes, v, seed=1)
    assert list(results) == [
        *("mig", "disentanglement", "completeness", "informativeness", "sap"),
        *("factor_vae", "beta_vae", "modularity", "explicitness"),
    ]
    for name in ("mig", "sap", "modularity", "explicitness"):
        assert results[name] == getattr(d, name)(codes, v, seed=1)
    assert results["beta_vae"] == d.beta_vae(codes, v, seed=1, **FAST)
    assert results["factor_vae"] == d.factor_vae(codes, v, seed=1, **FAST)
    assert results["completeness"] == d.dci(codes, v, seed=1).completeness
    assert all(0 <= result.value <= 1 and result.error >= 0 for result in results.values())


# Errors

BALANCED = np.stack([np.arange(20) % 4, np.arange(20) // 5], axis=1)
RARE = np.eye(400, dtype=int)[:, [0, 1]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, v: (z[:40], v), "40 codes but 400 rows"),
        (lambda z, v: (z[:, 0], v), r"codes have shape \(400,\)"),
        (lambda z, v: (z * np.nan, v), "of the codes contains NaN"),
        (lambda z, v: (z, v * [1, 0]), "Factor 1 is constant"),
    ],
)
def test_invalid_tables_are_refused(name, change, message):
    with pytest.raises(VariedError, match=message):
        estimates(name, *change(*simulate(400, 3, 4)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, v: d.dci(z, v[:, :1]), "DCI requires at least two factors"),
        (lambda z, v: d.factor_vae(z, v[:, :1]), "FactorVAE score requires at least two factors"),
        (lambda z, v: d.beta_vae(z, v[:, :1]), "beta-VAE score requires at least two factors"),
        (lambda z, v: d.modularity(z, v[:, :1]), "Modularity requires at least two factors"),
        (lambda z, v: d.modularity(z, v, bins=1), "bins=1 must be at least 2"),
        (lambda z, v: d.factor_vae(z, v, batch_size=1), "batch_size=1 must be at least 2"),
        (
            lambda z, v: d.beta_vae(z, v, n_votes=3),
            "n_votes=3 must be at least 4",
        ),
        (lambda z, v: d.sap(z, v, method="thresold"), "did you mean 'thresholds'"),
        (lambda z, v: d.sap(z[:4], [[0, 0], [1, 1]] * 2), "4 rows are too few"),
        (lambda z, v: d.sap(z, 0 * v, method="correlation"), "Factor 0 is constant"),
        (lambda z, v: d.factor_vae(z[:20], BALANCED), "occurs in at least 5 rows of each half"),
        (lambda z, v: d.explicitness(z, RARE), "Factor . hardly varies in 400 rows"),
        (
            lambda z, v: [d.sap(z, RARE[:, :1], method="svm", seed=i) for i in range(30)],
            "hardly varies",
        ),
        (lambda z, v: d.disentanglement(z), "must be finite and non-negative"),
        (lambda z, v: d.completeness(v[0]), r"must have shape \(D, F\)"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(VariedError, match=message):
        call(*simulate(400, 3, 4))
