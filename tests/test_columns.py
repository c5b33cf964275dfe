"""The law of a table's rows: every cell told once, gaps told as gaps, nothing filled in."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import distributions as td

from varied.data import Batch, Batches
from varied.distributions import ColumnLayout
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.likelihoods import TableRow
from varied.spec import Plan, Spec, compose
from varied.training_loop import Step, train

LAYOUTS = ["n", "c3?", "n2", "n? c2 n1?", "c4? n3? c1 n n? c2"]
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def head_of(layout: str, **settings) -> TableRow:
    """Return the head for a layout; its width follows."""
    flags, numbers, options = 0, 0, 0
    for word in layout.replace("?", "").split():
        flags, numbers = flags + 1, numbers + (word[0] == "n")
        options += (int(word[1:]) + (word[0] == "n")) if word[1:] else 0
    return TableRow((flags + numbers + options,), layout, **settings)


def law_of(head: TableRow, *lead: int, seed: int = 0):
    noise = torch.Generator().manual_seed(seed)
    return head(torch.randn(*lead, *head.param_shape, generator=noise).double())


@layouts
def test_shapes(layout):
    head = head_of(layout)
    px = law_of(head, 2, 3)
    assert (px.batch_shape, px.event_shape) == ((2, 3), head.event_shape)
    assert px.mean.shape == px.sample().shape == (2, 3, *head.event_shape)
    assert px.sample((4,)).shape == (4, 2, 3, *head.event_shape)
    assert px.log_prob(px.sample()[0]).shape == (2, 3)
    assert px.expand((5, 2, 3)).log_prob(px.sample()).shape == (5, 2, 3)


@layouts
def test_the_log_probability_is_that_of_its_columns(layout):
    """An oracle that goes cell by cell, with torch's own distributions."""
    head = head_of(layout)
    px = law_of(head, 6)
    x = px.sample()
    assert torch.allclose(px.log_prob(x), by_hand(head, px.base_dist, x), atol=1e-9)


def by_hand(head, law, x):
    total, columns = torch.zeros(len(x)).double(), head.layout.columns
    words = {"numbers": iter(range(len(head.layout.numbers))), "start": 0}
    options = columns + len(head.layout.numbers)
    for column in range(columns):
        known = x[:, column]
        total += td.Bernoulli(logits=law.flags[:, column]).log_prob(known)
        score = next(words["numbers"]) if column in head.layout.numbers else None
        counts = known
        if column in head.layout.choices:
            size = head.layout.sizes[head.layout.choices.index(column)]
            part = slice(words["start"], words["start"] + size)
            chosen = x[:, options:][:, part]
            pick = td.OneHotCategorical(logits=law.logits[:, part], validate_args=False)
            total += torch.where(known > 0, pick.log_prob(chosen), 0.0)
            counts, words["start"] = chosen[:, -1], words["start"] + size
        if score is not None:
            parts = td.Normal(law.means[:, score], law.log_scales[:, score].exp())
            mixed = td.MixtureSameFamily(td.Categorical(logits=law.weights[:, score]), parts)
            total += torch.where(counts > 0, mixed.log_prob(x[:, columns + score]), 0.0)
    return total


def test_it_adds_up_to_one():
    """Gap or not, each option, and an integral over the score: n1 and c2, every row there is."""
    head = head_of("n1? c2?")
    px = law_of(head, 1, seed=3).base_dist
    s = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    mass = 0.0
    for first, second in product(["gap", "frequent", "score"], ["gap", "a", "b"]):
        row = torch.zeros(len(s) if first == "score" else 1, 7).double()
        row[:, 0], row[:, 1] = first != "gap", second != "gap"
        if first != "gap":
            row[:, 3 + (first == "score")] = 1
        if second != "gap":
            row[:, 5 + (second == "b")] = 1
        if first == "score":
            row[:, 2] = s
        p = px.log_prob(row).sum(-1).exp()
        mass += float(torch.trapezoid(p, s)) if first == "score" else float(p.sum())
    assert mass == pytest.approx(1, abs=1e-6)


@layouts
def test_draws_are_rows(layout):
    head = head_of(layout)
    x = law_of(head, 400).sample()
    flags, scores, options = x.split(head.layout.parts, -1)
    assert ((flags == 0) | (flags == 1)).all()
    assert ((options == 0) | (options == 1)).all()
    for choice, column in enumerate(head.layout.choices):
        picked = options[:, head.layout.segments == choice].sum(1)
        assert torch.equal(picked, flags[:, column])
    counts = x[:, head.layout.gates] > 0
    assert ((scores != 0) <= counts).all()


def test_draws_follow_the_law():
    head = head_of("n1? c3")
    px = head(torch.randn(head.param_shape, generator=torch.Generator().manual_seed(1)))
    torch.manual_seed(0)
    x, mean = px.sample((40_000,)), px.mean
    known = x[:, 0] > 0
    assert float(known.double().mean()) == pytest.approx(float(mean[0]), abs=0.01)
    assert torch.allclose(x[known][:, 3:5].mean(0), mean[3:5], atol=0.01)
    told = x[x[:, 4] > 0, 2]
    assert float(told.mean()) == pytest.approx(float(mean[2]), abs=0.05)


def test_what_is_missing_counts_nothing():
    """Whatever stands in the place of a gap, the row is as probable."""
    head = head_of("n? c3")
    px = law_of(head, 1)
    row = torch.zeros(1, 6).double()
    row[:, 1], row[:, 3] = 1, 1
    beside = row.clone()
    beside[:, 2] = 7.0  # the score of the cell that is missing
    assert torch.equal(px.log_prob(row), px.log_prob(beside))


def test_gaps_may_be_chance():
    px = law_of(head_of("n? c3?", model_missing=False), 4)
    assert not px.base_dist.log_prob(px.sample())[:, :2].any()
    told = law_of(head_of("n? c3?"), 4)
    assert (told.base_dist.log_prob(told.sample())[:, :2] < 0).all()


@layouts
def test_the_gradient_reaches_every_parameter(layout):
    head = head_of(layout)
    h = torch.randn(64, *head.param_shape, requires_grad=True)
    head(h).log_prob(head(torch.randn(64, *head.param_shape)).sample()).sum().backward()
    one = [size for size in head.layout.sizes if size == 1]  # an option without a rival is sure
    assert h.grad.isfinite().all()
    assert int((h.grad != 0).any(0).sum()) == h.shape[1] - len(one)


def test_finite_far_out():
    head = head_of("n2 c3")
    for sign in (-1e4, 1e4):
        h = torch.full(head.param_shape, sign).requires_grad_()
        cost = head(h).log_prob(torch.tensor([1.0, 1, 50, 0, 0, 1, 1, 0, 0]))
        cost.backward()
        assert cost.isfinite()
        assert h.grad.isfinite().all()


@pytest.mark.parametrize("layout", ["", "x", "n c", "n0", "c0 n", "3", "?", "n??"])
def test_a_bad_layout_is_refused(layout):
    with pytest.raises(VariedError, match="write n, n2 or c5"):
        TableRow((3,), layout)


def test_refusals():
    with pytest.raises(VariedError, match="has 6 numbers in a row"):
        TableRow((5,), "n c3")
    with pytest.raises(VariedError, match="n_components=0"):
        head_of("n", n_components=0)
    with pytest.raises(VariedError, match="rows of a table; use likelihood='table'"):
        compose(Spec.of(likelihood="gaussian"), (5,), "table")
    with pytest.raises(VariedError, match="real numbers"):
        compose(Spec.of(likelihood={"name": "table", "layout": "n"}), (2,), "real")


def test_a_layout_tells_who_owns_what():
    layout = ColumnLayout((0, 2), (1, 2), (3, 2), 3)
    assert layout.gates.tolist() == [0, 9]
    assert layout.segments.tolist() == [0, 0, 0, 1, 1]


def test_a_column_without_gaps_is_made_without_and_tells_of_one():
    px = law_of(head_of("n c3?"), 3000)
    assert (px.sample()[:, 0] == 1).all()
    row = torch.zeros(6).double()
    beside = torch.zeros(6).double()
    beside[0] = 1
    assert px.base_dist.log_prob(row)[0, 0] == pytest.approx(-TableRow.SURE, abs=1e-6)
    assert px.base_dist.log_prob(beside)[0, 0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "parts",
    [
        {"objective": "iwae"},
        {"objective": "beta-tc-vae"},
        {"objective": "wae-mmd", "posterior": "deterministic"},
        {"posterior": "iaf"},
        {"posterior": "von-mises-fisher", "prior": "hyperspherical-uniform"},
        {"prior": "vamp"},
        {"prior": "flow"},
        {"prior": "gmm"},
        {"architecture": {"name": "ladder", "levels": 2, "hidden_size": 8}},
        {"context": 3},
    ],
    ids=str,
)
def test_the_other_axes_know_nothing_of_tables(parts):
    head = head_of("n? c3 n2?")
    plan = Plan(steps=2, batch_size=8, threads=1, compile="no", precision="float32")
    law = {"name": "table", "layout": "n? c3 n2?"}
    net = {"name": "mlp", "width": 8}
    model, objective = compose(
        Spec.of(**{"likelihood": law, "latent": 3, "net": net, "plan": plan} | parts),
        head.event_shape,
        "table",
    )
    x = law_of(head, 16).sample().float()
    c = torch.eye(3)[torch.arange(16) % 3] if "context" in parts else None
    *_, event = train(Step(model, objective), Batches(x, c, size=8, seed=0), plan)
    assert event.parts["loss"].isfinite()
    assert event.state.skipped == 0


def test_a_model_learns_what_hangs_together():
    """Two columns say the same; the bound comes near to the entropy of the pair, ln 4."""
    torch.manual_seed(0)
    k = torch.randint(4, (2000,))
    one = torch.eye(4)[k]
    x = torch.cat([torch.ones(2000, 2), one, one.flip(1)], 1)
    parts = {"likelihood": {"name": "table", "layout": "c4 c4"}, "latent": 2}
    net = {"name": "mlp", "width": 64}
    plan = Plan(steps=500, lr=5e-3, batch_size=200, threads=1, compile="no", precision="float32")
    model, objective = compose(Spec.of(**parts, net=net, plan=plan), (10,), "table")
    for _ in train(Step(model, objective), Batches(x, size=200, seed=0), plan):
        pass
    found = evaluate(model, torch.Tensor.float, [Batch(x)], likelihood="table")
    assert -found.elbo.value < 2 * math.log(4) - 0.5  # two columns apart would cost 2 ln 4
