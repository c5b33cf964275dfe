"""Anomaly detection: metrics with labels, and thresholds and p-values without.

A score is any number that is higher for more anomalous rows. `detection` needs labels; `threshold`
and `p_values` only need normal rows. The best F1 over all thresholds is omitted on purpose: it
selects its threshold with the labels that it is then computed from, so it cannot be achieved
without labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from varied.errors import VariedError
from varied.evaluate._checks import as_array, as_column, check_same_length
from varied.evaluate._resampling import resample_strata, sample_std
from varied.evaluate._types import Bools, Data, Floats
from varied.evaluate.estimate import Estimate


@dataclass(frozen=True)
class Detection:
    """How well a score separates anomalies from normal rows.

    Arguments:
        auroc: The area under the ROC curve; chance level 0.5.
        average_precision: The area under the precision-recall curve; chance level: the base rate.
        fpr: The false-positive rate at the given recall; chance level: that recall.
        recall: The fraction of the anomalies that is detected.
        n_anomalies: The number of anomalies.
        n: The number of rows.
        warnings: What to know before trusting the metrics, one sentence each.
    """

    auroc: Estimate
    average_precision: Estimate
    fpr: Estimate
    recall: float
    n_anomalies: int
    n: int
    warnings: tuple[str, ...] = ()

    @property
    def base_rate(self) -> float:
        """The fraction of anomalies: the average precision of a random score."""
        return self.n_anomalies / self.n

    def __str__(self) -> str:
        lines = (
            f"AUROC {self.auroc} (chance level 0.5)",
            f"average precision {self.average_precision} (base rate {self.base_rate:.3g})",
            f"false-positive rate at {self.recall:.0%} recall {self.fpr}",
            f"{self.n_anomalies:,} anomalies in {self.n:,} rows",
            *self.warnings,
        )
        return "\n".join(lines)


def detection(
    scores: Data, truth: Data, *, recall: float = 0.95, resamples: int = 200, seed: int = 0
) -> Detection:
    """Return threshold-free metrics of anomaly detection.

    Each standard error is the standard deviation over bootstrap resamples that keep the numbers of
    anomalies and of normal rows, the same for all three metrics. It is NaN if a class has one row.

    Warning:
        Average precision depends on the fraction of anomalies, so only values of the same base rate
        are comparable. If a score separates the classes perfectly, every resample does too, and
        the standard error of 0 is meaningless: check the number of anomalies. A score whose sign,
        seed or settings were chosen with these labels is overfitted to them.

    Arguments:
        scores: The score of each row, higher for more anomalous ones, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).
        recall: The fraction of the anomalies to detect, for the false-positive rate.
        resamples: The number of bootstrap resamples for the standard errors.
        seed: The seed of the resamples.

    Raises:
        VariedError: If a score is not finite, the shapes differ, or a class has no row.
    """
    s, y = _scores_and_labels(scores, truth)
    _check_recall(recall)
    # All resamples of a class of one row are the same, which would seem certain.
    resamples = 0 if np.bincount(y).min() < 2 else resamples
    draws = resample_strata(y, resamples, seed, "detection")
    errors = np.broadcast_to(sample_std([_metrics(s[i], y[i], recall) for i in draws]), 3)
    columns = zip(_metrics(s, y, recall), errors, strict=True)
    area, precision, fpr = (Estimate(value, float(error), len(s)) for value, error in columns)
    return Detection(area, precision, fpr, recall, int(y.sum()), len(s), _warnings(s, y, area))


def auroc(scores: Data, truth: Data) -> float:
    r"""Return the probability that an anomaly scores higher than a normal row.

    .. math:: P(s_1 > s_0) + \tfrac12 P(s_1 = s_0)

    References:
        The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve
        (Hanley and McNeil, 1982), https://doi.org/10.1148/radiology.143.1.7063747

    Arguments:
        scores: The score of each row, higher for more anomalous ones, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).

    Raises:
        VariedError: As for `detection`.

    Example:
        >>> import torch
        >>> auroc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1]))
        0.875
    """
    return binary_auroc(*_scores_and_labels(scores, truth))


def average_precision(scores: Data, truth: Data) -> float:
    r"""Return the area under the precision-recall curve, without interpolation.

    .. math:: \sum_t (R_t - R_{t-1}) P_t

    over the distinct scores t in descending order, with the recall R and precision P of all rows
    with a score of at least t. Linear interpolation would be too optimistic. The chance level is
    the base rate, not 0.5.

    References:
        The Relationship Between Precision-Recall and ROC Curves (Davis and Goadrich, 2006),
        https://doi.org/10.1145/1143844.1143874

    Arguments:
        scores: The score of each row, higher for more anomalous ones, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).

    Raises:
        VariedError: As for `detection`.

    Example:
        >>> import torch
        >>> average_precision(torch.zeros(10), torch.arange(10) < 2)
        0.2
    """
    return _metrics(*_scores_and_labels(scores, truth), 1.0)[1]


def fpr_at(scores: Data, truth: Data, *, recall: float = 0.95) -> float:
    """Return the lowest false-positive rate at which the given recall is reached.

    Tied rows are detected together. It is known as FPR@95TPR in out-of-distribution detection.

    References:
        Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks (Liang
        et al., 2018), https://arxiv.org/abs/1706.02690

    Arguments:
        scores: The score of each row, higher for more anomalous ones, with shape (N).
        truth: 1 or True for an anomaly, else 0, with shape (N).
        recall: The fraction of the anomalies to detect, in (0, 1].

    Raises:
        VariedError: As for `detection`, or if the recall is out of range.
    """
    s, y = _scores_and_labels(scores, truth)
    _check_recall(recall)
    return _metrics(s, y, recall)[2]


@dataclass(frozen=True)
class Threshold:
    """A threshold on anomaly scores with a guaranteed false-positive rate.

    Arguments:
        value: Rows with a score above this are anomalous; rows with an equal score are not.
        bound: The upper confidence bound on the false-positive rate.
        confidence: The confidence level of that bound.
        expected_fpr: The expected false-positive rate.
        n: The number of normal scores that the threshold was computed from.
    """

    value: float
    bound: float
    confidence: float
    expected_fpr: float
    n: int

    def is_anomaly(self, scores: Data) -> Bools:
        """Return which rows are anomalous, with shape (N)."""
        return np.asarray(as_column(scores, "scores") > self.value)

    def __str__(self) -> str:
        return (
            f"anomalous above {self.value:.6g}: false-positive rate of at most {self.bound:.3g} "
            f"with confidence {self.confidence:g}, from {self.n:,} normal scores"
        )


def threshold(normal_scores: Data, *, max_fpr: float = 0.05, confidence: float = 0.95) -> Threshold:
    r"""Return a threshold with a bounded false-positive rate, for any distribution of scores.

    .. math:: t = s_{(n-m)},\quad
        m = \max\{m : P(\mathrm{Bin}(n, \alpha) \le m) \le 1 - \text{confidence}\}

    At most m of the n normal scores are above it; :math:`\alpha` is the largest allowed rate. Over
    samples of the normal rows, the true rate has a Beta(m + 1, n - m) distribution if scores are
    continuous, and is lower if scores are tied. No fraction of anomalies is assumed.

    References:
        Determination of Sample Sizes for Setting Tolerance Limits (Wilks, 1941),
        https://doi.org/10.1214/aoms/1177731788

    Warning:
        The guarantee holds for rows from the same distribution. Scores of training rows are too
        low, and anomalies among the normal rows raise the threshold.

    Arguments:
        normal_scores: The scores of normal rows that were held out from training, with shape (N).
        max_fpr: The largest allowed false-positive rate, in (0, 1).
        confidence: The confidence level, in (0, 1).

    Raises:
        VariedError: If there are too few scores for the guarantee, or one is not finite.

    Example:
        >>> import torch
        >>> threshold(torch.arange(1.0, 60.0)).value  # 5 % with confidence 95 % needs 59 scores
        59.0
    """
    from scipy.stats import beta, binom

    if not (0 < max_fpr < 1 and 0 < confidence < 1):
        raise VariedError("max_fpr and confidence must be between 0 and 1.")
    ordered = np.sort(as_column(normal_scores, "scores"))
    n = len(ordered)
    above = int((binom.sf(np.arange(n), n, max_fpr) >= confidence).sum()) - 1
    if above < 0:
        needed = math.ceil(math.log1p(-confidence) / math.log1p(-max_fpr))
        best = -math.expm1(math.log1p(-confidence) / n)
        raise VariedError(
            f"{n:,} normal scores cannot guarantee a false-positive rate of {max_fpr:.3g} with "
            f"confidence {confidence:g}: give {needed:,}, or allow "
            f"{math.ceil(best * 1e4) / 1e4:.4g}."  # rounded up, so that it can be guaranteed
        )
    bound = float(beta.ppf(confidence, above + 1, n - above))
    return Threshold(float(ordered[n - above - 1]), bound, confidence, (above + 1) / (n + 1), n)


def p_values(scores: Data, normal_scores: Data) -> Floats:
    r"""Return the conformal p-value of each score, with shape (N).

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    For a normal row that is exchangeable with the n held-out ones, :math:`P(p \le a) \le a` for
    all a, for any model and any distribution of scores, with or without ties.

    References:
        Testing for Outliers with Conformal p-values (Bates et al., 2023),
        https://arxiv.org/abs/2104.08279

    Warning:
        The guarantee is over joint samples of the n rows and the new one, not for the n rows at
        hand; use `threshold` for that. Among many rows, some have small p-values by chance: correct
        for multiple testing by the Benjamini-Hochberg procedure, which is valid even though all
        p-values share the n rows.

    Arguments:
        scores: The scores to test, higher for more anomalous rows, with shape (N).
        normal_scores: The scores of normal rows that were held out from training, with shape (n).

    Raises:
        VariedError: If a score is not finite, or there is none.

    Example:
        >>> import torch
        >>> p_values(torch.tensor([0.0, 4.5, 9.0]), torch.arange(1.0, 10.0)).tolist()
        [1.0, 0.6, 0.2]
    """
    tested = as_column(scores, "scores")
    normal = np.sort(as_column(normal_scores, "normal scores"))
    at_least = len(normal) - np.searchsorted(normal, tested, side="left")
    return np.asarray((1 + at_least) / (len(normal) + 1))


def binary_auroc(scores: Floats, truth: Bools) -> float:
    """Return the AUROC without checking the arguments."""
    from sklearn.metrics import auc, roc_curve

    return float(auc(*roc_curve(truth, scores, drop_intermediate=False)[:2]))


def _metrics(scores: Floats, truth: Bools, recall: float) -> tuple[float, float, float]:
    """Return the AUROC, the average precision, and the false-positive rate at a recall."""
    from sklearn.metrics import auc, average_precision_score, roc_curve

    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    precision = average_precision_score(truth, scores)
    # The tolerance allows for rounding, as in recall=0.1 + 0.2.
    return float(auc(fpr, tpr)), float(precision), float(fpr[tpr >= recall - 1e-9].min())


def _check_recall(recall: float) -> None:
    if not 0 < recall <= 1:
        raise VariedError(f"recall={recall} must be above 0 and at most 1.")


def _scores_and_labels(scores: Data, truth: Data) -> tuple[Floats, Bools]:
    """Return valid scores and boolean labels of the same length, with rows of both classes."""
    values, labels = as_column(scores, "scores"), as_array(truth)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise VariedError("The labels must be 1 for anomalies and 0 for normal rows.")
    check_same_length(values, labels, ("scores", "labels"))
    if labels.all() or not labels.any():
        only = "anomalies" if labels.all() else "normal rows"
        raise VariedError(f"There are only {only}: give rows of both classes.")
    return values, labels.astype(bool)


def _warnings(scores: Floats, truth: Bools, area: Estimate) -> tuple[str, ...]:
    warnings, fewest = [], int(np.bincount(truth).min())
    if np.ptp(scores) == 0:
        warnings.append("All scores are equal: check how they were computed.")
    if fewest < 10:
        warnings.append(f"A class has only {fewest} rows, so the standard errors are unreliable.")
    if area.value + 3 * area.error < 0.5:
        warnings.append("Anomalies score lower than normal rows: check the sign of the scores.")
    return tuple(warnings)
