"""Two maps of codes, one for the whole of a picture and one for its detail: VQ-VAE-2."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from varied.distributions import each
from varied.distributions.code import Code
from varied.errors import VariedError
from varied.heads import Head
from varied.models.base import Bench
from varied.models.vae import VAE
from varied.quantizers import Found, Quantizer
from varied.trace import Given

__all__ = ["Spread", "TwoLevels", "enlarged", "two_level_codes"]

Shape = tuple[int, ...]

#: How many times smaller than the picture the bottom map is, where only its channels are said.
QUARTER = 4


def enlarged(z: Tensor, size: Sequence[int]) -> Tensor:
    """Return a map of twice the size, each place repeated, cut where a side is odd."""
    return z.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]


class TwoLevels(Quantizer):
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

    def __init__(self, features: Shape, top: Given, bottom: Given) -> None:
        upper, lower = _coded(top.head), _coded(bottom.head)
        super().__init__((lower.size + upper.size,), lower.codes)
        self.features, self.depth = features, upper.sites + lower.sites
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
    def raw(self) -> Shape:
        """The shape that a network must put out for one datum: h as a vector."""
        return (math.prod(self.features),)

    def quantize(self, rows: Tensor) -> Found:
        """Return the codes of both levels of M maps, given as rows."""
        h = rows.reshape(-1, *self.features)
        top = _code(self.top, h)
        bottom = _code(self.bottom, self._told(h, top.value))
        index = torch.cat([top.index, bottom.index], 1)
        if self.training:
            self._note(rows, index)
        return Found(_beside(bottom.value, top.value), index, bottom.cost + top.cost)

    def vectors(self, index: Tensor) -> Tensor:
        """Return both levels side by side, with shape (M, D), by their indices."""
        top, bottom = index.split([self.upper.sites, self.lower.sites], 1)
        return _beside(self.lower.lookup(bottom), self.upper.lookup(top))

    def start(self, rows: Tensor) -> None:
        """Begin where the data are: at the top, and then at the bottom given the top."""
        h = rows.reshape(-1, *self.features)
        self.upper.begin(self.top.raw(h))
        self.lower.begin(self.bottom.raw(self._told(h, _code(self.top, h).value)))

    def _told(self, h: Tensor, top: Tensor) -> Tensor:
        return torch.cat([h, enlarged(top, self.features[1:])], 1)

    def _rows(self, h: Tensor) -> Tensor:
        return h.reshape(-1, *self.raw)


class Spread(nn.Module):
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
        return self.net(torch.cat([bottom, enlarged(top, bottom.shape[2:])], 1), *c)  # type: ignore[no-any-return]


def two_level_codes(bench: Bench, *, features: int = 64, unconditional: float = 0.0) -> VAE:
    """VQ-VAE-2: a map of codes for the detail of a picture, below one of half its size.

    ``latent`` is the shape of the larger map, such as (32, 7, 7), or its channels alone; then its
    height and width are a quarter of the picture's.

    Arguments:
        bench: Makes the parts.
        features: Channels of the map of the encoder that both levels read.
        unconditional: The chance that a row's context is dropped in training, so that a
            conditional model samples without one too; 0.1 to 0.2 is usual.

    References:
        Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019),
        https://arxiv.org/abs/1906.00446

    Raises:
        VariedError: If the data are no pictures, the latent is no map with a half, or the posterior
            has no codes.
    """
    if features < 1:
        raise VariedError(f"features={features} must be at least 1; 64 is the default.")
    bottom = _bottom(bench)
    top = (bottom[0], *(-(-side // 2) for side in bottom[1:]))
    h = (features, *bottom[1:])
    head = TwoLevels(
        h,
        bench.given(h, bench.posterior(top), 0),
        bench.given((features + top[0], *bottom[1:]), bench.posterior(bottom), 0),
    )
    encoder = Given(bench.net(bench.shape, h, bench.context), head, bench.shape)
    likelihood = bench.likelihood(bench.shape)
    net = bench.net((bottom[0] + top[0], *bottom[1:]), likelihood.raw, bench.context)
    decoder = Given(Spread(net, bottom, top), likelihood, head.event)
    prior = bench.prior(head.event, bench.context)
    prior.attach(encoder)
    return VAE(encoder, decoder, prior, unconditional)


def _bottom(bench: Bench) -> Shape:
    """Return the shape of the larger map."""
    if len(bench.shape) != 3:
        raise VariedError(
            "structure='two-level-codes' reads pictures (channels, height, width), not shape "
            f"{bench.shape}; use structure='flat'."
        )
    latent = bench.latent
    if len(latent) == 1:
        latent = (*latent, *(-(-side // QUARTER) for side in bench.shape[1:]))
    if len(latent) != 3 or max(latent[1:]) < 2:
        raise VariedError(
            f"structure='two-level-codes' needs a map that can be halved, not latent={latent}; "
            "give channels, height and width, such as latent=(32, 7, 7), or use structure='flat'."
        )
    return latent


def _coded(head: Head) -> Quantizer:
    if not isinstance(head, Quantizer):
        raise VariedError(
            "structure='two-level-codes' is of codes and this posterior has none; use "
            "posterior='vq', or structure='flat'."
        )
    return head


def _code(given: Given, b: Tensor) -> Code:
    found = each(given(b))
    assert isinstance(found, Code), "every quantizer gives one"
    return found


def _beside(bottom: Tensor, top: Tensor) -> Tensor:
    return torch.cat([bottom.flatten(1), top.flatten(1)], 1)
