"""Annealed importance sampling: log p(x) between two bounds, and what a decoder's codes cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.data.batches import Batch
from varied.errors import VariedError, lookup
from varied.evaluate.elbo import Load, _on
from varied.evaluate.estimate import Estimate
from varied.models import VAE, LatentModel
from varied.models.vae import zero_missing
from varied.priors.ode_flow import MAX_EXACT_DIMS, OdeFlow
from varied.runtime import eval_float32
from varied.seeding import seeded
from varied.trace import Trace

__all__ = ["AISResult", "BDMCResult", "RateDistortionCurve", "ais", "bdmc", "rate_distortion"]

#: Numbers of decoder output that one slope may fill; what lies between is kept beside them.
CHUNK = 2**22
#: The share of transitions that is to be accepted.
WANTED = 0.8
#: Chains that find the size of a step for the others, and are not counted.
SCOUTS = 2


@dataclass(frozen=True)
class AISResult:
    """What annealing found of each of N data.

    Arguments:
        bound: Below log p(x) on average, with shape (N), in nats, float64.
        effective: The effective sample size of the chains, with shape (N), from 1 to K.
        accepted: The share of the transitions that were accepted, with shape (N).
    """

    bound: Tensor
    effective: Tensor
    accepted: Tensor

    @property
    def log_likelihood(self) -> Estimate:
        """The lower bound on the mean of log p(x)."""
        return Estimate.of(self.bound)


@dataclass(frozen=True)
class BDMCResult:
    """Bounds from both sides on the mean of log p(x) over data that a model drew, in nats.

    Arguments:
        lower: Below it on average.
        upper: Above it on average.
        gap: How far apart they are: on average, neither is wrong by more.
    """

    lower: Estimate
    upper: Estimate
    gap: Estimate


@dataclass(frozen=True)
class RateDistortionCurve:
    """What the codes of N data cost, and what they lose, at each of M inverse temperatures.

    Arguments:
        betas: The inverse temperatures, M of them.
        rates: Above the rate on average, with shape (M, N), in nats, float64.
        distortions: -log p(x given z) at that rate, with shape (M, N), in nats, float64.
    """

    betas: tuple[float, ...]
    rates: Tensor
    distortions: Tensor

    @property
    def rate(self) -> tuple[Estimate, ...]:
        """The rate at each inverse temperature."""
        return tuple(map(Estimate.of, self.rates))

    @property
    def distortion(self) -> tuple[Estimate, ...]:
        """The distortion at each inverse temperature."""
        return tuple(map(Estimate.of, self.distortions))


def ais(
    model: LatentModel,
    load: Load,
    rows: Iterable[Batch],
    *,
    chains: int = 16,
    steps: int = 500,
    leaps: int = 10,
    start: str = "posterior",
    seed: int = 0,
) -> AISResult:
    r"""Return a bound on log p(x) of each datum by annealed importance sampling.

    .. math:: \log \frac1K \sum_k \prod_{t=1}^T
              \Big( \frac{p(x, z_{k,t-1})}{s(z_{k,t-1})} \Big)^{\beta_t - \beta_{t-1}}, \qquad
              z_{k,t} \sim H_t(\cdot \mid z_{k,t-1})

    where :math:`s` is where the chains start, q(z given x) or p(z), and :math:`H_t` is a step of
    Hamiltonian Monte Carlo, which leaves :math:`s^{1 - \beta_t} p(x, z)^{\beta_t}` as it is. The
    :math:`\beta_t` rise from 0 to 1 along a sigmoid, slowly at both ends. What stands under the
    logarithm has p(x) as its mean, so the logarithm lies below log p(x) on average.

    A size of step that a chain learned from its own past would spoil that: what was accepted tells
    where the chain is. So two more chains for each datum learn it, from past temperatures alone,
    aiming at 80 % accepted, and are not counted: to the others, the sizes are given beforehand.

    References:
        Annealed Importance Sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008;
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017),
        https://arxiv.org/abs/1611.04273

    Warning:
        The slack of the bound is unknown: `bidirectional` tells it for data of the model. A datum
        costs (chains + 2) * steps * (leaps + 1) passes of the decoder: 100,000 as it stands.

    Arguments:
        model: One level of continuous latents; neither it nor torch's random state is changed.
        load: From stored rows to data.
        rows: Batches in order; the noise is that of the batch, however much fits in memory.
        chains: The number K of chains for each datum.
        steps: The number T of temperatures; 1 is plain importance sampling.
        leaps: Slopes in one transition.
        start: "posterior", or "prior", which asks nothing of the encoder.
        seed: Which draws.

    Raises:
        VariedError: If the latents are not continuous, are on several levels, or have no density.
    """
    vae, heats, found = _checked(model, chains, steps, leaps, start), _sigmoid(steps), []
    with eval_float32(model):
        for index, batch in enumerate(rows):
            with seeded(seed, "annealed", index):
                x, c, mask = _on(batch, model)
                walk = _Walk(_Path(vae, Batch(load(x), c, mask), start), chains, leaps)
                list(walk.passing(heats))
                found.append(walk.found())
    return AISResult(*(torch.cat(column).cpu() for column in zip(*found, strict=True)))


def bdmc(
    model: LatentModel,
    *,
    n: int = 100,
    context: Tensor | None = None,
    chains: int = 16,
    steps: int = 500,
    leaps: int = 10,
    start: str = "posterior",
    seed: int = 0,
) -> BDMCResult:
    r"""Return bounds from both sides on log p(x), for data that the model itself draws.

    .. math:: z^* \sim p(z), \quad x \sim p(x \mid z^*)

    Then :math:`z^*` is an exact draw from p(z given x). Annealed from there back to the start, the
    weights have 1/p(x) as their mean, so minus the logarithm of their mean lies above log p(x) on
    average. The sizes of steps are those of the way there, which never saw :math:`z^*`.

    References:
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo (Grosse et al., 2015),
        https://arxiv.org/abs/1511.02543

    Warning:
        The gap is that of data of the model. Data that the model finds strange may be harder.

    Arguments:
        model: As `annealed`.
        n: How many data.
        context: Contexts with shape (M, F), taken in turn, or None.
        chains: The number of chains each way, for each datum.
        steps: The number of temperatures.
        leaps: Slopes in one transition.
        start: "posterior" or "prior": the other end of the path.
        seed: Which draws.

    Raises:
        VariedError: As `annealed`; or if there is nothing to draw.
    """
    vae, heats, found = _checked(model, chains, steps, leaps, start), _sigmoid(steps), []
    if n < 1 or (context is not None and not len(context)):
        raise VariedError("There is nothing to draw: give n from 1 up, and one context at least.")
    with eval_float32(model):
        for index, some in enumerate(torch.arange(n).split(100)):
            with seeded(seed, "bidirectional", index):
                c = None if context is None else context[some % len(context)]
                some, c, _ = _on(Batch(some, c), model)
                z = model.sample_prior(len(some), c)
                path = _Path(vae, Batch(model.decode(z, c).sample(), c), start)
                there, back = _Walk(path, chains, leaps), _Walk(path, chains, leaps, z)
                list(there.passing(heats))
                back.back(heats, there.sizes)
                found.append(torch.stack([there.bound, -back.bound]))
    lower, upper = torch.cat(found, 1).cpu().unbind()
    return BDMCResult(*map(Estimate.of, (lower, upper, upper - lower)))


def rate_distortion(
    model: LatentModel,
    load: Load,
    rows: Iterable[Batch],
    *,
    betas: Sequence[float] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    chains: int = 16,
    steps: int = 500,
    leaps: int = 10,
    seed: int = 0,
) -> RateDistortionCurve:
    r"""Return points of the rate-distortion curve of a decoder and its prior, from one annealing.

    .. math:: p_\beta(z \mid x) \propto p(z) \, p(x \mid z)^\beta, \quad
              D_\beta = \mathbb E_{p_\beta} [-\log p(x \mid z)], \quad
              R_\beta = KL(p_\beta, p) = -\beta D_\beta - \log Z_\beta(x)

    These codes lose least at each rate, given this decoder and this prior; no encoder is asked.
    Chains from the prior pass every :math:`\beta`. There their mean by weight is the distortion,
    and the log of their mean weight lies below :math:`\log Z_\beta` on average: codes drawn so do
    reach the pair. At :math:`\beta = 1`, minus the sum of both bounds log p(x) from below.

    References:
        Evaluating Lossy Compression Rates of Deep Generative Models (Huang et al., 2020),
        https://arxiv.org/abs/2008.06653; Importance Weighting and Variational Inference (Domke &
        Sheldon, 2018), https://arxiv.org/abs/1808.09034: the bound for chains by their weights.

    Warning:
        The rate is relative to the model's prior; codes could be cheaper under another. The
        distortion is in nats of the model's likelihood: curves of two likelihoods do not compare.

    Arguments:
        model: As `annealed`.
        load: From stored rows to data.
        rows: Batches in order.
        betas: Inverse temperatures from 0 up, in any order; 0 is what the prior alone gives.
        chains: The number of chains for each datum.
        steps: The number of temperatures on the way; those in `betas` come on top.
        leaps: Slopes in one transition.
        seed: Which draws.

    Raises:
        VariedError: As `annealed`; or if an inverse temperature is below 0, or none is above.
    """
    vae, asked, found = _checked(model, chains, steps, leaps, "prior"), tuple(map(float, betas)), []
    if not all(0 <= beta < math.inf for beta in asked) or not any(asked):
        raise VariedError(f"betas={asked} must be from 0 up, one of them above: try (0.5, 1, 2).")
    # The fourth power spends about as many steps on each doubling as on the next.
    curve = torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 4 * max(asked)
    heats = sorted({*curve.tolist()[:-1], *asked})
    with eval_float32(model):
        for index, batch in enumerate(rows):
            with seeded(seed, "rate-distortion", index):
                x, c, mask = _on(batch, model)
                walk = _Walk(_Path(vae, Batch(load(x), c, mask), "prior"), chains, leaps)
                passed = {b: walk.point(b) for b in walk.passing(heats) if b in asked}
                found.append(torch.stack([passed[beta] for beta in asked]))
    return RateDistortionCurve(asked, *torch.cat(found, 2).cpu().unbind(1))


def _checked(model: LatentModel, chains: int, steps: int, leaps: int, start: str) -> VAE:
    if min(chains, steps, leaps) < 1:
        raise VariedError(f"{chains=}, {steps=} and {leaps=} must each be at least 1.")
    asks = lookup({"posterior": True, "prior": False}, start, "start")
    other = "take the importance samples of `log_likelihood`"
    if not isinstance(model, VAE):
        kind = type(model).__name__
        raise VariedError(f"Annealing moves one level of latents, and {kind} has more: {other}.")
    if model.num_codes or model.prior.space != "real" or "density" not in model.prior.provides:
        raise VariedError(
            "Annealing follows the slope of p(z), and latents that are codes, classes or "
            f"directions have none: {other}."
        )
    if asks and "density" not in model.encoder.head.provides:
        raise VariedError("The posterior has no density to start from: give start='prior'.")
    return model


def _sigmoid(steps: int) -> list[float]:
    s = torch.linspace(-4, 4, steps + 1, dtype=torch.float64).sigmoid()
    return ((s - s[0]) / (s[-1] - s[0])).tolist()


class _Path:
    """From a start to p(x, z): the log-density ``s + b d`` of B data at each temperature b."""

    def __init__(self, model: VAE, batch: Batch, start: str) -> None:
        x, c, mask = zero_missing(batch.x, batch.mask), batch.c, batch.mask
        self.model, self.x, self.c, self.mask = model, x, c, mask
        self.prior: Distribution = model.prior(c)
        if isinstance(self.prior, OdeFlow) and self.prior.size > MAX_EXACT_DIMS:
            raise VariedError("This prior only guesses its density: fit prior='gmm' in its place.")
        self.start = model.encode(x, c) if start == "posterior" else self.prior
        self.at_once = max(1, CHUNK // (x.numel() * model.params_per_element))
        # Of each datum, one for all units: those of an encoder that is wrong would mislead.
        self.spread = self.draw(64).std(0).clamp(min=1e-6).flatten(1).log().mean(1).exp()

    def draw(self, n: int) -> Tensor:
        return self.start.sample((n,) if self.start.batch_shape else (n, len(self.x)))

    def both(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return s and d of latents with shape (K, B, *latent), each with shape (K, B)."""
        parts = [torch.stack(self._both(some)) for some in z.split(self.at_once)]
        return torch.cat(parts, 1).unbind()

    def slope(self, z: Tensor, b: float) -> Tensor:
        return torch.cat([self._slope(some, b) for some in z.split(self.at_once)])

    def _both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        d = Trace(self.x, self.model.decode(z, self.c), mask=self.mask).log_px
        s = self.start.log_prob(z)
        return s, d if self.start is self.prior else d + self.prior.log_prob(z) - s

    def _slope(self, z: Tensor, b: float) -> Tensor:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            s, d = self._both(z)
            (found,) = torch.autograd.grad((s + b * d).sum(), z)  # the model's own stay as they are
        return found


class _Walk:
    """K chains on a path with their weights; ahead of them scouts, unless all start at one z."""

    def __init__(self, path: _Path, chains: int, leaps: int, z: Tensor | None = None) -> None:
        self.path, self.leaps, self.scouts = path, leaps, SCOUTS if z is None else 0
        self.z = path.draw(SCOUTS + chains) if z is None else z.repeat(chains, *[1] * z.dim())
        self.s, self.d = path.both(self.z)
        self.weights = self.s.new_zeros(self.s.shape, dtype=torch.float64)
        self.counted = self.weights[self.scouts :]  # as long as weights are changed in place
        self.taken, self.sizes = torch.zeros_like(self.weights), list[Tensor]()

    def move(self, b: float, size: Tensor) -> Tensor:
        """Take one transition at a temperature; return the chance of each, with shape (K, B).

        Each chain takes a random share of the size: a fixed length may be just the period of a
        Gaussian, and bring it back to where it was; and far out, smaller steps are needed.
        """
        lead = (*self.s.shape, *[1] * (self.z.dim() - 2))
        share = 0.05 + 0.95 * torch.rand(lead, device=self.z.device, dtype=self.z.dtype)
        step = share * size.reshape(1, *lead[1:])
        begun = pace = torch.randn_like(self.z)
        at = self.z + 0.5 * step * pace
        for leap in range(self.leaps):
            pace = pace + step * self.path.slope(at, b)
            at = at + (step if leap < self.leaps - 1 else 0.5 * step) * pace
        s, d = self.path.both(at)
        gained = (s + b * d).double() - (self.s + b * self.d).double()
        gained += (begun.double().square() - pace.double().square()).flatten(2).sum(2) / 2
        chance = gained.clamp(max=0).exp().nan_to_num(0)  # a step out of all numbers is not taken
        take = torch.rand_like(chance) < chance
        self.z = torch.where(take.reshape(lead), at, self.z)
        self.s, self.d = torch.where(take, s, self.s), torch.where(take, d, self.d)
        self.taken += take
        self.sizes.append(size)
        return chance

    def passing(self, heats: Sequence[float]) -> Iterator[float]:
        """Walk from the start, and yield each temperature once it is reached; the scouts learn."""
        size = 0.5 * self.z[0, 0].numel() ** -0.25 * self.path.spread
        yield heats[0]
        for before, now in pairwise(heats):
            self.weights += (now - before) * self.d.double()
            chance = self.move(now, size)[: self.scouts].mean(0)
            size = size * (0.5 * (chance - WANTED)).exp().to(size)
            yield now

    def back(self, heats: Sequence[float], sizes: Sequence[Tensor]) -> None:
        """Walk to the start, with the sizes of steps that were taken at each temperature."""
        for (before, now), size in zip(reversed([*pairwise(heats)]), reversed(sizes), strict=True):
            self.move(now, size)
            self.weights -= (now - before) * self.d.double()

    @property
    def bound(self) -> Tensor:
        found = self.counted.logsumexp(0) - math.log(len(self.counted))
        if found.isnan().any():
            raise VariedError("A density is NaN: give a mask for what is missing in the data.")
        return found

    def found(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log of the mean weight, the effective sample size, and the share accepted."""
        size = (2 * self.counted.logsumexp(0) - (2 * self.counted).logsumexp(0)).exp()
        return self.bound, size, self.taken[self.scouts :].mean(0) / len(self.sizes)

    def point(self, b: float) -> Tensor:
        """Return the rate and distortion of chains from the prior, with shape (2, B)."""
        distortion = -(self.counted.softmax(0) * self.d[self.scouts :].double()).sum(0)
        return torch.stack([-b * distortion - self.bound, distortion])
