"""What a run is worth to others: the classes that it says, and what its samples teach."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from varied.evaluate.chances import calibration
from varied.evaluate.downstream import tstr
from varied.evaluate.measure import Measure, Section
from varied.measured.here import Here

__all__ = ["classes", "teachers"]


def classes(here: Here) -> Iterator[Section]:
    """Yield how right and how sure the classes are that a run says."""
    if not here.run.model.classes or here.test.labels is None or here.test.labels.ndim > 1:
        return
    labels = here.test.labels.astype(np.int64)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return
    told = here.run.classify(here.test)[torch.from_numpy(known)]
    found = calibration(told, labels[known], seed=here.seed)
    perfect = f"{found.floor} where the probabilities are perfect"
    measures = [
        Measure("accuracy", found.accuracy, "", "higher", "", "calibration"),
        Measure("calibration error", found.ece, "", "lower", perfect, "calibration"),
        Measure("Brier score", found.brier, "", "lower", "", "calibration"),
        Measure("log loss", found.log_loss, "nats", "lower", "", "calibration"),
    ]
    rows = f"{len(known):,} test rows, whose labels were not shown"
    heat = f"probabilities at temperature {here.run.class_temperature:.2f}, from validation rows"
    yield Section("Classes", f"{rows}; {heat}", measures)


def teachers(here: Here) -> Iterator[Section]:
    """Yield what learners make of samples, where these are made of a class each."""
    context, train, test = here.run.context, here.train.labels, here.test.labels
    if context is None or not context.classes or train is None or test is None:
        return
    made = here.by(here.made)
    real = here.by(here.plain(here.train))[: len(made)]
    y = np.arange(len(made)) % len(context.classes)
    tested = here.by(here.plain(here.test))
    found = tstr(real, train[: len(real)], made, y, tested, test, seed=here.seed)
    measures = [
        Measure(
            f"{one.figure}, {one.learner}",
            one.made,
            "",
            "higher",
            f"real rows {one.real}; both {one.both}; chance {one.chance:.2f}",
            "train-on-synthetic",
        )
        for one in found.compared
    ]
    rows = f"{found.trained:,} made rows to learn from, {found.tested:,} real ones to test on"
    title = "Learned from samples, tested on data"
    yield Section(title, f"{rows}; by: {here.features.name}", measures, found.warnings)
