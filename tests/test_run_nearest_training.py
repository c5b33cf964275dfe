"""Tests of the nearest training row of each sample, and of the detection of copies."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    x = np.random.default_rng(0).normal(size=(1600, 5)).astype(np.float32)
    out = tmp_path_factory.mktemp("runs") / "arrays"
    return train_quickly(x, out=out, steps=5)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    is_tall = rng.random(400) < 0.3
    height = (160 + 25 * is_tall + rng.normal(0, 3, 400)).round(1)
    frame = pd.DataFrame({"height": height, "kind": np.where(is_tall, "tall", "short")})
    return train_quickly(frame, out=tmp_path_factory.mktemp("runs") / "table", latent=2)


@pytest.mark.figures
def test_new_rows_are_no_copies_and_have_the_exact_nearest_neighbor(arrays, tmp_path):
    new = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    samples = dataclasses.replace(arrays.sample(200), array=new)
    nearest = arrays.nearest_training(samples)
    assert nearest.warning is None
    training = arrays.split("train").x
    distance = np.linalg.norm((new[:, None] - training) / training.std(0), axis=2)
    assert np.array_equal(nearest.index, distance.argmin(1))
    assert np.allclose(nearest.distance, distance.min(1), rtol=1e-3)
    assert repr(nearest) == "NearestTraining(200 pairs, without a warning)"
    assert nearest.save(tmp_path / "pairs.png").stat().st_size > 500


def test_copies_are_detected(arrays):
    copies = arrays.split("train").x[30:230] + 1e-4
    nearest = arrays.nearest_training(dataclasses.replace(arrays.sample(200), array=copies))
    assert "Some samples are copies of training rows" in nearest.warning
    assert nearest.index.tolist() == list(range(30, 230))
    assert nearest.distance.max() < 0.01


def test_each_row_of_a_table_precedes_the_nearest(table, tmp_path):
    result = table.nearest_training(table.sample(30))
    frame = result.pairs.array
    assert frame.index.names == ["row", "which"]
    assert frame.index.get_level_values("which")[:2].tolist() == ["sample", "nearest"]
    nearest = frame.xs("nearest", level="which").reset_index(drop=True)
    training = table.split("train").x.iloc[result.index].reset_index(drop=True)
    pd.testing.assert_frame_equal(nearest, training, check_dtype=False)
    copies = dataclasses.replace(table.sample(30), array=table.split("train").x.iloc[:150])
    assert table.nearest_training(copies).distance.max() == 0
    text = result.save(tmp_path / "pairs.csv").read_text()
    assert text.startswith("row,which,height")
