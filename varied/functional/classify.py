"""Classes of data, as a model that learned them says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["apply_temperature", "calibration_temperature", "classify"]

#: Temperatures that are looked at, from sure to unsure.
COLDEST, HOTTEST = 0.1, 100.0


def classify(model: LatentModel, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Tensor:
    """Return the probability of each class, with shape (N, C); labels in ``rows`` are not read.

    Arguments:
        model: A model with classes; neither it nor torch's random state is changed.
        load: From stored rows to data.
        rows: Batches in order.

    Raises:
        VariedError: If the model has no classes.
    """
    found = []
    with eval_float32(model):
        device = next(model.parameters()).device
        for index, batch in enumerate(rows):
            with seeded(0, "evaluate", index):
                found.append(model.classify(load(batch.to(device).x)).cpu())
    return torch.cat(found)


def calibration_temperature(chances: Tensor, labels: Tensor) -> float:
    r"""Return the temperature under which probabilities keep their word on rows not learned from.

    .. math:: \arg\min_T -\frac1N \sum_n \sum_y s_{ny} \log p_T(y \mid x_n), \qquad
        p_T(y \mid x) \propto p(y \mid x)^{1/T}

    where s has all but :math:`1/(N + 2)` on the label, and that on all classes evenly (the rule of
    succession): few rows, all of them right, do not show that a model is never wrong.

    References:
        On Calibration of Modern Neural Networks (Guo et al., 2017),
        https://arxiv.org/abs/1706.04599

    Arguments:
        chances: The probability of each class, with shape (N, C).
        labels: The true classes, with shape (N); -1 is unknown, and left out.

    Returns:
        A number from 0.1 to 100: above 1 the model was too sure. 1 where no label is known.
    """
    from scipy.optimize import minimize_scalar  # it loads slowly

    known = labels >= 0
    n, classes = int(known.sum()), chances.shape[-1]
    if n == 0:
        return 1.0
    logits = _logits(chances[known])
    soft = torch.full_like(logits, 1 / ((n + 2) * classes))
    soft[torch.arange(n), labels[known]] += 1 - 1 / (n + 2)

    def cost(cold: float) -> float:
        return -float((soft * (logits * math.exp(cold)).log_softmax(-1)).sum(-1).mean())

    # Convex in 1/T, and so with one lowest place in its logarithm too.
    bounds = (-math.log(HOTTEST), -math.log(COLDEST))
    return math.exp(-float(minimize_scalar(cost, bounds=bounds, method="bounded").x))


def apply_temperature(chances: Tensor, temperature: float) -> Tensor:
    """Return probabilities at a temperature; the likeliest class stays what it was."""
    if temperature == 1:
        return chances
    return (_logits(chances) / temperature).softmax(-1).to(chances)


def _logits(chances: Tensor) -> Tensor:
    """Return log-probabilities; of a probability of 0, that of the smallest number."""
    tiny = torch.finfo(chances.dtype).tiny
    return chances.clamp_min(tiny).double().log()
