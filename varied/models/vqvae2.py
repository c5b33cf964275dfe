"""Two maps of codes, one for the whole of a picture and one for its detail: VQ-VAE-2."""

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

__all__ = ["TwoLevelQuantizer", "UpsampleConcat", "build_vqvae2", "upsample_to"]

Shape = tuple[int, ...]

#: How many times smaller than the picture the bottom map is, where only its channels are said.
QUARTER = 4


def upsample_to(z: Tensor, size: Sequence[int]) -> Tensor:
    """Return a map of twice the size, each place repeated, cut where a side is odd."""
    return z.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]


class TwoLevelQuantizer(Quantizer):
    r"""A whole latent becomes codes of a small map, and codes of a larger one that are given them.

    .. math::
        e_\mathrm{top} &= \mathrm{quantize}(t(h)) \\
        e_\mathrm{bottom} &= \mathrm{quantize}(b(h, e_\mathrm{top}))

    where h is the map that the encoder puts out, and t and b are nets of this head. To all others
    it is a quantizer of one vector, the levels side by side from the datum upwards, that takes all
    codes of both levels to spell. They are spelled from the top, so a prior that goes code by code
    is one of the bottom given the top.

    References:
        Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019),
        https://arxiv.org/abs/1906.00446

    Arguments:
        features: The shape of h.
        top: From h to codes of half its height and width.
        bottom: From h, beside the codes of the top as large as it, to codes.
    """

    def __init__(
        self, features: Shape, top: ConditionalDistribution, bottom: ConditionalDistribution
    ) -> None:
        upper, lower = _coded(top.head), _coded(bottom.head)
        super().__init__((lower.size + upper.size,), lower.num_codes)
        self.features, self.depth = features, upper.num_tokens + lower.num_tokens
        self.top, self.bottom = top, bottom

    @property
    def upper(self) -> Quantizer:
        """The quantizer of the top."""
        return _coded(self.top.head)

    @property
    def lower(self) -> Quantizer:
        """The quantizer of the bottom."""
        return _coded(self.bottom.head)

    @property
    def param_shape(self) -> Shape:
        """The shape that a network must put out for one datum: h as a vector."""
        return (math.prod(self.features),)

    def quantize(self, rows: Tensor) -> Quantized:
        """Return the codes of both levels of M maps, given as rows."""
        h = rows.reshape(-1, *self.features)
        top = _code(self.top, h)
        bottom = _code(self.bottom, self._told(h, top.value))
        index = torch.cat([top.index, bottom.index], 1)
        if self.training:
            self._update_usage(rows, index)
        return Quantized(_beside(bottom.value, top.value), index, bottom.cost + top.cost)

    def decode_indices(self, index: Tensor) -> Tensor:
        """Return both levels side by side, with shape (M, D), by their indices."""
        top, bottom = index.split([self.upper.num_tokens, self.lower.num_tokens], 1)
        return _beside(self.lower.lookup(bottom), self.upper.lookup(top))

    def init_codebook(self, rows: Tensor) -> None:
        """Begin where the data are: at the top, and then at the bottom given the top."""
        h = rows.reshape(-1, *self.features)
        self.upper.init_from_data(self.top.outputs(h))
        self.lower.init_from_data(self.bottom.outputs(self._told(h, _code(self.top, h).value)))

    def _told(self, h: Tensor, top: Tensor) -> Tensor:
        return torch.cat([h, upsample_to(top, self.features[1:])], 1)

    def _to_rows(self, h: Tensor) -> Tensor:
        return h.reshape(-1, *self.param_shape)


class UpsampleConcat(nn.Module):
    """A net of two maps that takes them as one vector, and makes the second as large as the first.

    Arguments:
        net: A module from (N, 2 * C, h, w), and a context where there is one.
        bottom: The shape of the first map.
        top: The shape of the second, with half the height and width.
    """

    def __init__(self, net: nn.Module, bottom: Shape, top: Shape) -> None:
        super().__init__()
        self.net, self.shapes = net, (bottom, top)

    def forward(self, z: Tensor, *c: Tensor) -> Tensor:
        """Return what the net puts out.

        Arguments:
            z: Both maps side by side, with shape (N, D).
            c: The context, with shape (N, F), where the net reads one.
        """
        parts = z.split([math.prod(shape) for shape in self.shapes], 1)
        bottom, top = (z.unflatten(1, s) for z, s in zip(parts, self.shapes, strict=True))
        return self.net(torch.cat([bottom, upsample_to(top, bottom.shape[2:])], 1), *c)  # type: ignore[no-any-return]


def build_vqvae2(factory: PartFactory, *, channels: int = 64, context_dropout: float = 0.0) -> VAE:
    """VQ-VAE-2: a map of codes for the detail of a picture, below one of half its size.

    ``latent`` is the shape of the larger map, such as (32, 7, 7), or its channels alone; then its
    height and width are a quarter of the picture's.

    Arguments:
        factory: Makes the parts.
        channels: Channels of the map of the encoder that both levels read.
        context_dropout: The chance that a row's context is dropped in training, so that a
            conditional model samples without one too; 0.1 to 0.2 is usual.

    References:
        Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019),
        https://arxiv.org/abs/1906.00446

    Raises:
        VariedError: If the data are no pictures, the latent is no map with a half, or the posterior
            has no codes.
    """
    if channels < 1:
        raise VariedError(f"channels={channels} must be at least 1; 64 is the default.")
    bottom = _bottom(factory)
    top = (bottom[0], *(-(-side // 2) for side in bottom[1:]))
    h = (channels, *bottom[1:])
    head = TwoLevelQuantizer(
        h,
        factory.conditional(h, factory.posterior(top), 0),
        factory.conditional((channels + top[0], *bottom[1:]), factory.posterior(bottom), 0),
    )
    encoder = ConditionalDistribution(
        factory.net(factory.shape, h, factory.context), head, factory.shape
    )
    likelihood = factory.likelihood(factory.shape)
    net = factory.net((bottom[0] + top[0], *bottom[1:]), likelihood.param_shape, factory.context)
    decoder = ConditionalDistribution(
        UpsampleConcat(net, bottom, top), likelihood, head.event_shape
    )
    prior = factory.prior(head.event_shape, factory.context)
    prior.attach(encoder)
    return VAE(encoder, decoder, prior, context_dropout)


def _bottom(factory: PartFactory) -> Shape:
    """Return the shape of the larger map."""
    if len(factory.shape) != 3:
        raise VariedError(
            "architecture='vq-vae-2' reads pictures (channels, height, width), not shape "
            f"{factory.shape}; use architecture='vae'."
        )
    latent = factory.latent_shape
    if len(latent) == 1:
        latent = (*latent, *(-(-side // QUARTER) for side in factory.shape[1:]))
    if len(latent) != 3 or max(latent[1:]) < 2:
        raise VariedError(
            f"architecture='vq-vae-2' needs a map that can be halved, not latent={latent}; "
            "give channels, height and width, such as latent=(32, 7, 7), or use architecture='vae'."
        )
    return latent


def _coded(head: Head) -> Quantizer:
    if not isinstance(head, Quantizer):
        raise VariedError(
            "architecture='vq-vae-2' is of codes and this posterior has none; use "
            "posterior='vq', or architecture='vae'."
        )
    return head


def _code(given: ConditionalDistribution, b: Tensor) -> CodebookPoint:
    found = base_distribution(given(b))
    assert isinstance(found, CodebookPoint), "every quantizer gives one"
    return found


def _beside(bottom: Tensor, top: Tensor) -> Tensor:
    return torch.cat([bottom.flatten(1), top.flatten(1)], 1)
