"""The pictures: exact pixels, whole files, words where a person looks for them."""

import re
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from varied import plots
from varied.errors import VariedError
from varied.plots import contact_sheet, style

latent_map = import_module("varied.plots.latent_map")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def words(path):
    """The text of an SVG whose text is kept as text."""
    return re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))


@pytest.fixture
def digits():
    return np.random.default_rng(0).integers(0, 256, (10, 7, 5), dtype=np.uint8)


@pytest.fixture
def history():
    rows = []
    for step in range(0, 400, 10):
        distortion = 80 + 5000 * np.exp(-step / 4)
        row = {"step": step, "epoch": step / 100, "reconstruction": distortion, "kl": 20.0}
        rows.append(row | {"split": "train", "loss": distortion + 10, "beta": step / 400})
    rows.append({"step": 399, "epoch": 3.99, "split": "validation", "reconstruction": 82, "kl": 19})
    return rows


def test_the_grid_holds_the_exact_pixels(tmp_path, digits):
    whole = pixels(plots.grid(digits, tmp_path / "grid.png", columns=5, scale=3))
    margin, gutter = contact_sheet.MARGIN, contact_sheet.GUTTER
    for index, digit in enumerate(digits):
        x = margin + index % 5 * (15 + gutter)
        y = margin + index // 5 * (21 + gutter)
        large = np.kron(digit, np.ones((3, 3), np.uint8))
        assert (whole[y : y + 21, x : x + 15] == large[..., None]).all()


def test_color_stays(tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    whole = pixels(plots.grid(faces, tmp_path / "grid.png", columns=2, scale=1))
    assert (whole[8:12, 8:12] == faces[0]).all()
    assert (whole[8:12, 15:19] == faces[1]).all()


@pytest.mark.parametrize("count", [1, 2, 10, 23, 64])
@pytest.mark.parametrize("side", [8, 28, 64])
def test_a_grid_is_as_wide_as_a_page(tmp_path, count, side):
    pictures = np.zeros((count, side, side), np.uint8)
    width = pixels(plots.grid(pictures, tmp_path / "grid.png")).shape[1]
    assert 600 <= width <= 1300


def test_titles_and_captions_take_room_and_long_ones_are_cut(tmp_path, digits):
    bare = pixels(plots.grid(digits, tmp_path / "a.png", columns=5))
    said = pixels(
        plots.grid(
            digits,
            tmp_path / "b.png",
            columns=5,
            captions=["a very long name of a file " * 9] * 10,
            row_titles=["title " * 99, "Größe Ω"],
            column_titles="abcde",
            scale=(bare.shape[1] - 16) // 25,
        )
    )
    assert said.shape[0] > bare.shape[0]
    assert said.shape[1] < bare.shape[1] + contact_sheet.LONGEST + 40


def test_white_pictures_lie_on_gray():
    assert contact_sheet.sheet(np.full((2, 4, 4), 255, np.uint8)).getpixel((0, 0)) == (
        222,
        222,
        222,
    )
    assert contact_sheet.sheet(np.zeros((2, 4, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4)), np.zeros((2, 4, 4, 2), np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="A picture is uint8"):
        plots.grid(wrong, tmp_path / "grid.png")
    assert list(tmp_path.iterdir()) == []


def test_pairs_stand_under_each_other(tmp_path):
    originals = np.arange(13, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    texts = [f"{value} nats" for value in range(13)]
    path = plots.pairs(originals, originals + 100, tmp_path / "pairs.png", captions=texts)
    whole = pixels(path)[..., 0].astype(int)
    found = {
        (whole[y, x], whole[y + below, x])
        for below in range(50, 300)
        for y in (40,)
        for x in range(130, whole.shape[1], 20)
        if y + below < whole.shape[0] and whole[y, x] < 13
    }
    assert {(value, value + 100) for value in range(7)} <= found


def test_rows_of_pictures(tmp_path, digits):
    rows = np.stack([digits[:5], digits[5:]])
    wide = pixels(plots.interpolations(rows, tmp_path / "a.png")).shape
    paths = [
        plots.traversals(rows, np.array([3.2, 0.1]), np.linspace(-2, 2, 5), tmp_path / "b.png"),
        plots.side_by_side([("one", digits), ("two <b>", digits[:3])], tmp_path / "c.png"),
        plots.side_by_side([("gray", digits), ("other size", digits[:3, :3, :3])], tmp_path / "d"),
    ]
    assert wide[1] > wide[0]
    assert all(pixels(path).size for path in paths)


def test_the_manifold_has_its_first_row_below(tmp_path):
    tiles = np.arange(9, dtype=np.uint8)[:, None, None] * np.full((1, 4, 4), 20, np.uint8)
    whole = pixels(plots.manifold(tiles, 3, tmp_path / "map.png", (-2, 2)))[..., 0]
    assert whole[30, 110] == 6 * 20  # the upper left is z1 highest, z0 lowest
    assert whole[-80, -30] == 2 * 20
    plots.manifold(tiles, 3, tmp_path / "quantiles.png", [-1.6, 0, 1.6])


def test_the_first_steps_do_not_squash_the_curve(tmp_path, history):
    module = import_module("varied.plots.loss_curves")

    distortion = module._panels(history)["reconstruction"]
    low, high, top = module._limits(distortion)
    assert top > 5000 > 500 > high > 80 > low


def test_the_panels_keep_reconstruction_and_kl_apart(tmp_path, history):
    text = words(plots.loss_curves(history, tmp_path / "loss.svg"))
    assert {"−ELBO (reconstruction + KL)", "reconstruction", "KL", "nats per datum"} <= set(text)
    assert {"train 80.0", "validation 82.0", "validation 19.0", "epoch", "loss 90.0"} <= set(text)
    assert "weight 0 to 0.97" in text


def test_the_loss_is_shown_only_where_it_is_not_the_elbo(tmp_path, history):
    plain = [row | {"loss": row["reconstruction"] + row["kl"]} for row in history]
    assert not any("loss" in word for word in words(plots.loss_curves(plain, tmp_path / "l.svg")))


def test_where_there_is_no_kl_there_is_no_panel_of_it(tmp_path, history):
    plain = [{key: value for key, value in row.items() if key != "kl"} for row in history]
    text = words(plots.loss_curves(plain, tmp_path / "loss.svg"))
    assert {"loss", "reconstruction"} <= set(text)
    assert not {"KL", "−ELBO (reconstruction + KL)"} & set(text)


@pytest.mark.parametrize("rows", [slice(0, 1), slice(0, 2), slice(-1, None)])
def test_few_rows_can_be_drawn(tmp_path, history, rows):
    assert pixels(plots.loss_curves(history[rows], tmp_path / "loss.png")).size


def test_rows_that_are_not_finite_are_left_out(tmp_path, history):
    history[3] |= {"reconstruction": float("nan"), "loss": None}
    history[4] |= {"kl": float("inf")}
    text = words(plots.loss_curves(history, tmp_path / "loss.svg"))
    assert "train 80.0" in text
    lost = [{"step": 1, "epoch": 0.1, "split": "train", "loss": float("nan")}]
    assert pixels(plots.loss_curves(lost, tmp_path / "lost.png")).size


def test_no_history_is_said_in_a_sentence(tmp_path):
    with pytest.raises(VariedError, match="train for at least one step"):
        plots.loss_curves([], tmp_path / "loss.png")


def test_kl_bars_are_sorted_and_counted(tmp_path):
    rate = np.array([0.0, 5.0, 19.3])
    text = words(plots.kl_bars(rate, rate > 0.1, tmp_path / "kl.svg", spread=rate / 2))
    assert "KL by latent dimension: 2 of 3 active, 24.3 nats in all" in text
    assert [word for word in text if word.startswith("z")] == ["z2", "z1", "z0"]
    assert {"active (2)", "inactive (1)"} <= set(text)


def test_active_and_inactive_differ_by_more_than_color():
    from varied.plots.curves import _face

    assert "hatch" in _face(False)
    assert "hatch" not in _face(True)


def test_many_dimensions_and_nan_can_be_drawn(tmp_path):
    rate = np.linspace(3, 0, 200)
    rate[5] = np.nan
    assert pixels(plots.kl_bars(rate, rate > 1, tmp_path / "kl.png")).size


def test_curves_show_both(tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 30))
    path = plots.curves(
        rows, tmp_path / "c.svg", other=rows + 1, titles=[f"beat {i}" for i in "abcde"]
    )
    assert {"original", "reconstruction", "beat a", "beat e"} <= set(words(path))
    assert pixels(plots.curves(rows[:1], tmp_path / "one.png")).size


def test_runs_are_named_and_those_without_numbers_left_out(tmp_path):
    points = [("vae", 24.0, 67.0), ("lost", float("nan"), 1.0), ("$x_1$ <b>", 9.0, 92.0)]
    text = words(plots.rate_distortion(points, tmp_path / "rd.svg"))
    assert "vae" in text
    assert "lost" not in text
    assert any(word.startswith("−ELBO") for word in text)
    with pytest.raises(VariedError):
        plots.rate_distortion(points[1:2], tmp_path / "none.png")


@pytest.mark.parametrize("count", [2, 10, 14, 40])
def test_classes_are_named_on_the_map(tmp_path, count):
    points = np.random.default_rng(0).normal(size=(300, 2))
    labels = np.arange(300) % count
    names = [f"kind {index}" for index in range(count)]
    path = plots.latent_map(points, tmp_path / "m.svg", labels=labels, classes=names, title="a $ b")
    assert {names[0], names[-1]} <= set(words(path))
    assert len(set(names) & set(words(path))) == (count if count <= 20 else 12)


def test_names_do_not_cover_each_other():
    figure = style.sheet_of(6, 6)
    ax = figure.subplots()
    sizes = np.full((10, 2), (60.0, 20.0))
    places = latent_map._apart(
        np.tile(np.array(ax.get_window_extent().get_points().mean(0)), (10, 1)), sizes, ax
    )
    for a in range(10):
        for b in range(a):
            assert (np.abs(places[a] - places[b]) >= sizes[0] - 1e-6).any()


def test_numbers_missing_labels_and_far_points(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 2))
    points[0], points[1] = (900, 0), (np.nan, 0)
    number = plots.latent_map(points, tmp_path / "n.svg", labels=points[:, 0], axes=("z0", "z1"))
    assert {"z0", "z1", "1 of 499 points lie beyond the edge"} <= set(words(number))
    labels = np.where(np.arange(500) < 9, -1, np.arange(500) % 3)
    plots.latent_map(points, tmp_path / "l.png", labels=labels, classes="abc")
    plots.latent_map(points[:1], tmp_path / "one.png")
    plots.latent_map(points[2:4] * 0, tmp_path / "same.png", labels=np.array([0, 1]))


def test_twenty_classes_look_different():
    assert len({style.class_style(index) for index in range(20)}) == 20


def test_spreading_keeps_the_gap_and_the_limits():
    moved = style.avoid_overlap([0.98, 0.99, 0.1, 0.97], 0.1, 0.0, 1.0)
    assert max(moved) <= 1
    assert np.diff(sorted(moved)).min() >= 0.1 - 1e-9
    assert style.avoid_overlap([], 0.1, 0, 1) == []
