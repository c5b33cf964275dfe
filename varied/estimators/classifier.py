"""Classes from few labels, or from many."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator, identity, isolated_rng

__all__ = ["VAEClassifier"]

Array = npt.NDArray[Any]

#: The share of each batch that has a label, where few rows have.
LABELLED = 0.125


class VAEClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A classifier that learns from rows without labels as well: M2.

    A row whose label is -1 has none, as in ``sklearn.semi_supervised``; where -1 and 1 are the only
    labels, they are two classes. Missing cells (NaN) are taken as what they are.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Warning:
        Rows without labels help where classes are clusters, and can do harm where they are not:
        compare with a classifier of the labeled rows alone.

    Arguments:
        latent: The number of latent dimensions; None chooses: half the columns, up to 16.
        calibrate: The share of the labeled rows of each class whose labels are not learned from:
            they say how sure the probabilities may be (`temperature_`). 0.2 mends probabilities
            that are too near 0 and 1, as those from few labels are, and costs these labels.
        dropout: The chance that the classifier loses a hidden unit in training; 0.2 to 0.5 may help
            where labels are few.
        net: The network of encoder and decoder, a name or a dict with a name and its settings;
            None takes two layers of 128.
        likelihood: p(x given z); None takes "table", a mixture for each column.
        prior: p(z); None takes the standard normal.
        posterior: q(z given x); None takes the Gaussian.
        objective: What is minimized; None takes "semi", the bound and the cost of the labels.
        epochs: Passes over the rows; at most one of this and ``steps`` is given.
        steps: Steps of one batch; None takes 500, or ten passes where that is more.
        batch_size: Rows in each step.
        lr: The learning rate at its highest.
        random_state: An int for the same numbers each time, a ``RandomState``, or None for new
            numbers; numpy's global state is not touched.
        threads: Processor threads.

    Attributes:
        classes_: The classes, in order.
        model_: The model, a `varied.models.M2`, in float64.
        temperature_: What the logits of the classes are divided by; 1 without ``calibrate``.
        spec_: All that was chosen, a `varied.Spec`.
        loss_curve_: The loss of each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2)) + np.arange(200)[:, None] % 2 * 6
        >>> y = np.where(np.arange(200) < 10, np.arange(200) % 2, -1)  # ten labels
        >>> VAEClassifier(steps=200, random_state=0).fit(x, y).predict([[0, 0], [6, 6]])
        array([0, 1])
    """

    def __init__(
        self,
        latent: int | None = None,
        *,
        calibrate: float = 0.0,
        dropout: float = 0.0,
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
        self.calibrate = calibrate
        self.dropout = dropout
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

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows, of which some or all have a label.

        Raises:
            ValueError: If the rows are no numbers, the labels no classes, or there is one class.
        """
        X, y = self._read(X, y, fit=True)
        check_classification_targets(y)
        known = labeled(y)
        self.classes_, index = np.unique(y[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise VariedError(
                f"The labels hold {len(self.classes_)} class, and a classifier needs two or more."
            )
        told = np.full(len(X), -1)
        told[known] = index
        held = _held(told, self.calibrate, self.seed_)
        told, kept = np.where(held, -1, told), told
        c = torch.zeros(len(X), len(self.classes_))
        c[np.flatnonzero(told >= 0), told[told >= 0]] = 1.0
        structure = {"name": "m2", "dropout": self.dropout}
        self._learn(X, c, labeled=LABELLED, hide=True, architecture=structure, objective="m2")
        self.temperature_ = 1.0
        if held.any():
            labels = torch.from_numpy(kept[held])
            self.temperature_ = functional.calibration_temperature(self._chances(X[held]), labels)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, with shape (N, classes)."""
        found: Array = functional.apply_temperature(
            self._chances(self._read(X)), self.temperature_
        ).numpy()
        return found

    def _chances(self, X: Array) -> Tensor:
        """Return probabilities as the model has them, with shape (N, classes)."""
        with isolated_rng(self.threads):
            return functional.classify(self.model_, identity, self._chunks(X))

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row."""
        chances = self.predict_proba(X)
        found: Array = self.classes_[chances.argmax(1)]
        return found


def _held(classes: Array, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which labels are kept from the model: a share of each class, never all of it."""
    if not 0 <= share <= 0.5:
        raise VariedError(f"calibrate={share} must be from 0 to 0.5; 0.2 is usual.")
    held, dice = np.zeros(len(classes), bool), np.random.default_rng(seed)
    for one in np.unique(classes[classes >= 0]):
        rows = dice.permutation(np.flatnonzero(classes == one))
        held[rows[: min(round(share * len(rows)), len(rows) - 1)]] = True
    return held


def labeled(y: Array) -> npt.NDArray[np.bool_]:
    """Return which labels are labels: all but -1, unless that and 1 are the only ones."""
    if y.dtype.kind not in "if" or set(np.unique(y)) == {-1, 1}:
        return np.ones(len(y), bool)
    return np.asarray(y != -1)
