"""Bounds on the log-likelihood: the ELBO with its parts, and the importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.distributions import analytic_kl, base_distribution
from varied.evaluate.active_units import (
    active_units,
    collapse_warning,
    collapsed_levels_warning,
    is_active,
    unused_codes_warning,
)
from varied.evaluate.estimate import Estimate
from varied.models import LatentModel
from varied.quantizers import code_usage
from varied.runtime import eval_float32
from varied.seeding import seeded
from varied.trace import Level, Trace

__all__ = ["Estimate", "Evaluation", "PassResult", "evaluate", "forward_pass", "log_likelihood"]

#: Numbers of decoder output that one chunk of importance samples may fill: what the caches of a
#: processor hold, which takes half the time of what its memory holds; and 128 MB elsewhere.
CHUNK, ELSEWHERE = 2**21, 2**25

Load = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PassResult:
    """What one pass over data found, for each of N data.

    Arguments:
        distortion: -log p(x given z), with shape (N), in nats.
        rate: KL(q, p), with shape (N), in nats; None where the posterior has no density.
        mean: The mean of the posterior, with shape (N, D).
        spread: Its standard deviation, with shape (N, D).
        rate_each: KL of each latent unit, with shape (N, D); None where there are no marginals.
        rate_levels: KL of each level, from the datum upwards, with shape (N, L); None for one.
        index: The code of each site, with shape (N, sites), where the posterior has codes.
    """

    distortion: Tensor
    rate: Tensor | None
    mean: Tensor
    spread: Tensor
    rate_each: Tensor | None
    rate_levels: Tensor | None
    index: Tensor | None

    @property
    def active(self) -> Tensor:
        """Which units are active, as bool with shape (D)."""
        return is_active(self.mean)


def forward_pass(
    model: LatentModel, load: Load, rows: Iterable[Batch], *, seed: int = 0
) -> PassResult:
    """Pass over data once, with one draw of each code; the same seed gives the same numbers.

    Arguments:
        model: Neither it nor torch's random state is changed.
        load: From stored rows to data; what it draws follows from the seed.
        rows: Batches in order.
        seed: Which draws.
    """
    found = []
    with eval_float32(model):
        for index, batch in enumerate(rows):
            with seeded(seed, "evaluate", index):
                x, c, mask = _on(batch, model)
                x = load(x)
                found.append(_one(model, x, c, model(x, c, mask)))
    columns = list(zip(*found, strict=True))
    return PassResult(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]


def _on(batch: Batch, model: LatentModel) -> tuple[Tensor, Tensor | None, Tensor | None]:
    batch = batch.to(next(model.parameters()).device)
    return batch.x, batch.c, batch.mask


def _one(
    model: LatentModel, x: Tensor, c: Tensor | None, trace: Trace
) -> tuple[Tensor | None, ...]:
    rates = [_rate(trace, level, model.provides) for level in trace.levels]
    # Draws that have weights are of several classes, each with units of its own.
    told = trace.levels if trace.weights is None else []
    exact = [analytic_kl(base_distribution(level.q), base_distribution(level.p)) for level in told]
    q = trace.levels[0].q if len(trace.levels) == 1 else model.encode(x, c)
    units = [k.reshape(len(x), -1) for k in exact if k is not None and k.dim() > 1]
    levels = [rate for rate in rates if rate is not None]
    parts = (
        -trace.expect(trace.log_px),
        torch.stack(levels).sum(0) if levels else None,
        q.mean.flatten(1),
        q.variance.sqrt().flatten(1),
        torch.cat(units, 1) if len(units) == len(trace.levels) else None,
        torch.stack(levels, 1) if len(levels) > 1 else None,
        getattr(base_distribution(trace.levels[0].q), "index", None),
    )
    return tuple(None if part is None else part.cpu() for part in parts)


def _rate(trace: Trace, level: Level, gives: frozenset[str]) -> Tensor | None:
    """Return the KL of a level, with shape (B); None where the posterior is a point."""
    if "density" not in gives and analytic_kl(level.q, level.p) is None:
        return None
    return trace.expect(level.kl)


def log_likelihood(
    model: LatentModel, load: Load, rows: Iterable[Batch], *, samples: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    r"""Return the importance-weighted bound of each datum, and its effective sample size.

    .. math:: \log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}, \qquad z_k \sim q(z \mid x)

    with exactly K samples, in chunks that fit in memory.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Arguments:
        model: Neither it nor torch's random state is changed.
        load: From stored rows to data.
        rows: Batches in order.
        samples: The number K of samples for each datum.
        seed: Which draws.

    Returns:
        Nats with shape (N), a lower bound on log p(x); and the effective sample size
        :math:`(\sum_k w_k)^2 / \sum_k w_k^2` with shape (N), from 1 to K.
    """
    found = []
    with eval_float32(model):
        for index, batch in enumerate(rows):
            with seeded(seed, "importance", index):
                x, c, mask = _on(batch, model)
                found.append(_importance(model, load(x), c, mask, samples))
    bound, size = zip(*found, strict=True)
    return torch.cat(bound), torch.cat(size)


def _importance(
    model: LatentModel, x: Tensor, c: Tensor | None, mask: Tensor | None, samples: int
) -> tuple[Tensor, Tensor]:
    most = CHUNK if x.device.type == "cpu" else ELSEWHERE
    at_once = max(1, most // (x.numel() * model.params_per_element))
    first, second = x.new_full((2, len(x)), -math.inf).unbind()
    drawn = 0
    for start in range(0, samples, at_once):
        log_w = model(x, c, mask, min(at_once, samples - start)).log_weight
        drawn += len(log_w)  # a model of classes tries each of them for every sample
        first = torch.logaddexp(first, log_w.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_w).logsumexp(0))
    return (first - math.log(drawn)).cpu(), (2 * first - second).exp().cpu()


@dataclass(frozen=True)
class Evaluation:
    """The numbers of a model on data it was not trained on; all in nats, higher ELBO is better.

    Arguments:
        n: How many data.
        likelihood: The name of p(x given z): only numbers of the same likelihood compare.
        reconstruction: -log p(x given z).
        kl: KL(q, p); None where the posterior has no density.
        elbo: Minus the sum of both, with the weight of the KL at 1 whatever it was in training.
        active_units: Latent units that depend on the data.
        latent: Latent units in all.
        kl_by_unit: The KL of each unit.
        active_by_unit: Whether each unit is active.
        kl_by_level: The KL of each level, from the datum upwards; None where there is one level.
        codes: The size of the codebook; 0 where there is none.
        used: The share of the codes that the data used.
        perplexity: How many codes, used equally often, would say as much.
        dimensions: Numbers in one datum.
        log_likelihood: The importance-weighted bound, where it was asked for.
        samples: Its number of importance samples.
        effective: The mean effective sample size.
    """

    n: int
    likelihood: str
    reconstruction: Estimate
    kl: Estimate | None
    elbo: Estimate | None
    active_units: Estimate
    latent: int
    kl_by_unit: tuple[float, ...] | None
    active_by_unit: tuple[bool, ...]
    dimensions: int
    kl_by_level: tuple[float, ...] | None = None
    codes: int = 0
    used: float = 0.0
    perplexity: float = 0.0
    log_likelihood: Estimate | None = None
    samples: int = 0
    effective: float = math.nan

    @property
    def warnings(self) -> list[str]:
        """What a person should know before trusting the model, a sentence each."""
        found = [unused_codes_warning(self.used, self.codes) if self.codes else None]
        if self.kl is not None and not self.codes:
            found.append(collapse_warning(self.active_units.value, self.latent))
        found.append(collapsed_levels_warning(self.kl_by_level or ()))
        if self.samples and not self.codes and self.effective < max(2.0, 0.002 * self.samples):
            found.append(
                f"The importance weights are poor: {self.effective:.1f} effective samples of "
                f"{self.samples}; take more samples, or trust the ELBO alone."
            )
        return [sentence for sentence in found if sentence]

    def to_json(self) -> dict[str, object]:
        """Return plain values, with the standard error of each number beside it."""
        plain: dict[str, object] = {"n": self.n, "likelihood": self.likelihood, "unit": "nats"}
        for name in ("elbo", "reconstruction", "kl", "active_units", "log_likelihood"):
            estimate: Estimate | None = getattr(self, name)
            plain[name] = None if estimate is None else estimate.value
            plain[f"{name}_error"] = None if estimate is None else estimate.error
        plain |= {"latent": self.latent, "kl_by_unit": self.kl_by_unit}
        plain |= {"active_by_unit": self.active_by_unit, "kl_by_level": self.kl_by_level}
        plain |= {"codes": self.codes, "used": self.used, "perplexity": self.perplexity}
        plain |= {"dimensions": self.dimensions, "importance_samples": self.samples}
        return plain | {"effective_samples": self.effective, "warnings": self.warnings}


def evaluate(
    model: LatentModel,
    load: Load,
    rows: Callable[[], Iterable[Batch]],
    *,
    likelihood: str = "",
    samples: int = 0,
    seed: int = 0,
) -> Evaluation:
    """Measure a model on data; neither the model nor torch's random state is changed.

    Arguments:
        model: The model.
        load: From stored rows to data.
        rows: Makes the batches, anew at each call.
        likelihood: The name of the likelihood.
        samples: Importance samples for the log-likelihood; 0 leaves it out.
        seed: Which draws.
    """
    seen = forward_pass(model, load, rows(), seed=seed)
    samples = min(samples, 1) if model.num_codes else samples  # each draw would be the same code
    weighted, size = None, math.nan
    if samples and seen.rate is not None:
        bound, sizes = log_likelihood(model, load, rows(), samples=samples, seed=seed)
        weighted, size = Estimate.of(bound), float(sizes.mean())
    used, perplexity = (
        code_usage(seen.index, model.num_codes) if seen.index is not None else (0.0, 0.0)
    )
    rate_each, levels = seen.rate_each, seen.rate_levels
    return Evaluation(
        n=len(seen.distortion),
        likelihood=likelihood,
        reconstruction=Estimate.of(seen.distortion),
        kl=None if seen.rate is None else Estimate.of(seen.rate),
        elbo=None if seen.rate is None else Estimate.of(-seen.distortion - seen.rate),
        active_units=active_units(seen.mean),
        latent=seen.mean.shape[1],
        kl_by_unit=None if rate_each is None else tuple(rate_each.mean(0).tolist()),
        active_by_unit=tuple(seen.active.tolist()),
        dimensions=math.prod(model.event_shape),
        kl_by_level=None if levels is None else tuple(levels.mean(0).tolist()),
        codes=model.num_codes,
        used=used,
        perplexity=perplexity,
        log_likelihood=weighted,
        samples=samples if weighted is not None else 0,
        effective=size,
    )
