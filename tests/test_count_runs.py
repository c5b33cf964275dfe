"""Runs on simulated counts of cells: library sizes, correlations, and held-out likelihood."""

from __future__ import annotations

import numpy as np
import pytest
from quick_training import train_quickly

from benchmarks import counts


def cells(n=600, columns=40, types=4):
    """Return overdispersed counts of several types of cells, whose library sizes vary."""
    random = np.random.default_rng(0)
    by_type = random.normal(0, 1, columns) + random.normal(0, 0.7, (types, columns))
    rates = np.exp(by_type[random.integers(0, types, n)])
    rates /= rates.sum(1, keepdims=True)
    size = np.exp(random.normal(6, 0.5, (n, 1)))
    return random.poisson(size * rates * random.gamma(3, 1 / 3, (n, columns))).astype(np.float32)


def mean_correlation(x):
    """Return the mean absolute correlation of two columns."""
    correlation = np.corrcoef(x.T)
    return np.abs(correlation[np.triu_indices(len(correlation), 1)]).mean()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("counts") / "run"
    options = {"likelihood": "negative-binomial", "precision": "float32", "latent": 4}
    return train_quickly(cells(), steps=200, out=out, **options)


def test_codes_do_not_follow_the_library_size(run):
    size, codes = np.log(cells().sum(1)), run.encode(cells()).mean.numpy()
    active = codes[:, codes.std(0) > 0.05]
    assert active.shape[1] >= 2
    correlations = np.abs(np.corrcoef(active.T, size)[-1, :-1])
    assert correlations.max() < 0.2  # 0.9 with a Gaussian


def test_samples_have_the_library_sizes_and_correlations_of_the_rows(run):
    samples, rows = run.sample(1000, sample_x=True).array, cells()
    assert samples.sum(1).mean() == pytest.approx(rows.sum(1).mean(), rel=0.1)
    assert samples.sum(1).std() == pytest.approx(rows.sum(1).std(), rel=0.25)
    assert mean_correlation(samples) == pytest.approx(mean_correlation(rows), rel=0.25)


@pytest.mark.slow
def test_held_out_counts_are_more_probable_than_with_a_gaussian_of_log_counts():
    trials = {
        name: counts.run_trial(name, seed=0, epochs=60)
        for name in ("negative-binomial", "gaussian, log counts")
    }
    binomial, gaussian = trials.values()
    assert binomial["binned"] > gaussian["binned"]
    assert binomial["correlation"] < 0.3 < gaussian["correlation"]
