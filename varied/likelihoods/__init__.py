"""Likelihoods p(x | z): one head for each type of data.

Every likelihood returns a normalized log-density or log-probability of its data, in nats. Its
attribute ``accepts`` lists the domains on which it is normalized: "binary" is {0, 1}, "uint8" is
the grid k/255, "unit-interval" is [0, 1], "real" contains all real numbers, "count" contains the
non-negative integers, "table" contains rows of a table, and "one-hot" contains sequences of one-hot
vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.likelihoods.base import ANY, GRID, UNIT, Likelihood, Scale
from varied.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from varied.likelihoods.one_hot import AutoregressiveOneHot, OneHot
from varied.likelihoods.table import AutoregressiveTableRow, TableRow

__all__ = [
    "ANY",
    "GRID",
    "LIKELIHOODS",
    "UNIT",
    "AutoregressiveOneHot",
    "AutoregressiveTableRow",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "OneHot",
    "Poisson",
    "Scale",
    "TableRow",
    "ZeroInflatedNegativeBinomial",
]


class Bernoulli(Likelihood):
    r"""A Bernoulli distribution for each element of binary data.

    .. math:: \log p(x) = x \log \lambda + (1 - x) \log (1 - \lambda), \qquad \lambda = \sigma(h)

    Warning:
        Many public implementations apply this formula to gray levels, for which it is not a
        likelihood. Binarize the data, or use `ContinuousBernoulli`, which includes the normalizing
        constant.
    """

    accepts = frozenset({"binary"})

    def build(self, logits: Tensor) -> Distribution:
        """Return Bernoulli distributions from logits."""
        return td.Bernoulli(logits=logits, validate_args=False)


class ContinuousBernoulli(Likelihood):
    """Intensities in [0, 1]: the Bernoulli cross-entropy with its normalizing constant.

    See `varied.distributions.ContinuousBernoulli` for the formula and the reference.
    """

    accepts = UNIT

    def build(self, logits: Tensor) -> Distribution:
        """Return continuous Bernoulli distributions from logits."""
        return d.ContinuousBernoulli(logits)


class LocationScale(Likelihood):
    """A likelihood with a location and a `Scale`, the base class of `Gaussian` and `Laplace`."""

    def __init__(
        self, event: tuple[int, ...], scale: float | str = "learned", min_scale: float = 1 / 510
    ) -> None:
        super().__init__(event)
        self.scale = Scale(event, scale, min_scale)
        self.params_per_element = 2 if self.scale.is_heteroscedastic else 1


class Gaussian(LocationScale):
    r"""Real numbers with Gaussian noise.

    .. math:: \log p(x) = -\tfrac12 \log 2\pi\sigma^2 - (x - \mu)^2 / 2\sigma^2

    ``scale=1`` corresponds to the squared error (MSE) used in textbooks. This setting assumes that
    the noise is as large as the range of an image, which results in blurry reconstructions and
    inactive latent dimensions. By default, a single scale is learned.

    Arguments:
        event: The shape of one example.
        scale: The scale of the noise: a number, "learned" (one for all elements), "per-element"
            (one for each element, shared by all examples) or "heteroscedastic" (an output of the
            network for each element).
        min_scale: The minimum scale, in units of the data.
    """

    def build(self, mean: Tensor, h: Tensor | None = None) -> Distribution:
        """Return normal distributions."""
        return d.Gaussian(mean, 2 * self.scale(h, mean))


class Laplace(LocationScale):
    r"""Real numbers with Laplace noise (an absolute error), which is more robust to outliers.

    .. math:: \log p(x) = -\log 2b - |x - \mu| / b

    Arguments:
        event: The shape of one example.
        scale: The scale of the noise: a number, "learned" (one for all elements), "per-element"
            (one for each element, shared by all examples) or "heteroscedastic" (an output of the
            network for each element).
        min_scale: The minimum scale :math:`b`, in units of the data.
    """

    def build(self, loc: Tensor, h: Tensor | None = None) -> Distribution:
        """Return Laplace distributions."""
        return td.Laplace(loc, self.scale(h, loc).exp(), validate_args=False)


class DiscretizedLogistic(Likelihood):
    """A probability for each of 256 gray levels, from a logistic distribution.

    See `varied.distributions.DiscretizedLogistic` for the formula and the reference.
    """

    accepts = frozenset({"uint8"})
    params_per_element = 2

    def build(self, loc: Tensor, log_scale: Tensor) -> Distribution:
        """Return discretized logistic distributions."""
        return d.DiscretizedLogistic(*_logistic_params(loc, log_scale))


class DiscretizedLogisticMixture(Likelihood):
    """A probability for each of 256 gray levels, from a mixture of logistic distributions.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517

    Arguments:
        event: The shape of one example.
        n_components: The number of mixture components.
    """

    accepts = frozenset({"uint8"})

    def __init__(self, event: tuple[int, ...], n_components: int = 5) -> None:
        super().__init__(event)
        if n_components < 1:
            raise VariedError(f"n_components={n_components} must be at least 1.")
        self.params_per_element = 3 * n_components

    def build(self, *params: Tensor) -> Distribution:
        """Return mixtures of discretized logistic distributions."""
        n = len(params) // 3
        logits, loc, log_scale = (torch.stack(params[i * n : (i + 1) * n], -1) for i in range(3))
        # Components with the same initial location would remain equal.
        offsets = torch.linspace(-0.5, 0.5, n + 2, device=loc.device)[1:-1]
        components = d.DiscretizedLogistic(*_logistic_params(loc + offsets, log_scale))
        weights = td.Categorical(logits=logits, validate_args=False)
        return td.MixtureSameFamily(weights, components, validate_args=False)


def _logistic_params(loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    # A raw output of 0 corresponds to mid-gray with a scale of about a seventh of the range. The
    # scale stays above exp(-7), at which a single bin has almost all the probability.
    return loc + 0.5, d.soft_clamp(log_scale, 5.0) - 2.0


class Categorical(Likelihood):
    r"""A categorical distribution over ``levels`` gray levels for each element.

    .. math:: \log p(x = k) = h_k - \log \sum_j e^{h_j}

    Arguments:
        event: The shape of one example.
        levels: The number of levels on [0, 1]; 256 for 8-bit images, 2 for binary images.
    """

    accepts = GRID

    def __init__(self, event: tuple[int, ...], levels: int = 256) -> None:
        super().__init__(event)
        if levels < 2:
            raise VariedError(f"levels={levels} must be at least 2.")
        self.params_per_element = levels

    def build(self, *params: Tensor) -> Distribution:
        """Return categorical distributions over the levels."""
        return d.CategoricalLevels(torch.stack(params, -1))


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "discretized-logistic": DiscretizedLogistic,
    "discretized-logistic-mixture": DiscretizedLogisticMixture,
    "categorical": Categorical,
    "negative-binomial": NegativeBinomial,
    "zero-inflated-negative-binomial": ZeroInflatedNegativeBinomial,
    "poisson": Poisson,
    "table": TableRow,
    "autoregressive-table": AutoregressiveTableRow,
    "one-hot": OneHot,
    "autoregressive-one-hot": AutoregressiveOneHot,
}
