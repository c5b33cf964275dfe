"""Networks map any shape to any shape that they promise, and every parameter learns."""

from __future__ import annotations

import pytest
import torch

from varied.errors import VariedError
from varied.nets import NETS, conv, mlp, resnet, with_context
from varied.nets.mlp import ACTIVATIONS
from varied.nets.picture import halvings, widths
from varied.nets.strided import Doubled, Halved, gather, scatter

PICTURES = [(1, 1, 1), (1, 2, 3), (1, 28, 28), (3, 64, 64), (2, 17, 31), (4, 5, 9), (1, 1, 40)]
LATENTS = [(2,), (16,), (512,)]
VECTORS = [((7,), (3,)), ((1,), (1,)), ((3, 5), (2, 4)), ((4,), (2, 3, 5))]

WAYS = [way for p in PICTURES for z in LATENTS for way in ((p, z), (z, p))]
SMALL = [way for p in PICTURES[:6] for way in ((p, (16,)), ((16,), p))]


def every_parameter_learns(net, inputs, outputs, context=0):
    """Every parameter gets a gradient that is finite and not all zero."""
    with torch.no_grad():
        for p in net.parameters():  # away from zeros that are there at the start only
            p.add_(0.05 * torch.randn_like(p))
    args = (torch.randn(8, *inputs), *([torch.randn(8, context)] if context else []))
    net(*args).square().sum().backward()
    silent = [name for name, p in net.named_parameters() if not (p.grad.abs().sum() > 0)]
    assert not silent
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("inputs", "outputs"), WAYS, ids=str)
def test_any_picture_to_any_vector_and_back(name, inputs, outputs):
    net = NETS[name](inputs, outputs, width=8)
    for batch in (1, 3):
        h = net(torch.randn(batch, *inputs))
        assert h.shape == (batch, *outputs)
        assert h.isfinite().all()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("inputs", "outputs"), SMALL, ids=str)
@pytest.mark.parametrize("context", [0, 3])
def test_every_parameter_learns(name, inputs, outputs, context):
    net = with_context(lambda shape: NETS[name](shape, outputs, width=8), inputs, context)
    every_parameter_learns(net, inputs, outputs, context)


@pytest.mark.parametrize("name", NETS)
def test_the_defaults_learn(name):
    every_parameter_learns(NETS[name]((1, 28, 28), (32,)), (1, 28, 28), (32,))
    every_parameter_learns(NETS[name]((16,), (1, 28, 28)), (16,), (1, 28, 28))


@pytest.mark.parametrize(("inputs", "outputs"), VECTORS, ids=str)
def test_mlp_takes_any_shape_to_any_shape(inputs, outputs):
    net = mlp(inputs, outputs, width=8)
    assert net(torch.randn(3, *inputs)).shape == (3, *outputs)
    every_parameter_learns(net, inputs, outputs)


@pytest.mark.parametrize("name", NETS)
def test_rows_of_a_batch_do_not_mix(name):
    net = NETS[name]((2, 9, 6), (5,), width=8)
    x = torch.randn(4, 2, 9, 6)
    torch.testing.assert_close(net(x), torch.cat([net(row[None]) for row in x]))


@pytest.mark.parametrize("name", NETS)
def test_context_is_seen(name):
    for inputs, outputs in (((2, 9, 6), (5,)), ((5,), (2, 9, 6))):
        net = with_context(lambda i, o=outputs: NETS[name](i, o, width=8), inputs, 3)
        b = torch.randn(2, *inputs)
        assert net(b, torch.zeros(2, 3)).shape == (2, *outputs)
        assert not torch.equal(net(b, torch.zeros(2, 3)), net(b, torch.ones(2, 3)))


def test_no_context_is_the_net_itself():
    assert type(with_context(lambda shape: mlp(shape, (2,)), (3,), 0)) is type(mlp((3,), (2,)))


def test_mlp_of_depth_0_is_one_linear_map():
    net = mlp((7,), (3,), depth=0)
    assert sum(p.numel() for p in net.parameters()) == 7 * 3 + 3
    a, b = torch.randn(2, 1, 7)
    torch.testing.assert_close(net(a) + net(b), net(a + b) + net(0 * a))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("make", [mlp, conv])
def test_every_activation(make, activation):
    net = make((1, 6, 6), (3,), width=8, activation=activation)
    every_parameter_learns(net, (1, 6, 6), (3,))


@pytest.mark.parametrize("make", [conv, resnet])
@pytest.mark.parametrize("depth", [0, 1, 3, 7])
def test_any_depth(make, depth):
    for inputs, outputs in (((2, 9, 6), (5,)), ((5,), (2, 9, 6))):
        net = make(inputs, outputs, width=4, depth=depth)
        assert net(torch.randn(1, *inputs)).shape == (1, *outputs)


def test_conv_without_a_hidden_layer_and_resnet_of_many_blocks():
    every_parameter_learns(conv((1, 8, 8), (3,), width=4, hidden=0), (1, 8, 8), (3,))
    every_parameter_learns(conv((3,), (1, 8, 8), width=4, hidden=0), (3,), (1, 8, 8))
    every_parameter_learns(resnet((1, 8, 8), (3,), width=4, blocks=3), (1, 8, 8), (3,))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: conv((7,), (3,)), "use net='mlp'"),
        (lambda: resnet((7,), (3,)), "use net='mlp'"),
        (lambda: conv((1, 4, 4), (1, 4, 4)), "use net='mlp'"),
        (lambda: resnet((5, 4), (3,)), "use net='mlp'"),
        (lambda: mlp((7,), (3,), width=0), "width=0 must be at least 1"),
        (lambda: mlp((7,), (3,), depth=-1), "depth=-1 at least 0"),
        (lambda: conv((1, 9, 9), (3,), width=0), "width=0 must be at least 1"),
        (lambda: conv((1, 4, 4), (3,), depth=-1), "depth=-1 must be at least 0"),
        (lambda: resnet((1, 4, 4), (3,), blocks=0), "net='conv' has none"),
        (lambda: mlp((7,), (3,), activation="rleu"), "did you mean 'relu'"),
    ],
)
def test_what_cannot_be_built_is_refused(make, told):
    with pytest.raises(VariedError, match=told):
        make()


def test_sizes_halve_and_channels_double_up_to_a_limit():
    assert halvings((17, 31), None) == [(17, 31), (9, 16), (5, 8), (3, 4)]
    assert halvings((3, 99), None) == [(3, 99)]
    assert halvings((1, 1), 2) == [(1, 1)] * 3
    assert widths(32, 6) == [32, 64, 128, 256, 512, 512]
    assert widths(1000, 2) == [1000, 1000]


@pytest.mark.parametrize("channels", [3, 130])
@pytest.mark.parametrize("build", [Halved, Doubled])
def test_a_product_of_patches_is_the_convolution(build, channels):
    shape = (channels, 8, 6) if build is Halved else (5, 4, 3)
    layer = build(shape[0], 5 if build is Halved else channels, (8, 6))
    x = torch.randn(2, *shape)
    plain = [*run_layer(layer, x, layer.conv)]
    ours = [*run_layer(layer, x, layer)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = [*run_layer(layer, x, layer)]
    for a, b, c in zip(plain, ours, narrow, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
        assert torch.allclose(a, c, atol=0.03 * float(a.abs().max()))


def run_layer(layer, x, call):
    """Yield the output and the gradients of a layer, by one of two ways to compute it."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = call(x).float()
    yield y.detach()
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    yield from (x.grad, layer.conv.weight.grad.clone(), layer.conv.bias.grad.clone())


def test_gather_and_scatter_are_adjoint():
    x, y = torch.randn(2, 6, 4, 3).double(), torch.randn(2, 3, 2, 48).double()
    assert torch.allclose((gather(x) * y).sum(), (x * scatter(y)).sum())
