"""Metrics for anomaly detection, computed from scores and labels.

A score is any number that is higher for more anomalous rows. The best F1 over all thresholds is
omitted on purpose: it is computed from the labels that are also used to select its threshold, so
it cannot be achieved without labels.
"""

from __future__ import annotations

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
        auroc: The area under the ROC curve; the chance level is 0.5.
        average_precision: The area under the precision-recall curve; the chance level is the base
            rate.
        fpr: The false-positive rate at the given recall; the chance level is that recall.
        recall: The recall for ``fpr``: the fraction of anomalies that are detected.
        n_anomalies: The number of anomalies.
        n: The number of rows.
        warnings: Caveats about the reliability of the metrics.
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
        """The fraction of anomalies, which is the average precision of a random score."""
        return self.n_anomalies / self.n

    def __str__(self) -> str:
        lines = (
            f"AUROC {self.auroc} (chance level 0.5)",
            f"average precision {self.average_precision} (base rate {self.base_rate:.3g})",
            f"false-positive rate at {100 * self.recall:.0f}% recall {self.fpr}",
            f"{self.n_anomalies:,} anomalies in {self.n:,} rows",
            *self.warnings,
        )
        return "\n".join(lines)


def detection(
    scores: Data, truth: Data, *, recall: float = 0.95, resamples: int = 200, seed: int = 0
) -> Detection:
    """Return threshold-free metrics for anomaly detection.

    Each standard error is the standard deviation over bootstrap resamples that preserve the numbers
    of anomalies and of normal rows; all three metrics share the resamples. Standard errors are NaN
    if a class has only one row.

    Warning:
        Average precision depends on the fraction of anomalies, so only values with the same base
        rate are comparable. If a score separates the classes perfectly, it does so in every
        resample, and the standard error of 0 is meaningless: check the number of anomalies. A score
        whose sign, seed or settings were chosen with these labels is overfitted to them.

    Arguments:
        scores: The score of each row, which is higher for more anomalous rows, with shape (N).
        truth: 1 or True for an anomaly, 0 or False for a normal row, with shape (N).
        recall: The recall at which the false-positive rate is computed, in (0, 1].
        resamples: The number of bootstrap resamples for the standard errors.
        seed: The seed for resampling.

    Raises:
        VariedError: If a score is not finite, the shapes differ, a class has no rows, or the recall
            is out of range.
    """
    s, y = _scores_and_labels(scores, truth)
    _check_recall(recall)
    # All resamples of a class with one row are the same, so the standard error would be 0.
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
        scores: The score of each row, which is higher for more anomalous rows, with shape (N).
        truth: 1 or True for an anomaly, 0 or False for a normal row, with shape (N).

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
        scores: The score of each row, which is higher for more anomalous rows, with shape (N).
        truth: 1 or True for an anomaly, 0 or False for a normal row, with shape (N).

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

    Tied rows are detected together. In out-of-distribution detection, the metric at a recall of
    0.95 is known as FPR@95TPR.

    References:
        Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks (Liang
        et al., 2018), https://arxiv.org/abs/1706.02690

    Arguments:
        scores: The score of each row, which is higher for more anomalous rows, with shape (N).
        truth: 1 or True for an anomaly, 0 or False for a normal row, with shape (N).
        recall: The recall at which the false-positive rate is computed, in (0, 1].

    Raises:
        VariedError: As for `detection`.
    """
    s, y = _scores_and_labels(scores, truth)
    _check_recall(recall)
    return _metrics(s, y, recall)[2]


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
    """Return validated scores and boolean labels of the same length, with rows of both classes."""
    values, labels = as_column(scores, "scores"), as_array(truth)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise VariedError("The labels must be 1 for anomalies and 0 for normal rows.")
    check_same_length(values, labels, ("scores", "labels"))
    if labels.all() or not labels.any():
        only = "anomalies" if labels.all() else "normal"
        raise VariedError(f"All rows are {only}; rows of both classes are required.")
    return values, labels.astype(bool)


def _warnings(scores: Floats, truth: Bools, area: Estimate) -> tuple[str, ...]:
    warnings, fewest = [], int(np.bincount(truth).min())
    if np.ptp(scores) == 0:
        warnings.append("All scores are equal; check how they were computed.")
    if fewest < 10:
        noun = "row" if fewest == 1 else "rows"
        warnings.append(f"A class has only {fewest} {noun}, so the standard errors are unreliable.")
    if area.value + 3 * area.error < 0.5:
        warnings.append("Anomalies score lower than normal rows; check the sign of the scores.")
    return tuple(warnings)
