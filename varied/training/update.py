"""Updates: training runs that start from the weights of another run and use new data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from varied.composition import compose
from varied.data import ContextCodec, RawData, read, split
from varied.data.codecs.invalid_cells import describe_invalid_cells
from varied.errors import VariedError, suggest
from varied.runs import Run, Store
from varied.schedules import Schedule, parse_number, value_at
from varied.schema import settings
from varied.spec import Part, Plan, Spec
from varied.training.defaults import LENGTHS, ResolvedConfig
from varied.training.job import Job
from varied.training.prepare import describe_data
from varied.training_state import TrainingState
from varied.training_step import Step

_DEFAULT_EPOCHS = 5.0
#: A step at which all schedules have their final values.
_LAST_STEP = 10**12


class UpdateJob(Job):
    """A training run that starts from the weights of another run.

    Arguments:
        store: The files of the new run.
        data: The new data.
        config: The configuration, which is taken from the other run.
        base: The other run.
    """

    def __init__(self, store: Store, data: RawData, config: ResolvedConfig, base: Run) -> None:
        self.base = base
        super().__init__(store, data, config, "update")

    def _resume(self) -> tuple[TrainingState, list[str]]:
        state, notices = super()._resume()
        if state.step:
            return state, notices
        base = self.base
        base.store.read_weights("model.safetensors", self.model)
        base_step = Step(*compose(base.spec, base.codec.shape, base.codec.domain))
        base_state, _ = base.store.read_checkpoint(base_step)
        if base_state is None or base_state.setup is None:
            raise VariedError(
                f"{base.folder} has no checkpoint to continue from; restore it, or train a new run."
            )
        # With a setup, the loop does not initialize parts, such as codebooks, from the new data.
        return TrainingState(setup=base_state.setup), notices


def prepare_update(
    run: Run | Path | str, source: Any, *, out: Path | str, labels: Any = None, **plan: Any
) -> UpdateJob:
    """Prepare a training run on new data that starts from the weights of another run.

    The model, the codecs (scales of columns, levels of categories) and the classes do not change.
    Schedules of the objective, such as KL annealing, stay at their final values.

    Warning:
        Neural networks forget patterns that are absent from the new data, so include some of the
        old data as well. The new data are split independently, so rows from the old test split may
        become training rows.

    Arguments:
        run: The run, or its folder.
        source: The new data.
        out: The new run folder.
        labels: The labels of the new data, or their names in the source, such as a column name; by
            default, a conditional run reads the columns that it was trained with, or the labels in
            the names of files.
        plan: Settings of the plan, such as ``epochs``, ``steps`` or ``minutes`` (by default, 5
            epochs), ``lr``, ``batch_size`` or ``seed``.

    Raises:
        VariedError: If the data do not match the run, or the folder contains files but no run, a
            different run, or a finished run.
    """
    base = run if isinstance(run, Run) else Run(run)
    if not base.store.is_trained:
        raise VariedError(f"Training of {base.folder} is not complete; resume it first.")
    if labels is None and not base.model.num_classes:
        labels = base.label_pattern(source) or list(base.label_columns) or None
    data = read(source, labels=labels, **base.codec.reading_options)
    data = _with_classes(data, base.context)
    if base.context is not None and data.labels is not None:
        base.context.encode_labels(data.covariates)
    spec = _update_spec(base.spec, plan)
    split_rows = split(data, seed=spec.plan.seed)
    # Raises an error for incompatible data before the folder is created.
    base.encode_data(data.take(split_rows.train[:1]))
    sentences = (
        f"Continues from the weights of {base.folder}, with the same columns, scales and classes.",
        *describe_invalid_cells(base.codec.invalid_cells(data)),
    )
    config = ResolvedConfig(spec, base.codec, base.context, sentences)
    metadata = describe_data(data, split_rows) | {
        "n_labels": 0,
        "model": "update",
        "from": str(base.folder.resolve()),
    }
    store = Store(out)
    if store.exists:
        known = store.read_metadata()
        is_same = all(known.get(key) == metadata[key] for key in ("digest", "from"))
        if store.is_finished or not is_same or store.read_spec() != spec.without_defaults():
            raise VariedError(
                f"{out} contains a finished run or a different run; choose another folder."
            )
    elif not store.is_unused:
        raise VariedError(f"{out} is not empty and does not contain a run; choose a new folder.")
    else:
        store.create(spec, base.codec, base.context, metadata, split_rows)
    return UpdateJob(store, data, config, base)


def update(
    run: Run | Path | str, source: Any, *, out: Path | str, labels: Any = None, **plan: Any
) -> Run:
    """Continue training a run on new data, in a new folder; see `prepare_update`."""
    return prepare_update(run, source, out=out, labels=labels, **plan).run()


def _update_spec(spec: Spec, given: dict[str, Any]) -> Spec:
    """Return the spec with a new plan, and with each schedule replaced by its final value."""
    for name in given:
        if name not in settings(Plan):
            raise VariedError(f"An update has no setting '{name}': {suggest(name, settings(Plan))}")
    unused = dict.fromkeys((*LENGTHS, "lr_warmup", "patience"), 0)
    plan = dataclasses.asdict(spec.plan) | unused | given
    if not any(plan[name] for name in LENGTHS):
        plan["epochs"] = _DEFAULT_EPOCHS
    parts: dict[str, Any] = {axis: _at_end(axis, part) for axis, part in spec.parts.items()}
    return dataclasses.replace(spec, plan=Plan(**plan), **parts)


def _at_end(axis: str, part: Part) -> Part:
    """Return the part with each schedule, explicit or default, replaced by its final value."""
    defaults = {name: s.default for name, s in settings(part.builder(axis)).items()}
    schedules: dict[str, Any] = {k: v for k, v in defaults.items() if isinstance(v, Schedule)}
    schedules |= {k: v for k, v in part.settings.items() if isinstance(v, str) and v.endswith(")")}
    final = {name: value_at(parse_number(value), _LAST_STEP) for name, value in schedules.items()}
    return dataclasses.replace(part, settings=part.settings | final)


def _with_classes(data: RawData, context: ContextCodec | None) -> RawData:
    """Return the data with the class indices of the run."""
    if context is None or not context.classes or data.labels is None:
        return data
    if not data.classes:
        raise VariedError(
            "The labels of the new data are numbers, but the run was trained with class labels; "
            "provide class labels."
        )
    covariate = context.covariates[0]
    index = np.array([covariate.index(name) for name in data.classes] + [-1], dtype=np.int64)
    return data.replace(labels=index[data.class_indices], classes=context.classes)
