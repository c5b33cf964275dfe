"""The ELBO, and log p(x) by importance sampling and by annealed importance sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from varied.evaluate.ais import ais, bdmc
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.context import EvalContext
from varied.priors import FlowMatching

#: The number of rows, and the number of importance samples for each row.
IWAE_ROWS, IWAE_SAMPLES = 500, 500
#: The number of rows for annealed importance sampling, and its settings.
AIS_ROWS = 20
AIS_SETTINGS: dict[str, Any] = {"chains": 8, "steps": 200, "leapfrog_steps": 5}

#: The kind of data to which bits per dimension refer, by likelihood.
ENCODED = {
    "bernoulli": "for binary pixels; not comparable with gray levels",
    "discretized-logistic": "for 256 levels, without dequantization",
    "discretized-logistic-mixture": "for 256 levels, without dequantization",
    "categorical": "for discrete levels",
}
DENSITY = "for a density; not comparable with discrete levels"


def elbo_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the ELBO and its terms."""
    result = context.evaluation
    metrics = [
        Metric("reconstruction", result.reconstruction, "nats", "lower", topic="reconstruction")
    ]
    if result.elbo is not None and result.kl is not None:
        metrics.insert(0, Metric("-ELBO", -result.elbo, "nats", "lower", topic="elbo"))
        metrics.append(Metric("KL", result.kl, "nats", topic="kl"))
        is_complete = context.run.encode_data(context.test).mask is None
        # Columns of different types have no common dimension, and most positions after the end of a
        # sequence of tokens are certain.
        has_dimensions = not context.is_table and context.run.codec.domain != "one-hot"
        if is_complete and has_dimensions:
            bits = -result.elbo * (1 / (result.dimensions * math.log(2)))
            encoded = ENCODED.get(context.run.spec.likelihood.name, DENSITY)
            metrics.append(
                Metric("bits per dimension", bits, "bits", "lower", encoded, "bits-per-dimension")
            )
    yield MetricGroup("ELBO", f"{result.n:,} test rows", metrics, result.warnings)


def iwae_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the negative log-likelihood, -log p(x), estimated by importance sampling."""
    if context.evaluation.elbo is None or _has_slow_prior(context):
        return
    result = context.run.evaluate(context.rows("test", IWAE_ROWS), samples=IWAE_SAMPLES)
    if result.log_likelihood is None or result.elbo is None:
        return
    reference = f"-ELBO {-result.elbo}; {result.effective_sample_size:.1f} effective samples"
    metric = Metric(
        f"NLL (IWAE, K = {result.importance_samples})",
        -result.log_likelihood,
        *("nats", "lower", reference, "importance-weighted-bound"),
    )
    warnings = [text for text in result.warnings if text not in context.evaluation.warnings]
    note = f"{result.n:,} test rows"
    yield MetricGroup("NLL by importance sampling", note, [metric], warnings)


def ais_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the NLL estimated by annealed importance sampling, and the gap measured by `bdmc`."""
    evaluation = context.evaluation
    if evaluation.elbo is None or _has_slow_prior(context) or evaluation.codebook_size:
        return
    run, data = context.run, context.rows("test", AIS_ROWS)
    settings = AIS_SETTINGS | {"seed": context.seed}
    annealed = ais(run.model, run.codec.load, context.batches(data), **settings)
    bounds = bdmc(run.model, n=AIS_ROWS, context=run.contexts(AIS_ROWS), **settings)
    weighted = run.evaluate(data, samples=IWAE_SAMPLES)
    assert weighted.log_likelihood is not None
    reference, topic = f"IWAE {-weighted.log_likelihood}", "annealed-importance-sampling"
    metrics = [
        Metric("NLL (AIS)", -annealed.log_likelihood, "nats", "lower", reference, topic),
        Metric("BDMC gap", bounds.gap, "nats", "lower", "simulated data", topic),
    ]
    note = f"{weighted.n} test rows, {settings['chains']} chains, {settings['steps']} temperatures"
    yield MetricGroup("NLL by annealed importance sampling", note, metrics)


def _has_slow_prior(context: EvalContext) -> bool:
    """Return whether the density of the prior requires solving an ODE, which is slow."""
    return isinstance(context.run.model.prior, FlowMatching)
