"""A mixture of any Gaussians, fitted to latents after the model."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.priors.ex_post import ExPostPrior, std_of
from varied.priors.mixtures import FullMixture

__all__ = ["GaussianMixture"]

#: The most dimensions: a covariance of 1024 is a million numbers for each component.
LARGEST = 1024


class GaussianMixture(ExPostPrior):
    r"""A mixture of Gaussians with full covariances, fitted to the latents by EM.

    .. math:: p(z) = \sum_c \pi_c \, \mathcal N(z; \mu_c, \Sigma_c)

    Fitted after the model, in one go; until then it is the standard normal. It lets a deterministic
    autoencoder draw new data.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Arguments:
        event: The shape of a latent.
        n_components: How many Gaussians.
    """

    weights: Tensor
    means: Tensor
    lower: Tensor

    def __init__(self, event: tuple[int, ...], n_components: int = 10) -> None:
        super().__init__(event)
        size = math.prod(self.event_shape)
        if n_components < 1:
            raise VariedError(f"n_components={n_components} must be at least 1; 10 is the default.")
        if size > LARGEST:
            raise VariedError(
                f"prior='gmm' needs the covariances of {size} numbers, and {LARGEST} is the most; "
                "use prior='flow-matching', or a smaller latent."
            )
        self.components = n_components
        self.register_buffer("weights", torch.zeros(n_components))
        self.register_buffer("means", torch.zeros(n_components, size))
        self.register_buffer("lower", torch.eye(size).repeat(n_components, 1, 1))

    def fit(self, z: Tensor, c: Tensor | None = None) -> None:
        """Fit the mixture; it does not look at the context.

        Arguments:
            z: Latents with shape (N, *event).
            c: Their contexts, with shape (N, F), or None.

        Raises:
            VariedError: If there are fewer latents than components, or one is not finite.
        """
        rows = z.detach().flatten(1).double().cpu()
        if len(rows) < max(2, self.components):
            raise VariedError(
                f"components={self.components} are more than the {len(rows)} latents to fit; "
                "use fewer components or more data."
            )
        if not rows.isfinite().all():
            raise VariedError("A latent is not finite; train the model again with a smaller lr.")
        self._take(rows)

    def _take(self, rows: Tensor) -> None:
        # In units of the latents' own deviation: what EM adds to each variance, to keep covariances
        # apart from 0, is then small beside them whatever the scale.
        shift, scale = std_of(rows)
        found = self._fitted((rows - shift) / scale)
        lower = torch.linalg.cholesky(torch.from_numpy(found.covariances_))
        self.weights.copy_(torch.from_numpy(found.weights_).log())
        self.means.copy_(torch.from_numpy(found.means_) * scale + shift)
        self.lower.copy_(lower * scale.unsqueeze(-1))
        self.mark_fitted()

    def _fitted(self, rows: Tensor) -> Any:
        from sklearn.mixture import GaussianMixture  # half a second that other priors need not wait

        seed = int(torch.randint(2**31 - 1, ()))
        mixture = GaussianMixture(self.components, covariance_type="full", random_state=seed)
        return mixture.fit(rows.numpy())

    def fitted_distribution(self, c: Tensor | None) -> FullMixture:
        """Return the mixture."""
        return FullMixture(self.weights, self.means, self.lower, self.event_shape)
