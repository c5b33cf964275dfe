"""A run that goes on from the weights of another, on new data; the other is left as it is."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from varied.data import ContextCodec, RawData, read, split
from varied.data.codecs import ImageCodec
from varied.errors import VariedError, suggest
from varied.runs import Run, Store
from varied.schedules import Schedule, parse_number, value_at
from varied.schema import settings
from varied.spec import AXES, Part, Plan, Spec, compose
from varied.training.defaults import LENGTHS, ResolvedConfig
from varied.training.job import Job
from varied.training_loop import Step, TrainingState

__all__ = ["WarmStartJob", "prepare_update", "update"]

#: Passes over the new rows where a person gives no length.
EPOCHS = 5.0
#: A step after which nothing moves any more.
LAST = 10**12


class WarmStartJob(Job):
    """A training that begins with the weights of another run.

    Arguments:
        store: The folder of the new run.
        items: The new data.
        choice: What to train: that of the other run.
        base: The other run.
    """

    def __init__(self, store: Store, items: RawData, choice: ResolvedConfig, base: Run) -> None:
        self.base = base
        super().__init__(store, items, choice, "update")

    def _resumed(self) -> tuple[TrainingState, list[str]]:
        state, notices = super()._resumed()
        if state.step:
            return state, notices
        base = self.base
        base.store.read_weights("model.safetensors", self.model)
        like = Step(*compose(base.spec, base.codec.shape, base.codec.domain))
        before, _ = base.store.read_checkpoint(like)
        if before is None or before.setup is None:
            raise VariedError(
                f"{base.folder} has no checkpoint to go on from; restore it, or train anew."
            )
        # With its setup training does not begin anew: codebooks and the like stay as they are.
        return TrainingState(setup=before.setup), notices


def prepare_update(
    run: Run | Path | str, source: Any, *, out: Path | str, labels: Any = None, **plan: Any
) -> WarmStartJob:
    """Read new data as a run takes them, and open the folder of a run that goes on from it.

    Kept are the model, its weights and all that was learned of the data's form: the scale of
    columns, the levels of categories, the classes. What moves in the objective, such as a KL that
    warms up, stands at its end.

    Warning:
        A net forgets: what the new data do not show fades. Give data that stand for all, old ones
        among them. The new data are split anew, so an item of the old test split may be learned.

    Arguments:
        run: The run, or its folder.
        source: The new data.
        out: The folder of the new run.
        labels: Their labels, or the name of these.
        plan: ``epochs``, ``steps`` or ``minutes``, 5 epochs if none is given; and ``lr``, ``batch``
            or ``seed``.

    Raises:
        VariedError: If the data are unlike the run's, or the folder holds something else.
    """
    base = run if isinstance(run, Run) else Run(run)
    if not base.store.trained:
        raise VariedError(f"{base.folder} is not trained to its end; finish it first.")
    size = base.codec.size if isinstance(base.codec, ImageCodec) else None
    items = _classed(read(source, image_size=size, labels=labels), base.context)
    spec = _settled(base.spec, plan)
    parts = split(items, seed=spec.plan.seed)
    base.codec.encode(items.take(parts.train[:1]))  # complain before there is a folder
    told = f"Goes on from the weights of {base.folder}, with its columns, scales and classes."
    unseen = base.codec.unseen_level_notes(items)
    choice = ResolvedConfig(spec, base.codec, base.context, (told, *unseen))
    store = Store(out)
    data = store.describe_data(items, parts, {} if labels is None else {"labels": labels})
    data |= {"n_labels": 0, "model": "update", "from": str(base.folder.resolve())}
    if store.exists:
        known = store.read_data()
        alike = all(known.get(key) == data[key] for key in ("digest", "from"))
        if store.finished or not alike or store.read_spec() != spec.brief():
            raise VariedError(f"{out} holds another run, or this one, finished; choose another.")
    elif store.folder.is_dir() and any(store.folder.iterdir()):
        raise VariedError(f"{out} holds other files; choose a new folder.")
    else:
        store.write_split(parts)
        store.create(spec, base.codec, base.context, data)
    return WarmStartJob(store, items, choice, base)


def update(
    run: Run | Path | str, source: Any, *, out: Path | str, labels: Any = None, **plan: Any
) -> Run:
    """Train a run further on new data, into a new folder; see `prepare_update`."""
    job = prepare_update(run, source, out=out, labels=labels, **plan)
    for _ in itertools.chain(job.train(), job.fit_prior()):
        pass
    return job.finish()


def _settled(spec: Spec, given: dict[str, Any]) -> Spec:
    """Return the spec with a new plan, and with numbers where something moved."""
    for name in given:
        if name not in settings(Plan):
            raise VariedError(f"An update has no '{name}': {suggest(name, settings(Plan))}")
    plan = dataclasses.asdict(spec.plan) | dict.fromkeys(LENGTHS, 0) | {"lr_warmup": 0} | given
    if not any(plan[name] for name in LENGTHS):
        plan["epochs"] = EPOCHS
    parts: dict[str, Any] = {axis: _at_end(axis, getattr(spec, axis)) for axis in AXES}
    return dataclasses.replace(spec, plan=Plan(**plan), **parts)


def _at_end(axis: str, part: Part) -> Part:
    """Return a part whose schedules, its own or by default, are the numbers they end at."""
    usual = {name: one.default for name, one in settings(AXES[axis][part.name]).items()}
    moves: dict[str, Any] = {k: v for k, v in usual.items() if isinstance(v, Schedule)}
    moves |= {k: v for k, v in part.settings.items() if isinstance(v, str) and v.endswith(")")}
    ends = {name: value_at(parse_number(value), LAST) for name, value in moves.items()}
    return Part(part.name, part.settings | ends)


def _classed(items: RawData, context: ContextCodec | None) -> RawData:
    """Return items whose classes are numbered as those of the run."""
    if context is None or not context.classes or items.labels is None:
        return items
    if not items.classes:
        raise VariedError("The run's labels are classes, and those of these data are numbers.")
    index = np.array([context.index(name) for name in items.classes] + [-1], dtype=np.int64)
    return dataclasses.replace(
        items, labels=index[items.labels.astype(np.int64)], classes=context.classes
    )
