"""Defaults that depend on the data, each with a reason."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Default(NamedTuple):
    """A default value and the reason for it."""

    value: Any
    reason: str


_LIKELIHOODS = {
    "binary": Default("bernoulli", "every value is 0 or 1"),
    "uint8": Default("discretized-logistic", "the values are 256 gray levels"),
    "unit-interval": Default("continuous-bernoulli", "the values are in [0, 1]"),
    "real": Default("gaussian", "the values are real numbers; the scale is learned"),
    "table": Default(
        "autoregressive-table",
        "it models each column according to its type, and the relations between columns",
    ),
    "count": Default("negative-binomial", "the values are counts"),
    "one-hot": Default("one-hot", "the examples are sequences of tokens"),
}
#: The maximum number of columns for the autoregressive likelihood.
_MAX_AUTOREGRESSIVE = 64


def default_parts(shape: tuple[int, ...], domain: str, n: int) -> dict[str, Default]:
    """Return the default network, likelihood and number of latent dimensions.

    Arguments:
        shape: The shape of one example, channels first.
        domain: The domain of the values, as in `Codec.domain`.
        n: The number of training rows.

    Example:
        >>> default_parts((3, 64, 64), "uint8", 1000)["net"]
        Default(value='conv', reason='convolutions work best on color images and on large images')
    """
    return {
        "net": _net(shape),
        "likelihood": _LIKELIHOODS[domain],
        "latent": _latent(shape, n),
    }


def table_likelihood(n_columns: int) -> Default:
    """Return the default likelihood of a table with the given number of columns."""
    if n_columns > _MAX_AUTOREGRESSIVE:
        return Default("table", "sampling from an autoregressive model of so many columns is slow")
    return _LIKELIHOODS["table"]


def _net(shape: tuple[int, ...]) -> Default:
    if len(shape) != 3:
        return Default("mlp", "the rows are vectors or series")
    if shape[0] > 1 or max(shape[1:]) > 28:
        return Default("conv", "convolutions work best on color images and on large images")
    return Default("mlp", "fully connected layers suit tiny images, and many small binary images")


def _latent(shape: tuple[int, ...], n: int) -> Default:
    n_values = math.prod(shape)
    if n_values <= 32:
        return Default(max(1, n_values // 2), f"a row has only {n_values} values")
    if n < 320:
        return Default(max(2, n // 20), f"{n} rows are too few for more dimensions")
    if len(shape) == 3 and max(shape[1:]) >= 64:
        return Default(64, "images with a side of at least 64 pixels vary in many ways")
    if len(shape) == 3:
        return Default(32, "small images rarely need more, and unused dimensions stay inactive")
    return Default(16, "small examples rarely need more, and unused dimensions stay inactive")
