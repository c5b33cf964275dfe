"""The latent space: active units, the aggregate posterior, probes and disentanglement."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from varied.evaluate.aggregate_posterior import aggregate_posterior
from varied.evaluate.c2st import MAX_QUADRATIC, c2st
from varied.evaluate.disentanglement import scores
from varied.evaluate.estimate import Estimate
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.probes import probe
from varied.evaluate.suites.context import EvalContext
from varied.priors import ConditionalNormal, GaussianMixture, Prior, StandardNormal
from varied.seeding import seeded

#: The maximum product of the numbers of samples, rows and units for the aggregate posterior; this
#: maximum takes half a minute on one thread.
MAX_PRODUCT = 2**31

#: The topics of `varied explain` that define the disentanglement scores.
TOPICS = {
    "mig": "mig",
    "sap": "sap",
    "disentanglement": "dci",
    "completeness": "dci",
    "informativeness": "dci",
    "factor_vae": "factor-vae-score",
    "beta_vae": "factor-vae-score",
    "modularity": "modularity",
    "explicitness": "modularity",
}


def latent_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield properties of the latent space."""
    result, warnings = context.evaluation, list[str]()
    of_units = f"of {result.latent_dim}"
    metrics = [
        Metric("active units", result.active_units, reference=of_units, topic="active-units")
    ]
    if result.codebook_size:
        of_codes = f"of {result.codebook_size}"
        usage = Estimate(100 * result.codebook_usage, math.nan, result.n)
        perplexity = Estimate(result.codebook_perplexity, math.nan, result.n)
        metrics += [
            Metric("codebook usage", usage, "%", "higher", of_codes, "codebook"),
            Metric("codebook perplexity", perplexity, "", "higher", of_codes, "codebook"),
        ]
    model = context.run.model
    is_gaussian = "density" in model.provides and result.kl_by_unit is not None
    if is_gaussian and isinstance(
        model.prior, StandardNormal | GaussianMixture | ConditionalNormal
    ):
        aggregate_metrics, warnings = _aggregate_metrics(context, model.prior)
        metrics += aggregate_metrics
    yield MetricGroup("Latent space", f"{len(context.test):,} test rows", metrics, warnings)


def _aggregate_metrics(context: EvalContext, prior: Prior) -> tuple[list[Metric], list[str]]:
    """Return metrics of the aggregate posterior, and warnings."""
    if isinstance(prior, ConditionalNormal):
        c = context.run.encode_data(context.test).c
        assert c is not None, "the prior depends on the context"
        p = prior.marginal(c)
    else:
        p = prior(None)
    mean, std = context.codes.mean, context.codes.std
    (n, units), topic = mean.shape, "aggregate-posterior"
    n_samples = min(n, max(100, min(n, MAX_PRODUCT // (n * units))))

    def log_prior(z: Tensor) -> Tensor:
        log_prob: Tensor = p.log_prob(z.float().view(-1, *prior.event_shape))
        return log_prob.double()

    options = {} if isinstance(prior, StandardNormal) else {"log_prior": log_prior}
    result = aggregate_posterior(mean, std, n_samples=n_samples, seed=context.seed, **options)
    with seeded(context.seed, "measured", 1):
        posterior = mean + std * torch.randn_like(mean)
        samples = p.sample((n,)).flatten(1)
    kind = "quadratic" if units <= MAX_QUADRATIC else "linear"
    accuracy = c2st(posterior, samples.to(posterior), kind=kind, seed=context.seed)
    maximum = f"at most log N = {result.max_information:.2f}"
    chance = "chance level 0.5"
    metrics = [
        Metric("I(x; z), index-code MI", result.mutual_information, "nats", "", maximum, topic),
        Metric("KL of the aggregate posterior", result.marginal_kl, "nats", "lower", "", topic),
        Metric("total correlation", result.total_correlation, "nats", "lower", "", topic),
        Metric("C2ST accuracy, q(z) vs p(z)", accuracy, "", "lower", chance, topic),
    ]
    return metrics, result.warnings


def probing_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield scores for predicting labels from the codes and from the raw data."""
    labels, mean = context.test.labels, context.codes.mean
    if labels is None or labels.ndim > 1:
        return
    raw, metrics = context.raw(context.test).flatten(1), []
    for kind in ("linear", "neighbors"):
        result = probe(mean, labels, kind=kind, raw=raw, seed=context.seed)
        reference = f"raw data {result.raw}; chance level {result.chance:.2f}"
        name = f"{result.metric}, {kind} probe"
        metrics.append(Metric(name, result.score, "", "higher", reference, "probe"))
    note = f"{len(mean):,} test rows; the probe is tested on a fifth of them"
    yield MetricGroup("Probing", note, metrics)


def disentanglement_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield scores that measure how well individual units represent known factors."""
    factors = context.test.labels
    if factors is None or factors.ndim != 2:
        return
    values = scores(context.codes.mean, factors, seed=context.seed)
    metrics = [
        Metric(name.replace("_", "-"), score, better="higher", topic=TOPICS[name])
        for name, score in values.items()
    ]
    note = f"{len(factors):,} test rows, {factors.shape[1]} factors"
    yield MetricGroup("Disentanglement", note, metrics)
