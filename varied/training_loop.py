"""The training loop: a generator of events that never prints, plots, saves or serves.

Progress bars, logs, checkpoints and animations are all ``for event in train(...)``.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from varied import runtime
from varied.data.batches import Batch
from varied.discriminators import AdversarialTerm
from varied.errors import VariedError
from varied.models import LatentModel
from varied.objectives import Objective
from varied.runtime import Setup
from varied.scheduled_value import set_step
from varied.seeding import seed_torch
from varied.spec import Plan

#: Consecutive steps without a finite gradient after which training fails.
PATIENCE = 50

#: Rows on which codebooks and pseudo-inputs are initialized.
INIT_ROWS = 2048

#: A step at which every schedule has its final value.
FINAL_STEP = 10**12

#: The key of the moving average of a parameter in the state of the optimizer.
AVERAGE = "average"


class BatchSource(Protocol):
    """A source of batches, each a function of the step."""

    steps_per_epoch: int

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        ...


class TrainingStep(nn.Module, ABC):
    """What `train` trains: a module that computes the loss of a batch."""

    #: Whether all scheduled values keep their final values.
    freeze_schedules: bool = False

    @abstractmethod
    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar, and its parts by name, without gradient."""

    @abstractmethod
    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize parts that start from data, such as codebooks, on the first rows."""

    @property
    def discriminators(self) -> Sequence[AdversarialTerm]:
        """The terms whose parameters have a learning rate of their own."""
        return ()

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set all scheduled values."""
        if self.freeze_schedules:
            step, progress = FINAL_STEP, 1.0
        set_step(self, step, progress)


class Step(TrainingStep):
    """The training step of a model with an objective.

    Arguments:
        model: From data to a trace.
        objective: From a trace to a loss and its parts.
        load: From stored rows to data, on the device, such as uint8 to [0, 1], or binarization.
        freeze_schedules: Whether all scheduled values keep their final values.
    """

    def __init__(
        self,
        model: LatentModel,
        objective: Objective,
        load: Callable[[Tensor], Tensor] = torch.Tensor.float,
        *,
        freeze_schedules: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.load = model, objective, load
        self.freeze_schedules = freeze_schedules

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts, in nats."""
        trace = self.model(self.load(x), c, mask, self.objective.samples)
        return self.objective(trace)  # type: ignore[no-any-return]

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize parts that start from data, such as codebooks, on the first rows."""
        with runtime.eval_float32(self):
            self.model.init_from_data(self.load(x), c)

    @property
    def discriminators(self) -> Sequence[AdversarialTerm]:
        """The adversarial terms of the objective."""
        return tuple(self.objective.discriminators.values())


@dataclass
class TrainingState:
    """All that an interrupted run needs to continue as if it had not been interrupted.

    Random numbers and batches are functions of the step, so they are not part of it.

    Arguments:
        step: The number of completed steps.
        seconds: The time spent in training steps.
        skipped: The number of steps that were skipped because their gradient was not finite.
        total: The total number of steps, as far as known. A time budget is converted to steps with
            the measured speed.
        anchor: The (step, progress) at which ``total`` was last set.
        limit: An upper bound on the progress until ``total`` is set again, so that one step with an
            unusual speed does not misplace the next thousand in the schedules.
        setup: How the run computes, as measured at its start.
        moments: The tensors of the optimizer by parameter name, among them the moving averages of
            the weights.
    """

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    total: float = math.inf
    anchor: tuple[int, float] = (0, 0.0)
    limit: float = 1.0
    setup: Setup | None = None
    moments: dict[str, Tensor] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """The completed fraction of the training, from 0 to 1."""
        step, progress = self.anchor
        if self.step >= self.total:
            return self.limit
        progress += (1 - progress) * (self.step - step) / (self.total - step)
        return min(progress, self.limit)

    def update_total(self, budget: float) -> None:
        """Convert a time budget in seconds to steps, with the speed since the last conversion.

        The progress is then the used fraction of the budget; between two conversions it is linear
        in the steps.
        """
        step, progress = self.anchor
        elapsed = self.seconds - progress * budget
        if elapsed < budget / 60:
            return
        speed = (self.step - step) / elapsed
        self.anchor = (self.step, min(self.seconds / budget, 1.0))
        self.limit = min(self.anchor[1] + 1 / 40, 1.0)
        self.total = self.step + max(budget - self.seconds, 0.0) * speed


@dataclass
class StepEvent:
    """A completed step.

    Arguments:
        state: The state after the step; `snapshot` fills its ``moments``.
        epoch: The number of passes over the rows, with a fraction.
        parts: The loss and its parts by name, in nats, as scalar tensors.
        norm: The gradient norm of the model before clipping; NaN for a skipped step.
        lr: The learning rate of the step.
        rows: The number of rows in the batch.
        snapshot: Copies the tensors of the optimizer to the state, for a checkpoint.
    """

    state: TrainingState
    epoch: float
    parts: dict[str, Tensor]
    norm: float
    lr: float
    rows: int
    snapshot: Callable[[], TrainingState]


def train(
    step: TrainingStep, batches: BatchSource, plan: Plan, state: TrainingState | None = None
) -> Iterator[StepEvent]:
    """Train, and yield an event after each step.

    If the plan asks for moving averages of the weights, the module has them at the end; until then
    use `ema_weights`.

    Arguments:
        step: The training step; its parameters are updated in place.
        batches: The data.
        plan: The settings of the training, and its length.
        state: The state of an interrupted run; None starts a new one.

    Raises:
        VariedError: If `PATIENCE` consecutive steps have no finite gradient.
    """
    state = state or TrainingState()
    runtime.tune_malloc()
    state.total = _num_steps(plan, batches.steps_per_epoch) or state.total
    if state.setup is None:
        state.setup = _start(step, batches, plan, state.total)
    runtime.apply_setup(step, state.setup)
    optimizer = _create_optimizer(step, plan)
    _load_moments(optimizer, step, state.moments)
    compute_loss = runtime.compile_step(step, state.setup.compile)
    threads = runtime.ThreadController(state.setup)
    failures = 0
    step.train()
    while state.progress < 1.0:
        start = time.perf_counter()
        batch = batches.at(state.step).to(state.setup.device)
        lr = _set_learning_rate(optimizer, plan, state)
        seed_torch(plan.seed, "step", state.step)
        step.set_step(state.step, state.progress)
        optimizer.zero_grad(set_to_none=True)
        with runtime.flush_denormals():
            loss, parts = compute_loss(batch.x, batch.c, batch.mask)
            loss.backward()
            norm = _clip_gradients(optimizer, plan.grad_clip)
            if math.isfinite(norm):
                optimizer.step()
                _update_averages(optimizer, plan.ema_decay, state.step)
        failures = 0 if math.isfinite(norm) else failures + 1
        state.skipped += failures > 0
        if failures >= PATIENCE:
            raise VariedError(
                f"The last {failures} steps (up to step {state.step}) had no finite gradient; "
                "lower the learning rate (--lr), or check the data with `varied train --dry-run`."
            )
        state.step += 1
        seconds = time.perf_counter() - start
        state.seconds += seconds
        threads.record_step_time(seconds)
        if plan.minutes:
            state.update_total(60 * plan.minutes)
        yield StepEvent(
            state,
            state.step / batches.steps_per_epoch,
            {"loss": loss.detach(), **parts},
            norm,
            lr,
            len(batch),
            lambda: _save_moments(optimizer, step, state),
        )
    _apply_averages(step, _save_moments(optimizer, step, state))


# Start


def _num_steps(plan: Plan, steps_per_epoch: int) -> float | None:
    if plan.minutes:
        return None
    return plan.steps or math.ceil((plan.epochs or 20) * steps_per_epoch)


def _start(step: TrainingStep, batches: BatchSource, plan: Plan, total: float) -> Setup:
    """Initialize parts from data, and return the fastest setup."""
    first = batches.at(0).to("cpu")
    count = math.ceil(INIT_ROWS / plan.batch_size)
    init = [batches.at(index) for index in range(count)]
    c = None if init[0].c is None else torch.cat([b.c for b in init if b.c is not None])
    seed_torch(plan.seed, "begin", 0)
    step.init_from_data(torch.cat([b.x for b in init]), c)

    def compute_loss() -> Tensor:
        loss: Tensor = step(first.x, first.c, first.mask)[0]
        return loss

    with _restored_buffers(step):
        return runtime.autotune(step, compute_loss, plan, total)


@contextmanager
def _restored_buffers(step: nn.Module) -> Iterator[None]:
    """Undo what steps that are only timed change: moving averages and counts."""
    values = {name: buffer.clone() for name, buffer in step.named_buffers()}
    yield
    for name, buffer in step.named_buffers():
        buffer.copy_(values[name])


# Optimizer


def _create_optimizer(step: TrainingStep, plan: Plan) -> torch.optim.Optimizer:
    """Return Adam with one parameter group for the model and one for each discriminator."""
    discriminator_ids = {id(p) for term in step.discriminators for p in term.parameters()}
    model = [p for p in step.parameters() if id(p) not in discriminator_ids]
    groups: list[dict[str, Any]] = [{"params": model, "lr_factor": 1.0}]
    for term in step.discriminators:
        betas = (term.beta1, 0.999)
        groups.append({"params": list(term.parameters()), "lr_factor": term.lr, "betas": betas})
    return torch.optim.Adam(groups, lr=plan.lr, fused=True)


def _set_learning_rate(optimizer: torch.optim.Optimizer, plan: Plan, state: TrainingState) -> float:
    decay = {
        "cosine": (1 + math.cos(math.pi * state.progress)) / 2,
        "linear": 1 - state.progress,
        "none": 1.0,
    }
    warmup = min(1.0, (state.step + 1) / max(plan.lr_warmup, 1))
    lr = plan.lr * decay[plan.lr_schedule] * warmup
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
    return lr


def _clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip the gradients of each parameter group, and return the gradient norm of the model.

    Groups are clipped separately, so that a discriminator with large gradients does not shrink the
    steps of the model, nor the other way round.
    """
    norms = []
    for group in optimizer.param_groups:
        params = [p for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in params])
        if norm > max_norm:
            torch.nn.utils.clip_grads_with_norm_(params, max_norm, norm)
        norms.append(float(norm))
    return norms[0] if all(map(math.isfinite, norms)) else math.nan


def _save_moments(
    optimizer: torch.optim.Optimizer, step: nn.Module, state: TrainingState
) -> TrainingState:
    for name, parameter in step.named_parameters():
        for kind, value in optimizer.state[parameter].items():
            state.moments[f"{kind}/{name}"] = value
    return state


def _load_moments(
    optimizer: torch.optim.Optimizer, step: nn.Module, moments: dict[str, Tensor]
) -> None:
    params: dict[str, Any] = dict(step.named_parameters())
    for key, value in moments.items():
        kind, _, name = key.partition("/")
        # A fused optimizer keeps even its step count on the device of the parameter.
        optimizer.state[params[name]][kind] = value.to(params[name].device, copy=True)


# Moving averages of the weights


@contextmanager
def ema_weights(step: nn.Module, state: TrainingState) -> Iterator[None]:
    """Replace the weights by their moving averages, if the state has them, and restore them."""
    saved = [(weights, weights.detach().clone()) for weights, _ in _averages(step, state)]
    _apply_averages(step, state)
    try:
        yield
    finally:
        with torch.no_grad():
            for weights, value in saved:
                weights.copy_(value)


def _update_averages(optimizer: torch.optim.Optimizer, decay: float, step: int) -> None:
    r"""Update the moving averages of the model's weights, but not those of discriminators.

    .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
        d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    The smaller decay of early steps keeps the initial weights out of the averages of a short run.
    """
    if not decay:
        return
    params = [p for p in optimizer.param_groups[0]["params"] if optimizer.state[p]]
    averages = [optimizer.state[p].setdefault(AVERAGE, p.detach().clone()) for p in params]
    get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averages, params, step)


def _apply_averages(step: nn.Module, state: TrainingState) -> None:
    with torch.no_grad():
        for weights, average in _averages(step, state):
            weights.copy_(average)


def _averages(step: nn.Module, state: TrainingState) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each parameter that has a moving average, with its average."""
    for name, weights in step.named_parameters():
        if (average := state.moments.get(f"{AVERAGE}/{name}")) is not None:
            yield weights, average
