"""Anomaly detection on tables of several kinds, and on tables whose rows occur several times."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly
from sklearn.neighbors import NearestNeighbors

from varied.estimators import VAEDetector
from varied.evaluate.detection import auroc

N = 300
OPTIONS = {"net": {"name": "mlp", "width": 32, "depth": 1}, "lr": 2e-2, "batch_size": 64}
OPTIONS |= {"steps": 150, "samples": 5, "random_state": 0, "max_fpr": 0.3}
RATES = np.random.default_rng(7).choice([0.02, 0.2, 1.5], (4, 15), p=[0.5, 0.4, 0.1])


def nearly_constant(random):
    """Return three correlated columns, and five of which 98% of the cells are equal."""
    x = random.normal(size=(N, 1)) + random.normal(0, 0.5, (N, 3))
    rare = random.random((N, 5)) < 0.02
    return np.hstack([x, np.where(rare, random.exponential(5, (N, 5)), 1.0)])


def nearly_equal(random):
    """Return three columns, each with three copies that differ by one percent."""
    x = random.gamma(2, 1, (N, 3)).repeat(4, 1)
    return x + random.normal(0, 0.01, x.shape)


def sparse(random):
    """Return counts that are mostly zero, with rates that depend on a group."""
    return random.poisson(RATES[random.integers(0, 4, N)]).astype(float)


def series(random):
    """Return sine waves with a random phase."""
    phase = random.uniform(0, 2 * np.pi, (N, 1))
    return np.sin(np.arange(24) / 3 + phase) + 0.1 * random.normal(size=(N, 24))


def anomalies(x, random):
    """Return rows in which a third of the cells is that of other rows, and one cell is shifted."""
    other = np.stack([random.permutation(column) for column in x.T], 1)
    exchanged = np.where(random.random(x.shape) < 0.3, other, x)
    column = random.integers(0, 3, N)
    exchanged[np.arange(N), column] += 2 * x.std(0)[column]
    return exchanged


@pytest.mark.slow
@pytest.mark.parametrize("table", [nearly_constant, nearly_equal, sparse, series])
def test_combined_score_is_not_much_worse_than_its_parts_or_the_nearest_neighbors(table):
    random = np.random.default_rng(0)
    training, normal, other = (table(random) for _ in range(3))
    x, truth = np.concatenate([normal, anomalies(other, random)]), np.arange(2 * N) >= N
    scores = {
        method: -VAEDetector(method=method, **OPTIONS).fit(training).score_samples(x)
        for method in ("both", "density", "distance")
    }
    mean, std = training.mean(0), training.std(0) + 1e-9
    search = NearestNeighbors(n_neighbors=5).fit((training - mean) / std)
    scores["neighbors"] = search.kneighbors((x - mean) / std)[0][:, -1]
    result = {name: float(auroc(score, truth)) for name, score in scores.items()}
    assert result["both"] > max(result["density"], result["distance"]) - 0.03, result
    assert result["both"] > result["neighbors"] - 0.06, result


@pytest.mark.slow
def test_copies_of_training_rows_do_not_make_new_rows_anomalous(tmp_path):
    random = np.random.default_rng(0)
    distinct = pd.DataFrame(random.normal(size=(800, 3)), columns=list("abc"))
    rows = pd.concat([distinct] * 3).sample(frac=1, random_state=0)
    run = train_quickly(rows, steps=100, latent=2, out=tmp_path / "run")
    new = pd.DataFrame(random.normal(size=(1000, 3)), columns=list("abc"))
    result = run.detect(new)
    assert result.is_anomaly.mean() < 0.2
    assert result.threshold.n == len(run.split("validation")) / 3
