"""Critics of pictures: the autoencoder beyond pixels, and the one with a patch critic."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

from varied.discriminators.adaptive_weight import (
    AdaptiveThrottle,
    adaptive_weight,
    squared_gradient,
    with_gradient,
)
from varied.discriminators.base import AdversarialTerm, frozen
from varied.discriminators.patchgan import PatchDiscriminator
from varied.distributions import base_distribution
from varied.errors import VariedError
from varied.models import LatentModel
from varied.scheduled_value import ScheduledValue
from varied.schedules import Constant, Join, Linear
from varied.terms import reconstruction, requires
from varied.trace import ConditionalDistribution, Trace

__all__ = ["FeatureMatching", "ImageDiscriminator", "PatchGAN", "visible_sample"]

#: Steps from one gradient penalty to the next; each then counts for as many.
LAZY = 16


def visible_sample(p: Distribution) -> Tensor:
    r"""Return pictures of a distribution as a critic may see them, with a gradient.

    That is the mean. But where data are black or white, a critic would know every mean by its gray
    and teach nothing else; there it sees a draw :math:`s`, in the straight-through form
    :math:`s + \mu - \mu`, whose last part alone has no gradient.

    References:
        Estimating or Propagating Gradients Through Stochastic Neurons (Bengio et al., 2013),
        https://arxiv.org/abs/1308.3432
    """
    mean = p.mean
    if not isinstance(base_distribution(p), Bernoulli):
        return mean
    return p.sample() + mean - mean.detach()


class ImageDiscriminator(AdversarialTerm):
    """A term whose critic is convolutional and scores the patches of a picture.

    Before ``start`` the critic sleeps and nobody pays. From then on it learns, the model listens
    more and more, and a `Brake` holds the squared error near the lowest there was. The critic runs
    in the precision of the decoder, and does not see a context.

    Arguments:
        start: The share of the run (below 1) or the step from which the critic is awake.
        rise: Over which further share or steps the model begins to listen, as a share of ``start``.
        tolerance: By how much the squared error may rise above its lowest before the brake.
        width: The channels of the critic's first layer.
        depth: The most halvings of the critic.
        lr: The critic's learning rate as a factor on the model's.
        spectral_norm: Whether the critic's layers are held at gain 1.
        r1_weight: The weight of the gradient penalty on real data; 0 for none.
        momentum: Adam's first coefficient for the critic.
    """

    critic: PatchDiscriminator
    count: Tensor

    def __init__(
        self,
        *,
        start: float = 0.4,
        rise: float = 0.1,
        tolerance: float = 0.3,
        width: int = 32,
        depth: int = 3,
        lr: float = 1.0,
        spectral_norm: bool = True,
        r1_weight: float = 0.0,
        momentum: float = 0.5,
    ) -> None:
        super().__init__(lr, momentum)
        if lr <= 0 or r1_weight < 0:
            raise VariedError(
                f"disc_lr={lr} must be above 0 and r1_weight={r1_weight} not below it; 1 and 0 are usual."
            )
        if start < 0:
            raise VariedError(
                f"disc_start={start} must not be below 0; 0 is awake from the first step."
            )
        self.width, self.depth, self.spectral_norm, self.r1_weight = (
            width,
            depth,
            spectral_norm,
            r1_weight,
        )
        # A share of the run must stay one: what is left of it bounds the ramp.
        length = min(start * rise, (1 - start) / 2) if start < 1 else start * rise
        asleep = Constant(0.0, start)
        self.awake = ScheduledValue(Join((asleep, Constant(1.0))) if start else 1.0)
        self.heard = ScheduledValue(Join((asleep, Linear(0.0, 1.0, length))) if start else 1.0)
        self.brake = AdaptiveThrottle(tolerance)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.told: dict[str, Tensor] = {}

    def attach(self, model: LatentModel) -> None:
        """Make the critic for the pictures of a model, and keep the model in sight.

        In a tuple, the model is no submodule, and its weights are not ours to save or to train.
        """
        self.critic = PatchDiscriminator(
            tuple(model.event_shape),
            width=self.width,
            depth=self.depth,
            spectral_norm=self.spectral_norm,
        )
        self.seen = (model,)

    @property
    def model(self) -> LatentModel:
        """The model."""
        return self.seen[0]

    @property
    def moves(self) -> bool:
        """Whether this is a step of training: only then anything that is kept may change."""
        return self.training and torch.is_grad_enabled()

    def maps(self, x: Tensor, *, still: bool) -> list[Tensor]:
        """Return the critic's hidden maps and last its scores, in float32 at least.

        Arguments:
            x: Pictures, with shape (*, *event).
            still: Whether the critic only judges; else it also learns.

        Returns:
            Tensors with shape (N, C, h, w), where N is the product of the leading dimensions.
        """
        # Spectral normalization moves its estimates in each pass of training mode.
        self.critic.train(self.moves and not still)
        flat = x.reshape(-1, *self.critic.event_shape)
        precision = next(
            (m.precision for m in self.model.modules() if isinstance(m, ConditionalDistribution)),
            None,
        )
        with torch.autocast(x.device.type, dtype=precision, enabled=precision is not None):
            seen = frozen(self.critic, flat) if still else self.critic(flat)
        return [h if h.dtype == torch.float64 else h.float() for h in seen]

    def pairs(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Return data and reconstructions as the critic may see them.

        Where a datum has holes so has its reconstruction, or the critic would look for holes.

        Returns:
            The data with shape (B, *event), and reconstructions with shape (K, B, *event).
        """
        x, made = trace.x, visible_sample(trace.px)
        if trace.mask is None:
            return x, made
        return x, made.masked_fill(trace.mask == 0, 0)

    def update(self, trace: Trace, **told: Tensor) -> None:
        """Take note of the squared error, and of what else is to be told beside it."""
        with torch.no_grad():
            gap = trace.px.mean - trace.x
            gap = gap if trace.mask is None else gap * trace.mask
            error = gap.square().flatten(2).mean(2).mean()
        if self.moves:
            self.brake.update(error, act=bool(self.awake.value))
        told = {"squared_error": error, "throttle": self.brake.value} | told
        self.told = {name: value.detach().clone() for name, value in told.items()}

    def penalty(self, x: Tensor) -> Tensor:
        r"""Return the penalty on the critic's gradient at real data, a scalar.

        .. math:: \tfrac{r_1}{2} \, \mathbb E \, \|\nabla_x D(x)\|^2

        It is taken in each 16th step alone and counts 16 times there.

        References:
            Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020),
            https://arxiv.org/abs/1912.04958
        """
        if not self.r1_weight or not self.moves:
            return x.new_zeros(())
        due = int(self.count) % LAZY == 0
        self.count += 1
        if not due:
            return x.new_zeros(())
        return (
            LAZY
            * self.r1_weight
            / 2
            * squared_gradient(lambda x: self.critic(x)[-1].mean((1, 2, 3)), x)
        )


@requires()
class PatchGAN(ImageDiscriminator):
    r"""What the model pays where a critic of patches tells its reconstructions from data.

    .. math:: -\lambda \, \mathbb E_q D(\mu(z)), \qquad
        L_D = \mathbb E \max(0, 1 - D(x)) + \mathbb E \max(0, 1 + D(\mu(z)))

    with :math:`\lambda = \|\nabla \text{distortion}\| / \|\nabla D\|`, so that a weight of 1 pulls
    as hard as reconstruction does.

    What is told is the plain score; :math:`\lambda` and the brake scale its gradient alone, so the
    loss of one step can be compared with that of another.

    References:
        Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021),
        https://arxiv.org/abs/2012.09841

        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
        https://arxiv.org/abs/2112.10752

    Warning:
        The papers take both gradients with respect to the weights of the decoder's last layer. Here
        they are taken with respect to what the decoder puts out, which every network has. The
        gradient of a last linear layer is that of its output times the same activations in both,
        so the ratios are alike; but it also adds up over places and rows, where the critic's
        gradient agrees with itself more than residuals do, so the weight here is the smaller one.

    Arguments:
        feature_weight: The weight of the distance in the critic's hidden maps beside its score.
        others: Settings of `PictureCritic`.
    """

    pulled: Tensor

    #: The largest ratio, for each number of a datum.
    MOST = 1e4

    def __init__(self, *, feature_weight: float = 0.0, **others: Any) -> None:
        super().__init__(**others)
        if feature_weight < 0:
            raise VariedError(
                f"feature_weight={feature_weight} must not be below 0; 0 is the default."
            )
        self.feature_weight = feature_weight
        self.register_buffer("pulled", torch.zeros(()))

    def forward(self, trace: Trace) -> Tensor:
        """Return the negative mean score of each datum's reconstructions, with shape (B)."""
        x, made = self.pairs(trace)
        self.update(trace, pull=self.pulled)
        if not self.awake.value:
            return made.new_zeros(len(x))
        shown = made.detach().requires_grad_(torch.is_grad_enabled())
        cost = trace.expect(self._cost(x, shown))
        if not (torch.is_grad_enabled() and made.requires_grad):
            return cost
        (gradient,) = torch.autograd.grad(cost.sum(), shown)
        return with_gradient(cost, made, self._scale(trace, made, gradient) * gradient)

    def loss(self, trace: Trace) -> Tensor:
        """Return the critic's hinge loss, a scalar; 2 is a blind guess."""
        x, made = self.pairs(trace)
        if not self.awake.value:
            return x.new_zeros(())
        both = torch.cat([x.detach(), made.detach().flatten(0, 1)])
        score = self.maps(both, still=False)[-1].flatten(1)
        real, fake = F.relu(1 - score[: len(x)]), F.relu(1 + score[len(x) :])
        return real.mean() + fake.mean() + self.penalty(x)

    def _cost(self, x: Tensor, shown: Tensor) -> Tensor:
        *hidden, score = self.maps(shown, still=True)
        cost = -score.mean((1, 2, 3))
        if self.feature_weight:
            with torch.no_grad():
                real = self.maps(x.expand_as(shown), still=True)[:-1]
            gaps = [(a - b).abs().mean((1, 2, 3)) for a, b in zip(hidden, real, strict=True)]
            cost = cost + self.feature_weight * torch.stack(gaps).sum(0)
        return cost.reshape(shown.shape[:2])

    def _scale(self, trace: Trace, made: Tensor, gradient: Tensor) -> Tensor:
        most = self.MOST * math.prod(self.critic.event_shape)
        ratio = adaptive_weight(trace.px, reconstruction(trace).sum(), made, gradient, most)
        if self.moves:
            self.pulled.copy_(ratio)
        return ratio * self.brake.value * self.heard.value


@requires()
class FeatureMatching(ImageDiscriminator):
    r"""Reconstruction as a critic sees it, and what the decoder pays for being told from data.

    .. math:: -\log \mathcal N(D_l(x); D_l(\mu(z)), s^2)
        - w \lambda (\log D(\mu(\bar z)) + \log D(\mu(z_p)))

    :math:`D_l` is a hidden map of the critic, :math:`\bar z` the codes without a gradient and
    :math:`z_p` draws of the prior: the encoder learns from the first part alone, as in the paper's
    algorithm. The critic sees data, reconstructions and decoded draws.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
        https://arxiv.org/abs/1512.09300

    Warning:
        The paper fixes the scale s at 1, where the result depends on how large the critic happens
        to make its features; here s is the best one for the batch, as in a calibrated decoder. The
        paper's decoder minimizes log (1 - D), which has no gradient where the critic is sure; here
        it is -log D, as in nearly all code. The paper weighs the first part by a fixed gamma for
        the decoder; here :math:`\lambda` is the ratio of the two parts' gradients at the pictures,
        so that w = 1 pulls as hard as the first part does. The paper's critic is awake from the
        first step, and ends in a dense layer; here it wakes late and ends in patches.

    Arguments:
        layer: Which hidden map, counted from 0 at the picture; -1 is the last.
        adv_weight: The weight w of the second part.
        others: Settings of `PictureCritic`.
    """

    def __init__(self, *, layer: int = -2, adv_weight: float = 0.1, **others: Any) -> None:
        super().__init__(**others)
        if adv_weight < 0:
            raise VariedError(f"adv_weight={adv_weight} must not be below 0; 0.1 is usual.")
        self.layer, self.adv_weight = layer, adv_weight
        self.decoded: tuple[Trace, Tensor] | None = None

    def attach(self, model: LatentModel) -> None:
        """Make the critic for the pictures of a model, and keep the model in sight."""
        super().attach(model)
        hidden = len(self.critic.halved) + 1
        if not -hidden <= self.layer < hidden:
            raise VariedError(
                f"feature_layer={self.layer} is none of the critic's {hidden} hidden maps; -1 is the last."
            )

    def forward(self, trace: Trace) -> Tensor:
        """Return what the model pays for each datum, with shape (B), in nats."""
        x, made = self.pairs(trace)
        self.update(trace)
        if not self.awake.value:
            return made.new_zeros(len(x))
        fakes = self._fakes(trace)
        self.decoded = trace, fakes
        learns = torch.is_grad_enabled() and made.requires_grad
        shown, faked = (t.detach().requires_grad_(learns) for t in (made, fakes))
        likeness, fooled = trace.expect(self._likeness(x, shown)), self._fooled(faked)
        self.told |= {"likeness": likeness.detach().mean(), "fooled": fooled.detach().mean()}
        if not learns:
            return likeness + self.adv_weight * fooled
        (near,) = torch.autograd.grad(likeness.sum(), shown)
        (real,) = torch.autograd.grad(fooled.sum(), faked)
        ratio = near.norm() / real[0].norm().clamp(min=1e-12)
        real = self.brake.value * self.adv_weight * ratio * real
        likely = with_gradient(likeness, made, self.heard.value * near)
        return likely + with_gradient(self.adv_weight * fooled, fakes, self.heard.value * real)

    def loss(self, trace: Trace) -> Tensor:
        """Return the critic's cross-entropies, a scalar in nats; 3 log 2 is a blind guess."""
        x = trace.x.detach()
        if not self.awake.value:
            return x.new_zeros(())
        fakes = self._fakes(trace).detach()
        self.decoded = None
        score = self.maps(torch.cat([x, *fakes]), still=False)[-1].flatten(1)
        real, fake = F.softplus(-score[: len(x)]), F.softplus(score[len(x) :])
        return real.mean() + 2 * fake.mean() + self.penalty(x)

    def _likeness(self, x: Tensor, made: Tensor) -> Tensor:
        """Return what a hidden map says of reconstructions, with shape (K, B), in nats."""
        with torch.no_grad():
            real = self.maps(x, still=True)[:-1][self.layer]
        seen = self.maps(made, still=True)[:-1][self.layer]
        gap = (seen.reshape(len(made), *real.shape) - real).square().flatten(2)
        variance = gap.detach().mean().clamp(min=1e-8)
        return ((gap / variance).sum(2) + gap[0, 0].numel() * (2 * math.pi * variance).log()) / 2

    def _fooled(self, fakes: Tensor) -> Tensor:
        """Return what the decoder pays for both kinds of its pictures, with shape (B), in nats."""
        score = self.maps(fakes, still=True)[-1].mean((1, 2, 3))
        return F.softplus(-score).reshape(2, -1).sum(0)

    def _fakes(self, trace: Trace) -> Tensor:
        """Return decoded codes and decoded draws of the prior, with shape (2, B, *event)."""
        if self.decoded is not None and self.decoded[0] is trace:
            return self.decoded[1]
        z, c = trace.z[0].detach(), trace.c
        with torch.no_grad():
            draws = self.model.sample_prior(len(z), c)
        made = visible_sample(self.model.decode(torch.stack([z, draws]), c))
        return made if trace.mask is None else made.masked_fill(trace.mask == 0, 0)
