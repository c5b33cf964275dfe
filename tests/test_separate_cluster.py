"""Warnings about a small cluster of training rows that is learned as normal."""

import warnings

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly

import varied
from varied.errors import DataWarning
from varied.estimators import VAEDetector
from varied.evaluate import separate_cluster


def rows_with_cluster(n=380, size=20, columns=4, seed=0):
    """Return normal rows, followed by a small dense cluster of rows."""
    random = np.random.default_rng(seed)
    cluster = 5 + 0.1 * random.normal(size=(size, columns))
    return np.concatenate([random.normal(size=(n, columns)), cluster])


def mixture(weights, seed=0, n=400, columns=3):
    """Return rows of a mixture of Gaussians that are far apart."""
    random = np.random.default_rng(seed)
    means = 8 * np.arange(len(weights))[:, None] * np.ones(columns)
    return means[random.choice(len(weights), n, p=weights)] + random.normal(size=(n, columns))


@pytest.mark.parametrize("size", [12, 20, 50])
@pytest.mark.parametrize("seed", range(3))
def test_a_small_dense_cluster_is_returned(size, seed):
    rows = rows_with_cluster(400 - size, size, seed=seed)
    order = np.random.default_rng(seed).permutation(400)
    assert (separate_cluster(rows[order]) == (order >= 400 - size)).all()


def test_rows_outside_the_sample_are_assigned_to_the_cluster():
    rows = rows_with_cluster(2850, 150)
    assert (separate_cluster(rows) == (np.arange(3000) >= 2850)).all()


@pytest.mark.parametrize(
    "sample",
    [
        lambda random: random.normal(size=(400, 5)),
        lambda random: random.standard_t(3, size=(400, 3)),
        lambda random: random.lognormal(size=(400, 3)),
        lambda random: random.integers(0, 5, (400, 3)),
        lambda random: np.c_[random.normal(size=400), random.random(400) < 0.05],
        lambda random: np.repeat(random.normal(size=(40, 2)), 10, axis=0),
        lambda random: np.ones((400, 2)),
        lambda random: random.normal(size=(30, 2)),
        lambda random: np.full((400, 2), np.nan),
        lambda random: 1e300 * random.normal(size=(400, 2)),
        lambda random: random.normal(size=(400, 1)),
    ],
)
def test_other_rows_have_no_separate_cluster(sample):
    for seed in range(5):
        assert not separate_cluster(sample(np.random.default_rng(seed))).any()


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.8, 0.2), (0.6, 0.2, 0.2)])
def test_large_clusters_are_natural(weights):
    for seed in range(5):
        assert not separate_cluster(mixture(weights, seed)).any()


def test_rows_with_missing_values_are_in_no_cluster():
    rows = rows_with_cluster()
    rows[[3, 390], 1] = np.nan
    expected = np.arange(400) >= 380
    expected[390] = False
    assert (separate_cluster(rows) == expected).all()


def test_detector_warns_about_a_cluster():
    options = {"steps": 5, "net": {"name": "mlp", "width": 8}, "random_state": 0}
    with pytest.warns(DataWarning, match=r"20 of 400 training rows \(such as row 380\)"):
        VAEDetector(**options).fit(rows_with_cluster())
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        VAEDetector(**options).fit(rows_with_cluster()[:380])


@pytest.mark.parametrize("kind", ["table", "array"])
def test_detect_warns_about_a_cluster(kind, tmp_path):
    x = rows_with_cluster().astype(np.float32)
    source = pd.DataFrame(x, columns=list("abcd")) if kind == "table" else x
    run = train_quickly(source, out=tmp_path / "run", steps=5)
    for opened in (run, varied.Run(run.folder)):  # the note is computed, and then read
        notes = " ".join(opened.detect(source[:20]).notes)
        assert "of the training rows form a small separate cluster" in notes
