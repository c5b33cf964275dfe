"""How likely the data are: the ELBO, and log p(x) by importance samples and by annealing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from varied.evaluate import Estimate, Evaluation
from varied.evaluate.annealing import annealed, bidirectional
from varied.evaluate.measure import Measure, Section
from varied.measured.here import Here
from varied.priors import FlowMatching

__all__ = ["annealing", "bound", "weighted"]

#: Rows, and importance samples of each.
WEIGHTED, SAMPLES = 500, 500
#: Rows of annealing, and how it is done.
ANNEALED = 20
PLAN: dict[str, Any] = {"chains": 8, "steps": 200, "leaps": 5}

#: What a bit of each likelihood is a bit of.
COUNTED = {
    "bernoulli": "of black and white; no figure of grey levels",
    "discretized-logistic": "of 256 levels, counted exactly; nothing was dequantized",
    "discretized-logistic-mixture": "of 256 levels, counted exactly; nothing was dequantized",
    "categorical": "of levels, counted exactly",
}
DENSITY = "of a density: no figure of levels compares"


def bound(here: Here) -> Iterator[Section]:
    """Yield the ELBO and its parts."""
    found = here.found
    measures = [
        Measure("reconstruction", found.reconstruction, "nats", "lower", "", "reconstruction")
    ]
    if found.elbo is not None and found.kl is not None:
        counted = COUNTED.get(here.run.spec.likelihood.name, DENSITY)
        measures = [
            Measure("-ELBO", -found.elbo, "nats", "lower", "", "elbo"),
            *measures,
            Measure("KL", found.kl, "nats", "", "", "kl"),
        ]
        if not here.table:  # whose columns are no dimensions of one kind
            bits, lesson = _bits(found), "bits-per-dimension"
            measures.append(Measure("bits per dimension", bits, "bits", "lower", counted, lesson))
    yield Section("The bound", f"{found.n:,} test rows", measures, found.warnings)


def _bits(found: Evaluation) -> Estimate:
    assert found.elbo is not None
    scale = found.dimensions * math.log(2)
    return Estimate(-found.elbo.value / scale, found.elbo.error / scale, found.elbo.n)


def weighted(here: Here) -> Iterator[Section]:
    """Yield log p(x) by importance samples."""
    if here.found.elbo is None or slow(here):
        return
    one = here.run.evaluate(here.some("test", WEIGHTED), samples=SAMPLES)
    if one.log_likelihood is None or one.elbo is None:
        return
    name = f"-log p(x), {one.samples} importance samples"
    beside = f"-ELBO {-one.elbo}; {one.effective:.1f} effective samples"
    lesson = "importance-weighted-bound"
    measures = [Measure(name, -one.log_likelihood, "nats", "lower", beside, lesson)]
    more = [text for text in one.warnings if text not in here.found.warnings]
    yield Section("Closer, by importance samples", f"{one.n:,} test rows", measures, more)


def slow(here: Here) -> bool:
    """Whether the density of the prior takes an integral: hundreds of draws are too dear."""
    return isinstance(getattr(here.run.model, "prior", None), FlowMatching)


def annealing(here: Here) -> Iterator[Section]:
    """Yield log p(x) by annealing, and how wrong it is on data of the model."""
    if here.found.elbo is None or slow(here) or here.found.codes:
        return
    run, items = here.run, here.some("test", ANNEALED)
    plan = PLAN | {"seed": here.seed}
    found = annealed(run.model, run.codec.load, here.batches(items), **plan)
    both = bidirectional(run.model, n=ANNEALED, context=run.contexts(ANNEALED), **plan)
    one = run.evaluate(items, samples=SAMPLES)
    assert one.log_likelihood is not None
    beside = f"by importance samples {-one.log_likelihood}"
    lesson = "annealed-importance-sampling"
    measures = [
        Measure("-log p(x), annealed", -found.log_likelihood, "nats", "lower", beside, lesson),
        Measure("bidirectional gap", both.gap, "nats", "lower", "simulated data", lesson),
    ]
    note = f"{one.n} test rows, {PLAN['chains']} chains, {PLAN['steps']} temperatures"
    yield Section("Closer, by annealing", note, measures)
