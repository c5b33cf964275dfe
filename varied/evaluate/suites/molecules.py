"""The reconstruction of molecules, and the similarity of generated molecules to real ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from varied import functional
from varied.evaluate.estimate import Estimate
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.molecules import (
    exact_reconstruction,
    generated_molecules,
    property_distances,
)
from varied.evaluate.suites.context import EvalContext

TOPIC = "molecules"


def molecule_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the fractions of exact reconstructions and of unique and novel samples.

    The distributions of properties are compared with those of test molecules.
    """
    codec, test = context.run.codec, context.test
    real = codec.properties(test.x)
    if not real:
        return
    reconstructed = torch.cat(
        [
            functional.reconstruct(context.run.model, codec.load(batch.x), batch.c)
            for batch in context.batches(test)
        ]
    )
    exact = exact_reconstruction(test.x.tolist(), codec.decode(reconstructed).tolist())
    samples = codec.decode(context.samples)
    generated = generated_molecules(samples.tolist(), context.run.split("train").x.tolist())
    metrics = [
        Metric("exact reconstructions", exact, "", "higher", topic=TOPIC),
        Metric("valid samples", generated.valid, "", "higher", topic=TOPIC),
        Metric("unique samples", generated.unique, "", "higher", topic=TOPIC),
        Metric("novel samples", generated.novel, "", "", topic=TOPIC),
    ]
    training = codec.properties(context.rows("train", len(test)).x)
    of_training = property_distances(training, real)
    for name, distance in property_distances(codec.properties(samples), real).items():
        estimate = Estimate(distance, math.nan, len(samples))
        reference = f"training rows {of_training[name]:.3f}"
        metrics.append(
            Metric(f"distance of {name}", estimate, "std", "lower", reference, topic=TOPIC)
        )
    note = f"{len(test):,} test molecules and {len(samples):,} samples"
    yield MetricGroup("Molecules", note, metrics)
