"""Bounds on the log-likelihood: the ELBO with its parts, and the importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.distributions import closed_kl, each
from varied.evaluate.estimate import Estimate
from varied.evaluate.latent import active_units, collapse, is_active
from varied.models import VAE
from varied.randomness import noise
from varied.runtime import exactly
from varied.trace import Trace

__all__ = ["Estimate", "Evaluation", "Passed", "evaluate", "log_likelihood", "passed"]

#: Numbers of decoder output that one chunk of importance samples may fill: 128 MB in float32.
CHUNK = 2**25

Load = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Passed:
    """What one pass over data found, for each of N data.

    Arguments:
        distortion: -log p(x given z), with shape (N), in nats.
        rate: KL(q, p), with shape (N), in nats; None where the posterior has no density.
        mean: The mean of the posterior, with shape (N, D).
        spread: Its standard deviation, with shape (N, D).
        rate_each: KL of each latent unit, with shape (N, D); None where there are no marginals.
    """

    distortion: Tensor
    rate: Tensor | None
    mean: Tensor
    spread: Tensor
    rate_each: Tensor | None

    @property
    def active(self) -> Tensor:
        """Which units are active, as bool with shape (D)."""
        return is_active(self.mean)


def passed(model: VAE, load: Load, rows: Iterable[Batch], *, seed: int = 0) -> Passed:
    """Pass over data once, with one draw of each code; the same seed gives the same numbers.

    Arguments:
        model: Neither it nor torch's random state is changed.
        load: From stored rows to data; what it draws follows from the seed.
        rows: Batches in order.
        seed: Which draws.
    """
    found = []
    with exactly(model):
        for index, batch in enumerate(rows):
            with noise(seed, "evaluate", index):
                x, c, mask = _on(batch, model)
                found.append(_one(model(load(x), c, mask), model.encoder.head.gives))
    columns = list(zip(*found, strict=True))
    return Passed(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]


def _on(batch: Batch, model: VAE) -> tuple[Tensor, Tensor | None, Tensor | None]:
    batch = batch.to(next(model.parameters()).device)
    return batch.x, batch.c, batch.mask


def _one(trace: Trace, gives: frozenset[str]) -> tuple[Tensor | None, ...]:
    level = trace.levels[0]
    exact = closed_kl(each(level.q), each(level.p))
    dense = "density" in gives
    parts = (
        -trace.log_px.mean(0),
        level.kl.mean(0) if dense else None,
        level.q.mean.flatten(1),
        level.q.variance.sqrt().flatten(1),
        None if exact is None else exact.flatten(1),
    )
    return tuple(None if part is None else part.cpu() for part in parts)


def log_likelihood(
    model: VAE, load: Load, rows: Iterable[Batch], *, samples: int, seed: int = 0
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
    with exactly(model):
        for index, batch in enumerate(rows):
            with noise(seed, "importance", index):
                x, c, mask = _on(batch, model)
                found.append(_importance(model, load(x), c, mask, samples))
    bound, size = zip(*found, strict=True)
    return torch.cat(bound), torch.cat(size)


def _importance(
    model: VAE, x: Tensor, c: Tensor | None, mask: Tensor | None, samples: int
) -> tuple[Tensor, Tensor]:
    at_once = max(1, CHUNK // (x.numel() * model.decoder.head.arity))
    first, second = x.new_full((2, len(x)), -math.inf).unbind()
    for start in range(0, samples, at_once):
        log_w = model(x, c, mask, min(at_once, samples - start)).log_w
        first = torch.logaddexp(first, log_w.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_w).logsumexp(0))
    return (first - math.log(samples)).cpu(), (2 * first - second).exp().cpu()


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
    log_likelihood: Estimate | None = None
    samples: int = 0
    effective: float = math.nan

    @property
    def warnings(self) -> list[str]:
        """What a person should know before trusting the model, a sentence each."""
        found = [collapse(self.active_units.value, self.latent)] if self.kl is not None else []
        if self.samples and self.effective < max(2.0, 0.002 * self.samples):
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
        plain |= {"active_by_unit": self.active_by_unit}
        plain |= {"dimensions": self.dimensions, "importance_samples": self.samples}
        return plain | {"effective_samples": self.effective, "warnings": self.warnings}


def evaluate(
    model: VAE,
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
    seen = passed(model, load, rows(), seed=seed)
    weighted, size = None, math.nan
    if samples and seen.rate is not None:
        bound, sizes = log_likelihood(model, load, rows(), samples=samples, seed=seed)
        weighted, size = Estimate.of(bound), float(sizes.mean())
    rate_each = seen.rate_each
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
        dimensions=model.decoder.head.size,
        log_likelihood=weighted,
        samples=samples if weighted is not None else 0,
        effective=size,
    )
