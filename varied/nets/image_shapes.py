"""The sizes of feature maps in networks for images."""

from __future__ import annotations

import math

from varied.errors import VariedError

Shape = tuple[int, ...]
Size = tuple[int, int]


def is_encoder(inputs: Shape, outputs: Shape, name: str) -> bool:
    """Return whether a network reduces an image to a vector or to a smaller feature map.

    If both shapes are (C, H, W), the one with more pixels is the image. If both have the same
    number of pixels, the network is an encoder without downsampling.

    Arguments:
        inputs: The shape of one input.
        outputs: The shape of one output.
        name: The name of the network, for the error message.

    Raises:
        VariedError: If neither shape is (C, H, W), or one is neither (C, H, W) nor (D).
    """
    ranks = len(inputs), len(outputs)
    if ranks == (3, 3):
        return math.prod(inputs[1:]) >= math.prod(outputs[1:])
    if ranks not in ((3, 1), (1, 3)):
        raise VariedError(
            f"net='{name}' maps between images (channels, height, width) and vectors or smaller "
            f"feature maps, but cannot map shape {inputs} to {outputs}; use net='mlp'."
        )
    return ranks == (3, 1)


def downsample_sizes(size: Size, depth: int | None) -> list[Size]:
    """Return the sizes that result from repeated downsampling by 2, rounded up.

    Arguments:
        size: The height and width of the image.
        depth: The number of downsampling steps. If None, downsampling stops when the shorter side
            is at most 4.

    Raises:
        VariedError: If the depth is negative.

    Example:
        >>> downsample_sizes((28, 28), None)
        [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    if depth is not None and depth < 0:
        raise VariedError(f"depth={depth} must be at least 0.")
    sizes = [size]
    while len(sizes) <= depth if depth is not None else min(sizes[-1]) > 4:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def all_downsample_sizes(size: Size) -> list[Size]:
    """Return the sizes that result from repeated downsampling by 2, down to a single pixel."""
    return downsample_sizes(size, (max(size) - 1).bit_length())


def resolve_sizes(inputs: Shape, outputs: Shape, depth: int | None, name: str) -> list[Size]:
    """Return the sizes of the feature maps of a network, from its input to its output.

    Arguments:
        inputs: The shape of one input.
        outputs: The shape of one output.
        depth: The number of downsampling or upsampling steps. If None, it is derived from the
            shapes if both are (C, H, W); otherwise, the shorter side is halved until it is at
            most 4.
        name: The name of the network, for error messages.

    Raises:
        VariedError: If neither shape is (C, H, W), ``depth`` is negative, or downsampling by 2
            (``depth`` times, if it is set) does not result in the smaller size.

    Example:
        >>> resolve_sizes((1, 28, 28), (64, 7, 7), None, "conv")
        [(28, 28), (14, 14), (7, 7)]
    """
    if not is_encoder(inputs, outputs, name):
        return resolve_sizes(outputs, inputs, depth, name)[::-1]
    size = (inputs[1], inputs[2])
    if len(outputs) == 1:
        return downsample_sizes(size, depth)
    sizes, end = all_downsample_sizes(size), (outputs[1], outputs[2])
    if end not in sizes:
        nearest = min(sizes, key=lambda s: abs(math.log(math.prod(s) / math.prod(end))))
        raise VariedError(
            f"net='{name}' cannot reduce {_format(size)} to {_format(end)}, only to "
            f"{', '.join(map(_format, sizes[1:]))}; use one of these sizes, such as "
            f"latent=(4, {nearest[0]}, {nearest[1]}), or net='mlp'."
        )
    steps = sizes.index(end)
    if depth not in (None, steps):
        raise VariedError(
            f"depth={depth} does not reduce {_format(size)} to {_format(end)}; omit `depth`, "
            f"which defaults to {steps} for these shapes."
        )
    return sizes[: steps + 1]


def _format(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def channel_widths(width: int, levels: int, limit: int = 512) -> list[int]:
    """Return the number of channels at each level; it doubles from level to level up to a limit.

    Raises:
        VariedError: If the width is below 1.
    """
    if width < 1:
        raise VariedError(f"width={width} must be at least 1.")
    return [min(width * 2**level, max(limit, width)) for level in range(levels)]
