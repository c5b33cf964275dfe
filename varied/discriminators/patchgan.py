"""The PatchGAN discriminator: a convolutional network with one logit per image patch."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from varied.errors import VariedError
from varied.nets.image_shapes import channel_widths, downsample_sizes
from varied.nets.resample import Downsample


class PatchDiscriminator(nn.Module):
    """A discriminator that evaluates the texture of overlapping patches, not the entire scene.

    It has no batch normalization, so the logits of an image depend only on that image.

    References:
        Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017),
        https://arxiv.org/abs/1611.07004

        Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
        https://arxiv.org/abs/1802.05957

    Arguments:
        event: The shape (C, H, W) of an image; its values must be in [0, 1].
        width: The number of channels of the first layer, doubled at each downsampling layer.
        depth: The maximum number of downsampling layers; small images have fewer.
        spectral_norm: Whether to apply spectral normalization to each layer.

    Raises:
        VariedError: If the data are not images, or the width or depth is below 1.
    """

    def __init__(
        self, event: tuple[int, ...], *, width: int = 32, depth: int = 3, spectral_norm: bool = True
    ) -> None:
        super().__init__()
        if len(event) != 3:
            raise VariedError(
                "The discriminator of this objective requires images (channels, height, width), "
                f"not data of shape {tuple(event)}; use objective='elbo'."
            )
        if width < 1 or depth < 1:
            raise VariedError(
                f"disc_width and disc_depth must be at least 1, got disc_width={width} and "
                f"disc_depth={depth}; typical values are 32 and 3."
            )
        self.event_shape = tuple(event)
        sizes = downsample_sizes((event[1], event[2]), None)[: depth + 1]
        channels = [event[0], *channel_widths(width, len(sizes) - 1)]
        self.downsampling = nn.ModuleList(
            Downsample(a, b, size)
            for (a, b), size in zip(itertools.pairwise(channels), sizes[:-1], strict=True)
        )
        self.hidden = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)
        self.out = nn.Conv2d(channels[-1], 1, 3, padding=1)
        if spectral_norm:
            for layer in [m for m in self.modules() if isinstance(m, nn.Conv2d)]:
                parametrizations.spectral_norm(layer)

    @property
    def num_hidden(self) -> int:
        """The number of hidden layers."""
        return len(self.downsampling) + 1

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of the hidden layers, and the logits with shape (N, 1, h, w).

        Arguments:
            x: Images, with shape (N, *event).
        """
        h, feature_maps = 2 * x - 1, list[Tensor]()
        for layer in (*self.downsampling, self.hidden):
            h = F.leaky_relu(layer(h), 0.2)
            feature_maps.append(h)
        return [*feature_maps, self.out(h)]
