"""Style transfer: the style of one example with the content of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.functional.generate import decode
from varied.models import Ladder, LatentModel
from varied.runtime import eval_float32


def recondition(model: LatentModel, x: Tensor, c: Tensor | None, new_c: Tensor) -> Tensor:
    r"""Decode the code z of each example (x, c) with other contexts: :math:`p(x \mid z, c')`.

    If the context is the content (such as the class of a digit), the code contains only the style
    (such as slant and stroke width), since encoding the context as well would increase the KL. If
    the prior depends on the context, z is first standardized with the mean and the variance of
    p(z | c), and then transformed to the mean and the variance of p(z | c').

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), the analogies in
        figure 1, https://arxiv.org/abs/1406.5298

    Arguments:
        model: A conditional model, which is left unchanged, as is torch's random state.
        x: The data whose style is preserved, with shape (N, *event).
        c: The contexts of the data, with shape (N, F); None if the model infers them.
        new_c: The new contexts for decoding, with shape (M, F), or (N, M, F) if they differ
            between examples.

    Returns:
        Data with shape (N, M, *event).
    """
    with eval_float32(model):
        z, new_c = model.encode(x, c).mean, new_c.expand(len(x), *new_c.shape[-2:])
        z = model.standardize(z, c).repeat_interleave(new_c.shape[1], 0)
        rows = new_c.flatten(0, 1)
        decoded = decode(model, model.unstandardize(z, rows), rows)
    return decoded.reshape(*new_c.shape[:2], *decoded.shape[1:])


def mix_codes(
    model: LatentModel,
    content: Tensor,
    style: Tensor,
    units: Sequence[int],
    content_c: Tensor | None = None,
    style_c: Tensor | None = None,
) -> Tensor:
    """Decode the code of each content example, with some units taken from each style example.

    Arguments:
        model: The model, which is left unchanged, as is torch's random state.
        content: The content examples, with shape (M, *event).
        style: The style examples, from which ``units`` are taken, with shape (N, *event).
        units: The units of the code that represent the style; for a ladder VAE, see `level_units`.
        content_c: The contexts of the content, with shape (M, F), or None; they are also used for
            decoding.
        style_c: The contexts of the style, with shape (N, F), or None.

    Returns:
        Data with shape (N, M, *event).
    """
    with eval_float32(model):
        codes = model.standardize(model.encode(content, content_c).mean, content_c)
        style_codes = model.standardize(model.encode(style, style_c).mean, style_c)
        z = codes.flatten(1).repeat(len(style), 1, 1)
        index = torch.tensor(list(units), device=z.device)
        z[:, :, index] = style_codes.flatten(1)[:, None, index]
        c = None if content_c is None else content_c.repeat(len(style), 1)
        z = model.unstandardize(z.reshape(-1, *codes.shape[1:]), c)
        decoded = decode(model, z, c)
    return decoded.reshape(len(style), len(content), *decoded.shape[1:])


def level_units(model: LatentModel, levels: Sequence[int]) -> list[int]:
    """Return the units of the given levels of a ladder VAE; level 1 is the bottom level.

    Raises:
        VariedError: If the model has no such levels.
    """
    if not isinstance(model, Ladder):
        raise VariedError(
            "This model has a single level of latent variables; pass `units`, or train with "
            "model='ladder-vae'."
        )
    ends = torch.tensor([0, *model.sizes]).cumsum(0).tolist()
    if not levels or not all(1 <= level <= len(model.sizes) for level in levels):
        raise VariedError(
            f"levels must be between 1 (the bottom level) and {len(model.sizes)}, got "
            f"{list(levels)}."
        )
    return [unit for level in levels for unit in range(ends[level - 1], ends[level])]
