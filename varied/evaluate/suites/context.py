"""The rows, samples, codes and features of a run, computed once and shared by all suites."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, RawData, iter_batches
from varied.errors import VariedError
from varied.evaluate import (
    Evaluation,
    Extractor,
    PassResult,
    fit_standardizer,
    forward_pass,
    train_encoder,
)
from varied.runs import Run
from varied.seeding import permutation, seeded

#: The maximum numbers of test rows and of training rows for features.
MAX_TEST, MAX_TRAIN = 5000, 20_000
#: The minimum number of rows without missing values for a comparison of samples with data.
MIN_COMPLETE = 20
#: The number of rows in a batch.
BATCH_SIZE = 500


@dataclass
class EvalContext:
    """A run with the data from which the suites compute their metrics.

    Arguments:
        run: The run.
        features: The feature extractor for comparing samples with data; None for the default.
        seed: The seed for selecting rows and sampling.
    """

    run: Run
    features: Extractor | None = None
    seed: int = 0

    @property
    def is_image(self) -> bool:
        """Whether the data are images."""
        return self.run.data.is_image

    @property
    def is_table(self) -> bool:
        """Whether the data are rows of a table."""
        return bool(self.run.codec.column_names)

    # Rows

    def rows(self, split: str, max_rows: int) -> RawData:
        """Return the rows of a split, or ``max_rows`` random rows if there are more."""
        data = self.run.split(split)
        if len(data) <= max_rows:
            return data
        return data.take(permutation(len(data), self.seed, "measured")[:max_rows].numpy())

    @cached_property
    def test(self) -> RawData:
        """The test rows, or 5,000 random test rows if there are more."""
        return self.rows("test", MAX_TEST)

    @cached_property
    def train(self) -> RawData:
        """The training rows, or 20,000 random training rows if there are more."""
        return self.rows("train", MAX_TRAIN)

    def complete(self, data: RawData) -> RawData:
        """Return the rows without missing values, for metrics that compare samples with data.

        Raises:
            VariedError: If too few rows have no missing values.
        """
        mask = self.run.encode_data(data).mask
        if mask is None:
            return data
        rows = np.flatnonzero(mask.flatten(1).all(1))
        if len(rows) < MIN_COMPLETE:
            raise VariedError(
                f"Only {len(rows)} of {len(data):,} rows have no missing values; at least "
                f"{MIN_COMPLETE} are required to compare samples with data."
            )
        return data.take(rows)

    @cached_property
    def complete_test(self) -> RawData:
        """The rows of `test` without missing values."""
        return self.complete(self.test)

    def batches(self, data: RawData) -> list[Batch]:
        """Return stored rows with their context, in batches."""
        batch = self.run.encode_data(data)
        return list(iter_batches(batch.x, batch.c, batch.mask, size=BATCH_SIZE))

    def model_input(self, data: RawData) -> Tensor:
        """Return model inputs; images are binarized as in training, and missing values are 0."""
        with seeded(self.seed, "measured"):
            return self.run.codec.load(self.run.encode_data(data).x)

    def raw(self, data: RawData) -> Tensor:
        """Return images as uint8 with shape (N, C, H, W), and other data as model inputs."""
        return self.run.codec.encode(data) if self.is_image else self.model_input(data)

    # Results of the model

    @cached_property
    def evaluation(self) -> Evaluation:
        """The evaluation on all test rows."""
        return self.run.evaluate()

    @cached_property
    def codes(self) -> PassResult:
        """The result of one pass over `test`, with the codes."""
        return forward_pass(self.run.model, self.run.codec.load, self.batches(self.test))

    @cached_property
    def samples(self) -> Tensor:
        """As many samples as test rows, conditioned on the contexts from `Run.contexts`.

        For tables and counts, x is drawn from p(x | z); for other data, x is the mean of p(x | z).
        """
        n, sample_x = len(self.test), self.run.codec.decodes_by_sampling
        c = self.run.contexts(n)
        parts = [
            functional.sample(
                self.run.model,
                len(rows),
                None if c is None else c[rows],
                sample_x=sample_x,
                seed=index,
            )
            for index, rows in enumerate(torch.arange(n).split(BATCH_SIZE))
        ]
        x = torch.cat(parts)
        return self.run.codec.to_features(x) if self.is_image else x

    # Features

    @cached_property
    def extractor(self) -> Extractor:
        """The feature extractor for comparing samples with data.

        By default, this is a network trained on the training images, with labels if there are any.
        Data other than images are standardized instead.
        """
        if self.features is not None:
            return self.features
        x, labels = self.raw(self.train), self.train.labels
        if not self.is_image:
            return fit_standardizer(x.flatten(1))
        has_classes = self.train.classes and labels is not None and labels.ndim == 1
        data_name = f"{len(x):,} training rows"
        return train_encoder(
            x, labels if has_classes else None, data_name=data_name, seed=self.seed
        )

    def extract(self, x: Tensor) -> Tensor:
        """Return the features of rows in the format of `raw` or `samples`, with shape (N, D)."""
        return self.extractor.features(x if self.is_image else x.flatten(1))

    @cached_property
    def test_features(self) -> Tensor:
        """The features of the test rows without missing values."""
        return self.extract(self.raw(self.complete_test))

    @cached_property
    def sample_features(self) -> Tensor:
        """The features of the samples."""
        return self.extract(self.samples)
