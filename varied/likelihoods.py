"""p(x given z): one head for each kind of data.

Every likelihood is a density or a probability that sums to one over its data, in nats; ``accepts``
names the domains it is one for: "binary" {0, 1}, "levels" the grid k/255, "unit" [0, 1], "real",
and "table" the rows of a table.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributions as td
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.heads import Head

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "TableRow",
]

GRID = frozenset({"binary", "levels"})
UNIT = GRID | {"unit"}
ANY = UNIT | {"real"}


class Likelihood(Head):
    """A head whose events are data; ``accepts`` names the domains it is a likelihood for."""

    accepts: frozenset[str] = ANY


class Bernoulli(Likelihood):
    r"""Black or white, independently for each element.

    .. math:: \log p(x) = x \log \lambda + (1 - x) \log (1 - \lambda), \qquad \lambda = \sigma(h)

    Warning:
        Much code in the wild feeds gray levels to this formula. That is no likelihood: binarize the
        data, or use `ContinuousBernoulli`, which has the missing constant.
    """

    accepts = frozenset({"binary"})

    def build(self, logits: Tensor) -> Distribution:
        """Return Bernoulli distributions from logits."""
        return td.Bernoulli(logits=logits, validate_args=False)


class ContinuousBernoulli(Likelihood):
    """Intensities in [0, 1], with the constant that Bernoulli cross-entropy lacks.

    See `varied.distributions.ContinuousBernoulli` for the formula and its reference.
    """

    accepts = UNIT

    def build(self, logits: Tensor) -> Distribution:
        """Return continuous Bernoulli distributions from logits."""
        return d.ContinuousBernoulli(logits)


class Scale(nn.Module):
    """The scale of a location-scale likelihood.

    Fixed; one that is learned; one learned for each element, the same for all data, as in factor
    analysis; or one an element that the network says of each datum.

    A likelihood whose scale may shrink to zero is unbounded, so there is a floor; the default is
    half a gray level, 1/510.

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021),
        https://arxiv.org/abs/2006.13202

    Arguments:
        event: The shape of one datum.
        scale: A positive number, "learned", "per-element" or "heteroscedastic".
        min_scale: The least scale, in units of the data.
    """

    # Adam moves a parameter by about its learning rate a step, whatever its unit: without the gain
    # a scale would need thousands of steps to fall from 1 to 0.05.
    GAIN = 10.0

    def __init__(self, event: tuple[int, ...], scale: float | str, min_scale: float) -> None:
        super().__init__()
        if min_scale <= 0:
            raise VariedError(
                f"min_scale={min_scale} must be above 0, say 0.002: it bounds the likelihood."
            )
        self.each, self.log_min = scale == "heteroscedastic", math.log(min_scale)
        own: dict[float | str, tuple[int, ...]] = {"learned": (), "per-element": event}
        fixed = None if self.each or scale in own else _positive(scale)
        self.fixed = None if fixed is None else math.log(fixed)
        start = torch.full(own.get(scale, ()), math.log(0.3) / self.GAIN)
        self.raw = nn.Parameter(start) if scale in own else None

    def forward(self, h: Tensor | None, like: Tensor) -> Tensor:
        """Return the log-scale, with a shape that broadcasts to that of ``like``."""
        if self.fixed is not None:
            return like.new_full((), self.fixed)
        raw = self.raw * self.GAIN if self.raw is not None else h
        assert raw is not None
        # A scale of exp(89) is infinite in float32, and so is what follows from it.
        return self.log_min + F.softplus(d.soft_clamp(raw, 30.0) - self.log_min)


def _positive(scale: float | str) -> float:
    try:
        value = float(scale)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise VariedError(
            f"scale={scale!r} must be a number above 0, 'learned', 'per-element' or 'heteroscedastic'."
        )
    return value


class LocationScale(Likelihood):
    """What `Gaussian` and `Laplace` share: a location and a `Spread`."""

    def __init__(
        self, event: tuple[int, ...], scale: float | str = "learned", min_scale: float = 1 / 510
    ) -> None:
        super().__init__(event)
        self.spread = Scale(event, scale, min_scale)
        self.params_per_element = 2 if self.spread.each else 1


class Gaussian(LocationScale):
    r"""Real numbers with Gaussian noise.

    .. math:: \log p(x) = -\tfrac12 \log 2\pi\sigma^2 - (x - \mu)^2 / 2\sigma^2

    ``scale=1`` is the squared error (MSE) of the textbooks. It assumes noise as large as the whole
    range of a picture: it blurs, and starves the latent space. The default learns one scale.

    Arguments:
        event: The shape of one datum.
        scale: A number, "learned" (one for all elements), "per-element" (one for each, the same for
            all data) or "heteroscedastic" (one an element, from the net).
        min_scale: The least scale, in units of the data.
    """

    def build(self, mean: Tensor, h: Tensor | None = None) -> Distribution:
        """Return normal distributions."""
        return d.Gaussian(mean, 2 * self.spread(h, mean))


class Laplace(LocationScale):
    r"""Real numbers with heavier tails: the absolute error (L1), sharper than the squared one.

    .. math:: \log p(x) = -\log 2b - |x - \mu| / b

    Arguments:
        event: The shape of one datum.
        scale: A number, "learned" (one for all elements), "per-element" (one for each, the same for
            all data) or "heteroscedastic" (one an element, from the net).
        min_scale: The least scale :math:`b`, in units of the data.
    """

    def build(self, loc: Tensor, h: Tensor | None = None) -> Distribution:
        """Return Laplace distributions."""
        return td.Laplace(loc, self.spread(h, loc).exp(), validate_args=False)


class DiscretizedLogistic(Likelihood):
    """A probability for each of 256 gray levels, from one logistic.

    See `varied.distributions.DiscretizedLogistic` for the formula and its reference.
    """

    accepts = frozenset({"levels"})
    params_per_element = 2

    def build(self, loc: Tensor, log_scale: Tensor) -> Distribution:
        """Return discretized logistic distributions."""
        return d.DiscretizedLogistic(*_logistic(loc, log_scale))


class DiscretizedLogisticMixture(Likelihood):
    """A probability for each of 256 gray levels, from a mixture of logistics an element.

    References:
        PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517

    Arguments:
        event: The shape of one datum.
        n_components: The size of the mixture.
    """

    accepts = frozenset({"levels"})

    def __init__(self, event: tuple[int, ...], n_components: int = 5) -> None:
        super().__init__(event)
        if n_components < 1:
            raise VariedError(f"n_components={n_components} must be at least 1.")
        self.params_per_element = 3 * n_components

    def build(self, *params: Tensor) -> Distribution:
        """Return mixtures of discretized logistics."""
        n = len(params) // 3
        logits, loc, log_scale = (torch.stack(params[i * n : (i + 1) * n], -1) for i in range(3))
        # Components that start at one place learn one thing; spread them over the gray levels.
        places = torch.linspace(-0.5, 0.5, n + 2, device=loc.device)[1:-1]
        parts = d.DiscretizedLogistic(*_logistic(loc + places, log_scale))
        mixture = td.Categorical(logits=logits, validate_args=False)
        return td.MixtureSameFamily(mixture, parts, validate_args=False)


def _logistic(loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    # A raw output of 0 is mid-gray with a scale of about a seventh of the range; the scale stays
    # above exp(-7), where a bin holds all the mass.
    return loc + 0.5, d.soft_clamp(log_scale, 5.0) - 2.0


class Categorical(Likelihood):
    r"""A free probability for each gray level: a softmax over ``levels`` classes an element.

    .. math:: \log p(x = k) = h_k - \log \sum_j e^{h_j}

    Arguments:
        event: The shape of one datum.
        levels: The number of levels on [0, 1]; 256 for 8-bit pictures, 2 for black and white.
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


class TableRow(Likelihood):
    """Rows of a table: a mixture of Gaussians for each number, a softmax for each choice.

    See `varied.distributions.TableRow` for the formula and its reference. A cell that is missing is
    one more thing that a row says: nothing is filled in.

    Arguments:
        event: The shape of one datum, (W,).
        layout: The columns in order, as the codec of a table writes them: "n" is a number, "n2" one
            with 2 values of its own, "c5" a choice of 5; "n?" may be missing.
        n_components: The size of each mixture.
        min_scale: The least standard deviation, where a whole column has about 1.
        model_missing: Whether the model also tells which cells are missing; without, gaps are chance.
    """

    accepts = frozenset({"table"})
    #: The logit that a cell is known where a column had no gaps in training, in nats.
    SURE = 20.0

    def __init__(
        self,
        event: tuple[int, ...],
        layout: str = "n",
        n_components: int = 3,
        min_scale: float = 0.02,
        model_missing: bool = True,
    ) -> None:
        super().__init__(event)
        self.layout, self.gaps = d.ColumnLayout.of(layout), model_missing
        if n_components < 1 or min_scale <= 0:
            raise VariedError(
                f"n_components={n_components} must be at least 1, and min_scale={min_scale} above 0."
            )
        if event != (self.layout.width,):
            raise VariedError(
                f"layout='{layout}' has {self.layout.width} numbers in a row, and the data have "
                f"shape {event}; leave the layout out, and it is taken from the table."
            )
        self.components, self.floor = n_components, math.log(min_scale)
        _, numbers, options = self.layout.parts
        self.parts = (len(self.layout.gaps), *[numbers * n_components] * 3, options)
        self.register_buffer("places", torch.linspace(-1, 1, n_components + 2)[1:-1])

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape that a network must put out for one datum."""
        return (sum(self.parts),)

    def build(self, gaps: Tensor, *params: Tensor) -> Distribution:
        """Return rows of a table from what each kind of column needs."""
        *numbers, logits = params
        # A gap in a column that had none in training costs a lot, and is never drawn.
        flags = gaps.new_full((*gaps.shape[:-1], self.layout.columns), self.SURE)
        flags[..., list(self.layout.gaps)] = gaps
        weights, means, h = (p.unflatten(-1, (-1, self.components)) for p in numbers)
        # A raw output of 0 is a standard deviation of 1, that of a whole column.
        log_scales = self.floor + F.softplus(d.soft_clamp(h, 30.0) - self.floor)
        return d.TableRow(
            self.layout, flags, weights, means + self.places, log_scales, logits, self.gaps
        )

    def forward(self, h: Tensor) -> Distribution:
        """Return the distribution of one row each, from a tensor of shape (*, *raw)."""
        return td.Independent(self.build(*h.split(self.parts, -1)), 1, validate_args=False)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "discretized-logistic": DiscretizedLogistic,
    "discretized-logistic-mixture": DiscretizedLogisticMixture,
    "categorical": Categorical,
    "table": TableRow,
}
