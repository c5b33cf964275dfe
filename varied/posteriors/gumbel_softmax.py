"""Categorical posteriors, relaxed during training, alone or combined with a Gaussian."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.errors import VariedError, check_above, check_at_least
from varied.posteriors.base import NonFactorized, Shape
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number, Schedule


class _Categorical(NonFactorized):
    """A posterior with categorical dimensions, relaxed in training and one-hot in evaluation."""

    def __init__(
        self, event: Shape, n_classes: int, temperature: Number, straight_through: bool
    ) -> None:
        super().__init__(event)
        check_at_least(2, n_classes=n_classes)
        if _minimum(temperature) <= 0:
            raise VariedError(f"temperature={temperature} must stay above 0; the default is 0.67.")
        self.n_classes, self.straight_through = n_classes, straight_through
        self.space = f"{self.space}-{n_classes}"
        self.temperature = ScheduledValue(temperature)

    def _one_hot(self, logits: Tensor) -> Distribution:
        # Samples are one-hot in evaluation, so that the reported ELBO is a bound on log p(x).
        temperature = self.temperature.value if self.training else None
        rank = len(self.event_shape)
        return d.OneHot(logits, self.n_classes, rank, temperature, self.straight_through)


def _minimum(value: Number) -> float:
    if not isinstance(value, Schedule):
        return value
    return min(value(value.steps * n / 1000) for n in range(1001))


class GumbelSoftmax(_Categorical):
    r"""Categorical variables with a differentiable relaxation: Gumbel-softmax, or Concrete.

    .. math:: z_v = \mathrm{softmax}((h_v + g_v) / \tau), \qquad g \sim \mathrm{Gumbel}(0, 1)

    Each group of ``n_classes`` channels is one categorical variable. The KL is computed in closed
    form from the class probabilities.

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144;
        The Concrete Distribution (Maddison et al., 2016), https://arxiv.org/abs/1611.00712

    Warning:
        With relaxed samples, the training objective is not a bound on log p(x), because the decoder
        receives more information than the class, whereas the KL accounts only for the class. In
        evaluation, samples are one-hot, so the reported ELBO and importance-weighted bound are
        valid. Use ``straight_through=True`` with objectives that weight samples by their density.

    Arguments:
        event: The shape of a latent variable; the number of channels must be a multiple of
            ``n_classes``.
        n_classes: The number of classes of each variable.
        temperature: The temperature of the relaxation, a number or a schedule. With lower values,
            samples are closer to one-hot, and gradients have a higher variance.
        straight_through: Whether samples are also one-hot during training, with the gradient of
            the relaxed samples.
    """

    space = "simplex"

    def __init__(
        self,
        event: Shape,
        n_classes: int = 8,
        temperature: Number = 0.67,
        straight_through: bool = False,
    ) -> None:
        super().__init__(event, n_classes, temperature, straight_through)
        size = self.event_shape[0]
        if size % n_classes:
            nearest = max(1, round(size / n_classes)) * n_classes
            raise VariedError(
                f"latent={size} must be a multiple of n_classes={n_classes}; use latent={nearest}."
            )

    def build(self, logits: Tensor) -> Distribution:
        """Return categorical distributions."""
        return self._one_hot(logits)


class GaussianGumbel(_Categorical):
    r"""Gaussian latents, and one categorical variable in the last channels.

    .. math:: q(z, y) = \mathcal N(z; \mu, e^\ell) \, \mathrm{Cat}(y; \mathrm{softmax}(h))

    See `GumbelSoftmax` for the relaxation and the conditions under which the objective is a bound.
    `varied.distributions.kl_per_factor` returns the KL divergence of each factor.

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        event: The shape of a latent variable, with more than ``n_classes`` channels.
        n_classes: The number of classes.
        temperature: The temperature of the relaxation, a number or a schedule.
        straight_through: Whether samples are also one-hot during training, with the gradient of
            the relaxed samples.
        logvar_bound: The maximum absolute value of the log-variance.
    """

    provides: frozenset[str] = frozenset({"density", "parts"})
    space = "real+simplex"

    def __init__(
        self,
        event: Shape,
        n_classes: int = 10,
        temperature: Number = 0.67,
        straight_through: bool = False,
        logvar_bound: float = 10.0,
    ) -> None:
        super().__init__(event, n_classes, temperature, straight_through)
        if self.event_shape[0] <= n_classes:
            raise VariedError(
                f"latent={self.event_shape[0]} must be larger than n_classes={n_classes}, since "
                "the remaining latents are Gaussian; use "
                f"latent={n_classes + 10}, or posterior='gumbel-softmax'."
            )
        check_above(0, default=10, logvar_bound=logvar_bound)
        self.logvar_bound = logvar_bound

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of channels of the means, log-variances and logits."""
        gaussian = self.event_shape[0] - self.n_classes
        return (gaussian, gaussian, self.n_classes)

    def build(self, mean: Tensor, log_variance: Tensor, logits: Tensor) -> Distribution:
        """Return the product of the Gaussian and the categorical distribution."""
        gaussian = d.Gaussian(mean, d.soft_clamp(log_variance, self.logvar_bound))
        rank = len(self.event_shape)
        return d.Product(Independent(gaussian, rank, validate_args=False), self._one_hot(logits))
