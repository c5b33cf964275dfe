"""The base class of the estimators, with shared parameters, validation and training."""

from __future__ import annotations

import dataclasses
import inspect
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y, validate_data
from torch import Tensor

from varied import functional
from varied.composition import compose
from varied.data import Batch, Batches, iter_batches
from varied.data.defaults import default_parts, table_likelihood
from varied.errors import VariedError
from varied.estimators.column_scaler import ColumnScaler
from varied.estimators.table_converter import TableConverter, has_text, is_frame
from varied.functional.mixture_prior import fit_mixture_prior, has_replaceable_prior
from varied.prior_fitting import encode_for_prior
from varied.runtime import Setup
from varied.seeding import derive_seed, generator, permutation, seeded
from varied.spec import SIDES, Part, Plan, Spec
from varied.training_loop import train
from varied.training_state import TrainingState
from varied.training_step import Step

Array = npt.NDArray[Any]

#: The number of epochs if the user sets neither epochs nor steps.
EPOCHS = 10
#: The number of rows that are passed to the model at a time.
CHUNK = 500
#: The maximum probability with which a cell is masked during training.
MAX_MASKED = 0.5
#: The maximum number of rows for fitting a mixture prior, and the fraction that is held out.
MAX_CODES, HELD_OUT_CODES = 20_000, 0.2

#: In PyTorch, the random state and the number of threads are global to the process.
_LOCK = threading.RLock()


@dataclass(eq=False, repr=False)
class Estimator(BaseEstimator):  # type: ignore[misc]
    """A variational autoencoder for the rows of a table.

    Subclasses are dataclasses that add keyword-only fields. Their docstrings inherit the arguments
    below.

    Arguments:
        latent: The number of latent dimensions. None selects half the number of columns, up to 16.
            With more than 32 columns and fewer than 320 rows, it instead selects one dimension per
            20 rows, but at least 2.
        net: The network of the encoder and the decoder. This and the next four arguments accept a
            name, a dict with a name and settings, a class, an instance, or None, which selects the
            corresponding entry of ``default_parts``.
        likelihood: The likelihood p(x | z).
        prior: The prior p(z). By default, `VAEDetector` uses a mixture, and the other estimators
            use a standard normal distribution, which is replaced after training with a Gaussian
            mixture fitted to the codes if that increases the ELBO.
        posterior: The posterior q(z | x).
        objective: The training objective.
        encoder: The network of the encoder, if it differs from ``net``; for example, a
            `torch.nn.Module`.
        decoder: The network of the decoder, if it differs from ``net``.
        epochs: The number of passes over the rows; set either this or ``steps``.
        steps: The number of optimization steps. If both are None, the model is trained for 10
            epochs, or for ``min_steps`` steps if that is longer, but for at most ``max_epochs``
            epochs.
        batch_size: The number of rows per step.
        lr: The peak learning rate.
        random_state: An int for reproducible results, a ``RandomState``, or None for different
            results in each call. NumPy's global random state is not changed.
        categorical_features: The categorical columns: a list of names or indices, or a boolean
            mask. With "auto", the types of the columns are inferred as in `varied.train`: text and
            booleans are categories, and so are numbers with few distinct values.
        threads: The number of CPU threads.
    """

    default_parts: ClassVar[dict[str, Any]] = {
        "net": {"name": "mlp", "width": 128},
        "likelihood": "table",
        "prior": "standard-normal",
        "posterior": "gaussian",
        "objective": {"name": "elbo", "beta": "linear(0, 1, 0.2)"},
    }
    min_steps: ClassVar[int] = 500
    max_epochs: ClassVar[float] = math.inf
    #: The fraction of each batch that is drawn from labeled rows if only some rows have labels.
    labeled_fraction: ClassVar[float] = 0.0
    #: Whether the autoregressive table likelihood is the default if there are few enough columns.
    has_dependent_cells: ClassVar[bool] = False
    #: Whether cells are masked in training even if none are missing.
    mask_cells: ClassVar[bool] = False

    latent: int | None = None
    _: KW_ONLY
    net: Any = None
    likelihood: Any = None
    prior: Any = None
    posterior: Any = None
    objective: Any = None
    encoder: Any = None
    decoder: Any = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int = 128
    lr: float = 3e-3
    random_state: Any = None
    categorical_features: Any = "auto"
    threads: int = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        arguments = inspect.cleandoc(Estimator.__doc__ or "").partition("Arguments:\n")[2]
        doc = inspect.cleandoc(cls.__doc__ or "")
        cls.__doc__ = doc.replace("\n\nAttributes:", f"\n{arguments}\n\nAttributes:")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags

    def _validate(self, X: Any, y: Any = "no_validation", *, fit: bool = False) -> Any:
        """Return validated rows as numbers, and y if it is passed; NaN is allowed.

        See `TableConverter` for the numbers that represent categories and dates.
        """
        if fit:
            self.seed_ = random_seed(self.random_state)
        else:
            check_is_fitted(self)
        options = {"dtype": np.float64, "ensure_all_finite": "allow-nan", "accept_sparse": True}
        options["ensure_min_samples"] = 1 + fit
        if is_frame(X) or has_text(X):
            # Feature names and the number of features are checked before the cells.
            validate_data(self, X, reset=fit, skip_check_array=True)
            rows = X
        else:
            rows = validate_data(self, X, reset=fit, **options)
            rows = rows.toarray() if issparse(rows) else rows
        if fit:
            self._fit_converter(rows)
        rows = self.converter_.to_numbers(rows)
        if isinstance(y, str) and y == "no_validation":
            return check_array(rows, estimator=self, input_name="X", **options)
        return check_X_y(rows, y, estimator=self, **options)

    def _fit_converter(self, X: Any) -> None:
        self.converter_ = TableConverter.fit(X, self.categorical_features)

    def _fit_model(self, X: Array, c: Tensor | None = None, **parts: Any) -> None:
        """Build and train a model.

        Arguments:
            X: The rows, in which missing cells are NaN.
            c: The context of the rows, with shape (N, F).
            parts: Additional fields of the `varied.Spec`.
        """
        names = (*self.default_parts, *SIDES)
        given = {k: v for k in names if (v := getattr(self, k)) is not None}
        if self.has_dependent_cells:
            given.setdefault("likelihood", table_likelihood(X.shape[1]).value)
        parts |= self.default_parts | given
        likelihood = Part.parse(parts["likelihood"])
        self.scaler_ = ColumnScaler.fit(X, likelihood, self.converter_.supports)
        if self.scaler_.domain == "table":
            settings = {"layout": self.scaler_.layout, "model_missing": False}
            parts["likelihood"] = Part(likelihood.name, settings | likelihood.settings)
        latent = default_parts((X.shape[1],), "real", len(X))["latent"].value
        self.spec_ = Spec.parse(
            latent=latent if self.latent is None else self.latent,
            context=0 if c is None else c.shape[1],
            plan=self._plan(len(X)),
            **parts,
        )
        self.updates_ = 0
        with isolated_rng(self.threads, self.seed_):
            step = Step(*compose(self.spec_, self.scaler_.shape, self.scaler_.domain))
            self.loss_curve_ = self._train(step, X, c, self.spec_.plan)
            self._replace_prior(X, c)

    def _continue_fit(self, X: Array) -> None:
        """Continue training on new rows, with the same scaling of the columns.

        The optimizer restarts, but schedules stay at their final values, since repeating the KL
        annealing would undo previous training.
        """
        self.updates_ += 1
        plan = dataclasses.replace(
            self.spec_.plan,
            seed=derive_seed(self.spec_.plan.seed, "partial", self.updates_),
            lr_warmup=0,
            steps=self.steps or 0,
            epochs=self.epochs or (0.0 if self.steps else float(EPOCHS)),
        )
        with isolated_rng(self.threads, self.seed_):
            original, objective = compose(self.spec_, self.scaler_.shape, self.scaler_.domain)
            model = self.model_.float().requires_grad_(True)
            if self.is_prior_replaced_:
                model.prior = original.prior
            step = Step(model, objective, freeze_schedules=True)
            # Training with a state and setup counts as resumed, so codebooks are not reinitialized.
            state = TrainingState(setup=Setup(threads=self.threads))
            self.loss_curve_ += self._train(step, X, None, plan, state)
            self._replace_prior(X, None)

    def _replace_prior(self, X: Array, c: Tensor | None) -> None:
        """Replace a default standard normal prior with a mixture if this increases the ELBO."""
        self.is_prior_replaced_ = False
        model = self.model_
        if self.prior is not None or not has_replaceable_prior(model):
            return
        n_held_out = round(HELD_OUT_CODES * min(len(X), MAX_CODES))
        order = permutation(len(X), self.seed_, "codes")[:MAX_CODES]
        x = self.scaler_.transform(X[order.numpy()]).x
        batches = iter_batches(x, None if c is None else c[order].double(), size=CHUNK)
        codes = encode_for_prior(model, identity, batches)
        parts = [
            Batch(codes.x[rows], None if codes.c is None else codes.c[rows])
            for rows in (slice(n_held_out, None), slice(n_held_out))
        ]
        mixture = fit_mixture_prior(model, self.spec_, *parts, seed=self.seed_)
        if mixture is not None:
            model.prior, self.is_prior_replaced_ = mixture.prior, True

    def _train(
        self,
        step: Step,
        X: Array,
        c: Tensor | None,
        plan: Plan,
        state: TrainingState | None = None,
    ) -> list[float]:
        """Train on rows, set ``model_`` to the float64 model, and return the loss at each step."""
        rows = self.scaler_.transform(X)
        batches: Batches | RandomlyMasked = Batches(
            rows.x,
            c,
            rows.mask,
            size=plan.batch_size,
            seed=plan.seed,
            labeled=self.labeled_fraction,
        )
        if self.mask_cells or not self.scaler_.is_observed(X).all():
            batches = RandomlyMasked(batches, self.scaler_, plan.seed)
        losses = [float(event.parts["loss"]) for event in train(step, batches, plan, state)]
        self.model_ = step.model.requires_grad_(False).cpu().double().eval()
        return losses

    def _plan(self, n: int) -> Plan:
        steps_per_epoch = max(1, n // max(1, int(self.batch_size)))
        duration = {k: v for k in ("epochs", "steps") if (v := getattr(self, k)) is not None}
        if not duration:
            steps = max(self.min_steps, EPOCHS * steps_per_epoch)
            duration = {"steps": min(steps, self.max_epochs * steps_per_epoch)}
        settings = {
            "batch_size": self.batch_size,
            "lr": self.lr,
            "seed": self.seed_,
            "threads": self.threads,
            "precision": "float32",
            "compile": "no",
        }
        plan: Plan = Spec.parse(plan=settings | duration).plan
        steps = plan.steps or math.ceil(plan.epochs * steps_per_epoch)
        return dataclasses.replace(plan, lr_warmup=min(plan.lr_warmup, steps // 10))

    def _apply(self, function: Callable[..., Any], X: Array, **options: Any) -> Any:
        """Return ``function(model, load, batches)`` for the model and batches of the rows."""
        rows = self.scaler_.transform(X)
        batches = iter_batches(rows.x, None, rows.mask, size=CHUNK)
        with isolated_rng(self.threads):
            return function(self.model_, identity, batches, **options)

    def _require_density(self) -> None:
        if "density" not in self.model_.provides:
            raise VariedError(
                "Scores require a density, which this posterior or prior does not have; use the "
                "default posterior and prior."
            )

    def _sample(self, n: int, random_state: Any, c: Tensor | None = None) -> Any:
        """Return samples with the container, the columns and the units of the training rows."""
        seed = random_seed(self.random_state if random_state is None else random_state)
        with isolated_rng(self.threads):
            samples = functional.sample(self.model_, n, c, sample_x=True, seed=seed)
        return self.converter_.from_numbers(self.scaler_.inverse_transform(samples))


class RandomlyMasked:
    """Batches with cells masked at random, so that the encoder learns to handle missing cells.

    Masked cells are not reconstructed: the loss is the negative ELBO of the remaining cells. In
    half of the rows, cells are masked, with a probability between 0 and 0.5 that is drawn for each
    row.

    Arguments:
        batches: The batches to mask.
        scaler: The scaler, which assigns elements to columns.
        seed: The random seed.
    """

    def __init__(self, batches: Any, scaler: ColumnScaler, seed: int) -> None:
        self.batches, self.scaler, self.seed = batches, scaler, seed
        self.steps_per_epoch = batches.steps_per_epoch
        self.element_columns = torch.from_numpy(scaler.element_columns)

    def at(self, step: int) -> Batch:
        """Return the batch for a step."""
        batch = self.batches.at(step)
        rng, columns = generator(self.seed, "hidden", step), len(self.scaler.supports)
        masked = MAX_MASKED * (2 * torch.rand(len(batch), 1, generator=rng) - 1)  # half are < 0
        observed = (torch.rand(len(batch), columns, generator=rng) >= masked).to(batch.x)
        observed = observed[:, self.element_columns]
        if self.scaler.domain == "table":
            return Batch(batch.x * observed, batch.c)
        return Batch(batch.x, batch.c, observed if batch.mask is None else observed * batch.mask)


def identity(x: Tensor) -> Tensor:
    """Return rows unchanged, since they are already model input in float64."""
    return x


def random_seed(random_state: Any) -> int:
    """Return a seed from a random state, or from the operating system if the state is None."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextmanager
def isolated_rng(threads: int, seed: int = 0) -> Iterator[None]:
    """Seed PyTorch and set its number of threads; restore the previous state on exit."""
    with _LOCK, seeded(seed, "estimator"):
        previous = torch.get_num_threads()
        torch.set_num_threads(max(1, threads))
        try:
            yield
        finally:
            torch.set_num_threads(previous)
