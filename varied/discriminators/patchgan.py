"""The convolutional critic: what it sees on its way, and a score for each patch of a picture."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from varied.errors import VariedError
from varied.nets.image_shapes import channel_widths, downsample_sizes
from varied.nets.resample import Downsample

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of a picture, so that it judges texture and not the whole scene.

    It normalizes no batch: what it says of a picture depends on that picture alone.

    References:
        Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017),
        https://arxiv.org/abs/1611.07004

        Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
        https://arxiv.org/abs/1802.05957

    Arguments:
        event: (C, H, W) of a picture with values in [0, 1].
        width: The channels of the first layer; doubled with each halving.
        depth: The most halvings; fewer where the picture is small.
        spectral_norm: Whether each layer's gain is held at 1 (spectral_norm normalization).

    Raises:
        VariedError: If the data are no pictures.
    """

    def __init__(
        self, event: tuple[int, ...], *, width: int = 32, depth: int = 3, spectral_norm: bool = True
    ) -> None:
        super().__init__()
        if len(event) != 3:
            raise VariedError(
                f"This objective's critic judges pictures (channels, height, width), not data of "
                f"shape {tuple(event)}; use objective='elbo'."
            )
        if width < 1 or depth < 1:
            raise VariedError(
                f"disc_width={width} and disc_depth={depth} must be at least 1; 32 and 3 are usual."
            )
        self.event_shape = tuple(event)
        sizes = downsample_sizes((event[1], event[2]), None)[: depth + 1]
        channels = [event[0], *channel_widths(width, len(sizes) - 1)]
        self.halved = nn.ModuleList(
            Downsample(a, b, size)
            for (a, b), size in zip(itertools.pairwise(channels), sizes[:-1], strict=True)
        )
        self.mixed = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)
        self.last = nn.Conv2d(channels[-1], 1, 3, padding=1)
        if spectral_norm:
            for layer in [m for m in self.modules() if isinstance(m, nn.Conv2d)]:
                parametrizations.spectral_norm(layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the hidden maps, and last the scores, with shape (N, 1, h, w).

        Arguments:
            x: Pictures, with shape (N, *event).
        """
        h, maps = 2 * x - 1, list[Tensor]()
        for layer in (*self.halved, self.mixed):
            h = F.leaky_relu(layer(h), 0.2)
            maps.append(h)
        return [*maps, self.last(h)]
