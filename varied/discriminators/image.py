"""Image discriminators: feature matching (VAE-GAN), and PatchGAN with an adaptive weight."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
from varied.discriminators.base import AdversarialTerm, apply_frozen
from varied.discriminators.patchgan import PatchDiscriminator
from varied.distributions import base_distribution
from varied.errors import VariedError
from varied.models import LatentModel
from varied.process_group import current_group
from varied.scheduled_value import ScheduledValue
from varied.schedules import Constant, Join, Linear
from varied.terms import reconstruction
from varied.trace import ConditionalDistribution, Trace

#: The number of steps between gradient penalties; each penalty is multiplied by this number.
R1_INTERVAL = 16

#: The duration over which the adversarial loss increases, relative to the time before it starts.
RAMP = 0.1


def visible_sample(p: Distribution) -> Tensor:
    r"""Return differentiable images from a distribution, as input to a discriminator.

    The images are the means, except for a Bernoulli distribution. A discriminator for binary images
    would recognize means by their gray values alone, so it receives samples :math:`s` with a
    straight-through gradient, :math:`s + \mu - \mathrm{sg}[\mu]`.

    References:
        Estimating or Propagating Gradients Through Stochastic Neurons (Bengio et al., 2013),
        https://arxiv.org/abs/1308.3432
    """
    mean = p.mean
    if not isinstance(base_distribution(p), Bernoulli):
        return mean
    return p.sample() + mean - mean.detach()


@dataclass(frozen=True)
class ImageDiscriminatorSettings:
    """The settings of an image discriminator.

    Arguments:
        start: The fraction of training (below 1), or the step, at which adversarial training
            starts.
        recon_tolerance: The relative increase in the squared error over its lowest value beyond
            which the adversarial loss is reduced.
        width: The number of channels of the first layer.
        depth: The maximum number of downsampling layers.
        lr: The learning rate, relative to that of the model.
        spectral_norm: Whether to apply spectral normalization.
        r1_weight: The weight of the R1 penalty on real data; 0 disables it.
    """

    start: float = 0.4
    recon_tolerance: float = 0.3
    width: int = 32
    depth: int = 3
    lr: float = 1.0
    spectral_norm: bool = True
    r1_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.r1_weight < 0:
            raise VariedError(f"r1_weight={self.r1_weight} must not be negative; the default is 0.")
        if self.start < 0:
            raise VariedError(
                f"disc_start={self.start} must not be negative; use 0 to start at the first step."
            )


class ImageDiscriminator(AdversarialTerm):
    """Base class for terms with a PatchGAN image discriminator.

    Before ``start``, the term is 0. After that, the discriminator is trained, the weight of the
    generator loss increases, and an `AdaptiveThrottle` keeps the squared error near its lowest
    value. The discriminator runs in the precision of the model and does not receive the context.

    Arguments:
        settings: The settings of the discriminator.
    """

    discriminator: PatchDiscriminator
    penalty_calls: Tensor

    def __init__(self, settings: ImageDiscriminatorSettings) -> None:
        super().__init__(settings.lr)
        self.settings, start = settings, settings.start
        # A duration that is a fraction of training must fit into the rest of training.
        duration = min(start * RAMP, (1 - start) / 2) if start < 1 else start * RAMP
        off = Constant(0.0, start)
        self.enabled = ScheduledValue(Join((off, Constant(1.0))) if start else 1.0)
        self.ramp = ScheduledValue(Join((off, Linear(0.0, 1.0, duration))) if start else 1.0)
        self.throttle = AdaptiveThrottle(settings.recon_tolerance)
        self.register_buffer("penalty_calls", torch.zeros((), dtype=torch.int64))

    def _create_discriminator(self, model: LatentModel) -> None:
        self.discriminator = PatchDiscriminator(
            tuple(model.event_shape),
            width=self.settings.width,
            depth=self.settings.depth,
            spectral_norm=self.settings.spectral_norm,
        )
        # Store a method, since the model itself would become a submodule of this term.
        self._modules_of_model = model.modules

    @property
    def is_training_step(self) -> bool:
        """Whether this is a training step, the only case in which buffers may change."""
        return self.training and torch.is_grad_enabled()

    def feature_maps(self, x: Tensor, *, frozen: bool) -> list[Tensor]:
        """Return the feature maps of the discriminator, followed by its logits.

        Arguments:
            x: Images, with shape (*, *event).
            frozen: Whether to block gradients to the parameters of the discriminator.

        Returns:
            Tensors with shape (N, C, h, w), where N is the product of the leading dimensions, in
            float32 or float64.
        """
        # In training mode, spectral normalization updates its estimates in each forward pass.
        self.discriminator.train(self.is_training_step and not frozen)
        flat = x.reshape(-1, *self.discriminator.event_shape)
        modules = self._modules_of_model()
        precision = next(
            (m.precision for m in modules if isinstance(m, ConditionalDistribution)), None
        )
        with torch.autocast(x.device.type, dtype=precision, enabled=precision is not None):
            maps = apply_frozen(self.discriminator, flat) if frozen else self.discriminator(flat)
        return [h if h.dtype == torch.float64 else h.float() for h in maps]

    def visible_pair(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Return data and reconstructions for the discriminator.

        Pixels that are missing in the data are also set to 0 in the reconstructions; otherwise, the
        discriminator would use them to distinguish the two.

        Returns:
            The data, with shape (B, *event), and the reconstructions, with shape (K, B, *event).
        """
        return trace.x, _apply_mask(visible_sample(trace.px), trace)

    def record_error(self, trace: Trace, **logs: Tensor) -> None:
        """Update the throttle with the squared error of a trace, and log both.

        Arguments:
            trace: The trace of a step.
            logs: Additional values to log.
        """
        with torch.no_grad():
            residual = trace.px.mean - trace.x
            residual = residual if trace.mask is None else residual * trace.mask
            error = residual.square().flatten(2).mean(2).mean()
        if self.is_training_step:
            self.throttle.update(error, adjust=bool(self.enabled.value))
        logs = {"squared_error": error, "throttle": self.throttle.value} | logs
        self.logs = {name: value.detach().clone() for name, value in logs.items()}

    def r1_penalty(self, x: Tensor) -> Tensor:
        r"""Return the R1 penalty on the gradient of the logits at real data, a scalar.

        .. math:: \tfrac{r_1}{2} \, \mathbb E \, \|\nabla_x D(x)\|^2

        The penalty is computed only every 16 steps, with 16 times the weight.

        References:
            Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020),
            https://arxiv.org/abs/1912.04958
        """
        if not self.settings.r1_weight or not self.is_training_step:
            return x.new_zeros(())
        is_due = int(self.penalty_calls) % R1_INTERVAL == 0
        self.penalty_calls += 1
        if not is_due:
            return x.new_zeros(())
        penalty = squared_gradient(lambda x: self.discriminator(x)[-1].mean((1, 2, 3)), x)
        return R1_INTERVAL * self.settings.r1_weight / 2 * penalty


class PatchGAN(ImageDiscriminator):
    r"""The generator loss of a PatchGAN discriminator with an adaptive weight.

    .. math:: -\lambda \, \mathbb E_q D(\mu(z)), \qquad
        L_D = \mathbb E \max(0, 1 - D(x)) + \mathbb E \max(0, 1 + D(\mu(z)))

    where :math:`\lambda = \|\nabla \text{reconstruction}\| / \|\nabla D\|`, so that with a weight
    of 1, the gradients of this term and of the reconstruction have equal norms.

    If ``feature_weight`` is positive, the weighted distance between the feature maps of images and
    reconstructions is added to :math:`-D`. The value of the term is this unscaled loss;
    :math:`\lambda` and the `AdaptiveThrottle` scale only its gradient, so that the losses at
    different steps are comparable.

    References:
        Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021),
        https://arxiv.org/abs/2012.09841

        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
        https://arxiv.org/abs/2112.10752

    Warning:
        The papers take both gradients with respect to the weights of the last layer of the decoder.
        Here, they are taken with respect to the output of the decoder, so that any network can be
        used. For a linear last layer, the gradient with respect to the weights is the gradient with
        respect to the output times the activations, summed over positions and rows. The two ratios
        are therefore similar, but not equal.

    Arguments:
        settings: The settings of the discriminator.
        feature_weight: The weight of the distance between the feature maps of images and
            reconstructions, relative to the weight of the logits.
    """

    weight: Tensor

    #: The maximum adaptive weight, per element of an image.
    MAX_WEIGHT = 1e4

    def __init__(
        self,
        settings: ImageDiscriminatorSettings = ImageDiscriminatorSettings(),
        feature_weight: float = 0.0,
    ) -> None:
        super().__init__(settings)
        if feature_weight < 0:
            raise VariedError(
                f"feature_weight={feature_weight} must not be negative; use 0 to omit the feature "
                "maps from the loss."
            )
        self.feature_weight = feature_weight
        self.register_buffer("weight", torch.zeros(()))

    def attach(self, model: LatentModel) -> None:
        """Create the discriminator for the images of a model."""
        self._create_discriminator(model)

    def forward(self, trace: Trace) -> Tensor:
        """Return the unscaled generator loss of each example, with shape (B)."""
        x, images = self.visible_pair(trace)
        self.record_error(trace, adaptive_weight=self.weight)
        if not self.enabled.value:
            return images.new_zeros(len(x))
        leaf = images.detach().requires_grad_(torch.is_grad_enabled())
        loss = trace.expect(self._generator_loss(x, leaf))
        if not (torch.is_grad_enabled() and images.requires_grad):
            return loss
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return with_gradient(loss, images, self._scale(trace, images, gradient) * gradient)

    def discriminator_loss(self, trace: Trace) -> Tensor:
        """Return the sum of the hinge loss, which is 2 at chance level, and the R1 penalty."""
        x, images = self.visible_pair(trace)
        if not self.enabled.value:
            return x.new_zeros(())
        both = torch.cat([x.detach(), images.detach().flatten(0, 1)])
        logits = self.feature_maps(both, frozen=False)[-1].flatten(1)
        logits_real, logits_fake = logits[: len(x)], logits[len(x) :]
        hinge = F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()
        return hinge + self.r1_penalty(x)

    def _generator_loss(self, x: Tensor, images: Tensor) -> Tensor:
        *hidden, logits = self.feature_maps(images, frozen=True)
        loss = -logits.mean((1, 2, 3))
        if self.feature_weight:
            with torch.no_grad():
                real = self.feature_maps(x.expand_as(images), frozen=True)[:-1]
            distances = [(a - b).abs().mean((1, 2, 3)) for a, b in zip(hidden, real, strict=True)]
            loss = loss + self.feature_weight * torch.stack(distances).sum(0)
        return loss.reshape(images.shape[:2])

    def _scale(self, trace: Trace, images: Tensor, gradient: Tensor) -> Tensor:
        max_weight = self.MAX_WEIGHT * math.prod(self.discriminator.event_shape)
        recon = reconstruction(trace).sum()
        weight = adaptive_weight(trace.px, recon, images, gradient, max_weight)
        if self.is_training_step:
            self.weight.copy_(weight)
        return weight * self.throttle.value * self.ramp.value


class FeatureMatching(ImageDiscriminator):
    r"""Reconstruction in the feature space of a discriminator, and the generator loss (VAE-GAN).

    .. math:: -\log \mathcal N(D_l(x); D_l(\mu(z)), s^2)
        - w \lambda (\log D(\mu(\bar z)) + \log D(\mu(z_p)))

    where :math:`D_l` is a feature map of the discriminator, :math:`\bar z` are the detached codes,
    and :math:`z_p` are samples from the prior. As in the paper, only the first term trains the
    encoder. The discriminator is trained on data, reconstructions and decoded prior samples.

    References:
        Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
        https://arxiv.org/abs/1512.09300

    Warning:
        There are four differences from the paper. The paper fixes the scale s at 1, so that the
        result depends on the scale of the features; here, s is the optimal scale for each batch, as
        in a calibrated decoder. The decoder in the paper minimizes log (1 - D), which saturates if
        the discriminator is confident; here, it minimizes -log D, as in nearly all implementations.
        For the decoder, the paper weights the first term with a fixed gamma; here, :math:`\lambda`
        is the ratio between the gradient norms of the two terms with respect to the images, so that
        these are equal at w = 1. The discriminator in the paper is trained from the first step and
        ends in a dense layer; here, its training starts later, and it is a PatchGAN.

    Arguments:
        settings: The settings of the discriminator.
        layer: The index of the feature map, counted from the image; -1 is the last.
        adv_weight: The weight w of the generator loss.
    """

    def __init__(
        self,
        settings: ImageDiscriminatorSettings = ImageDiscriminatorSettings(),
        layer: int = -2,
        adv_weight: float = 0.1,
    ) -> None:
        super().__init__(settings)
        if adv_weight < 0:
            raise VariedError(
                f"adv_weight={adv_weight} must not be negative; a typical value is 0.1."
            )
        self.layer, self.adv_weight = layer, adv_weight
        self._decoded: tuple[Trace, Tensor] | None = None

    def attach(self, model: LatentModel) -> None:
        """Create the discriminator for the images of a model.

        Raises:
            VariedError: If the discriminator does not have the requested layer.
        """
        self._create_discriminator(model)
        self._sample_prior, self._decode = model.sample_prior, model.decode
        hidden = self.discriminator.num_hidden
        if not -hidden <= self.layer < hidden:
            raise VariedError(
                f"feature_layer={self.layer} is out of range for {hidden} hidden layers; use -1 "
                "for the last layer."
            )

    def forward(self, trace: Trace) -> Tensor:
        """Return the loss of each example, in nats, with shape (B)."""
        x, images = self.visible_pair(trace)
        self.record_error(trace)
        if not self.enabled.value:
            return images.new_zeros(len(x))
        fakes = self._decode_fakes(trace)
        self._decoded = trace, fakes
        needs_gradient = torch.is_grad_enabled() and images.requires_grad
        images_leaf, fakes_leaf = (
            t.detach().requires_grad_(needs_gradient) for t in (images, fakes)
        )
        feature_loss = trace.expect(self._feature_loss(x, images_leaf))
        generator_loss = self._generator_loss(fakes_leaf)
        self.logs |= {
            "feature_loss": feature_loss.detach().mean(),
            "generator_loss": generator_loss.detach().mean(),
        }
        if not needs_gradient:
            return feature_loss + self.adv_weight * generator_loss
        (of_features,) = torch.autograd.grad(feature_loss.sum(), images_leaf)
        (of_fakes,) = torch.autograd.grad(generator_loss.sum(), fakes_leaf)
        norms = map(current_group().root_mean_square, (of_features.norm(), of_fakes[0].norm()))
        ratio = next(norms) / next(norms).clamp(min=1e-12)
        of_fakes = self.throttle.value * self.adv_weight * ratio * of_fakes
        feature_loss = with_gradient(feature_loss, images, self.ramp.value * of_features)
        return feature_loss + with_gradient(
            self.adv_weight * generator_loss, fakes, self.ramp.value * of_fakes
        )

    def discriminator_loss(self, trace: Trace) -> Tensor:
        """Return the sum of the cross-entropies (3 log 2 at chance level) and the R1 penalty."""
        x = trace.x.detach()
        if not self.enabled.value:
            return x.new_zeros(())
        fakes = self._decode_fakes(trace).detach()
        self._decoded = None
        logits = self.feature_maps(torch.cat([x, *fakes]), frozen=False)[-1].flatten(1)
        logits_real, logits_fake = logits[: len(x)], logits[len(x) :]
        loss = F.softplus(-logits_real).mean() + 2 * F.softplus(logits_fake).mean()
        return loss + self.r1_penalty(x)

    def _feature_loss(self, x: Tensor, images: Tensor) -> Tensor:
        """Return the negative log-likelihood of the features, with shape (K, B), in nats."""
        with torch.no_grad():
            real = self.feature_maps(x, frozen=True)[:-1][self.layer]
        features = self.feature_maps(images, frozen=True)[:-1][self.layer]
        squares = (features.reshape(len(images), *real.shape) - real).square().flatten(2)
        variance = current_group().mean(squares.detach().mean()).clamp(min=1e-8)
        log_scale = squares[0, 0].numel() * (2 * math.pi * variance).log()
        return ((squares / variance).sum(2) + log_scale) / 2

    def _generator_loss(self, fakes: Tensor) -> Tensor:
        """Return -log D, summed over reconstructions and decoded prior samples, with shape (B)."""
        logits = self.feature_maps(fakes, frozen=True)[-1].mean((1, 2, 3))
        return F.softplus(-logits).reshape(2, -1).sum(0)

    def _decode_fakes(self, trace: Trace) -> Tensor:
        """Return decoded codes and decoded samples from the prior, with shape (2, B, *event)."""
        if self._decoded is not None and self._decoded[0] is trace:
            return self._decoded[1]
        z, c = trace.z[0].detach(), trace.c
        with torch.no_grad():
            samples = self._sample_prior(len(z), c)
        px = self._decode(torch.stack([z, samples]), c)
        return _apply_mask(visible_sample(px), trace)


def _apply_mask(images: Tensor, trace: Trace) -> Tensor:
    return images if trace.mask is None else images.masked_fill(trace.mask == 0, 0)
