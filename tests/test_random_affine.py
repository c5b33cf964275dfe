"""Random shifts and affine maps of images match those of SciPy, and differ between images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, shift

from varied.errors import VariedError
from varied.nets.random_affine import (
    DEFAULT_AFFINE,
    RandomAffine,
    RandomAffineInput,
    add_random_affine,
    random_shift,
)
from varied.training import prepare


@pytest.mark.parametrize("size", [(20, 20), (24, 15)])
def test_affine_map_matches_scipy(size, monkeypatch):
    x = torch.zeros(1, 1, *size)
    x[..., 6:14, 5:9] = torch.rand(8, 4)
    uniform = torch.tensor([0.5, 0.6, -0.4, 0.3, -0.7, 0.8])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: (uniform[:, None] + 1) / 2)
    affine = RandomAffine(translation=0.1, degrees=30, log_scale=0.2, shear=0.4)
    actual = affine(x)[0, 0].numpy()

    angle, k = np.radians(30) * 0.5, 0.4 * 0.8
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[1, k], [0, 1]]) @ np.diag(np.exp([0.2 * 0.3, 0.2 * -0.7]))
    matrix = matrix[::-1, ::-1]  # SciPy's first axis is vertical
    center = (np.array(size) - 1) / 2
    offset = center - matrix @ center + 0.1 * np.array([-0.4, 0.6]) * size
    expected = affine_transform(x[0, 0].numpy(), matrix, offset, order=1, mode="nearest")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_maps_differ_between_images_and_depend_on_the_generator():
    x = torch.rand(1, 1, 9, 9).expand(4, 1, 9, 9)
    transformed = DEFAULT_AFFINE(x, torch.Generator().manual_seed(3))
    assert torch.equal(transformed, DEFAULT_AFFINE(x, torch.Generator().manual_seed(3)))
    assert not torch.equal(transformed, DEFAULT_AFFINE(x, torch.Generator().manual_seed(4)))
    assert len({image.sum().item() for image in transformed}) == 4
    torch.testing.assert_close(DEFAULT_AFFINE.scale_bounds(0)(x), x)


def test_images_are_transformed_in_training_mode_only():
    net = add_random_affine(torch.nn.Identity(), (1, 9, 9), 1)
    assert isinstance(net, RandomAffineInput)
    x = torch.rand(2, 1, 9, 9)
    assert not torch.allclose(net(x), x)
    assert net.eval()(x) is x


def test_strength_0_returns_the_network():
    net = torch.nn.Identity()
    assert add_random_affine(net, (5,), 0) is net


@pytest.mark.parametrize(
    ("shape", "strength", "message"),
    [
        ((5,), 1, r"the data have shape \(5,\)"),
        ((1, 9, 9), -1, "must be between 0 and 3"),
        ((1, 9, 9), 4, "must be between 0 and 3"),
    ],
)
def test_invalid_shape_or_strength_is_an_error(shape, strength, message):
    with pytest.raises(VariedError, match=message):
        add_random_affine(torch.nn.Identity(), shape, strength)


def test_random_shifts_match_scipy_and_are_uniform():
    image = torch.randint(256, (3, 7, 9), dtype=torch.uint8)
    mask = torch.rand(3, 7, 9) < 0.5
    images, masks = random_shift(image.repeat(900, 1, 1, 1), mask.repeat(900, 1, 1, 1), 1)
    counts = {}
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            shifted, shifted_mask = (
                torch.from_numpy(shift(x.numpy(), (0, -down, -right), order=0, mode="nearest"))
                for x in (image, mask.to(torch.uint8))
            )
            is_equal = (images == shifted).flatten(1).all(1)
            assert torch.equal(
                masks[is_equal], shifted_mask.bool().expand(len(masks[is_equal]), 3, 7, 9)
            )
            counts[down, right] = int(is_equal.sum())
    assert sum(counts.values()) == 900
    assert all(60 < count < 140 for count in counts.values())


def test_missing_masks_remain_missing():
    x = torch.rand(2, 1, 5, 5)
    shifted, mask = random_shift(x, None, 2)
    assert mask is None and shifted.shape == x.shape


def test_a_job_shifts_few_images_in_training_mode_only(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    step, loaded = prepare(images, net="mlp", width=8, out=tmp_path / "run").step, []
    load = step.load
    step.load = lambda x: loaded.append(x) or load(x)
    x = torch.from_numpy(images)[:40, None]
    for is_training in (True, False):
        step.train(is_training)
        step(x)
    shifted, unchanged = loaded
    assert torch.equal(unchanged, x)
    assert 30 < (shifted != x).flatten(1).any(1).sum() <= 40  # one of 25 shifts is none
