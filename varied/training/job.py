"""One training with all that surrounds it: logs, checkpoints, moments for the animations."""

from __future__ import annotations

import bisect
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied import atomic_io, functional
from varied.data import Batch, Batches, RawData, iter_batches, read, split
from varied.data.codecs import TableCodec
from varied.data.labels import subsample_labels
from varied.errors import VariedError
from varied.evaluate.active_units import is_active
from varied.prior_fitting import fit_ex_post, prior_plan
from varied.runs import Run, Store
from varied.runs.store import Frame
from varied.runtime import eval_float32
from varied.seeding import permutation, seeded
from varied.spec import Spec, compose
from varied.tensor_io import read_tensors
from varied.training.defaults import ResolvedConfig, resolve
from varied.training.finalize import finalize
from varied.training_loop import Step, StepEvent, TrainingState, ema_weights, train

__all__ = ["Interrupted", "Job", "calibration_temperature", "prepare"]

#: The shares of a run at which it is looked at: often at first, when most changes.
STAGES = [(i / 23) ** 2 for i in range(24)]
LOGGED = 200
CHECKPOINT_SECONDS = 30.0
CODES, SAMPLES, VALIDATED = 1000, 36, 2000
LAST = 10**12
#: The share of its minutes that a training looks at itself for, beside the first and last looks.
SHARE = 0.25
#: How much worse than the best a model with a critic may rebuild data and still be delivered.
WORSE = 1.5
#: The share of each batch that has a label, where a model learns classes from few.
LABELLED = 0.125
#: Validation rows with a label, at least, that say how sure a run may be of its classes.
ENOUGH = 10


class Interrupted(KeyboardInterrupt):
    """Training was stopped from outside; all that was trained is saved."""


def prepare(
    source: Any, model: str | Spec = "vae", *, out: Path | str | None = None, **choices: Any
) -> Job:
    """Read the data, choose what to train, and open the folder of the run.

    Arguments are those of `varied.fit`.
    """
    given = {k: choices.pop(k) for k in ("image_size", "labels", "classes") if k in choices}
    few = int(choices.pop("n_labels", None) or 0)
    reading: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    items = read(source, **reading)
    seed = int(choices.get("seed") or (model.plan.seed if isinstance(model, Spec) else 0))
    parts = split(items, seed=seed)
    choice = resolve(items.take(parts.train), model, choices)
    tried, _ = compose(choice.spec, choice.codec.shape, choice.codec.domain)
    if tried.num_classes and choice.context is not None and not choice.context.classes:
        raise VariedError(
            f"architecture='{choice.spec.architecture.name}' learns classes, and the labels of these "
            "data are numbers; give classes as labels, or use architecture='vae'."
        )
    if few:
        _refuse_few(items.take(parts.train), choice, few)
    name = model if isinstance(model, str) else "spec"
    plain = reading if items.source else {}
    column = given.get("labels") if items.kind == "table" else None
    data = Store("").describe_data(items, parts, plain) | {
        "n_labels": few,
        "label_column": column if isinstance(column, str) else None,
    }
    source = Path(items.source or "arrays").name.partition(".")[0] or "data"
    store = _place(out, source, name, choice, data)
    if not store.exists:
        store.write_split(parts)
        store.create(choice.spec, choice.codec, choice.context, data | {"model": name})
    return Job(store, items, choice, name, few)


def _refuse_few(rows: RawData, choice: ResolvedConfig, few: int) -> None:
    """Refuse few labels that nothing reads, or too few of them, before a run begins."""
    if choice.context is None or rows.labels is None:
        raise VariedError(
            f"n_labels={few} hides labels, and this model reads none; use model='m2', or leave "
            "it out."
        )
    subsample_labels(rows.labels, few, choice.spec.plan.seed)


def _place(
    out: Path | str | None, source: str, name: str, choice: ResolvedConfig, data: dict[str, Any]
) -> Store:
    """Find the run to go on with, or a folder for a new one."""
    if out is not None:
        store = Store(out)
        if not store.exists and store.folder.is_dir() and any(store.folder.iterdir()):
            raise VariedError(f"{out} holds other files; choose a new folder with --out.")
        if store.exists and not _same(store, choice, data):
            raise VariedError(
                f"{out} holds a run of another model or other data; choose another --out."
            )
        if store.finished:
            raise VariedError(
                f"{out} holds this very run, finished; look at {store / 'report.html'}, or choose "
                "another --out."
            )
        return store
    for index in range(1, 10_000):
        store = Store(Path("runs") / f"{source}-{name}-{index:02d}")
        if not store.folder.exists() or (not store.finished and _same(store, choice, data)):
            return store
    raise VariedError("runs/ is full; choose a folder with --out.")


def _same(store: Store, choice: ResolvedConfig, data: dict[str, Any]) -> bool:
    if not store.exists or not (store / "split.safetensors").exists():
        return False
    known = store.read_data()
    alike = all(known.get(key, 0) == data[key] for key in ("digest", "n_labels"))
    return alike and store.read_spec() == choice.spec.brief()


class Job:
    """A training that is ready to begin, or to go on.

    Arguments:
        store: The folder of the run.
        items: All data.
        choice: What to train.
        name: What the person called the model.
        few: How many training labels are kept; 0 keeps all.
    """

    def __init__(
        self, store: Store, items: RawData, choice: ResolvedConfig, name: str, few: int = 0
    ) -> None:
        self.few = few
        self.store, self.items, self.choice, self.name = store, items, choice, name
        self.spec, self.codec = choice.spec, choice.codec
        self.model, objective = compose(self.spec, self.codec.shape, self.codec.domain)
        self.step = Step(self.model, objective, self.codec.load)
        self.parts = store.read_split()
        self.state, self.notices = self._resumed()
        self.stopping = False

    def _resumed(self) -> tuple[TrainingState, list[str]]:
        state, notices = self.store.read_checkpoint(self.step)
        if state is None:
            return TrainingState(), notices
        notices.append(f"Goes on at step {state.step:,} of {self.store.folder}.")
        return state, notices

    @property
    def sentences(self) -> list[str]:
        """What was understood and chosen."""
        sizes = (len(getattr(self.parts, part)) for part in ("train", "validation", "test"))
        rows = "Rows: {:,} for training, {:,} for validation, {:,} for the test.".format(*sizes)
        few = [f"All but {self.few} training labels are hidden."] if self.few else []
        return [*self.items.notes, rows, *few, *self.choice.sentences, *self.notices]

    def rows(self, part: str, most: int | None = None) -> Batch:
        """Return stored rows of a part: all, or a fixed random choice of so many."""
        indices = torch.from_numpy(getattr(self.parts, part))
        if most is not None and len(indices) > most:
            indices = indices[permutation(len(indices), self.spec.plan.seed, "look")[:most]]
        items = self.items.take(indices.numpy())
        return Batch(self.codec.encode(items), self._context(items, part))

    def _context(self, items: RawData, part: str) -> Tensor | None:
        context, labels = self.choice.context, items.labels
        if context is None or labels is None:
            return None
        if self.model.num_classes and part != "train":
            return None  # what is said of data must not hang on their labels
        if self.few and part == "train":
            labels = subsample_labels(labels, self.few, self.spec.plan.seed)
        return context.encode(labels)

    def train(self) -> Iterator[StepEvent]:
        """Train to the end, and yield each event after it was logged and, in time, saved.

        Raises:
            Interrupted: If `stopping` was set, by Ctrl-C or SIGTERM, after saving.
        """
        plan = self.spec.plan
        rows = self.rows("train")
        known = LABELLED if self.model.num_classes else 0.0
        batches = Batches(rows.x, rows.c, size=plan.batch_size, seed=plan.seed, labeled=known)
        with self.store.lock(), _gracefully(self):
            self.store.forget_after(self.state.step or -1)
            watch = RunMonitor(self)
            if self.state.step == 0:
                watch.look(0.0, self.state)
            event = None
            for event in train(self.step, batches, plan, self.state):
                watch.see(event)
                if self.stopping:
                    self.store.write_checkpoint(self.step, event.snapshot())
                    raise Interrupted
                yield event
            if event is not None:
                self.store.write_checkpoint(self.step, event.snapshot())

    @property
    def later(self) -> bool:
        """Whether the prior is fitted when the model is trained."""
        return bool(getattr(self.model, "prior", None) and self.model.prior.fitted_later)

    def fit_prior(self) -> Iterator[StepEvent]:
        """Fit the prior of a trained model to its codes, where it is fitted later.

        Raises:
            Interrupted: If `stopping` was set; the same command then fits the prior anew.
        """
        if not self.later:
            return
        self.notices += self._keep_best()
        parts = {name: self.rows(name) for name in ("train", "validation")}
        with self.store.lock(), _gracefully(self):
            for event in fit_ex_post(self.model, self.codec.load, parts, prior_plan(self.spec)):
                if self.stopping:
                    raise Interrupted
                yield event

    def finish(self) -> Run:
        """Keep the best weights, measure them, and make the pictures and the report."""
        run = self.deliver()
        finalize(run, self.state, self.sentences, self.name)
        self.store.clear()
        return run

    def deliver(self) -> Run:
        """Keep the best weights, and open the run."""
        self.notices += [] if self.later else self._keep_best()
        notes = {"step": self.state.step, "skipped": self.state.skipped}
        self.store.write_weights("model.safetensors", self.model.cpu(), **notes)
        run = Run(self.store.folder, self.items)
        # Kept, so that they are known where the data of the training are gone.
        if self.model.num_classes:
            heat = {"temperature": calibration_temperature(run)}
            atomic_io.write_json(self.store / "classes.json", heat)
        if isinstance(self.codec, TableCodec):
            from varied.runs.imputation import imputation_scale  # it loads pandas

            atomic_io.write_json(self.store / "cells.json", {"width": imputation_scale(run)})
        return run

    def _keep_best(self) -> list[str]:
        path = self.store / "best.safetensors"
        if not path.exists():
            return []
        best = read_tensors(path)[1]
        last = [row for row in self.store.history() if row["split"] == "validation"][-1]
        if last["step"] == best["step"]:
            return []
        self.store.read_weights("best.safetensors", self.model)
        if self.step.objective.critics:
            return [
                f"Kept the weights of epoch {best['epoch']:.1f}: later ones rebuild the validation "
                f"rows more than {WORSE} times worse than the best did."
            ]
        return [
            f"Kept the weights of epoch {best['epoch']:.1f}, where the validation loss was lowest "
            f"({best['loss']:.2f} nats; {last['loss']:.2f} at the end)."
        ]


def calibration_temperature(run: Run) -> float:
    """Return the temperature at which classes keep their word on the validation rows of a run.

    It is 1 where fewer than ten of these rows have a label.
    """
    held = run.split("validation")
    if held.labels is None:
        return 1.0
    labels = torch.from_numpy(held.labels.astype(np.int64))
    if (labels >= 0).sum() < ENOUGH:
        return 1.0
    return functional.calibration_temperature(run.classify(held, calibrated=False), labels)


class RunMonitor:
    """What is kept of a training while it goes on.

    Arguments:
        job: The training.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.store = job, job.store
        self.test = job.rows("test", CODES)
        self.validation = job.rows("validation", VALIDATED)
        with seeded(job.spec.plan.seed, "frames"):
            context = job.choice.context
            c = None if self.test.c is None or context is None else self.test.c[:SAMPLES]
            self.c = c
            count = SAMPLES if c is None else len(c)
            self.z = None if job.later else job.model.sample_prior(count, c)
        self.progress = job.state.progress
        best = self.store / "best.safetensors"
        self.best = read_tensors(best)[1]["loss"] if best.exists() else math.inf
        errors = [row["squared_error"] for row in self.store.history() if _validated(row)]
        self.lowest = min(errors, default=math.inf)
        self.saved, self.looked = time.monotonic(), 0.0
        self.sums: dict[str, Tensor] = {}
        self.count, self.skipped = 0, 0

    def see(self, event: StepEvent) -> None:
        """Log, look and save where it is time."""
        progress = event.state.progress
        before, self.progress = self.progress, progress
        self._add(event)
        if int(progress * LOGGED) > int(before * LOGGED) or self.count == event.state.step == 1:
            self._log(event)
        due = bisect.bisect(STAGES, progress) > bisect.bisect(STAGES, before)
        if progress >= 1 or (due and self._has_time(event.state)):
            self.look(event.epoch, event.snapshot())
        if time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self.store.write_checkpoint(self.job.step, event.snapshot())
            self.saved = time.monotonic()

    def _has_time(self, state: TrainingState) -> bool:
        """Whether looking has taken a small share of the time; where steps are counted, it has.

        Who gives minutes does not want to wait for many more, however slow the model is.
        """
        return not self.job.spec.plan.minutes or self.looked < SHARE * state.seconds

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
        more = {"lr": event.lr, "norm": event.norm, "skipped": state.skipped}
        self.store.log(self._row("train", event.epoch, state) | means | more)
        self.sums, self.count = {}, 0

    def _row(self, part: str, epoch: float, state: TrainingState) -> dict[str, object]:
        return {"split": part, "step": state.step, "epoch": epoch, "seconds": state.seconds}

    def look(self, epoch: float, state: TrainingState) -> None:
        """Keep a moment for the animations, and measure the validation rows."""
        begun = time.monotonic()
        with ema_weights(self.job.step, state):
            self._look(epoch, state)
        if state.step:
            self.looked += time.monotonic() - begun

    def _look(self, epoch: float, state: TrainingState) -> None:
        job = self.job
        codes = functional.embed(job.model, job.codec.load, _chunks(self.test))
        made = job.codec.to_images(self._made())
        self.store.write_frame(Frame(codes, torch.from_numpy(made), epoch, state.step))
        parts = self._validate()
        row = self._row("validation", epoch, state) | parts
        self.store.log(row | {"active_units": int(is_active(codes).sum())})
        if self._worth_keeping(parts):
            self.best = parts["loss"]
            notes = {"loss": self.best, "epoch": epoch, "step": state.step}
            self.store.write_weights("best.safetensors", job.model, **notes)

    def _worth_keeping(self, parts: dict[str, float]) -> bool:
        """Whether weights are the best so far.

        A loss that a critic has a part in moves with the critic, so there the newest weights are
        the best, as long as they do not rebuild data much worse than any before them.
        """
        if not self.job.step.objective.critics:
            return not parts["loss"] >= self.best
        error = parts.get("squared_error", 0.0)
        self.lowest = min(self.lowest, error)
        return error <= WORSE * self.lowest

    def _made(self) -> Tensor:
        """Return data from fixed draws of the prior; reconstructions where it is fitted later."""
        job, device = self.job, next(self.job.model.parameters()).device
        c = None if self.c is None else self.c.to(device)
        if self.z is not None:
            return functional.decode(job.model, self.z.to(device), c)
        with seeded(job.spec.plan.seed, "look"):
            x = job.codec.load(self.test.x[:SAMPLES].to(device))
        return functional.reconstruct(job.model, x, c)

    def _validate(self) -> dict[str, float]:
        """Return the objective, with its final weights, on the validation rows."""
        step, sums, n = self.job.step, dict[str, float](), len(self.validation)
        step.set_step(LAST)
        with eval_float32(step), seeded(self.job.spec.plan.seed, "validate"):
            for batch in _chunks(self.validation):
                moved = batch.to(next(step.parameters()).device)
                loss, parts = step(moved.x, moved.c)
                for name, value in {"loss": loss, **parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(batch) / n
        # What a critic pays says how well it learns, and nothing of the model.
        sums["loss"] -= sum(
            value for name, value in sums.items() if name.endswith("_discriminator")
        )
        return sums


def _validated(row: dict[str, Any]) -> bool:
    return row["split"] == "validation" and "squared_error" in row


def _chunks(rows: Batch) -> Iterator[Batch]:
    return iter_batches(rows.x, rows.c, size=500)


@contextmanager
def _gracefully(job: Job) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end training after the step; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if job.stopping:
            raise KeyboardInterrupt
        job.stopping = True

    kept: Mapping[int, Any] = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
