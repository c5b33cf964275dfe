"""The mutual information gap (MIG)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varied.errors import VariedError
from varied.evaluate._resampling import bootstrap_std
from varied.evaluate._types import Data, Floats, Ints
from varied.evaluate.disentanglement._checks import labeled_codes
from varied.evaluate.estimate import Estimate

#: The default number of bins for a latent unit.
BINS = 20
#: The maximum number of rows in a bootstrap resample.
MAX_RESAMPLED = 10_000


def mig(
    codes: Data, factors: Data, *, bins: int = BINS, resamples: int = 50, seed: int = 0
) -> Estimate:
    r"""Return the mutual information gap, which is 1 if each factor is encoded in a single unit.

    .. math:: \frac1F \sum_f \frac{I(z_{(1)}; v_f) - I(z_{(2)}; v_f)}{H(v_f)}

    where :math:`z_{(1)}` and :math:`z_{(2)}` are the two units with the highest mutual information
    with factor f. The score is between 0 and 1.

    References:
        Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942, for the gap. Challenging Common Assumptions in the
        Unsupervised Learning of Disentangled Representations (Locatello et al., 2019),
        https://arxiv.org/abs/1811.12359, for the variant with binned posterior means, which is used
        here.

    Warning:
        Chen et al. (2018) use samples from the posterior and integrate its density, while the more
        common variant uses posterior means; the two are not comparable, and neither are values for
        different numbers of bins or very different numbers of rows. Bins cover the range of each
        unit, so an inactive unit, whose mean hardly varies, counts as much as an active one:
        exclude such units with ``codes[:, is_active(codes)]``, and report the exclusion.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, as classes or as numbers with few values, with shape (N, F).
        bins: The number of bins for each unit.
        resamples: The number of bootstrap resamples for the standard error.
        seed: The seed for resampling.

    Raises:
        VariedError: If the shapes do not match, a value is not finite, ``bins`` is below 2, or a
            factor is constant, or has more than two values but fewer than five rows per value on
            average.

    Example:
        >>> factors = np.indices((4, 4)).reshape(2, -1).T.repeat(8, axis=0)
        >>> mig(factors * 0.1, factors).value
        1.0
    """
    table = binned_codes(codes, factors, bins)

    def mean_gap(rows: Ints | slice) -> float:
        return float(table.take(rows).gaps().mean())

    n = len(table.binned)
    error = bootstrap_std(mean_gap, n, resamples, seed, "gap", MAX_RESAMPLED)
    return Estimate(mean_gap(slice(None)), error, n)


def mig_by_factor(codes: Data, factors: Data, *, bins: int = BINS) -> Floats:
    """Return the mutual information gap of each factor, with shape (F); `mig` is the mean.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        bins: The number of bins for each unit.

    Raises:
        VariedError: As for `mig`.
    """
    return binned_codes(codes, factors, bins).gaps()


def mutual_information(codes: Data, factors: Data, *, bins: int = BINS) -> Floats:
    r"""Return the mutual information between each unit and each factor, in nats, with shape (D, F).

    .. math:: I(z_j; v_f) = \sum_{b, v} p(b, v) \log \frac{p(b, v)}{p(b)\, p(v)}

    where p denotes relative frequencies, and the bins b have equal widths and cover the range of
    the unit. The estimate is biased upward, by about (bins - 1)(values - 1) / (2N) nats.

    Arguments:
        codes: The mean of each posterior, with shape (N, D).
        factors: The true factors, with shape (N, F).
        bins: The number of bins for each unit.

    Raises:
        VariedError: As for `mig`.
    """
    return binned_codes(codes, factors, bins).mutual_information()


@dataclass(frozen=True)
class BinnedCodes:
    """Binned codes and factors, with the values of each factor encoded as class indices.

    Arguments:
        binned: The bin of each code, with shape (N, D).
        bins: The number of bins.
        factors: The class of each factor, numbered from 0, with shape (N, F).
        n_classes: The number of classes of each factor.
    """

    binned: Ints
    bins: int
    factors: Ints
    n_classes: tuple[int, ...]

    def take(self, rows: Ints | slice) -> BinnedCodes:
        """Return the selected rows."""
        return BinnedCodes(self.binned[rows], self.bins, self.factors[rows], self.n_classes)

    def mutual_information(self) -> Floats:
        """Return the mutual information between each unit and each factor, with shape (D, F)."""
        columns = zip(self.factors.T, self.n_classes, strict=True)
        return np.stack([self._with_factor(*column) for column in columns], axis=1)

    def _with_factor(self, classes: Ints, n_classes: int) -> Floats:
        """Return the mutual information between each unit and one factor, with shape (D)."""
        units = self.binned.shape[1]
        cells = (np.arange(units) * self.bins + self.binned) * n_classes + classes[:, None]
        counts = np.bincount(cells.ravel(), minlength=units * self.bins * n_classes)
        p = counts.reshape(units, self.bins, n_classes) / len(self.binned)
        joint = _entropy(p.reshape(units, -1))
        return np.maximum(_entropy(p.sum(2)) + _entropy(p.sum(1)) - joint, 0.0)

    def gaps(self) -> Floats:
        """Return the mutual information gap of each factor, with shape (F)."""
        # If there is only one unit, the row of zeros stands for the second best unit.
        zeros = np.zeros((1, len(self.n_classes)))
        *_, second, best = np.sort(np.vstack([zeros, self.mutual_information()]), axis=0)
        columns = zip(self.factors.T, self.n_classes, strict=True)
        p = [np.bincount(classes, minlength=n) / len(self.binned) for classes, n in columns]
        entropy = np.array([_entropy(frequencies) for frequencies in p])
        # A factor can be constant in a resample; then its entropy and its gap are 0.
        gaps: Floats = np.divide(
            best - second, entropy, out=np.zeros_like(entropy), where=entropy > 0
        )
        return gaps


def binned_codes(codes: Data, factors: Data, bins: int) -> BinnedCodes:
    """Return the bins of validated codes, and factors whose values are numbered from 0.

    Raises:
        VariedError: As for `mig`.
    """
    if bins < 2:
        raise VariedError(f"bins={bins} must be at least 2; the default is {BINS}.")
    table = labeled_codes(codes, factors)
    low, high = table.codes.min(0), table.codes.max(0)
    width = np.where(high > low, high - low, 1.0)
    binned = np.minimum(((table.codes - low) / width * bins).astype(np.int64), bins - 1)
    return BinnedCodes(binned, bins, table.factors, table.n_classes)


def _entropy(p: Floats) -> Floats:
    """Return the entropy along the last axis, in nats."""
    from scipy.special import entr

    entropy: Floats = entr(p).sum(-1)
    return entropy
