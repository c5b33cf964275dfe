"""Dimensionality reduction, sampling and density estimation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from varied import functional
from varied.errors import VariedError
from varied.estimators.base import Estimator, isolated_rng

Array = npt.NDArray[Any]


@dataclass(eq=False, repr=False, kw_only=True)
class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):  # type: ignore[misc]
    """Dimensionality reduction with a variational autoencoder, using the mean of q(z | x).

    The model can also estimate densities and generate samples. Each cell also depends on the
    preceding cells (the likelihood ``autoregressive-table``), unless there are more than 64
    columns, so that samples satisfy relations between columns. Missing cells (NaN) are handled by
    the likelihood in training and prediction, without imputation.

    Warning:
        Latent dimensions that the model does not need become inactive: their codes are close to 0.

    Arguments:
        samples: The number of importance samples for ``score_samples``.

    Attributes:
        model_: The model, a `varied.models.LatentModel` in float64.
        spec_: The specification of the model and its training, a `varied.Spec`.
        loss_curve_: The loss at each step, in nats for standardized rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 1)) * [1.0, 2.0, 3.0]
        >>> vae = VAETransformer(1, steps=50, random_state=0).fit(x)
        >>> vae.transform(x).shape, vae.sample(5).shape
        ((200, 1), (5, 3))
    """

    has_dependent_cells = True

    samples: int = 50

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to rows; ``y`` is ignored.

        Raises:
            ValueError: If a column contains infinite values, free text or identifiers, or there are
                fewer than two rows.
        """
        self._fit_model(self._validate(X, fit=True))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Continue training on new rows; the first call is equivalent to `fit`.

        Each later call trains for ``epochs`` or ``steps``, or for ten epochs if neither is set. The
        columns are scaled as in the first call.

        Warning:
            Neural networks forget: patterns that do not occur in the new rows are gradually lost.
            Include representative old rows, or fit again on all rows.

        Raises:
            ValueError: If a column contains infinite values, free text or identifiers, or the
                columns differ from those of the first call.
        """
        if "model_" not in vars(self):
            return self.fit(X)
        self._continue_fit(self._validate(X))
        return self

    @property
    def _n_features_out(self) -> int:
        return int(np.prod(self.model_.latent_shape))

    def transform(self, X: Any) -> Array:
        """Return the code of each row, with shape (N, latent)."""
        codes: Array = self._apply(functional.embed, self._validate(X)).numpy()
        return codes

    def inverse_transform(self, X: Any) -> Any:
        """Return the mean of p(x | z) for each code, as rows like those passed to `fit`.

        The most probable category or the median of ordered categories is returned, and whole
        numbers and dates are rounded.

        Raises:
            ValueError: If the codes do not have as many dimensions as the output of `transform`.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float64)
        if codes.shape[1] != self._n_features_out:
            raise VariedError(
                f"Codes must have {self._n_features_out} dimensions, as returned by `transform`, "
                f"got {codes.shape[1]}."
            )
        z = torch.from_numpy(codes.copy()).reshape(-1, *self.model_.latent_shape)
        with isolated_rng(self.threads):
            mean = self.scaler_.inverse_transform(functional.decode(self.model_, z))
        return self.converter_.from_numbers(mean)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Return samples from the model, as rows like those passed to `fit`.

        The numbers are in the range of the training rows.

        Arguments:
            n_samples: The number of samples.
            random_state: A random state; None uses the random state of the estimator.
        """
        check_is_fitted(self)
        return self._sample(n_samples, random_state)

    def score_samples(self, X: Any) -> Array:
        r"""Return the log-likelihood of each row in nats, in the units of X.

        .. math:: \log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}

        This is a lower bound on log p(x) that becomes tight as the number of samples increases. For
        a row with missing cells, it is the log-density of the observed cells, which is comparable
        only between rows with the same missing cells.
        """
        X = self._validate(X)
        self._require_density()
        nll = functional.negative_log_likelihood
        result = self._apply(nll, X, samples=self.samples, seed=self.seed_)
        scores: Array = -result.nll.numpy() - self.scaler_.log_det(X)
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of ``score_samples``."""
        return float(self.score_samples(X).mean())
