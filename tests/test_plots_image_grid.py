"""Tests of image grids: exact pixels, sizes and labels."""

import numpy as np
import pytest
from figures import pixels

from varied import plots
from varied.plots import image_grid
from varied.plots.image_grid import GUTTER, MARGIN, MAX_TITLE_WIDTH, compose

pytestmark = pytest.mark.figures


@pytest.fixture
def digits():
    return np.random.default_rng(0).integers(0, 256, (10, 7, 5), dtype=np.uint8)


def test_grid_keeps_the_exact_pixels(digits):
    canvas = np.asarray(compose(digits, columns=5, scale=3))
    for index, digit in enumerate(digits):
        x = MARGIN + index % 5 * (15 + GUTTER)
        y = MARGIN + index // 5 * (21 + GUTTER)
        enlarged = np.kron(digit, np.ones((3, 3), np.uint8))
        assert (canvas[y : y + 21, x : x + 15] == enlarged[..., None]).all()


def test_grid_keeps_colors():
    faces = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    canvas = np.asarray(compose(faces, columns=2, scale=1))
    assert (canvas[8:12, 8:12] == faces[0]).all()
    assert (canvas[8:12, 15:19] == faces[1]).all()


@pytest.mark.parametrize("count", [1, 2, 10, 23, 64])
@pytest.mark.parametrize("side", [8, 28, 64])
def test_default_scale_fits_a_page(tmp_path, count, side):
    images = np.zeros((count, side, side), np.uint8)
    assert 600 <= pixels(plots.grid(images, tmp_path / "grid.png")).shape[1] <= 1300


def test_labels_enlarge_the_grid_and_are_truncated(digits):
    plain = compose(digits, columns=5, scale=20)
    labeled = compose(
        digits,
        columns=5,
        captions=["a very long file name " * 9] * 10,
        row_titles=["title " * 99, "Größe Ω"],
        column_titles="abcde",
        scale=20,
    )
    assert labeled.height > plain.height
    assert labeled.width < plain.width + MAX_TITLE_WIDTH + 40


@pytest.mark.parametrize(("level", "background"), [(255, 222), (0, 255)])
def test_white_images_get_a_gray_background(level, background):
    canvas = compose(np.full((2, 4, 4), level, np.uint8))
    assert canvas.getpixel((0, 0)) == (background,) * 3


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4)), np.zeros((2, 4, 4, 2), np.uint8)])
def test_grid_refuses_other_arrays(tmp_path, images):
    with pytest.raises(ValueError, match="An image must be uint8 with shape"):
        plots.grid(images, tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == []


def test_pairs_places_reconstructions_below_originals(tmp_path):
    originals = np.arange(13, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    captions = [f"{value} nats" for value in range(13)]
    path = plots.pairs(originals, originals + 100, tmp_path / "pairs.png", captions=captions)
    canvas = pixels(path)[..., 0].astype(int)
    top = canvas[40, 130::20]
    below = {
        (upper, lower)
        for row in canvas[90:340, 130::20]
        for upper, lower in zip(top, row, strict=True)
        if upper < 13
    }
    assert {(value, value + 100) for value in range(7)} <= below
    with pytest.raises(ValueError, match=r"originals \(13\) must equal .* \(2\)"):
        plots.pairs(originals, originals[:2], tmp_path / "none.png")


def test_rows_of_images(tmp_path, digits):
    rows = np.stack([digits[:5], digits[5:]])
    interpolations = pixels(plots.interpolations(rows, tmp_path / "a.png"))
    assert interpolations.shape[1] > interpolations.shape[0]
    traversals = plots.traversals(rows, np.array([3.2, np.nan]), np.arange(5), tmp_path / "b.png")
    assert pixels(traversals).shape[1] > interpolations.shape[1]


def test_side_by_side_accepts_rows_of_different_sizes(tmp_path, digits):
    rows = [("a", digits), ("b <b>", digits[:3]), ("c", digits[:3, :3, :3])]
    canvas = pixels(plots.side_by_side(rows, tmp_path / "rows"))
    assert canvas.shape[1] > canvas.shape[0]


@pytest.mark.parametrize("with_contents", [False, True])
def test_variants_follow_their_originals(tmp_path, with_contents):
    originals = np.full((2, 30, 30), 10, np.uint8) * np.arange(1, 3, dtype=np.uint8)[:, None, None]
    images = np.full((2, 3, 30, 30), 100, np.uint8)
    path = plots.variants(
        originals,
        images,
        tmp_path / "variants.png",
        titles=["−1", "0", "+1"],
        captions=[["", "", "outside"]] * 2,
        contents=np.full((3, 30, 30), 200, np.uint8) if with_contents else None,
    )
    canvas = pixels(path)
    column = canvas[:, MARGIN + 40, 0]
    assert (column == 10).sum() == (column == 20).sum() > 0
    assert ((canvas == 200).all(axis=2).sum() > 1000) == with_contents


def test_manifold_has_the_lowest_values_at_the_lower_left(tmp_path):
    tiles = np.arange(9, dtype=np.uint8)[:, None, None] * np.full((1, 4, 4), 20, np.uint8)
    canvas = pixels(plots.manifold(tiles, [-1.6, 0, 1.6], tmp_path / "map.png"))[..., 0]
    assert canvas[30, 110] == 6 * 20  # upper left: highest z1, lowest z0
    assert canvas[-80, -30] == 2 * 20


def test_traversal_titles_have_no_negative_zero():
    assert [image_grid._decimal(value) for value in (-0.04, -1.26, 0.0)] == ["0.0", "−1.3", "0.0"]
