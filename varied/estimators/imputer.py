"""Tables with gaps, filled."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import (
    FLOAT_DTYPES,
    _check_feature_names_in,
    check_is_fitted,
)

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator, isolated_rng
from varied.functional.importance_sampling import CHUNK, posterior_draws
from varied.functional.interval_calibration import CALIBRATION_DRAWS, MIN_CELLS
from varied.runtime import eval_float32
from varied.seeding import derive_seed

__all__ = ["VAEImputer"]

Array = npt.NDArray[Any]

NET = {"name": "mlp", "width": 256}

#: Cells that are kept back, at most.
HELD = 1000

#: The largest share of a column's known cells that may hold one value, where it has a width.
COMMON = 0.1


class VAEImputer(TransformerMixin, Estimator):  # type: ignore[misc]
    r"""Missing cells, filled with their mean given what is known of the row.

    .. math:: \mathbb E[x_m \mid x_o] \approx \sum_k \bar w_k \, \mathbb E[x_m \mid z_k], \qquad
        \bar w_k \propto \frac{p(x_o, z_k)}{q(z_k \mid x_o)}

    In training further cells are hidden by chance, so that the encoder knows what gaps are like,
    even where the training rows have none. What is filled into a row hangs on that row alone.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei & Frellsen,
        2019), https://arxiv.org/abs/1812.02633

    Warning:
        That a cell is missing must be chance, given what is observed. A mean is narrower than the
        data: for an analysis of what was filled take ``n_draws=1``, several times over.

    Arguments:
        latent: The number of latent dimensions; None chooses: half the columns, up to 16.
        missing_values: What stands in a cell that is missing.
        n_draws: 0 fills in the mean; 1 a draw from p(missing given observed), as ``sample_posterior``
            of scikit-learn's ``IterativeImputer`` does; more the mean of so many.
        samples: The codes that are weighed for each row.
        calibrate: The share of known cells, of at most 1,000, that training is not shown: draws are
            widened until their central 90 % holds 90 % of these. A model of few rows is too sure of
            itself; 0 shows it every cell and leaves its draws as they are.
        keep_empty_features: Whether columns without any known cell in training come back, as 0;
            they are left out otherwise, as by scikit-learn's imputers.
        net: The network of encoder and decoder, a name or a dict with a name and its settings;
            None takes two layers of 256.
        likelihood: p(x given z); None takes "table", a mixture for each column.
        prior: p(z); None takes the standard normal.
        posterior: q(z given x); None takes the Gaussian.
        objective: What is minimized; None takes the ELBO, whose KL rises over the first fifth.
        epochs: Passes over the rows; at most one of this and ``steps`` is given.
        steps: Steps of one batch; None takes 3,000, or ten passes where that is more, but no more
            than 250 passes.
        batch_size: Rows in each step.
        lr: The learning rate at its highest.
        random_state: An int for the same numbers each time, a ``RandomState``, or None for new
            numbers; numpy's global state is not touched.
        threads: Processor threads.

    Attributes:
        model_: The model, a `varied.models.LatentModel`, in float64.
        spec_: All that was chosen, a `varied.Spec`.
        loss_curve_: The loss of each step, in nats for standardized rows.
        width_: What the spread of draws is multiplied by, in columns of which no value is held by
            more than a tenth of the rows; others have no width but chances.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 1)) * [1.0, 2.0]
        >>> imputer = VAEImputer(steps=300, random_state=0).fit(x)
        >>> bool(abs(imputer.transform([[1.0, np.nan]])[0, 1] - 2) < 0.5)
        True
    """

    least, passes = 3000, 250

    def __init__(
        self,
        latent: int | None = None,
        *,
        missing_values: float = np.nan,
        n_draws: int = 0,
        samples: int = 100,
        calibrate: float = 0.1,
        keep_empty_features: bool = False,
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
        self.missing_values = missing_values
        self.n_draws = n_draws
        self.samples = samples
        self.calibrate = calibrate
        self.keep_empty_features = keep_empty_features
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
        tags.input_tags.allow_nan = _is_nan(self.missing_values)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows, with gaps or without; ``y`` is not read.

        Raises:
            ValueError: If the rows are no numbers, or there are fewer than two.
        """
        rows = self._gappy(X, fit=True).astype(np.float64)
        if not isinstance(self.n_draws, int | np.integer) or self.n_draws < 0:
            raise VariedError(f"n_draws={self.n_draws} is no number of draws; 0 fills in the mean.")
        if not 0 <= self.calibrate < 1:
            raise VariedError(
                f"calibrate={self.calibrate} must be from 0 to below 1; 0.1 is usual."
            )
        self.width_, self._smooth = 1.0, _smooth(rows)
        held = self._held(rows)
        self._learn(np.where(held, np.nan, rows), hide=True, net=NET)
        if held.any() and self.scale_.domain in ("table", "real"):
            self.width_ = self._width(rows, held)
        return self

    def transform(self, X: Any) -> Array:
        """Return the rows, filled; what was known is untouched."""
        X = self._gappy(X)
        gaps = np.isnan(X) & self.scale_.seen
        rows = np.flatnonzero(gaps.any(1))
        found = X.copy()
        if len(rows):
            filled = self._filled(X[rows].astype(np.float64))
            found[rows] = np.where(gaps[rows], filled, X[rows])
        if self.keep_empty_features:
            return np.where(np.isnan(found), 0, found).astype(found.dtype)
        kept: Array = found[:, self.scale_.seen]
        return kept

    def draw(self, X: Any, n: int = 20) -> Array:
        """Return the rows, filled n times over with draws from p(missing given observed).

        Analyse each as if it were whole, and pool what comes of them by Rubin's rules; the
        quantiles of a cell's draws are its interval.

        Arguments:
            X: Rows with gaps.
            n: How many draws.

        Returns:
            Filled rows with shape (n, N, columns).
        """
        X = self._gappy(X)
        with isolated_rng(self.threads):
            filled = self._draws(X.astype(np.float64), n, self.seed_)
        found: Array = np.where(np.isnan(X), filled, X)
        return found[..., self.scale_.seen | self.keep_empty_features]

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns that come back."""
        check_is_fitted(self)
        names: Array = _check_feature_names_in(self, input_features)
        kept: Array = names[self.scale_.seen | self.keep_empty_features]
        return kept

    def _gappy(self, X: Any, fit: bool = False) -> Array:
        """Return checked rows with NaN in their gaps."""
        nan = _is_nan(self.missing_values)
        finite: Any = "allow-nan" if nan else True
        found: Array = self._read(X, fit=fit, dtype=FLOAT_DTYPES, ensure_all_finite=finite)
        return found if nan else np.where(found == self.missing_values, np.nan, found)

    def _filled(self, X: Array) -> Array:
        """Return what rows could be, with shape (N, columns)."""
        draws = int(self.n_draws)
        with isolated_rng(self.threads):
            if not draws:
                rows = self.scale_.rows(X)
                return self.scale_.back(self._means(rows.x, rows.mask))
            # By the row alone, wherever it stands.
            seeds = (derive_seed(self.seed_, row.tobytes().hex()) for row in X)
            each = zip(X, seeds, strict=True)
            return np.stack(
                [self._draws(row[None], draws, seed)[:, 0].mean(0) for row, seed in each]
            )

    def _draws(self, X: Array, n: int, seed: int) -> Array:
        """Return draws of rows given what is known of them, with shape (n, N, columns)."""
        rows, widths = self.scale_.rows(X), None
        if self.width_ > 1:
            widths = torch.ones(self.scale_.shape, dtype=torch.float64)
            widths[-len(self._smooth) :][torch.from_numpy(self._smooth)] = self.width_
        how: dict[str, Any] = {"n_draws": n, "samples": self.samples, "seed": seed}
        drawn = functional.impute(self.model_, rows.x, mask=rows.mask, scale=widths, **how)
        return self.scale_.back(drawn.flatten(0, 1)).reshape(n, *X.shape)

    def _held(self, X: Array) -> Array:
        """Return the cells that training is not shown, of which every column keeps some."""
        known = np.isfinite(X)
        free = known & self._smooth
        free[known.argmax(0), np.arange(X.shape[1])] = False
        cells, held = np.flatnonzero(free), np.zeros(X.shape, bool)
        n = min(int(self.calibrate * len(cells)), HELD)
        if n >= MIN_CELLS:
            dice = np.random.default_rng(derive_seed(self.seed_, "held"))
            held.flat[dice.choice(cells, n, replace=False)] = True
        return held

    def _width(self, X: Array, held: Array) -> float:
        """Return what draws are to be widened by, to hold as many held cells as they promise."""
        some = held.any(1)
        with isolated_rng(self.threads):
            drawn = self._draws(np.where(held, np.nan, X)[some], CALIBRATION_DRAWS, self.seed_)
        truth = torch.from_numpy(X[held])
        return functional.inflation_factor(torch.from_numpy(drawn[:, held[some]]), truth)

    def _means(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        model, found = self.model_, []
        size = max(1, CHUNK // (self.samples * x.shape[1] * model.params_per_element))
        with eval_float32(model):
            for i in range(0, len(x), size):
                some = slice(i, i + size)
                part = None if mask is None else mask[some]
                z, log_w = posterior_draws(
                    model, x[some], None, part, samples=self.samples, seed=self.seed_
                )
                means = model.decode(z).mean
                found.append(torch.einsum("kb,kbd->bd", log_w.softmax(0), means))
        return torch.cat(found)


def _smooth(X: Array) -> Array:
    """Return which columns have values that hardly ever come twice."""
    found = np.zeros(X.shape[1], bool)
    for j, column in enumerate(X.T):
        counts = np.unique(column[np.isfinite(column)], return_counts=True)[1]
        found[j] = len(counts) > 0 and counts.max() <= COMMON * counts.sum()
    return found


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
