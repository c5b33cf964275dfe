"""Tests that every quantizer passes, and tests of each one. To test a new one, add a row."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Independent

from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.objectives.vq import vq_vae
from varied.quantizers import (
    FSQ,
    LFQ,
    QUANTIZERS,
    VQ,
    ResidualVQ,
    SimVQ,
    code_usage,
)
from varied.quantizers.codebook_usage import code_counts
from varied.quantizers.lfq import code_entropy
from varied.quantizers.nearest import nearest_code, rotation_trick
from varied.schedules import Linear
from varied.terms.quantization import quantization
from varied.trace import Level, Trace

ROWS = {
    "vq": partial(VQ, codebook_size=24),
    "vq-gradient": partial(VQ, codebook_size=24, codebook_update="gradient"),
    "vq-rotation": partial(VQ, codebook_size=24, rotation_trick=True),
    "vq-cosine": partial(VQ, codebook_size=24, cosine_sim=True),
    "vq-keep-dead": partial(VQ, codebook_size=24, dead_code_threshold=0.0),
    "fsq": FSQ,
    "fsq-projected": partial(FSQ, levels=(3, 4, 5)),
    "lfq": partial(LFQ, bits=4),
    "lfq-projected": partial(LFQ, bits=5),
    "simvq": partial(SimVQ, codebook_size=24),
    "simvq-rotation": partial(SimVQ, codebook_size=24, rotation_trick=True),
    "residual-vq": partial(ResidualVQ, codebook_size=24, n_quantizers=3),
    "residual-rotation": partial(ResidualVQ, codebook_size=24, n_quantizers=2, rotation_trick=True),
}
EVENTS = [(4,), (4, 6), (4, 3, 3)]
#: Quantizers whose codebook has gradients, and the parameters that receive them.
WITH_GRADIENT = {
    "vq-gradient": {"embedding"},
    "simvq": {"linear.weight", "linear.bias"},
    "fsq-projected": {
        "projection.down.weight",
        "projection.up.weight",
        "projection.up.bias",
    },
    "lfq-projected": {
        "projection.down.weight",
        "projection.up.weight",
        "projection.up.bias",
    },
}


def over(names):
    """Parametrize a test over some of the quantizers."""
    return pytest.mark.parametrize("make", [ROWS[name] for name in names], ids=names)


rows = over(list(ROWS))
events = pytest.mark.parametrize("event", EVENTS, ids=str)
rounding = over(["fsq", "fsq-projected", "lfq", "lfq-projected"])


def data(head, n=7, scale=1.5):
    return scale * torch.randn(n, *head.param_shape)


def buffers(head):
    return {name: value.clone() for name, value in head.named_buffers()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a | b)


def trace_of(head, h, size=5):
    """Return a trace with these latents and a decoder that ignores them."""
    q = head(h)
    px = Independent(torch.distributions.Normal(torch.zeros(1, len(h), size), 1.0), 1)
    return Trace(torch.ones(len(h), size), px, [Level(q.rsample((1,)), q, None)])


def test_every_quantizer_has_a_row():
    assert {type(make((4,))) for make in ROWS.values()} == set(QUANTIZERS.values())


# Shapes, codes and latents


@rows
@events
def test_shapes(make, event):
    head = make(event)
    q = head(data(head))
    assert (q.batch_shape, q.event_shape) == ((7,), event)
    assert q.rsample((3,)).shape == (3, 7, *event)
    assert q.base_dist.index.shape == (7, head.num_tokens)
    assert q.base_dist.cost.shape == (7,)
    assert head.num_tokens == head.depth * math.prod(event[1:])
    assert torch.equal(q.mean, q.base_dist.value)
    assert not q.variance.any()


@rows
@events
@pytest.mark.parametrize("training", [True, False])
def test_lookup_of_the_codes_equals_the_latents(make, event, training):
    head = make(event).train(training)
    head.init_from_data(data(head, 40))
    h = data(head).requires_grad_()
    before = buffers(head)
    point = head(h).base_dist
    head.load_state_dict(before, strict=False)
    assert torch.equal(head.lookup(point.index), point.value)
    assert torch.equal(head.lookup(point.index[None]), point.value[None])
    assert point.index.dtype == torch.int64
    assert 0 <= point.index.min() <= point.index.max() < head.num_codes


@rows
@events
def test_positions_are_quantized_independently(make, event):
    head, single = make(event).eval(), make(event[:1]).eval()
    single.load_state_dict(head.state_dict())
    h = data(head)
    point, positions = head(h).base_dist, h.flatten(2) if len(event) > 1 else h[..., None]
    expected = single(positions.mT.reshape(-1, event[0])).base_dist
    value = expected.value.reshape(7, head.num_positions, event[0]).mT.reshape(h.shape)
    assert torch.equal(point.value, value)
    # The first codes of all positions precede the second codes.
    index = expected.index.reshape(7, head.num_positions, head.depth).permute(0, 2, 1).flatten(1)
    assert torch.equal(point.index, index)


@rows
def test_leading_dimensions_do_not_change_the_result(make):
    head = make((4, 6)).eval()
    h = data(head, 6)
    flat, nested = head(h).base_dist, head(h.reshape(2, 3, 4, 6)).base_dist
    assert torch.equal(flat.value.reshape(2, 3, 4, 6), nested.value)
    assert torch.equal(flat.index.reshape(2, 3, -1), nested.index)
    if not isinstance(head, LFQ):  # whose cost depends on the batch
        torch.testing.assert_close(flat.cost.reshape(2, 3), nested.cost)


# Not the residual ones, and not FSQ and LFQ with a projection: `down` does not invert `up`.
@over([name for name in ROWS if "residual" not in name and "projected" not in name])
@events
def test_quantization_is_idempotent(make, event):
    head = make(event).eval()
    value = head(data(head)).base_dist.value
    again = head(unbound(head, value) if isinstance(head, FSQ) else value).base_dist
    assert torch.equal(again.value, value)
    if not isinstance(head, LFQ):
        assert (again.cost < 1e-10).all()


def unbound(head, value):
    """Return the inputs that FSQ maps to these bounded values, computed with NumPy."""
    levels = np.array(head.levels).reshape(-1, *[1] * (value.dim() - 2))
    half_range, offset = (levels - 1) / 2 * (1 - 1e-3), (levels % 2 == 0) / 2
    digits = value.numpy() * (levels // 2)
    # The outermost levels are slightly beyond the bounds.
    inside = np.clip((digits + offset) / half_range, -0.999, 0.999)
    return torch.from_numpy(np.arctanh(inside) - np.arctanh(offset / half_range)).float()


@over([name for name in ROWS if name.startswith(("vq", "simvq"))])
def test_codes_are_those_of_the_nearest_entries(make):
    head = make((4,)).eval()
    h = data(head, 50)
    if head.cosine_sim:
        h = h / h.norm(dim=1, keepdim=True)
    distance = (h.double()[:, None] - head.codebook().double()).square().sum(2)
    assert torch.equal(head(h).base_dist.index[:, 0], distance.argmin(1))


def test_nearest_code_is_precise_far_from_the_origin():
    codebook = 1e3 + torch.randn(30, 4)
    assert torch.equal(nearest_code(codebook, codebook), torch.arange(30))


def test_nearest_code_in_chunks_is_the_same(monkeypatch):
    h, codebook = torch.randn(50, 4), torch.randn(9, 4)
    expected = nearest_code(h, codebook)
    monkeypatch.setitem(nearest_code.__globals__, "MAX_DISTANCES", 30)
    assert torch.equal(nearest_code(h, codebook), expected)


# Gradients


@rows
@events
def test_gradient_reaches_the_network(make, event):
    head = make(event)
    h = data(head, scale=0.5).requires_grad_()
    q = head(h)
    (q.rsample((2,)) * torch.randn(7, *event)).sum().backward()
    assert h.grad.isfinite().all()
    assert (h.grad != 0).any(0).all()


@pytest.mark.parametrize("name", WITH_GRADIENT)
def test_gradient_reaches_the_codebook(name):
    head = ROWS[name]((4, 6))
    trace = trace_of(head, data(head))
    loss = quantization(trace).sum() + trace.levels[0].z.square().sum()
    loss.backward()
    trained = {n for n, p in head.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained >= WITH_GRADIENT[name]


@over(["vq", "vq-gradient", "vq-keep-dead", "lfq", "simvq", "residual-vq"])
def test_gradient_is_copied_to_the_network_once(make):
    head = make((4, 3)).eval()
    h, upstream = data(head).requires_grad_(), torch.randn(7, 4, 3)
    (head(h).base_dist.value * upstream).sum().backward()
    torch.testing.assert_close(h.grad, upstream)


@over(["vq-gradient", "simvq"])
def test_straight_through_gradient_does_not_train_the_codebook(make):
    head = make((4,))
    head(data(head).requires_grad_()).base_dist.value.sum().backward()
    assert all(p.grad is None for p in head.parameters())


@over(["vq-rotation", "simvq-rotation", "residual-rotation"])
def test_rotation_trick_rotates_the_gradient_like_the_vector(make):
    head = make((5,))
    h, upstream = data(head, 9).requires_grad_(), torch.randn(9, 5)
    value = head(h).base_dist.value
    (value * upstream).sum().backward()
    for row, code, g, grad in zip(h.detach(), value.detach(), upstream, h.grad, strict=True):
        torch.testing.assert_close(grad, rotation(row, code).T @ g, rtol=1e-4, atol=1e-5)


def rotation(row, code):
    """Return the matrix that rotates and scales a vector onto its code, from its definition."""
    a, e = row / row.norm(), code / code.norm()
    r = (a + e) / (a + e).norm()
    matrix = torch.eye(len(row)) - 2 * torch.outer(r, r) + 2 * torch.outer(e, a)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(len(row)), rtol=1e-4, atol=1e-5)
    matrix = code.norm() / row.norm() * matrix
    torch.testing.assert_close(matrix @ row, code, rtol=1e-4, atol=1e-5)
    return matrix


@pytest.mark.parametrize(
    ("row", "code"),
    [([1.0, 2.0], [-1.0, -2.0]), ([1.0, 2.0], [0.0, 0.0]), ([0.0, 0.0], [1.0, 1.0])],
)
def test_undefined_rotation_gives_the_straight_through_gradient(row, code):
    h = torch.tensor([row], requires_grad=True)
    rotation_trick(h, torch.tensor([code])).backward(torch.tensor([[3.0, 4.0]]))
    assert h.grad.tolist() == [[3.0, 4.0]]


# Losses


@pytest.mark.parametrize(("update", "weight"), [("ema", 0.25), ("gradient", 1.25)])
def test_cost_of_vq_is_the_squared_distance_summed_over_positions(update, weight):
    head = VQ((4, 3, 3), codebook_size=9, codebook_update=update)
    h = data(head)
    point = head(h).base_dist
    expected = weight * (h - point.value).square().sum((1, 2, 3))
    torch.testing.assert_close(point.cost, expected)


def test_each_term_of_the_cost_has_the_gradient_of_its_side():
    head = VQ((4,), codebook_size=9, codebook_update="gradient", commitment_weight=0.5)
    h = data(head).requires_grad_()
    point = head(h).base_dist
    point.cost.sum().backward()
    torch.testing.assert_close(h.grad, 2 * 0.5 * (h - point.value).detach())
    gradients = 2 * (point.value - h).detach()
    expected = torch.zeros(9, 4).index_add_(0, point.index[:, 0], gradients)
    torch.testing.assert_close(head.embedding.grad, expected)


def test_cost_of_residual_vq_is_the_sum_over_its_codebooks():
    head = ResidualVQ((4,), codebook_size=9, n_quantizers=2).eval()
    h = data(head).requires_grad_()
    first = head.stages[0](h).base_dist
    second = head.stages[1](h - first.value.detach()).base_dist
    point = head(h).base_dist
    torch.testing.assert_close(point.cost, first.cost + second.cost)
    torch.testing.assert_close(point.value, first.value + second.value)
    point.cost.sum().backward()
    residuals = (h - first.value) + (h - first.value - second.value)
    torch.testing.assert_close(h.grad, 2 * 0.25 * residuals.detach())


def test_fsq_has_no_cost():
    head = FSQ((4, 3))
    assert not head(data(head)).base_dist.cost.any()


@rows
def test_mean_cost_does_not_depend_on_the_batch_size(make):
    head = make((4, 6)).eval()
    h = data(head)
    once, twice = head(h).base_dist.cost, head(torch.cat([h, h])).base_dist.cost
    torch.testing.assert_close(once.mean(), twice.mean())


@rows
def test_cost_is_proportional_to_the_number_of_positions(make):
    short, long = make((4, 3)).eval(), make((4, 6)).eval()
    long.load_state_dict(short.state_dict())
    h = data(short)
    once, twice = short(h).base_dist.cost, long(torch.cat([h, h], 2)).base_dist.cost
    torch.testing.assert_close(2 * once, twice, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_code_entropy_equals_that_of_the_full_table(bits):
    z = torch.randn(8, bits).double()
    codes = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=bits))).double()
    q = torch.softmax(-(z[:, None] - codes).square().sum(2) / 0.7, 1)
    entropy, of_mean = code_entropy(4 * z / 0.7)
    torch.testing.assert_close(entropy, -(q * q.log()).sum(1))
    torch.testing.assert_close(of_mean, -(q.mean(0) * q.mean(0).log()).sum())


def test_cost_of_lfq_equals_the_formula():
    head = LFQ((3,), bits=3, entropy_weight=0.2, temperature=0.7, commitment_weight=0.5).eval()
    h = data(head)
    entropy, of_mean = code_entropy(4 * h / 0.7)
    distance = (h - torch.sign(h)).square().sum(1)
    expected = 0.5 * distance + 0.2 * (entropy - of_mean)
    torch.testing.assert_close(head(h).base_dist.cost, expected)


def test_code_entropy_of_confident_uniform_codes_and_its_gradient_for_large_logits():
    codes = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    entropy, of_mean = code_entropy(100 * codes)
    assert entropy.max() < 1e-6
    assert of_mean.item() == pytest.approx(math.log(8), rel=1e-5)
    logits = (1e4 * codes).requires_grad_()
    loss = sum(value.sum() for value in code_entropy(logits))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_quantization_term_sums_levels_and_averages_samples():
    head = VQ((4,), codebook_size=9).eval()
    h = data(head, 6)
    trace = trace_of(head, h)
    cost = trace.levels[0].q.base_dist.cost
    torch.testing.assert_close(quantization(trace), cost)
    trace.levels = trace.levels * 2
    torch.testing.assert_close(quantization(trace), 2 * cost)
    q = head(torch.stack([h, 2 * h]))
    trace.levels = [Level(q.rsample(), q, None)]
    torch.testing.assert_close(quantization(trace), q.base_dist.cost.mean(0))
    trace.weights = torch.tensor([[1.0], [0.0]]).expand(2, 6)
    torch.testing.assert_close(quantization(trace), q.base_dist.cost[0])
    assert quantization.requires == {"codes"}


def test_vq_vae_objective_is_reconstruction_plus_weighted_quantization():
    head = VQ((4,), codebook_size=9).eval()
    trace = trace_of(head, data(head))
    objective = vq_vae(vq_weight=Linear(0, 2, 4))
    for step, weight in ((2, 1), (4, 2)):
        loss, parts = objective(trace, step)
        torch.testing.assert_close(loss, parts["reconstruction"] + weight * parts["quantization"])
    assert objective.requires == {"codes"} <= head.provides
    with pytest.raises(VariedError, match="must not be negative"):
        vq_vae(vq_weight=-1.0)


# Buffers


@rows
def test_evaluation_does_not_change_the_buffers(make):
    head = make((4, 6)).eval()
    before = buffers(head)
    head(data(head))
    assert equal(buffers(head), before)


@rows
def test_training_updates_the_usage(make):
    head = make((4, 6))
    index = head(data(head)).base_dist.index
    frequency = code_counts(index, head.num_codes) / index.numel()
    expected = 0.99 + 0.01 * head.num_codes * frequency
    torch.testing.assert_close(head.usage, expected)


@rows
def test_training_is_reproducible(make):
    def trained():
        torch.manual_seed(3)
        head = make((4, 6))
        head.init_from_data(data(head, 30))
        for _ in range(5):
            head(data(head))
        return head.state_dict()

    assert equal(trained(), trained())


@rows
def test_training_continues_identically_after_loading(make):
    head, loaded = make((4, 6)), make((4, 6))
    for _ in range(3):
        head(data(head))
    loaded.load_state_dict(head.state_dict())
    for quantizer in (head, loaded):
        torch.manual_seed(5)
        for _ in range(3):
            quantizer(data(quantizer))
    assert equal(head.state_dict(), loaded.state_dict())


@rows
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e25])
def test_non_finite_input_changes_no_buffer_and_is_visible_in_the_output(make, bad):
    head = make((4, 6))
    head.init_from_data(data(head))
    before = buffers(head)
    h = data(head)
    h[0, 0, 2] = bad
    for training in (True, False):
        point = head.train(training)(h).base_dist
        assert 0 <= point.index.min() <= point.index.max() < head.num_codes
        assert all(value.isfinite().all() for value in head.state_dict().values())
        if bad != 1e25:  # which is finite, but its square is not
            assert equal(buffers(head), before)
            assert not (point.value.sum() + point.cost.sum()).isfinite()
    assert head.train()(data(head)).base_dist.value.isfinite().all()


def test_initialization_ignores_non_finite_data():
    head = VQ((4,), codebook_size=9)
    before = buffers(head)
    head.init_from_data(torch.full((5, 4), math.nan))
    assert equal(buffers(head), before)


def test_codebook_is_the_moving_average_of_the_paper():
    head = VQ((3,), codebook_size=5, codebook_decay=0.9, dead_code_threshold=0.0).double()
    usage, total, eps = np.ones(5), head.codebook().numpy().copy(), 1e-5
    codebook = total.copy()
    for _ in range(4):
        h = data(head, 20).double()
        index = ((h.numpy()[:, None] - codebook) ** 2).sum(2).argmin(1)
        one_hot = np.eye(5)[index]
        usage = 0.9 * usage + 0.1 * one_hot.sum(0) * 5 / 20
        total = 0.9 * total + 0.1 * one_hot.T @ h.numpy() * 5 / 20
        smooth = (usage + eps) / (usage.sum() + 5 * eps) * usage.sum()
        codebook = total / smooth[:, None]
        head(h)
        np.testing.assert_allclose(head.codebook().numpy(), codebook, rtol=1e-6)
        np.testing.assert_allclose(head.usage.numpy(), usage, rtol=1e-6)


def test_moving_averages_converge_to_the_means_of_the_assigned_vectors():
    h = torch.randn(60, 3)
    head = VQ((3,), codebook_size=4, codebook_decay=0.5, dead_code_threshold=0.0)
    head.init_from_data(h)
    for _ in range(60):
        index = head(h).base_dist.index[:, 0]
    means = torch.stack([h[index == code].mean(0) for code in range(4)])
    torch.testing.assert_close(head.codebook(), means, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dead_entries_are_replaced_by_vectors_of_the_batch(update):
    head = VQ(
        (4,), codebook_size=6, codebook_decay=0.5, dead_code_threshold=0.1, codebook_update=update
    )
    with torch.no_grad():
        (head.embedding if update == "gradient" else head.ema_sum)[2] = 1e3
    h = data(head, 40)
    for _ in range(4):  # after which the usage of the entry is 1 / 16
        head(h)
    distance = (head.codebook().detach()[2] - h).norm(dim=1).min()
    assert distance < 1e-3
    assert head.usage[2] >= 0.1
    assert code_usage(head.eval()(h).base_dist.index, 6)[0] == 1.0


def test_threshold_of_zero_keeps_dead_entries():
    head = VQ((4,), codebook_size=6, codebook_decay=0.5, dead_code_threshold=0.0)
    head.ema_sum[2] = 1e3
    for _ in range(20):
        head(data(head, 40))
    assert head.usage[2] < 1e-5
    assert not (head.eval()(data(head, 40)).base_dist.index == 2).any()


# Initialization


def clusters(count=24, channels=4, size=20):
    centers = 5 * torch.randn(count, channels)
    points = centers[:, None] + 0.05 * torch.randn(count, size, channels)
    return points.flatten(0, 1), centers


def test_kmeans_initialization_leaves_no_dead_entries():
    h, centers = clusters()
    head = VQ((4,), codebook_size=24).eval()
    head.init_from_data(h)
    assert code_usage(head(h).base_dist.index, 24)[0] == 1.0
    assert (torch.cdist(centers, head.codebook()).min(1).values < 0.1).all()


def test_kmeans_initialization_leaves_no_dead_entries_at_any_depth():
    h, _ = clusters(size=40)
    head = ResidualVQ((4,), codebook_size=24, n_quantizers=3).eval()
    head.init_from_data(h)
    codes = head(h).base_dist.index.split(1, 1)
    assert [code_usage(code, 24)[0] for code in codes] == [1.0] * 3
    entries = [stage.decode_indices(code) for stage, code in zip(head.stages, codes, strict=True)]
    errors = [(h - sum(entries[:depth])).square().sum(1).mean() for depth in (1, 2, 3)]
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.5 * errors[2]


@rows
def test_initialization_from_few_or_equal_vectors_is_finite(make):
    for h in (torch.zeros(3, 4), torch.ones(1, 4), torch.randn(5, 4), torch.randn(900, 1) * 1e-9):
        head = make((4,))
        head.init_from_data(h.expand(-1, 4))
        assert all(value.isfinite().all() for value in head.state_dict().values())
        assert head(data(head)).base_dist.value.isfinite().all()


def test_simvq_starts_with_the_mean_and_covariance_of_the_data():
    h = torch.randn(4000, 4) @ torch.randn(4, 4) + 3
    head = SimVQ((4,), codebook_size=4000)
    head.init_from_data(h)
    codebook = head.codebook().detach()
    torch.testing.assert_close(codebook.mean(0), h.mean(0), atol=0.2, rtol=0.1)
    torch.testing.assert_close(codebook.T.cov(), h.T.cov(), atol=0.3, rtol=0.15)


@rounding
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_levels_are_reached_at_any_scale_of_the_input(make, scale):
    head = make((4, 3))
    h = scale * (torch.randn(4000, 4, 3) + 2)
    head.init_from_data(h)
    # All but the rarest combinations of levels, in training and in evaluation.
    for training in (True, False):
        index = head.train(training)(h).base_dist.index
        assert code_usage(index, head.num_codes)[0] > 0.8


@rounding
def test_standardization_converges_to_the_statistics_of_the_data(make):
    head = make((4, 3))
    head.projection.decay = 0.5
    h = 3 * torch.randn(200, 4, 3) + 2
    for _ in range(40):
        head(h)
    training, evaluation = head(h).base_dist, head.eval()(h).base_dist
    assert torch.equal(training.index, evaluation.index)
    torch.testing.assert_close(training.value, evaluation.value)


@rounding
def test_single_vector_is_quantized_as_in_evaluation(make):
    head = make((4,))
    head.init_from_data(data(head, 50))
    h = data(head, 1)
    assert torch.equal(head(h).base_dist.index, head.eval()(h).base_dist.index)


# FSQ and LFQ


@pytest.mark.parametrize("levels", [(3, 4), (8, 5, 5, 5), (3,)])
def test_codes_and_values_of_fsq_are_one_to_one(levels):
    head = FSQ((len(levels),), levels).eval()
    index = torch.arange(math.prod(levels))[:, None]
    value = head.lookup(index)
    grids = [(np.arange(n) - n // 2) / (n // 2) for n in levels]
    expected = {tuple(np.float32(v) for v in point) for point in itertools.product(*grids)}
    assert {tuple(map(np.float32, point)) for point in value.tolist()} == expected
    point = head(unbound(head, value)).base_dist
    assert torch.equal(point.index, index)
    assert torch.equal(point.value, value)


def test_fsq_rounds_as_in_the_paper():
    head = FSQ((2,), (4, 5)).eval()
    h = torch.tensor([[0.0, 0.0], [9.0, 9.0], [-9.0, -9.0], [0.3, 0.3]])
    # An even number of levels has one more below zero than above.
    assert head(h).base_dist.value.tolist() == [[0, 0], [0.5, 1], [-1, -1], [0, 0.5]]


@pytest.mark.parametrize("level", [3, 4, 5, 8, 13])
def test_fsq_maps_zero_to_zero_and_reaches_every_level(level):
    head = FSQ((1,), (level,)).eval()
    assert head.bound(torch.zeros(1)).abs() < 1e-6
    index = head(torch.linspace(-9, 9, 5000)[:, None]).base_dist.index
    assert code_usage(index, level)[0] == 1.0


def test_codes_and_values_of_lfq_are_one_to_one():
    head = LFQ((5,), bits=5).eval()
    index = torch.arange(32)[:, None]
    value = head.lookup(index)
    assert set(map(tuple, value.tolist())) == set(itertools.product([-1.0, 1.0], repeat=5))
    assert torch.equal(head(0.3 * value).base_dist.index, index)


# Usage and perplexity


def test_usage_and_perplexity_equal_their_formulas():
    index = torch.tensor([[0, 0, 1], [3, 3, 3]])
    p = np.array([2, 1, 3]) / 6
    usage, perplexity = code_usage(index, 8)
    assert usage == 3 / 8
    assert perplexity == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert code_usage(torch.arange(8), 8) == (1.0, pytest.approx(8))
    assert code_usage(torch.zeros(0, dtype=torch.int64), 8) == (0.0, 0.0)


# The distribution


def test_codebook_point_has_no_density():
    head = VQ((4,), codebook_size=9)
    q = head(data(head))
    with pytest.raises(VariedError, match="prior over codes"):
        q.log_prob(q.mean)


def test_codebook_point_expands_with_its_codes_and_cost():
    head = VQ((4, 6), codebook_size=9)
    q = head(data(head)).expand((3, 7))
    assert (q.batch_shape, q.event_shape) == ((3, 7), (4, 6))
    assert isinstance(q.base_dist, CodebookPoint)
    assert q.base_dist.index.shape == (3, 7, 6)
    assert q.base_dist.cost.shape == (3, 7)
    assert not q.sample().requires_grad


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (partial(VQ, codebook_size=1), "codebook_size=1 must be at least 2"),
        (partial(VQ, codebook_size=2**19), "residual-vq"),
        (partial(VQ, codebook_update="mean"), "must be 'ema' or 'gradient'"),
        (partial(VQ, commitment_weight=-1.0), "commitment_weight=-1.0 must be at least 0"),
        (partial(VQ, codebook_decay=1.0), "above 0 and below 1"),
        (partial(VQ, dead_code_threshold=1.0), "below 1"),
        (partial(SimVQ, commitment_weight=-1.0), "must be at least 0"),
        (partial(FSQ, levels=(2, 8)), "lfq"),
        (partial(FSQ, levels=()), "at least 3"),
        (partial(FSQ, levels=(99, 99, 99)), "exceeds the maximum"),
        (partial(LFQ, bits=0), "bits=0 must be at least 1; the default is 9"),
        (partial(LFQ, bits=40), "exceeds the maximum"),
        (partial(LFQ, temperature=0.0), "temperature=0.0 must be above 0"),
        (partial(LFQ, entropy_weight=-1.0), "entropy_weight=-1.0 must be at least 0"),
        (partial(ResidualVQ, n_quantizers=0), "n_quantizers=0 must be at least 1"),
    ],
)
def test_invalid_settings_are_rejected(make, match):
    with pytest.raises(VariedError, match=match):
        make((4,))


@rows
def test_memory_format_and_precision_do_not_change_the_codes(make):
    head = make((4, 3, 3)).eval()
    h = data(head)
    channels_last = h.to(memory_format=torch.channels_last)
    assert torch.equal(head(h).base_dist.index, head(channels_last).base_dist.index)
    assert head.double()(h.double()).base_dist.value.dtype == torch.float64
