"""Sprites: the grid of factors, exact symmetries, and images that never change."""

import hashlib
import time

import numpy as np
import pytest

from varied.data import CATALOG, fit_codec, read
from varied.data.sprites import (
    COLOR_FACTORS,
    FACTORS,
    SHAPES,
    draw,
    factors,
    n_combinations,
    sprites,
)
from varied.errors import VariedError

SIZES = tuple(FACTORS.values())


@pytest.fixture(scope="module")
def stamps():
    """Return each shape, scale and orientation at the center, with shape (3, 6, 40, 64, 64)."""
    grid = np.stack(np.meshgrid(*map(np.arange, SIZES[:3]), indexing="ij"), -1).reshape(-1, 3)
    center = np.full((len(grid), 2), 16)
    return draw(np.hstack([grid, center])).reshape(*SIZES[:3], 64, 64)


def test_factors_enumerate_the_grid():
    n = n_combinations()
    assert n == 3 * 6 * 40 * 32 * 32 == 737_280
    assert n_combinations(color=True) == 6 * n
    grid = factors(np.arange(n))
    assert np.array_equal(np.ravel_multi_index(tuple(grid.T), SIZES), np.arange(n))
    last = factors([6 * n - 1], color=True)
    assert last.tolist() == [[size - 1 for size in COLOR_FACTORS.values()]]


# Shapes


@pytest.mark.parametrize(("shape", "n_orientations"), [(0, 10), (1, 20), (2, 40)])
def test_a_shape_has_as_many_orientations_as_its_symmetry_leaves(stamps, shape, n_orientations):
    images = stamps[shape]
    assert len(np.unique(images.reshape(240, -1), axis=0)) == 6 * n_orientations
    assert np.array_equal(images, np.roll(images, n_orientations, axis=1))


def test_shapes_of_all_scales_and_orientations_differ(stamps):
    assert len(np.unique(stamps.reshape(720, -1), axis=0)) == 6 * (10 + 20 + 40)


def test_a_quarter_turn_is_counterclockwise(stamps):
    # The center is pixel 32, so row and column 0 have no counterpart.
    rotated = np.rot90(stamps[:, :, 0, 1:, 1:], axes=(2, 3))
    assert np.array_equal(stamps[:, :, 10, 1:, 1:], rotated)


def test_an_eighth_turn_is_counterclockwise(stamps):
    down, across = np.nonzero(stamps[1, 5, 5])
    assert np.corrcoef(across, -down)[0, 1] > 0.3


def test_the_heart_is_upright_and_symmetric(stamps):
    heart = stamps[2, 5, 0, 1:, 1:] > 0
    rows = np.flatnonzero(heart.any(1))
    assert np.array_equal(heart, heart[:, ::-1])
    assert heart[rows[-1]].sum() <= 3  # the tip at the bottom
    assert not heart[rows[0], 31]  # the notch at the top
    assert heart[rows[0]].sum() > 3
    assert heart.sum(1).argmax() < rows.mean()


def test_the_ellipse_is_horizontal_before_it_is_rotated(stamps):
    ellipse = stamps[1, 5] > 0
    assert ellipse[0].any(0).sum() > 1.4 * ellipse[0].any(1).sum()
    assert ellipse[10].any(1).sum() > 1.4 * ellipse[10].any(0).sum()


def test_scales_are_evenly_spaced_and_shapes_have_similar_areas(stamps):
    area = (stamps > 0).sum((3, 4)).mean(2)
    assert np.allclose(np.sqrt(area / area[:, -1:]), np.linspace(0.5, 1, 6), atol=0.015)
    assert np.all(area.max(0) < 1.06 * area.min(0))


# Images


def test_shapes_are_black_and_white_and_never_touch_the_border(stamps):
    corners = [
        [shape, 5, orientation, across, down]
        for shape in range(3)
        for orientation in range(40)
        for across in (0, 31)
        for down in (0, 31)
    ]
    images = draw(corners)
    assert set(np.unique(images)) == {0, 255}
    border = np.ones((64, 64), bool)
    border[1:-1, 1:-1] = False
    assert not images[:, border].any()
    areas = (stamps[:, 5] > 0).sum((2, 3)).repeat(4)
    assert np.array_equal((images > 0).sum((1, 2)), areas.ravel())  # not clipped


def test_positions_are_one_pixel_apart():
    first, right, below = draw([[2, 3, 7, 10, 20], [2, 3, 7, 11, 20], [2, 3, 7, 10, 21]])
    assert np.array_equal(right, np.roll(first, 1, axis=1))
    assert np.array_equal(below, np.roll(first, 1, axis=0))
    ends = draw([[0, 0, 0, 0, 0], [0, 0, 0, 31, 31]])
    assert [np.argwhere(image).mean(0).tolist() for image in ends] == [[16, 16], [47, 47]]


def test_color_sprites_have_the_same_shape_in_six_hues():
    shape = draw([[2, 4, 3, 5, 9]])[0] > 0
    images = draw([[2, 4, 3, 5, 9, hue] for hue in range(6)])
    assert images.shape == (6, 3, 64, 64)
    hues = images[:, :, shape].max(2)
    assert all(np.array_equal(image.any(0), shape) for image in images)
    assert (images[:, :, shape] == hues[..., None]).all()
    assert len(np.unique(hues, axis=0)) == 6
    assert hues[[0, 2, 4]].argmax(1).tolist() == [0, 1, 2]  # red, green, blue


def test_the_images_never_change():
    images = draw(factors(np.arange(0, n_combinations(), 1009)))
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "04610b81595891fb"


def test_no_factors_give_no_images():
    assert draw(np.zeros((0, 5), int)).shape == (0, 64, 64)


# Datasets


def test_the_named_dataset_is_a_fixed_subset():
    start = time.monotonic()
    data = read("sprites")
    assert time.monotonic() - start < 10
    assert (data.x.shape, data.x.dtype, data.source) == ((50_000, 64, 64), np.uint8, "sprites")
    assert len(np.unique(data.labels, axis=0)) == 50_000
    assert "50,000 of 737,280 sprites, chosen with seed 0" in data.notes[1]
    assert np.array_equal(data.x[:100], draw(data.labels[:100]))
    assert [len(np.unique(column)) for column in data.labels.T] == list(SIZES)
    assert fit_codec(data.take(range(2000))).domain == "binary"
    assert CATALOG["sprites"].location() == "in the package"


def test_a_subset_depends_on_the_seed():
    first, second, other = sprites(300), sprites(300), sprites(300, seed=1)
    assert first.digest() == second.digest() != other.digest()
    assert np.array_equal(sprites(200).x, first.x[:200])


def test_color_sprites_are_color_images_with_six_labels():
    data = sprites(50, color=True)
    assert (data.x.shape, data.labels.shape) == ((50, 64, 64, 3), (50, 6))
    codec = fit_codec(data)
    assert codec.shape == (3, 64, 64)
    assert np.array_equal(codec.encode(data).numpy(), draw(data.labels))
    assert np.array_equal(codec.decode(codec.load(codec.encode(data))), data.x)
    assert CATALOG["sprites-color"].location() == "in the package"


def test_the_labels_may_be_a_factor():
    data = sprites(100, "shape")
    assert data.classes == SHAPES
    assert np.array_equal(data.labels, sprites(100).labels[:, 0])
    assert len(sprites(100, "orientation").classes) == 40
    assert len(sprites(10, "hue", color=True).classes) == 6
    assert sprites(10, labels=list("ababababab")).classes == ("a", "b")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: draw([[0, 6, 0, 0, 0]]),
            "'scale' must be between 0 and 5, got values from 6 to 6",
        ),
        (lambda: draw([[0, 0, 0, -1, 0]]), "'across' must be between 0 and 31"),
        (lambda: draw([[0, 0, 0, 0, 0, 6]]), "'hue' must be between 0 and 5"),
        (lambda: draw([0, 0, 0, 0, 0]), r"must be \(N, 5\)"),
        (lambda: draw([[0, 0, 0]]), r"must be \(N, 5\)"),
        (lambda: draw([[0, 0.5, 0, 0, 0]]), "must be a non-negative integer"),
        (lambda: draw([[0, np.nan, 0, 0, 0]]), "must be a non-negative integer"),
        (lambda: factors([737_280]), "between 0 and 737,279"),
        (lambda: factors([-1]), "between 0 and 737,279"),
        (lambda: sprites(0), "between 1 and 737,280"),
        (lambda: sprites(737_281), "between 1 and 737,280"),
        (lambda: sprites(10, "orientaton"), "did you mean 'orientation'"),
        (lambda: sprites(10, "hue"), "no factor 'hue'"),
    ],
)
def test_invalid_sprites_are_refused(call, message):
    with pytest.raises(VariedError, match=message):
        call()
