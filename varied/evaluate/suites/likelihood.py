"""How likely the data are: the ELBO, and log p(x) by importance samples and by annealing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from varied.evaluate import Estimate, Evaluation
from varied.evaluate.ais import ais, bdmc
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.context import EvalContext
from varied.priors import FlowMatching

__all__ = ["ais_suite", "elbo_suite", "iwae_suite"]

#: Rows, and importance samples of each.
WEIGHTED, SAMPLES = 500, 500
#: Rows of annealing, and how it is done.
ANNEALED = 20
PLAN: dict[str, Any] = {"chains": 8, "steps": 200, "leaps": 5}

#: What a bit of each likelihood is a bit of.
COUNTED = {
    "bernoulli": "of black and white; no figure of gray levels",
    "discretized-logistic": "of 256 levels, counted exactly; nothing was dequantized",
    "discretized-logistic-mixture": "of 256 levels, counted exactly; nothing was dequantized",
    "categorical": "of levels, counted exactly",
}
DENSITY = "of a density: no figure of levels compares"


def elbo_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield the ELBO and its parts."""
    found = here.found
    measures = [
        Metric("reconstruction", found.reconstruction, "nats", "lower", "", "reconstruction")
    ]
    if found.elbo is not None and found.kl is not None:
        counted = COUNTED.get(here.run.spec.likelihood.name, DENSITY)
        measures = [
            Metric("-ELBO", -found.elbo, "nats", "lower", "", "elbo"),
            *measures,
            Metric("KL", found.kl, "nats", "", "", "kl"),
        ]
        if not here.table:  # whose columns are no dimensions of one kind
            bits, lesson = _bits(found), "bits-per-dimension"
            measures.append(Metric("bits per dimension", bits, "bits", "lower", counted, lesson))
    yield MetricGroup("ELBO", f"{found.n:,} test rows", measures, found.warnings)


def _bits(found: Evaluation) -> Estimate:
    assert found.elbo is not None
    scale = found.dimensions * math.log(2)
    return Estimate(-found.elbo.value / scale, found.elbo.error / scale, found.elbo.n)


def iwae_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield log p(x) by importance samples."""
    if here.found.elbo is None or slow(here):
        return
    one = here.run.evaluate(here.some("test", WEIGHTED), samples=SAMPLES)
    if one.log_likelihood is None or one.elbo is None:
        return
    name = f"-log p(x), {one.samples} importance samples"
    beside = f"-ELBO {-one.elbo}; {one.effective:.1f} effective samples"
    lesson = "importance-weighted-bound"
    measures = [Metric(name, -one.log_likelihood, "nats", "lower", beside, lesson)]
    more = [text for text in one.warnings if text not in here.found.warnings]
    yield MetricGroup("NLL by importance sampling", f"{one.n:,} test rows", measures, more)


def slow(here: EvalContext) -> bool:
    """Whether the density of the prior takes an integral: hundreds of draws are too dear."""
    return isinstance(getattr(here.run.model, "prior", None), FlowMatching)


def ais_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield log p(x) by annealing, and how wrong it is on data of the model."""
    if here.found.elbo is None or slow(here) or here.found.codes:
        return
    run, items = here.run, here.some("test", ANNEALED)
    plan = PLAN | {"seed": here.seed}
    found = ais(run.model, run.codec.load, here.batches(items), **plan)
    both = bdmc(run.model, n=ANNEALED, context=run.contexts(ANNEALED), **plan)
    one = run.evaluate(items, samples=SAMPLES)
    assert one.log_likelihood is not None
    beside = f"by importance samples {-one.log_likelihood}"
    lesson = "annealed-importance-sampling"
    measures = [
        Metric("NLL, AIS", -found.log_likelihood, "nats", "lower", beside, lesson),
        Metric("BDMC gap", both.gap, "nats", "lower", "simulated data", lesson),
    ]
    note = f"{one.n} test rows, {PLAN['chains']} chains, {PLAN['steps']} temperatures"
    yield MetricGroup("NLL by annealed importance sampling", note, measures)
