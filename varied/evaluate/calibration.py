"""Calibration of class probabilities, proper scoring rules, and coverage of intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from varied.errors import VariedError
from varied.evaluate._checks import as_array, as_column, as_table, check_same_length
from varied.evaluate._resampling import sample_std
from varied.evaluate._types import Data, Floats, Ints
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

#: The default number of bins.
BINS = 15
#: The tolerance for the sum of the probabilities of a row; it is large enough for float16.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Calibration:
    """The quality of class probabilities.

    Arguments:
        accuracy: The fraction of rows whose most probable class is the true one.
        confidence: The mean probability of the most probable class; above the accuracy if the
            probabilities are overconfident.
        ece: The expected calibration error.
        ece_floor: The expected value of that error if the probabilities were perfectly calibrated
            on these rows. Its standard error is the standard deviation over simulated labels.
        brier: The mean squared error, summed over classes; between 0 and 2.
        log_loss: The mean of -log p(true class), in nats.
    """

    accuracy: Estimate
    confidence: Estimate
    ece: Estimate
    ece_floor: Estimate
    brier: Estimate
    log_loss: Estimate

    def __str__(self) -> str:
        lines = (
            f"accuracy {self.accuracy}, mean confidence {self.confidence}",
            f"calibration error {self.ece} (perfectly calibrated: {self.ece_floor})",
            f"Brier score {self.brier} (0 to 2)",
            f"log loss {self.log_loss} nats",
        )
        return "\n".join(lines)


def calibration(
    probabilities: Data, truth: Data, *, bins: int = BINS, resamples: int = 200, seed: int = 0
) -> Calibration:
    r"""Return the calibration error, Brier score and log loss of class probabilities.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{accuracy}_b -
        \mathrm{confidence}_b \right|

    The rows are sorted by the probability p of the predicted class and divided into bins b of about
    the same size; rows with the same probability share a bin. The standard error is computed from
    bootstrap resamples of the rows, for fixed bins.

    References:
        On Calibration of Modern Neural Networks (Guo et al., 2017),
        https://arxiv.org/abs/1706.04599, for the error. Mitigating Bias in Calibration Error
        Estimation (Roelofs et al., 2022), https://arxiv.org/abs/2012.08668, for bins of equal
        mass. Verification of Forecasts Expressed in Terms of Probability (Brier, 1950). Increasing
        the Reliability of Reliability Diagrams (Bröcker and Smith, 2007),
        https://doi.org/10.1175/WAF993.1, for the floor estimated by resampling labels.

    Warning:
        The calibration error of perfectly calibrated probabilities is not 0 but about
        :math:`\sqrt{2/\pi} \sum_b (\sum_{i \in b} p_i (1 - p_i))^{1/2} / N`; it increases with the
        number of bins and decreases with the number of rows. This value is therefore estimated as
        ``ece_floor``, from labels sampled from the probabilities. An error close to this floor is
        not evidence of miscalibration. The calibration error depends only on the predicted class,
        and a model that predicts the base rates is also calibrated, so compare the log loss as
        well. The log loss is infinite if a true class has probability 0.

    Arguments:
        probabilities: The probability of each class, with shape (N, C); each row must sum to 1.
        truth: The true class of each row, from 0 to C - 1, with shape (N).
        bins: The number of bins.
        resamples: The number of bootstrap resamples, and the number of sets of simulated labels for
            the floor.
        seed: The seed for resampling and for simulating labels.

    Raises:
        VariedError: If the rows are not probabilities, the labels are not classes, or ``bins`` is
            below 1.

    Example:
        >>> p = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
        >>> result = calibration(p, torch.tensor([0, 1]))
        >>> result.ece.value, result.brier.value, round(result.log_loss.value, 4)
        (0.0, 0.5, 0.6931)
    """
    p, labels = _probabilities_and_labels(probabilities, truth)
    if bins < 1:
        raise VariedError(f"bins={bins} must be at least 1; the default is {BINS}.")
    n, confidence = len(p), p.max(1)
    correct = (p.argmax(1) == labels).astype(np.float64)
    # Rows with the same confidence share the lowest of their ranks.
    rank = np.searchsorted(np.sort(confidence), confidence, side="left")
    bin_of = np.unique(rank * bins // n, return_inverse=True)[1].reshape(-1)

    def ece(rows: Ints | slice, correct: Floats) -> float:
        gap = np.bincount(bin_of[rows], (correct - confidence)[rows])
        return float(np.abs(gap).sum() / n)

    errors, floors = [], []
    for index in range(resamples):
        noise = generator(seed, "calibration", index)
        errors.append(ece(torch.randint(n, (n,), generator=noise).numpy(), correct))
        simulated = torch.rand(n, generator=noise, dtype=torch.float64).numpy() < confidence
        floors.append(ece(slice(None), simulated.astype(np.float64)))
    # scikit-learn's log_loss and brier_score_loss are not used, since they do not return the values
    # of single rows, and since log_loss clips probabilities of 0.
    with np.errstate(divide="ignore"):
        nats = -np.log(p[np.arange(n), labels])
    squared_error = ((p - np.eye(p.shape[1])[labels]) ** 2).sum(1)
    return Calibration(
        accuracy=_mean(correct),
        confidence=_mean(confidence),
        ece=Estimate(ece(slice(None), correct), float(sample_std(errors)), n),
        ece_floor=Estimate(
            float(np.mean(floors)) if floors else math.nan, float(sample_std(floors)), n
        ),
        brier=_mean(squared_error),
        log_loss=_mean(nats),
    )


@dataclass(frozen=True)
class Coverage:
    """The coverage of intervals.

    Arguments:
        coverage: The fraction of intervals that contain the true value, bounds included.
        ci_low: The lower bound of the Clopper-Pearson interval for ``coverage``.
        ci_high: The upper bound of the Clopper-Pearson interval.
        confidence: The confidence level of the Clopper-Pearson interval.
        below: The fraction of rows whose true value is below the interval.
        above: The fraction of rows whose true value is above the interval.
        width: The mean width of the intervals, in the units of the true values.
    """

    coverage: Estimate
    ci_low: float
    ci_high: float
    confidence: float
    below: float
    above: float
    width: float

    def __str__(self) -> str:
        interval = f"{100 * self.confidence:g}% CI {self.ci_low:.3f} to {self.ci_high:.3f}"
        return f"coverage {self.coverage} ({interval}), mean width {self.width:.4g}"


def coverage(low: Data, high: Data, truth: Data, *, confidence: float = 0.95) -> Coverage:
    """Return the fraction of intervals that contain the true value, with a confidence interval.

    If intervals have a coverage of 90%, the Clopper-Pearson interval contains 0.9 with at least
    the given confidence, for any number of rows.

    References:
        The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial (Clopper
        and Pearson, 1934), https://doi.org/10.1093/biomet/26.4.404

    Warning:
        High coverage alone is easy to achieve with wide intervals. Among methods with the right
        coverage, compare the widths of the intervals, and check whether most values outside their
        interval lie on the same side. Rows must be independent, so make a separate call for each
        column of a table.

    Arguments:
        low: The lower bound of each interval, with shape (N); may be negative infinity.
        high: The upper bound of each interval, with shape (N); may be infinity.
        truth: The true values, with shape (N).
        confidence: The confidence level of the Clopper-Pearson interval.

    Raises:
        VariedError: If the bounds of an interval are swapped, a bound is NaN, a true value is not
            finite, the shapes differ, or ``confidence`` is not above 0 and below 1.

    Example:
        >>> result = coverage(torch.zeros(4), torch.ones(4), torch.tensor([0.0, 0.5, 1.0, 2.0]))
        >>> result.coverage.value, result.above, result.width
        (0.75, 0.25, 1.0)
    """
    from scipy.stats import binomtest

    if not 0 < confidence < 1:
        raise VariedError(f"confidence={confidence} must be above 0 and below 1, such as 0.95.")
    a, b = (
        as_column(ends, f"{name} bounds", allow_infinite=True)
        for ends, name in ((low, "lower"), (high, "upper"))
    )
    values = as_column(truth, "true values")
    check_same_length(a, b, ("lower bounds", "upper bounds"))
    check_same_length(a, values, ("intervals", "true values"))
    reversed_rows = np.flatnonzero(a > b)
    if len(reversed_rows):
        row = reversed_rows[0]
        raise VariedError(
            f"The lower bound of row {row}, {a[row]:g}, is above its upper bound, {b[row]:g}; pass "
            "the lower bounds first."
        )
    inside = (a <= values) & (values <= b)
    ends = binomtest(int(inside.sum()), len(inside)).proportion_ci(confidence, method="exact")
    return Coverage(
        coverage=_mean(inside.astype(np.float64)),
        ci_low=float(ends.low),
        ci_high=float(ends.high),
        confidence=confidence,
        below=float((values < a).mean()),
        above=float((values > b).mean()),
        width=float((b - a).mean()),
    )


def _mean(values: Floats) -> Estimate:
    return Estimate.of(torch.from_numpy(values))


def _probabilities_and_labels(probabilities: Data, truth: Data) -> tuple[Floats, Ints]:
    """Return validated probabilities of two or more classes, and the class of each row."""
    p, labels = as_table(probabilities, "probabilities").numpy(), as_array(truth)
    if p.shape[1] < 2:
        raise VariedError(
            "There is only one column of probabilities; pass one column for each class."
        )
    invalid = np.flatnonzero((p < 0).any(1) | (np.abs(p.sum(1) - 1) > TOLERANCE))
    if len(invalid):
        raise VariedError(
            f"The probabilities of row {invalid[0]} are negative or do not sum to 1 "
            f"({len(invalid):,} such rows); apply softmax if they are logits."
        )
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise VariedError(
            f"The labels have shape {labels.shape} and type {labels.dtype}; pass the class of each "
            "row as an integer."
        )
    check_same_length(p, labels, ("rows of probabilities", "labels"))
    unknown = np.flatnonzero((labels < 0) | (labels >= p.shape[1]))
    if len(unknown):
        raise VariedError(
            f"Row {unknown[0]} has class {labels[unknown[0]]}, but the columns are for classes 0 "
            f"to {p.shape[1] - 1}; number the classes from 0, in the order of the columns."
        )
    return p, labels.astype(np.int64)
