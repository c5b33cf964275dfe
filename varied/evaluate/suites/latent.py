"""What the codes hold: how many units are used, how they fit the prior, what can be read off."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from varied.evaluate import Estimate
from varied.evaluate.aggregate_posterior import PRODUCTS, aggregate_posterior, c2st
from varied.evaluate.disentanglement import scores
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.probes import probe
from varied.evaluate.suites.context import EvalContext
from varied.priors import StandardNormal
from varied.seeding import seeded

__all__ = ["disentanglement_suite", "latent_suite", "probing_suite"]

#: Draws, rows and units that are held against each other at most: half a minute on one thread.
PRODUCT = 2**31

#: Which lesson defines a score of factors.
LESSONS = {
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


def latent_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield what the latent space holds."""
    found, note = here.found, f"{len(here.test):,} test rows"
    active = Metric(
        "active units", found.active_units, "", "", f"of {found.latent}", "active-units"
    )
    measures, warnings = [active], list[str]()
    if found.codes:
        used, of = Estimate(100 * found.used, math.nan, found.n), f"of {found.codes}"
        spoken = Estimate(found.perplexity, math.nan, found.n)
        measures.append(Metric("codebook usage", used, "%", "higher", of, "codebook"))
        measures.append(Metric("codebook perplexity", spoken, "", "higher", of, "codebook"))
    if _normal(here):
        more, warnings = _together(here)
        measures += more
    yield MetricGroup("Latent space", note, measures, warnings)


def _normal(here: EvalContext) -> bool:
    """Whether posteriors are normal, unit by unit, and the prior is the standard normal."""
    model = here.run.model
    plain = isinstance(getattr(model, "prior", None), StandardNormal)
    return plain and "marginals" in model.provides and here.found.kl_by_unit is not None


def _together(here: EvalContext) -> tuple[list[Metric], list[str]]:
    mean, spread = here.codes.mean, here.codes.std
    units, lesson = mean.shape[1], "aggregate-posterior"
    draws = max(100, min(len(mean), PRODUCT // (len(mean) * units)))
    found = aggregate_posterior(mean, spread, draws=min(draws, len(mean)), seed=here.seed)
    with seeded(here.seed, "measured", 1):
        drawn, others = mean + spread * torch.randn_like(mean), torch.randn_like(mean)
    kind = "quadratic" if units <= PRODUCTS else "linear"
    told = c2st(drawn, others, kind=kind, seed=here.seed)
    most = f"at most log N = {found.ceiling:.2f}"
    measures = [
        Metric("I(x; z), index-code MI", found.information, "nats", "", most, lesson),
        Metric("KL of the aggregate posterior", found.marginal, "nats", "lower", "", lesson),
        Metric("total correlation", found.total_correlation, "nats", "lower", "", lesson),
        Metric(
            "C2ST accuracy, q(z) vs p(z)", told, "", "lower", "0.5 where they are alike", lesson
        ),
    ]
    return measures, found.warnings


def probing_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield how well labels are read off the codes, and off the data."""
    known, mean = here.test.labels, here.codes.mean
    if known is None or known.ndim > 1:
        return
    raw, measures = here.plain(here.test).flatten(1), []
    for kind in ("linear", "neighbors"):
        found = probe(mean, known, kind=kind, raw=raw, seed=here.seed)
        beside = f"raw data {found.raw}; chance {found.chance:.2f}"
        name = f"{found.measure}, {kind} probe"
        measures.append(Metric(name, found.score, "", "higher", beside, "probe"))
    note = f"{len(mean):,} test rows, a fifth of them to test on"
    yield MetricGroup("Probing", note, measures)


def disentanglement_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield how well single units stand for known factors."""
    known = here.test.labels
    if known is None or known.ndim != 2:
        return
    found = scores(here.codes.mean, known, seed=here.seed)
    measures = [
        Metric(name.replace("_", "-"), one, "", "higher", "", LESSONS[name])
        for name, one in found.items()
    ]
    note = f"{len(known):,} test rows, {known.shape[1]} factors"
    yield MetricGroup("Disentanglement", note, measures)
