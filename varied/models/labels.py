"""Classes as latent variables: one-hot labels, distributions over classes, a prior and a level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied import distributions as d
from varied.priors import Prior, StandardNormal
from varied.trace import Level

#: A logit that results in a probability of exactly 0 in floating point. It is finite, so that its
#: product with 0 is 0.
EXCLUDED = -1e4


def is_labeled(c: Tensor) -> Tensor:
    """Return whether each row of a one-hot context has a label, as booleans with shape (*, 1)."""
    return (c != 0).any(-1, keepdim=True)


def clamp_to_labels(logits: Tensor, c: Tensor | None) -> Tensor:
    """Return logits that assign probability 1 to each label; unlabeled rows are unchanged."""
    return logits if c is None else torch.where(is_labeled(c), EXCLUDED * (1 - c), logits)


def class_distribution(logits: Tensor) -> d.OneHot:
    """Return a distribution over one-hot classes."""
    return d.OneHot(logits, logits.shape[-1])


def certain_class(y: Tensor) -> d.OneHot:
    """Return a distribution with probability 1 on the one-hot classes ``y``."""
    return class_distribution(EXCLUDED * (1 - y))


def predict_class(logits: Tensor, c: Tensor | None) -> Tensor:
    """Return the label or, without one, the most probable class, as one-hot with shape (B, C)."""
    index = clamp_to_labels(logits, c).argmax(-1)
    return nn.functional.one_hot(index, logits.shape[-1]).to(logits.dtype)


def split_class(z: Tensor, c: Tensor | None, num_classes: int) -> tuple[Tensor, Tensor]:
    """Split a latent variable into the class, replaced by the label if there is one, and the rest.

    Arguments:
        z: Latent variables, with shape (*, C + D).
        c: One-hot labels, with shape (B, C), or None; a row of zeros marks an unlabeled example.
        num_classes: The number C of classes.

    Returns:
        The classes, with shape (*, C), and the rest, with shape (*, D).
    """
    y, rest = z[..., :num_classes], z[..., num_classes:]
    return (y if c is None else torch.where(is_labeled(c), c, y)), rest


@dataclass(kw_only=True)
class ClassLevel(Level):
    r"""The class of each example, as a latent level whose values are enumerated.

    The KL of an unlabeled example is :math:`\sum_y q(y \mid x) \log q(y \mid x) / p(y)`. For a
    labeled example, q has probability 1 on the label, so the KL is :math:`-\log p(y)`.

    Arguments:
        logits: The logits of q(y | x) before labels are applied, with shape (S, B, C), where S
            is the number of classifier inputs per example.
        c: One-hot labels, with shape (B, C), or None; a row of zeros marks an unlabeled example.
    """

    logits: Tensor
    c: Tensor | None = None


def enumeration_log_ratio(y: Tensor, p: Distribution, c: Tensor | None) -> Tensor:
    r"""Return log p(y) - log r(y) of enumerated classes, with shape (K, B), in nats.

    Each class occurs once, as if drawn from a uniform r, and classes that differ from the label
    have weight 0. The logarithm of the mean importance weight of a `Trace` is then a lower bound on
    log p(x) or, for a labeled example, on log p(x, y).

    Arguments:
        y: One-hot classes, with shape (K, B, C).
        p: The prior p(y).
        c: One-hot labels, with shape (B, C), or None; a row of zeros marks an unlabeled example.
    """
    value = p.log_prob(y) + math.log(y.shape[-1])
    if c is None:
        return value
    is_other = is_labeled(c)[:, 0] & ((y * c).sum(-1) == 0)
    return value.masked_fill(is_other, -math.inf)


class ClassPrior(Prior):
    r"""A uniform distribution over classes, and an independent standard normal vector.

    .. math:: p(y, z) = \frac1C \, \mathcal N(z; 0, I)

    Arguments:
        num_classes: The number C of classes.
        size: The number of dimensions of the vector.
    """

    uniform: Tensor

    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__((num_classes + size,))
        self.normal = StandardNormal((size,))
        self.register_buffer("uniform", torch.zeros(num_classes), persistent=False)

    def classes(self, c: Tensor | None = None) -> d.OneHot:
        """Return p(y), with probability 1 on the labels in ``c``."""
        return class_distribution(clamp_to_labels(self.uniform, c))

    def forward(self, c: Tensor | None = None) -> Distribution:
        """Return p(y, z), with probability 1 on the labels in ``c``."""
        y, z = self.classes(c), self.normal()
        return d.Product(y, z.expand(y.batch_shape))
