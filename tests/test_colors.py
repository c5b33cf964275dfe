"""The color of small objects in images is learned, and samples have it too."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from quick_training import train_quickly, train_to_end

import varied
from varied.nets.conv import AddMeanColor, conv
from varied.spec import Spec
from varied.training import Interrupted, prepare
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
        (3, {}, "linear(start=3, end=0, steps=0.3, max_steps=750)"),
        (3, {"steps": 500}, "linear(start=3, end=0, steps=0.3)"),
        (3, {"steps": 500, "beta": 2}, "linear(start=3, end=0, steps=0.3)"),
        (3, {"gaussian_weight": 0}, 0),
        (3, {"likelihood": "gaussian"}, None),
        (3, {"objective": "iwae"}, None),
        (1, {}, None),
    ],
)
def test_the_means_of_color_images_are_learned_before_the_scales(channels, choices, weight):
    config = resolve(varied.read(colored_squares(100, channels=channels)), "vae", choices)
    assert config.spec.objective.settings.get("gaussian_weight") == weight
    assert config.spec.net.settings.get("mean_color", False) == (channels > 1)
    assert any(text.startswith("mean_color = True") for text in config.sentences) == (channels > 1)
    is_said = any(text.startswith("gaussian_weight falls") for text in config.sentences)
    assert is_said == bool(weight)


def test_the_network_and_the_objective_of_a_spec_are_not_changed():
    spec = Spec.parse(net="conv", likelihood="discretized-logistic")
    resolved = resolve(varied.read(colored_squares(100)), spec, {}).spec
    assert (resolved.net, resolved.objective) == (spec.net, spec.objective)


def test_the_mean_color_is_added_to_the_code():
    torch.manual_seed(0)
    net, plain = (conv((3, 8, 8), (5,), mean_color=is_added) for is_added in (True, False))
    plain.load_state_dict(net.net.state_dict())
    x = torch.rand(4, 3, 8, 8)
    mean = x.mean((2, 3))
    normalized = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, False) + 1e-5).sqrt()[:, None]
    torch.testing.assert_close(net(x) - plain(x), net.linear(normalized))
    assert isinstance(conv((5,), (3, 8, 8), mean_color=True), torch.nn.Sequential)


@pytest.mark.parametrize("conditioning", ["concatenate", "film"])
def test_conditional_models_of_color_images_see_the_mean_color(conditioning, tmp_path):
    images = colored_squares(60), ["a", "b"] * 30
    options = {"steps": 3, "conditioning": conditioning, "out": tmp_path / "run"}
    run = train_quickly(images, "conditional-vae", **options)
    assert any(isinstance(module, AddMeanColor) for module in run.model.encoder.modules())
    assert run.reconstruct(n=5).images.shape[1] == 5


@pytest.mark.slow
def test_an_interrupted_training_on_color_images_resumes_to_the_same_weights(tmp_path):
    options = {"steps": 40, "threads": 1, "precision": "float32"}
    weights = []
    for name, end in (("whole", 40), ("interrupted", 6)):
        job = prepare(colored_squares(200), out=tmp_path / name, **options)
        with suppress(Interrupted):
            for event in job.train():
                job.is_stopping = event.state.step == end - 1 < 39
        resumed = prepare(colored_squares(200), out=tmp_path / name, **options)
        assert f"Resumes at step {end} of" in resumed.sentences[-1]
        weights.append(train_to_end(resumed).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "is_learned"),
    [({}, True), ({"gaussian_weight": 0, "mean_color": False}, False)],
)
def test_the_colors_of_small_objects_are_learned(choices, is_learned, tmp_path):
    options = {"steps": 600, "threads": 1, "precision": "float32", "max_shift": 0}
    job = prepare(colored_squares(1000), out=tmp_path / "run", **options, **choices)
    run = train_to_end(job)
    colors = [images.reshape(len(images), -1, 3).mean(1) for images in run.reconstruct(n=60).images]
    original, reconstructed = (color - color.mean(1, keepdims=True) for color in colors)
    slope = (original * reconstructed).sum() / (original**2).sum()
    assert (slope > 0.7) if is_learned else (slope < 0.1)
