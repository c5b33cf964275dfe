"""Tests of animations: durations, a common palette, fixed axes and neutral grays."""

import numpy as np
import pytest
from PIL import Image

from varied import plots
from varied.plots import animation
from varied.plots.latent_map import Labels

pytestmark = pytest.mark.figures


def read_gif(path):
    """Return the duration and the RGB pixels of each frame."""
    with Image.open(path) as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append((gif.info["duration"], np.asarray(gif.convert("RGB"))))
        return frames


def read_palettes(path):
    """Return the color tables of a GIF: the global one, and those of individual frames."""
    data = path.read_bytes()
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    palettes = {data[13:at]}
    while data[at] != 0x3B:
        if data[at] == 0x21:
            at += 2
        else:
            flags, at = data[at + 9], at + 10
            size = 3 * 2 ** ((flags & 7) + 1) if flags >> 7 else 0
            palettes |= {data[at : at + size]} if size else set()
            at += size + 1
        while data[at]:
            at += data[at] + 1
        at += 1
    return palettes


@pytest.mark.parametrize(
    "labels",
    [
        {"labels": np.arange(60) % 12, "classes": [f"<kind {i}> $" for i in range(12)]},
        {"labels": np.linspace(0, 1, 60)},
        {},
    ],
    ids=["classes", "numbers", "none"],
)
def test_latent_gif(tmp_path, labels):
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(60, 2)) * scale for scale in (1, 2, 3)]
    captions = ["epoch 0", "epoch 1", "epoch 2"]
    path = tmp_path / "latent.gif"
    plots.latent_gif(frames, path, captions=captions, method_name="t-SNE", **labels)
    images = read_gif(path)
    assert [duration for duration, _ in images] == [120, 120, 1500]
    assert len(read_palettes(path)) == 1
    assert all((image[3, 3] == 255).all() for _, image in images)
    assert path.stat().st_size < 3_000_000


def test_latent_gif_has_fixed_axes(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.uniform(-1, 1, (60, 2)) * scale for scale in (0.2, 1)]
    path = plots.latent_gif(frames, tmp_path / "latent.gif", method_name="latent plane")
    first, last = (image for _, image in read_gif(path))
    assert (first[-40:] == last[-40:]).all()  # the ticks of z0
    assert (first[:, :40] == last[:, :40]).all()  # the ticks of z1


@pytest.mark.parametrize("name", ["{}", "shoe {}", "kind of shoe {}", "WWWWWWWWWWWWWWWWWW{}"])
@pytest.mark.parametrize("count", [3, 10, 20])
def test_latent_gif_legend_fits_below_the_map(name, count):
    points = np.random.default_rng(0).normal(size=(60, 2)) * (1, 3)
    labels = Labels.of(np.arange(60) % count, [name.format(i) for i in range(count)], 60)
    figure, _ = animation._first_frame([points], labels, "t-SNE")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert legend.y1 <= figure.axes[0].get_tightbbox().y0 + 1


@pytest.mark.parametrize("shape", [(3, 16, 9, 9), (3, 4, 9, 9, 3), (2, 10, 8, 6, 1)])
def test_samples_gif(tmp_path, shape):
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    captions = [f"epoch {index}.0" for index in range(shape[0])]
    path = plots.samples_gif(frames, tmp_path / "samples.gif", captions=captions)
    images = read_gif(path)
    assert [duration for duration, _ in images] == [120] * (shape[0] - 1) + [1500]
    assert len(read_palettes(path)) == 1
    assert images[0][1].shape[1] <= 700


def test_samples_gif_keeps_grays(tmp_path):
    image = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    path = plots.samples_gif(image, tmp_path / "samples.gif")
    canvas = read_gif(path)[0][1]
    scale = (canvas.shape[1] - 16) // 16
    grays = canvas[24 + 8 : -8 : scale, 8:-8:scale, 0]
    assert np.abs(grays.astype(int) - image[0, 0]).max() <= 4
    assert (grays[0, 0], grays[-1, -1]) == (0, 255)


def test_interpolation_gif_goes_back_and_forth(tmp_path):
    levels = np.array([0, 85, 170, 255], np.uint8)
    images = np.broadcast_to(levels[None, :, None, None], (1, 4, 8, 8))
    frames = read_gif(plots.interpolation_gif(images, tmp_path / "walk.gif"))
    assert [duration for duration, _ in frames] == [600, 60, 60, 600, 60, 60]
    centers = [image[image.shape[0] // 2, image.shape[1] // 2, 0] for _, image in frames]
    assert np.allclose(centers, [0, 85, 170, 255, 170, 85], atol=4)
