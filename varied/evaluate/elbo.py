"""Bounds on the log-likelihood: the ELBO with its terms, and the importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.distributions import analytic_kl, base_distribution
from varied.distributions.codebook import CodebookPoint
from varied.evaluate._batches import Load, map_batches
from varied.evaluate.active_units import (
    active_units,
    collapse_warning,
    collapsed_levels_warning,
    is_active,
    negative_kl_warning,
    unused_codes_warning,
)
from varied.evaluate.estimate import Estimate
from varied.evaluate.formatting import html_table, metric_rows
from varied.models import LatentModel
from varied.priors.ex_post import ExPostPrior
from varied.priors.normal import standard_normal
from varied.quantizers import code_usage
from varied.trace import Level, Trace

#: The maximum number of decoder outputs in one chunk of importance samples. On a CPU, they fit in
#: the cache, which is twice as fast as main memory; on other devices, they take 128 MB.
CPU_CHUNK, CHUNK = 2**21, 2**25
#: The fields of an evaluation that have standard errors.
ESTIMATES = ("elbo", "reconstruction", "kl", "active_units", "log_likelihood")


@dataclass(frozen=True)
class PassResult:
    """The result of one pass over N examples.

    Arguments:
        reconstruction: The reconstruction loss -log p(x | z), with shape (N), in nats.
        kl: The KL divergence KL(q(z | x) || p(z)), with shape (N), in nats; None if the posterior
            has no density.
        mean: The mean of the posterior, with shape (N, D).
        deviation: The mean of the posterior without the effect of the context on the prior (see
            `Prior.standardize`), with shape (N, D).
        std: The standard deviation of the posterior, with shape (N, D).
        kl_by_unit: The KL of each latent unit, with shape (N, D); None if it has no closed form, or
            if the units depend on the class.
        kl_by_level: The KL of each level, from the bottom level up, with shape (N, L); None for a
            single level.
        code_indices: The index of the code at each position, with shape (N, positions); None
            without a codebook.
    """

    reconstruction: Tensor
    kl: Tensor | None
    mean: Tensor
    deviation: Tensor
    std: Tensor
    kl_by_unit: Tensor | None
    kl_by_level: Tensor | None
    code_indices: Tensor | None


def forward_pass(
    model: LatentModel, load: Load, batches: Iterable[Batch], *, seed: int = 0
) -> PassResult:
    """Pass all examples through a model once, with one sample from each posterior.

    Arguments:
        model: The model. It is not changed, and neither is PyTorch's random state.
        load: Maps stored rows to model inputs.
        batches: The examples, iterated over once.
        seed: The seed for the samples.
    """

    def one_pass(batch: Batch) -> tuple[Tensor | None, ...]:
        trace = model(batch.x, batch.c, batch.mask)
        # In the trace of a ladder VAE, a posterior depends on the samples of the levels above.
        q = trace.levels[0].q if len(trace.levels) == 1 else model.encode(batch.x, batch.c)
        first = base_distribution(trace.levels[0].q)
        by_level = [_level_kl(trace, level, model.provides) for level in trace.levels]
        kl = [nats for nats in by_level if nats is not None]
        return (
            -trace.expect(trace.log_px),
            torch.stack(kl).sum(0) if kl else None,
            q.mean.flatten(1),
            model.standardize(q.mean, batch.c).flatten(1),
            q.variance.sqrt().flatten(1),
            _unit_kl(trace, model),
            torch.stack(kl, 1) if len(kl) > 1 else None,
            first.index if isinstance(first, CodebookPoint) else None,
        )

    return PassResult(*map_batches(one_pass, model, load, batches, seed=seed, purpose="evaluate"))


def _level_kl(trace: Trace, level: Level, provides: frozenset[str]) -> Tensor | None:
    """Return the KL divergence of a level, with shape (B); None for a deterministic posterior."""
    if "density" not in provides and analytic_kl(level.q, level.p) is None:
        return None
    return trace.expect(level.kl)


def _unit_kl(trace: Trace, model: LatentModel) -> Tensor | None:
    """Return the KL divergence of each unit, with shape (B, D), or None.

    It is None if it has no closed form, or if the units depend on the class.

    For a prior that is fitted after training, this is the KL divergence from the standard normal
    distribution, with which the model is trained.
    """
    if trace.weights is not None:  # each class has its own units
        return None
    pairs = [(base_distribution(level.q), base_distribution(level.p)) for level in trace.levels]
    if isinstance(model.prior, ExPostPrior):
        pairs = [(pairs[0][0], base_distribution(standard_normal(model.prior.zero)))]
    kl = [analytic_kl(q, p) for q, p in pairs]
    n = len(trace.x)
    units = [nats.reshape(n, -1) for nats in kl if nats is not None and nats.dim() > 1]
    return torch.cat(units, 1) if len(units) == len(kl) else None


def log_likelihood(
    model: LatentModel, load: Load, batches: Iterable[Batch], *, samples: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    r"""Return the importance-weighted bound and the effective sample size for each example.

    .. math:: \log \frac1K \sum_k \frac{p(x, z_k)}{q(z_k \mid x)}, \qquad z_k \sim q(z \mid x)

    Exactly K samples are drawn, in chunks that fit in memory. A model that enumerates classes draws
    K samples for each class.

    References:
        Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519

    Arguments:
        model: The model. It is not changed, and neither is PyTorch's random state.
        load: Maps stored rows to model inputs.
        batches: The examples, iterated over once.
        samples: The number K of samples for each example.
        seed: The seed for the samples.

    Returns:
        A lower bound on log p(x), in nats, with shape (N); and the effective sample size
        :math:`(\sum_k w_k)^2 / \sum_k w_k^2`, between 1 and K, with shape (N).
    """

    def bound(batch: Batch) -> tuple[Tensor, Tensor]:
        x = batch.x
        most = CPU_CHUNK if x.device.type == "cpu" else CHUNK
        chunk = max(1, most // (x.numel() * model.params_per_element))
        log_sum, log_sum_of_squares = x.new_full((2, len(x)), -math.inf).unbind()
        n_weights = 0
        for start in range(0, samples, chunk):
            log_w = model(x, batch.c, batch.mask, min(chunk, samples - start)).log_weight
            n_weights += len(log_w)  # exceeds the number of samples if classes are enumerated
            log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
            log_sum_of_squares = torch.logaddexp(log_sum_of_squares, (2 * log_w).logsumexp(0))
        return log_sum - math.log(n_weights), (2 * log_sum - log_sum_of_squares).exp()

    nats, size = map_batches(bound, model, load, batches, seed=seed, purpose="importance")
    return nats, size


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on a dataset, usually held-out data; likelihoods are in nats.

    Arguments:
        n: The number of examples.
        likelihood: The name of p(x | z). Only values for the same likelihood are comparable.
        elbo: The ELBO, -(reconstruction + kl), with a KL weight of 1; None if the posterior has no
            density.
        reconstruction: The reconstruction loss -log p(x | z).
        kl: The KL divergence KL(q(z | x) || p(z)); None if the posterior has no density.
        active_units: The number of latent units that depend on the data.
        log_likelihood: The importance-weighted bound; None if it was not computed.
        latent_dim: The number of latent units.
        kl_by_unit: The KL of each unit; None if it has no closed form, or if the units depend on
            the class.
        active_by_unit: Whether each unit is active.
        dimensions: The number of elements of an example.
        kl_by_level: The KL of each level, from the bottom level up; None for a single level.
        codebook_size: The number of codes; 0 without a codebook.
        codebook_usage: The fraction of the codes that are used.
        codebook_perplexity: The number of equally frequent codes that would have the same entropy.
        importance_samples: The number of importance samples for each example; 0 if
            ``log_likelihood`` is None.
        effective_sample_size: The mean effective sample size of the importance weights; NaN if
            ``log_likelihood`` is None.
    """

    n: int
    likelihood: str
    elbo: Estimate | None
    reconstruction: Estimate
    kl: Estimate | None
    active_units: Estimate
    log_likelihood: Estimate | None
    latent_dim: int
    kl_by_unit: tuple[float, ...] | None
    active_by_unit: tuple[bool, ...]
    dimensions: int
    kl_by_level: tuple[float, ...] | None = None
    codebook_size: int = 0
    codebook_usage: float = 0.0
    codebook_perplexity: float = 0.0
    importance_samples: int = 0
    effective_sample_size: float = math.nan

    @property
    def warnings(self) -> list[str]:
        """Warnings about the model and about the reliability of the metrics."""
        size, samples = self.effective_sample_size, self.importance_samples
        warnings: list[str | None] = [negative_kl_warning(self.kl)]
        if self.codebook_size:
            warnings.append(unused_codes_warning(self.codebook_usage, self.codebook_size))
        elif self.kl is not None:
            warnings.append(collapse_warning(self.active_units.value, self.latent_dim))
        warnings.append(collapsed_levels_warning(self.kl_by_level or ()))
        if samples and not self.codebook_size and size < max(2.0, 0.002 * samples):
            warnings.append(
                f"The importance weights are degenerate: {size:.1f} effective samples of "
                f"{samples}; use more samples, or rely on the ELBO alone."
            )
        return [text for text in warnings if text]

    def _repr_html_(self) -> str:
        """Return the metrics as a table, for notebooks."""
        rows = metric_rows(self.to_json())
        return html_table(("", f"{self.likelihood} likelihood, {self.n:,} examples", ""), rows)

    def to_json(self) -> dict[str, object]:
        """Return JSON-serializable values; the standard error of X has the key X_error."""
        values: dict[str, object] = {"n": self.n, "likelihood": self.likelihood, "unit": "nats"}
        for name in ESTIMATES:
            estimate: Estimate | None = getattr(self, name)
            values[name] = None if estimate is None else estimate.value
            values[f"{name}_error"] = None if estimate is None else estimate.error
        rest = {key: value for key, value in vars(self).items() if key not in values}
        return values | rest | {"warnings": self.warnings}


def evaluate(
    model: LatentModel,
    load: Load,
    batches: Iterable[Batch],
    *,
    likelihood: str = "",
    samples: int = 0,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on examples on which it was not trained.

    Arguments:
        model: The model. It is not changed, and neither is PyTorch's random state.
        load: Maps stored rows to model inputs.
        batches: The examples. They are collected in a list, since importance sampling requires a
            second pass.
        likelihood: The name of the likelihood.
        samples: The number of importance samples for the log-likelihood; 0 to skip the estimate.
        seed: The seed for the samples.
    """
    batches = list(batches)
    result = forward_pass(model, load, batches, seed=seed)
    weighted, size = None, math.nan
    # The posterior of a discrete code is deterministic, so all its samples are the same.
    samples = min(samples, 1) if model.num_codes else samples
    if samples and result.kl is not None:
        bound, sizes = log_likelihood(model, load, batches, samples=samples, seed=seed)
        weighted, size = Estimate.of(bound), float(sizes.mean())
    usage, perplexity = 0.0, 0.0
    if result.code_indices is not None:
        usage, perplexity = code_usage(result.code_indices, model.num_codes)
    return Evaluation(
        n=len(result.reconstruction),
        likelihood=likelihood,
        elbo=None if result.kl is None else Estimate.of(-result.reconstruction - result.kl),
        reconstruction=Estimate.of(result.reconstruction),
        kl=None if result.kl is None else Estimate.of(result.kl),
        active_units=active_units(result.deviation),
        log_likelihood=weighted,
        latent_dim=result.mean.shape[1],
        kl_by_unit=_column_means(result.kl_by_unit),
        active_by_unit=tuple(is_active(result.deviation).tolist()),
        dimensions=math.prod(model.event_shape),
        kl_by_level=_column_means(result.kl_by_level),
        codebook_size=model.num_codes,
        codebook_usage=usage,
        codebook_perplexity=perplexity,
        importance_samples=samples if weighted is not None else 0,
        effective_sample_size=size,
    )


def _column_means(values: Tensor | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values.mean(0).tolist())
