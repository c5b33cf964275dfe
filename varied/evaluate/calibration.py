"""Whether probabilities and intervals keep what they say: calibration, proper scores, coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import beta
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

__all__ = ["BINS", "Calibration", "Coverage", "Reliability", "calibration", "coverage"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: How many bins of equal numbers of rows.
BINS = 15

#: How far the probabilities of a row may add up beside 1: float16 is that far off.
SLACK = 2e-3


@dataclass(frozen=True)
class Reliability:
    """The points of a reliability curve, B bins of about equal numbers of rows, upwards.

    Arguments:
        confidence: Mean probability of the likeliest class, with shape (B).
        accuracy: Share of rows of which that is the class, with shape (B).
        low: Lower end of the 95 % interval of that share (Clopper-Pearson), with shape (B).
        high: Its upper end, with shape (B).
        rows: How many rows each bin has, with shape (B).
    """

    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    rows: Whole


@dataclass(frozen=True)
class Calibration:
    """How good class probabilities are.

    Arguments:
        accuracy: Share of rows of which the likeliest class is the true one.
        confidence: Mean probability of the likeliest class: above the accuracy, it is too sure.
        ece: Expected calibration error, a share.
        floor: The same where the probabilities are perfect: its mean on these rows, and, for
            its error, the spread of one draw.
        brier: Mean over rows of the squared error, summed over classes: from 0 to 2.
        log_loss: Mean of -log p(true class), in nats.
        reliability: The reliability curve, to be plotted.
    """

    accuracy: Estimate
    confidence: Estimate
    ece: Estimate
    floor: Estimate
    brier: Estimate
    log_loss: Estimate
    reliability: Reliability

    def __str__(self) -> str:
        lines = (
            f"accuracy {self.accuracy}, mean confidence {self.confidence}",
            f"calibration error {self.ece} (perfect probabilities: {self.floor})",
            f"Brier score {self.brier} (0 to 2)",
            f"log loss {self.log_loss} nats",
        )
        return "\n".join(lines)


def calibration(
    probabilities: Tensor | Array,
    truth: Tensor | Array,
    *,
    bins: int = BINS,
    resamples: int = 200,
    seed: int = 0,
) -> Calibration:
    r"""Return how good class probabilities are: calibration error, Brier score, log loss.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{accuracy}_b -
        \mathrm{confidence}_b \right|

    over bins b of about equal numbers of rows (rows of equal confidence share a bin) of the
    probability p of the likeliest class. The standard error is from bootstrap resamples of the
    rows within these bins' edges.

    References:
        On Calibration of Modern Neural Networks (Guo et al., 2017),
        https://arxiv.org/abs/1706.04599: the error. Mitigating Bias in Calibration Error
        Estimation (Roelofs et al., 2022), https://arxiv.org/abs/2012.08668: why bins of equal
        mass. Verification of Forecasts Expressed in Terms of Probability (Brier, 1950). Increasing
        the Reliability of Reliability Diagrams (Bröcker and Smith, 2007),
        https://doi.org/10.1175/WAF993.1: the floor, by resampled truth.

    Warning:
        The calibration error of perfect probabilities is not 0 but about
        :math:`\sqrt{2/\pi} \sum_b (\sum_{i \in b} p_i (1 - p_i))^{1/2} / N`: more with more bins or
        fewer rows. So it is measured beside it, as `floor`, by drawing what is right from the
        probabilities themselves; an error near the floor is no evidence of a fault. It looks at
        the likeliest class alone, and a guess by base rates is calibrated too: read it beside the
        log loss, which is infinite once a true class was given no chance.

    Arguments:
        probabilities: Of each class, with shape (N, C); each row adds up to 1.
        truth: The true class of each row, from 0 to C - 1, with shape (N).
        bins: How many bins.
        resamples: Bootstrap resamples, and draws of the floor.
        seed: Which of them.

    Raises:
        VariedError: If the rows are no probabilities, or the truth no classes.

    Example:
        >>> sure = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
        >>> found = calibration(sure, torch.tensor([0, 1]))
        >>> found.ece.value, found.brier.value, round(found.log_loss.value, 4)
        (0.0, 0.5, 0.6931)
    """
    p, known = _probabilities(probabilities), _classes(truth)
    _fits(p, known, bins)
    rows = np.arange(len(p))
    sure, right = p.max(1), (p.argmax(1) == known).astype(np.float64)
    place = _places(sure, bins)
    errors, floors = [], []
    for index in range(resamples):
        noise = generator(seed, "calibration", index)
        some = torch.randint(len(p), (len(p),), generator=noise).numpy()
        errors.append(_gap(place[some], right[some] - sure[some]))
        drawn = torch.rand(len(p), generator=noise, dtype=torch.float64).numpy() < sure
        floors.append(_gap(place, drawn - sure))
    with np.errstate(divide="ignore"):
        nats = -np.log(p[rows, known])
    # A class of no chance that came true: the mean is infinite, and has no standard error.
    return Calibration(
        accuracy=_mean(right),
        confidence=_mean(sure),
        ece=Estimate(_gap(place, right - sure), _spread(errors), len(p)),
        floor=Estimate(float(np.mean(floors)) if floors else math.nan, _spread(floors), len(p)),
        brier=_mean(((p - np.eye(p.shape[1])[known]) ** 2).sum(1)),
        log_loss=_mean(nats),
        reliability=_reliability(place, sure, right),
    )


@dataclass(frozen=True)
class Coverage:
    """How many intervals hold the truth.

    Arguments:
        share: Share of the intervals that hold the truth, their ends included.
        low: Lower end of the Clopper-Pearson interval of that share.
        high: Its upper end.
        confidence: Of that interval.
        below: Share of rows whose truth lies below the interval.
        above: Share of rows whose truth lies above it.
        width: Mean width of the intervals, in units of the truth.
    """

    share: Estimate
    low: float
    high: float
    confidence: float
    below: float
    above: float
    width: float

    def __str__(self) -> str:
        sure = f"{self.low:.3f} to {self.high:.3f} with confidence {self.confidence:g}"
        return f"coverage {self.share} ({sure}), mean width {self.width:.4g}"


def coverage(
    low: Tensor | Array, high: Tensor | Array, truth: Tensor | Array, *, confidence: float = 0.95
) -> Coverage:
    """Return how many intervals hold the truth, with an interval for that share that always holds.

    Intervals that promise 90 % and keep it show a share of which the Clopper-Pearson interval
    holds 0.9, at least as often as `confidence` says, for any number of rows.

    References:
        The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial (Clopper
        and Pearson, 1934), https://doi.org/10.1093/biomet/26.4.404

    Warning:
        The right share is cheap: intervals as wide as the data have it. Compare the widths of
        those that have it, and look whether the misses lie on one side. Rows must be independent,
        so give cells of one row in calls of their own, a column each.

    Arguments:
        low: Lower end of each interval, with shape (N); minus infinity where there is none.
        high: Upper end of each interval, with shape (N); infinity where there is none.
        truth: What is true, with shape (N).
        confidence: Of the interval of the share.

    Raises:
        VariedError: If an interval is upside down, a number is NaN, or the shapes do not fit.

    Example:
        >>> found = coverage(torch.zeros(4), torch.ones(4), torch.tensor([0.0, 0.5, 1.0, 2.0]))
        >>> found.share.value, found.above, found.width
        (0.75, 0.25, 1.0)
    """
    if not 0 < confidence < 1:
        raise VariedError(f"confidence={confidence} is no share: give a number between 0 and 1.")
    a, b = _column(low, "lower ends", infinite=True), _column(high, "upper ends", infinite=True)
    known = _column(truth, "truth")
    if not len(a) == len(b) == len(known):
        found = f"{len(a):,} lower ends, {len(b):,} upper ends and {len(known):,} rows of truth"
        raise VariedError(f"There are {found}: give one of each for each row.")
    crossed = np.flatnonzero(a > b)
    if len(crossed):
        raise VariedError(
            f"The interval of row {crossed[0]} ends at {b[crossed[0]]:g}, below its start at "
            f"{a[crossed[0]]:g}: give the lower ends first."
        )
    inside = (a <= known) & (known <= b)
    hits, rows = np.array([inside.sum()], float), np.array([len(inside)])
    start, end = _interval(hits, rows, confidence)
    return Coverage(
        share=_mean(inside.astype(np.float64)),
        low=float(start[0]),
        high=float(end[0]),
        confidence=confidence,
        below=float((known < a).mean()),
        above=float((known > b).mean()),
        width=float((b - a).mean()),
    )


def _places(sure: Floats, bins: int) -> Whole:
    """Return the bin of each row by its rank; rows of one confidence share that of the first."""
    rank = np.searchsorted(np.sort(sure), sure, side="left")
    _, place = np.unique(rank * bins // len(sure), return_inverse=True)
    return np.asarray(place.reshape(-1), dtype=np.int64)


def _gap(place: Whole, excess: Floats) -> float:
    """Return the calibration error of rows in bins, each right (1) or wrong (0) less how sure."""
    return float(np.abs(np.bincount(place, excess)).sum() / len(excess))


def _reliability(place: Whole, sure: Floats, right: Floats) -> Reliability:
    rows, hits = np.bincount(place), np.bincount(place, right).astype(np.float64)
    low, high = _interval(hits, rows, 0.95)
    return Reliability(np.bincount(place, sure) / rows, hits / rows, low, high, rows)


def _interval(hits: Floats, rows: Whole, confidence: float) -> tuple[Floats, Floats]:
    """Return the ends of the Clopper-Pearson interval of a share; NaN stands for 0 or 1."""
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, rows - hits + 1)
    high = beta.ppf(1 - tail, hits + 1, rows - hits)
    return np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=1.0)


def _mean(values: Floats) -> Estimate:
    return Estimate.of(torch.from_numpy(values))


def _spread(drawn: list[float]) -> float:
    return float(np.std(drawn, ddof=1)) if len(drawn) > 1 else math.nan


# What is let in


def _probabilities(given: Tensor | Array) -> Floats:
    rows = given.detach().cpu().double() if isinstance(given, Tensor) else given
    p = np.asarray(rows, dtype=np.float64)
    if p.ndim != 2 or not len(p) or p.shape[1] < 2:
        raise VariedError(
            f"The probabilities have shape {p.shape}: give (N, C), one for each of 2 or more "
            "classes; for p of the one of two, give 1 - p beside it."
        )
    # Written so that NaN is refused too.
    fits = (p >= 0).all(1) & (np.abs(p.sum(1) - 1) <= SLACK)
    if not fits.all():
        raise VariedError(
            f"Row {np.flatnonzero(~fits)[0]} holds no probabilities that add up to 1 "
            f"({int((~fits).sum()):,} such rows): apply softmax if they are logits."
        )
    return p


def _classes(given: Tensor | Array) -> Whole:
    known = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if known.ndim != 1 or known.dtype.kind not in "biu":
        raise VariedError(
            f"The truth has shape {known.shape} and type {known.dtype}: give the class of each "
            "row as a whole number, from 0 up."
        )
    return known.astype(np.int64)


def _fits(p: Floats, known: Whole, bins: int) -> None:
    if len(p) != len(known):
        raise VariedError(
            f"There are {len(p):,} rows of probabilities and {len(known):,} of truth: "
            "give one for each."
        )
    bad = np.flatnonzero((known < 0) | (known >= p.shape[1]))
    if len(bad):
        raise VariedError(
            f"Row {bad[0]} is of class {known[bad[0]]}, and there are probabilities of classes 0 "
            f"to {p.shape[1] - 1}: number the classes as the columns are."
        )
    if bins < 1:
        raise VariedError(f"bins={bins} holds no row: give 1 or more; {BINS} is usual.")


def _column(given: Tensor | Array, what: str, *, infinite: bool = False) -> Floats:
    rows = given.detach().cpu().double() if isinstance(given, Tensor) else given
    column = np.asarray(rows, dtype=np.float64)
    if column.ndim != 1 or not column.size:
        raise VariedError(
            f"The {what} have shape {column.shape}: give one column, a number for each row."
        )
    bad = np.flatnonzero(np.isnan(column) if infinite else ~np.isfinite(column))
    if len(bad):
        raise VariedError(
            f"Row {bad[0]} of the {what} is {column[bad[0]]} ({len(bad):,} such rows): "
            "leave those rows out and say so."
        )
    return column
