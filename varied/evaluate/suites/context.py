"""What the sections share: rows, samples, codes and features, each made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from varied import functional
from varied.data import Batch, RawData, iter_batches
from varied.data.codecs import ImageCodec, TableCodec
from varied.evaluate import Evaluation
from varied.evaluate.feature_nets import Extractor, standardized, train_encoder
from varied.runs import Run
from varied.seeding import permutation, seeded

__all__ = ["EvalContext"]

#: Rows at most, of the test data and of those for training.
TEST, TRAIN = 5000, 20_000
#: Rows that pass through a model at once.
ROWS = 500


@dataclass
class EvalContext:
    """A run, and what is measured of it.

    Arguments:
        run: The run.
        given: Features that the person wants; None for the default.
        seed: Which rows, draws and samples.
    """

    run: Run
    given: Extractor | None = None
    seed: int = 0

    # Rows

    def some(self, part: str, most: int) -> RawData:
        """Return so many items of a part at most, chosen at random."""
        items = self.run.split(part)
        if len(items) <= most:
            return items
        return items.take(permutation(len(items), self.seed, "measured")[:most].numpy())

    @cached_property
    def test(self) -> RawData:
        """Test rows."""
        return self.some("test", TEST)

    @cached_property
    def train(self) -> RawData:
        """Training rows."""
        return self.some("train", TRAIN)

    def batches(self, items: RawData) -> list[Batch]:
        """Return items as stored rows with their context, in batches."""
        batch = self.run.encode_items(items)
        return list(iter_batches(batch.x, batch.c, size=ROWS))

    def as_model_input(self, items: RawData) -> Tensor:
        """Return data as the model sees them, binarized where it is."""
        with seeded(self.seed, "measured"):
            return self.run.codec.load(self.run.encode_items(items).x)

    def plain(self, items: RawData) -> Tensor:
        """Return data as they are: pictures as uint8 with shape (N, C, H, W), or numbers."""
        return self.run.codec.encode(items) if self.pictures else self.as_model_input(items)

    @property
    def pictures(self) -> bool:
        """Whether the data are pictures."""
        return isinstance(self.run.codec, ImageCodec)

    @property
    def table(self) -> bool:
        """Whether the data are rows of a table."""
        return isinstance(self.run.codec, TableCodec)

    # What the model makes of them

    @cached_property
    def found(self) -> Evaluation:
        """The bound on all test rows."""
        return self.run.evaluate()

    @cached_property
    def codes(self) -> functional.Codes:
        """The codes of the test rows."""
        return functional.encode(self.run.model, self.run.codec.load, self.batches(self.test))

    @cached_property
    def made(self) -> Tensor:
        """Samples, as many as test rows, of the classes of `Run.contexts`: means of p(x given z).

        Rows of a table are drawn from it.
        """
        n, draw = len(self.test), self.run.codec.decodes_by_sampling
        c = self.run.contexts(n)
        parts = [
            functional.sample(
                self.run.model, len(rows), None if c is None else c[rows], sample_x=draw, seed=index
            )
            for index, rows in enumerate(torch.arange(n).split(ROWS))
        ]
        made = torch.cat(parts)
        return (255 * made.clamp(0, 1)).round().to(torch.uint8) if self.pictures else made

    # What they are compared by

    @cached_property
    def features(self) -> Extractor:
        """What data are compared by."""
        if self.given is not None:
            return self.given
        x, labels = self.plain(self.train), self.train.labels
        if not self.pictures:
            return standardized(x.flatten(1))
        known = self.train.classes and labels is not None and labels.ndim == 1
        of = f"{len(x):,} training rows"
        return train_encoder(x, labels if known else None, of=of, seed=self.seed)

    def by(self, x: Tensor) -> Tensor:
        """Return the features of data, with shape (N, D)."""
        return self.features.features(x if self.pictures else x.flatten(1))
