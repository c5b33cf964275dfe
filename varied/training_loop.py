"""The training loop: a generator of events that never prints, plots or saves anything itself.

Progress bars, logs, checkpoints and animations are loops of the form ``for event in train(...)``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from varied import runtime
from varied.data.batches import Batch
from varied.errors import VariedError
from varied.nonfinite import find_nonfinite
from varied.process_group import Group, current_group, use_group
from varied.runtime import ComputeLoss
from varied.seeding import seed_torch
from varied.spec import Plan
from varied.step_memory import count_batch_parts
from varied.synchronization import Synchronizer
from varied.training_state import TrainingState
from varied.training_step import TrainingStep

#: The number of consecutive steps with non-finite gradients after which training fails.
PATIENCE = 50
#: The number of rows from which codebooks and pseudo-inputs are initialized.
INIT_ROWS = 2048
#: The maximum number of elements of these rows, unless a single batch has more.
_MAX_INIT_ELEMENTS = 2**25
#: The key for the moving average of a parameter in the optimizer state.
AVERAGE = "average"


class BatchSource(Protocol):
    """A source of batches in which each batch depends only on the step."""

    steps_per_epoch: int

    def at(self, step: int) -> Batch:
        """Return the batch for a step."""
        ...


class NonFiniteGradients(VariedError):
    """Raised if `PATIENCE` consecutive steps have non-finite gradients.

    Arguments:
        message: The message.
        first_step: The first of these steps.
    """

    def __init__(self, message: str, first_step: int) -> None:
        super().__init__(message)
        self.first_step = first_step


@dataclass
class StepEvent:
    """A completed training step.

    Arguments:
        state: The state after the step; `snapshot` fills its ``moments``.
        epoch: The (fractional) number of completed passes over the rows.
        parts: The loss and its terms by name, in nats, as scalar tensors.
        norm: The gradient norm of the model before clipping; NaN for a skipped step.
        lr: The learning rate of the step.
        rows: The number of rows in the batch.
        snapshot: A function that adds the optimizer's tensors to the state, for a checkpoint,
            and returns the state.
    """

    state: TrainingState
    epoch: float
    parts: dict[str, Tensor]
    norm: float
    lr: float
    rows: int
    snapshot: Callable[[], TrainingState]


def train(
    step: TrainingStep,
    batches: BatchSource,
    plan: Plan,
    state: TrainingState | None = None,
    group: Group | None = None,
) -> Generator[StepEvent, None, None]:
    """Train, and yield an event after each step.

    If the plan sets ``ema_decay``, the module has the averaged weights at the end; during training,
    use `ema_weights` to access them.

    Arguments:
        step: The training step; its parameters are updated in place.
        batches: The data.
        plan: The training plan.
        state: The state of an interrupted run; None starts a new one.
        group: The processes that train together, each with a share of every batch. Training ends
            for all of them as soon as the process of rank 0 closes the generator.

    Raises:
        NonFiniteGradients: If `PATIENCE` consecutive steps have non-finite gradients.
    """
    state, group = state or TrainingState(), group or Group()
    runtime.tune_malloc()
    num_steps = _num_steps(plan, batches.steps_per_epoch)
    if group.rank == 0:
        if group.world > 1 and len(batches.at(0)) < group.world:
            raise VariedError(
                f"A batch of {len(batches.at(0))} rows cannot be divided among {group.world} "
                "processes; use a larger --batch-size, or fewer processes."
            )
        if not state.cooldown_start and (state.step == 0 or not plan.minutes):
            state.total = num_steps
        if state.setup is None:
            _start(step, batches, plan, state)
    processes = Synchronizer(group, step, state)
    processes.share_state()
    assert state.setup is not None
    runtime.apply_setup(step, state.setup)
    optimizer = _create_optimizer(step, plan)
    _load_moments(optimizer, step, state.moments)
    processes.share_tensors(optimizer)
    compute_loss = runtime.compile_step(step, state.setup.compile)
    threads = runtime.ThreadController(state.setup)
    failures = 0
    step.train()
    while processes.begin_step(optimizer):
        start = time.perf_counter()
        rows = batches.at(state.step)
        batch = _take_share(rows, group).to(state.setup.device)
        lr = _set_learning_rate(optimizer, plan, state)
        step.set_step(state.step, state.progress)
        with runtime.flush_denormals(), runtime.deterministic_operations(plan.deterministic):
            with use_group(group):
                loss, parts = _compute_gradients(step, compute_loss, batch, plan.seed, state)
            loss, parts = processes.average_gradients(loss, parts)
            norm = _clip_gradients(optimizer, plan.grad_clip)
            if math.isfinite(norm):
                optimizer.step()
                _update_averages(optimizer, plan.ema_decay, state.step)
        processes.check_buffers()
        failures = 0 if math.isfinite(norm) else failures + 1
        state.skipped += failures > 0
        if failures >= PATIENCE:
            first = state.step - failures + 1
            raise NonFiniteGradients(
                f"Steps {first:,} to {state.step:,} had non-finite gradients, because of "
                f"{find_nonfinite(step, batch)}; lower the learning rate (--lr), or check the data "
                "with `varied train --dry-run`.",
                first,
            )
        state.step += 1
        seconds = time.perf_counter() - start
        state.seconds += seconds
        used = str(threads.threads)
        state.steps_by_threads[used] = state.steps_by_threads.get(used, 0) + 1
        threads.record_step_time(seconds)
        if plan.minutes and group.rank == 0:
            state.update_total(60 * plan.minutes, num_steps)
        try:
            yield StepEvent(
                state,
                state.step / batches.steps_per_epoch,
                {"loss": loss, **parts},
                norm,
                lr,
                len(rows),
                lambda: _save_moments(optimizer, step, state),
            )
        except GeneratorExit:
            group.release()
            raise
    _apply_averages(step, _save_moments(optimizer, step, state))


# Start


def _num_steps(plan: Plan, steps_per_epoch: int) -> float:
    """Return the maximum number of steps, which is infinite if only ``minutes`` is set."""
    epochs = plan.epochs or (0 if plan.minutes else 20)
    return plan.steps or math.ceil(epochs * steps_per_epoch) or math.inf


def _start(step: TrainingStep, batches: BatchSource, plan: Plan, state: TrainingState) -> None:
    """Initialize the parts that depend on data, and choose the setup."""
    first = batches.at(0).to("cpu")
    with _restored_buffers(step):
        state.batch_parts = count_batch_parts(step, first)
    count = math.ceil(INIT_ROWS / plan.batch_size)
    count = max(1, min(count, _MAX_INIT_ELEMENTS // first.x.numel()))
    init = [batches.at(index) for index in range(count)]
    c = None if init[0].c is None else torch.cat([b.c for b in init if b.c is not None])
    seed_torch(plan.seed, "begin", 0)
    step.init_from_data(torch.cat([b.x for b in init]), c)

    def compute_loss() -> Tensor:
        loss: Tensor = step(*first.tensors)[0]
        return loss

    with _restored_buffers(step):
        first = first.split(state.batch_parts)[0]
        while state.setup is None:
            try:
                state.setup = runtime.autotune(step, compute_loss, plan, state.total)
            except (MemoryError, RuntimeError) as error:
                if not runtime.is_out_of_memory(error) or len(first) == 1:
                    raise
                state.batch_parts, first = 2 * state.batch_parts, first.split(2)[0]


@contextmanager
def _restored_buffers(step: nn.Module) -> Iterator[None]:
    """Restore the buffers, such as moving averages and counts, on exit, unless an error is raised.

    It is used for steps that are only timed.
    """
    values = {name: buffer.clone() for name, buffer in step.named_buffers()}
    yield
    for name, buffer in step.named_buffers():
        buffer.copy_(values[name])


# Gradients


def _take_share(batch: Batch, group: Group) -> Batch:
    """Return every ``world``-th row of a batch, starting at the rank of this process."""
    if group.world == 1:
        return batch
    share = batch.take(torch.arange(group.rank, len(batch), group.world, device=batch.x.device))
    group.share = len(share) / len(batch)
    return share


def _compute_gradients(
    step: TrainingStep, compute_loss: ComputeLoss, batch: Batch, seed: int, state: TrainingState
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the gradients of a batch, in more parts if the memory is exhausted.

    Returns:
        The detached loss, and its terms by name; with several parts, their weighted means.
    """
    group = current_group()
    while True:
        seed_torch(seed, "step", state.step, group.rank)
        step.zero_grad(set_to_none=True)
        try:
            if state.batch_parts > 1:
                return _add_gradients(compute_loss, batch, state.batch_parts)
            loss, parts = compute_loss(*batch.tensors)
            loss.backward()
            return loss.detach(), parts
        except (MemoryError, RuntimeError) as error:
            is_divisible = group.world == 1 and 2 * state.batch_parts <= len(batch)
            if not runtime.is_out_of_memory(error) or not is_divisible:
                raise
            state.batch_parts *= 2


def _add_gradients(
    compute_loss: ComputeLoss, batch: Batch, n_parts: int
) -> tuple[Tensor, dict[str, Tensor]]:
    sums = dict[str, Tensor]()
    for part in batch.split(n_parts):
        weight = len(part) / len(batch)
        loss, terms = compute_loss(*part.tensors)
        (weight * loss).backward()
        for name, value in {"loss": loss.detach(), **terms}.items():
            sums[name] = sums.get(name, torch.zeros_like(value)) + weight * value
    return sums.pop("loss"), sums


# Optimizer


def _create_optimizer(step: TrainingStep, plan: Plan) -> torch.optim.Optimizer:
    """Return an Adam optimizer with a parameter group for the model and for each discriminator."""
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
    lr = plan.lr * decay[plan.lr_schedule] * warmup * state.lr_factor
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
    return lr


def _clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip the gradients of each parameter group, and return the gradient norm of the model.

    Groups are clipped separately, so that large gradients of a discriminator do not shrink the
    steps of the model, or vice versa.
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
        # A fused optimizer keeps all of its state, even the step count, on the parameter's device,
        # and pairs the elements of moments and parameters by their order in memory.
        parameter = params[name]
        like = parameter if value.shape == parameter.shape else value.to(parameter.device)
        optimizer.state[parameter][kind] = torch.empty_like(like, dtype=value.dtype).copy_(value)


# Moving averages of the weights


@contextmanager
def ema_weights(step: nn.Module, state: TrainingState) -> Iterator[None]:
    """Use the moving averages of the weights, if there are any; restore the weights on exit."""
    saved = [(weights, weights.detach().clone()) for weights, _ in _averages(step, state)]
    _apply_averages(step, state)
    try:
        yield
    finally:
        with torch.no_grad():
            for weights, value in saved:
                weights.copy_(value)


def restart_averages(step: nn.Module, state: TrainingState) -> None:
    """Set the moving averages of the weights, if there are any, to the weights."""
    with torch.no_grad():
        for weights, average in _averages(step, state):
            average.copy_(weights)


def _update_averages(optimizer: torch.optim.Optimizer, decay: float, step: int) -> None:
    r"""Update the moving averages of the model's weights, but not those of discriminators.

    .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
        d_t = \min\left(d, \frac{1 + t}{10 + t}\right)

    The decay is smaller in early steps, so that the initial weights do not dominate the averages of
    a short run.
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
