"""Precision, recall, density and coverage against the package prdc and closed forms."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from varied.errors import VariedError
from varied.evaluate import distances
from varied.evaluate.distances import nearest
from varied.evaluate.prdc import prdc

NAMES = ("precision", "recall", "density", "coverage")


def normal(n, d, seed=0, scale=1.0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, scale, size=(n, d))


def values(result):
    return [getattr(result, name).value for name in NAMES]


def errors(result):
    return [getattr(result, name).error for name in NAMES]


# prdc 0.2: compute_prdc(real, generated, nearest_k=k), in the order of NAMES.
@pytest.mark.parametrize(
    ("real", "generated", "k", "expected"),
    [
        ((300, 8, 0), (240, 8, 1, 0.8, 0.3), 1, [2 / 3, 0.35333333, 1.06666667, 0.36333333]),
        ((300, 8, 0), (240, 8, 1, 0.8, 0.3), 5, [0.975, 0.68666667, 1.32333333, 0.88333333]),
        ((150, 40, 2), (400, 40, 3, 1.2), 3, [0.24, 0.95333333, 0.175, 0.7]),
    ],
)
@pytest.mark.parametrize("chunk", [2**23, 5000])
def test_metrics_match_published_code(monkeypatch, real, generated, k, expected, chunk):
    monkeypatch.setattr(distances, "CHUNK", chunk)
    result = prdc(normal(*real), torch.tensor(normal(*generated)), k=k, resamples=0)
    assert values(result) == pytest.approx(expected, abs=1e-8)
    sizes = [getattr(result, name).n for name in NAMES]
    assert sizes == [generated[0], real[0], generated[0], real[0]]
    assert all(math.isnan(error) for error in errors(result))
    assert result.k == k


def test_equal_and_distant_rows():
    x = normal(60, 4)
    # Each row lies in its own ball, and in the balls of the rows of which it is a neighbor.
    assert values(prdc(x, x[::-1])) == pytest.approx([1, 1, 1 + 1 / 5, 1])
    assert values(prdc(x, x + 1e3)) == [0, 0, 0, 0]


@pytest.mark.parametrize("chunk", [2**23, 1000])
@pytest.mark.parametrize("mean", [0.0, 1e5])
def test_duplicated_rows_cover_each_other(monkeypatch, mean, chunk):
    # All radii are 0 up to rounding, which depends on the chunks.
    monkeypatch.setattr(distances, "CHUNK", chunk)
    x = np.repeat(normal(12, 30, mean=mean), 7, axis=0)
    y = x[np.random.default_rng(0).permutation(len(x))]
    assert values(prdc(x, y, k=5, resamples=0)) == pytest.approx([1, 1, 7 / 5, 1])
    assert values(prdc(x, y + 1e-3, k=5, resamples=0)) == [0, 0, 0, 0]


def test_points_on_a_line():
    real, generated = np.array([[0.0], [1], [3], [7]]), np.array([[1.5], [2], [20]])
    # Balls of real rows: [-1, 1], [0, 2], [1, 5], [3, 11]; of generated ones: [1, 2], [1.5, 2.5],
    # [2, 38].
    assert values(prdc(real, generated, k=1)) == [2 / 3, 0.75, 4 / 3, 0.5]


def test_translation_scale_and_rotation_do_not_matter():
    x, y = normal(200, 6), normal(150, 6, 1, 0.9)
    rotation = np.linalg.qr(normal(6, 6, 2))[0]
    expected = values(prdc(x, y, resamples=0))
    for a, b in (
        (x + 1e4, y + 1e4),
        (1e-3 * x, 1e-3 * y),
        (x @ rotation, y @ rotation),
        (x[::-1], y),
    ):
        assert values(prdc(a, b, resamples=0)) == pytest.approx(expected)
    assert prdc(y, x, resamples=0).recall.value == expected[0]


def test_missing_modes_and_noise():
    x = np.vstack([normal(200, 4, 0), normal(200, 4, 1, mean=9)])
    precision, recall, _, coverage = values(prdc(x, normal(400, 4, 2), resamples=0))
    assert precision > 0.9 and recall < 0.55 and coverage < 0.55
    assert prdc(x, normal(400, 4, 2, 15), resamples=0).precision.value < 0.3


def test_density_and_coverage_of_one_distribution():
    result = prdc(normal(600, 4), normal(600, 4, 1), resamples=0)
    assert 0.85 < result.density.value < 1.15
    assert result.coverage.value == pytest.approx(1 - 2**-5, abs=0.03)


def test_standard_errors_match_the_variation_over_data():
    results = [prdc(normal(150, 24, i), normal(200, 24, i + 99, 0.9), seed=i) for i in range(30)]
    variation = np.std([values(result) for result in results], axis=0, ddof=1)
    mean = np.mean([errors(result) for result in results], axis=0)
    assert (np.abs(np.log(mean / variation)[:3]) < 0.4).all()
    assert mean[3] < 2.5 * variation[3]


def test_small_subsamples_give_the_error_of_all_rows(monkeypatch):
    x, y = normal(400, 12), normal(400, 12, 1)
    expected = errors(prdc(x, y, resamples=40))
    module = import_module("varied.evaluate.prdc")  # not the function
    monkeypatch.setattr(module, "MAX_SUBSAMPLE", 100)
    assert errors(prdc(x, y, resamples=40))[:3] == pytest.approx(expected[:3], rel=0.5)


def test_same_seed_gives_the_same_result_without_side_effects():
    x, y, state = normal(90, 3), normal(90, 3, 1), torch.get_rng_state()
    assert prdc(x, y) == prdc(x, y) != prdc(x, y, seed=1)
    assert values(prdc(x, y)) == values(prdc(x, y, seed=1))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("real", "generated", "k", "message"),
    [
        (normal(9, 3), normal(9, 4), 5, "real rows have 3 columns, but the generated rows have 4"),
        (normal(9, 3), normal(5, 3), 5, "k=5 must be .* 9 real and 5 generated"),
        (normal(9, 3), normal(9, 3), 0, "k=0 must be at least 1"),
        (normal(9, 3) * np.nan, normal(9, 3), 5, "of the real rows contains NaN"),
        (normal(9, 3), normal(9, 3) * np.inf, 5, "of the generated rows contains NaN"),
        (np.zeros(9), normal(9, 3), 5, r"real rows have shape \(9,\)"),
        (normal(0, 3), normal(9, 3), 5, r"real rows have shape \(0, 3\)"),
    ],
)
def test_prdc_refuses(real, generated, k, message):
    with pytest.raises(VariedError, match=message):
        prdc(real, generated, k=k)


# Nearest rows


@pytest.mark.parametrize("chunk", [2**23, 3000])
def test_nearest_rows_match_scikit_learn(monkeypatch, chunk):
    monkeypatch.setattr(distances, "CHUNK", chunk)
    x, y = normal(400, 7, mean=50), normal(1300, 7, 1, mean=50)
    search = NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(x)
    expected_distance, expected_index = search.kneighbors(y)
    index, distance = nearest(y, x)
    assert np.array_equal(index.numpy(), expected_index[:, 0])
    assert np.allclose(distance.numpy(), expected_distance[:, 0], rtol=1e-12)


def test_distance_of_copies_is_exactly_zero():
    x = torch.randint(0, 256, (50, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    index, distance = nearest(x[order] / 255 + 1e3, x / 255 + 1e3)
    assert torch.equal(index, order)
    assert distance.eq(0).all()
