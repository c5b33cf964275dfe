"""The autoregressive likelihood of table rows is normalized and learns exact relations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly
from torch import distributions as td

from varied.composition import compose
from varied.data import Batches
from varied.distributions import ColumnLayout, RowDistribution
from varied.errors import VariedError
from varied.likelihoods import AutoregressiveTableRow, TableRow
from varied.spec import Plan, Spec
from varied.training_loop import train
from varied.training_step import Step

layouts = pytest.mark.parametrize("layout", ["n", "c3?", "n2", "n? c2 n1?", "c4? n3? c1 n n? c2"])


def random_head(layout: str, **settings) -> AutoregressiveTableRow:
    """Return a likelihood whose masked network has random weights, in evaluation mode."""
    torch.manual_seed(0)
    head = AutoregressiveTableRow((ColumnLayout.parse(layout).width,), layout, **settings)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head.double().eval()


def random_rows(head: AutoregressiveTableRow, *lead: int) -> td.Distribution:
    torch.manual_seed(1)
    return head(torch.randn(*lead, *head.param_shape).double())


@layouts
def test_shapes(layout):
    head = random_head(layout)
    px = random_rows(head, 2, 3)
    assert isinstance(px.base_dist, RowDistribution)
    assert (px.batch_shape, px.event_shape) == ((2, 3), head.event_shape)
    assert px.mean.shape == px.sample().shape == (2, 3, *head.event_shape)
    assert px.sample((4,)).shape == (4, 2, 3, *head.event_shape)
    assert px.log_prob(px.sample()[0]).shape == (2, 3)
    assert px.expand((5, 2, 3)).log_prob(px.sample()).shape == (5, 2, 3)


def test_probabilities_of_all_rows_sum_to_1():
    head = random_head("c2? c3 c2?")
    px = random_rows(head, 1)
    rows = []
    for flags in product([0, 1], [1], [0, 1]):
        for levels in product(
            *[range(k if flag else 1) for k, flag in zip((2, 3, 2), flags, strict=True)]
        ):
            one_hot = [
                torch.eye(k)[level] * flag
                for k, level, flag in zip((2, 3, 2), levels, flags, strict=True)
            ]
            rows.append(torch.cat([torch.tensor(flags).float(), *one_hot]))
    total = px.log_prob(torch.stack(rows).double()).logsumexp(0)
    assert total.item() == pytest.approx(0, abs=1e-6)


@layouts
def test_an_element_depends_only_on_elements_of_preceding_steps(layout):
    head = random_head(layout)
    px = random_rows(head).base_dist
    x = torch.randn(head.event_shape).double().abs()
    steps = torch.zeros(len(x), dtype=torch.int64) - 1
    for i, elements in enumerate(px.layout.autoregressive_steps):
        steps[elements] = i

    def parameters(x):
        row = px.condition(x)
        return torch.cat([row.flag_logits, row.means[..., 0], row.level_logits], -1)

    jacobian = torch.autograd.functional.jacobian(parameters, x)
    depends = jacobian.abs() > 0
    assert not depends[steps[:, None] <= steps].any()


@layouts
def test_elements_of_missing_cells_are_0_in_samples(layout):
    px = random_rows(random_head(layout), 500).base_dist
    x = px.sample()
    assert (x[px.layout.is_missing(x)] == 0).all()


def test_frequencies_of_samples_are_the_probabilities():
    head = random_head("c2? c3")
    h = random_rows(head, 1).base_dist.h
    px = head(h.expand(40_000, -1))
    rows, counts = px.sample().unique(dim=0, return_counts=True)
    p = head(h).log_prob(rows).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-3)
    error = (p * (1 - p) / 40_000).sqrt()
    assert ((counts / 40_000 - p).abs() < 5 * error).all()


def test_completed_rows_keep_the_observed_cells_and_follow_the_conditional():
    head = random_head("c3 c2? n?")
    h = random_rows(head, 1).base_dist.h.expand(20_000, -1)
    x = torch.zeros(len(h), head.layout.width).double()
    x[:, [0, 4 + 1]] = 1  # the first cell is level 1; the others are missing
    completed = head(h).base_dist.complete(x)
    assert (completed[:, :3] == 1).all()
    assert (completed[:, 4:7] == x[:, 4:7]).all()
    flags = x[:1, :3] + torch.tensor([0, 1, 0])  # the third cell is still known to be missing
    p = head(h[:1]).base_dist.condition(completed[:1], flags).mean[0, 7:9]
    assert completed[:, 7:9].mean(0).numpy() == pytest.approx(p.detach().numpy(), abs=0.02)


def test_the_gradient_with_respect_to_the_code_is_that_of_independent_cells():
    layout = "n? c3 n2? c2"
    head = random_head(layout).train()
    h = torch.randn(5, *head.param_shape).double().requires_grad_(True)
    independent = head.build(*h.split(head.param_sizes, -1))
    x = independent.sample()
    head(h).log_prob(x).sum().backward()
    (expected,) = torch.autograd.grad(independent.log_prob(x).sum(), h)
    assert torch.allclose(h.grad, expected)
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


def test_the_log_probability_in_training_is_that_of_dependent_cells():
    head = random_head("n? c3 n2? c2", masked_fraction=0.0)
    px, x = random_rows(head, 5), random_rows(head, 5).sample()
    assert torch.allclose(random_rows(head.train(), 5).log_prob(x), px.log_prob(x))


def test_the_density_of_an_outlier_is_bounded():
    head = AutoregressiveTableRow((2,), "n", n_components=1).eval()
    px = head(torch.zeros(1, *head.param_shape))
    assert px.log_prob(torch.tensor([[1.0, 30.0]])).item() > -25


def test_cells_are_hidden_only_during_training():
    head = random_head("n c3 n")
    px, x = random_rows(head, 200), random_rows(head, 200).sample()
    assert torch.equal(px.log_prob(x), px.log_prob(x))
    head.train()
    assert not torch.equal(px.log_prob(x), px.log_prob(x))
    head.masked_fraction = 0.0
    assert torch.equal(px.log_prob(x), px.log_prob(x))
    with pytest.raises(VariedError, match="between 0 and 1"):
        random_head("n", masked_fraction=2.0)


@pytest.mark.parametrize(
    "parts",
    [
        {"objective": "iwae"},
        {"objective": "beta-tc-vae"},
        {"objective": {"name": "rae", "regularizer": "gp"}, "posterior": "deterministic"},
        {"posterior": "iaf"},
        {"prior": "vamp"},
        {"architecture": {"name": "ladder", "levels": 2, "hidden_size": 8}},
        {"context": 3},
    ],
    ids=str,
)
def test_likelihood_trains_with_parts_of_every_axis(parts):
    layout = "n? c3 n2?"
    independent = TableRow((ColumnLayout.parse(layout).width,), layout)
    plan = Plan(steps=2, batch_size=8, threads=1, compile="no", precision="float32")
    defaults = {
        "likelihood": {"name": "autoregressive-table", "layout": layout},
        "latent": 3,
        "net": {"name": "mlp", "width": 8},
        "plan": plan,
    }
    model, objective = compose(Spec.parse(**(defaults | parts)), independent.event_shape, "table")
    x = independent(torch.zeros(16, *independent.param_shape)).sample()
    c = torch.eye(3)[torch.arange(16) % 3] if "context" in parts else None
    *_, event = train(Step(model, objective), Batches(x, c, size=8, seed=0), plan)
    assert event.parts["loss"].isfinite()
    assert event.state.skipped == 0


AGES, AGE_GROUPS = np.array([13, 20, 65]), np.array(["child", "teen", "adult", "senior"])


def related_columns(n: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    married, grade = rng.random(n) < 0.6, rng.integers(1, 4, n)
    city, bought = rng.integers(0, 8, n), rng.random(n) < 0.5
    age = rng.integers(0, 90, n)
    return pd.DataFrame(
        {
            "married": np.where(married, "yes", "no"),
            "spouse_age": np.where(married, rng.integers(20, 70, n), np.nan),
            "grade": grade,
            "letter": np.array(list("-abc"))[grade],
            "city": np.array(list("ABCDEFGH"))[city],
            "country": np.array(["FR", "DE", "IT"])[city % 3],
            "age": age,
            "age_group": AGE_GROUPS[AGES.searchsorted(age, "right")],
            "bought": np.where(bought, "yes", "no"),
            "amount": np.where(bought, rng.lognormal(3, 0.6, n).round(2), 0.0),
        }
    )


@pytest.mark.slow
def test_samples_satisfy_the_relations_between_columns(tmp_path):
    frame = related_columns()
    run = train_quickly(frame, out=tmp_path / "run", steps=1000, latent=4)
    rows = run.sample(1000).array
    cities = frame.groupby("city").country.first()
    letters = frame.groupby("grade").letter.first()
    agreement = {
        "missing": (rows.spouse_age.isna() == (rows.married == "no")).mean(),
        "letter": (rows.grade.map(letters) == rows.letter).mean(),
        "country": (rows.city.map(cities) == rows.country).mean(),
        "age_group": (AGE_GROUPS[AGES.searchsorted(rows.age, "right")] == rows.age_group).mean(),
        "amount": ((rows.amount == 0) == (rows.bought == "no")).mean(),
    }
    assert min(agreement.values()) > 0.95, agreement
    assert run.evaluate().active_units.value >= 2
    # Whether a cell is missing is known if another cell of the row is imputed.
    rows = frame.head(200)
    imputed = run.impute(rows.assign(married=None)).array
    assert (imputed.married == rows.married).mean() > 0.9
