"""Discriminators for latent codes: total correlation, and matching the prior."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varied.discriminators.adaptive_weight import squared_gradient
from varied.discriminators.base import AdversarialTerm, apply_frozen
from varied.errors import VariedError
from varied.models import LatentModel
from varied.nets import mlp
from varied.trace import Trace


def permute_dims(z: Tensor) -> Tensor:
    """Return codes with shape (N, D) whose rows are permuted independently in each dimension.

    The dimensions become independent, and their marginal distributions do not change.
    """
    return z.gather(0, torch.rand_like(z).argsort(0))


class LatentCodeDiscriminator(AdversarialTerm):
    """Base class for terms with a fully connected discriminator whose inputs are codes.

    Arguments:
        width: The number of hidden units per layer of the discriminator.
        depth: The number of hidden layers of the discriminator.
        lr: The learning rate of the discriminator, relative to that of the model.
    """

    discriminator: nn.Module
    latent_shape: tuple[int, ...]

    def __init__(self, *, width: int = 256, depth: int = 3, lr: float = 1.0) -> None:
        super().__init__(lr)
        if width < 1 or depth < 1:
            raise VariedError(
                f"disc_width and disc_depth must be at least 1, got disc_width={width} and "
                f"disc_depth={depth}; typical values are 256 and 3."
            )
        self.width, self.depth = width, depth

    def _create_discriminator(self, latent_shape: tuple[int, ...]) -> None:
        self.latent_shape = tuple(latent_shape)
        self.discriminator = mlp(self.latent_shape, (1,), width=self.width, depth=self.depth)

    def logits(self, z: Tensor, *, frozen: bool) -> Tensor:
        """Return the logits of codes.

        Arguments:
            z: Codes, with shape (*, *latent).
            frozen: Whether to block gradients to the parameters of the discriminator.

        Returns:
            Logits, with shape (*).
        """
        batch_shape = z.shape[: z.dim() - len(self.latent_shape)]
        flat = z.reshape(-1, *self.latent_shape)
        h: Tensor = apply_frozen(self.discriminator, flat) if frozen else self.discriminator(flat)
        return h.reshape(batch_shape)


class TotalCorrelation(LatentCodeDiscriminator):
    r"""The total correlation of the codes, estimated with a density ratio.

    .. math:: KL(q(z) \,\|\, \prod_j q(z_j)) \approx \mathbb E_{q(z)} \, T(z), \qquad
        T(z) = \log \frac{D(z)}{1 - D(z)}

    where the discriminator :math:`D` distinguishes codes from codes with permuted dimensions. The
    paper permutes a second batch. Here, the first half of the batch provides the codes and the
    second half the permuted codes, so the two sets share no rows and each example is encoded once.

    References:
        Disentangling by Factorizing (Kim & Mnih, 2018), https://arxiv.org/abs/1802.05983
    """

    requires = frozenset({"density"})

    def attach(self, model: LatentModel) -> None:
        """Create the discriminator for the latent variables of a model."""
        self._create_discriminator(model.latent_shape)

    def forward(self, trace: Trace) -> Tensor:
        """Return the estimate of the total correlation, in nats, with shape (B)."""
        return trace.expect(self.logits(trace.z, frozen=True))

    def discriminator_loss(self, trace: Trace) -> Tensor:
        """Return the cross-entropy, a scalar in nats, which is log 2 at chance level."""
        z = trace.z[0].detach()
        half = len(z) // 2
        if not half:  # a single row cannot be permuted
            return z.new_zeros(())
        logits_joint = self.logits(z[:half], frozen=False)
        logits_permuted = self.logits(permute_dims(z[half:].flatten(1)), frozen=False)
        return (F.softplus(-logits_joint).mean() + F.softplus(logits_permuted).mean()) / 2


class LatentDiscriminator(LatentCodeDiscriminator):
    r"""The generator loss of a discriminator that distinguishes codes from prior samples.

    .. math:: -\mathbb E_{q(z)} \log D(z)

    This is the non-saturating loss, as in Makhzani et al. (2015) and Tolstikhin et al. (2018). It
    requires samples from the prior but no posterior density, so the encoder may be deterministic.

    With ``prior_in_logit``, the logit is :math:`T(z) + \log p(z)` up to a constant, since the first
    term of the optimal logit, :math:`\log p(z) - \log q(z)`, is known.

    References:
        Adversarial Autoencoders (Makhzani et al., 2015), https://arxiv.org/abs/1511.05644

        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        width: The number of hidden units per layer of the discriminator.
        depth: The number of hidden layers of the discriminator.
        lr: The learning rate of the discriminator, relative to that of the model.
        r1_weight: The weight of the R1 penalty at samples from the prior; 0 disables it.
        prior_in_logit: Whether to add the log-density of the prior to the logit.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        depth: int = 3,
        lr: float = 1.0,
        r1_weight: float = 1.0,
        prior_in_logit: bool = False,
    ) -> None:
        super().__init__(width=width, depth=depth, lr=lr)
        if r1_weight < 0:
            raise VariedError(f"r1_weight={r1_weight} must not be negative; a typical value is 1.")
        self.r1_weight, self.prior_in_logit = r1_weight, prior_in_logit

    def attach(self, model: LatentModel) -> None:
        """Create the discriminator for the latent variables of a model.

        Raises:
            VariedError: If the model has several priors, or a codebook.
        """
        if model.prior is None:
            raise VariedError(
                "This objective compares codes with samples from a single prior, but each level of "
                "this model has its own prior; use architecture='vae'."
            )
        if model.num_codes:
            raise VariedError(
                "This objective compares codes with samples from the prior, but the prior over "
                "codebook indices is fitted after training; use objective='vq-vae'."
            )
        self._create_discriminator(model.latent_shape)

    def forward(self, trace: Trace) -> Tensor:
        """Return the non-saturating loss, in nats, with shape (B); it is log 2 at chance level."""
        z = trace.z
        logits = self.logits(z, frozen=True)
        if self.prior_in_logit:
            logits = logits + self.prior_logits(z, trace)
        return trace.expect(F.softplus(-logits))

    def discriminator_loss(self, trace: Trace) -> Tensor:
        """Return the sum of the cross-entropy (log 2 at chance level) and the R1 penalty."""
        z, real = trace.z.detach(), self.sample_prior(trace)
        logits_fake, logits_real = self.logits(z, frozen=False), self.logits(real, frozen=False)
        if self.prior_in_logit:
            with torch.no_grad():
                offsets = self.prior_logits(z, trace), self.prior_logits(real, trace)
            logits_fake, logits_real = logits_fake + offsets[0], logits_real + offsets[1]
        loss = (F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean()) / 2
        return loss + self.r1_penalty(real[0], trace)

    def r1_penalty(self, real: Tensor, trace: Trace) -> Tensor:
        """Return the weighted R1 penalty of the entire logit at samples from the prior."""
        if not self.r1_weight or not torch.is_grad_enabled():
            return real.new_zeros(())
        offset: Tensor | float = 0.0
        if self.prior_in_logit:
            z = real.requires_grad_()
            value = self.prior_logits(z[None], trace).sum()
            if value.requires_grad:  # a uniform density has no gradient
                (offset,) = torch.autograd.grad(value, z)
        logits = partial(self.logits, frozen=False)
        return self.r1_weight / 2 * squared_gradient(logits, real, offset)

    def sample_prior(self, trace: Trace) -> Tensor:
        """Return one sample from the prior per example, with shape (1, B, *latent)."""
        p, rows = trace.levels[0].p, trace.levels[0].z.shape[1]
        return p.sample((1,) if p.batch_shape else (1, rows)).detach()

    def prior_logits(self, z: Tensor, trace: Trace) -> Tensor:
        """Return log p(z) minus its mean over samples from the prior, with shape (K, B), in nats.

        The log-density is centered, since the gradient almost vanishes for a logit near -100. The
        discriminator learns the constant quickly.
        """
        p = trace.levels[0].p
        return p.log_prob(z) - p.log_prob(self.sample_prior(trace)).mean().detach()
