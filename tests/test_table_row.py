"""The likelihood of table rows matches PyTorch's distributions cell by cell."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import distributions as td

from varied.composition import compose
from varied.data import Batch, Batches
from varied.distributions import ColumnLayout
from varied.errors import VariedError
from varied.evaluate import evaluate
from varied.likelihoods import TableRow
from varied.spec import Plan, Spec
from varied.training_loop import train
from varied.training_step import Step

layouts = pytest.mark.parametrize(
    "layout", ["n", "c3?", "n2", "k", "n? c2 n1?", "n c2 k? n k", "c4? n3? c1 n n? c2"]
)


def head_for(layout: str, **settings) -> TableRow:
    return TableRow((ColumnLayout.parse(layout).width,), layout, **settings)


def random_row(head: TableRow, *lead: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return head(torch.randn(*lead, *head.param_shape, generator=generator).double())


@pytest.mark.parametrize(
    ("layout", "width"),
    [
        ("n", 2),
        ("c3?", 4),
        ("n2", 5),
        ("k?", 2),
        ("n? c2 n1?", 9),
        ("c4? n3? c1 n n? c2", 6 + 3 + 11),
    ],
)
def test_layout_width(layout, width):
    assert ColumnLayout.parse(layout).width == width


def test_layout_positions():
    layout = ColumnLayout((0, 2), (1, 2), (3, 2), 3)
    assert layout.number_gates.tolist() == [0, 9]
    assert layout.level_variables.tolist() == [0, 0, 0, 1, 1]


@layouts
def test_shapes(layout):
    head = head_for(layout)
    px = random_row(head, 2, 3)
    assert (px.batch_shape, px.event_shape) == ((2, 3), head.event_shape)
    assert px.mean.shape == px.sample().shape == (2, 3, *head.event_shape)
    assert px.sample((4,)).shape == (4, 2, 3, *head.event_shape)
    assert px.log_prob(px.sample()[0]).shape == (2, 3)
    assert px.expand((5, 2, 3)).log_prob(px.sample()).shape == (5, 2, 3)


@layouts
def test_log_prob_is_the_sum_over_cells(layout):
    head = head_for(layout)
    px = random_row(head, 6)
    x = px.sample()
    torch.testing.assert_close(
        px.log_prob(x), cellwise_log_prob(px.base_dist, x), atol=1e-9, rtol=0
    )


def cellwise_log_prob(row, x):
    """Return the log-probability of rows, cell by cell with PyTorch's distributions."""
    layout = row.layout
    flags, numbers, levels = x.split(layout.block_sizes, -1)
    log_prob = td.Bernoulli(logits=row.flag_logits).log_prob(flags).sum(-1)
    counts = dict(enumerate(flags.unbind(-1)))  # whether the number of a column counts
    one_hot = levels.split(layout.n_levels, -1) if layout.n_levels else ()
    logits = row.level_logits.split(layout.n_levels, -1) if layout.n_levels else ()
    for column, level, logit in zip(layout.category_columns, one_hot, logits, strict=True):
        category = td.OneHotCategorical(logits=logit, validate_args=False)
        log_prob += torch.where(flags[:, column] > 0, category.log_prob(level), 0.0)
        counts[column] = level[:, -1]
    for i, column in enumerate(layout.number_columns):
        means, scales, value = row.means[:, i], row.log_scales[:, i].exp(), numbers[:, i]
        components = td.Normal(means, scales)
        if column in layout.count_columns:
            r, value = scales**-2, value.expm1().round()
            components = td.NegativeBinomial(r, logits=means - r.log(), validate_args=False)
        weights = td.Categorical(logits=row.log_weights[:, i])
        mixture = td.MixtureSameFamily(weights, components, validate_args=False)
        log_prob += torch.where(counts[column] > 0, mixture.log_prob(value), 0.0)
    return log_prob


def test_probability_of_all_rows_sums_to_one():
    px = random_row(head_for("n1? c2?"), 1, seed=3).base_dist
    numbers = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    total = 0.0
    for first, second in product(["missing", "frequent", "number"], ["missing", "a", "b"]):
        row = torch.zeros(len(numbers) if first == "number" else 1, 7).double()
        row[:, 0], row[:, 1] = first != "missing", second != "missing"
        if first != "missing":
            row[:, 3 + (first == "number")] = 1
        if second != "missing":
            row[:, 5 + (second == "b")] = 1
        if first == "number":
            row[:, 2] = numbers
        p = px.log_prob(row).sum(-1).exp()
        total += float(torch.trapezoid(p, numbers)) if first == "number" else float(p.sum())
    assert total == pytest.approx(1, abs=1e-6)


def test_probability_of_all_counts_sums_to_one():
    px = random_row(head_for("k?"), 1, seed=3).base_dist
    x = torch.arange(20_000).double()
    rows = torch.stack([torch.ones_like(x), x.log1p()], 1)
    total = px.log_prob(torch.cat([torch.zeros(1, 2).double(), rows])).sum(-1).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-6)


def test_samples_of_counts_have_the_mean_of_the_distribution():
    head = head_for("n k")
    head.init_from_rows(torch.tensor([[1.0, 1.0, 0.0, math.log(51)]] * 20))
    px = head(torch.zeros(head.param_shape))
    torch.manual_seed(0)
    counts = px.sample((40_000,))[:, 3].expm1()
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    assert counts.mean().item() == pytest.approx(px.mean[3].expm1().item(), rel=0.05)
    assert counts.mean().item() == pytest.approx(50, rel=0.2)


@layouts
def test_samples_are_valid_rows(layout):
    head = head_for(layout)
    x = random_row(head, 400).sample()
    flags, numbers, levels = x.split(head.layout.block_sizes, -1)
    assert ((flags == 0) | (flags == 1)).all()
    assert ((levels == 0) | (levels == 1)).all()
    for variable, column in enumerate(head.layout.category_columns):
        count = levels[:, head.layout.level_variables == variable].sum(1)
        assert torch.equal(count, flags[:, column])
    assert ((numbers != 0) <= (x[:, head.layout.number_gates] > 0)).all()


def test_samples_have_the_probabilities_and_means_of_the_distribution():
    head = head_for("n1? c3")
    px = head(torch.randn(head.param_shape, generator=torch.Generator().manual_seed(1)))
    torch.manual_seed(0)
    x, mean = px.sample((40_000,)), px.mean
    is_observed = x[:, 0] > 0
    assert float(is_observed.double().mean()) == pytest.approx(float(mean[0]), abs=0.01)
    assert torch.allclose(x[is_observed][:, 3:5].mean(0), mean[3:5], atol=0.01)
    numbers = x[x[:, 4] > 0, 2]
    assert float(numbers.mean()) == pytest.approx(float(mean[2]), abs=0.05)


def test_value_in_a_missing_cell_does_not_change_the_log_prob():
    px = random_row(head_for("n? c3"), 1)
    row = torch.zeros(1, 6).double()
    row[:, 1], row[:, 3] = 1, 1
    filled = row.clone()
    filled[:, 2] = 7.0  # the number of the missing cell
    assert torch.equal(px.log_prob(row), px.log_prob(filled))


def test_flags_have_a_likelihood_only_if_missingness_is_modeled():
    ignored = random_row(head_for("n? c3?", model_missing=False), 4)
    assert not ignored.base_dist.log_prob(ignored.sample())[:, :2].any()
    modeled = random_row(head_for("n? c3?"), 4)
    assert (modeled.base_dist.log_prob(modeled.sample())[:, :2] < 0).all()


def test_column_without_missing_cells_is_always_observed_in_samples():
    px = random_row(head_for("n c3?"), 3000)
    assert (px.sample()[:, 0] == 1).all()
    missing, observed = torch.zeros(2, 6).double()
    observed[0] = 1
    log_probs = [float(px.base_dist.log_prob(row)[0, 0]) for row in (missing, observed)]
    assert log_probs == pytest.approx([-TableRow.ALWAYS_OBSERVED, 0], abs=1e-6)


@layouts
def test_every_parameter_has_a_gradient(layout):
    head = head_for(layout)
    h = torch.randn(64, *head.param_shape, requires_grad=True)
    head(h).log_prob(head(torch.randn(64, *head.param_shape)).sample()).sum().backward()
    constants = head.layout.n_levels.count(1)  # the only level of a category has probability 1
    assert h.grad.isfinite().all()
    assert int((h.grad != 0).any(0).sum()) == h.shape[1] - constants


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_parameters_result_in_finite_values_and_gradients(value):
    head = head_for("n2 c3 k")
    h = torch.full(head.param_shape, value).requires_grad_()
    for score in (0.0, 7.0):
        row = torch.tensor([1.0, 1, 1, 50, score, 0, 0, 1, 1, 0, 0])
        log_prob = head(h).log_prob(row)
        log_prob.backward()
        assert log_prob.isfinite()
        assert h.grad.isfinite().all()
    assert head(h).sample().isfinite().all()
    assert head(h).mean.isfinite().all()


@pytest.mark.parametrize("layout", ["", "x", "n c", "n0", "c0 n", "3", "?", "n??"])
def test_invalid_layout_is_an_error(layout):
    with pytest.raises(VariedError, match="such as n, n2, k or c5"):
        TableRow((3,), layout)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TableRow((5,), "n c3"), "has rows of length 6"),
        (lambda: head_for("n", n_components=0), "n_components=0"),
        (
            lambda: compose(Spec.parse(likelihood="gaussian"), (5,), "table"),
            "rows of a table; use likelihood='table'",
        ),
        (
            lambda: compose(Spec.parse(likelihood={"name": "table", "layout": "n"}), (2,), "real"),
            "real-valued data",
        ),
    ],
)
def test_likelihood_that_does_not_fit_the_data_is_an_error(build, message):
    with pytest.raises(VariedError, match=message):
        build()


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
def test_table_likelihood_trains_with_parts_of_every_axis(parts):
    layout = "n? c3 n2?"
    head = head_for(layout)
    plan = Plan(steps=2, batch_size=8, threads=1, compile="no", precision="float32")
    defaults = {
        "likelihood": {"name": "table", "layout": layout},
        "latent": 3,
        "net": {"name": "mlp", "width": 8},
        "plan": plan,
    }
    model, objective = compose(Spec.parse(**(defaults | parts)), head.event_shape, "table")
    x = random_row(head, 16).sample().float()
    c = torch.eye(3)[torch.arange(16) % 3] if "context" in parts else None
    *_, event = train(Step(model, objective), Batches(x, c, size=8, seed=0), plan)
    assert event.parts["loss"].isfinite()
    assert event.state.skipped == 0


@pytest.mark.slow
def test_model_learns_the_dependence_between_two_equal_columns():
    torch.manual_seed(0)
    level = torch.eye(4)[torch.randint(4, (2000,))]
    x = torch.cat([torch.ones(2000, 2), level, level.flip(1)], 1)
    plan = Plan(steps=500, lr=5e-3, batch_size=200, threads=1, compile="no", precision="float32")
    spec = Spec.parse(
        likelihood={"name": "table", "layout": "c4 c4"},
        latent=2,
        net={"name": "mlp", "width": 64},
        plan=plan,
    )
    model, objective = compose(spec, (10,), "table")
    for _ in train(Step(model, objective), Batches(x, size=200, seed=0), plan):
        pass
    result = evaluate(model, torch.Tensor.float, [Batch(x)], likelihood="table")
    # The entropy of the pair is ln 4; two independent columns would cost 2 ln 4.
    assert -result.elbo.value < 2 * math.log(4) - 0.5
