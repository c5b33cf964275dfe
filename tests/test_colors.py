"""The color of small objects in images is learned, and samples have it too."""

import numpy as np
import pytest
from quick_training import train_to_end

import varied
from varied.training import prepare
from varied.training.defaults import resolve


def colored_squares(n, side=16, size=4, channels=3):
    """Return images of a small square on a black background, which is brightest in one channel."""
    rng = np.random.default_rng(0)
    images = np.zeros((n, side, side, channels), np.uint8)
    for image, channel in zip(images, rng.integers(0, channels, n), strict=True):
        top, left = rng.integers(1, side - size, 2)
        image[top : top + size, left : left + size] = 80
        image[top : top + size, left : left + size, channel] = 250
    return images


@pytest.mark.parametrize(
    ("channels", "choices", "weight"),
    [
        (3, {}, "linear(start=3, end=0, steps=0.6, max_steps=1500)"),
        (3, {"steps": 500}, "linear(start=3, end=0, steps=0.6)"),
        (3, {"steps": 500, "beta": 2}, "linear(start=3, end=0, steps=0.6)"),
        (3, {"gaussian_weight": 0}, 0),
        (3, {"likelihood": "gaussian"}, None),
        (3, {"objective": "iwae"}, None),
        (1, {}, None),
    ],
)
def test_the_means_of_color_images_are_learned_before_the_scales(channels, choices, weight):
    config = resolve(varied.read(colored_squares(100, channels=channels)), "vae", choices)
    assert config.spec.objective.settings.get("gaussian_weight") == weight
    is_said = any(text.startswith("gaussian_weight falls") for text in config.sentences)
    assert is_said == bool(weight)


@pytest.mark.slow
@pytest.mark.parametrize(("choices", "is_learned"), [({}, True), ({"gaussian_weight": 0}, False)])
def test_the_colors_of_small_objects_are_learned(choices, is_learned, tmp_path):
    options = {"steps": 600, "threads": 1, "precision": "float32", "max_shift": 0}
    job = prepare(colored_squares(1000), out=tmp_path / "run", **options, **choices)
    run = train_to_end(job)
    colors = [images.reshape(len(images), -1, 3).mean(1) for images in run.reconstruct(n=60).images]
    original, reconstructed = (color - color.mean(1, keepdims=True) for color in colors)
    slope = (original * reconstructed).sum() / (original**2).sum()
    assert (slope > 0.7) if is_learned else (slope < 0.1)
