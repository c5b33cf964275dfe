"""How like the data are what is rebuilt, and what is made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from varied import uses
from varied.evaluate import Estimate, frechet, sharpness
from varied.evaluate.downstream import distinguish
from varied.evaluate.likeness import psnr, ssim
from varied.evaluate.measure import Measure, Section
from varied.evaluate.neighbours import copies, prdc
from varied.measured.here import Here

__all__ = ["reconstructions", "samples"]

#: Rows that are rebuilt, and training rows among which copies are looked for.
REBUILT, KNOWN = 1000, 60_000


def reconstructions(here: Here) -> Iterator[Section]:
    """Yield how like pictures their reconstructions are."""
    if not here.pictures:
        return
    items = here.test.take(np.arange(min(len(here.test), REBUILT)))
    x, c = here.seen(items), here.run.stored(items).c
    made = uses.reconstruct(here.run.model, x, c)
    measures = [
        Measure("SSIM", ssim(made, x), "", "higher", "", "ssim"),
        Measure("PSNR", psnr(made, x), "dB", "higher", "", "psnr"),
        Measure("sharpness", sharpness(made), "", "", f"data {sharpness(x)}", "sharpness"),
    ]
    yield Section("Reconstructions", f"{len(x):,} test rows, as the model sees them", measures)


def samples(here: Here) -> Iterator[Section]:
    """Yield how like data samples are; beside each figure, that of training rows."""
    real, made = here.by(here.plain(here.test)), here.by(here.made)
    others = here.by(here.plain(here.train))[: len(real)]
    known = here.by(here.plain(here.some("train", KNOWN)))
    near, floor = (prdc(real, rows, seed=here.seed) for rows in (made, others))
    far = Estimate(frechet(made, real), math.nan, len(made))
    train = f"training rows {frechet(others, real):.3g}"
    twins = copies(made, known, real, seed=here.seed)
    expected = f"{twins.expected:.3f} where none of {len(known):,} rows is copied"
    apart = distinguish(real, made, seed=here.seed)
    measures = [Measure("Fréchet distance", far, "", "lower", train, "frechet-distance")]
    for name in ("precision", "recall", "density", "coverage"):
        lesson = "precision-recall" if name in ("precision", "recall") else "density-coverage"
        beside = f"training rows {getattr(floor, name)}"
        measures.append(Measure(name, getattr(near, name), "", "higher", beside, lesson))
    alike = "0.5 where they are alike"
    measures += [
        Measure("told from test rows, AUROC", apart, "", "lower", alike, "told-apart"),
        Measure("close to a training row", twins.share, "", "lower", expected, "copies"),
    ]
    if here.pictures:
        own = f"data {sharpness(here.plain(here.test))}"
        measures.append(Measure("sharpness", sharpness(here.made), "", "", own, "sharpness"))
    note = f"{len(made):,} samples, as many test rows; by: {here.features.name}"
    warnings = [twins.warning] if twins.warning else []
    yield Section("Samples", note, measures, warnings, here.features.fingerprint)
