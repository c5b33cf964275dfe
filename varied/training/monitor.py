"""Log metrics during training, and store frames, checkpoints and the best weights."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, iter_batches
from varied.evaluate.active_units import is_active
from varied.functional.encode import map_batches
from varied.runs.base import BATCH_ROWS
from varied.runs.frame import Frame
from varied.runtime import eval_float32
from varied.scheduled_value import are_schedules_complete
from varied.seeding import seeded
from varied.tensor_io import write_tensors
from varied.training_loop import StepEvent, ema_weights, restart_averages
from varied.training_state import TrainingState

if TYPE_CHECKING:
    from varied.training.job import Job

#: For a model with a discriminator, the latest weights are the best ones as long as their
#: reconstruction error is at most this factor times the lowest one.
MAX_ERROR_RATIO = 1.5
#: Fractions of training at which frames are recorded; they are denser at the beginning.
_FRAMES = [(i / 23) ** 2 for i in range(24)]
#: The number of log entries of a training run.
_LOG_ENTRIES = 200
_CHECKPOINT_SECONDS = 30.0
#: The minimum number of steps between two evaluations for early stopping.
_MIN_CHECK_STEPS = 20
#: The number of steps with a decaying learning rate after early stopping, as a fraction of the
#: completed steps.
COOLDOWN_FRACTION = 0.1
_MAX_TEST, _N_SAMPLES, _MAX_VALIDATION = 1000, 36, 2000
#: A step at which all schedules have their final values.
_LAST_STEP = 10**12
#: The maximum fraction of the training time that may be spent on frames, not counting the first
#: and the last frame.
_MAX_TIME_FRACTION = 0.25


class RunMonitor:
    """Logs metrics and stores frames, checkpoints and the best weights during training.

    Arguments:
        job: The training run.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.store = job, job.store
        self.test = job.rows("test", _MAX_TEST)
        self.validation = job.rows("validation", _MAX_VALIDATION)
        has_context = self.test.c is not None and job.config.context is not None
        self.c = self.test.c[:_N_SAMPLES] if has_context and self.test.c is not None else None
        with seeded(job.spec.plan.seed, "frames"), eval_float32(job.model):
            n = _N_SAMPLES if self.c is None else len(self.c)
            z = None if job.fits_prior_later else job.model.sample_prior(n, self.c)
            self.z = None if z is None else job.model.standardize(z, self.c)
        self.progress = job.state.progress
        nothing = {"loss": math.inf, "step": 0, "is_annealed": False}
        self.best: dict[str, Any] = self.store.read_best() or nothing
        self.best_weights: dict[str, Tensor] = {}
        errors = [row["squared_error"] for row in self.store.history() if _has_error(row)]
        self.lowest_error = min(errors, default=math.inf)
        self.checkpoint_time, self.frame_seconds = time.monotonic(), 0.0
        self.sums: dict[str, Tensor] = {}
        self.count, self.skipped = 0, 0

    def update(self, event: StepEvent) -> None:
        """Log metrics, record a frame and save a checkpoint whenever they are due."""
        progress = event.state.progress
        before, self.progress = self.progress, progress
        self._add(event)
        is_log_due = int(progress * _LOG_ENTRIES) > int(before * _LOG_ENTRIES)
        if is_log_due or self.count == event.state.step == 1:
            self._log(event)
        is_frame_due = bisect.bisect(_FRAMES, progress) > bisect.bisect(_FRAMES, before)
        is_check_due = self._is_check_due(event)
        if progress >= 1 or (is_frame_due and self._has_time(event.state)):
            # Frames depend on the time, but early stopping must not.
            is_candidate = progress >= 1 or is_check_due or not self.job.can_stop_early
            self.record(event.epoch, event.snapshot(), is_candidate=is_candidate)
        elif is_check_due:
            self.check(event.epoch, event.snapshot())
        if is_check_due:
            self._stop_early(event)
        # After a skipped step, training may have to roll back to the last checkpoint.
        is_time = time.monotonic() - self.checkpoint_time > _CHECKPOINT_SECONDS
        if is_time and math.isfinite(event.norm):
            self.write_checkpoint(event.snapshot())
            self.checkpoint_time = time.monotonic()

    def write_checkpoint(self, state: TrainingState) -> None:
        """Write the best weights and, if its weights are finite, a checkpoint."""
        self._write_best()
        if not all(bool(p.isfinite().all()) for p in self.job.step.parameters()):
            return
        self.store.write_checkpoint(self.job.step, state)

    def _write_best(self) -> None:
        if self.best_weights:
            write_tensors(self.store / "best.safetensors", self.best_weights, **self.best)
            self.best_weights = {}

    # Early stopping

    def _is_check_due(self, event: StepEvent) -> bool:
        """Return whether the weights are evaluated for early stopping after this step.

        This is the case after every epoch or, if an epoch has fewer than 20 steps, after every few
        epochs, at least 20 steps apart.
        """
        if not self.job.can_stop_early:
            return False
        step = event.state.step
        steps_per_epoch = round(step / event.epoch)
        return step % (steps_per_epoch * math.ceil(_MIN_CHECK_STEPS / steps_per_epoch)) == 0

    def _stop_early(self, event: StepEvent) -> None:
        """Restore the best weights and shorten training if the loss has stopped improving.

        The optimizer keeps its moments: after a few steps, they depend only on new gradients.
        """
        state, step = event.state, self.job.step
        is_best = self.best["step"] == state.step
        is_counted = are_schedules_complete(step, state.step, state.progress) and not is_best
        state.num_bad_checks = state.num_bad_checks + 1 if is_counted else 0
        if state.cooldown_start or state.num_bad_checks < self.job.spec.plan.patience:
            return
        self._write_best()
        self.store.read_weights("best.safetensors", self.job.model)
        restart_averages(step, event.snapshot())
        state.shorten(math.ceil(COOLDOWN_FRACTION * state.step), self.best["step"])

    def _has_time(self, state: TrainingState) -> bool:
        """Return whether there is time for a frame; always true without a time limit."""
        if not self.job.spec.plan.minutes:
            return True
        return self.frame_seconds < _MAX_TIME_FRACTION * state.seconds

    def _add(self, event: StepEvent) -> None:
        if event.state.skipped > self.skipped:
            self.skipped = event.state.skipped
            return
        for name, value in event.parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1

    def _log(self, event: StepEvent) -> None:
        means = {name: float(value) / max(self.count, 1) for name, value in self.sums.items()}
        state = event.state
        others = {"lr": event.lr, "norm": event.norm, "skipped": state.skipped}
        self.store.log(self._row("train", event.epoch, state) | means | others)
        self.sums, self.count = {}, 0

    def _row(self, split: str, epoch: float, state: TrainingState) -> dict[str, object]:
        return {"split": split, "step": state.step, "epoch": epoch, "seconds": state.seconds}

    def record(self, epoch: float, state: TrainingState, *, is_candidate: bool = True) -> None:
        """Record a frame, and log the metrics on validation rows.

        Arguments:
            epoch: The number of completed epochs.
            state: The state of the training.
            is_candidate: Whether the weights are copied if they are the best ones.
        """
        start = time.monotonic()
        with ema_weights(self.job.step, state):
            metrics = self._record(epoch, state)
            if is_candidate:
                self._copy_best(metrics, epoch, state)
        if state.step:
            self.frame_seconds += time.monotonic() - start

    def _record(self, epoch: float, state: TrainingState) -> dict[str, float]:
        job = self.job
        codes, deviation = map_batches(
            job.model, job.codec.load, _batches(self.test), self._codes
        ).unbind(1)
        images = job.codec.to_images(self._samples())
        self.store.write_frame(Frame(codes, torch.from_numpy(images), epoch, state.step))
        return self._evaluate(epoch, state, active_units=int(is_active(deviation).sum()))

    def _codes(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Return the codes with and without the effect of the context, with shape (N, 2, D)."""
        mean = self.job.model.encode(x, c).mean
        return torch.stack([mean, self.job.model.standardize(mean, c)], 1).flatten(2)

    def check(self, epoch: float, state: TrainingState) -> None:
        """Log the metrics on validation rows, and copy the weights if they are the best ones."""
        with ema_weights(self.job.step, state):
            self._copy_best(self._evaluate(epoch, state), epoch, state)

    def _evaluate(self, epoch: float, state: TrainingState, **others: int) -> dict[str, float]:
        metrics = self._validate()
        self.store.log(self._row("validation", epoch, state) | metrics | others)
        return metrics

    def _copy_best(self, metrics: dict[str, float], epoch: float, state: TrainingState) -> None:
        is_annealed = are_schedules_complete(self.job.step, state.step, state.progress)
        if self._is_best(metrics, is_annealed):
            self.best = {"loss": total_loss(metrics), "epoch": epoch, "step": state.step}
            self.best["is_annealed"] = is_annealed
            weights = self.job.model.state_dict()
            self.best_weights = {name: value.clone() for name, value in weights.items()}

    def _is_best(self, metrics: dict[str, float], is_annealed: bool) -> bool:
        """Return whether the weights are the best so far.

        With an autoregressive table likelihood, the first weights after the KL warm-up always
        replace the weights from the warm-up: the loss can be lowest before the code contains any
        information, when the dependence between cells has not been learned.

        Adversarial losses at different steps are not comparable, since the discriminator changes.
        The latest weights of such a model therefore count as the best, as long as their
        reconstruction error is not much higher than the lowest one.
        """
        are_cells_dependent = "independent_reconstruction" in metrics
        if are_cells_dependent and is_annealed and not self.best.get("is_annealed"):
            return True
        if not self.job.step.objective.discriminators:
            return not total_loss(metrics) >= self.best["loss"]
        error = metrics.get("squared_error", 0.0)
        self.lowest_error = min(self.lowest_error, error)
        return error <= MAX_ERROR_RATIO * self.lowest_error

    def _samples(self) -> Tensor:
        """Decode fixed latent variables; if the prior is not fitted yet, reconstruct test rows."""
        job, device = self.job, next(self.job.model.parameters()).device
        c = None if self.c is None else self.c.to(device)
        if self.z is not None:
            with eval_float32(job.model):  # the prior of a context changes during training
                z = job.model.unstandardize(self.z.to(device), c)
            return functional.decode(job.model, z, c)
        with seeded(job.spec.plan.seed, "look"):
            x = job.codec.load(self.test.x[:_N_SAMPLES].to(device))
        return functional.reconstruct(job.model, x, c)

    def _validate(self) -> dict[str, float]:
        """Return the validation loss, with the final weights of its terms, and the terms."""
        step, sums, n = self.job.step, dict[str, float](), len(self.validation)
        step.set_step(_LAST_STEP)
        with eval_float32(step), seeded(self.job.spec.plan.seed, "validate"):
            for batch in _batches(self.validation):
                rows = batch.to(next(step.parameters()).device)
                loss, terms = step(rows.x, rows.c, rows.mask)
                for name, value in {"loss": loss, **terms}.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(batch) / n
        # The loss of a discriminator does not measure the quality of the model.
        sums["loss"] -= sum(
            value for name, value in sums.items() if name.endswith("_discriminator")
        )
        return sums


def total_loss(metrics: Mapping[str, Any]) -> float:
    """Return the loss; for an autoregressive table likelihood, add that of independent cells."""
    loss = float(metrics["loss"])
    if "independent_reconstruction" not in metrics:
        return loss
    other_terms = loss - float(metrics["reconstruction"])
    return loss + other_terms + float(metrics["independent_reconstruction"])


def _has_error(row: dict[str, Any]) -> bool:
    return row["split"] == "validation" and "squared_error" in row


def _batches(rows: Batch) -> Iterator[Batch]:
    return iter_batches(rows.x, rows.c, rows.mask, size=BATCH_ROWS)
