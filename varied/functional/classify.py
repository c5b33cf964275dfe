"""Class probabilities from models that infer the class, and their calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.functional.encode import map_batches
from varied.models import LatentModel

#: The range of temperatures that are considered.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 100.0


def classify(
    model: LatentModel, load: Callable[[Tensor], Tensor], batches: Iterable[Batch]
) -> Tensor:
    """Return the probability of each class, with shape (N, C).

    Arguments:
        model: A model that infers classes; it is left unchanged, as is torch's random state.
        load: Converts stored rows to model input.
        batches: The data; labels are ignored.

    Raises:
        VariedError: If the model has no classes.
    """
    return map_batches(model, load, batches, lambda x, c: model.classify(x))


def calibration_temperature(probabilities: Tensor, labels: Tensor) -> float:
    r"""Return the temperature that calibrates class probabilities on held-out rows.

    .. math:: \arg\min_T -\frac1N \sum_n \sum_y s_{ny} \log p_T(y \mid x_n), \qquad
        p_T(y \mid x) \propto p(y \mid x)^{1/T}

    where :math:`s_n` assigns :math:`1 - 1/(N + 2)` to the label of row n and distributes the rest
    evenly over all classes. This smoothing is Laplace's rule of succession: if a few rows are all
    classified correctly, this is not evidence that the model is always correct.

    References:
        On Calibration of Modern Neural Networks (Guo et al., 2017),
        https://arxiv.org/abs/1706.04599

    Arguments:
        probabilities: The probability of each class, with shape (N, C).
        labels: The true classes, with shape (N); rows with the label -1 are ignored.

    Returns:
        A temperature between 0.1 and 100, above 1 if the model is overconfident; 1 if there are no
        labels.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    labeled = labels >= 0
    n, classes = int(labeled.sum()), probabilities.shape[-1]
    if n == 0:
        return 1.0
    logits = _logits(probabilities[labeled])
    targets = torch.full_like(logits, 1 / ((n + 2) * classes))
    targets[torch.arange(n), labels[labeled]] += 1 - 1 / (n + 2)

    def cross_entropy(log_scale: float) -> float:
        log_p = (logits * math.exp(log_scale)).log_softmax(-1)
        return -float((targets * log_p).sum(-1).mean())

    # The cross-entropy is convex in 1/T, and therefore unimodal in log T.
    bounds = (-math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE))
    return math.exp(-float(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def apply_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """Divide the logits of class probabilities by a temperature; return the new probabilities."""
    if temperature == 1:
        return probabilities
    return (_logits(probabilities) / temperature).softmax(-1).to(probabilities)


def _logits(probabilities: Tensor) -> Tensor:
    tiny = torch.finfo(probabilities.dtype).tiny  # keeps the logarithm of 0 finite
    return probabilities.clamp_min(tiny).double().log()
