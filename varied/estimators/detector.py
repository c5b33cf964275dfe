"""Anomaly detection."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import OutlierMixin

from varied import functional
from varied.errors import DataWarning, VariedError
from varied.estimators.base import Estimator
from varied.evaluate.anomaly_threshold import Threshold, threshold
from varied.evaluate.separate_cluster import separate_cluster
from varied.seeding import permutation

Array = npt.NDArray[Any]

#: The fraction of the rows that is held out to set the threshold, if this leaves enough rows.
HELD_OUT = 0.1
#: The number of folds for cross-fitting, if too few rows can be held out.
FOLDS = 5
#: The confidence level of the bound on the false-positive rate.
CONFIDENCE = 0.95
#: The maximum number of normal rows in the nearest-neighbor search.
MAX_NORMAL_ROWS = 10_000
#: The relative tolerance of the threshold. The row that defines the threshold is normal, but its
#: score can differ in the last bits between batches.
TOLERANCE = 1e-9


@dataclass(eq=False, repr=False, kw_only=True)
class VAEDetector(OutlierMixin, Estimator):  # type: ignore[misc]
    """Anomaly detection with a variational autoencoder, by density and by distance to normal rows.

    The density is an importance-weighted estimate of log p(x). The distance is measured to the
    nearest training row, where each row is extended by its reconstruction residual; see
    `varied.functional.AnomalyScorer`. By default, the likelihood is a Gaussian with a scale for
    each column, and the prior is a mixture.

    Nothing is assumed about the fraction of anomalies. The threshold is set on a tenth of the rows,
    which are held out from training, so that the false-positive rate is at most ``max_fpr`` with
    95% confidence. For ``max_fpr=0.05``, this requires 59 held-out rows. With fewer rows, the
    threshold is set by cross-fitting instead: each of five models scores the fifth of the rows that
    it was not trained on, and the final model is trained on all rows. The false-positive rate is
    then at most ``max_fpr`` on average, and training takes six times as long.

    Rows that occur several times are held out together, since a copy of a training row is not a new
    row; in tables without numeric columns, copies are expected, and each row is held out by itself.

    References:
        Predictive inference with the jackknife+ (Barber et al., 2021),
        https://arxiv.org/abs/1905.02928, on cross-fitting.

    Warning:
        The rows passed to `fit` are considered normal; anomalies among them raise the threshold.
        If some of them form a small separate cluster, `fit` issues a `varied.errors.DataWarning`;
        see `varied.evaluate.separate_cluster`.
        With fewer than 19 rows (for ``max_fpr=0.05``), the threshold is the largest score, and more
        than 5% of normal rows may be above it.

    Arguments:
        method: The anomaly score: "both", "density" (in nats) or "distance".
        max_fpr: The maximum allowed false-positive rate.
        samples: The number of importance samples for each score.

    Attributes:
        scorer_: The anomaly scorer, a `varied.functional.AnomalyScorer`.
        offset_: The threshold, which ``decision_function`` subtracts from ``score_samples``.
        threshold_: The threshold and its guarantee, a `varied.evaluate.Threshold`; None if the
            threshold was set by cross-fitting.
        model_: The model, a `varied.models.LatentModel` in float64.
        spec_: The specification of the model and its training, a `varied.Spec`.
        loss_curve_: The loss at each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = VAEDetector(steps=50, random_state=0).fit(x)
        >>> detector.predict([[0, 0, 0], [50, 50, 50]])
        array([ 1, -1])
    """

    default_parts = Estimator.default_parts | {
        "likelihood": {"name": "gaussian", "scale": "per-element", "min_scale": 0.05},
        "prior": "learned-gmm",
    }
    min_steps = 1500

    method: str = "both"
    max_fpr: float = 0.05
    samples: int = 50

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to normal rows; ``y`` is ignored.

        Raises:
            ValueError: If a column contains infinite values, free text or identifiers, or there are
                fewer than two rows.
        """
        X = self._validate(X, fit=True)
        if not 0 < self.max_fpr < 1:
            raise VariedError(
                f"max_fpr must be above 0 and below 1, got {self.max_fpr}; the default is 0.05."
            )
        self._warn_about_cluster(X)
        groups = self._groups(X)
        n_groups = groups.max() + 1
        order = permutation(n_groups, self.seed_, "held out").numpy()
        n_held_out = max(1, round(HELD_OUT * n_groups))
        n_required = math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-self.max_fpr))
        self.threshold_: Threshold | None = None
        if n_held_out >= n_required:
            scores = self._fit_scorer(X, groups, order, order[:n_held_out])
            self.threshold_ = threshold(scores, max_fpr=self.max_fpr, confidence=CONFIDENCE)
            value = self.threshold_.value
        else:
            folds = np.array_split(order, min(FOLDS, n_groups))
            scores = np.concatenate([self._fit_scorer(X, groups, order, f) for f in folds])
            self._fit_scorer(X, groups, order, order[:0])
            rank = max(int(self.max_fpr * (len(scores) + 1)) - 1, 0)
            value = float(np.sort(scores)[-1 - rank])
        self.offset_ = -value - TOLERANCE * max(1.0, abs(value))
        return self

    def _warn_about_cluster(self, X: Array) -> None:
        """Warn if rows form a separate cluster, since a model would learn them as normal."""
        is_number = [not support.levels for support in self.converter_.supports]
        rows = np.flatnonzero(separate_cluster(X[:, is_number]))
        if len(rows):
            warnings.warn(
                f"{len(rows):,} of {len(X):,} training rows (such as row {rows[0]}) form a small "
                "separate cluster, which is learned as normal; remove them if they are anomalies "
                "(varied.evaluate.separate_cluster finds them).",
                DataWarning,
                stacklevel=3,
            )

    def _groups(self, X: Array) -> npt.NDArray[np.int64]:
        """Return the group of each row; equal rows are in one group if any column is numeric."""
        is_numeric = not all(support.levels for support in self.converter_.supports)
        index: dict[bytes, int] = {}
        groups = np.array([index.setdefault(row.tobytes(), len(index)) for row in X])
        return groups if is_numeric and len(index) > 1 else np.arange(len(X))

    def _fit_scorer(self, X: Array, groups: Array, order: Array, held_out: Array) -> Array:
        """Fit the model and the scorer, and return the anomaly scores of held-out rows.

        Arguments:
            X: The rows.
            groups: The group of each row.
            order: The order of the groups.
            held_out: The groups that are held out, each of which is represented by its first row.
        """
        rows = np.argsort(np.argsort(order)[groups], kind="stable")
        training = X[rows[~np.isin(groups[rows], held_out)]]
        self._fit_model(training)
        self._require_density()
        options = {"method": self.method, "samples": self.samples, "seed": self.seed_}
        normal = training[:MAX_NORMAL_ROWS]
        self.scorer_ = self._apply(functional.AnomalyScorer, normal, **options)
        first = np.unique(groups, return_index=True)[1]
        return -self._score(X[first[held_out]]) if len(held_out) else np.zeros(0)

    def score_samples(self, X: Any) -> Array:
        """Return a normality score for each row, which is lower for anomalies.

        With ``method="density"``, this is log p(x) in nats, in the units of X. For a row with
        missing values, log p(x) of the observed values is mapped linearly to the scale of complete
        rows, by comparison with training rows in which the same values are hidden.
        """
        return self._score(self._validate(X))

    def _score(self, X: Array) -> Array:
        result = self._apply(lambda model, load, batches: self.scorer_.score(batches), X)
        scores: Array = -result.score.numpy()
        if self.method != "density":
            return scores
        is_scaled = self.scaler_.domain != "table"  # the score is on the scale of complete rows
        return scores - self.scaler_.log_det(np.nan_to_num(X) if is_scaled else X)

    def decision_function(self, X: Any) -> Array:
        """Return ``score_samples`` minus ``offset_``, which is negative for anomalies."""
        decisions: Array = self.score_samples(X) - self.offset_
        return decisions

    def predict(self, X: Any) -> Array:
        """Return -1 for anomalies and 1 for normal rows."""
        return np.where(self.decision_function(X) < 0, -1, 1)
