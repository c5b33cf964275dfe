"""The style of one datum with the content of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.functional.decode import decode
from varied.models import Ladder, LatentModel
from varied.runtime import eval_float32

__all__ = ["level_units", "mix_codes", "recondition"]


def recondition(model: LatentModel, x: Tensor, c: Tensor | None, wanted: Tensor) -> Tensor:
    r"""Return each datum as it would be in other contexts: :math:`p(x \mid z, c')`, z of (x, c).

    Where the context is the content (which digit), the code that is left is the style (its slant,
    its stroke), since a code that repeated the context would cost nats for nothing.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), the analogies of
        its figure 1, https://arxiv.org/abs/1406.5298

    Arguments:
        model: A model with a context; neither it nor torch's random state is changed.
        x: Data whose style is kept, with shape (N, *event).
        c: Their own contexts, with shape (N, F); None where the model finds them itself.
        wanted: The contexts to write them in, with shape (M, F).

    Returns:
        Data with shape (N, M, *event).
    """
    with eval_float32(model):
        z = model.encode(x, c).mean.repeat_interleave(len(wanted), 0)
        made = decode(model, z, wanted.repeat(len(x), 1))
    return made.reshape(len(x), len(wanted), *made.shape[1:])


def mix_codes(
    model: LatentModel,
    content: Tensor,
    style: Tensor,
    units: Sequence[int],
    c: Tensor | None = None,
    other: Tensor | None = None,
) -> Tensor:
    """Return each content with the units of each style in the place of its own.

    Arguments:
        model: The model; neither it nor torch's random state is changed.
        content: Data that give the other units, with shape (M, *event).
        style: Data that give ``units``, with shape (N, *event).
        units: Which units of the code are the style; see `units_of` for the levels of a ladder.
        c: The contexts of the content, with shape (M, F), or None; they are kept.
        other: The contexts of the style, with shape (N, F), or None.

    Returns:
        Data with shape (N, M, *event).
    """
    with eval_float32(model):
        kept, given = model.encode(content, c).mean, model.encode(style, other).mean
        z = kept.flatten(1).repeat(len(style), 1, 1)
        at = torch.tensor(list(units), device=z.device)
        z[:, :, at] = given.flatten(1)[:, None, at]
        held = None if c is None else c.repeat(len(style), 1)
        made = decode(model, z.reshape(-1, *kept.shape[1:]), held)
    return made.reshape(len(style), len(content), *made.shape[1:])


def level_units(model: LatentModel, levels: Sequence[int]) -> list[int]:
    """Return the units of some levels of a ladder; 1 is nearest to the datum.

    Raises:
        VariedError: If the model has no such levels.
    """
    if not isinstance(model, Ladder):
        raise VariedError(
            "This model has one level of latents: name units, or train it with model='ladder-vae'."
        )
    ends = torch.tensor([0, *model.sizes]).cumsum(0).tolist()
    wrong = [level for level in levels if not 1 <= level <= len(model.sizes)]
    if wrong or not levels:
        raise VariedError(
            f"levels={list(levels)}: this ladder has the levels 1 (nearest to the datum) to "
            f"{len(model.sizes)}."
        )
    return [unit for level in levels for unit in range(ends[level - 1], ends[level])]
