"""Laws that every quantizer keeps, and what each of them says of itself. A new one is one row."""

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
    code_counts,
    code_usage,
    nearest_code,
    rotation_trick,
    usage_from_counts,
)
from varied.quantizers.lfq import code_entropy
from varied.schedules import Linear
from varied.terms.quantization import quantization
from varied.trace import Level, Trace

ROWS = {
    "vq": partial(VQ, codebook_size=24),
    "vq-gradient": partial(VQ, codebook_size=24, codebook_update="gradient"),
    "vq-rotated": partial(VQ, codebook_size=24, rotation_trick=True),
    "vq-cosine": partial(VQ, codebook_size=24, cosine_sim=True),
    "vq-still": partial(VQ, codebook_size=24, dead_code_threshold=0.0),
    "fsq": FSQ,
    "fsq-mapped": partial(FSQ, levels=(3, 4, 5)),
    "lfq": partial(LFQ, bits=4),
    "lfq-mapped": partial(LFQ, bits=5),
    "simvq": partial(SimVQ, codebook_size=24),
    "simvq-rotated": partial(SimVQ, codebook_size=24, rotation_trick=True),
    "residual-vq": partial(ResidualVQ, codebook_size=24, n_quantizers=3),
    "residual-rotated": partial(ResidualVQ, codebook_size=24, n_quantizers=2, rotation_trick=True),
}
EVENTS = [(4,), (4, 6), (4, 3, 3)]
#: Those whose codes move by gradients, and the names of what they move by.
LEARNED = {
    "vq-gradient": {"embedding"},
    "simvq": {"map.weight", "map.bias"},
    "fsq-mapped": {"narrow.down.weight", "narrow.up.weight", "narrow.up.bias"},
    "lfq-mapped": {"narrow.down.weight", "narrow.up.weight", "narrow.up.bias"},
}

rows = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
events = pytest.mark.parametrize("event", EVENTS, ids=str)


def data(head, n=7, scale=1.5):
    return scale * torch.randn(n, *head.param_shape)


def buffers(head):
    return {name: value.clone() for name, value in head.named_buffers()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


def passed(head, h, data=5):
    """Return a trace with these latents, and a decoder that does not look."""
    q = head(h)
    px = Independent(torch.distributions.Normal(torch.zeros(1, len(h), data), 1.0), 1)
    return Trace(torch.ones(len(h), data), px, [Level(q.rsample((1,)), q, None)])


def test_every_quantizer_is_tried():
    assert {type(make((4,))) for make in ROWS.values()} == set(QUANTIZERS.values())


# Shapes, and codes to latents and back


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
def test_lookup_of_the_index_is_the_value_to_the_last_bit(make, event, training):
    head = make(event).train(training)
    head.init_from_data(data(head, 40))
    h = data(head).requires_grad_()
    before = buffers(head)
    q = head(h)
    head.load_state_dict(before, strict=False)
    assert torch.equal(head.lookup(q.base_dist.index), q.base_dist.value)
    assert torch.equal(head.lookup(q.base_dist.index[None]), q.base_dist.value[None])
    index = q.base_dist.index
    assert index.dtype == torch.int64
    assert 0 <= index.min() <= index.max() < head.num_codes


@rows
@events
def test_each_place_is_coded_by_itself(make, event):
    head, flat = make(event).eval(), make(event[:1]).eval()
    flat.load_state_dict(head.state_dict())
    h = data(head)
    q, places = head(h).base_dist, h.flatten(2) if len(event) > 1 else h[..., None]
    alone = flat(places.mT.reshape(-1, event[0])).base_dist
    value = alone.value.reshape(7, head.num_positions, event[0]).mT.reshape(h.shape)
    assert torch.equal(q.value, value)
    # Depth first: the first codes of all places come before the second of any.
    index = alone.index.reshape(7, head.num_positions, head.depth).permute(0, 2, 1).flatten(1)
    assert torch.equal(q.index, index)


@rows
def test_a_sample_axis_before_the_batch_changes_nothing(make):
    head = make((4, 6)).eval()
    h = data(head, 6)
    one, two = head(h).base_dist, head(h.reshape(2, 3, 4, 6)).base_dist
    assert torch.equal(one.value.reshape(2, 3, 4, 6), two.value)
    assert torch.equal(one.index.reshape(2, 3, -1), two.index)
    if not isinstance(head, LFQ):  # its cost knows the batch
        torch.testing.assert_close(one.cost.reshape(2, 3), two.cost)


# A latent made of codes stays what it is, except for FSQ and LFQ behind maps: what comes up is
# not made to go down the way that it came.
IDEMPOTENT = {name: make for name, make in ROWS.items() if not name.startswith(("residual",))}
IDEMPOTENT = {name: make for name, make in IDEMPOTENT.items() if not name.endswith("-mapped")}


@pytest.mark.parametrize("make", IDEMPOTENT.values(), ids=IDEMPOTENT)
@events
def test_codes_stay_what_they_are(make, event):
    head = make(event).eval()
    value = head(data(head)).base_dist.value
    raw = value if not isinstance(head, FSQ) else unbounded(head, value)
    again = head(raw).base_dist
    assert torch.equal(again.value, value)
    if not isinstance(head, LFQ):
        assert (again.cost < 1e-10).all()


def unbounded(head, value):
    """Return what the bounds of FSQ bring to exactly these values, with NumPy alone."""
    levels = np.array(head.levels).reshape(-1, *[1] * (value.dim() - 2))
    reach, offset = (levels - 1) / 2 * (1 - 1e-3), (levels % 2 == 0) / 2
    whole = value.numpy() * (levels // 2)
    # The outermost levels lie a hair beyond the bounds.
    inside = np.clip((whole + offset) / reach, -0.999, 0.999)
    return torch.from_numpy(np.arctanh(inside) - np.arctanh(offset / reach)).float()


@rows
def test_nearest_codes_are_the_nearest(make):
    head = make((4,)).eval()
    h = data(head, 50)
    if isinstance(head, FSQ | LFQ | ResidualVQ):
        return
    if getattr(head, "cosine", False):
        h = h / h.norm(dim=1, keepdim=True)
    gap = (h.double()[:, None] - head.codebook().double()).square().sum(2)
    assert torch.equal(head(h).base_dist.index[:, 0], gap.argmin(1))


def test_nearest_keeps_its_digits_far_from_the_origin():
    book = 1e3 + torch.randn(30, 4)
    assert torch.equal(nearest_code(book, book), torch.arange(30))


def test_nearest_in_pieces_is_nearest(monkeypatch):
    h, book = torch.randn(50, 4), torch.randn(9, 4)
    whole = nearest_code(h, book)
    monkeypatch.setitem(nearest_code.__globals__, "TABLE", 30)
    assert torch.equal(nearest_code(h, book), whole)


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


@pytest.mark.parametrize("name", LEARNED)
def test_gradient_reaches_the_codes(name):
    head = ROWS[name]((4, 6))
    trace = passed(head, data(head))
    loss = quantization(trace).sum() + trace.levels[0].z.square().sum()
    loss.backward()
    moved = {n for n, p in head.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved >= LEARNED[name]


STRAIGHT = {n: ROWS[n] for n in ("vq", "vq-gradient", "vq-still", "lfq", "simvq", "residual-vq")}


@pytest.mark.parametrize("make", STRAIGHT.values(), ids=STRAIGHT)
def test_gradient_goes_straight_past_the_codes_once(make):
    head = make((4, 3)).eval()
    h, up = data(head).requires_grad_(), torch.randn(7, 4, 3)
    (head(h).base_dist.value * up).sum().backward()
    torch.testing.assert_close(h.grad, up)


@pytest.mark.parametrize("name", ["vq-gradient", "simvq"])
def test_reconstruction_does_not_move_codes_that_the_gradient_passes(name):
    head = ROWS[name]((4,))
    head(data(head).requires_grad_()).base_dist.value.sum().backward()
    assert all(p.grad is None for p in head.parameters())


@pytest.mark.parametrize("name", ["vq-rotated", "simvq-rotated", "residual-rotated"])
def test_rotation_turns_the_gradient_as_the_row_was_turned(name):
    head = ROWS[name]((5,))
    h, up = data(head, 9).requires_grad_(), torch.randn(9, 5)
    value = head(h).base_dist.value
    (value * up).sum().backward()
    for row, code, g, got in zip(h.detach(), value.detach(), up, h.grad, strict=True):
        torch.testing.assert_close(got, turn(row, code).T @ g, rtol=1e-4, atol=1e-5)


def turn(row, code):
    """Return the matrix that turns and stretches a row onto its code, from its definition."""
    a, e = row / row.norm(), code / code.norm()
    r = (a + e) / (a + e).norm()
    whole = torch.eye(len(row)) - 2 * torch.outer(r, r) + 2 * torch.outer(e, a)
    torch.testing.assert_close(whole.T @ whole, torch.eye(len(row)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(code.norm() / row.norm() * whole @ row, code, rtol=1e-4, atol=1e-5)
    return code.norm() / row.norm() * whole


@pytest.mark.parametrize("code", [[-1.0, -2.0], [0.0, 0.0]])
def test_where_there_is_no_turn_the_gradient_goes_straight(code):
    h = torch.tensor([[1.0, 2.0]], requires_grad=True)
    rotation_trick(h, torch.tensor([code])).backward(torch.tensor([[3.0, 4.0]]))
    assert h.grad.tolist() == [[3.0, 4.0]]
    h = torch.zeros(1, 2, requires_grad=True)
    rotation_trick(h, torch.ones(1, 2)).backward(torch.tensor([[3.0, 4.0]]))
    assert h.grad.tolist() == [[3.0, 4.0]]


# What it costs


@pytest.mark.parametrize(("update", "whole"), [("ema", 0.25), ("gradient", 1.25)])
def test_the_cost_is_the_squared_distance_summed_over_places(update, whole):
    head = VQ((4, 3, 3), codebook_size=9, codebook_update=update)
    h = data(head)
    code = head(h).base_dist
    wanted = whole * (h - code.value).square().sum((1, 2, 3))
    torch.testing.assert_close(code.cost, wanted)


def test_each_part_of_the_cost_moves_its_own_side():
    head = VQ((4,), codebook_size=9, codebook_update="gradient", commitment_weight=0.5)
    h = data(head).requires_grad_()
    code = head(h).base_dist
    code.cost.sum().backward()
    torch.testing.assert_close(h.grad, 2 * 0.5 * (h - code.value).detach())
    wanted = torch.zeros(9, 4).index_add_(0, code.index[:, 0], 2 * (code.value - h).detach())
    torch.testing.assert_close(head.embedding.grad, wanted)


def test_the_cost_of_a_residual_is_that_of_what_each_codebook_found():
    head = ResidualVQ((4,), codebook_size=9, n_quantizers=2).eval()
    h = data(head).requires_grad_()
    first = head.stages[0](h).base_dist
    second = head.stages[1](h - first.value.detach()).base_dist
    code = head(h).base_dist
    torch.testing.assert_close(code.cost, first.cost + second.cost)
    torch.testing.assert_close(code.value, first.value + second.value)
    code.cost.sum().backward()
    left = (h - first.value) + (h - first.value - second.value)
    torch.testing.assert_close(h.grad, 2 * 0.25 * left.detach())


def test_fsq_costs_nothing():
    head = FSQ((4, 3))
    assert not head(data(head)).base_dist.cost.any()


@rows
def test_twice_the_batch_has_the_same_mean_cost(make):
    head = make((4, 6)).eval()
    h = data(head)
    once, twice = head(h).base_dist.cost, head(torch.cat([h, h])).base_dist.cost
    torch.testing.assert_close(once.mean(), twice.mean())


@rows
def test_twice_the_places_cost_twice_as_much(make):
    narrow, wide = make((4, 3)).eval(), make((4, 6)).eval()
    wide.load_state_dict(narrow.state_dict())
    h = data(narrow)
    once, twice = narrow(h).base_dist.cost, wide(torch.cat([h, h], 2)).base_dist.cost
    torch.testing.assert_close(2 * once, twice, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_entropies_of_bits_are_those_of_the_table_of_all_codes(bits):
    z = torch.randn(8, bits).double()
    words = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=bits))).double()
    gap = (z[:, None] - words).square().sum(2)
    q = torch.softmax(-gap / 0.7, 1)
    each, whole = code_entropy(4 * z / 0.7)
    torch.testing.assert_close(each, -(q * q.log()).sum(1))
    torch.testing.assert_close(whole, -(q.mean(0) * q.mean(0).log()).sum())


def test_the_cost_of_lfq_is_the_formula():
    head = LFQ((3,), bits=3, entropy_weight=0.2, temperature=0.7, commitment_weight=0.5).eval()
    h = data(head)
    each, whole = code_entropy(4 * h / 0.7)
    away = (h - torch.sign(h)).square().sum(1)
    wanted = 0.5 * away + 0.2 * (each - whole)
    torch.testing.assert_close(head(h).base_dist.cost, wanted)


def test_sure_and_even_choices_have_the_least_entropy_cost():
    words = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    each, whole = code_entropy(100 * words)
    assert each.max() < 1e-6
    assert whole.item() == pytest.approx(math.log(8), rel=1e-5)
    far = (1e4 * words).requires_grad_()
    loss = torch.stack([part.sum() for part in code_entropy(far)]).sum()
    loss.backward()
    assert loss.isfinite() and far.grad.isfinite().all()


def test_the_term_adds_up_levels_and_means_over_samples():
    head = VQ((4,), codebook_size=9).eval()
    h = data(head, 6)
    trace = passed(head, h)
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


def test_the_objective_is_distortion_and_the_weighted_cost():
    head = VQ((4,), codebook_size=9).eval()
    trace = passed(head, data(head))
    objective = vq_vae(vq_weight=Linear(0, 2, 4))
    loss, parts = objective(trace, 2)
    torch.testing.assert_close(loss, parts["reconstruction"] + parts["quantization"])
    loss, parts = objective(trace, 4)
    torch.testing.assert_close(loss, parts["reconstruction"] + 2 * parts["quantization"])
    assert objective.requires == {"codes"} <= head.provides
    with pytest.raises(VariedError, match="must not be below 0"):
        vq_vae(vq_weight=-1.0)


# What is learned without a gradient


@rows
def test_evaluation_leaves_every_buffer_alone(make):
    head = make((4, 6)).eval()
    before = buffers(head)
    head(data(head))
    assert same(buffers(head), before)


@rows
def test_training_counts_what_is_used(make):
    head = make((4, 6))
    h = data(head)
    index = head(h).base_dist.index
    share = code_counts(index, head.num_codes) / index.numel()
    wanted = 0.99 + 0.01 * head.num_codes * share
    torch.testing.assert_close(head.use, wanted)


@rows
def test_the_same_noise_gives_the_same_buffers(make):
    def trained():
        torch.manual_seed(3)
        head = make((4, 6))
        head.init_from_data(data(head, 30))
        for _ in range(5):
            head(data(head))
        return head.state_dict()

    assert same(trained(), trained())


@rows
def test_a_restored_codebook_goes_on_as_if_it_had_never_stopped(make):
    head, other = make((4, 6)), make((4, 6))
    for _ in range(3):
        head(data(head))
    other.load_state_dict(head.state_dict())
    for one in (head, other):
        torch.manual_seed(5)
        for _ in range(3):
            one(data(one))
    assert same(head.state_dict(), other.state_dict())


@rows
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e25])
def test_what_is_not_finite_leaves_no_trace_and_is_not_hidden(make, bad):
    head = make((4, 6))
    head.init_from_data(data(head))
    before = buffers(head)
    h = data(head)
    h[0, 0, 2] = bad
    for training in (True, False):
        code = head.train(training)(h).base_dist
        assert 0 <= code.index.min() <= code.index.max() < head.num_codes
        assert all(value.isfinite().all() for value in head.state_dict().values())
        if bad != 1e25:  # finite, though its square is not
            assert same(buffers(head), before)
            told = code.value.sum() + code.cost.sum()
            assert not told.isfinite(), "the loop must see it, to skip the step"
    assert head.train()(data(head)).base_dist.value.isfinite().all()


def test_a_start_of_nothing_finite_changes_nothing():
    head = VQ((4,), codebook_size=9)
    before = buffers(head)
    head.init_from_data(torch.full((5, 4), math.nan))
    assert same(buffers(head), before)


def test_codes_are_the_moving_averages_of_the_paper():
    head = VQ((3,), codebook_size=5, codebook_decay=0.9, dead_code_threshold=0.0).double()
    use, total, eps = np.ones(5), head.codebook().numpy().copy(), 1e-5
    book = total.copy()
    for _ in range(4):
        h = data(head, 20).double()
        index = ((h.numpy()[:, None] - book) ** 2).sum(2).argmin(1)
        one_hot = np.eye(5)[index]
        use = 0.9 * use + 0.1 * one_hot.sum(0) * 5 / 20
        total = 0.9 * total + 0.1 * one_hot.T @ h.numpy() * 5 / 20
        smooth = (use + eps) / (use.sum() + 5 * eps) * use.sum()
        book = total / smooth[:, None]
        head(h)
        np.testing.assert_allclose(head.codebook().numpy(), book, rtol=1e-6)
        np.testing.assert_allclose(head.use.numpy(), use, rtol=1e-6)


def test_averages_come_to_the_mean_of_what_is_put_on_each_code():
    h = torch.randn(60, 3)
    head = VQ((3,), codebook_size=4, codebook_decay=0.5, dead_code_threshold=0.0)
    head.init_from_data(h)
    for _ in range(60):
        index = head(h).base_dist.index[:, 0]
    means = torch.stack([h[index == code].mean(0) for code in range(4)])
    torch.testing.assert_close(head.codebook(), means, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_a_dead_code_is_moved_to_a_vector_of_the_batch(update):
    head = VQ(
        (4,), codebook_size=6, codebook_decay=0.5, dead_code_threshold=0.1, codebook_update=update
    )
    with torch.no_grad():
        getattr(head, "embedding" if update == "gradient" else "total")[2] = 1e3
    h = data(head, 40)
    for _ in range(4):  # after which the use of the code has fallen to a sixteenth
        head(h)
    gap = (head.codebook().detach()[2] - h).norm(dim=1).min()
    assert gap < 1e-3
    assert head.use[2] >= 0.1
    assert code_usage(head.eval()(h).base_dist.index, 6)[0] == 1.0


def test_nothing_is_moved_where_that_is_not_wanted():
    head = VQ((4,), codebook_size=6, codebook_decay=0.5, dead_code_threshold=0.0)
    head.total[2] = 1e3
    for _ in range(20):
        head(data(head, 40))
    assert head.use[2] < 1e-5
    assert not (head.eval()(data(head, 40)).base_dist.index == 2).any()


# Where they start


def clusters(count=24, channels=4, each=20):
    middle = 5 * torch.randn(count, channels)
    return (middle[:, None] + 0.05 * torch.randn(count, each, channels)).flatten(0, 1), middle


def test_a_start_by_k_means_leaves_no_dead_codes():
    h, middle = clusters()
    head = VQ((4,), codebook_size=24).eval()
    head.init_from_data(h)
    index = head(h).base_dist.index
    assert code_usage(index, 24)[0] == 1.0
    assert (torch.cdist(middle, head.codebook()).min(1).values < 0.1).all()


def test_a_start_of_a_residual_leaves_no_dead_codes_at_any_depth():
    h, _ = clusters(each=40)
    head = ResidualVQ((4,), codebook_size=24, n_quantizers=3).eval()
    head.init_from_data(h)
    index = head(h).base_dist.index
    assert [code_usage(index[:, d], 24)[0] for d in range(3)] == [1.0] * 3
    left = [(h - sum_of(head, index, d)).square().sum(1).mean() for d in (1, 2, 3)]
    assert left[0] > 1.5 * left[1] > 1.5 * 1.5 * left[2]


def sum_of(head, index, depth):
    pairs = zip(head.stages, index.split(1, 1), strict=True)
    return sum(stage.decode_indices(one) for stage, one in list(pairs)[:depth])


@rows
def test_a_start_from_few_or_equal_rows_is_finite(make):
    for h in (torch.zeros(3, 4), torch.ones(1, 4), torch.randn(5, 4), torch.randn(900, 1) * 1e-9):
        head = make((4,))
        head.init_from_data(h.expand(-1, 4))
        assert all(value.isfinite().all() for value in head.state_dict().values())
        assert head(data(head)).base_dist.value.isfinite().all()


def test_simvq_starts_with_the_mean_and_covariance_of_the_data():
    h = torch.randn(4000, 4) @ torch.randn(4, 4) + 3
    head = SimVQ((4,), codebook_size=4000)
    head.init_from_data(h)
    book = head.codebook().detach()
    torch.testing.assert_close(book.mean(0), h.mean(0), atol=0.2, rtol=0.1)
    torch.testing.assert_close(book.T.cov(), h.T.cov(), atol=0.3, rtol=0.15)


NARROWED = {name: ROWS[name] for name in ("fsq", "fsq-mapped", "lfq", "lfq-mapped")}
narrowed = pytest.mark.parametrize("make", NARROWED.values(), ids=NARROWED)


@narrowed
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_levels_are_in_reach_whatever_the_scale_of_the_network(make, scale):
    head = make((4, 3))
    h = scale * (torch.randn(4000, 4, 3) + 2)
    head.init_from_data(h)
    # Every sign, and all but the rarest corners of the levels; in training and after.
    for training in (True, False):
        index = head.train(training)(h).base_dist.index
        assert code_usage(index, head.num_codes)[0] > 0.8


@narrowed
def test_moving_averages_of_the_scale_come_to_those_of_the_data(make):
    head = make((4, 3))
    head.narrow.decay = 0.5
    h = 3 * torch.randn(200, 4, 3) + 2
    for _ in range(40):
        head(h)
    trained, after = head(h).base_dist, head.eval()(h).base_dist
    assert torch.equal(trained.index, after.index)
    torch.testing.assert_close(trained.value, after.value)


@narrowed
def test_one_row_is_coded_as_in_evaluation(make):
    head = make((4,))
    head.init_from_data(data(head, 50))
    h = data(head, 1)
    assert torch.equal(head(h).base_dist.index, head.eval()(h).base_dist.index)


# FSQ and LFQ, code by code


@pytest.mark.parametrize("levels", [(3, 4), (8, 5, 5, 5), (3,)])
def test_index_and_value_of_fsq_are_one_to_one(levels):
    head = FSQ((len(levels),), levels).eval()
    index = torch.arange(math.prod(levels))[:, None]
    value = head.lookup(index)
    grids = [(np.arange(n) - n // 2) / (n // 2) for n in levels]
    wanted = {tuple(np.float32(v) for v in point) for point in itertools.product(*grids)}
    assert {tuple(map(np.float32, point)) for point in value.tolist()} == wanted
    again = head(unbounded(head, value)).base_dist
    assert torch.equal(again.index, index)
    assert torch.equal(again.value, value)


def test_fsq_rounds_as_the_paper_says():
    head = FSQ((2,), (4, 5)).eval()
    h = torch.tensor([[0.0, 0.0], [9.0, 9.0], [-9.0, -9.0], [0.3, 0.3]])
    # An even number of levels reaches one further down than up.
    assert head(h).base_dist.value.tolist() == [[0, 0], [0.5, 1], [-1, -1], [0, 0.5]]


@pytest.mark.parametrize("level", [3, 4, 5, 8, 13])
def test_zero_stays_zero_and_every_level_is_reached(level):
    head = FSQ((1,), (level,)).eval()
    assert head.bounded(torch.zeros(1)).abs() < 1e-6
    index = head(torch.linspace(-9, 9, 5000)[:, None]).base_dist.index
    assert code_usage(index, level)[0] == 1.0


def test_index_and_value_of_lfq_are_one_to_one():
    head = LFQ((5,), bits=5).eval()
    index = torch.arange(32)[:, None]
    value = head.lookup(index)
    assert set(map(tuple, value.tolist())) == set(itertools.product([-1.0, 1.0], repeat=5))
    assert torch.equal(head(0.3 * value).base_dist.index, index)


# Use and perplexity


def test_use_and_perplexity_are_exact_and_add_up():
    index = torch.tensor([[0, 0, 1], [3, 3, 3]])
    p = np.array([2, 1, 3]) / 6
    share, perplexity = code_usage(index, 8)
    assert share == 3 / 8
    assert perplexity == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert usage_from_counts(code_counts(index[:1], 8) + code_counts(index[1:], 8)) == (
        share,
        perplexity,
    )
    assert code_usage(torch.arange(8), 8) == (1.0, pytest.approx(8))
    assert usage_from_counts(torch.zeros(8)) == (0.0, 0.0)


# The distribution


def test_a_code_has_no_density():
    head = VQ((4,), codebook_size=9)
    q = head(data(head))
    with pytest.raises(VariedError, match="prior over codes"):
        q.log_prob(q.mean)


def test_a_code_expands_with_its_index_and_cost():
    head = VQ((4, 6), codebook_size=9)
    q = head(data(head)).expand((3, 7))
    assert (q.batch_shape, q.event_shape) == ((3, 7), (4, 6))
    assert isinstance(q.base_dist, CodebookPoint)
    assert q.base_dist.index.shape == (3, 7, 6)
    assert q.base_dist.cost.shape == (3, 7)
    assert not q.sample().requires_grad


# Refusals


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(VQ, codebook_size=1), "at least 2"),
        (partial(VQ, codebook_size=2**19), "residual-vq"),
        (partial(VQ, codebook_update="mean"), "ema, gradient"),
        (partial(VQ, commitment_weight=-1.0), "must not be below 0"),
        (partial(VQ, codebook_decay=1.0), "between 0 and 1"),
        (partial(VQ, dead_code_threshold=1.0), "below 1"),
        (partial(SimVQ, commitment_weight=-1.0), "must not be below 0"),
        (partial(FSQ, levels=(2, 8)), "lfq"),
        (partial(FSQ, levels=()), "3 or more"),
        (partial(FSQ, levels=(99, 99, 99)), "are more than"),
        (partial(LFQ, bits=0), "at least 1"),
        (partial(LFQ, bits=40), "are more than"),
        (partial(LFQ, temperature=0.0), "above 0"),
        (partial(LFQ, entropy_weight=-1.0), "must not be below 0"),
        (partial(ResidualVQ, n_quantizers=0), "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(VariedError, match=said):
        make((4,))


@rows
def test_memory_format_and_precision_change_nothing(make):
    head = make((4, 3, 3)).eval()
    h = data(head)
    last = h.to(memory_format=torch.channels_last)
    assert torch.equal(head(h).base_dist.index, head(last).base_dist.index)
    assert head.double()(h.double()).base_dist.value.dtype == torch.float64
