"""Metrics for predicted classes, and for the usefulness of samples as training data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from varied.errors import VariedError
from varied.evaluate import Estimate, calibration, probe, tstr
from varied.evaluate._types import Ints
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.context import EvalContext
from varied.runs.augmentation import labeled_training_rows
from varied.seeding import permutation

#: The maximum number of labeled rows for the reference classifier.
MAX_LABELED = 2000


def classification_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the accuracy and calibration of predicted classes."""
    test = context.test
    if not context.run.model.num_classes or test.labels is None or test.labels.ndim > 1:
        return
    labels = test.labels.astype(np.int64)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        return
    probabilities = context.run.classify(test)[torch.from_numpy(known)]
    result = calibration(probabilities, labels[known], seed=context.seed)
    reference, warnings = _supervised_reference(context, known, result.accuracy)
    perfect, topic = f"{result.ece_floor} if perfectly calibrated", "calibration"
    metrics = [
        Metric("accuracy", result.accuracy, "", "higher", reference, topic),
        Metric("calibration error", result.ece, "", "lower", perfect, topic),
        Metric("Brier score", result.brier, "", "lower", "", topic),
        Metric("log loss", result.log_loss, "nats", "lower", "", topic),
    ]
    note = (
        f"{len(known):,} test rows, predicted without their labels; temperature "
        f"{context.run.calibration_temperature:.2f}, fitted on validation rows"
    )
    yield MetricGroup("Classes", note, metrics, warnings)


def _supervised_reference(
    context: EvalContext, known: Ints, accuracy: Estimate
) -> tuple[str, list[str]]:
    """Return the accuracy of a classifier trained on the labeled rows alone, as text.

    The text is empty if there are too few labels. The second value contains a warning if this
    classifier is significantly more accurate than the model, and is empty otherwise.
    """
    train = labeled_training_rows(context.run)
    train = train.take(permutation(len(train), context.seed, "alone").numpy())
    train = train.take(np.flatnonzero(train.class_indices >= 0)[:MAX_LABELED])
    parts = (train, context.test.take(known))
    x = torch.cat([context.raw(data).flatten(1).double() for data in parts])
    y = np.concatenate([data.class_indices for data in parts])
    try:
        score = probe(x, y, test=np.arange(len(y)) >= len(train), seed=context.seed).score
    except VariedError:  # too few labels
        return "", []
    reference = f"logistic regression on {len(train):,} labeled rows alone {score}"
    if score.value - accuracy.value <= 2 * math.hypot(score.error, accuracy.error):
        return reference, []
    warning = (
        "A logistic regression on the labeled rows alone is more accurate, so this model does not "
        "benefit from the unlabeled rows; use model='m1', or the logistic regression."
    )
    return reference, [warning]


def tstr_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the test scores of classifiers trained on generated samples of each class."""
    codec = context.run.context
    if codec is None or not codec.classes:
        return
    train, test = context.complete(context.train), context.complete_test
    if train.labels is None or test.labels is None:
        return
    generated, c = context.sample_features, context.run.contexts(len(context.samples))
    assert c is not None
    real = context.extract(context.raw(train))[: len(generated)]
    result = tstr(
        *(real, train.labels[: len(real)]),
        *(generated, c.argmax(1).numpy()),
        *(context.test_features, test.labels),
        seed=context.seed,
    )
    metrics = [
        Metric(
            f"{score.metric}, {score.learner}",
            score.generated,
            better="higher",
            reference=f"real rows {score.real}; both {score.both}; chance level {score.chance:.2f}",
            topic="train-on-synthetic",
        )
        for score in result.scores
    ]
    title = "TSTR: train on synthetic, test on real"
    note = (
        f"trained on {result.n_train:,} generated rows, tested on {result.n_test:,} real ones; "
        f"features: {context.extractor.name}"
    )
    yield MetricGroup(title, note, metrics, result.warnings)
