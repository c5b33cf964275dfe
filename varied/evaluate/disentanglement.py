"""How well single latent units stand for single known factors of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.randomness import generator

__all__ = ["BINS", "gaps", "information", "mig"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: How many bins of equal width a latent unit is divided into.
BINS = 20

#: Rows of one bootstrap resample: the spread of more rows follows from theirs.
RESAMPLED = 10_000


def mig(
    codes: Tensor | Array,
    factors: Tensor | Array,
    *,
    bins: int = BINS,
    resamples: int = 50,
    seed: int = 0,
) -> Estimate:
    r"""Return the mutual information gap: 1 where one latent unit alone tells each factor whole.

    .. math:: \frac1F \sum_f \frac{I(z_{(1)}; v_f) - I(z_{(2)}; v_f)}{H(v_f)}

    where :math:`z_{(1)}` and :math:`z_{(2)}` are the two units that tell most of factor f. It has
    no unit and lies between 0 and 1.

    References:
        Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942: the gap. Challenging Common Assumptions in the
        Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359: read off binned posterior means, as here.

    Warning:
        Chen et al. take the codes to be draws from the posterior and integrate its density. Give
        posterior means for the usual figure; figures of the two kinds do not compare, nor do
        those with other bins, or with far fewer rows. Bins follow the range of each unit, so a
        silent unit, whose mean hardly moves, counts as much as an active one: to leave such units
        out give `codes[:, is_active(codes)]`, and say so beside the figure.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, classes or numbers with few values, with shape (N, F).
        bins: How many bins a unit is divided into.
        resamples: Bootstrap resamples of the rows for the standard error.
        seed: Which resamples.

    Raises:
        VariedError: If the shapes do not fit, a number is not finite, or a factor has one value,
            or nearly as many as there are rows.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(8, 1)
        >>> mig(factors * 0.1, factors).value
        1.0
    """
    table = _counted(codes, factors, bins)
    n, drawn = len(table), []
    taken = min(n, RESAMPLED)
    for index in range(resamples):
        noise = generator(seed, "gap", index)
        rows = torch.randint(n, (taken,), generator=noise).numpy()
        drawn.append(table.take(rows).gaps().mean())
    spread = float(np.std(drawn, ddof=1)) if resamples > 1 else math.nan
    return Estimate(float(table.gaps().mean()), spread * math.sqrt(taken / n), n)


def gaps(codes: Tensor | Array, factors: Tensor | Array, *, bins: int = BINS) -> Floats:
    """Return the gap of each factor, with shape (F): `mig` is their mean.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        bins: How many bins a unit is divided into.

    Raises:
        VariedError: As `mig`.
    """
    return _counted(codes, factors, bins).gaps()


def information(codes: Tensor | Array, factors: Tensor | Array, *, bins: int = BINS) -> Floats:
    r"""Return what each latent unit tells of each factor, in nats, with shape (D, F).

    .. math:: I(z_j; v_f) = \sum_{b, v} p(b, v) \log \frac{p(b, v)}{p(b)\, p(v)}

    over bins b of equal width from the least to the largest code of the unit, with p the shares
    of the rows. The shares of a finite sample make it too large by about (bins - 1)(values - 1) /
    2N nats.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        bins: How many bins a unit is divided into.

    Raises:
        VariedError: As `mig`.
    """
    return _counted(codes, factors, bins).information()


@dataclass(frozen=True)
class _Counted:
    """Codes as `bins` bins, and factors as values from 0 up to how many each has."""

    binned: Whole
    bins: int
    known: Whole
    values: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.binned)

    def take(self, rows: Whole) -> _Counted:
        return _Counted(self.binned[rows], self.bins, self.known[rows], self.values)

    def information(self) -> Floats:
        return np.stack([self._with(f) for f in range(len(self.values))], axis=1)

    def _with(self, factor: int) -> Floats:
        """Return what all units tell of one factor, with shape (D): one count over all cells."""
        units, values = self.binned.shape[1], self.values[factor]
        place = np.arange(units) * self.bins + self.binned
        cells = place * values + self.known[:, factor, None]
        joint = np.bincount(cells.ravel(), minlength=units * self.bins * values)
        p = joint.reshape(units, self.bins, values) / len(self)
        both = _entropy(p.reshape(units, -1))
        told: Floats = np.maximum(_entropy(p.sum(2)) + _entropy(p.sum(1)) - both, 0.0)
        return told

    def gaps(self) -> Floats:
        # A single unit has no second beside it: all that it tells is the gap.
        nothing = np.zeros((1, len(self.values)))
        *_, second, best = np.sort(np.vstack([nothing, self.information()]), axis=0)
        columns = zip(self.known.T, self.values, strict=True)
        shares = [np.bincount(v, minlength=n) / len(self) for v, n in columns]
        whole = np.array([_entropy(share) for share in shares])
        # A resample may have one value of a factor alone: then there is no gap, and no entropy.
        gap: Floats = np.divide(best - second, whole, out=np.zeros_like(whole), where=whole > 0)
        return gap


def _counted(codes: Tensor | Array, factors: Tensor | Array, bins: int) -> _Counted:
    if bins < 2:
        raise VariedError(f"bins={bins} tells nothing apart: give 2 or more; 20 is usual.")
    z, v = _table(codes, "codes"), _table(factors, "factors")
    if len(z) != len(v):
        raise VariedError(
            f"There are {len(z):,} codes and {len(v):,} rows of factors: give one for each."
        )
    columns = [np.unique(column, return_inverse=True) for column in v.T]
    for index, (values, _) in enumerate(columns):
        _few(index, len(values), len(v))
    known = np.stack([inverse.reshape(-1) for _, inverse in columns], axis=1)
    return _Counted(_binned(z, bins), bins, known, tuple(len(values) for values, _ in columns))


def _table(given: Tensor | Array, what: str) -> Floats:
    rows = given.detach().cpu() if isinstance(given, Tensor) else given
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise VariedError(
            f"The {what} have shape {table.shape}: give a table, a row for each datum."
        )
    if not np.isfinite(table).all():
        raise VariedError(f"The {what} hold NaN or infinity: leave those rows out.")
    return table


def _few(index: int, values: int, n: int) -> None:
    if values < 2:
        raise VariedError(f"Factor {index} has one value, so nothing tells it: leave it out.")
    if values > max(n / 5, 2):
        raise VariedError(
            f"Factor {index} has {values:,} values in {n:,} rows, too many to count: "
            "give more rows, or round it to fewer values."
        )


def _binned(z: Floats, bins: int) -> Whole:
    """Bins run from the least to the largest code of each unit, so no scale can matter."""
    low, high = z.min(0), z.max(0)
    width = np.where(high > low, high - low, 1.0)
    binned: Whole = np.minimum(((z - low) / width * bins).astype(np.int64), bins - 1)
    return binned


def _entropy(p: Floats) -> Floats:
    """Return the entropy along the last axis, in nats."""
    found: Floats = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(-1)
    return found
