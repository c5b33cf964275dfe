"""What all estimators share: from rows in memory to a trained model, and what it says of rows."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from varied import functional
from varied.data import Batch, Batches, iter_batches
from varied.data.defaults import advise
from varied.errors import VariedError
from varied.estimators.column_scaler import ColumnScaler
from varied.runtime import Setup
from varied.seeding import derive_seed, generator, seeded
from varied.spec import Part, Plan, Spec, compose
from varied.training_loop import Step, TrainingState, train

__all__ = ["Estimator", "seed_of"]

Array = npt.NDArray[Any]

#: What small tables are trained with, where a person says nothing.
NET = {"name": "mlp", "width": 128}
PASSES = 10
WARM_UP = "linear(0, 1, 0.2)"
#: A step after which nothing moves any more.
LAST = 10**12
#: Rows that pass through a model at once.
ROWS = 500
#: The largest share of the known cells of a row that is hidden from a model that is to fill gaps.
HIDDEN = 0.5

NO_DENSITY = "This posterior or prior has no density to score rows by: leave it out."

#: Torch has one generator and one number of threads for the whole process.
_ONE_AT_A_TIME = threading.RLock()


def identity(x: Tensor) -> Tensor:
    """Return rows as they are: after training a model computes in float64."""
    return x


def seed_of(random_state: Any) -> int:
    """Return a seed that follows from a random state; None gives a new one each time.

    Numpy's global state is left alone, unless it is what is given.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextmanager
def isolated_rng(threads: int, seed: int = 0) -> Iterator[None]:
    """Compute without leaving a trace in torch: its generators and threads stay as they were."""
    with _ONE_AT_A_TIME, seeded(seed, "estimator"):
        before = torch.get_num_threads()
        torch.set_num_threads(max(1, threads))
        try:
            yield
        finally:
            torch.set_num_threads(before)


class RandomlyMasked:
    """Batches in which some known cells are hidden, so that a model learns what gaps are like.

    What is hidden costs nothing and tells nothing: the bound is then one of what is left.

    Arguments:
        batches: The batches.
        scale: What the columns are.
        seed: Which cells.
    """

    def __init__(self, batches: Batches, scale: ColumnScaler, seed: int) -> None:
        self.batches, self.scale, self.seed = batches, scale, seed
        self.steps_per_epoch = batches.steps_per_epoch

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        batch = self.batches.at(step)
        dice, columns = generator(self.seed, "hidden", step), len(self.scale.mean)
        shares = HIDDEN * (2 * torch.rand(len(batch), 1, generator=dice) - 1)  # half are left whole
        kept = (torch.rand(len(batch), columns, generator=dice) >= shares).to(batch.x)
        if self.scale.domain == "table":
            return Batch(batch.x * kept.repeat(1, 2), batch.c)
        mask = kept if batch.mask is None else kept * batch.mask
        return Batch(batch.x, batch.c, mask)


class FrozenSchedules(Step):
    """A step whose moving numbers stand where they stood at the end of the training before."""

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set every number that moves to its last value."""
        super().set_step(LAST, 1.0)


class Estimator(BaseEstimator):  # type: ignore[misc]
    """A variational autoencoder that is fitted in memory; its parameters are those of all."""

    #: Steps where a person says nothing, at least, and passes at most.
    least, passes = 500, math.inf

    latent: int | None
    net: Any
    likelihood: Any
    prior: Any
    posterior: Any
    objective: Any
    epochs: float | None
    steps: int | None
    batch_size: int
    lr: float
    random_state: Any
    threads: int

    seed_: int
    spec_: Spec
    scale_: ColumnScaler
    model_: Any
    loss_curve_: list[float]
    updates_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    # Reading

    def _read(self, X: Any, y: Any = "no_validation", *, fit: bool = False, **more: Any) -> Any:
        """Return checked rows, and y where it is given; gaps may be."""
        if not fit:
            check_is_fitted(self)
        options = {"dtype": np.float64, "ensure_all_finite": "allow-nan"} | more
        if fit:
            options["ensure_min_samples"] = 2
            self.seed_ = seed_of(self.random_state)
        return validate_data(self, X, y, reset=fit, **options)

    # Learning

    def _learn(
        self,
        X: Array,
        c: Tensor | None = None,
        *,
        labeled: float = 0.0,
        hide: bool = False,
        **parts: Any,
    ) -> None:
        """Train a model on rows.

        Arguments:
            X: The rows, NaN where a cell is not known.
            c: Their context, with shape (N, F).
            labeled: The share of each batch that is given to rows with a label.
            hide: Whether known cells are hidden by chance; where rows have gaps they always are.
            parts: Axes of the spec that this estimator chooses; what the person gave goes before.
        """
        usual = parts.pop("likelihood", "table")
        likelihood = Part.of(usual if self.likelihood is None else self.likelihood)
        self.scale_ = ColumnScaler.fit(X, likelihood.name)
        self.updates_ = 0
        if likelihood.name == "table":
            own = {"layout": self.scale_.layout, "model_missing": False}
            likelihood = Part(likelihood.name, own | likelihood.settings)
        given = {k: getattr(self, k) for k in ("net", "prior", "posterior", "objective")}
        chosen = {"net": NET, "objective": {"name": "elbo", "beta": WARM_UP}} | parts
        values = chosen | {k: v for k, v in given.items() if v is not None}
        self.spec_ = Spec.of(
            likelihood=likelihood,
            latent=_size(X) if self.latent is None else self.latent,
            context=0 if c is None else c.shape[1],
            plan=self._plan(len(X)),
            **values,
        )
        plan, rows = self.spec_.plan, self.scale_.rows(X)
        with isolated_rng(self.threads, self.seed_):
            model, objective = compose(self.spec_, self.scale_.shape, self.scale_.domain)
            known: dict[str, Any] = {"size": plan.batch_size, "seed": plan.seed, "labeled": labeled}
            batches: Any = Batches(rows.x, c, rows.mask, **known)
            hidden = hide or not self.scale_.known(X).all()
            stream = RandomlyMasked(batches, self.scale_, plan.seed) if hidden else batches
            events = train(Step(model, objective), stream, plan)
            self.loss_curve_ = [float(event.parts["loss"]) for event in events]
        model.requires_grad_(False)
        self.model_ = model.cpu().double().eval()

    def _learn_on(self, X: Array) -> None:
        """Go on from the present weights with new rows; columns keep the scale of the first.

        The optimizer starts anew, and what moves in the objective stands at its end, since a KL
        that warmed up again would undo what was learned.
        """
        self.updates_ += 1
        plan, rows = self.spec_.plan, self.scale_.rows(X)
        seed = derive_seed(plan.seed, "partial", self.updates_)
        length: dict[str, Any] = {"steps": 0, "epochs": 0.0}
        length |= {k: v for k in length if (v := getattr(self, k))} or {"epochs": float(PASSES)}
        plan = dataclasses.replace(plan, seed=seed, lr_warmup=0, **length)
        with isolated_rng(self.threads, self.seed_):
            _, objective = compose(self.spec_, self.scale_.shape, self.scale_.domain)
            model = self.model_.float().requires_grad_(True)
            batches: Any = Batches(rows.x, None, rows.mask, size=plan.batch_size, seed=seed)
            stream = (
                batches
                if self.scale_.known(X).all()
                else RandomlyMasked(batches, self.scale_, seed)
            )
            begun = TrainingState(setup=Setup(threads=self.threads))  # codebooks and the like stay
            events = train(FrozenSchedules(model, objective), stream, plan, begun)
            self.loss_curve_ += [float(event.parts["loss"]) for event in events]
        self.model_ = model.requires_grad_(False).cpu().double().eval()

    def _plan(self, n: int) -> dict[str, Any]:
        plan: dict[str, Any] = {
            "batch_size": self.batch_size,
            "lr": self.lr,
            "seed": self.seed_,
            "threads": self.threads,
            "precision": "float32",
            "compile": "no",
        }
        length = {k: getattr(self, k) for k in ("epochs", "steps")}
        length = {k: v for k, v in length.items() if v is not None}
        if not length:
            batches = max(1, n // max(1, int(self.batch_size)))
            length = {"steps": min(max(self.least, PASSES * batches), self.passes * batches)}
        checked = Spec.of(plan=plan | length).plan
        steps = checked.steps or math.ceil(checked.epochs * max(1, n // checked.batch_size))
        return plan | length | {"lr_warmup": min(Plan.lr_warmup, steps // 10)}

    # What the model says

    def _chunks(self, X: Array, c: Tensor | None = None) -> Iterator[Batch]:
        rows = self.scale_.rows(X)
        return iter_batches(rows.x, c, rows.mask, size=ROWS)

    def _log_density(self, X: Array, samples: int) -> Array:
        """Return the importance-weighted log p(x) of what is known of each row, in units of X."""
        if "density" not in self.model_.provides:
            raise VariedError(NO_DENSITY)
        with isolated_rng(self.threads):
            found = functional.negative_log_likelihood(
                self.model_, identity, self._chunks(X), samples=samples, seed=self.seed_
            )
        density: Array = -found.nll.numpy() - self.scale_.log_width(X)
        return density

    def _drawn(self, n: int, random_state: Any, c: Tensor | None = None) -> Array:
        """Return new rows, in units of X."""
        given = self.random_state if random_state is None else random_state
        seed = seed_of(given)
        with isolated_rng(self.threads):
            return self.scale_.back(functional.sample(self.model_, n, c, sample_x=True, seed=seed))


def _size(X: Array) -> int:
    value, _ = advise((X.shape[1],), "real", len(X))["latent"]
    return int(value)  # type: ignore[call-overload, no-any-return]
