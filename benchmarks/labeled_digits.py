"""MNIST with few labels, for the benchmarks of models that learn classes."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varied import functional
from varied.composition import compose
from varied.data import Batches, ContextCodec, ImageCodec, iter_batches, read
from varied.data.labels import subsample_labels
from varied.models import LatentModel
from varied.spec import Spec
from varied.training_loop import StepEvent, train
from varied.training_step import Step

SHAPE, CLASSES = (1, 28, 28), 10
#: The fraction of each batch of M2 that is sampled from the labeled rows.
LABELED_FRACTION = 0.125


class Digits:
    """The training and test digits with their classes."""

    def __init__(self) -> None:
        data = read("mnist")
        assert data.test is not None
        training = np.setdiff1d(np.arange(len(data)), data.test)
        self.codec = ImageCodec(SHAPE, binarize="dynamic")
        self.context = ContextCodec(data.classes)
        x, y = self.codec.encode(data), data.class_indices
        self.train_x, self.test_x = x[training], x[data.test]
        self.train_y, self.test_y = y[training], y[data.test]

    def labels(self, n: int, draw: int) -> np.ndarray:
        """Return the classes of the training digits, with all but n set to -1."""
        return subsample_labels(self.train_y, n, draw)

    def train(
        self, settings: dict[str, Any], x: Tensor, labels: np.ndarray
    ) -> tuple[LatentModel, StepEvent]:
        """Train on digits whose label is -1 if unknown; return the model and its last step."""
        spec = Spec.parse(**settings, likelihood="bernoulli", context=CLASSES)
        model, objective = compose(spec, SHAPE, self.codec.domain)
        c, plan = self.context.encode(labels), spec.plan
        batches = Batches(x, c, size=plan.batch_size, seed=plan.seed, labeled=LABELED_FRACTION)
        events = train(Step(model, objective, self.codec.load), batches, plan)
        return model, deque(events, maxlen=1).pop()

    def classify(self, model: LatentModel) -> Tensor:
        """Return the class probabilities of the test digits, given their gray levels."""
        return functional.classify(model, to_gray, iter_batches(self.test_x, size=500))


def to_gray(stored: Tensor) -> Tensor:
    """Return digits in [0, 1], without binarization."""
    return stored.to(torch.float32) / 255
