"""Critics of codes, which ask for independent dimensions or for draws of the prior."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varied.discriminators.adaptive_weight import squared_gradient
from varied.discriminators.base import AdversarialTerm, frozen
from varied.errors import VariedError
from varied.models import LatentModel
from varied.nets import mlp
from varied.terms import requires
from varied.trace import Trace

__all__ = ["LatentCodeDiscriminator", "LatentDiscriminator", "TotalCorrelation", "permute_dims"]


def permute_dims(z: Tensor) -> Tensor:
    """Return codes of shape (N, D) in which the rows of each dimension are permuted by itself.

    Whatever the dimensions knew of each other is lost; each by itself stays as it was.
    """
    return z.gather(0, torch.rand_like(z).argsort(0))


class LatentCodeDiscriminator(AdversarialTerm):
    """A term whose critic is fully connected and gives one logit for each code.

    Arguments:
        width: The units of each hidden layer of the critic.
        depth: The hidden layers of the critic.
        lr: The critic's learning rate as a factor on the model's.
        momentum: Adam's first coefficient for the critic.
    """

    critic: nn.Module
    latent: tuple[int, ...]

    def __init__(
        self, *, width: int = 256, depth: int = 3, lr: float = 1.0, momentum: float = 0.5
    ) -> None:
        super().__init__(lr, momentum)
        if width < 1 or depth < 1 or lr <= 0:
            raise VariedError(
                f"disc_width={width} and disc_depth={depth} must be at least 1 and "
                f"disc_lr={lr} above 0; 256, 3 and 1 are usual."
            )
        self.width, self.depth = width, depth

    def attach(self, model: Any) -> None:
        """Make the critic for the latents of a model; any shape is laid out flat."""
        self.latent_shape = tuple(model.latent_shape)
        self.critic = mlp(self.latent_shape, (1,), width=self.width, depth=self.depth)

    def score(self, z: Tensor, *, still: bool) -> Tensor:
        """Return the logit of each code.

        Arguments:
            z: Codes, with shape (*, *latent).
            still: Whether the critic only judges; else it also learns.

        Returns:
            Logits, with shape (*), in nats.
        """
        lead = z.shape[: z.dim() - len(self.latent_shape)]
        flat = z.reshape(-1, *self.latent_shape)
        h: Tensor = frozen(self.critic, flat) if still else self.critic(flat)
        return h.reshape(lead)


@requires("density")
class TotalCorrelation(LatentCodeDiscriminator):
    r"""How far the dimensions of the codes are from independent, by a density ratio.

    .. math:: KL(q(z), \prod_j q(z_j)) \approx \mathbb E_{q(z)} \, T(z), \qquad
        T(z) = \log \frac{D(z)}{1 - D(z)}

    where the critic :math:`D` tells codes from codes whose dimensions were permuted over the rows.
    The paper permutes a second batch; here the codes come from the first half of the batch and the
    permuted ones from the second, so that no row is on both sides and no datum is encoded twice.

    References:
        Disentangling by Factorizing (Kim & Mnih, 2018), https://arxiv.org/abs/1802.05983
    """

    def forward(self, trace: Trace) -> Tensor:
        """Return the estimate of the total correlation in nats, with shape (B)."""
        return trace.expect(self.score(trace.z, still=True))

    def loss(self, trace: Trace) -> Tensor:
        """Return the cross-entropy of the critic, a scalar in nats; log 2 is a blind guess."""
        z = trace.z[0].detach()
        half = len(z) // 2
        if not half:  # one row has nothing to be permuted with
            return z.new_zeros(())
        together = self.score(z[:half], still=False)
        apart = self.score(permute_dims(z[half:].flatten(1)), still=False)
        return (F.softplus(-together).mean() + F.softplus(apart).mean()) / 2


@requires()
class LatentDiscriminator(LatentCodeDiscriminator):
    r"""What the encoder pays for codes that do not look like draws of the prior.

    .. math:: -\mathbb E_{q(z)} \log D(z)

    Makhzani et al. and Tolstikhin et al. let the encoder fool the critic in this form too, which
    has a gradient where :math:`\log (1 - D)` has none. It needs draws of the prior and no density
    of the posterior, so the encoder may put out points.

    With ``prior_in_logit`` the critic's logit is :math:`T(z) + \log p(z)`, up to a constant: the best
    logit is :math:`\log p(z) - \log q(z)`, and its first half is known.

    References:
        Adversarial Autoencoders (Makhzani et al., 2015), https://arxiv.org/abs/1511.05644

        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558

    Arguments:
        prior_in_logit: Whether the log-density of the prior is added to the logit; the prior needs one.
        others: Settings of `CodeCritic`.
    """

    def __init__(
        self, *, prior_in_logit: bool = False, r1_weight: float = 1.0, **others: Any
    ) -> None:
        super().__init__(**others)
        if r1_weight < 0:
            raise VariedError(f"r1_weight={r1_weight} must not be below 0; 1 is usual.")
        self.prior_in_logit, self.r1_weight = prior_in_logit, r1_weight

    def attach(self, model: Any) -> None:
        """Make the critic for the latents of a model that has one prior while it is trained.

        Raises:
            VariedError: If it has a prior at each of several levels, or codes of a codebook, whose
                prior is learned later.
        """
        if isinstance(model, LatentModel) and not hasattr(model, "prior"):
            raise VariedError(
                "A critic compares the codes with draws of one prior, and this model has a prior "
                "at each of several levels; use architecture='vae'."
            )
        if getattr(model, "num_codes", 0):
            raise VariedError(
                "A critic compares the codes with draws of the prior, and that of a codebook is "
                "learned later; use objective='vq-vae'."
            )
        super().attach(model)

    def forward(self, trace: Trace) -> Tensor:
        """Return what the encoder pays in nats, with shape (B); log 2 where nothing is seen."""
        z = trace.z
        logits = self.score(z, still=True)
        if self.prior_in_logit:
            logits = logits + self.known(z, trace)
        return trace.expect(F.softplus(-logits))

    def loss(self, trace: Trace) -> Tensor:
        """Return the cross-entropy of the critic, a scalar in nats; log 2 is a blind guess."""
        z, real = trace.z.detach(), self.draws(trace)
        fakes, reals = self.score(z, still=False), self.score(real, still=False)
        if self.prior_in_logit:
            with torch.no_grad():
                known = self.known(z, trace), self.known(real, trace)
            fakes, reals = fakes + known[0], reals + known[1]
        cost = (F.softplus(-reals).mean() + F.softplus(fakes).mean()) / 2
        return cost + self.penalty(real[0], trace)

    def penalty(self, real: Tensor, trace: Trace) -> Tensor:
        """Return half the squared slope of the whole logit at draws of the prior, weighted."""
        if not self.r1_weight or not torch.is_grad_enabled():
            return real.new_zeros(())
        known: Tensor | float = 0.0
        if self.prior_in_logit:
            z = real.requires_grad_()
            value = self.known(z[None], trace).sum()
            if value.requires_grad:  # a uniform density has no slope
                (known,) = torch.autograd.grad(value, z)
        return self.r1_weight / 2 * squared_gradient(partial(self.score, still=False), real, known)

    def draws(self, trace: Trace) -> Tensor:
        """Return a draw of the prior for each datum, with shape (1, B, *latent)."""
        p, rows = trace.levels[0].p, trace.levels[0].z.shape[1]
        return p.sample((1,) if p.batch_shape else (1, rows)).detach()

    def known(self, z: Tensor, trace: Trace) -> Tensor:
        """Return log p(z) less its mean over draws of the prior, with shape (K, B), in nats.

        A logit that starts at -100 would teach little, and a constant is soon learned.
        """
        p = trace.levels[0].p
        return p.log_prob(z) - p.log_prob(self.draws(trace)).mean().detach()
