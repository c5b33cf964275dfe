"""The tables of a report that compare samples and codes with the data."""

import numpy as np
import pytest
from quick_training import train_quickly

from varied.training.sample_tables import sample_tables


def reddish_images(n):
    """Return images of which the red channel is brighter than the blue one."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (n, 8, 8, 3), np.uint8)
    images += (100 * rng.random((n, 1, 1, 1)) * [1, 0.5, 0]).astype(np.uint8)
    return images


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train_quickly(reddish_images(300), out=out, net="mlp", steps=300, ex_post_prior="no")


def test_colors_and_distances_of_images(run):
    table = next(sample_tables(run))
    names, colors, distances = zip(*table.rows, strict=True)
    assert names == ("test images", "training images", "reconstructions", "samples")
    test = run.split("test").x
    assert colors[0] == ", ".join(f"{v:.0f}" for v in test.mean((0, 1, 2)))
    for color in colors:
        red, green, blue = map(float, color.split(", "))
        assert red > green > blue
    assert distances[0] == ""
    assert 0 < float(distances[1]) < float(distances[3])


def test_samples_of_a_short_training_have_the_colors_of_the_data(tmp_path):
    """After few steps, the codes are unlike the prior, which is replaced."""
    images = reddish_images(600)
    options = {"net": "mlp", "precision": "float32", "out": tmp_path / "run"}
    run = train_quickly(images, steps=150, **options)
    colors = {name: color for name, color, _ in next(sample_tables(run)).rows}
    data, samples = (
        [float(value) for value in colors[name].split(", ")] for name in ("test images", "samples")
    )
    assert samples == pytest.approx(data, abs=9)  # with the original prior, off by 20


def test_moments_of_codes_and_of_the_prior(run):
    *_, table = sample_tables(run)
    names, means, _, correlations = zip(*table.rows, strict=True)
    assert names == ("codes of test rows", "prior")
    assert all(0 <= float(value) < 3 for value in means)
    assert all(0 <= float(value) <= 1 for value in correlations)


@pytest.mark.parametrize(
    ("choices", "titles"),
    [
        ({}, ["Codes and prior"]),
        ({"latent": 1}, ["Codes and prior"]),
        ({"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"}, []),
    ],
    ids=str,
)
def test_other_runs_have_no_table_of_images(tmp_path, choices, titles):
    rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    run = train_quickly(rows, out=tmp_path / "run", steps=2, **choices)
    assert [table.title for table in sample_tables(run)] == titles


def test_few_test_rows_are_not_compared(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    run = train_quickly(rows, out=tmp_path / "run", steps=2)
    assert list(sample_tables(run)) == []
