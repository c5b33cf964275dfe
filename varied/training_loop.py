"""The loop: a generator of events. It never prints, plots, saves or serves.

Everything else is ``for event in train(...)``: progress bars, logs, checkpoints, animation frames.
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

__all__ = ["BatchSource", "Step", "StepEvent", "TrainingState", "ema_weights", "train"]

#: Steps in a row without a finite gradient after which a run gives up.
PATIENCE = 50

#: What the optimizer's state calls the moving average of a parameter.
AVERAGE = "average"

#: Rows from which codebooks and pseudo-inputs start.
FIRST = 2048


class BatchSource(Protocol):
    """Batches, each a function of its step."""

    steps_per_epoch: int

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        ...


class TrainingStep(nn.Module, ABC):
    """What `train` trains: a module that computes the loss of a batch."""

    @property
    def discriminators(self) -> Sequence[AdversarialTerm]:
        """The terms whose parameters have a learning rate of their own."""
        return ()

    @abstractmethod
    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts, in nats."""

    @abstractmethod
    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize parts whose start depends on data from the first rows."""

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set all scheduled values."""
        set_step(self, step, progress)


class Step(TrainingStep):
    """A model and its objective as one module whose forward is the loss.

    This one module is what is compiled, cast, and wrapped for many processes.

    Arguments:
        model: From data to a trace.
        objective: From a trace to a loss and its parts.
        load: From stored rows to data, on the device: gray levels to numbers, binarization.
    """

    def __init__(
        self,
        model: LatentModel,
        objective: Objective,
        load: Callable[[Tensor], Tensor] = torch.Tensor.float,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.load = model, objective, load

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts, in nats."""
        trace = self.model(self.load(x), c, mask, self.objective.samples)
        return self.objective(trace)  # type: ignore[no-any-return]

    @property
    def discriminators(self) -> Sequence[AdversarialTerm]:
        """The terms whose parameters have a learning rate of their own."""
        return tuple(self.objective.critics.values())

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Let parts whose start depends on data see the first rows."""
        with runtime.eval_float32(self):
            self.model.init_from_data(self.load(x), c)


@dataclass
class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    Noise and batches are functions of the step, so neither is here.

    Arguments:
        step: Steps done.
        seconds: Seconds of training done.
        skipped: Steps whose gradient was not finite, and which changed nothing.
        total: Steps in all, as far as known; minutes are turned into steps as they are measured.
        anchor: The (step, progress) at which ``total`` was last set.
        limit: Progress goes no further before ``total`` is set again: one slow step, at which a
            speed was taken, must not make the next thousand look like half of the run.
        setup: How the run computes, as measured at its start.
        moments: The optimizer's tensors by the name of their parameter, and among them the moving
            averages of the weights, where a plan asks for them.
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
        """The share of the run that is done, from 0 to 1."""
        step, share = self.anchor
        if self.step >= self.total:
            return self.limit
        return min(share + (1 - share) * (self.step - step) / (self.total - step), self.limit)

    def pace(self, budget: float) -> None:
        """Turn a budget of seconds into steps, from the speed since it was last done.

        Progress then stands where the time does; between two such moments it follows the steps.
        """
        step, share = self.anchor
        elapsed = self.seconds - share * budget
        if elapsed < budget / 60:
            return
        speed = (self.step - step) / elapsed
        self.anchor = (self.step, min(self.seconds / budget, 1.0))
        self.limit = min(self.anchor[1] + 1 / 40, 1.0)
        self.total = self.step + max(budget - self.seconds, 0.0) * speed


@dataclass
class StepEvent:
    """One step was done.

    Arguments:
        state: The state after the step; its ``moments`` are filled by `snapshot`.
        epoch: Passes over the rows, with a fraction.
        parts: The loss and its parts by name, in nats, as scalar tensors.
        norm: The norm of the gradient before it was clipped.
        lr: The learning rate of the step.
        rows: Rows in the batch.
        snapshot: Puts the optimizer's tensors into the state, for a checkpoint.
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

    Where the plan asks for averages of the weights, the module has them in the end; until then
    `averaged` lends them.

    Arguments:
        step: The model and its objective; trained in place.
        batches: The data.
        plan: How, and how long.
        state: Where an interrupted run stood; None begins.

    Raises:
        VariedError: If `PATIENCE` steps in a row have no finite gradient.
    """
    state = state or TrainingState()
    runtime.tune_malloc()
    state.total = _length(plan, batches.steps_per_epoch) or state.total
    if state.setup is None:
        first = _on(batches.at(0), "cpu")
        _begin(step, batches, plan)
        with _unchanged(step):
            state.setup = runtime.autotune(step, lambda: step(*first)[0], plan, state.total)
    runtime.apply_setup(step, state.setup)
    optimizer = _optimizer(step, plan)
    _recall(optimizer, step, state.moments)
    call = runtime.compile_step(step, state.setup.compile)
    crowd = runtime.ThreadController(state.setup)
    failed = 0
    step.train()
    while state.progress < 1.0:
        start = time.perf_counter()
        batch = _on(batches.at(state.step), state.setup.device)
        lr = _set_rate(optimizer, plan, state)
        seed_torch(plan.seed, "step", state.step)
        step.set_step(state.step, state.progress)
        optimizer.zero_grad(set_to_none=True)
        with runtime.flush_denormals():
            loss, parts = call(*batch)
            loss.backward()
            norm = _clip(optimizer, plan.grad_clip)
            if math.isfinite(norm):
                optimizer.step()
                _follow(optimizer, plan.ema_decay, state.step)
        failed = 0 if math.isfinite(norm) else failed + 1
        state.skipped += failed > 0
        _give_up(failed, state)
        state.step += 1
        seconds = time.perf_counter() - start
        state.seconds += seconds
        crowd.record_step_time(seconds)
        if plan.minutes:
            state.pace(60 * plan.minutes)
        yield StepEvent(
            state,
            state.step / batches.steps_per_epoch,
            {"loss": loss.detach(), **parts},
            norm,
            lr,
            len(batch[0]),
            lambda: _remember(optimizer, step, state),
        )
    _average(step, _remember(optimizer, step, state))


@contextmanager
def ema_weights(step: TrainingStep, state: TrainingState) -> Iterator[None]:
    """Let a module have the moving averages of its weights for a while, where they are kept."""
    kept = [(weights, weights.detach().clone()) for weights, _ in _averages(step, state)]
    _average(step, state)
    try:
        yield
    finally:
        with torch.no_grad():
            for weights, value in kept:
                weights.copy_(value)


def _average(step: TrainingStep, state: TrainingState) -> None:
    with torch.no_grad():
        for weights, mean in _averages(step, state):
            weights.copy_(mean)


def _averages(step: TrainingStep, state: TrainingState) -> Iterator[tuple[Tensor, Tensor]]:
    """Return each parameter with its moving average, where there is one."""
    for name, weights in step.named_parameters():
        if (mean := state.moments.get(f"{AVERAGE}/{name}")) is not None:
            yield weights, mean


def _follow(optimizer: torch.optim.Optimizer, decay: float, t: int) -> None:
    r"""Let the averages of the model's weights follow them; those of critics have none.

    .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
        d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    so that a short run does not end with an average of where it began.
    """
    if not decay:
        return
    held = [p for p in optimizer.param_groups[0]["params"] if optimizer.state[p]]
    means = [optimizer.state[p].setdefault(AVERAGE, p.detach().clone()) for p in held]
    get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))(means, held, t)


def _begin(step: TrainingStep, batches: BatchSource, plan: Plan) -> None:
    """Show the first rows to codebooks and the like."""
    first = [batches.at(index) for index in range(math.ceil(FIRST / plan.batch_size))]
    c = None if first[0].c is None else torch.cat([b.c for b in first if b.c is not None])
    seed_torch(plan.seed, "begin", 0)
    step.init_from_data(torch.cat([b.x for b in first]), c)


@contextmanager
def _unchanged(step: nn.Module) -> Iterator[None]:
    """Put back what steps that are only timed would leave: moving averages, counts."""
    kept = {name: buffer.clone() for name, buffer in step.named_buffers()}
    yield
    for name, buffer in step.named_buffers():
        buffer.copy_(kept[name])


def _on(batch: Batch, device: str) -> tuple[Tensor, Tensor | None, Tensor | None]:
    c = None if batch.c is None else batch.c.to(device)
    return batch.x.to(device), c, None if batch.mask is None else batch.mask.to(device)


def _length(plan: Plan, steps_per_epoch: int) -> float | None:
    if plan.minutes:
        return None
    return plan.steps or math.ceil((plan.epochs or 20) * steps_per_epoch)


def _set_rate(optimizer: torch.optim.Optimizer, plan: Plan, state: TrainingState) -> float:
    shapes = {
        "cosine": (1 + math.cos(math.pi * state.progress)) / 2,
        "linear": 1 - state.progress,
        "none": 1.0,
    }
    lr = plan.lr * shapes[plan.lr_schedule] * min(1.0, (state.step + 1) / max(plan.lr_warmup, 1))
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]
    return lr


def _clip(optimizer: torch.optim.Optimizer, most: float) -> float:
    """Scale down the gradients of each group by itself; return the norm of the model's.

    A critic that is torn about must not shrink the steps of the model, nor the other way round.
    """
    norms = []
    for group in optimizer.param_groups:
        held = [p for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in held])
        if norm > most:
            torch.nn.utils.clip_grads_with_norm_(held, most, norm)
        norms.append(float(norm))
    return norms[0] if all(map(math.isfinite, norms)) else math.nan


def _give_up(failed: int, state: TrainingState) -> None:
    if failed >= PATIENCE:
        raise VariedError(
            f"The last {failed} steps (up to step {state.step}) had no finite gradient; lower the "
            f"learning rate (--lr), or check the data with `varied train --dry-run`."
        )


def _optimizer(step: TrainingStep, plan: Plan) -> torch.optim.Optimizer:
    critics = step.discriminators
    theirs = {id(p) for critic in critics for p in critic.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in step.parameters() if id(p) not in theirs], "share": 1.0}
    ]
    for critic in critics:
        betas = (critic.momentum, 0.999)
        groups.append({"params": list(critic.parameters()), "share": critic.lr, "betas": betas})
    return torch.optim.Adam(groups, lr=plan.lr, fused=True)


def _remember(
    optimizer: torch.optim.Optimizer, step: TrainingStep, state: TrainingState
) -> TrainingState:
    for name, parameter in step.named_parameters():
        for kind, value in optimizer.state[parameter].items():
            state.moments[f"{kind}/{name}"] = value
    return state


def _recall(
    optimizer: torch.optim.Optimizer, step: TrainingStep, moments: dict[str, Tensor]
) -> None:
    named: dict[str, Any] = dict(step.named_parameters())
    for key, value in moments.items():
        kind, _, name = key.partition("/")
        # A fused optimizer keeps even its count of steps beside the parameter.
        optimizer.state[named[name]][kind] = value.to(named[name].device, copy=True)
