"""Anomaly detection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import OutlierMixin

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator
from varied.evaluate.anomaly_threshold import Threshold, threshold
from varied.seeding import permutation

Array = npt.NDArray[Any]

#: Fraction of the rows that is held out to set the threshold.
HELD_OUT = 0.1
#: Maximum number of normal rows in the nearest-neighbor search.
MAX_NORMAL_ROWS = 10_000
#: Relative tolerance of the threshold. The row that defines the threshold is normal, but its score
#: can differ in the last bits between batches.
TOLERANCE = 1e-9


@dataclass(eq=False, repr=False, kw_only=True)
class VAEDetector(OutlierMixin, Estimator):  # type: ignore[misc]
    """Anomaly detection with a variational autoencoder, by density and by distance to normal rows.

    The density is the importance-weighted log p(x). The distance is measured to the nearest
    training row, where each row is extended by its reconstruction residual; see
    `varied.functional.AnomalyScorer`. By default, the likelihood is a Gaussian with a scale for
    each column, and the prior is a mixture.

    Nothing is assumed about the fraction of anomalies. The threshold is set on a tenth of the rows,
    which are held out from training, so that the false-positive rate is at most ``max_fpr``. For
    ``max_fpr=0.05``, this holds with 95 % confidence if at least 59 rows are held out, and in
    expectation otherwise.

    Warning:
        The rows passed to `fit` are considered normal; anomalies among them raise the threshold.
        With fewer than 190 rows (for ``max_fpr=0.05``) there is no guarantee, and the threshold is
        the largest anomaly score among the held-out rows.

    Arguments:
        method: The anomaly score: "both", "density" (in nats) or "distance".
        max_fpr: Maximum allowed false-positive rate.
        samples: Number of importance samples for each score.

    Attributes:
        scorer_: The anomaly scorer, a `varied.functional.AnomalyScorer`.
        offset_: The threshold, which ``decision_function`` subtracts from ``score_samples``.
        threshold_: The threshold and its guarantee, a `varied.evaluate.Threshold`; None if there
            are too few held-out rows.
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
            ValueError: If the rows are not numeric, or there are fewer than two.
        """
        X = self._validate(X, fit=True)
        if not 0 < self.max_fpr < 1:
            raise VariedError(f"max_fpr must be between 0 and 1, got {self.max_fpr}.")
        order = permutation(len(X), self.seed_, "held out").numpy()
        n_held_out = max(1, round(HELD_OUT * len(X)))
        training, held_out = X[order[n_held_out:]], X[order[:n_held_out]]
        self._fit_model(training)
        self._require_density()
        options = {"method": self.method, "samples": self.samples, "seed": self.seed_}
        normal = training[:MAX_NORMAL_ROWS]
        self.scorer_ = self._apply(functional.AnomalyScorer, normal, **options)
        scores = -self._score(held_out)
        self.threshold_: Threshold | None = None
        try:
            self.threshold_ = threshold(scores, max_fpr=self.max_fpr)
            value = self.threshold_.value
        except VariedError:  # too few rows for a guarantee
            rank = max(int(self.max_fpr * (n_held_out + 1)) - 1, 0)
            value = float(np.sort(scores)[-1 - rank])
        self.offset_ = -value - TOLERANCE * max(1.0, abs(value))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return a normality score for each row, which is lower for anomalies.

        With ``method="density"``, this is log p(x) in nats, in the units of X.
        """
        return self._score(self._validate(X))

    def _score(self, X: Array) -> Array:
        result = self._apply(lambda model, load, batches: self.scorer_.score(batches), X)
        scores: Array = -result.score.numpy()
        return scores - self.scaler_.log_det(X) if self.method == "density" else scores

    def decision_function(self, X: Any) -> Array:
        """Return ``score_samples`` minus ``offset_``, which is negative for anomalies."""
        decisions: Array = self.score_samples(X) - self.offset_
        return decisions

    def predict(self, X: Any) -> Array:
        """Return -1 for anomalies and 1 for normal rows."""
        return np.where(self.decision_function(X) < 0, -1, 1)
