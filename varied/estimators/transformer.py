"""Rows to codes and back, draws, and a density."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator, identity, isolated_rng

__all__ = ["VAETransformer"]

Array = npt.NDArray[Any]


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):  # type: ignore[misc]
    r"""Codes of rows: the means of q(z given x) of a variational autoencoder.

    Beside the codes it is a density, and draws new rows. Missing cells (NaN) are taken as what they
    are, in training and after: nothing is filled in.

    Warning:
        Units that the model does not need fall silent: their codes are all about 0.

    Arguments:
        latent: The number of latent dimensions; None chooses: half the columns, up to 16.
        samples: Importance samples behind ``score_samples``.
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
        model_: The model, a `varied.models.LatentModel`, in float64.
        spec_: All that was chosen, a `varied.Spec`.
        loss_curve_: The loss of each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 1)) * [1.0, 2.0, 3.0]
        >>> vae = VAETransformer(1, steps=50, random_state=0).fit(x)
        >>> vae.transform(x).shape, vae.sample(5).shape
        ((200, 1), (5, 3))
    """

    def __init__(
        self,
        latent: int | None = None,
        *,
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
        """Train on rows; ``y`` is not read.

        Raises:
            ValueError: If the rows are no numbers, or there are fewer than two.
        """
        self._learn(self._read(X, fit=True))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go on training with new rows; the first call is `fit`.

        Each call passes ``epochs`` or ``steps`` over its rows, ten passes where neither is given.
        Columns keep the scale of the first rows.

        Warning:
            A net forgets: what the new rows do not show fades. Give rows that stand for all, old
            ones among them, or fit anew.

        Raises:
            ValueError: If the rows are no numbers, or have other columns than the first.
        """
        if not hasattr(self, "model_"):
            return self.fit(X)
        self._learn_on(self._read(X))
        return self

    @property
    def _n_features_out(self) -> int:
        return int(np.prod(self.model_.latent_shape))

    def transform(self, X: Any) -> Array:
        """Return the code of each row, with shape (N, latent)."""
        X = self._read(X)
        with isolated_rng(self.threads):
            codes: Array = functional.embed(self.model_, identity, self._chunks(X)).numpy()
        return codes

    def inverse_transform(self, X: Any) -> Array:
        """Return the mean of p(x given z) for codes, with shape (N, columns)."""
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != self._n_features_out:
            raise VariedError(
                f"These codes have {codes.shape[1]} numbers each, and the model's have "
                f"{self._n_features_out}; give codes as transform returns them."
            )
        z = torch.from_numpy(codes.copy()).reshape(-1, *self.model_.latent_shape)
        with isolated_rng(self.threads):
            return self.scale_.back(functional.decode(self.model_, z))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Return new rows, drawn from p(z) and p(x given z), with shape (n_samples, columns).

        Arguments:
            n_samples: How many.
            random_state: Which draws; None takes the estimator's own.
        """
        check_is_fitted(self)
        return self._drawn(n_samples, random_state)

    def score_samples(self, X: Any) -> Array:
        r"""Return log p(x) of each row, in nats and in units of X; higher is more normal.

        .. math:: \log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}

        a lower bound that is tight for many samples. Of a row with gaps it is the density of what
        is known, so it compares with rows of the same gaps alone.
        """
        return self._log_density(self._read(X), self.samples)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of ``score_samples``."""
        return float(self.score_samples(X).mean())
