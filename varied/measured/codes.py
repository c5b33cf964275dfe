"""What the codes hold: how many units are used, how they fit the prior, what can be read off."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from varied.evaluate import Estimate
from varied.evaluate.aggregates import PRODUCTS, aggregate, c2st
from varied.evaluate.disentanglement import scores
from varied.evaluate.measure import Measure, Section
from varied.evaluate.probes import probe
from varied.measured.here import Here
from varied.priors import StandardNormal
from varied.randomness import noise

__all__ = ["factors", "labels", "latent"]

#: Draws, rows and units that are held against each other at most: half a minute on one thread.
PRODUCT = 2**31

#: Which lesson defines a score of factors.
LESSONS = {
    "mig": "mig",
    "sap": "sap",
    "disentanglement": "dci",
    "completeness": "dci",
    "informativeness": "dci",
    "factor_vae": "vote-scores",
    "beta_vae": "vote-scores",
    "modularity": "modularity",
    "explicitness": "modularity",
}


def latent(here: Here) -> Iterator[Section]:
    """Yield what the latent space holds."""
    found, note = here.found, f"{len(here.test):,} test rows"
    active = Measure(
        "active units", found.active_units, "", "", f"of {found.latent}", "active-units"
    )
    measures, warnings = [active], list[str]()
    if found.codes:
        used, of = Estimate(100 * found.used, math.nan, found.n), f"of {found.codes}"
        spoken = Estimate(found.perplexity, math.nan, found.n)
        measures.append(Measure("codes in use", used, "%", "higher", of, "codebook"))
        measures.append(Measure("perplexity of codes", spoken, "", "higher", of, "codebook"))
    if _normal(here):
        more, warnings = _together(here)
        measures += more
    yield Section("The latent space", note, measures, warnings)


def _normal(here: Here) -> bool:
    """Whether posteriors are normal, unit by unit, and the prior is the standard normal."""
    model = here.run.model
    plain = isinstance(getattr(model, "prior", None), StandardNormal)
    return plain and "marginals" in model.gives and here.found.kl_by_unit is not None


def _together(here: Here) -> tuple[list[Measure], list[str]]:
    mean, spread = here.codes.mean, here.codes.spread
    units, lesson = mean.shape[1], "aggregate-posterior"
    draws = max(100, min(len(mean), PRODUCT // (len(mean) * units)))
    found = aggregate(mean, spread, draws=min(draws, len(mean)), seed=here.seed)
    with noise(here.seed, "measured", 1):
        drawn, others = mean + spread * torch.randn_like(mean), torch.randn_like(mean)
    kind = "quadratic" if units <= PRODUCTS else "linear"
    told = c2st(drawn, others, kind=kind, seed=here.seed)
    most = f"at most log N = {found.ceiling:.2f}"
    measures = [
        Measure("mutual information with the data", found.information, "nats", "", most, lesson),
        Measure("KL of the aggregate posterior", found.marginal, "nats", "lower", "", lesson),
        Measure("total correlation", found.total_correlation, "nats", "lower", "", lesson),
        Measure("aggregate told from prior", told, "", "lower", "0.5 where they are alike", lesson),
    ]
    return measures, found.warnings


def labels(here: Here) -> Iterator[Section]:
    """Yield how well labels are read off the codes, and off the data."""
    known, mean = here.test.labels, here.codes.mean
    if known is None or known.ndim > 1:
        return
    raw, measures = here.plain(here.test).flatten(1), []
    for kind in ("linear", "neighbours"):
        found = probe(mean, known, kind=kind, raw=raw, seed=here.seed)
        beside = f"raw data {found.raw}; chance {found.chance:.2f}"
        name = f"{found.measure}, {kind} probe"
        measures.append(Measure(name, found.score, "", "higher", beside, "probe"))
    note = f"{len(mean):,} test rows, a fifth of them to test on"
    yield Section("Labels, read off the codes", note, measures)


def factors(here: Here) -> Iterator[Section]:
    """Yield how well single units stand for known factors."""
    known = here.test.labels
    if known is None or known.ndim != 2:
        return
    found = scores(here.codes.mean, known, seed=here.seed)
    measures = [
        Measure(name.replace("_", "-"), one, "", "higher", "", LESSONS[name])
        for name, one in found.items()
    ]
    note = f"{len(known):,} test rows, {known.shape[1]} factors"
    yield Section("Factors, read off single units", note, measures)
