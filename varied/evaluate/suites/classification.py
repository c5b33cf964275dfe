"""What a run is worth to others: the classes that it says, and what its samples teach."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from varied.errors import VariedError
from varied.evaluate.calibration import calibration
from varied.evaluate.estimate import Estimate
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.probes import probe
from varied.evaluate.suites.context import EvalContext
from varied.evaluate.tstr import tstr
from varied.runs.augmentation import labels_of, learned
from varied.seeding import permutation

__all__ = ["classification_suite", "tstr_suite"]

Array = npt.NDArray[np.int64]

#: Labeled rows, at most, of the regression that a run's classes are held against.
TOLD = 2000


def classification_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield how right and how sure the classes are that a run says."""
    if not here.run.model.num_classes or here.test.labels is None or here.test.labels.ndim > 1:
        return
    labels = here.test.labels.astype(np.int64)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return
    told = here.run.classify(here.test)[torch.from_numpy(known)]
    found = calibration(told, labels[known], seed=here.seed)
    perfect = f"{found.floor} where the probabilities are perfect"
    beside, warnings = _alone(here, known, found.accuracy)
    measures = [
        Metric("accuracy", found.accuracy, "", "higher", beside, "calibration"),
        Metric("calibration error", found.ece, "", "lower", perfect, "calibration"),
        Metric("Brier score", found.brier, "", "lower", "", "calibration"),
        Metric("log loss", found.log_loss, "nats", "lower", "", "calibration"),
    ]
    rows = f"{len(known):,} test rows, whose labels were not shown"
    heat = (
        f"probabilities at temperature {here.run.calibration_temperature:.2f}, from validation rows"
    )
    yield MetricGroup("Classes", f"{rows}; {heat}", measures, warnings)


def _alone(here: EvalContext, known: Array, ours: Estimate) -> tuple[str, list[str]]:
    """Return what a regression of the labeled rows alone is right in, and what follows from it."""
    few = learned(here.run)
    told = few.take(permutation(len(few), here.seed, "alone").numpy())
    told = told.take(np.flatnonzero(labels_of(told) >= 0)[:TOLD])
    both = (told, here.test.take(known))
    x = torch.cat([here.plain(one).flatten(1).double() for one in both])
    y = np.concatenate([labels_of(one) for one in both])
    try:
        found = probe(x, y, test=np.arange(len(y)) >= len(told), seed=here.seed).score
    except VariedError:  # too few labels to choose a regression by
        return "", []
    beside = f"logistic regression of {len(told):,} labeled rows alone {found}"
    if found.value - ours.value <= 2 * math.hypot(found.error, ours.error):
        return beside, []
    harm = (
        "A logistic regression of labeled rows alone is right more often: the rows without a "
        "label did harm; try model='m1', or that."
    )
    return beside, [harm]


def tstr_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield what learners make of samples, where these are made of a class each."""
    context, train, test = here.run.context, here.train.labels, here.test.labels
    if context is None or not context.classes or train is None or test is None:
        return
    made, c = here.by(here.made), here.run.contexts(len(here.made))
    assert c is not None
    real = here.by(here.plain(here.train))[: len(made)]
    y = c.argmax(1).numpy()
    tested = here.by(here.plain(here.test))
    found = tstr(real, train[: len(real)], made, y, tested, test, seed=here.seed)
    measures = [
        Metric(
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
    title = "TSTR: train on synthetic, test on real"
    yield MetricGroup(title, f"{rows}; by: {here.features.name}", measures, found.warnings)
