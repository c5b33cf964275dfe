"""Terms of models that know classes: what the classifier pays, and what lies above the codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.models.m2 import ClassLevel, is_labeled
from varied.terms.base import Term, requires
from varied.trace import Trace

__all__ = ["Classification", "UpperTerm"]

_NO_CLASSES = (
    "This objective reads the classes of a model, and this one has none; use architecture='m2' "
    "or architecture='m1m2', or objective='elbo'."
)
_NOTHING_ABOVE = (
    "This objective reads a model of the codes that stands apart, and this one has none; use a "
    "architecture='m1m2' that is not joint, or objective='m2'."
)


@requires()
class Classification:
    r"""What the classifier pays for the labels.

    .. math:: -\log q(y \mid x)

    averaged over the rows of the batch that have a label, and told for each datum so that the mean
    over the batch is that mean; 0 where no row has one.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298
    """

    def attach(self, model: Any) -> None:
        """Refuse a model without classes.

        Raises:
            VariedError: If the model has none.
        """
        if not getattr(model, "num_classes", 0):
            raise VariedError(_NO_CLASSES)

    def __call__(self, trace: Trace) -> Tensor:
        """Return nats, with shape (B)."""
        level = self._level(trace)
        if level.c is None:
            return level.logits.new_zeros(len(trace.x))
        known = is_labeled(level.c)[:, 0]
        # 0 for a row of zeros
        cost = -(level.logits.log_softmax(-1) * level.c).sum(-1)
        return _for_each_datum(cost * (len(known) / known.sum().clamp_min(1)), trace)

    def _level(self, trace: Trace) -> ClassLevel:
        for one in (trace, trace.upper):
            for level in one.levels if one is not None else ():
                if isinstance(level, ClassLevel):
                    return level
        raise VariedError(_NO_CLASSES)


class UpperTerm:
    """A term of the model that lies above the codes, a mean over the codes of each datum.

    Arguments:
        term: What is read of its trace.
    """

    requires = frozenset[str]()

    def __init__(self, term: Term) -> None:
        self.term = term

    def attach(self, model: Any) -> None:
        """Refuse a model with nothing above its codes.

        Raises:
            VariedError: If there is nothing.
        """
        if getattr(model, "above", None) is None or model.joint:
            raise VariedError(_NOTHING_ABOVE)

    def __call__(self, trace: Trace) -> Tensor:
        """Return the term, with shape (B)."""
        if trace.upper is None:
            raise VariedError(_NOTHING_ABOVE)
        return _for_each_datum(self.term(trace.upper), trace)


def _for_each_datum(value: Tensor, trace: Trace) -> Tensor:
    """Return the mean over the draws of each datum: (K * B) as (B)."""
    found: Tensor = torch.mean(value.reshape(-1, len(trace.x)), 0)
    return found
