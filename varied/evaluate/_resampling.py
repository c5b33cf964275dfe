"""Standard errors computed by resampling rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from varied.evaluate._types import Array, Ints
from varied.seeding import generator


def resample(sizes: Sequence[int], resamples: int, seed: int, purpose: str) -> Iterator[list[Ints]]:
    """Yield bootstrap resamples of several samples, as row indices drawn with replacement.

    Each resample has as many rows as its sample.

    Arguments:
        sizes: The number of rows in each sample.
        resamples: The number of resamples.
        seed: The seed.
        purpose: A label from which, together with ``seed``, the seed of each resample is derived.
    """
    for index in range(resamples):
        noise = generator(seed, purpose, index)
        yield [torch.randint(n, (n,), generator=noise).numpy() for n in sizes]


def resample_strata(strata: Array, resamples: int, seed: int, purpose: str) -> Iterator[Ints]:
    """Yield bootstrap resamples of N rows that preserve the size of each stratum.

    Arguments:
        strata: The stratum of each row, with shape (N).
        resamples: The number of resamples.
        seed: The seed.
        purpose: A label from which, together with ``seed``, the seed of each resample is derived.
    """
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for draws in resample([len(rows) for rows in members], resamples, seed, purpose):
        yield np.concatenate([rows[draw] for rows, draw in zip(members, draws, strict=True)])


def bootstrap_std(
    statistic: Callable[[Ints], Any],
    n: int,
    resamples: int,
    seed: int,
    purpose: str,
    max_rows: int | None = None,
) -> float:
    """Return the bootstrap standard error of a statistic; NaN for fewer than two resamples.

    Arguments:
        statistic: Maps row indices to the value of the statistic on those rows.
        n: The number of rows.
        resamples: The number of resamples.
        seed: The seed.
        purpose: A label from which, together with ``seed``, the seed of each resample is derived.
        max_rows: The maximum number of rows in a resample; the standard error is rescaled to n
            rows.
    """
    size = min(n, max_rows or n)
    values = []
    for index in range(resamples):
        rows = torch.randint(n, (size,), generator=generator(seed, purpose, index))
        values.append(statistic(rows.numpy()))
    return float(sample_std(values)) * math.sqrt(size / n)


def sample_std(values: Sequence[Any] | Array) -> Any:
    """Return the standard deviation along the first axis; NaN for fewer than two values."""
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else math.nan


def jackknife_std(values: Sequence[float]) -> float:
    """Return the jackknife standard error from the leave-one-out values of a statistic."""
    return float(np.std(values) * math.sqrt(len(values) - 1))
