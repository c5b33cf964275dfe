"""Terms for models with classes: the classification loss, and the terms of M2 in M1+M2."""

from __future__ import annotations

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.models import LatentModel
from varied.models.labels import ClassLevel, is_labeled
from varied.terms.base import Term
from varied.trace import Trace


class Classification(Term):
    r"""The cross-entropy of the classifier on labeled examples.

    .. math:: -\log q(y \mid x)

    The values are scaled so that their mean over the batch is the mean over its labeled examples.
    In a batch without labels, they are 0.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298
    """

    def attach(self, model: LatentModel) -> None:
        """Check that the model has classes.

        Raises:
            VariedError: If the model has no classes.
        """
        if not model.num_classes:
            raise VariedError(_NO_CLASSES)

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        level = _class_level(trace)
        if level.c is None:
            return level.logits.new_zeros(len(trace.x))
        has_label = is_labeled(level.c)[:, 0]
        loss = -(level.logits.log_softmax(-1) * level.c).sum(-1)  # 0 for a row without a label
        scale = len(has_label) / has_label.sum().clamp_min(1)
        return _mean_over_draws(loss * scale, trace)


class UpperTerm(Term):
    """A term applied to the upper trace, averaged over the draws of each example.

    Arguments:
        term: The term that is applied to the upper trace.
    """

    def __init__(self, term: Term) -> None:
        self.term = term

    def attach(self, model: LatentModel) -> None:
        """Check that the traces of the model have an ``upper`` trace.

        Raises:
            VariedError: If the traces have no ``upper`` trace.
        """
        if not model.has_upper_trace:
            raise VariedError(
                "This objective requires a separate model of the codes; use architecture='m1m2' "
                "with joint=False, or objective='m2'."
            )

    def __call__(self, trace: Trace) -> Tensor:
        """Return the value of the term for each example, in nats, with shape (B)."""
        assert trace.upper is not None, "checked by attach"
        return _mean_over_draws(self.term(trace.upper), trace)


_NO_CLASSES = (
    "This objective requires a model with classes; use architecture='m2' or architecture='m1m2', "
    "or objective='elbo'."
)


def _class_level(trace: Trace) -> ClassLevel:
    levels = trace.levels + (trace.upper.levels if trace.upper else [])
    for level in levels:
        if isinstance(level, ClassLevel):
            return level
    raise VariedError(_NO_CLASSES)


def _mean_over_draws(value: Tensor, trace: Trace) -> Tensor:
    """Average values with shape (K * B) over the K draws of each example."""
    mean: Tensor = torch.mean(value.reshape(-1, len(trace.x)), 0)
    return mean
