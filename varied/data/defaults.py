"""Which parts fit which data, and why: what `Codec.suggest` answers."""

from __future__ import annotations

import math

__all__ = ["advise"]

LIKELIHOODS = {
    "binary": ("bernoulli", "every value is 0 or 1 as the model sees it"),
    "levels": ("discretized-logistic", "the values are 256 levels of brightness"),
    "unit": ("continuous-bernoulli", "the values lie between 0 and 1"),
    "real": ("gaussian", "the values are real numbers; the scale is learned"),
    "table": ("table", "each column has a law of its own"),
}


def advise(shape: tuple[int, ...], domain: str, n: int) -> dict[str, tuple[object, str]]:
    """Return for each part its suggested value and the reason.

    Arguments:
        shape: The shape of a datum, channels first.
        domain: What values it has, as `Codec.domain`.
        n: The number of training rows.

    Example:
        >>> advise((3, 64, 64), "levels", 1000)["net"]
        ('conv', 'pictures of this size are learned best by convolutions')
    """
    return {"net": _net(shape), "likelihood": LIKELIHOODS[domain], "latent": _latent(shape, n)}


def _net(shape: tuple[int, ...]) -> tuple[object, str]:
    if len(shape) != 3:
        return "mlp", "the rows are vectors or series"
    if shape[0] > 1 or max(shape[1:]) > 28:
        return "conv", "pictures of this size are learned best by convolutions"
    return "mlp", "small gray pictures are learned fastest by plain layers"


def _latent(shape: tuple[int, ...], n: int) -> tuple[object, str]:
    features = math.prod(shape)
    if features <= 32:
        return max(1, features // 2), f"a row has only {features} values"
    if n < 320:
        return max(2, n // 20), f"{n} rows cannot tell more apart"
    if len(shape) == 3 and max(shape[1:]) >= 64:
        return 64, "pictures of 64 pixels and more have many ways to differ"
    if len(shape) == 3:
        return 32, "small pictures rarely use more, and units in excess fall silent"
    return 16, "small data rarely use more, and units in excess fall silent"
