"""Tests of the latent map: labels, limits and class names."""

import numpy as np
import pytest
from figures import has_blank_margins, svg_texts

from varied import plots
from varied.plots.latent_map import separate_boxes

pytestmark = pytest.mark.figures


@pytest.mark.parametrize(("count", "num_named"), [(2, 2), (10, 10), (14, 14), (40, 12)])
def test_classes_are_named_on_the_map(tmp_path, count, num_named):
    points = np.random.default_rng(0).normal(size=(300, 2))
    names = [f"kind {index}" for index in range(count)]
    labels = np.arange(300) % count
    path = tmp_path / "map.svg"
    plots.latent_map(points, path, labels=labels, classes=names, title="a $ b")
    texts = set(svg_texts(path))
    assert {names[0], names[-1], "a $ b"} <= texts
    assert len(set(names) & texts) == num_named


@pytest.mark.parametrize("place", ["center", "random", "corner"])
def test_boxes_are_separated_within_the_frame(place):
    frame, sizes = np.array([[0, 0], [900, 900]]), np.full((10, 2), (60.0, 20.0))
    centers = {
        "center": np.full((10, 2), 450.0),
        "random": np.random.default_rng(0).uniform(400, 500, (10, 2)),
        "corner": np.full((10, 2), 890.0),
    }[place]
    separated = separate_boxes(centers, sizes, frame)
    assert (np.abs(separated - 450) <= 450 - sizes / 2 + 1e-6).all()
    for a in range(10):
        for b in range(a):
            assert (np.abs(separated[a] - separated[b]) > sizes[0] - 3).any()


def test_numeric_labels_and_outliers(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 2))
    points[0], points[1] = (900, 0), (np.nan, 0)
    path = tmp_path / "map.svg"
    plots.latent_map(points, path, labels=points[:, 0], axes=("z0", "z1"))
    assert {"z0", "z1", "1 of 499 points are outside the map"} <= set(svg_texts(path))


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (500, {"labels": np.where(np.arange(500) < 9, -1, np.arange(500) % 3), "classes": "abc"}),
        (1, {}),
        (2, {"labels": np.array([0, 1])}),
    ],
    ids=["missing labels", "one point", "identical points"],
)
def test_unusual_points(tmp_path, count, options):
    points = np.random.default_rng(0).normal(size=(count, 2)) * (count > 2)
    assert has_blank_margins(plots.latent_map(points, tmp_path / "map.png", **options))
