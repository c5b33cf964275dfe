"""Networks map any shape to any shape that they promise, and every parameter learns."""

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

PICTURES = [(1, 1, 1), (1, 2, 3), (1, 28, 28), (3, 64, 64), (2, 17, 31), (4, 5, 9), (1, 1, 40)]
LATENTS = [(2,), (16,), (512,)]
VECTORS = [((7,), (3,)), ((1,), (1,)), ((3, 5), (2, 4)), ((4,), (2, 3, 5))]
# A picture, and a smaller map that halvings lead to.
MAPS = [
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


FORMS = NETS | {"conv of repeated pixels": partial(conv, upsample="nearest")}


def both(ends):
    return [(a, b) for pair in ends for a, b in (pair, pair[::-1])]


WAYS = both([*itertools.product(PICTURES, LATENTS), *MAPS])
SMALL = both([*itertools.product(PICTURES[:6], LATENTS[1:2]), *MAPS])
# None, or one of each way in which a net reads a context.
HOWS = [(0, "concatenate"), *((3, how) for how in CONTEXTS)]


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


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("inputs", "outputs"), WAYS, ids=str)
def test_any_picture_to_any_vector_and_back(name, inputs, outputs):
    net = FORMS[name](inputs, outputs, width=8)
    for batch in (1, 3):
        h = net(torch.randn(batch, *inputs))
        assert h.shape == (batch, *outputs)
        assert h.isfinite().all()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("inputs", "outputs"), SMALL, ids=str)
@pytest.mark.parametrize(("context", "how"), HOWS)
def test_every_parameter_learns(name, inputs, outputs, context, how):
    net = with_context(lambda shape: FORMS[name](shape, outputs, width=8), inputs, context, how)
    every_parameter_learns(net, inputs, outputs, context)


@pytest.mark.parametrize("name", FORMS)
def test_the_defaults_learn(name):
    every_parameter_learns(FORMS[name]((1, 28, 28), (32,)), (1, 28, 28), (32,))
    every_parameter_learns(FORMS[name]((16,), (1, 28, 28)), (16,), (1, 28, 28))


@pytest.mark.parametrize(("inputs", "outputs"), VECTORS, ids=str)
def test_mlp_takes_any_shape_to_any_shape(inputs, outputs):
    net = mlp(inputs, outputs, width=8)
    assert net(torch.randn(3, *inputs)).shape == (3, *outputs)
    every_parameter_learns(net, inputs, outputs)


ENDS = both([((2, 9, 6), (5,)), ((2, 9, 6), (5, 3, 2))])


def made(name, how, inputs, outputs, seed=0):
    """Return a small net that reads a context of 3, away from what it is only at the start."""
    torch.manual_seed(seed)
    net = with_context(lambda shape: FORMS[name](shape, outputs, width=8), inputs, 3, how)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("how", CONTEXTS)
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("inputs", "outputs"), ENDS, ids=str)
def test_rows_of_a_batch_do_not_mix(name, how, inputs, outputs):
    net, b, c = made(name, how, inputs, outputs), torch.randn(4, *inputs), torch.randn(4, 3)
    rows = [net(*row) for row in zip(b[:, None], c[:, None], strict=True)]
    torch.testing.assert_close(net(b, c), torch.cat(rows))


@pytest.mark.parametrize("how", CONTEXTS)
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("inputs", "outputs"), ENDS, ids=str)
def test_context_is_seen(name, how, inputs, outputs):
    net, b = made(name, how, inputs, outputs), torch.randn(2, *inputs)
    assert net(b, torch.zeros(2, 3)).shape == (2, *outputs)
    for feature in torch.eye(3):
        assert not torch.equal(net(b, torch.zeros(2, 3)), net(b, feature.expand(2, 3)))


@pytest.mark.parametrize("how", CONTEXTS)
@pytest.mark.parametrize("name", FORMS)
def test_the_same_seed_makes_the_same_net(name, how):
    def weights(seed):
        return torch.cat([p.flatten() for p in made(name, how, *ENDS[0], seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("how", CONTEXTS)
@pytest.mark.parametrize("name", FORMS)
def test_a_net_with_context_is_copied_kept_and_compiled(name, how):
    inputs, outputs = ENDS[0]
    net, c = made(name, how, inputs, outputs), torch.randn(5, 3)
    other = made(name, how, inputs, outputs, seed=1)
    other.load_state_dict(net.state_dict())
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    for n in (5, 2, 3):
        b = torch.randn(n, *inputs)
        for same in (copy.deepcopy(net), other, compiled):
            torch.testing.assert_close(same(b, c[:n]), net(b, c[:n]))


# FiLM


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("inputs", "outputs"), ENDS, ids=str)
def test_film_starts_as_the_net_alone_and_modulates_each_activation(name, inputs, outputs):
    net = FORMS[name](inputs, outputs, width=8)
    bare, b = copy.deepcopy(net), torch.randn(2, *inputs)
    film = add_film(net, inputs, 3)
    assert torch.equal(film(b, torch.randn(2, 3)), bare(b))
    kinds = tuple(ACTIVATIONS.values())
    activations = [m for m in bare.modules() if isinstance(m, kinds)]
    assert len(activations) == sum(isinstance(m, Film) for m in film.modules()) > 0


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_film_scales_and_shifts_before_the_activation(shape):
    film = Film(nn.Tanh(), 4, 3).double()
    nn.init.normal_(film.affine.weight)
    nn.init.normal_(film.affine.bias)
    h, c = torch.randn(5, *shape).double(), torch.randn(5, 3).double()
    told = film(h, c).detach()
    film.requires_grad_(False)
    for row, channel in itertools.product(range(5), range(4)):
        gamma, beta = (
            float(film.affine.weight[i] @ c[row] + film.affine.bias[i])
            for i in (channel, 4 + channel)
        )
        expected = torch.tanh((1 + gamma) * h[row, channel] + beta)
        torch.testing.assert_close(told[row, channel], expected)


def test_the_look_at_a_net_leaves_no_trace():
    body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    before = copy.deepcopy(body)
    film = add_film(body, (4,), 3)
    assert all(module.training for module in film.modules())
    for key, value in before.state_dict().items():
        assert torch.equal(film.state_dict()[key], value), key
    assert not any(m._forward_pre_hooks for m in film.modules())


def test_film_enters_blocks_that_read_a_context_and_no_others():
    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.row = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, h):
            return h + self.row(h)

    class Open(Opaque, ContextLayer):
        def forward(self, h, *c):
            return h + self.row(h, *c)

    def films(*layers):
        chain = add_film(nn.Sequential(*layers), (4,), 3)
        assert chain(torch.randn(2, 4), torch.randn(2, 3)).shape == (2, 4)
        return sum(isinstance(m, Film) for m in chain.modules())

    assert films(Open(), nn.SiLU()) == 2
    assert films(Opaque(), nn.SiLU()) == 1
    assert films(nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh()))) == 1


def test_gated_layers_are_modulated_before_their_gates():
    film = add_film(mlp((4,), (2,), width=8, gated=True), (4,), 3)
    assert [m.affine.out_features for m in film.modules() if isinstance(m, Film)] == [32, 32]
    assert isinstance(film, ContextSequential)
    every_parameter_learns(film, (4,), (2,), 3)


def test_no_context_is_the_net_itself():
    assert type(with_context(lambda shape: mlp(shape, (2,)), (3,), 0)) is type(mlp((3,), (2,)))
    assert type(with_context(lambda shape: mlp(shape, (2,)), (3,), 1)) is ConcatContext


def test_mlp_of_depth_0_is_one_linear_map():
    net = mlp((7,), (3,), depth=0)
    assert sum(p.numel() for p in net.parameters()) == 7 * 3 + 3
    a, b = torch.randn(2, 1, 7)
    torch.testing.assert_close(net(a) + net(b), net(a + b) + net(0 * a))


def test_gated_layers_are_a_linear_map_times_a_gate():
    net = mlp((3,), (2,), width=5, depth=1, gated=True)
    assert sum(p.numel() for p in net.parameters()) == 3 * 10 + 10 + 5 * 2 + 2
    first, last, x = net[1], net[3], torch.randn(4, 3)
    a, b = (x @ first.weight.T + first.bias).split(5, 1)
    torch.testing.assert_close(net(x), (a / (1 + (-b).exp())) @ last.weight.T + last.bias)
    every_parameter_learns(mlp((3,), (2,), width=8, gated=True), (3,), (2,))


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
    every_parameter_learns(conv((1, 8, 8), (3,), width=4, dense_width=0), (1, 8, 8), (3,))
    every_parameter_learns(conv((3,), (1, 8, 8), width=4, dense_width=0), (3,), (1, 8, 8))
    every_parameter_learns(resnet((1, 8, 8), (3,), width=4, blocks=3), (1, 8, 8), (3,))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: conv((7,), (3,)), "use net='mlp'"),
        (lambda: resnet((7,), (3,)), "use net='mlp'"),
        (lambda: conv((5, 4), (1, 4, 4)), "use net='mlp'"),
        (lambda: resnet((5, 4), (3,)), "use net='mlp'"),
        (lambda: conv((1, 28, 28), (8, 8, 8)), r"14x14, 7x7, .* such as latent=\(4, 7, 7\)"),
        (lambda: resnet((8, 6, 6), (1, 28, 28)), r"never comes to 6x6; .*latent=\(4, 7, 7\)"),
        (lambda: conv((1, 28, 28), (4, 14, 7)), "never comes to 14x7"),
        (lambda: resnet((1, 4, 9), (2, 6, 6)), "halves 4x9 to 2x5, 1x3, 1x2, 1x1"),
        (lambda: conv((1, 1, 2), (1, 2, 1)), "halves 1x2 to 1x1, and never comes to 2x1"),
        (lambda: conv((1, 28, 28), (4, 7, 7), depth=3), "leave depth out: .* it is 2"),
        (lambda: resnet((1, 28, 28), (4, 7, 7), depth=0), "depth=0 does not halve 28x28 to 7x7"),
        (lambda: film_of(mlp((3,), (2,), depth=0)), "give it a depth of 1 or more"),
        (lambda: film_of(nn.Linear(3, 2)), "by concatenation"),
        (lambda: with_context(lambda shape: mlp(shape, (2,)), (3,), 2, "flim"), "mean 'film'"),
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


def film_of(net):
    return add_film(net, (3,), 2)


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_a_map_is_met_without_a_dense_layer_and_says_the_depth(name):
    for ends in both([((1, 28, 28), (4, 7, 7)), ((1, 6, 6), (4, 6, 6))]):
        net = FORMS[name](*ends, width=4)
        assert not any(isinstance(module, nn.Linear) for module in net.modules())
    told = FORMS[name]((1, 28, 28), (4, 7, 7), width=4, depth=2)
    assert told(torch.randn(1, 1, 28, 28)).shape == (1, 4, 7, 7)


def convolutions(net):
    """Return (channels in, channels out, kernel) of each convolution."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    found = [m for m in net.modules() if isinstance(m, kinds)]
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in found]


def test_the_convolutions_of_a_map_are_those_that_were_meant():
    down, up = both([((1, 28, 28), (4, 7, 7))])
    told = [(1, 8, 4), (8, 16, 4), (16, 16, 3), (16, 4, 1)]
    assert convolutions(conv(*down, width=8)) == told
    assert convolutions(conv(*up, width=8)) == [(4, 16, 3), (16, 8, 4), (8, 1, 4)]
    assert convolutions(conv((2, 6, 6), (4, 6, 6), width=8)) == [(2, 8, 3), (8, 4, 1)]
    assert convolutions(resnet(*down, width=8))[-1] == (32, 4, 1)
    assert convolutions(Residual(8, 2)) == [(8, 2, 1), (2, 2, 3), (2, 2, 3), (2, 8, 1)]


def test_a_cell_of_a_map_sees_its_own_place_alone():
    x = torch.zeros(1, 1, 64, 64)
    x[..., 0, 0] = 1
    net = conv((1, 64, 64), (2, 16, 16), width=4)
    moved = (net(x) - net(0 * x)).abs().sum((0, 1))
    assert moved[0, 0] > 0
    assert moved[4:].sum() + moved[:, 4:].sum() == 0


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_map_has_two_residual_blocks_at_least(blocks):
    for ends in both([((1, 28, 28), (4, 7, 7))]):
        met = []
        net = resnet(*ends, width=4, blocks=blocks)
        for module in net.modules():
            if isinstance(module, Residual):
                module.register_forward_hook(lambda m, args, out, met=met: met.append(out.shape[2]))
        net(torch.randn(1, *ends[0]))
        assert sorted(met) == [7] * max(2, blocks) + [14] * blocks


@pytest.mark.parametrize("hidden", [None, 2])
def test_a_residual_block_starts_as_the_identity_and_learns(hidden):
    block, h = Residual(8, hidden), torch.randn(2, 8, 5, 3)
    assert torch.equal(block(h), h)
    every_parameter_learns(block, (8, 5, 3), (8, 5, 3))
    assert not torch.equal(block(h), h)
    film = add_film(Residual(8, hidden), (8, 5, 3), 2)
    assert sum(isinstance(m, Film) for m in film.modules()) == (2 if hidden is None else 4)


@pytest.mark.parametrize("how", CONTEXTS)
@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_maps_learn_in_half_the_precision_with_channels_last(name, how):
    """Width 128 and even sizes: the wide layers are products of patches there."""
    for inputs, outputs in both([((3, 16, 16), (4, 4, 4))]):
        torch.manual_seed(0)
        net = with_context(lambda s, o=outputs: FORMS[name](s, o, width=128), inputs, 3, how)
        b, c = torch.randn(4, *inputs), torch.randn(4, 3)
        plain = [*run_net(net, b, c)]
        net.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = [*run_net(net, b, c)]
        assert len(plain) == len(narrow) > 4
        for one, other in zip(plain, narrow, strict=True):
            assert (one - other).norm() <= 0.1 * one.norm()


def run_net(net, b, c):
    """Yield the output of a net and the gradient of each parameter."""
    net.zero_grad()
    y = net(b, c).float()
    yield y.detach()
    y.square().sum().backward()
    yield from (p.grad.clone() for p in net.parameters())


def test_the_larger_picture_is_the_large_end():
    assert is_encoder((1, 28, 28), (64, 7, 7), "conv") == "down"
    assert is_encoder((64, 7, 7), (1, 28, 28), "conv") == "up"
    assert is_encoder((1, 7, 7), (64, 7, 7), "conv") == "down"
    assert resolve_sizes((1, 27, 31), (2, 7, 8), None, "conv") == [(27, 31), (14, 16), (7, 8)]
    assert resolve_sizes((1, 7, 7), (2, 7, 7), None, "conv") == [(7, 7)]
    assert resolve_sizes((1, 9, 6), (4,), 1, "conv") == [(9, 6), (5, 3)]


def test_sizes_halve_and_channels_double_up_to_a_limit():
    assert downsample_sizes((17, 31), None) == [(17, 31), (9, 16), (5, 8), (3, 4)]
    assert downsample_sizes((3, 99), None) == [(3, 99)]
    assert downsample_sizes((1, 1), 2) == [(1, 1)] * 3
    assert channel_widths(32, 6) == [32, 64, 128, 256, 512, 512]
    assert channel_widths(1000, 2) == [1000, 1000]


@pytest.mark.parametrize("channels", [3, 130])
@pytest.mark.parametrize("build", [Downsample, UpsampleTransposed])
def test_a_product_of_patches_is_the_convolution(build, channels):
    shape = (channels, 8, 6) if build is Downsample else (5, 4, 3)
    layer = build(shape[0], 5 if build is Downsample else channels, (8, 6))
    x = torch.randn(2, *shape)
    plain = [*run_layer(layer, x, layer.conv)]
    ours = [*run_layer(layer, x, layer)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = [*run_layer(layer, x, layer)]
    for a, b, c in zip(plain, ours, narrow, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
        assert torch.allclose(a, c, atol=0.03 * float(a.abs().max()))


@pytest.mark.parametrize("channels", [3, 130])
def test_repeated_is_a_convolution_of_repeated_pixels(channels):
    layer, x = UpsampleNearest(5, channels, (8, 6)), torch.randn(2, 5, 4, 3)

    def plain(x):
        return layer.conv(torch.repeat_interleave(torch.repeat_interleave(x, 2, 2), 2, 3))

    repeated, ours = [*run_layer(layer, x, plain)], [*run_layer(layer, x, layer)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = [*run_layer(layer, x, layer)]
    for a, b, c in zip(repeated, ours, narrow, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
        assert torch.allclose(a, c, atol=0.03 * float(a.abs().max()))
    odd = UpsampleNearest(5, channels, (7, 5))
    odd.load_state_dict(layer.state_dict())
    assert torch.equal(odd(x), layer(x)[..., :7, :5])


@torch.no_grad()
def test_a_map_without_detail_stays_one_where_pixels_are_repeated():
    flat = torch.randn(1, 5, 1, 1).expand(1, 5, 6, 6)
    repeated, free = (
        build(5, 3, (12, 12))(flat)[..., 2:-2, 2:-2]
        for build in (UpsampleNearest, UpsampleTransposed)
    )
    assert torch.allclose(repeated, repeated[..., :1, :1].expand_as(repeated), atol=1e-6)
    assert float(free.std((2, 3)).min()) > 0.01


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
    assert torch.allclose((unfold_patches(x) * y).sum(), (x * fold_patches(y)).sum())
