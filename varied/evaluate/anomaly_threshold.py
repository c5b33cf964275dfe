"""Thresholds and p-values for anomaly scores, computed from the scores of normal rows.

A score is any number that is higher for more anomalous rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from varied.errors import VariedError
from varied.evaluate._checks import as_column
from varied.evaluate._types import Bools, Data, Floats


@dataclass(frozen=True)
class Threshold:
    """A threshold on anomaly scores with a guaranteed false-positive rate.

    Arguments:
        value: The threshold. Rows with a higher score are anomalous; rows with an equal score are
            not.
        bound: The upper confidence bound on the false-positive rate.
        confidence: The confidence level of that bound.
        expected_fpr: The expected false-positive rate.
        n: The number of normal scores from which the threshold was computed.
    """

    value: float
    bound: float
    confidence: float
    expected_fpr: float
    n: int

    def is_anomaly(self, scores: Data) -> Bools:
        """Return whether each row is anomalous, bool with shape (N)."""
        return np.asarray(as_column(scores, "scores") > self.value)

    def __str__(self) -> str:
        return (
            f"anomalous above {self.value:.6g}: false-positive rate of at most {self.bound:.3g} "
            f"with confidence {self.confidence:g}, based on {self.n:,} normal scores"
        )


def threshold(normal_scores: Data, *, max_fpr: float = 0.05, confidence: float = 0.95) -> Threshold:
    r"""Return a threshold with a bounded false-positive rate, for any score distribution.

    .. math:: t = s_{(n-m)},\quad
        m = \max\{m : P(\mathrm{Bin}(n, \alpha) \le m) \le 1 - \text{confidence}\}

    At most m of the n normal scores are above t; :math:`\alpha` is the maximum allowed rate. Over
    samples of the normal rows, the true rate has a Beta(m + 1, n - m) distribution if scores are
    continuous, and it is lower if scores are tied. Nothing is assumed about the fraction of
    anomalies.

    References:
        Determination of Sample Sizes for Setting Tolerance Limits (Wilks, 1941),
        https://doi.org/10.1214/aoms/1177731788

    Warning:
        The guarantee holds only for rows from the same distribution. Scores of training rows are
        too low, and anomalies among the normal rows raise the threshold.

    Arguments:
        normal_scores: The scores of normal rows that were held out from training, with shape (N).
        max_fpr: The maximum allowed false-positive rate, in (0, 1).
        confidence: The confidence level, in (0, 1).

    Raises:
        VariedError: If there are too few scores for the guarantee, a score is not finite, or
            ``max_fpr`` or ``confidence`` is not above 0 and below 1.

    Example:
        >>> import torch
        >>> threshold(torch.arange(1.0, 60.0)).value  # 5% with confidence 95% requires 59 scores
        59.0
    """
    from scipy.stats import beta, binom

    for name, value, example in (("max_fpr", max_fpr, 0.05), ("confidence", confidence, 0.95)):
        if not 0 < value < 1:
            raise VariedError(f"{name}={value} must be above 0 and below 1, such as {example}.")
    ordered = np.sort(as_column(normal_scores, "scores"))
    n = len(ordered)
    above = int((binom.sf(np.arange(n), n, max_fpr) >= confidence).sum()) - 1
    if above < 0:
        needed = math.ceil(math.log1p(-confidence) / math.log1p(-max_fpr))
        best = -math.expm1(math.log1p(-confidence) / n)
        raise VariedError(
            f"{n:,} normal scores cannot guarantee a false-positive rate of {max_fpr:.3g} with "
            f"confidence {confidence:g}; pass at least {needed:,} scores, or use "
            # The rate is rounded up, so that it can be guaranteed.
            f"max_fpr={math.ceil(best * 1e4) / 1e4:.4g}."
        )
    bound = float(beta.ppf(confidence, above + 1, n - above))
    return Threshold(float(ordered[n - above - 1]), bound, confidence, (above + 1) / (n + 1), n)


def p_values(scores: Data, normal_scores: Data) -> Floats:
    r"""Return the conformal p-value of each score, with shape (N).

    .. math:: p = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

    For a normal row that is exchangeable with the n held-out rows, :math:`P(p \le a) \le a` holds
    for all a, for any model and any distribution of scores, with or without ties.

    References:
        Testing for Outliers with Conformal p-values (Bates et al., 2023),
        https://arxiv.org/abs/2104.08279

    Warning:
        The guarantee is marginal over the n held-out rows and the new row, not conditional on the
        given n rows; use `threshold` for a conditional guarantee. Among many rows, some have small
        p-values by chance: correct for multiple testing with the Benjamini-Hochberg procedure,
        which is valid even though all p-values share the n rows.

    Arguments:
        scores: The scores to test, higher for more anomalous rows, with shape (N).
        normal_scores: The scores of normal rows that were held out from training, with shape (n).

    Raises:
        VariedError: If a score is not finite, or there are no scores.

    Example:
        >>> import torch
        >>> p_values(torch.tensor([0.0, 4.5, 9.0]), torch.arange(1.0, 10.0)).tolist()
        [1.0, 0.6, 0.2]
    """
    tested = as_column(scores, "scores")
    normal = np.sort(as_column(normal_scores, "normal scores"))
    at_least = len(normal) - np.searchsorted(normal, tested, side="left")
    return np.asarray((1 + at_least) / (len(normal) + 1))
