"""Oversampling of rare classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from varied.errors import VariedError, lookup, suggest
from varied.estimators.base import Estimator, random_seed
from varied.estimators.table_converter import append, repeat

Array = npt.NDArray[Any]


@dataclass(eq=False, repr=False, kw_only=True)
class VAESampler(Estimator):
    """Oversampling of rare classes with a conditional variational autoencoder.

    This estimator has the interface of the samplers in imbalanced-learn and works in
    imbalanced-learn pipelines, but does not require that package. The generated rows are appended
    to the original rows, which are unchanged. Each cell also depends on the preceding cells (the
    likelihood ``autoregressive-table``), unless there are more than 64 columns, so that generated
    rows satisfy relations between columns.

    Warning:
        Generated rows contain no information beyond that in the training rows. Evaluate on rows
        that were not resampled, and compare with class weights, which often perform equally well.

    Arguments:
        sampling_strategy: The classes to oversample to the size of the largest class: "auto" or
            "not majority" for all classes except the largest, "minority" for the smallest class
            only, "not minority" for all classes except the smallest, or "all". If there are two
            classes, a number is the desired ratio of the size of the smaller class to the size of
            the larger class. A dict maps classes to the desired numbers of rows.

    Attributes:
        classes_: The sorted class labels.
        sampling_strategy_: The number of rows to generate for each oversampled class.
        model_: The model, a `varied.models.LatentModel` in float64.
        spec_: The specification of the model and its training, a `varied.Spec`.
        loss_curve_: The loss at each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> y = np.repeat(["common", "rare"], [90, 10])
        >>> resampled, labels = VAESampler(steps=50, random_state=0).fit_resample(x, y)
        >>> resampled.shape, int((labels == "rare").sum())
        ((180, 2), 90)
    """

    _estimator_type = "sampler"

    has_dependent_cells = True
    sampling_strategy: Any = "auto"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "sampler"
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the model to rows and their classes.

        Raises:
            ValueError: If a column contains infinite values, free text or identifiers, or there are
                fewer than two classes.
        """
        self._fit(X, y)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Fit the model, and append generated rows to X and y, which keep their original types."""
        labels = self._fit(X, y)
        seed, indices = random_seed(self.random_state), []
        for i, (label, n) in enumerate(self.sampling_strategy_.items()):
            X = append(X, self.sample(n, label, random_state=(seed + i) % 2**32))
            indices.append(np.full(n, np.flatnonzero(labels == label)[0]))
        return X, repeat(y, np.concatenate([*indices, []]).astype(np.int64))

    def sample(self, n_samples: int, label: Any, random_state: Any = None) -> Any:
        """Return samples of a class, as rows like those passed to `fit`.

        The numbers are in the range of the training rows.

        Arguments:
            n_samples: The number of samples.
            label: The class.
            random_state: A random state; None uses the random state of the estimator.

        Raises:
            ValueError: If there is no such class.
        """
        check_is_fitted(self)
        index = np.flatnonzero(self.classes_ == label)
        if not len(index):
            raise VariedError(
                f"There is no class '{label}': {suggest(str(label), map(str, self.classes_))}"
            )
        c = torch.zeros(n_samples, len(self.classes_), dtype=torch.float64)
        c[:, int(index[0])] = 1.0
        return self._sample(n_samples, random_state, c)

    def _fit(self, X: Any, y: Any) -> Array:
        """Fit the model, and return the labels as an array."""
        X, y = self._validate(X, y, fit=True)
        check_classification_targets(y)
        self.classes_, index, counts = np.unique(y, return_inverse=True, return_counts=True)
        if len(self.classes_) < 2:
            raise VariedError("y must have at least two classes, got one class.")
        sizes = dict(zip(self.classes_.tolist(), counts.tolist(), strict=True))
        self.sampling_strategy_ = _numbers_to_generate(sizes, self.sampling_strategy)
        self._fit_model(X, torch.eye(len(self.classes_))[torch.from_numpy(index)])
        return np.asarray(y)


def _numbers_to_generate(sizes: dict[Any, int], strategy: Any) -> dict[Any, int]:
    """Return the number of rows to generate for each oversampled class."""
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    if isinstance(strategy, Mapping):
        for label, size in strategy.items():
            if size < sizes.get(label, np.inf):
                raise VariedError(
                    f"sampling_strategy requests {size} rows of class {label!r}, but y contains "
                    f"{sizes.get(label, 0)} such rows; request only classes in y, and no fewer "
                    "rows than y contains."
                )
        targets = dict(strategy)
    elif isinstance(strategy, float | int) and not isinstance(strategy, bool):
        if len(sizes) != 2:
            raise VariedError(
                f"sampling_strategy={strategy} requires two classes, but y has {len(sizes)}; use "
                "'auto' or a dict."
            )
        size, ratio = int(strategy * sizes[largest]), sizes[smallest] / sizes[largest]
        if strategy > 1 or size < sizes[smallest]:
            raise VariedError(
                f"sampling_strategy={strategy} must be between the current ratio of the two "
                f"classes, {ratio:.3g}, and 1."
            )
        targets = {smallest: size}
    else:
        classes = {
            "auto": sizes.keys() - {largest},
            "not majority": sizes.keys() - {largest},
            "minority": {smallest},
            "not minority": sizes.keys() - {smallest},
            "all": sizes.keys(),
        }
        oversampled = lookup(classes, str(strategy), "sampling_strategy")
        targets = {label: sizes[largest] for label in sizes if label in oversampled}
    return {label: size - sizes[label] for label, size in targets.items() if size > sizes[label]}
