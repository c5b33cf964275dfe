"""How like the data are what is rebuilt, and what is made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from varied import functional
from varied.evaluate import Estimate, frechet, sharpness
from varied.evaluate.image_similarity import psnr, ssim
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.prdc import memorization, prdc
from varied.evaluate.suites.context import EvalContext
from varied.evaluate.tstr import c2st_auroc

__all__ = ["reconstruction_suite", "sample_suite"]

#: Rows that are rebuilt, and training rows among which copies are looked for.
REBUILT, KNOWN = 1000, 60_000


def reconstruction_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield how like pictures their reconstructions are."""
    if not here.pictures:
        return
    items = here.test.take(np.arange(min(len(here.test), REBUILT)))
    x, c = here.as_model_input(items), here.run.encode_items(items).c
    made = functional.reconstruct(here.run.model, x, c)
    measures = [
        Metric("SSIM", ssim(made, x), "", "higher", "", "ssim"),
        Metric("PSNR", psnr(made, x), "dB", "higher", "", "psnr"),
        Metric("sharpness", sharpness(made), "", "", f"data {sharpness(x)}", "sharpness"),
    ]
    yield MetricGroup("Reconstructions", f"{len(x):,} test rows, as the model sees them", measures)


def sample_suite(here: EvalContext) -> Iterator[MetricGroup]:
    """Yield how like data samples are; beside each figure, that of training rows."""
    real, made = here.by(here.plain(here.test)), here.by(here.made)
    others = here.by(here.plain(here.train))[: len(real)]
    known = here.by(here.plain(here.some("train", KNOWN)))
    near, floor = (prdc(real, rows, seed=here.seed) for rows in (made, others))
    far = Estimate(frechet(made, real), math.nan, len(made))
    train = f"training rows {frechet(others, real):.3g}"
    twins = memorization(made, known, real, seed=here.seed)
    expected = f"{twins.expected:.3f} where none of {len(known):,} rows is copied"
    apart = c2st_auroc(real, made, seed=here.seed)
    measures = [Metric("Fréchet distance", far, "", "lower", train, "frechet-distance")]
    for name in ("precision", "recall", "density", "coverage"):
        lesson = "precision-recall" if name in ("precision", "recall") else "density-coverage"
        beside = f"training rows {getattr(floor, name)}"
        measures.append(Metric(name, getattr(near, name), "", "higher", beside, lesson))
    alike = "0.5 where they are alike"
    measures += [
        Metric("C2ST AUROC, samples vs test", apart, "", "lower", alike, "c2st"),
        Metric("near-duplicate rate", twins.share, "", "lower", expected, "memorization"),
    ]
    if here.pictures:
        own = f"data {sharpness(here.plain(here.test))}"
        measures.append(Metric("sharpness", sharpness(here.made), "", "", own, "sharpness"))
    note = f"{len(made):,} samples, as many test rows; by: {here.features.name}"
    warnings = [twins.warning] if twins.warning else []
    yield MetricGroup("Samples", note, measures, warnings, here.features.fingerprint)
