"""Classifiers and regressors from scikit-learn for evaluating synthetic data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from varied.evaluate._types import Floats

#: Maps a seed to an unfitted learner with `fit`, `predict` and, for an AUROC, `predict_proba`.
LearnerFactory = Callable[[int], Any]

CLASSIFIERS: Mapping[str, LearnerFactory] = {
    "logistic": lambda _: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "forest": lambda seed: RandomForestClassifier(random_state=seed),
    "neighbors": lambda _: make_pipeline(StandardScaler(), KNeighborsClassifier()),
}
REGRESSORS: Mapping[str, LearnerFactory] = {
    "ridge": lambda _: make_pipeline(StandardScaler(), Ridge()),
    "forest": lambda seed: RandomForestRegressor(random_state=seed),
    "neighbors": lambda _: make_pipeline(StandardScaler(), KNeighborsRegressor()),
}


def positive_probability(classifier: Any, rows: Floats) -> Floats | None:
    """Return the probability of class 1, with shape (N); None without `predict_proba`."""
    try:
        probabilities = classifier.predict_proba(rows)
    except AttributeError:
        return None
    # A class that does not occur in the training rows has no column.
    positive: Floats = probabilities[:, classifier.classes_ == 1].sum(1)
    return positive
