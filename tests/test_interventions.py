"""Training that goes on after exhausted memory, and after gradients that are not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from quick_training import train_to_end

from varied import step_memory, training_loop
from varied.data import Batch, Batches, memory
from varied.errors import VariedError
from varied.nonfinite import find_nonfinite
from varied.runs import Run
from varied.spec import Plan
from varied.training import Interrupted, monitor, prepare
from varied.training.finalize import _interventions
from varied.training_loop import PATIENCE, NonFiniteGradients, train
from varied.training_state import TrainingState
from varied.training_step import TrainingStep

SMALL = {"width": 8, "batch_size": 16, "threads": 1, "precision": "float32", "compile": "no"}


class Regression(TrainingStep):
    """A linear regression that runs out of memory with many rows.

    Arguments:
        max_rows: The largest number of rows that fit in memory.
        error: The error that is raised for more rows.
    """

    def __init__(self, max_rows=math.inf, error=None):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
        self.output = torch.nn.Linear(4, 1)
        self.max_rows, self.error, self.sizes = max_rows, error, []

    def forward(self, x, c=None, mask=None):
        self.sizes.append(len(x))
        if len(x) > self.max_rows:
            raise self.error
        loss = (self.output(self.model(x)) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"error": loss.detach()}

    def init_from_data(self, x, c=None):
        pass


def train_regression(step, x, **plan):
    options = {"steps": 20, "batch_size": 16, "threads": 1, "precision": "float32"} | plan
    batches = Batches(x, size=options["batch_size"], seed=0)
    return list(train(step, batches, Plan(**options)))


@pytest.fixture
def x():
    return torch.randn(64, 3)


# Memory

ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("max_rows", "n_parts"), [(16, 1), (8, 2), (5, 4), (1, 16)])
def test_a_batch_is_divided_until_it_fits(x, error, max_rows, n_parts):
    torch.manual_seed(0)
    unlimited, limited = Regression(), Regression(max_rows, error)
    limited.load_state_dict(unlimited.state_dict())
    expected = train_regression(unlimited, x)
    events = train_regression(limited, x)
    assert events[-1].state.batch_parts == n_parts
    for event, other in zip(events, expected, strict=True):
        torch.testing.assert_close(event.parts["error"], other.parts["error"])
    for value, other in zip(limited.parameters(), unlimited.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)


def test_one_row_that_does_not_fit_is_an_error(x):
    with pytest.raises(MemoryError):
        train_regression(Regression(0, MemoryError()), x)


@pytest.mark.parametrize(("n_rows", "n_parts"), [(16, 1), (15, 2), (5, 4), (1, 16)])
def test_the_memory_of_a_batch_is_estimated_before_training(x, monkeypatch, n_rows, n_parts):
    step, batch = Regression(), Batch(x[:16])
    weights = 16 * sum(p.numel() for p in step.parameters())
    row = step_memory._activation_bytes(step, batch.split(8)[0])
    monkeypatch.setattr(step_memory, "_LARGE", 1)
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * (weights + n_rows * row))
    assert step_memory.count_batch_parts(step, batch) == n_parts
    assert train_regression(step, x)[-1].state.batch_parts == n_parts


def test_other_errors_are_raised(x):
    step = Regression(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_regression(step, x)
    assert len(step.sizes) == 1


# Gradients that are not finite


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda step, batch: batch.x.fill_(math.inf), "the data"),
        (lambda step, batch: step.output.bias.data.fill_(math.nan), "the parameter output.bias"),
        (lambda step, batch: step.model[0].weight.data.fill_(math.inf), "the parameter 0.weight"),
        (lambda step, batch: step.output.weight.data.fill_(3e38), "the output of output"),
        (lambda step, batch: step.output.bias.data.fill_(1e20), "the loss"),
        (lambda step, batch: step.model[0].weight.grad.fill_(math.nan), "the gradient of 0.weight"),
    ],
)
def test_the_place_of_values_that_are_not_finite_is_found(x, change, place):
    step, batch = Regression(), Batch(x)
    step(batch.x)[0].backward()
    with torch.no_grad():
        step.model[0].bias.fill_(5)
        change(step, batch)
    assert find_nonfinite(step, batch) == place
    assert not any(module._forward_hooks for module in step.modules())


class Unstable:
    """Raises the losses of some steps of a job to infinity, as too large steps do.

    Arguments:
        job: The job.
        max_lr: The largest learning rate with which the losses are finite.
        first_step: The first step of which the loss is infinite.
    """

    def __init__(self, job, max_lr, first_step):
        self.job, self.max_lr, self.first_step = job, max_lr, first_step
        self.forward = job.step.forward
        job.step.forward = self

    def __call__(self, *tensors):
        loss, parts = self.forward(*tensors)
        state = self.job.state
        is_unstable = state.step >= self.first_step and state.lr_factor > self.max_lr
        return (loss * math.inf if is_unstable else loss), parts


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)


def prepare_rows(rows, folder, monkeypatch, **options):
    monkeypatch.setattr(monitor, "_CHECKPOINT_SECONDS", 0.0)
    return prepare(rows, out=folder / "run", **SMALL | {"steps": 90, "latent": 2} | options)


def test_training_goes_back_to_a_checkpoint_with_half_the_learning_rate(
    rows, tmp_path, monkeypatch
):
    monkeypatch.setattr(training_loop, "PATIENCE", 2)
    job = prepare_rows(rows, tmp_path, monkeypatch)
    Unstable(job, max_lr=0.3, first_step=30)
    run = train_to_end(job)
    assert (job.state.step, job.state.rollbacks, job.state.lr_factor) == (90, 2, 0.25)
    steps = [row["step"] for row in run.store.history() if row["split"] == "train"]
    assert steps == sorted(set(steps))
    logged = {row["step"]: row["lr"] for row in run.store.history() if row["split"] == "train"}
    assert logged[40] < 0.3 * logged[30]
    assert "rolled back to an earlier checkpoint 2 times" in " ".join(_interventions(job.state))
    assert math.isfinite(Run(run.folder, rows).evaluate().elbo.value)


def test_training_that_stays_unstable_ends_with_an_error(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "PATIENCE", 2)
    job = prepare_rows(rows, tmp_path, monkeypatch)
    Unstable(job, max_lr=0, first_step=30)
    with pytest.raises(NonFiniteGradients, match=r"Steps 3\d to 3\d had non-finite .* of the loss"):
        train_to_end(job)
    assert job.state.rollbacks == 3


def test_training_without_checkpoint_ends_with_an_error(rows, tmp_path, monkeypatch):
    job = prepare_rows(rows, tmp_path, monkeypatch)
    Unstable(job, max_lr=0, first_step=0)
    monkeypatch.setattr(monitor, "_CHECKPOINT_SECONDS", math.inf)
    with pytest.raises(VariedError, match=f"Steps 0 to {PATIENCE - 1} had non-finite gradients"):
        train_to_end(job)


def test_a_run_that_went_back_resumes_to_the_same_weights(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "PATIENCE", 2)
    weights = []
    for name, stop in (("uninterrupted", math.inf), ("resumed", 60)):
        job = prepare_rows(rows, tmp_path / name, monkeypatch)
        Unstable(job, max_lr=0.6, first_step=30)
        try:
            for event in job.train():
                job.is_stopping = event.state.step >= stop
        except Interrupted:
            job = prepare_rows(rows, tmp_path / name, monkeypatch)
            assert job.state.lr_factor == 0.5
            for _ in job.train():
                pass
        weights.append(job.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_checkpoints_have_finite_weights(rows, tmp_path, monkeypatch):
    job = prepare_rows(rows, tmp_path, monkeypatch)
    events = job.train()
    for _ in range(5):
        event = next(events)
    before = {path.name for path in (job.store / "checkpoints").iterdir()}
    next(iter(job.step.parameters())).data.fill_(math.nan)
    monitor.RunMonitor(job).write_checkpoint(event.snapshot())
    assert {path.name for path in (job.store / "checkpoints").iterdir()} == before


def test_interventions_are_described():
    assert _interventions(TrainingState()) == []
    texts = _interventions(TrainingState(skipped=3, batch_parts=4))
    assert texts[0].startswith("3 steps were skipped")
    assert "divided into 4 parts" in texts[1]
