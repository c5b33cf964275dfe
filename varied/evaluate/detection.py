"""How well a score tells anomalies from normal rows, and where to draw the line without labels.

Here a score is any number of which higher means stranger. The figures of `detection` need the
truth, a `threshold` and `p_values` need normal rows alone. The best F1 over all thresholds is left
out on purpose: it picks its threshold by the labels that it is then judged on, so nobody who has
no labels can reach it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import beta, binom
from torch import Tensor

from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.seeding import generator

__all__ = [
    "Detection",
    "Threshold",
    "auroc",
    "average_precision",
    "detection",
    "fpr_at",
    "p_values",
    "threshold",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Figure = Callable[[Whole, Whole], float]

#: Bootstrap resamples behind a standard error.
RESAMPLES = 200


@dataclass(frozen=True)
class Detection:
    """How well a score finds anomalies.

    Arguments:
        auroc: Area under the curve of recall over false alarms; 0.5 is chance.
        average_precision: Mean precision over the anomalies; the base rate is chance.
        fpr: Share of normal rows that alarm where `recall` of the anomalies do; `recall` is chance.
        recall: That share of the anomalies.
        anomalies: How many rows are anomalies.
        rows: How many rows there are.
        warnings: What should keep a person from relying on the figures.
    """

    auroc: Estimate
    average_precision: Estimate
    fpr: Estimate
    recall: float
    anomalies: int
    rows: int
    warnings: tuple[str, ...] = ()

    @property
    def base_rate(self) -> float:
        """The share of anomalies: the average precision of a score that knows nothing."""
        return self.anomalies / self.rows

    def __str__(self) -> str:
        lines = (
            f"AUROC {self.auroc} (chance 0.5)",
            f"average precision {self.average_precision} (base rate {self.base_rate:.3g})",
            f"false alarms at {self.recall:.0%} recall {self.fpr}",
            f"{self.anomalies:,} anomalies in {self.rows:,} rows",
            *self.warnings,
        )
        return "\n".join(lines)


def detection(
    scores: Tensor | Array,
    truth: Tensor | Array,
    *,
    recall: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Detection:
    """Return how well scores find anomalies, whatever the threshold.

    Each standard error is the spread over bootstrap resamples that keep the number of anomalies
    and of normal rows (no formula such as DeLong's, so that all three figures have it alike). It
    is NaN where a class has a single row.

    Warning:
        Average precision moves with the share of anomalies, so it compares between figures of one
        base rate alone. No resample of a perfectly parted sample is other than perfect, so its
        error of 0 says nothing: look at the number of anomalies. A score whose sign, seed or
        settings were chosen by these labels has seen the test.

    Arguments:
        scores: A number for each row, higher for stranger, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).
        recall: The share of anomalies to be found, for the rate of false alarms.
        resamples: Bootstrap resamples for the standard errors.
        seed: Which resamples.

    Raises:
        VariedError: If a score is not finite, the shapes do not fit, or one class has no row.
    """
    rows = ranked(scores, truth)
    figures = (auroc_from_ranks, _precision, _false_alarms(recall))
    first, precision, alarms = _estimates(rows, figures, resamples, seed)
    anomalies, warnings = int(rows.truth.sum()), _warnings(rows, first)
    return Detection(first, precision, alarms, recall, anomalies, first.n, warnings)


def auroc(scores: Tensor | Array, truth: Tensor | Array) -> float:
    r"""Return the chance that an anomaly scores above a normal row, where a tie counts a half.

    .. math:: P(s_1 > s_0) + \tfrac12 P(s_1 = s_0)

    References:
        The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve
        (Hanley and McNeil, 1982), https://doi.org/10.1148/radiology.143.1.7063747

    Arguments:
        scores: A number for each row, higher for stranger, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).

    Raises:
        VariedError: As `detection`.

    Example:
        >>> auroc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1]))
        0.875
    """
    return auroc_from_ranks(*ranked(scores, truth).counts())


def average_precision(scores: Tensor | Array, truth: Tensor | Array) -> float:
    r"""Return the mean, over anomalies, of the precision where each is just found.

    .. math:: \sum_t (R_t - R_{t-1}) P_t

    over the distinct scores t from above, with recall R and precision P of all rows at or above t:
    no line is drawn between the points, which would be too kind. Chance is the base rate, not 0.5.

    References:
        The Relationship Between Precision-Recall and ROC Curves (Davis and Goadrich, 2006),
        https://doi.org/10.1145/1143844.1143874

    Arguments:
        scores: A number for each row, higher for stranger, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).

    Raises:
        VariedError: As `detection`.

    Example:
        >>> average_precision(torch.zeros(10), torch.arange(10) < 2)
        0.2
    """
    return _precision(*ranked(scores, truth).counts())


def fpr_at(scores: Tensor | Array, truth: Tensor | Array, *, recall: float = 0.95) -> float:
    """Return the least share of normal rows that alarm where `recall` of the anomalies do.

    Tied rows alarm together. It is the "FPR@95TPR" of the papers on data out of distribution.

    References:
        Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks (Liang
        et al., 2018), https://arxiv.org/abs/1706.02690

    Arguments:
        scores: A number for each row, higher for stranger, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).
        recall: The share of anomalies to be found, above 0 and up to 1.

    Raises:
        VariedError: As `detection`, or if `recall` is no such share.
    """
    return _false_alarms(recall)(*ranked(scores, truth).counts())


@dataclass(frozen=True)
class Threshold:
    """A line above which a score alarms, with what is promised of its false alarms.

    Arguments:
        value: A row alarms where its score is above this, never where it is equal.
        bound: The upper confidence bound on the true rate of false alarms.
        confidence: How sure that is.
        expected: The rate to be expected, over draws of the normal rows.
        n: The number of normal scores behind it.
    """

    value: float
    bound: float
    confidence: float
    expected: float
    n: int

    def alarms(self, scores: Tensor | Array) -> npt.NDArray[np.bool_]:
        """Return which rows alarm, as bool with shape (N)."""
        return np.asarray(_scores(scores) > self.value)

    def __str__(self) -> str:
        promise = f"{self.bound:.3g} false alarms at most with confidence {self.confidence:g}"
        return f"alarm above {self.value:.6g}: {promise}, from {self.n:,} normal scores"


def threshold(
    normal_scores: Tensor | Array, *, max_fpr: float = 0.05, confidence: float = 0.95
) -> Threshold:
    r"""Return a threshold whose rate of false alarms is bounded, whatever the scores' distribution.

    .. math:: t = s_{(n-m)},\quad
        m = \max\{m : P(\mathrm{Bin}(n, \alpha) \le m) \le 1 - \text{confidence}\}

    the score that m of the n normal ones may lie above, with :math:`\alpha` the rate asked for. Its
    true rate has a Beta(m + 1, n - m) distribution over draws of the normal rows, exactly so for
    continuous scores, and lies lower still where scores tie. No share of anomalies is assumed.

    References:
        Determination of Sample Sizes for Setting Tolerance Limits (Wilks, 1941),
        https://doi.org/10.1214/aoms/1177731788

    Warning:
        The promise is for rows drawn as these were. Scores of rows that the model was trained on
        are too low, and anomalies among these rows raise the threshold.

    Arguments:
        normal_scores: Scores of normal rows held out from training, with shape (N).
        max_fpr: The highest rate of false alarms, between 0 and 1.
        confidence: How sure to be of it, between 0 and 1.

    Raises:
        VariedError: If there are too few scores for the promise, or one is not finite.

    Example:
        >>> threshold(torch.arange(1.0, 60.0)).value  # 59 scores are the fewest for 5 % and 95 %
        59.0
    """
    if not (0 < max_fpr < 1 and 0 < confidence < 1):
        raise VariedError("False alarms and confidence are shares: give each between 0 and 1.")
    ordered = np.sort(_scores(normal_scores))
    n = len(ordered)
    above = int((binom.sf(np.arange(n), n, max_fpr) >= confidence).sum()) - 1
    if above < 0:
        raise VariedError(_too_few(n, max_fpr, confidence))
    bound = float(beta.ppf(confidence, above + 1, n - above))
    return Threshold(float(ordered[n - above - 1]), bound, confidence, (above + 1) / (n + 1), n)


def p_values(scores: Tensor | Array, normal_scores: Tensor | Array) -> Floats:
    r"""Return how rare a score is among normal ones, as conformal p-values with shape (N).

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    For a normal row that is exchangeable with the n held-out ones, :math:`P(p \le a) \le a` for
    each a, whatever the model and the distribution of its scores, ties or none.

    References:
        Testing for Outliers with Conformal p-values (Bates et al., 2023),
        https://arxiv.org/abs/2104.08279

    Warning:
        The guarantee is over draws of the n rows and the new one together, not for the n at hand:
        for that take a `threshold`. Of many rows some have small p-values by chance: correct for
        it by the procedure of Benjamini and Hochberg, which bears that all share the n rows.

    Arguments:
        scores: Scores to judge, higher for stranger, with shape (N).
        normal_scores: Scores of normal rows held out from training, with shape (n).

    Raises:
        VariedError: If a score is not finite, or there is none.

    Example:
        >>> p_values(torch.tensor([0.0, 4.5, 9.0]), torch.arange(1.0, 10.0)).tolist()
        [1.0, 0.6, 0.2]
    """
    judged, normal = _scores(scores), np.sort(_scores(normal_scores))
    at_least = len(normal) - np.searchsorted(normal, judged, side="left")
    return np.asarray((1 + at_least) / (len(normal) + 1))


def resampled(strata: Array, resamples: int, seed: int, purpose: str = "rows") -> Iterator[Whole]:
    """Yield N rows, int64, drawn with replacement within each stratum of strata with shape (N)."""
    members = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    for index in range(resamples):
        noise = generator(seed, purpose, index)
        drawn = [torch.randint(n, (n,), generator=noise).numpy() for n in map(len, members)]
        yield np.concatenate([some[rows] for some, rows in zip(members, drawn, strict=True)])


# The figures, from how many normal rows and anomalies there are at each distinct score, upwards


@dataclass(frozen=True)
class Ranked:
    """The place of each row's score among the distinct ones, and whether it is an anomaly."""

    place: Whole
    distinct: int
    truth: npt.NDArray[np.bool_]

    def counts(self, rows: Whole | slice = slice(None)) -> tuple[Whole, Whole]:
        """Return how many normal rows and anomalies have each distinct score."""
        cells = self.place[rows] * 2 + self.truth[rows]
        both = np.bincount(cells, minlength=self.distinct * 2).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def auroc_from_ranks(normal: Whole, strange: Whole) -> float:
    """Return the AUROC in whole numbers of halves, so that ties are exact."""
    below = 2 * np.cumsum(normal) - normal
    return float((strange * below).sum() / (2 * normal.sum() * strange.sum()))


def _precision(normal: Whole, strange: Whole) -> float:
    found, alarms = np.cumsum(strange[::-1]), np.cumsum((normal + strange)[::-1])
    return float((found / np.maximum(alarms, 1) * strange[::-1]).sum() / strange.sum())


def _false_alarms(recall: float) -> Figure:
    if not 0 < recall <= 1:
        raise VariedError(f"recall={recall} is no share of the anomalies: give one in (0, 1].")

    def figure(normal: Whole, strange: Whole) -> float:
        found, wrong = np.cumsum(strange[::-1]), np.cumsum(normal[::-1])
        needed = math.ceil(recall * found[-1] - 1e-9)  # whatever the last bit of the product
        return float(wrong[np.searchsorted(found, needed)] / wrong[-1])

    return figure


def _estimates(
    rows: Ranked, figures: tuple[Figure, ...], resamples: int, seed: int
) -> list[Estimate]:
    values, n = [figure(*rows.counts()) for figure in figures], len(rows.truth)
    # A class of one row is the same in each resample, which would pass for certainty.
    if resamples < 2 or np.bincount(rows.truth).min() < 2:
        return [Estimate(value, math.nan, n) for value in values]
    counts = (rows.counts(some) for some in resampled(rows.truth, resamples, seed, "detection"))
    drawn = np.array([[figure(*some) for figure in figures] for some in counts])
    errors = drawn.std(0, ddof=1).tolist()
    return [Estimate(value, error, n) for value, error in zip(values, errors, strict=True)]


def _warnings(rows: Ranked, found: Estimate) -> tuple[str, ...]:
    said, fewest = [], int(np.bincount(rows.truth).min())
    if rows.distinct == 1:
        said.append("All scores are equal, so they tell nothing: look at how they were made.")
    if fewest < 10:
        said.append(f"A class has {fewest} rows: the standard errors are themselves unsure.")
    if found.value + 3 * found.error < 0.5:
        said.append("Anomalies score lower than normal rows: does higher mean stranger here?")
    return tuple(said)


def ranked(scores: Tensor | Array, truth: Tensor | Array) -> Ranked:
    """Return checked scores and truth, ranked once for any number of figures and resamples."""
    values = _scores(scores)
    labels = np.asarray(truth.detach().cpu() if isinstance(truth, Tensor) else truth)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise VariedError("The truth is not a 0 or 1 for each row: give 1 for an anomaly, else 0.")
    if (n := len(values)) != len(labels):
        raise VariedError(f"There are {n:,} scores and {len(labels):,} labels: give one of each.")
    if labels.all() or not labels.any():
        which = "an anomaly" if labels.all() else "normal"
        raise VariedError(f"Every row is {which}, so nothing is told apart: give rows of both.")
    distinct, place = np.unique(values, return_inverse=True)
    return Ranked(place.reshape(-1), len(distinct), labels.astype(bool))


def _scores(given: Tensor | Array) -> Floats:
    rows = given.detach().cpu().double() if isinstance(given, Tensor) else given
    scores = np.asarray(rows, dtype=np.float64)
    if scores.ndim != 1 or not scores.size:
        raise VariedError(f"The scores have shape {scores.shape}: give one number for each row.")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        first = f"The score of row {bad[0]} is {scores[bad[0]]}"
        raise VariedError(f"{first} ({len(bad):,} such rows): mend it, or leave those rows out.")
    return scores


def _too_few(n: int, max_fpr: float, confidence: float) -> str:
    needed = math.ceil(math.log1p(-confidence) / math.log1p(-max_fpr))
    least = math.ceil(-math.expm1(math.log1p(-confidence) / n) * 1e4) / 1e4  # up: it can be held
    return (
        f"{n:,} normal scores cannot promise {max_fpr:.3g} false alarms at most with "
        f"confidence {confidence:g}, but {least:.4g} at best: give {needed:,}, or ask for less."
    )
