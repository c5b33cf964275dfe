"""Networks have the requested shapes, and every parameter receives a gradient."""

from __future__ import annotations

import copy
import itertools
from functools import partial

import pytest
import torch
from torch import nn

from varied.errors import VariedError
from varied.nets import CONTEXTS, NETS, Residual, conv, mlp, resnet, with_context
from varied.nets.context import ConcatContext
from varied.nets.film import ContextLayer, ContextSequential, Film, add_film
from varied.nets.image_shapes import channel_widths, downsample_sizes, is_encoder, resolve_sizes
from varied.nets.mlp import ACTIVATIONS
from varied.nets.resample import (
    Downsample,
    UpsampleNearest,
    UpsampleTransposed,
    fold_patches,
    unfold_patches,
)

IMAGES = [(1, 1, 1), (1, 2, 3), (1, 28, 28), (3, 64, 64), (2, 17, 31), (4, 5, 9), (1, 1, 40)]
LATENTS = [(2,), (16,), (512,)]
VECTORS = [((7,), (3,)), ((1,), (1,)), ((3, 5), (2, 4)), ((4,), (2, 3, 5))]
#: Images and smaller feature maps.
FEATURE_MAPS = [
    ((1, 28, 28), (64, 7, 7)),
    ((3, 64, 64), (4, 8, 8)),
    ((3, 64, 64), (2, 16, 16)),
    ((2, 27, 31), (3, 7, 8)),
    ((1, 27, 31), (5, 14, 16)),
    ((4, 6, 6), (2, 6, 6)),
    ((1, 5, 9), (2, 1, 1)),
    ((1, 1, 40), (3, 1, 5)),
    ((1, 1, 1), (2, 1, 1)),
]
#: All networks except that of sequences; see test_conv1d.py.
BUILDERS = NETS | {"conv-nearest": partial(conv, upsample="nearest")}
del BUILDERS["conv1d"]


def both_directions(pairs):
    return [(a, b) for pair in pairs for a, b in (pair, pair[::-1])]


SHAPES = both_directions([*itertools.product(IMAGES, LATENTS), *FEATURE_MAPS])
SOME_SHAPES = both_directions([*itertools.product(IMAGES[:6], LATENTS[1:2]), *FEATURE_MAPS])
SMALL_SHAPES = both_directions([((2, 9, 6), (5,)), ((2, 9, 6), (5, 3, 2))])

all_builders = pytest.mark.parametrize("name", BUILDERS)
all_methods = pytest.mark.parametrize("method", CONTEXTS)
small_shapes = pytest.mark.parametrize(("inputs", "outputs"), SMALL_SHAPES, ids=str)


def check_every_parameter_has_a_gradient(net, inputs, context=0):
    with torch.no_grad():
        for p in net.parameters():  # some are initialized to 0
            p.add_(0.05 * torch.randn_like(p))
    args = (torch.randn(8, *inputs), *([torch.randn(8, context)] if context else []))
    net(*args).square().sum().backward()
    assert not [name for name, p in net.named_parameters() if not (p.grad.abs().sum() > 0)]
    assert all(p.grad.isfinite().all() for p in net.parameters())


@all_builders
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES, ids=str)
def test_output_shape(name, inputs, outputs):
    net = BUILDERS[name](inputs, outputs, width=8)
    for batch in (1, 3):
        h = net(torch.randn(batch, *inputs))
        assert h.shape == (batch, *outputs)
        assert h.isfinite().all()


@all_builders
@pytest.mark.parametrize(("inputs", "outputs"), SOME_SHAPES, ids=str)
@pytest.mark.parametrize(
    ("context", "method"), [(0, "concatenate"), *((3, method) for method in CONTEXTS)]
)
def test_every_parameter_has_a_gradient(name, inputs, outputs, context, method):
    build = partial(BUILDERS[name], outputs=outputs, width=8)
    net = with_context(build, inputs, context, method)
    check_every_parameter_has_a_gradient(net, inputs, context)


@pytest.mark.parametrize(
    ("build", "inputs", "outputs"),
    [
        *(
            (build, *shapes)
            for build in BUILDERS.values()
            for shapes in (((1, 28, 28), (32,)), ((16,), (1, 28, 28)))
        ),
        *((partial(mlp, width=8), *shapes) for shapes in VECTORS),
        (partial(mlp, width=8, gated=True), (3,), (2,)),
        (partial(conv, width=4, dense_width=0), (1, 8, 8), (3,)),
        (partial(conv, width=4, dense_width=0), (3,), (1, 8, 8)),
        (partial(resnet, width=4, blocks=3), (1, 8, 8), (3,)),
        *(
            (partial(build, width=8, activation=a), (1, 6, 6), (3,))
            for build in (mlp, conv)
            for a in ACTIVATIONS
        ),
    ],
)
def test_every_parameter_has_a_gradient_with_defaults_and_other_settings(build, inputs, outputs):
    net = build(inputs, outputs)
    assert net(torch.randn(3, *inputs)).shape == (3, *outputs)
    check_every_parameter_has_a_gradient(net, inputs)


@pytest.mark.parametrize("build", [conv, resnet])
@pytest.mark.parametrize("depth", [0, 1, 3, 7])
@pytest.mark.parametrize(("inputs", "outputs"), SMALL_SHAPES[:2], ids=str)
def test_depth(build, depth, inputs, outputs):
    net = build(inputs, outputs, width=4, depth=depth)
    assert net(torch.randn(1, *inputs)).shape == (1, *outputs)


# Context


def build_with_context(name, method, inputs, outputs, seed=0):
    """Return a small network with 3 context features, perturbed from its initialization."""
    torch.manual_seed(seed)
    build = partial(BUILDERS[name], outputs=outputs, width=8)
    net = with_context(build, inputs, 3, method)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


@all_methods
@all_builders
@small_shapes
def test_examples_of_a_batch_are_independent(name, method, inputs, outputs):
    net = build_with_context(name, method, inputs, outputs)
    b, c = torch.randn(4, *inputs), torch.randn(4, 3)
    separate = [net(*row) for row in zip(b[:, None], c[:, None], strict=True)]
    torch.testing.assert_close(net(b, c), torch.cat(separate))


@all_methods
@all_builders
@small_shapes
def test_every_context_feature_changes_the_output(name, method, inputs, outputs):
    net, b = build_with_context(name, method, inputs, outputs), torch.randn(2, *inputs)
    without = net(b, torch.zeros(2, 3))
    assert without.shape == (2, *outputs)
    for feature in torch.eye(3):
        assert not torch.equal(without, net(b, feature.expand(2, 3)))


@all_methods
@all_builders
def test_initialization_depends_on_the_seed_only(name, method):
    def weights(seed):
        net = build_with_context(name, method, *SMALL_SHAPES[0], seed)
        return torch.cat([p.flatten() for p in net.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@all_methods
@all_builders
def test_network_with_context_can_be_copied_loaded_and_compiled(name, method):
    inputs, outputs = SMALL_SHAPES[0]
    net, c = build_with_context(name, method, inputs, outputs), torch.randn(5, 3)
    loaded = build_with_context(name, method, inputs, outputs, seed=1)
    loaded.load_state_dict(net.state_dict())
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    for n in (5, 2, 3):
        b = torch.randn(n, *inputs)
        for other in (copy.deepcopy(net), loaded, compiled):
            torch.testing.assert_close(other(b, c[:n]), net(b, c[:n]))


@pytest.mark.parametrize(("context", "expected"), [(0, nn.Sequential), (1, ConcatContext)])
def test_network_without_context_is_not_wrapped(context, expected):
    assert type(with_context(partial(mlp, outputs=(2,)), (3,), context)) is expected


# FiLM


@all_builders
@small_shapes
def test_film_is_initialized_as_the_original_network(name, inputs, outputs):
    net = BUILDERS[name](inputs, outputs, width=8)
    original, b = copy.deepcopy(net), torch.randn(2, *inputs)
    film = add_film(net, inputs, 3)
    torch.testing.assert_close(film(b, torch.randn(2, 3)), original(b))
    types = tuple(ACTIVATIONS.values())
    activations = [m for m in original.modules() if isinstance(m, types)]
    assert len(activations) == sum(isinstance(m, Film) for m in film.modules()) > 0


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_film_scales_and_shifts_before_the_activation(shape):
    film = Film(nn.Tanh(), 4, 3).double()
    nn.init.normal_(film.affine.weight)
    nn.init.normal_(film.affine.bias)
    h, c = torch.randn(5, *shape).double(), torch.randn(5, 3).double()
    with torch.no_grad():
        gamma, beta = (part[(..., *[None] * len(shape[1:]))] for part in film.affine(c).chunk(2, 1))
        torch.testing.assert_close(film(h, c), torch.tanh((1 + gamma) * h + beta))


def test_add_film_does_not_change_the_state_of_the_network():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    before = copy.deepcopy(net)
    film = add_film(net, (4,), 3)
    assert all(module.training for module in film.modules())
    for key, value in before.state_dict().items():
        assert torch.equal(film.state_dict()[key], value), key
    assert not any(m._forward_pre_hooks for m in film.modules())


def test_film_modulates_sequential_and_context_layers_only():
    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, h):
            return h + self.branch(h)

    class Open(Opaque, ContextLayer):
        def forward(self, h, *c):
            return h + self.branch(h, *c)

    def count_films(*layers):
        net = add_film(nn.Sequential(*layers), (4,), 3)
        assert net(torch.randn(2, 4), torch.randn(2, 3)).shape == (2, 4)
        return sum(isinstance(m, Film) for m in net.modules())

    assert count_films(Open(), nn.SiLU()) == 2
    assert count_films(Opaque(), nn.SiLU()) == 1
    assert count_films(nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh()))) == 1


def test_film_modulates_gated_layers_before_the_gate():
    film = add_film(mlp((4,), (2,), width=8, gated=True), (4,), 3)
    assert [m.affine.out_features for m in film.modules() if isinstance(m, Film)] == [32, 32]
    assert isinstance(film, ContextSequential)
    check_every_parameter_has_a_gradient(film, (4,), 3)


# MLP


def test_mlp_of_depth_0_is_a_linear_map():
    net = mlp((7,), (3,), depth=0)
    assert sum(p.numel() for p in net.parameters()) == 7 * 3 + 3
    a, b = torch.randn(2, 1, 7)
    torch.testing.assert_close(net(a) + net(b), net(a + b) + net(0 * a))


def test_gated_layer_is_a_linear_map_times_a_sigmoid():
    net = mlp((3,), (2,), width=5, depth=1, gated=True)
    assert sum(p.numel() for p in net.parameters()) == 3 * 10 + 10 + 5 * 2 + 2
    first, last, x = net[1], net[3], torch.randn(4, 3)
    a, b = (x @ first.weight.T + first.bias).split(5, 1)
    torch.testing.assert_close(net(x), (a / (1 + (-b).exp())) @ last.weight.T + last.bias)


# Errors


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: conv((7,), (3,)), "use net='mlp'"),
        (lambda: resnet((7,), (3,)), "use net='mlp'"),
        (lambda: conv((5, 4), (1, 4, 4)), "use net='mlp'"),
        (lambda: resnet((5, 4), (3,)), "use net='mlp'"),
        (lambda: conv((1, 28, 28), (8, 8, 8)), r"14x14, 7x7, .* such as latent=\(4, 7, 7\)"),
        (
            lambda: resnet((8, 6, 6), (1, 28, 28)),
            r"cannot reduce 28x28 to 6x6, .*latent=\(4, 7, 7\)",
        ),
        (lambda: conv((1, 28, 28), (4, 14, 7)), "cannot reduce 28x28 to 14x7"),
        (lambda: resnet((1, 4, 9), (2, 6, 6)), "only to 2x5, 1x3, 1x2, 1x1"),
        (lambda: conv((1, 1, 2), (1, 2, 1)), "cannot reduce 1x2 to 2x1, only to 1x1"),
        (lambda: conv((1, 28, 28), (4, 7, 7), depth=3), "omit `depth`, which defaults to 2"),
        (lambda: resnet((1, 28, 28), (4, 7, 7), depth=0), "depth=0 does not reduce 28x28 to 7x7"),
        (lambda: add_film(mlp((3,), (2,), depth=0), (3,), 2), "use a depth of at least 1"),
        (lambda: add_film(nn.Linear(3, 2), (3,), 2), "conditioning='concatenate'"),
        (lambda: with_context(partial(mlp, outputs=(2,)), (3,), 2, "flim"), "mean 'film'"),
        (lambda: mlp((7,), (3,), width=0), "width must be at least 1 .* got width=0"),
        (lambda: mlp((7,), (3,), depth=-1), "depth at least 0, got .* depth=-1"),
        (lambda: conv((1, 9, 9), (3,), width=0), "width=0 must be at least 1"),
        (lambda: conv((1, 4, 4), (3,), depth=-1), "depth=-1 must be at least 0"),
        (lambda: resnet((1, 4, 4), (3,), blocks=0), "use net='conv' for no residual blocks"),
        (lambda: mlp((7,), (3,), activation="rleu"), "did you mean 'relu'"),
    ],
)
def test_invalid_shapes_and_settings_are_errors(build, message):
    with pytest.raises(VariedError, match=message):
        build()


# Feature maps


@pytest.mark.parametrize("name", ["conv", "resnet"])
@pytest.mark.parametrize(
    ("inputs", "outputs"), both_directions([((1, 28, 28), (4, 7, 7)), ((1, 6, 6), (4, 6, 6))])
)
def test_network_for_a_feature_map_has_no_dense_layer(name, inputs, outputs):
    net = BUILDERS[name](inputs, outputs, width=4)
    assert not any(isinstance(module, nn.Linear) for module in net.modules())


@pytest.mark.parametrize("upsample", ["transposed", "nearest"])
def test_a_convolutional_network_preserves_the_variance_at_initialization(upsample):
    """With the default initialization of PyTorch, the standard deviation falls below 0.01."""
    torch.manual_seed(0)
    for inputs, outputs in (((3, 64, 64), (8,)), ((8,), (3, 64, 64))):
        net = conv(inputs, outputs, upsample=upsample)
        h = net[:-1](torch.randn(32, *inputs))
        assert 0.1 < h.std(0).mean() < 3


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_depth_may_be_given_if_it_fits_the_feature_map(name):
    net = BUILDERS[name]((1, 28, 28), (4, 7, 7), width=4, depth=2)
    assert net(torch.randn(1, 1, 28, 28)).shape == (1, 4, 7, 7)


def convolutions(net):
    """Return the input channels, output channels and kernel size of each convolution."""
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in layers]


def test_layers_of_a_feature_map():
    large, small = (1, 28, 28), (4, 7, 7)
    encoder = [(1, 8, 4), (8, 16, 4), (16, 16, 3), (16, 4, 1)]
    assert convolutions(conv(large, small, width=8)) == encoder
    assert convolutions(conv(small, large, width=8)) == [(4, 16, 3), (16, 8, 4), (8, 1, 4)]
    assert convolutions(conv((2, 6, 6), (4, 6, 6), width=8)) == [(2, 8, 3), (8, 4, 1)]
    assert convolutions(resnet(large, small, width=8))[-1] == (32, 4, 1)
    assert convolutions(Residual(8, 2)) == [(8, 2, 1), (2, 2, 3), (2, 2, 3), (2, 8, 1)]


def test_position_of_a_feature_map_has_a_local_receptive_field():
    x = torch.zeros(1, 1, 64, 64)
    x[..., 0, 0] = 1
    net = conv((1, 64, 64), (2, 16, 16), width=4)
    change = (net(x) - net(0 * x)).abs().sum((0, 1))
    assert change[0, 0] > 0
    assert change[4:].sum() + change[:, 4:].sum() == 0


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize(
    ("inputs", "outputs"), both_directions([((1, 28, 28), (4, 7, 7))]), ids=str
)
def test_resnet_has_at_least_two_blocks_at_a_feature_map(blocks, inputs, outputs):
    heights = []
    net = resnet(inputs, outputs, width=4, blocks=blocks)
    for module in net.modules():
        if isinstance(module, Residual):
            module.register_forward_hook(lambda m, args, out: heights.append(out.shape[2]))
    net(torch.randn(1, *inputs))
    assert sorted(heights) == [7] * max(2, blocks) + [14] * blocks


@pytest.mark.parametrize(("hidden", "activations"), [(None, 2), (2, 4)])
def test_residual_block_is_initialized_as_the_identity(hidden, activations):
    block, h = Residual(8, hidden), torch.randn(2, 8, 5, 3)
    assert torch.equal(block(h), h)
    check_every_parameter_has_a_gradient(block, (8, 5, 3))
    assert not torch.equal(block(h), h)
    film = add_film(Residual(8, hidden), (8, 5, 3), 2)
    assert sum(isinstance(m, Film) for m in film.modules()) == activations


@all_methods
@pytest.mark.parametrize("name", ["conv", "resnet"])
@pytest.mark.parametrize(
    ("inputs", "outputs"), both_directions([((3, 16, 16), (4, 4, 4))]), ids=str
)
def test_bfloat16_with_channels_last_matches_float32(name, method, inputs, outputs):
    """With a width of 128 and even sizes, some layers are computed as matrix products."""
    torch.manual_seed(0)
    net = with_context(partial(BUILDERS[name], outputs=outputs, width=128), inputs, 3, method)
    b, c = torch.randn(4, *inputs), torch.randn(4, 3)
    expected = output_and_gradients(net, b, c)
    net.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = output_and_gradients(net, b, c)
    assert len(expected) == len(actual) > 4
    for x, y in zip(expected, actual, strict=True):
        assert (x - y).norm() <= 0.1 * x.norm()


def output_and_gradients(net, b, c):
    net.zero_grad()
    y = net(b, c).float()
    y.square().sum().backward()
    return [y.detach(), *(p.grad.clone() for p in net.parameters())]


# Sizes


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ((1, 28, 28), (64, 7, 7), True),
        ((64, 7, 7), (1, 28, 28), False),
        ((1, 7, 7), (64, 7, 7), True),
        ((1, 7, 7), (5,), True),
        ((5,), (1, 7, 7), False),
    ],
)
def test_larger_image_is_the_input_of_an_encoder(inputs, outputs, expected):
    assert is_encoder(inputs, outputs, "conv") is expected


@pytest.mark.parametrize(
    ("inputs", "outputs", "depth", "sizes"),
    [
        ((1, 27, 31), (2, 7, 8), None, [(27, 31), (14, 16), (7, 8)]),
        ((2, 7, 8), (1, 27, 31), None, [(7, 8), (14, 16), (27, 31)]),
        ((1, 7, 7), (2, 7, 7), None, [(7, 7)]),
        ((1, 9, 6), (4,), 1, [(9, 6), (5, 3)]),
    ],
)
def test_sizes_run_from_input_to_output(inputs, outputs, depth, sizes):
    assert resolve_sizes(inputs, outputs, depth, "conv") == sizes


def test_sizes_are_halved_and_channels_doubled_up_to_a_limit():
    assert downsample_sizes((17, 31), None) == [(17, 31), (9, 16), (5, 8), (3, 4)]
    assert downsample_sizes((3, 99), None) == [(3, 99)]
    assert downsample_sizes((1, 1), 2) == [(1, 1)] * 3
    assert channel_widths(32, 6) == [32, 64, 128, 256, 512, 512]
    assert channel_widths(1000, 2) == [1000, 1000]


# Downsampling and upsampling


def repeat_then_convolve(layer):
    return lambda x: layer.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("channels", [3, 130])
@pytest.mark.parametrize(
    ("build", "reference"),
    [
        (Downsample, lambda layer: layer.conv),
        (UpsampleTransposed, lambda layer: layer.conv),
        (UpsampleNearest, repeat_then_convolve),
    ],
)
def test_layer_matches_its_convolution(build, reference, channels):
    inputs, outputs = ((channels, 8, 6), 5) if build is Downsample else ((5, 4, 3), channels)
    layer = build(inputs[0], outputs, (8, 6))
    x = torch.randn(2, *inputs)
    expected = layer_output_and_gradients(layer, x, reference(layer))
    actual = layer_output_and_gradients(layer, x, layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = layer_output_and_gradients(layer, x, layer)
    for a, b, c in zip(expected, actual, rounded, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
        assert torch.allclose(a, c, atol=0.03 * float(a.abs().max()))


def layer_output_and_gradients(layer, x, forward):
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = forward(x).float()
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return y.detach(), x.grad, layer.conv.weight.grad.clone(), layer.conv.bias.grad.clone()


def test_upsampling_to_an_odd_size_crops_the_even_one():
    even, odd = (UpsampleNearest(5, 3, size) for size in ((8, 6), (7, 5)))
    odd.load_state_dict(even.state_dict())
    x = torch.randn(2, 5, 4, 3)
    assert torch.equal(odd(x), even(x)[..., :7, :5])


@torch.no_grad()
def test_nearest_upsampling_keeps_a_constant_map_constant():
    constant = torch.randn(1, 5, 1, 1).expand(1, 5, 6, 6)
    nearest, transposed = (
        build(5, 3, (12, 12))(constant)[..., 2:-2, 2:-2]
        for build in (UpsampleNearest, UpsampleTransposed)
    )
    assert torch.allclose(nearest, nearest[..., :1, :1].expand_as(nearest), atol=1e-6)
    assert float(transposed.std((2, 3)).min()) > 0.01


def test_unfolding_and_folding_are_adjoint():
    x, y = torch.randn(2, 6, 4, 3).double(), torch.randn(2, 3, 2, 48).double()
    assert torch.allclose((unfold_patches(x) * y).sum(), (x * fold_patches(y)).sum())
