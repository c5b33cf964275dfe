"""More rows of rare classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from varied.errors import VariedError, suggest
from varied.estimators.base import Estimator, seed_of

__all__ = ["VAESampler"]

Array = npt.NDArray[Any]

STRATEGIES = ("auto", "not majority", "minority", "not minority", "all")


class VAESampler(Estimator):
    """Rows of rare classes, drawn from a conditional variational autoencoder.

    It has the methods of imbalanced-learn's samplers, and stands in its pipelines; imbalanced-learn
    is not needed for it. Rows that were made stand after the person's own, which are untouched.

    Warning:
        What is made follows from the rows that there are: it adds no knowledge of a class of five.
        Judge it on rows that were never resampled, beside class weights, which are often as good.

    Arguments:
        latent: The number of latent dimensions; None chooses: half the columns, up to 16.
        sampling_strategy: Which classes get how many rows: "auto" or "not majority" lifts all but
            the largest to its size, "minority" the smallest alone, "not minority" all but that,
            "all" all; a number is the share of the largest that the other of two classes gets; a
            dict has the rows that a class has in the end.
        net: The network of encoder and decoder, a name or a dict with a name and its settings;
            None takes two layers of 128.
        likelihood: p(x given z); None takes "table", a mixture for each column.
        prior: p(z); None takes the standard normal.
        posterior: q(z given x); None takes the Gaussian.
        objective: What is minimized; None takes the ELBO, whose KL rises over the first fifth.
        epochs: Passes over the rows; at most one of this and ``steps`` is given.
        steps: Steps of one batch; None takes 500, or ten passes where that is more.
        batch_size: Rows in each step.
        lr: The learning rate at its highest.
        random_state: An int for the same numbers each time, a ``RandomState``, or None for new
            numbers; numpy's global state is not touched.
        threads: Processor threads.

    Attributes:
        classes_: The classes, in order.
        sampling_strategy_: How many rows are made of each class that gets any.
        model_: The model, a `varied.models.LatentModel`, in float64.
        spec_: All that was chosen, a `varied.Spec`.
        loss_curve_: The loss of each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> y = np.repeat(["often", "rare"], [90, 10])
        >>> more, labels = VAESampler(steps=50, random_state=0).fit_resample(x, y)
        >>> more.shape, int((labels == "rare").sum())
        ((180, 2), 90)
    """

    _estimator_type = "sampler"

    def __init__(
        self,
        latent: int | None = None,
        *,
        sampling_strategy: Any = "auto",
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
        self.sampling_strategy = sampling_strategy
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "sampler"
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows and their classes.

        Raises:
            ValueError: If the rows are no numbers, the labels no classes, or there is one class.
        """
        self._fitted(X, y)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Train on rows, and return them and those that were made; frames come back as frames."""
        numbers, labels = self._fitted(X, y)
        seed, made, told = seed_of(self.random_state), [numbers], [labels]
        for i, (one, count) in enumerate(self.sampling_strategy_.items()):
            made.append(self.sample(count, one, random_state=(seed + i) % 2**32))
            told.append(np.full(count, one, dtype=labels.dtype))
        return _like(X, np.concatenate(made)), _like(y, np.concatenate(told))

    def sample(self, n_samples: int, of: Any, random_state: Any = None) -> Array:
        """Return new rows of a class, within the range of the training rows.

        Arguments:
            n_samples: How many.
            of: The class.
            random_state: Which draws; None takes the estimator's own.
        """
        check_is_fitted(self)
        places = np.flatnonzero(self.classes_ == of)
        if not len(places):
            raise VariedError(
                f"There is no class '{of}': {suggest(str(of), map(str, self.classes_))}"
            )
        c = torch.zeros(n_samples, len(self.classes_), dtype=torch.float64)
        c[:, int(places[0])] = 1.0
        made: Array = self._drawn(n_samples, random_state, c).clip(self.low_, self.high_)
        return made

    def _fitted(self, X: Any, y: Any) -> tuple[Array, Array]:
        X, y = self._read(X, y, fit=True)
        check_classification_targets(y)
        self.classes_, index, counts = np.unique(y, return_inverse=True, return_counts=True)
        if len(self.classes_) < 2:
            raise VariedError("The labels hold one class, and there is nothing to even out.")
        sizes = dict(zip(self.classes_.tolist(), counts.tolist(), strict=True))
        self.sampling_strategy_ = _wanted(sizes, self.sampling_strategy)
        known = np.isfinite(X)
        self.low_ = np.where(known, X, np.inf).min(0)
        self.high_ = np.where(known, X, -np.inf).max(0)
        self._learn(X, torch.eye(len(self.classes_))[torch.from_numpy(index)])
        return X, y


def _wanted(sizes: dict[Any, int], strategy: Any) -> dict[Any, int]:
    """Return how many rows to make of each class that gets any."""
    most, least = max(sizes.values()), min(sizes.values())
    largest = next(one for one, size in sizes.items() if size == most)
    smallest = next(one for one, size in sizes.items() if size == least)
    if isinstance(strategy, Mapping):
        for one, size in strategy.items():
            if one not in sizes or size < sizes[one]:
                raise VariedError(
                    f"sampling_strategy wants {size} rows of class '{one}', which has "
                    f"{sizes.get(one, 0)}; give classes of y, and no fewer rows than they have."
                )
        goal = dict(strategy)
    elif isinstance(strategy, float | int) and not isinstance(strategy, bool):
        if len(sizes) != 2 or not 0 < strategy <= 1 or int(strategy * most) < least:
            raise VariedError(
                f"sampling_strategy={strategy} is for two classes, between the share that the "
                "smaller has of the larger and 1; use 'auto' or a dict."
            )
        goal = {smallest: int(strategy * most)}
    elif strategy in STRATEGIES:
        left_out = {"minority": (), "not minority": (smallest,), "all": ()}.get(
            strategy, (largest,)
        )
        goal = {smallest: most} if strategy == "minority" else dict.fromkeys(sizes, most)
        goal = {one: size for one, size in goal.items() if one not in left_out}
    else:
        raise VariedError(
            f"There is no sampling_strategy {strategy!r}: {suggest(str(strategy), STRATEGIES)}"
        )
    return {one: size - sizes[one] for one, size in goal.items() if size > sizes[one]}


def _like(given: Any, values: Array) -> Any:
    """Return values as what was given: a frame, a series, a list or an array, of its types."""
    native = nw.from_native(given, allow_series=True, pass_through=True)
    if isinstance(native, nw.Series):
        return nw.new_series(
            native.name, values, native.dtype, backend=native.implementation
        ).to_native()
    if isinstance(native, nw.DataFrame):
        columns = {}
        for place, (name, kind) in enumerate(native.schema.items()):
            column = values if values.ndim == 1 else values[:, place]
            columns[name] = column.round() if kind.is_integer() else column
        return nw.from_dict(columns, native.schema, backend=native.implementation).to_native()
    if isinstance(given, list):
        return values.tolist()
    dtype = np.asarray(given).dtype
    if values.dtype.kind != "f" or dtype.kind not in "iuf":
        return values
    return (values.round() if dtype.kind in "iu" else values).astype(dtype)
