"""A training run with its logs, checkpoints and calibration."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor

from varied.composition import compose
from varied.data import Batch, Batches, DiskBatches, RawData, iter_batches, mask_missing
from varied.data.labels import subsample_labels
from varied.functional.mixture_prior import fit_mixture_prior, has_replaceable_prior
from varied.prior_fitting import MAX_TRAINING_ROWS, encode_for_prior, fit_ex_post, prior_plan
from varied.process_group import joined_group
from varied.runs import Run, Store
from varied.runs.classification import calibrate_temperature
from varied.runs.imputation import calibrate_scale
from varied.seeding import permutation
from varied.training.defaults import ResolvedConfig
from varied.training.disk_space import check_disk_space
from varied.training.finalize import finalize
from varied.training.monitor import MAX_ERROR_RATIO, RunMonitor, total_loss
from varied.training.progress import progress_stream, run_with_progress
from varied.training.property_targets import PropertyTargets
from varied.training_loop import NonFiniteGradients, StepEvent, train
from varied.training_state import TrainingState
from varied.training_step import Step

#: The fraction of labeled rows in each batch, for models that learn classes.
_LABELED_FRACTION = 0.125
#: The maximum number of rows whose codes are used to fit a mixture, and the batch size of encoding.
_MAX_CODES, _BATCH_SIZE = 20_000, 500


#: The number of times that training rolls back to a checkpoint after non-finite gradients.
_MAX_ROLLBACKS = 3


class Interrupted(KeyboardInterrupt):
    """Raised if training is interrupted; the run can be resumed from its checkpoint."""


class Job:
    """A training run that can be started or resumed.

    Arguments:
        store: The files of the run.
        data: All data, including validation and test rows.
        config: The resolved configuration.
        name: The name of the model, as the user passed it.
        n_labels: The number of training labels to use; 0 uses all labels.
    """

    def __init__(
        self, store: Store, data: RawData, config: ResolvedConfig, name: str, n_labels: int = 0
    ) -> None:
        self.store, self.data, self.config = store, data, config
        self.name, self.n_labels, self.group = name, n_labels, joined_group()
        self.spec, self.codec = config.spec, config.codec
        self.model, objective = compose(self.spec, self.codec.shape, self.codec.domain)
        self.split = store.read_split(data)
        self.properties = None
        if self.spec.plan.property_weight:
            self.properties = PropertyTargets(config, data.take(self.split.train))
        self.step = Step(
            self.model,
            objective,
            self.codec.load,
            max_shift=self.spec.plan.max_shift,
            property_head=self.properties.head(self.model) if self.properties else None,
            property_weight=self.spec.plan.property_weight,
        )
        self.state, self.notices = self._resume()
        self.is_stopping, self.signal = False, int(signal.SIGINT)

    def _resume(self) -> tuple[TrainingState, list[str]]:
        state, notices = self.store.read_checkpoint(self.step)
        if state is None:
            return TrainingState(), notices
        notices.append(f"Resumes at step {state.step:,} of {self.store.folder}.")
        return state, notices

    @property
    def sentences(self) -> list[str]:
        """Sentences about what was inferred from the data, and about the defaults."""
        sizes = (len(getattr(self.split, name)) for name in ("train", "validation", "test"))
        rows = "Rows: {:,} for training, {:,} for validation, {:,} for testing.".format(*sizes)
        labels = [f"All but {self.n_labels} training labels are hidden."] if self.n_labels else []
        stopping = []
        if self.can_stop_early:
            stopping.append(
                f"Training is stopped early after {self.spec.plan.patience} evaluations on "
                "validation rows (one per epoch) without a lower loss; use --patience 0 to turn "
                "this off."
            )
        defaults = [*labels, *self.config.sentences, *stopping]
        if self.properties is not None:
            defaults.append(self.properties.sentence)
        return [*self.data.notes, rows, *defaults, *self.notices]

    @property
    def can_stop_early(self) -> bool:
        """Whether training is stopped early if the validation loss does not improve."""
        return self.spec.plan.patience > 0 and not self.step.objective.discriminators

    def rows(self, name: str, limit: int | None = None, n_first: int | None = None) -> Batch:
        """Return the stored rows of a split.

        Arguments:
            name: The name of the split.
            limit: The size of a fixed random subset of the rows; None for no subset.
            n_first: The number of rows at the start of the split to return or, with ``limit``, to
                draw from; None for all.
        """
        indices = torch.from_numpy(getattr(self.split, name))[:n_first]
        if limit is not None and len(indices) > limit:
            indices = indices[permutation(len(indices), self.spec.plan.seed, "look")[:limit]]
        data = self.data.take(indices.numpy())
        return mask_missing(self.codec.encode(data), self._contexts(data, name))

    def _contexts(self, data: RawData, name: str) -> Tensor | None:
        context, labels = self.config.context, data.labels
        if context is None or labels is None:
            return None
        if self.model.num_classes and name != "train":
            return None  # metrics must not depend on the labels
        if self.n_labels and name == "train":
            labels = subsample_labels(labels, self.n_labels, self.spec.plan.seed)
        return context.encode_labels(data.replace(labels=labels).covariates)

    def run(self, *, progress: bool | None = None) -> Run:
        """Train, fit the prior if it is fitted after training, evaluate, and write the report.

        In a group of processes, all processes train; only the process of rank 0 does the rest.

        Arguments:
            progress: Whether to show progress; None shows it in a terminal or a notebook.

        Raises:
            Interrupted: After Ctrl-C or SIGTERM; training can be resumed.
        """
        if self.group.rank > 0:
            self.follow()
            self.group.announce("")  # wait until the process of rank 0 has written all files
            return Run(self.store.folder, self.data, **self.spec.sources)
        stream = progress_stream(progress)
        run_with_progress(self.train(), self.spec.plan, stream)
        if self.fits_prior_later:
            run_with_progress(self.fit_prior(), prior_plan(self.spec), stream)
        run = self.finish()
        self.group.announce(str(run.folder))
        return run

    def train(self) -> Iterator[StepEvent]:
        """Train to the end, and yield an event after each step.

        Raises:
            Interrupted: If `is_stopping` was set by Ctrl-C or SIGTERM; a checkpoint is saved first.
        """
        batches = self._batches()
        with self.store.lock(), _stop_on_signal(self):
            is_complete = False
            while not is_complete:
                try:
                    yield from self._continue(batches)
                    is_complete = True
                except NonFiniteGradients as error:
                    self._roll_back(error)
            self.notices += self._early_stopping(batches.steps_per_epoch)

    def follow(self) -> None:
        """Train together with the process of rank 0, which writes all files."""
        batches, is_complete = self._batches(), False
        while not is_complete:
            try:
                for _ in train(self.step, batches, self.spec.plan, self.state, self.group):
                    pass
                is_complete = True
            except NonFiniteGradients:
                self.state = TrainingState()  # the process of rank 0 sends its state

    def _batches(self) -> Batches:
        plan, data = self.spec.plan, self.data.take(self.split.train)
        labeled = _LABELED_FRACTION if self.model.num_classes else 0.0
        if data.is_on_disk and not labeled and self.properties is None:
            c = self._contexts(data, "train")

            def read(rows: Tensor) -> Batch:
                context = None if c is None else c[rows]
                return mask_missing(self.codec.encode(data.take(rows.numpy())), context)

            n, row_bytes = len(data), data.x.row_bytes
            return DiskBatches(read, n, row_bytes, size=plan.batch_size, seed=plan.seed)
        rows = self.rows("train")
        y = self.properties.values() if self.properties else None
        return Batches(
            rows.x, rows.c, rows.mask, y, size=plan.batch_size, seed=plan.seed, labeled=labeled
        )

    def _continue(self, batches: Batches) -> Iterator[StepEvent]:
        """Train from the current state to the end."""
        self.store.remove_after(self.state.step or -1)
        check_disk_space(self)
        monitor = RunMonitor(self)
        if self.state.step == 0:
            monitor.record(0.0, self.state)
        event, events = None, train(self.step, batches, self.spec.plan, self.state, self.group)
        with closing(events):
            for event in events:
                monitor.update(event)
                if self.is_stopping:
                    monitor.write_checkpoint(event.snapshot())
                    raise Interrupted
                yield event
        if event is not None:
            monitor.write_checkpoint(event.snapshot())

    def _roll_back(self, error: NonFiniteGradients) -> None:
        """Roll back to the last checkpoint before an error, and halve the learning rate.

        Raises:
            NonFiniteGradients: If there is no earlier checkpoint, or training has already been
                rolled back the maximum number of times.
        """
        rollbacks, lr_factor = self.state.rollbacks + 1, self.state.lr_factor / 2
        state, _ = self.store.read_checkpoint(self.step, error.first_step)
        if state is None or rollbacks > _MAX_ROLLBACKS:
            raise error
        self.store.remove_checkpoints_after(state.step)
        self.state = dataclasses.replace(state, rollbacks=rollbacks, lr_factor=lr_factor)
        self.store.write_checkpoint(self.step, self.state)

    @property
    def fits_prior_later(self) -> bool:
        """Whether the prior is fitted after the model is trained."""
        return self.model.prior is not None and self.model.prior.fitted_later

    def fit_prior(self) -> Iterator[StepEvent]:
        """Fit the prior to the codes of the trained model, if it is fitted after training.

        Raises:
            Interrupted: If `is_stopping` was set; a resumed run starts the fit from the beginning.
        """
        if not self.fits_prior_later:
            return
        self.notices += self._restore_best()
        names = ("train", "validation")
        rows = {name: self.rows(name, n_first=MAX_TRAINING_ROWS) for name in names}
        with self.store.lock(), _stop_on_signal(self):
            for event in fit_ex_post(self.model, self.codec.load, rows, prior_plan(self.spec)):
                if self.is_stopping:
                    raise Interrupted
                yield event

    def finish(self) -> Run:
        """Write the best weights, evaluate the model, and write the plots and the report."""
        run = self.write_model()
        finalize(run, self.state, self.sentences, self.name)
        self.store.remove_old_checkpoints()
        return run

    def write_model(self) -> Run:
        """Write the best weights and the calibration, and open the run."""
        if not self.fits_prior_later:
            self.notices += self._restore_best()
        notes = {"step": self.state.step, "skipped": self.state.skipped}
        self.store.write_weights("model.safetensors", self.model.cpu(), **notes)
        run = Run(self.store.folder, self.data, **self.spec.sources)
        self.notices += _replace_prior(run)
        # The results are stored, since the validation rows may not be available later.
        calibration: dict[str, float | list[float]] = {}
        if self.model.num_classes:
            calibration["temperature"] = calibrate_temperature(run)
        if self.codec.has_missing_values:
            calibration["imputation_scale"] = calibrate_scale(run)
        self.store.write_calibration(calibration)
        return run

    def _early_stopping(self, steps_per_epoch: int) -> list[str]:
        """Return a message if training was stopped early."""
        state, plan = self.state, self.spec.plan
        if not state.cooldown_start:
            return []
        steps = (state.step, state.restored_step, state.cooldown_start)
        end, best, start = (round(step / steps_per_epoch) for step in steps)
        limit = f" of {plan.epochs:,g}" if plan.epochs else ""
        return [
            f"Training was stopped after {end:,}{limit} epochs, since the validation loss did not "
            f"improve in epochs {best + 1:,} to {start:,}: the weights of epoch {best:,} were "
            f"restored, and the learning rate decayed to zero in the last {end - start:,} epochs."
        ]

    def _restore_best(self) -> list[str]:
        """Load the best weights unless they are the latest, and return a message about them."""
        best = self.store.read_best()
        if best is None:
            return []
        last = [row for row in self.store.history() if row["split"] == "validation"][-1]
        if last["step"] == best["step"]:
            return []
        self.store.read_weights("best.safetensors", self.model)
        if self.step.objective.discriminators:
            return [
                f"The weights are from epoch {best['epoch']:.1f}, because later weights have more "
                f"than {MAX_ERROR_RATIO} times the lowest reconstruction error on validation rows."
            ]
        return [
            f"The weights are from epoch {best['epoch']:.1f}, where the validation loss was lowest "
            f"({best['loss']:.2f} nats; {total_loss(last):.2f} nats at the end of training)."
        ]


def _replace_prior(run: Run) -> list[str]:
    """Replace a standard normal prior with a better mixture, if any, and return a sentence."""
    model = run.model
    if run.spec.plan.ex_post_prior == "no" or not has_replaceable_prior(model):
        return []
    codes = {}
    for name in ("train", "validation"):
        rows = run.encode_data(run.split(name).head(_MAX_CODES))
        batches = iter_batches(rows.x, rows.c, size=_BATCH_SIZE)
        codes[name] = encode_for_prior(model, run.codec.load, batches)
    mixture = fit_mixture_prior(
        model, run.spec, codes["train"], codes["validation"], seed=run.spec.plan.seed
    )
    if mixture is None:
        return []
    run.store.write_prior(mixture.part, mixture.prior)
    run.load_model()
    n = mixture.part.settings["n_components"]
    name = "A Gaussian" if n == 1 else f"A mixture of {n} Gaussians"
    return [
        f"{name} was fitted to the codes and is used as the prior, since it raises the ELBO of "
        f"held-out rows by {mixture.gain} nats; `varied fit-prior RUN --reset` restores the "
        "standard normal prior, and --ex-post-prior no keeps it."
    ]


@contextmanager
def _stop_on_signal(job: Job) -> Iterator[None]:
    """Stop training after the current step on Ctrl-C or SIGTERM, or at once on a second signal.

    The previous signal handlers are restored on exit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if job.is_stopping:
            raise KeyboardInterrupt
        job.is_stopping, job.signal = True, number

    handlers: Mapping[int, Any] = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
