"""The films: steady, in one palette, and as long as they say."""

from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from varied.errors import VariedError
from varied.plots import animation, embedding

latent_map = import_module("varied.plots.latent_map")


def frames_of(path):
    """Each frame's duration, and its picture as a person sees it."""
    with Image.open(path) as film:
        found = []
        for index in range(film.n_frames):
            film.seek(index)
            found.append((film.info["duration"], np.asarray(film.convert("RGB"))))
        return found


def palettes_of(path):
    """The color tables of a GIF: the common one, and those that frames bring with them."""
    data = path.read_bytes()
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    tables = {data[13:at]}
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at += 2
        else:
            flags, at = data[at + 9], at + 10
            size = 3 * 2 ** ((flags & 7) + 1) if flags >> 7 else 0
            tables |= {data[at : at + size]} if size else set()
            at += size + 1
        while data[at]:
            at += data[at] + 1
        at += 1
    return tables


@pytest.fixture(scope="module")
def stages():
    """Codes that part from one heap into three."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    heap, goal = rng.normal(size=(90, 6)), np.eye(3, 6)[labels] * 9
    return [heap + goal * share for share in (0, 0.5, 0.8, 1.0)], labels


def test_a_plane_is_shown_as_it_is():
    codes = [np.random.default_rng(0).normal(size=(50, 2)) for _ in range(3)]
    frames, name = animation.aligned_embeddings(codes)
    assert name == "latent plane"
    assert all((frame == code).all() for frame, code in zip(frames, codes, strict=True))


def test_a_line_is_spread_by_the_same_noise_in_each_frame():
    frames, _ = animation.aligned_embeddings([np.arange(5.0)[:, None], np.ones((5, 1))])
    assert (frames[0][:, 0] == np.arange(5)).all()
    assert (frames[0][:, 1] == frames[1][:, 1]).all()


def test_tsne_parts_the_classes_and_stays_steady(stages):
    codes, labels = stages
    frames, name = animation.aligned_embeddings([*codes, codes[-1]])
    assert name == "t-SNE"
    middles = np.array([frames[-1][labels == label].mean(axis=0) for label in range(3)])
    spread = max(frames[-1][labels == label].std() for label in range(3))
    gaps = [np.linalg.norm(middles[a] - middles[b]) for a in range(3) for b in range(a)]
    assert min(gaps) > 2 * spread
    moved = np.linalg.norm(frames[-1] - frames[-2], axis=1)
    assert np.median(moved) < 0.1  # of the root mean square radius: the codes did not change
    for frame in frames:
        assert np.isclose((frame**2).sum(axis=1).mean(), 1)


def test_the_same_seed_gives_the_same_film(stages):
    first, again = (animation.aligned_embeddings(stages[0][:2], seed=3)[0] for _ in range(2))
    assert np.array_equal(first, again)


def test_frames_are_turned_back():
    points = np.random.default_rng(0).normal(size=(40, 2))
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    assert np.allclose(embedding._turn(points @ turn, points), points)


def test_pca_where_tsne_would_be_slow():
    codes = [np.random.default_rng(seed).normal(size=(2500, 5)) for seed in (0, 1)]
    frames, name = animation.aligned_embeddings(codes)
    assert (name, frames[0].shape) == ("PCA", (2500, 2))
    assert animation.aligned_embeddings([code[:500] for code in codes] * 100)[1] == "PCA"


def test_pca_keeps_to_the_axes_of_the_last_stage():
    codes = np.random.default_rng(0).normal(size=(30, 4))
    frames, _ = animation.aligned_embeddings([codes, codes * 2, codes], method="pca")
    assert np.allclose(frames[0], frames[2])
    assert np.allclose(frames[0] * 2, frames[1])


@pytest.mark.parametrize("code", [np.zeros((20, 3)), np.full((20, 3), np.nan), np.ones((3, 4))])
def test_collapsed_broken_and_few_codes_pass(code):
    assert all(np.isfinite(frame).all() for frame in animation.aligned_embeddings([code, code])[0])


def test_wrong_wishes_are_named():
    with pytest.raises(VariedError, match="did you mean 'tsne'"):
        animation.aligned_embeddings([np.zeros((20, 3))], method="tsn")
    with pytest.raises(VariedError, match="no stage"):
        animation.aligned_embeddings([])


@pytest.mark.parametrize("labels", ["classes", "numbers", "none"])
def test_a_latent_film(tmp_path, labels):
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(60, 2)) * scale for scale in (1, 2, 3)]
    given = {
        "classes": {"labels": np.arange(60) % 12, "classes": [f"<kind {i}> $" for i in range(12)]},
        "numbers": {"labels": np.linspace(0, 1, 60)},
        "none": {},
    }[labels]
    path = animation.latent_gif(
        frames,
        tmp_path / "latent.gif",
        captions=["epoch 0", "epoch 1", "epoch 2"],
        method_name="t-SNE",
        milliseconds=110,
        hold_last=1400,
        **given,
    )
    shown = frames_of(path)
    assert [duration for duration, _ in shown] == [110, 110, 1400]
    assert len(palettes_of(path)) == 1
    assert all((picture[3, 3] == 255).all() for _, picture in shown)
    assert path.stat().st_size < 3_000_000


def test_the_axes_stand_still(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.uniform(-1, 1, (60, 2)) * scale for scale in (0.2, 1)]
    path = animation.latent_gif(frames, tmp_path / "latent.gif", method_name="latent plane")
    first, last = (picture for _, picture in frames_of(path))
    assert (first[-60:] == last[-60:]).all()  # the ticks of z0
    assert (first[:, :40] == last[:, :40]).all()  # and of z1


@pytest.mark.parametrize("shape", [(3, 16, 9, 9), (3, 4, 9, 9, 3), (2, 10, 8, 6, 1)])
def test_a_film_of_samples(tmp_path, shape):
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = animation.samples_gif(pictures, tmp_path / "samples.gif", captions=["epoch 0.0"])
    shown = frames_of(path)
    assert [duration for duration, _ in shown] == [120] * (shape[0] - 1) + [1500]
    assert len(palettes_of(path)) == 1
    assert shown[0][1].shape[1] <= 700


def test_a_gray_film_is_true_to_its_pictures(tmp_path):
    picture = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    path = animation.samples_gif(picture, tmp_path / "samples.gif")
    shown = frames_of(path)[0][1]
    scale = (shown.shape[1] - 16) // 16
    seen = shown[24 + 8 : -8 : scale, 8:-8:scale, 0]
    assert np.abs(seen.astype(int) - picture[0, 0]).max() <= 4
    assert (seen[0, 0], seen[-1, -1]) == (0, 255)


@pytest.mark.parametrize("method", ["auto", "pca", "tsne"])
def test_one_dimension_is_always_its_own_plane(method):
    assert animation.aligned_embeddings([np.zeros((20, 1))], method=method)[1] == "latent plane"


@pytest.mark.parametrize("name", ["{}", "shoe {}", "kind of shoe {}", "WWWWWWWWWWWWWWWWWW{}"])
@pytest.mark.parametrize("count", [3, 10, 20])
def test_the_names_fit_under_the_map(name, count):
    points = np.random.default_rng(0).normal(size=(60, 2)) * (1, 3)
    legend = latent_map.legend_of(np.arange(60) % count, [name.format(i) for i in range(count)], 60)
    figure, _ = animation._stage([points], legend, "t-SNE", labeled=True)
    figure.draw_without_rendering()
    strip = figure.legends[0].get_window_extent()
    assert strip.x0 >= 0
    assert strip.x1 <= figure.bbox.width
    assert strip.y1 <= figure.axes[0].get_tightbbox().y0 + 1
