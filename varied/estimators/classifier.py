"""Semi-supervised classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator

Array = npt.NDArray[Any]


@dataclass(eq=False, repr=False, kw_only=True)
class VAEClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Semi-supervised classification with M2, which also learns from rows without labels.

    As in ``sklearn.semi_supervised``, the label -1 marks rows without a label, unless -1 and 1 are
    the only labels. Missing labels (None, NaN or `pandas.NA`) also mark rows without a label.
    Missing cells are handled by the model, without imputation.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298

    Warning:
        Unlabeled rows improve the predictions if the classes form clusters; otherwise, they can
        make the predictions worse. Compare them with a classifier that is trained on the
        labeled rows alone.

    Arguments:
        calibration_fraction: The fraction of the labels of each class that is held out to calibrate
            the probabilities (`temperature_`). With few labels, the model is overconfident; a
            fraction of 0.2 corrects this, but the held-out labels are then not used for training.
        dropout: The dropout probability of the hidden units of the classifier; values between 0.2
            and 0.5 can help if there are few labels.

    Attributes:
        classes_: The sorted class labels.
        temperature_: The temperature by which the logits are divided; 1 without calibration.
        model_: The model, a `varied.models.M2` in float64.
        spec_: The specification of the model and its training, a `varied.Spec`.
        loss_curve_: The loss at each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2)) + np.arange(200)[:, None] % 2 * 6
        >>> y = np.where(np.arange(200) < 10, np.arange(200) % 2, -1)  # ten labels
        >>> VAEClassifier(steps=200, random_state=0).fit(x, y).predict([[0, 0], [6, 6]])
        array([0, 1])
    """

    default_parts: ClassVar[dict[str, Any]] = Estimator.default_parts | {"objective": "m2"}
    labeled_fraction = 0.125
    mask_cells = True

    calibration_fraction: float = 0.0
    dropout: float = 0.0

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the model to rows, some or all of which have a label.

        Raises:
            ValueError: If a column contains infinite values, free text or identifiers, or there are
                fewer than two classes.
        """
        y, has_label = _without_missing(y)
        X, y = self._validate(X, y, fit=True)
        check_classification_targets(y[has_label])
        labeled = has_label.copy()
        labeled[has_label] = is_labeled(y[has_label])
        self.classes_, index = np.unique(y[labeled], return_inverse=True)
        if len(self.classes_) < 2:
            raise VariedError(f"y must have at least two classes, got {len(self.classes_)}.")
        labels = np.full(len(X), -1)
        labels[labeled] = index
        held_out = _hold_out(labels, self.calibration_fraction, self.seed_)
        rows = np.flatnonzero((labels >= 0) & ~held_out)
        c = torch.zeros(len(X), len(self.classes_))
        c[rows, labels[rows]] = 1.0
        architecture = {"name": "m2", "dropout": self.dropout}
        self._fit_model(X, c, architecture=architecture)
        self.temperature_ = 1.0
        if held_out.any():
            self.temperature_ = functional.calibration_temperature(
                self._probabilities(X[held_out]), torch.from_numpy(labels[held_out])
            )
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, with shape (N, classes)."""
        probabilities = self._probabilities(self._validate(X))
        calibrated: Array = functional.apply_temperature(probabilities, self.temperature_).numpy()
        return calibrated

    def _probabilities(self, X: Array) -> Tensor:
        """Return the uncalibrated probabilities, with shape (N, classes)."""
        probabilities: Tensor = self._apply(functional.classify, X)
        return probabilities

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row."""
        index = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[index])


def _without_missing(y: Any) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Replace missing labels with the first label; also return a mask of the known labels."""
    if y is None:
        return y, np.ones(0, bool)
    labels = pd.Series(np.asarray(y, dtype=object).ravel())
    has_label = labels.notna().to_numpy()
    if has_label.all():
        return y, has_label
    if not has_label.any():
        raise VariedError("y must have at least two classes, got 0.")
    first = labels[has_label].iloc[0]
    return labels.where(has_label, first).infer_objects().to_numpy(), has_label


def is_labeled(y: Array) -> npt.NDArray[np.bool_]:
    """Return a mask of the labeled rows; -1 means no label unless -1 and 1 are the only labels."""
    if y.dtype.kind not in "if" or set(np.unique(y)) == {-1, 1}:
        return np.ones(len(y), bool)
    return np.asarray(y != -1)


def _hold_out(labels: Array, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which rows to hold out: a fraction of each class, but never a whole class."""
    if not 0 <= fraction <= 0.5:
        raise VariedError(
            f"calibration_fraction must be between 0 and 0.5, got {fraction}; a typical value is "
            "0.2."
        )
    held_out, rng = np.zeros(len(labels), bool), np.random.default_rng(seed)
    for label in np.unique(labels[labels >= 0]):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held_out[rows[: min(round(fraction * len(rows)), len(rows) - 1)]] = True
    return held_out
