"""VQ-VAE-2: one codebook for the global structure of an image, and another for its details."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from varied.distributions import base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.heads import Head
from varied.models.base import PartFactory
from varied.models.vae import VAE
from varied.quantizers import Quantized, Quantizer
from varied.trace import ConditionalDistribution

Shape = tuple[int, ...]

#: The downsampling factor from the image to the bottom map, if ``latent`` specifies only channels.
BOTTOM_FACTOR = 4


def upsample_to(z: Tensor, size: Sequence[int]) -> Tensor:
    """Return a map upsampled by 2 (nearest neighbor), and cropped where ``size`` is odd."""
    return z.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]


class TwoLevelQuantizer(Quantizer):
    r"""Quantizes a feature map into a small top map and a larger bottom map.

    .. math::
        e_\mathrm{top} &= \mathrm{quantize}(t(h)) \\
        e_\mathrm{bottom} &= \mathrm{quantize}(b(h, e_\mathrm{top}))

    where h is the output of the encoder network, and t and b are networks of this head. The latent
    variable is a vector, the concatenation of the bottom and the top map. In the sequence of codes,
    however, the top map comes first, so an autoregressive prior models the bottom map given the top
    map.

    References:
        Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019),
        https://arxiv.org/abs/1906.00446

    Arguments:
        feature_shape: The shape of h.
        top: Maps h to the quantized top map, with half the height and width.
        bottom: Maps the concatenation of h and the upsampled top map to the quantized bottom map.
    """

    def __init__(
        self, feature_shape: Shape, top: ConditionalDistribution, bottom: ConditionalDistribution
    ) -> None:
        upper, lower = _quantizer(top.head), _quantizer(bottom.head)
        super().__init__((lower.size + upper.size,), lower.num_codes)
        self.feature_shape, self.depth = feature_shape, upper.num_tokens + lower.num_tokens
        self.top, self.bottom = top, bottom

    @property
    def top_quantizer(self) -> Quantizer:
        """The quantizer of the top map."""
        return _quantizer(self.top.head)

    @property
    def bottom_quantizer(self) -> Quantizer:
        """The quantizer of the bottom map."""
        return _quantizer(self.bottom.head)

    @property
    def param_shape(self) -> Shape:
        """The shape of the network output for one example: the flattened feature maps h."""
        return (math.prod(self.feature_shape),)

    def quantize(self, rows: Tensor) -> Quantized:
        """Quantize M feature maps, given as rows."""
        h = rows.reshape(-1, *self.feature_shape)
        top = _codes(self.top, h)
        bottom = _codes(self.bottom, self._bottom_input(h, top.value))
        index = torch.cat([top.index, bottom.index], 1)
        if self.training:
            self._update_usage(rows, index)
        return Quantized(_concatenate(bottom.value, top.value), index, bottom.cost + top.cost)

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return quantized latent variables, with shape (M, D), for the codes of both maps."""
        sizes = [self.top_quantizer.num_tokens, self.bottom_quantizer.num_tokens]
        top, bottom = index.split(sizes, 1)
        return _concatenate(self.bottom_quantizer.lookup(bottom), self.top_quantizer.lookup(top))

    def init_codebook(self, rows: Tensor) -> None:
        """Initialize the codebook of the top map, and then the codebook of the bottom map."""
        h = rows.reshape(-1, *self.feature_shape)
        self.top_quantizer.init_from_data(self.top.outputs(h))
        bottom_input = self._bottom_input(h, _codes(self.top, h).value)
        self.bottom_quantizer.init_from_data(self.bottom.outputs(bottom_input))

    def _bottom_input(self, h: Tensor, top: Tensor) -> Tensor:
        return torch.cat([h, upsample_to(top, self.feature_shape[1:])], 1)

    def _to_rows(self, h: Tensor) -> Tensor:
        return h.reshape(-1, *self.param_shape)


class UpsampleConcat(nn.Module):
    """A network whose input vector contains two maps, the second of which is upsampled.

    Arguments:
        net: A module that takes the maps, with shape (N, 2 * C, h, w), and, for a conditional
            model, a context.
        bottom: The shape of the first map.
        top: The shape of the second map, at half the height and width.
    """

    def __init__(self, net: nn.Module, bottom: Shape, top: Shape) -> None:
        super().__init__()
        self.net, self.shapes = net, (bottom, top)

    def forward(self, z: Tensor, *c: Tensor) -> Tensor:
        """Return the output of the network.

        Arguments:
            z: The concatenation of the two maps, with shape (N, D).
            c: The context, with shape (N, F), for a conditional model.
        """
        parts = z.split([math.prod(shape) for shape in self.shapes], 1)
        bottom, top = (z.unflatten(1, s) for z, s in zip(parts, self.shapes, strict=True))
        return self.net(torch.cat([bottom, upsample_to(top, bottom.shape[2:])], 1), *c)  # type: ignore[no-any-return]


def build_vqvae2(factory: PartFactory, *, channels: int = 64, context_dropout: float = 0.0) -> VAE:
    """Return a VQ-VAE-2: a map of codes for details, conditioned on a map of half its size.

    ``latent`` is the shape of the larger map, such as (32, 7, 7), or only its number of channels,
    in which case it has a quarter of the height and width of the image.

    Arguments:
        factory: Builds the parts.
        channels: The number of channels of the feature map from which both levels are quantized.
        context_dropout: The probability of dropping the context of a row during training, so that a
            conditional model can also sample without a context; typical values are 0.1 to 0.2.

    References:
        Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019),
        https://arxiv.org/abs/1906.00446

    Raises:
        VariedError: If the data are not images, the latent variable is not a map that can be
            halved, or the posterior is not a quantizer.
    """
    if channels < 1:
        raise VariedError(f"channels={channels} must be at least 1; the default is 64.")
    bottom = _bottom_shape(factory)
    top = (bottom[0], *(-(-side // 2) for side in bottom[1:]))
    features = (channels, *bottom[1:])
    bottom_input = (channels + top[0], *bottom[1:])
    head = TwoLevelQuantizer(
        features,
        factory.conditional(features, factory.posterior(top), 0),
        factory.conditional(bottom_input, factory.posterior(bottom), 0),
    )
    encoder_net = factory.net(factory.shape, features, factory.context)
    encoder = ConditionalDistribution(encoder_net, head, factory.shape)
    likelihood = factory.likelihood(factory.shape)
    encoder.net = likelihood.input_net(encoder.net)
    maps = (bottom[0] + top[0], *bottom[1:])
    decoder_net = UpsampleConcat(
        factory.net(maps, likelihood.param_shape, factory.context), bottom, top
    )
    decoder = ConditionalDistribution(decoder_net, likelihood, head.event_shape)
    prior = factory.prior(head.event_shape, factory.context)
    prior.attach(encoder)
    return VAE(encoder, decoder, prior, context_dropout)


def _bottom_shape(factory: PartFactory) -> Shape:
    if len(factory.shape) != 3:
        raise VariedError(
            "architecture='vq-vae-2' requires images (channels, height, width), not data of shape "
            f"{factory.shape}; use architecture='vae'."
        )
    latent = factory.latent_shape
    if len(latent) == 1:
        latent = (*latent, *(-(-side // BOTTOM_FACTOR) for side in factory.shape[1:]))
    if len(latent) != 3 or max(latent[1:]) < 2:
        raise VariedError(
            "architecture='vq-vae-2' requires a latent map of at least 2 x 2, not "
            f"latent={latent}; specify channels, height and width, such as latent=(32, 7, 7), or "
            "use architecture='vae'."
        )
    return latent


def _quantizer(head: Head) -> Quantizer:
    if not isinstance(head, Quantizer):
        raise VariedError(
            "architecture='vq-vae-2' requires a posterior with a codebook; use posterior='vq', or "
            "architecture='vae'."
        )
    return head


def _codes(conditional: ConditionalDistribution, b: Tensor) -> CodebookPoint:
    codes = base_distribution(conditional(b))
    assert isinstance(codes, CodebookPoint)
    return codes


def _concatenate(bottom: Tensor, top: Tensor) -> Tensor:
    return torch.cat([bottom.flatten(1), top.flatten(1)], 1)
