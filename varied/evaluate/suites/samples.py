"""The similarity of reconstructions to their originals, and the similarity of samples to data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from varied import functional
from varied.evaluate import (
    Estimate,
    c2st_auroc,
    frechet,
    memorization,
    prdc,
    psnr,
    sharpness,
    ssim,
)
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.suites.context import EvalContext

#: The maximum numbers of rows to reconstruct and of training rows that are searched for copies.
RECONSTRUCTED, MAX_SEARCHED = 1000, 60_000
#: The topics of `varied explain` that define the metrics of nearest neighbors.
TOPICS = {
    "precision": "precision-recall",
    "recall": "precision-recall",
    "density": "density-coverage",
    "coverage": "density-coverage",
}


def reconstruction_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the similarity between images and their reconstructions."""
    if not context.is_image:
        return
    data = context.test.take(np.arange(min(len(context.test), RECONSTRUCTED)))
    x, c = context.model_input(data), context.run.encode_data(data).c
    reconstructed = functional.reconstruct(context.run.model, x, c)
    reference = f"data {sharpness(x)}"
    metrics = [
        Metric("SSIM", ssim(reconstructed, x), better="higher", topic="ssim"),
        Metric("PSNR", psnr(reconstructed, x), "dB", "higher", topic="psnr"),
        Metric("sharpness", sharpness(reconstructed), reference=reference, topic="sharpness"),
    ]
    yield MetricGroup("Reconstructions", f"{len(x):,} test rows, as model inputs", metrics)


def sample_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the similarity between samples and data, with training rows as the reference."""
    real = context.test_features
    generated = context.sample_features[: len(real)]
    train, searched = (
        context.extract(context.raw(context.complete(rows)))
        for rows in (context.train, context.rows("train", MAX_SEARCHED))
    )
    train = train[: len(real)]
    distance = Estimate(frechet(generated, real), math.nan, len(generated))
    of_samples, of_train = (prdc(real, rows, seed=context.seed) for rows in (generated, train))
    copies = memorization(generated, searched, real, seed=context.seed)
    test = copies.near_duplicates
    expected = f"{test.expected:.3f} without copies among {len(searched):,} training rows"
    auroc = c2st_auroc(real, generated, seed=context.seed)
    reference = f"training rows {frechet(train, real):.3g}"
    metrics = [
        Metric("Fréchet distance", distance, "", "lower", reference, "frechet-distance"),
        *(
            Metric(
                name,
                getattr(of_samples, name),
                *("", "higher", f"training rows {getattr(of_train, name)}", topic),
            )
            for name, topic in TOPICS.items()
        ),
        Metric("C2ST AUROC, samples vs test", auroc, "", "lower", "chance level 0.5", "c2st"),
        Metric("near-duplicate rate", test.share, "", "lower", expected, "memorization"),
    ]
    if context.is_image:
        of_data = f"data {sharpness(context.raw(context.test))}"
        value = sharpness(context.samples)
        metrics.append(Metric("sharpness", value, reference=of_data, topic="sharpness"))
    note = f"{len(generated):,} samples and as many test rows; features: {context.extractor.name}"
    if n_incomplete := len(context.test) - len(real):
        note += f"; {n_incomplete:,} test rows with missing values are omitted"
    warnings = [copies.warning] if copies.warning else []
    yield MetricGroup("Samples", note, metrics, warnings, context.extractor.fingerprint)
