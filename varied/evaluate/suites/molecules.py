"""The reconstruction of molecules, and the similarity of generated molecules to real ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from varied import functional
from varied.evaluate.estimate import Estimate
from varied.evaluate.metric import Metric, MetricGroup
from varied.evaluate.molecule_sets import (
    MoleculeSet,
    compare_molecules,
    is_chemnet_available,
    unique_fraction,
)
from varied.evaluate.molecules import (
    exact_reconstruction,
    generated_molecules,
    property_distances,
)
from varied.evaluate.suites.context import EvalContext

TOPIC = "molecules"
#: The number of valid samples among which the unique ones are also counted.
_K = 1000


def molecule_suite(context: EvalContext) -> Iterator[MetricGroup]:
    """Yield the fractions of exact reconstructions, and of valid, unique and novel samples.

    The properties and structures of the samples are compared with test molecules. The reference
    values are computed from the same number of training molecules.
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
        Metric(
            f"unique of {_K:,} samples",
            unique_fraction(samples.tolist(), _K),
            "",
            "higher",
            topic=TOPIC,
        ),
        Metric("unique samples", generated.unique, "", "higher", topic=TOPIC),
        Metric("novel samples", generated.novel, "", "", topic=TOPIC),
    ]
    training = context.rows("train", len(test)).x
    of_training = property_distances(codec.properties(training), real)
    for name, distance in property_distances(codec.properties(samples), real).items():
        metrics.append(
            _metric(f"distance of {name}", distance, of_training[name], len(samples), "std")
        )
    note = f"{len(test):,} test molecules and {len(samples):,} samples"
    yield MetricGroup("Molecules", note, metrics)
    yield _structure(samples.tolist(), training.tolist(), test.x.tolist())


def _structure(samples: list[str], training: list[str], test: list[str]) -> MetricGroup:
    """Return the structure metrics of samples, with training molecules as the reference."""
    generated, reference = MoleculeSet(samples), MoleculeSet(training[: len(samples)])
    real = MoleculeSet(test)
    of_training = compare_molecules(reference, real)
    metrics = [
        _metric(name, value, of_training[name], len(generated.smiles))
        for name, value in compare_molecules(generated, real).items()
    ]
    note = "SNN, fragments, scaffolds and FCD compare samples with test molecules"
    if not is_chemnet_available():
        note += "; FCD requires `pip install fcd_torch`"
    return MetricGroup("Structure of molecules", note, metrics)


def _metric(name: str, value: float, reference: float, n: int, unit: str = "") -> Metric:
    is_distance = bool(unit) or name == "FCD"
    return Metric(
        name,
        Estimate(value, math.nan, n),
        unit,
        "lower" if is_distance else "higher",
        f"training rows {reference:.3f}",
        topic=TOPIC,
    )
