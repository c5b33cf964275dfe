"""Rows that are unlike those of the training."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import OutlierMixin

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import NO_DENSITY, Estimator, identity, isolated_rng
from varied.evaluate.detection import Threshold, threshold
from varied.seeding import permutation

__all__ = ["VAEDetector"]

Array = npt.NDArray[Any]

#: The share of the rows that is held out to draw the line.
HELD_OUT = 0.1
#: Rows at most that others are judged beside.
MOST = 10_000
#: How far beyond the line, as a part of it, a row is strange: the row that drew the line is normal,
#: and in other company its score differs in the last bits.
ROUNDING = 1e-9
LIKELIHOOD = {"name": "gaussian", "scale": "per-element", "min_scale": 0.05}


class VAEDetector(OutlierMixin, Estimator):  # type: ignore[misc]
    r"""Anomalies by a variational autoencoder: rows of low density, or far from any normal row.

    The density is the importance-weighted log p(x), the distance that from the nearest row of the
    training, in what a row is and what the model leaves of it; see `varied.functional.AnomalyScorer`.

    No share of anomalies is assumed. A tenth of the rows is held out of training, and the line is
    drawn on their scores, so that at most ``max_fpr`` of rows like them alarm: with 95 %
    confidence where 59 or more are held out (at 5 %), in expectation where they are fewer.

    Warning:
        The rows of `fit` are taken as normal; anomalies among them raise the line. With fewer than
        190 rows (at 5 %) no line keeps the promise, and the most that was held out is taken.

    Arguments:
        latent: The number of latent dimensions; None chooses: half the columns, up to 16.
        method: "both", "density" alone (in nats) or "distance" alone.
        max_fpr: The share of normal rows that may alarm.
        samples: Importance samples behind each score.
        net: The network of encoder and decoder, a name or a dict with a name and its settings;
            None takes two layers of 128.
        likelihood: p(x given z); None takes a Gaussian with a scale for each column.
        prior: p(z); None takes a mixture.
        posterior: q(z given x); None takes the Gaussian.
        objective: What is minimized; None takes the ELBO, whose KL rises over the first fifth.
        epochs: Passes over the rows; at most one of this and ``steps`` is given.
        steps: Steps of one batch; None takes 1,500, or ten passes where that is more.
        batch_size: Rows in each step.
        lr: The learning rate at its highest.
        random_state: An int for the same numbers each time, a ``RandomState``, or None for new
            numbers; numpy's global state is not touched.
        threads: Processor threads.

    Attributes:
        normal_: What normal rows are like, a `varied.functional.AnomalyScorer`.
        offset_: The line: ``decision_function`` is ``score_samples`` less this.
        threshold_: What is promised of it, a `varied.evaluate.Threshold`; None where the held-out
            rows are too few.
        model_: The model, a `varied.models.LatentModel`, in float64.
        spec_: All that was chosen, a `varied.Spec`.
        loss_curve_: The loss of each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = VAEDetector(steps=50, random_state=0).fit(x)
        >>> detector.predict([[0, 0, 0], [50, 50, 50]])
        array([ 1, -1])
    """

    least = 1500

    def __init__(
        self,
        latent: int | None = None,
        *,
        method: str = "both",
        max_fpr: float = 0.05,
        samples: int = 50,
        net: Any = None,
        likelihood: Any = None,
        prior: Any = None,
        posterior: Any = None,
        objective: Any = None,
        epochs: float | None = None,
        steps: int | None = None,
        batch_size: int = 128,
        lr: float = 3e-3,
        random_state: Any = None,
        threads: int = 1,
    ) -> None:
        self.method = method
        self.max_fpr = max_fpr
        self.samples = samples
        self.latent = latent
        self.net = net
        self.likelihood = likelihood
        self.prior = prior
        self.posterior = posterior
        self.objective = objective
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.random_state = random_state
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on normal rows; ``y`` is not read.

        Raises:
            ValueError: If the rows are no numbers, or there are fewer than two.
        """
        X = self._read(X, fit=True)
        if not 0 < self.max_fpr < 1:
            raise VariedError(f"max_fpr={self.max_fpr} is a share of the rows; 0.05 is usual.")
        order = permutation(len(X), self.seed_, "held out").numpy()
        aside = max(1, round(HELD_OUT * len(X)))
        own, held = X[order[aside:]], X[order[:aside]]
        self._learn(own, likelihood=LIKELIHOOD, prior="learned-gmm")
        if "density" not in self.model_.provides:
            raise VariedError(NO_DENSITY)
        with isolated_rng(self.threads):
            self.normal_ = functional.AnomalyScorer(
                self.model_,
                identity,
                self._chunks(own[:MOST]),
                method=self.method,
                samples=self.samples,
                seed=self.seed_,
            )
        strange = -self._scored(held)
        self.threshold_: Threshold | None
        try:
            self.threshold_ = threshold(strange, max_fpr=self.max_fpr)
            line = self.threshold_.value
        except VariedError:
            self.threshold_ = None
            above = max(int(self.max_fpr * (aside + 1)) - 1, 0)
            line = float(np.sort(strange)[-1 - above])
        self.offset_ = -line - ROUNDING * max(1.0, abs(line))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return how normal each row is; higher is more normal.

        With ``method="density"`` it is log p(x), in nats and in units of X.
        """
        return self._scored(self._read(X))

    def _scored(self, X: Array) -> Array:
        with isolated_rng(self.threads):
            found: Array = -self.normal_.score(self._chunks(X)).score.numpy()
        return found - self.scale_.log_width(X) if self.method == "density" else found

    def decision_function(self, X: Any) -> Array:
        """Return ``score_samples`` less ``offset_``; below 0 is an anomaly."""
        found: Array = self.score_samples(X) - self.offset_
        return found

    def predict(self, X: Any) -> Array:
        """Return -1 for an anomaly, else 1, for each row."""
        return np.where(self.decision_function(X) < 0, -1, 1)
