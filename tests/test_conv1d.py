"""The convolutional network for sequences."""

from __future__ import annotations

import pytest
import torch

from varied.errors import VariedError
from varied.nets import conv1d, with_context

SHAPES = [
    ((27, 50), (8, 25)),
    ((4, 25), (48, 50)),
    ((5, 21), (8, 11)),
    ((4, 11), (6, 21)),
    ((5, 20), (2, 5)),
    ((2, 5), (5, 20)),
    ((5, 20), (2, 15)),
    ((2, 15), (5, 20)),
    ((3, 7), (4, 7)),
    ((5, 9), (3,)),
    ((3,), (5, 9)),
    ((3, 1), (2, 1)),
]


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES, ids=str)
@pytest.mark.parametrize(
    ("context", "method"), [(0, "concatenate"), (3, "concatenate"), (3, "film")]
)
def test_shapes_and_gradients(inputs, outputs, context, method):
    net = with_context(lambda shape: conv1d(shape, outputs, width=8), inputs, context, method)
    with torch.no_grad():
        for p in net.parameters():  # some are initialized to 0
            p.add_(0.05 * torch.randn_like(p))
    x = torch.randn(3, *inputs)
    y = net(x, torch.randn(3, context)) if context else net(x)
    assert y.shape == (3, *outputs)
    y.square().sum().backward()
    assert all((p.grad != 0).any() for p in net.parameters())


def test_a_code_depends_only_on_a_part_of_the_sequence():
    x = torch.randn(1, 3, 40, requires_grad=True)
    conv1d((3, 40), (2, 20), width=4, kernel_size=3)(x)[0, :, 10].sum().backward()
    positions = x.grad.abs().sum((0, 1)).nonzero()[:, 0]
    assert positions.min() >= 14
    assert positions.max() <= 26


def test_a_decoder_interleaves_positions_in_order():
    z = torch.zeros(1, 2, 20)
    z[..., 10] = 1
    net = conv1d((2, 20), (3, 40), width=4, kernel_size=1)
    changed = (net(z) - net(torch.zeros_like(z))).abs().sum((0, 1)).nonzero()[:, 0]
    assert changed.tolist() == [20, 21]


@pytest.mark.parametrize(
    ("inputs", "outputs", "settings", "message"),
    [
        ((3, 9), (2, 5), {"kernel_size": 4}, r"kernel_size=4 must be odd, such as 5"),
        ((3, 9), (2, 5), {"width": 0}, "width=0 must be at least 1"),
        ((1, 8, 8), (4,), {}, r"use net='mlp'"),
    ],
)
def test_invalid_settings_are_errors(inputs, outputs, settings, message):
    with pytest.raises(VariedError, match=message):
        conv1d(inputs, outputs, **settings)
