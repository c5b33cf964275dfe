"""Annealed importance sampling: bounds on log p(x) and the rate-distortion curve of a decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.data.batches import Batch
from varied.errors import VariedError, check_at_least, lookup
from varied.evaluate._batches import Load, map_batches
from varied.evaluate.estimate import Estimate
from varied.models import VAE, LatentModel
from varied.models.vae import zero_missing
from varied.priors.ode_flow import MAX_EXACT_DIMS, OdeFlow
from varied.trace import Trace

#: The maximum number of decoder outputs in one gradient computation. The activations take several
#: times as much memory.
CHUNK = 2**22
#: The target acceptance rate of the adaptive step size.
TARGET_ACCEPTANCE = 0.8
#: The number of chains that adapt the step size for the other chains but do not contribute to the
#: result.
PILOTS = 2
#: The number of examples that `bdmc` simulates at a time.
SIMULATED = 100


@dataclass(frozen=True)
class AISResult:
    """The result of annealed importance sampling for each of N examples.

    Arguments:
        lower_bound: A stochastic lower bound on log p(x), with shape (N), in nats, float64.
        effective_sample_size: The effective sample size of the K chains, with shape (N), between 1
            and K.
        acceptance_rate: The fraction of accepted transitions, with shape (N).
    """

    lower_bound: Tensor
    effective_sample_size: Tensor
    acceptance_rate: Tensor

    @property
    def log_likelihood(self) -> Estimate:
        """The lower bound on the mean of log p(x)."""
        return Estimate.of(self.lower_bound)


@dataclass(frozen=True)
class BDMCResult:
    """Stochastic bounds on the mean of log p(x) over simulated data, in nats.

    Arguments:
        lower: The lower bound.
        upper: The upper bound.
        gap: The difference between the bounds. In expectation, the error of each bound is at most
            this large.
    """

    lower: Estimate
    upper: Estimate
    gap: Estimate


@dataclass(frozen=True)
class RateDistortionCurve:
    """The rate and distortion of N examples at each of M inverse temperatures.

    Arguments:
        betas: The M inverse temperatures.
        rates: A stochastic upper bound on the rate, with shape (M, N), in nats, float64.
        distortions: The distortion -log p(x | z) at that rate, with shape (M, N), in nats, float64.
    """

    betas: tuple[float, ...]
    rates: Tensor
    distortions: Tensor

    @property
    def rate(self) -> tuple[Estimate, ...]:
        """The mean rate at each inverse temperature."""
        return tuple(map(Estimate.of, self.rates))

    @property
    def distortion(self) -> tuple[Estimate, ...]:
        """The mean distortion at each inverse temperature."""
        return tuple(map(Estimate.of, self.distortions))


def ais(
    model: LatentModel,
    load: Load,
    batches: Iterable[Batch],
    *,
    chains: int = 16,
    steps: int = 500,
    leapfrog_steps: int = 10,
    start: str = "posterior",
    seed: int = 0,
) -> AISResult:
    r"""Return a lower bound on log p(x) for each example by annealed importance sampling.

    .. math:: \log \frac1K \sum_k \prod_{t=1}^T
              \Big( \frac{p(x, z_{k,t-1})}{s(z_{k,t-1})} \Big)^{\beta_t - \beta_{t-1}}, \qquad
              z_{k,t} \sim H_t(\cdot \mid z_{k,t-1})

    The initial distribution :math:`s` is q(z | x) or p(z), and :math:`H_t` is a step of Hamiltonian
    Monte Carlo that leaves :math:`s^{1 - \beta_t} p(x, z)^{\beta_t}` invariant. The inverse
    temperatures :math:`\beta_t` increase from 0 to 1 along a sigmoid. The mean weight is an
    unbiased estimate of p(x), so the expectation of its logarithm is at most log p(x).

    The estimate would be biased if a chain adapted its step size to its own history. Instead, two
    additional pilot chains for each example adapt the step size; these chains do not contribute to
    the estimate.

    References:
        Annealed Importance Sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008;
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017),
        https://arxiv.org/abs/1611.04273

    Warning:
        It is unknown how tight the bound is; `bdmc` measures its gap on simulated data. Each
        example requires (chains + 2) * steps * (leapfrog_steps + 1) decoder passes, which is
        about 100,000 by default.

    Arguments:
        model: A model with one level of continuous latent variables. It is not changed, and
            neither is PyTorch's random state.
        load: Maps stored rows to model inputs.
        batches: The examples, iterated over once.
        chains: The number K of chains for each example.
        steps: The number T of temperatures; 1 is plain importance sampling.
        leapfrog_steps: The number of leapfrog steps in each transition.
        start: The initial distribution: "posterior", or "prior", which does not use the encoder.
        seed: The seed for the chains.

    Raises:
        VariedError: If the latent variables are discrete or have several levels, the prior or the
            initial distribution has no exact density, a number is below 1, or ``start`` is unknown.
    """
    vae = _annealable(model, chains, steps, leapfrog_steps, start)
    betas = _sigmoid_schedule(steps)

    def anneal(batch: Batch) -> tuple[Tensor, ...]:
        run = _Chains(_Path(vae, batch, start), chains, leapfrog_steps)
        list(run.forward(betas))
        return run.log_mean_weight, run.effective_sample_size, run.acceptance_rate

    return AISResult(*map_batches(anneal, model, load, batches, seed=seed, purpose="annealed"))


def bdmc(
    model: LatentModel,
    *,
    n: int = 100,
    context: Tensor | None = None,
    chains: int = 16,
    steps: int = 500,
    leapfrog_steps: int = 10,
    start: str = "posterior",
    seed: int = 0,
) -> BDMCResult:
    r"""Bound log p(x) from below and above by bidirectional Monte Carlo, for simulated data.

    .. math:: z^* \sim p(z), \quad x \sim p(x \mid z^*)

    Then :math:`z^*` is an exact sample from p(z | x). Annealing from :math:`z^*` back to the
    initial distribution gives an unbiased estimate of 1/p(x), so the negative logarithm of the
    estimate is an upper bound in expectation. The backward chains use the step sizes of the forward
    chains, which do not depend on :math:`z^*`.

    References:
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo (Grosse et al., 2015),
        https://arxiv.org/abs/1511.02543

    Warning:
        The gap is measured on data simulated from the model; it may be larger for real data.

    Arguments:
        model: As for `ais`.
        n: The number of simulated examples.
        context: The contexts, with shape (M, F), which are used in turn, or None.
        chains: The number of chains in each direction, for each example.
        steps: The number of temperatures.
        leapfrog_steps: The number of leapfrog steps in each transition.
        start: The initial distribution: "posterior" or "prior".
        seed: The seed for the data and the chains.

    Raises:
        VariedError: As for `ais`, or if n is below 1, or ``context`` has no rows.
    """
    vae = _annealable(model, chains, steps, leapfrog_steps, start)
    betas = _sigmoid_schedule(steps)
    check_at_least(1, default=100, n=n)
    if context is not None and not len(context):
        raise VariedError("`context` has no rows; pass at least one row, or None.")

    def sandwich(batch: Batch) -> tuple[Tensor, ...]:
        z = model.sample_prior(len(batch), batch.c)
        x = model.decode(z, batch.c).sample()
        path = _Path(vae, Batch(x, batch.c), start)
        run, back = _Chains(path, chains, leapfrog_steps), _Chains(path, chains, leapfrog_steps, z)
        list(run.forward(betas))
        back.backward(betas, run.step_sizes)
        return run.log_mean_weight, -back.log_mean_weight

    chunks = torch.arange(n).split(SIMULATED)
    batches = [Batch(i, None if context is None else context[i % len(context)]) for i in chunks]
    lower, upper = map_batches(
        sandwich, model, lambda x: x, batches, seed=seed, purpose="bidirectional"
    )
    return BDMCResult(*map(Estimate.of, (lower, upper, upper - lower)))


def rate_distortion(
    model: LatentModel,
    load: Load,
    batches: Iterable[Batch],
    *,
    betas: Sequence[float] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    chains: int = 16,
    steps: int = 500,
    leapfrog_steps: int = 10,
    seed: int = 0,
) -> RateDistortionCurve:
    r"""Return points on the rate-distortion curve of a decoder and its prior.

    .. math:: p_\beta(z \mid x) \propto p(z) \, p(x \mid z)^\beta, \quad
              D_\beta = \mathbb E_{p_\beta} [-\log p(x \mid z)], \quad
              R_\beta = KL(p_\beta \,\|\, p) = -\beta D_\beta - \log Z_\beta(x)

    For this decoder and prior, codes with this distribution have the lowest distortion at each
    rate; the encoder is not used. One annealing run from the prior passes through every
    :math:`\beta`. At each :math:`\beta`, the weighted mean over the chains estimates the
    distortion, and the logarithm of the mean weight is a stochastic lower bound on
    :math:`\log Z_\beta`, so the resulting rate and distortion are achievable. At
    :math:`\beta = 1`, the negative sum of rate and distortion is a lower bound on log p(x).

    References:
        Evaluating Lossy Compression Rates of Deep Generative Models (Huang et al., 2020),
        https://arxiv.org/abs/2008.06653; Importance Weighting and Variational Inference (Domke &
        Sheldon, 2018), https://arxiv.org/abs/1808.09034, for the bound with weighted chains.

    Warning:
        The rate is relative to the prior of the model; another prior may achieve a lower rate. The
        distortion depends on the likelihood, so curves for different likelihoods are not
        comparable.

    Arguments:
        model: As for `ais`.
        load: Maps stored rows to model inputs.
        batches: The examples, iterated over once.
        betas: The non-negative inverse temperatures, in any order; 0 corresponds to the prior.
        chains: The number of chains for each example.
        steps: The number of temperatures, in addition to those in ``betas``.
        leapfrog_steps: The number of leapfrog steps in each transition.
        seed: The seed for the chains.

    Raises:
        VariedError: As for `ais`, or if an inverse temperature is negative or infinite, or none is
            positive.
    """
    vae = _annealable(model, chains, steps, leapfrog_steps, "prior")
    points = tuple(map(float, betas))
    if not all(0 <= beta < math.inf for beta in points) or not any(points):
        raise VariedError(
            f"betas={points} must be finite, non-negative and not all 0, such as (0.5, 1, 2)."
        )
    # With the fourth power, each doubling of beta takes about the same number of steps.
    curve = torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 4 * max(points)
    schedule = sorted({*curve.tolist()[:-1], *points})

    def anneal(batch: Batch) -> tuple[Tensor, Tensor]:
        run = _Chains(_Path(vae, batch, "prior"), chains, leapfrog_steps)
        pairs = {
            beta: run.rate_and_distortion(beta) for beta in run.forward(schedule) if beta in points
        }
        rates, distortions = zip(*(pairs[beta] for beta in points), strict=True)
        return torch.stack(rates, 1), torch.stack(distortions, 1)

    rates, distortions = map_batches(
        anneal, model, load, batches, seed=seed, purpose="rate-distortion"
    )
    return RateDistortionCurve(points, rates.T, distortions.T)


def _annealable(
    model: LatentModel, chains: int, steps: int, leapfrog_steps: int, start: str
) -> VAE:
    """Return the model, or raise VariedError if AIS does not support it."""
    check_at_least(1, chains=chains, steps=steps, leapfrog_steps=leapfrog_steps)
    from_posterior = lookup({"posterior": True, "prior": False}, start, "start")
    remedy = "use importance sampling (`log_likelihood`) instead"
    if not isinstance(model, VAE):
        raise VariedError(
            "AIS requires a model with a single level of latent variables and no classes, not "
            f"{type(model).__name__}; {remedy}."
        )
    if model.num_codes or model.prior.space != "real" or "density" not in model.prior.provides:
        raise VariedError(
            "AIS requires real-valued latent variables and a prior with a density, so it does not "
            f"support discrete codes, classes or points on a sphere; {remedy}."
        )
    if from_posterior and "density" not in model.encoder.head.provides:
        raise VariedError(
            "A deterministic posterior has no density to start from; use start='prior'."
        )
    return model


def _sigmoid_schedule(steps: int) -> list[float]:
    s = torch.linspace(-4, 4, steps + 1, dtype=torch.float64).sigmoid()
    return ((s - s[0]) / (s[-1] - s[0])).tolist()


class _Path:
    """The path ``log s(z) + beta d(z)`` of B examples, where d(z) = log p(x, z) - log s(z)."""

    def __init__(self, model: VAE, batch: Batch, start: str) -> None:
        self.model, self.c, self.mask = model, batch.c, batch.mask
        self.x = zero_missing(batch.x, batch.mask)
        self.prior: Distribution = model.prior(self.c)
        if isinstance(self.prior, OdeFlow) and self.prior.size > MAX_EXACT_DIMS:
            raise VariedError(
                "The density of this prior can only be estimated; fit prior='gmm' instead."
            )
        self.start = model.encode(self.x, self.c) if start == "posterior" else self.prior
        self.chunk = max(1, CHUNK // (self.x.numel() * model.params_per_element))
        # All units of an example share one scale, since the scales that a poor encoder predicts for
        # individual units are misleading.
        self.scale = self.sample(64).std(0).clamp(min=1e-6).flatten(1).log().mean(1).exp()

    def sample(self, n: int) -> Tensor:
        """Return samples from the initial distribution, with shape (n, B, *latent)."""
        return self.start.sample((n,) if self.start.batch_shape else (n, len(self.x)))

    def log_densities(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return log s and d, each with shape (K, B), for z with shape (K, B, *latent)."""
        parts = [torch.stack(self._log_densities(part)) for part in z.split(self.chunk)]
        return torch.cat(parts, 1).unbind()

    def gradient(self, z: Tensor, beta: float) -> Tensor:
        """Return the gradient of the log-density at an inverse temperature."""
        return torch.cat([self._gradient(part, beta) for part in z.split(self.chunk)])

    def _log_densities(self, z: Tensor) -> tuple[Tensor, Tensor]:
        d = Trace(self.x, self.model.decode(z, self.c), mask=self.mask).log_px
        s = self.start.log_prob(z)
        return s, d if self.start is self.prior else d + self.prior.log_prob(z) - s

    def _gradient(self, z: Tensor, beta: float) -> Tensor:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            s, d = self._log_densities(z)
            # Unlike backward(), this does not change the gradients of the parameters.
            (gradient,) = torch.autograd.grad((s + beta * d).sum(), z)
        return gradient


class _Chains:
    """K weighted chains on a path, preceded by pilot chains if no initial z is given."""

    def __init__(
        self, path: _Path, chains: int, leapfrog_steps: int, z: Tensor | None = None
    ) -> None:
        self.path, self.leapfrog_steps = path, leapfrog_steps
        self.pilots = PILOTS if z is None else 0
        self.z = path.sample(PILOTS + chains) if z is None else z.repeat(chains, *[1] * z.dim())
        self.s, self.d = path.log_densities(self.z)
        self.all_weights = self.s.new_zeros(self.s.shape, dtype=torch.float64)
        self.log_weights = self.all_weights[self.pilots :]  # a view: weights change in place
        self.accepted, self.step_sizes = torch.zeros_like(self.all_weights), list[Tensor]()

    def move(self, beta: float, step_size: Tensor) -> Tensor:
        """Make one HMC transition; return the acceptance probabilities, with shape (K, B).

        The step of each chain is a random fraction of the step size, because a fixed trajectory
        length could coincide with a period of a Gaussian target, and because smaller steps are
        needed far from the mode.
        """
        lead = (*self.s.shape, *[1] * (self.z.dim() - 2))
        fraction = 0.05 + 0.95 * torch.rand(lead, device=self.z.device, dtype=self.z.dtype)
        step = fraction * step_size.reshape(1, *lead[1:])
        initial = momentum = torch.randn_like(self.z)
        z = self.z + 0.5 * step * momentum
        for leap in range(self.leapfrog_steps):
            momentum = momentum + step * self.path.gradient(z, beta)
            z = z + (step if leap < self.leapfrog_steps - 1 else 0.5 * step) * momentum
        s, d = self.path.log_densities(z)
        log_ratio = (s + beta * d).double() - (self.s + beta * self.d).double()
        log_ratio += (initial.double().square() - momentum.double().square()).flatten(2).sum(2) / 2
        # A divergent trajectory has a ratio of NaN and is rejected.
        probability = log_ratio.clamp(max=0).exp().nan_to_num(0)
        accept = torch.rand_like(probability) < probability
        self.z = torch.where(accept.reshape(lead), z, self.z)
        self.s, self.d = torch.where(accept, s, self.s), torch.where(accept, d, self.d)
        self.accepted += accept
        self.step_sizes.append(step_size)
        return probability

    def forward(self, betas: Sequence[float]) -> Iterator[float]:
        """Anneal from the initial distribution; yield each inverse temperature as it is reached."""
        step_size = 0.5 * self.z[0, 0].numel() ** -0.25 * self.path.scale
        yield betas[0]
        for previous, beta in pairwise(betas):
            self.all_weights += (beta - previous) * self.d.double()
            rate = self.move(beta, step_size)[: self.pilots].mean(0)
            step_size = step_size * (0.5 * (rate - TARGET_ACCEPTANCE)).exp().to(step_size)
            yield beta

    def backward(self, betas: Sequence[float], step_sizes: Sequence[Tensor]) -> None:
        """Anneal back to the initial distribution, with the step size used at each temperature."""
        steps = zip(pairwise(betas), step_sizes, strict=True)
        for (previous, beta), step_size in reversed([*steps]):
            self.move(beta, step_size)
            self.all_weights -= (beta - previous) * self.d.double()

    @property
    def log_mean_weight(self) -> Tensor:
        """The logarithm of the mean weight, with shape (B)."""
        log_mean = self.log_weights.logsumexp(0) - math.log(len(self.log_weights))
        if log_mean.isnan().any():
            raise VariedError("A density is NaN; pass a mask if the data have missing values.")
        return log_mean

    @property
    def effective_sample_size(self) -> Tensor:
        """The effective sample size of the chains, with shape (B)."""
        return (2 * self.log_weights.logsumexp(0) - (2 * self.log_weights).logsumexp(0)).exp()

    @property
    def acceptance_rate(self) -> Tensor:
        """The fraction of accepted transitions, with shape (B)."""
        return self.accepted[self.pilots :].mean(0) / len(self.step_sizes)

    def rate_and_distortion(self, beta: float) -> tuple[Tensor, Tensor]:
        """Return the rate and distortion of chains that start at the prior, each with shape (B)."""
        weights = self.log_weights.softmax(0)
        distortion = -(weights * self.d[self.pilots :].double()).sum(0)
        return -beta * distortion - self.log_mean_weight, distortion
