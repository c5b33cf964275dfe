"""The reference of anomaly scores is stored with the run until the weights change."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly

import varied
from varied.functional.importance_sampling import load_seeded

FILE = "detector.safetensors"


def rows(n: int = 900, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    z = random.normal(size=n)
    noise = random.normal(size=n)
    return pd.DataFrame({"a": z, "b": z + noise, "kind": np.where(z > 0, "x", "y")})


@pytest.fixture
def run(tmp_path):
    rows().to_csv(tmp_path / "rows.csv", index=False)
    return train_quickly(
        str(tmp_path / "rows.csv"), steps=60, latent=2, width=16, out=tmp_path / "run"
    )


@pytest.mark.parametrize("method", ["both", "density", "distance"])
def test_the_training_data_are_read_only_once(run, method, tmp_path):
    new = rows(40, seed=1).assign(kind=["z", *"xy" * 19, "x"])
    first = run.detect(new)
    assert (run.folder / FILE).is_file()
    expected = run.detect(new, method=method)
    (tmp_path / "rows.csv").unlink()
    report = varied.Run(run.folder).detect(new, method=method)
    np.testing.assert_array_equal(report.score, expected.score)
    np.testing.assert_array_equal(report.excess, expected.excess)
    assert report.threshold == expected.threshold
    assert report.notes == first.notes
    assert report.is_anomaly[0]


def test_the_reference_depends_on_the_weights_the_samples_and_the_seed(run):
    new = rows(40, seed=1)
    written = (run.detect(new), (run.folder / FILE).read_bytes())[1]
    for options in ({"samples": 7}, {"seed": 1}):
        run.detect(new, **options)
        assert (run.folder / FILE).read_bytes() != written
    before = run.detect(new)
    assert (run.folder / FILE).read_bytes() == written
    with torch.no_grad():
        next(run.model.parameters()).mul_(1.5)
    after = run.detect(new)
    assert (run.folder / FILE).read_bytes() != written
    assert after.threshold != before.threshold


def test_a_corrupted_file_is_written_again(run):
    new = rows(40, seed=1)
    score = run.detect(new).score
    (run.folder / FILE).write_bytes(b"damaged")
    np.testing.assert_array_equal(run.detect(new).score, score)


@pytest.mark.parametrize("is_random", [False, True])
def test_rows_have_the_same_noise_in_every_batch(is_random):
    def load(x):
        return x + torch.rand_like(x) if is_random else 2 * x

    x = torch.arange(12.0).reshape(4, 3)
    state = torch.get_rng_state()
    together = load_seeded(load, x, 0)
    apart = torch.cat([load_seeded(load, row, 0) for row in x.split(1)])
    assert torch.equal(together, apart)
    assert torch.equal(torch.get_rng_state(), state)
