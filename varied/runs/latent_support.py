"""A density fitted to the codes of the training rows."""

from __future__ import annotations

from torch import Tensor

from varied import functional
from varied.data import RawData
from varied.functional import LatentDensity
from varied.runs.base import RunBase

#: The maximum numbers of training rows and of held-out rows whose codes are used.
MAX_TRAINING, MAX_HELD_OUT = 10_000, 5_000


def embed(run: RunBase, data: RawData) -> Tensor:
    """Return the codes of data, with shape (N, D)."""
    return functional.embed(run.model, run.codec.load, run.batches(data))


def latent_density(run: RunBase) -> LatentDensity:
    """Return a density fitted to the codes of the training rows."""
    split = run.store.read_split(run.data)
    rows = (split.train[:MAX_TRAINING], split.validation[:MAX_HELD_OUT])
    return functional.fit_latent_density(*(embed(run, run.data.take(part)) for part in rows))
