"""Evaluation of a run on its test rows or on other data."""

from __future__ import annotations

from typing import Any

import torch

from varied.evaluate import Estimate, Evaluation
from varied.evaluate import evaluate as evaluate_model
from varied.runs.base import RunBase
from varied.runs.classification import classify


def evaluate(
    run: RunBase, source: Any = None, *, split: str = "test", samples: int = 0
) -> Evaluation:
    """Evaluate the model: ELBO, reconstruction, KL, active units and codebook usage.

    Arguments:
        run: The run.
        source: The data; None uses the data of the run.
        split: "test", "validation" or "train"; used only if there is no source.
        samples: The number of importance samples for estimating log p(x); 0 omits the estimate.
    """
    data = run.split(split) if source is None else run.read(source)
    return evaluate_model(
        run.model,
        run.codec.load,
        run.batches(data),
        likelihood=run.spec.likelihood.name,
        samples=samples,
    )


def classification_error(run: RunBase) -> Estimate | None:
    """Return the fraction of misclassified test rows, or None if there are no classes or labels."""
    data = run.split("test")
    if not run.model.num_classes or data.labels is None:
        return None
    labels = torch.from_numpy(data.class_indices)
    is_wrong = classify(run).argmax(1) != labels
    return Estimate.of(is_wrong[labels >= 0].double())
