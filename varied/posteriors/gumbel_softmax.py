"""Latents that are choices among classes, alone or beside continuous ones."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent

from varied import distributions as d
from varied.errors import VariedError
from varied.posteriors.base import NonFactorized
from varied.scheduled_value import ScheduledValue
from varied.schedules import Number, Schedule

__all__ = ["GaussianGumbel", "GumbelSoftmax"]


class _Chooses(NonFactorized):
    """What has choices among classes: relaxed in training, one-hot in evaluation."""

    def __init__(
        self, event: tuple[int, ...], classes: int, temperature: Number, hard: bool
    ) -> None:
        super().__init__(event)
        if classes < 2:
            raise VariedError(f"n_classes={classes} must be at least 2; 10 is usual.")
        if _lowest(temperature) <= 0:
            raise VariedError(f"temperature={temperature} must stay above 0; 0.67 is usual.")
        self.classes, self.hard = classes, hard
        self.temperature = ScheduledValue(temperature)

    def _choices(self, logits: Tensor) -> Distribution:
        # One-hot where it is evaluated, so that what is reported is a bound on log p(x).
        temperature = self.temperature.value if self.training else None
        return d.OneHot(logits, self.classes, len(self.event_shape), temperature, self.hard)


def _lowest(value: Number) -> float:
    if not isinstance(value, Schedule):
        return value
    return min(value(value.steps * n / 1000) for n in range(1001))


class GumbelSoftmax(_Chooses):
    r"""Choices among classes, relaxed so that a gradient passes: Gumbel-softmax, or Concrete.

    .. math:: z_v = \mathrm{softmax}((h_v + g_v) / \tau), \qquad g \sim \mathrm{Gumbel}(0, 1)

    Each run of ``classes`` channels is one choice. The KL is that of the class probabilities to
    those of the prior, in closed form.

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2016),
        https://arxiv.org/abs/1611.01144;
        The Concrete Distribution (Maddison et al., 2016), https://arxiv.org/abs/1611.00712

    Warning:
        With relaxed draws, what is minimized is no bound on log p(x): the decoder sees more than
        a choice, and the KL is that of the choice. So draws are one-hot in evaluation, and the
        ELBO and the importance-weighted bound that are reported there are true. Objectives that
        weigh draws by their density want ``hard=true`` in training.

    Arguments:
        event: The shape of a latent; its channels are a multiple of ``classes``.
        n_classes: The number of classes of each choice.
        temperature: That of the relaxation, a number or a schedule; the lower, the nearer to
            one-hot, and the wilder the gradient.
        straight_through: Whether draws are one-hot in training too, with the gradient of relaxed ones.
    """

    space = "simplex"

    def __init__(
        self,
        event: tuple[int, ...],
        n_classes: int = 8,
        temperature: Number = 0.67,
        straight_through: bool = False,
    ) -> None:
        super().__init__(event, n_classes, temperature, straight_through)
        if self.event_shape[0] % n_classes:
            near = max(1, round(self.event_shape[0] / n_classes)) * n_classes
            raise VariedError(
                f"latent={self.event_shape[0]} does not divide into choices among n_classes={n_classes}; "
                f"use latent={near}."
            )
        self.space = f"simplex-{n_classes}"

    def build(self, logits: Tensor) -> Distribution:
        """Return choices."""
        return self._choices(logits)


class GaussianGumbel(_Chooses):
    r"""Normal latents and, on the last channels, one choice among classes.

    .. math:: q(z, y) = \mathcal N(z; \mu, e^\ell) \, \mathrm{Cat}(y; \mathrm{softmax}(h))

    See `Gumbel` for the choice, and for what is a bound and what is not. The KL of both parts is
    known: `varied.distributions.kl_per_factor`.

    References:
        Learning Disentangled Joint Continuous and Discrete Representations (Dupont, 2018),
        https://arxiv.org/abs/1804.00104

    Arguments:
        event: The shape of a latent, with more channels than ``classes``.
        n_classes: The number of classes of the choice.
        temperature: That of the relaxation, a number or a schedule.
        straight_through: Whether draws are one-hot in training too, with the gradient of relaxed ones.
        logvar_bound: The largest size of the log-variance.
    """

    provides: frozenset[str] = frozenset({"density", "parts"})
    space = "real+simplex"

    def __init__(
        self,
        event: tuple[int, ...],
        n_classes: int = 10,
        temperature: Number = 0.67,
        straight_through: bool = False,
        logvar_bound: float = 10.0,
    ) -> None:
        super().__init__(event, n_classes, temperature, straight_through)
        if self.event_shape[0] <= n_classes:
            raise VariedError(
                f"latent={self.event_shape[0]} leaves no normal latents beside n_classes={n_classes}; use "
                f"latent={n_classes + 10}, or posterior='gumbel-softmax'."
            )
        if logvar_bound <= 0:
            raise VariedError(f"logvar_bound={logvar_bound} must be above 0; 10 is the default.")
        self.bound, self.space = logvar_bound, f"real+simplex-{n_classes}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Means, log-variances, logits."""
        normal = self.event_shape[0] - self.classes
        return (normal, normal, self.classes)

    def build(self, mean: Tensor, log_variance: Tensor, logits: Tensor) -> Distribution:
        """Return both parts as one distribution."""
        normal = d.Gaussian(mean, d.soft_clamp(log_variance, self.bound))
        rank = len(self.event_shape)
        return d.Product(Independent(normal, rank, validate_args=False), self._choices(logits))
