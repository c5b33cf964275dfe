"""A Gaussian mixture prior with full covariances, fitted after the model is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from varied.errors import VariedError, check_at_least
from varied.priors.base import Shape
from varied.priors.ex_post import ExPostPrior, mean_and_std
from varied.priors.mixtures import FullMixture

#: The maximum number of dimensions, at which a covariance matrix has a million elements.
MAX_DIMS = 1024
#: The number of random rows to which a mixture is fitted first, if there are many rows.
_N_FIRST = 10_000


class GaussianMixture(ExPostPrior):
    r"""A mixture of Gaussians with full covariances, fitted to the latents by EM.

    .. math:: p(z) = \sum_c \pi_c \, \mathcal N(z; \mu_c, \Sigma_c)

    The prior is fitted after the model is trained; until then, it is the standard normal. A fitted
    mixture enables a deterministic autoencoder to generate samples.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020),
        https://arxiv.org/abs/1903.12436

    Arguments:
        event: The shape of a latent variable.
        n_components: The number of Gaussians.
    """

    has_direct_fit = True

    log_weights: Tensor
    means: Tensor
    scale_tril: Tensor

    def __init__(self, event: Shape, n_components: int = 10) -> None:
        super().__init__(event)
        size = math.prod(self.event_shape)
        check_at_least(1, default=10, n_components=n_components)
        if size > MAX_DIMS:
            raise VariedError(
                f"prior='gmm' supports at most {MAX_DIMS} latent dimensions, not {size}; use "
                "prior='flow-matching', or fewer latent dimensions."
            )
        self.n_components = n_components
        self.register_buffer("log_weights", torch.zeros(n_components))
        self.register_buffer("means", torch.zeros(n_components, size))
        self.register_buffer("scale_tril", torch.eye(size).repeat(n_components, 1, 1))

    def fit(self, z: Tensor, c: Tensor | None = None) -> None:
        """Fit the mixture to latents with shape (N, *event); the context is ignored.

        Raises:
            VariedError: If there are fewer than two latents, or fewer latents than components, or a
                value is not finite.
        """
        from sklearn.mixture import GaussianMixture  # takes half a second to import

        rows = z.detach().flatten(1).double().cpu()
        if len(rows) < max(2, self.n_components):
            raise VariedError(
                f"n_components={self.n_components} requires at least {max(2, self.n_components)} "
                f"latent vectors, got {len(rows)}; use fewer components or more data."
            )
        if not rows.isfinite().all():
            raise VariedError(
                "The latent vectors contain non-finite values; train again with a lower learning "
                "rate."
            )
        # Standardize, so that the constant that EM adds to the variances is relatively small.
        mean, std = mean_and_std(rows)
        rows = (rows - mean) / std
        options: dict[str, Any] = {"random_state": int(torch.randint(2**31 - 1, ()))}
        if len(rows) > 2 * _N_FIRST:
            # EM on all rows then needs half as many iterations, and its likelihood is not lower.
            subset = rows[torch.randperm(len(rows))[:_N_FIRST]].numpy()
            first = GaussianMixture(self.n_components, **options).fit(subset)
            options |= {"weights_init": first.weights_, "means_init": first.means_}
            options |= {"precisions_init": first.precisions_}
        mixture = GaussianMixture(self.n_components, **options).fit(rows.numpy())
        scale_tril = torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))
        self.log_weights.copy_(torch.from_numpy(mixture.weights_).log())
        self.means.copy_(torch.from_numpy(mixture.means_) * std + mean)
        self.scale_tril.copy_(scale_tril * std.unsqueeze(-1))
        self.mark_fitted()

    def fitted_distribution(self, c: Tensor | None) -> FullMixture:
        """Return the mixture."""
        return FullMixture(self.log_weights, self.means, self.scale_tril, self.event_shape)
