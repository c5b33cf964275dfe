"""The mutual information gap: how much more the best unit tells of a factor than the second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.disentanglement._checks import Array, Floats, Whole, pair, resampling_std
from varied.evaluate.estimate import Estimate

__all__ = ["BINS", "RESAMPLED", "Counted", "counted", "gaps", "information", "mig"]

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
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> mig(factors * 0.1, factors).value
        1.0
    """
    table = counted(codes, factors, bins)
    error = resampling_std(
        lambda rows: float(table.take(rows).gaps().mean()),
        len(table),
        resamples=resamples,
        seed=seed,
        purpose="gap",
        most=RESAMPLED,
    )
    return Estimate(float(table.gaps().mean()), error, len(table))


def gaps(codes: Tensor | Array, factors: Tensor | Array, *, bins: int = BINS) -> Floats:
    """Return the gap of each factor, with shape (F): `mig` is their mean.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        bins: How many bins a unit is divided into.

    Raises:
        VariedError: As `mig`.
    """
    return counted(codes, factors, bins).gaps()


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
    return counted(codes, factors, bins).information()


@dataclass(frozen=True)
class Counted:
    """Codes as `bins` bins, and factors as values from 0 up to how many each has."""

    binned: Whole
    bins: int
    known: Whole
    values: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.binned)

    def take(self, rows: Whole) -> Counted:
        """Return some of the rows."""
        return Counted(self.binned[rows], self.bins, self.known[rows], self.values)

    def information(self) -> Floats:
        """Return what each unit tells of each factor, with shape (D, F)."""
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
        """Return the gap of each factor, with shape (F)."""
        # A single unit has no second beside it: all that it tells is the gap.
        nothing = np.zeros((1, len(self.values)))
        *_, second, best = np.sort(np.vstack([nothing, self.information()]), axis=0)
        columns = zip(self.known.T, self.values, strict=True)
        shares = [np.bincount(v, minlength=n) / len(self) for v, n in columns]
        whole = np.array([_entropy(share) for share in shares])
        # A resample may have one value of a factor alone: then there is no gap, and no entropy.
        gap: Floats = np.divide(best - second, whole, out=np.zeros_like(whole), where=whole > 0)
        return gap


def counted(codes: Tensor | Array, factors: Tensor | Array, bins: int) -> Counted:
    """Return both, checked, as whole numbers that can be counted."""
    if bins < 2:
        raise VariedError(f"bins={bins} tells nothing apart: give 2 or more; 20 is usual.")
    table = pair(codes, factors)
    return Counted(_binned(table.codes, bins), bins, table.known, table.values)


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
