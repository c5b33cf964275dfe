"""The registered suites, and the evaluation of runs with all suites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from varied.errors import VariedError
from varied.evaluate.feature_extractors import Extractor
from varied.evaluate.metric import MetricGroup
from varied.evaluate.suites.classification import classification_suite, tstr_suite
from varied.evaluate.suites.context import EvalContext
from varied.evaluate.suites.latent import disentanglement_suite, latent_suite, probing_suite
from varied.evaluate.suites.likelihood import ais_suite, elbo_suite, iwae_suite
from varied.evaluate.suites.molecules import molecule_suite
from varied.evaluate.suites.samples import reconstruction_suite, sample_suite
from varied.evaluate.suites.tabular import column_suite, synthetic_rows_suite
from varied.registry import load_entry_points
from varied.runs import Run

#: A suite: maps the context of a run to groups of metrics, or to no groups if the suite does not
#: apply.
Suite = Callable[[EvalContext], Iterator[MetricGroup]]

#: All suites by title, in the order in which they are reported. A suite that is registered with
#: `varied.register("suite", title, suite)` is computed by `evaluate_all` and by
#: `varied evaluate RUN --all`:
#:
#:     def pixel_mean(context: EvalContext) -> Iterator[MetricGroup]:
#:         mean = Estimate.of(context.samples.double().flatten(1).mean(1))
#:         yield MetricGroup("Pixels", "all samples", [Metric("mean", mean)])
SUITES: dict[str, Suite] = {
    "ELBO": elbo_suite,
    "NLL by importance sampling": iwae_suite,
    "NLL by annealed importance sampling": ais_suite,
    "Latent space": latent_suite,
    "Probing": probing_suite,
    "Disentanglement": disentanglement_suite,
    "Reconstructions": reconstruction_suite,
    "Samples": sample_suite,
    "Molecules": molecule_suite,
    "Columns": column_suite,
    "Synthetic rows": synthetic_rows_suite,
    "Classes": classification_suite,
    "TSTR: train on synthetic, test on real": tstr_suite,
}


def evaluate_all(
    run: Run, *, features: Extractor | None = None, seed: int = 0
) -> list[MetricGroup]:
    """Evaluate a run with all suites.

    Arguments:
        run: The run. Neither the run nor PyTorch's random state is changed.
        features: The feature extractor for comparing samples with data. By default, a
            network is trained on the images, with labels if there are any; other data are
            standardized.
        seed: The seed for selecting rows and sampling.

    Returns:
        The groups of metrics. Suites that do not apply to the run are omitted. If the metrics of a
        group cannot be computed, its warning gives the reason.
    """
    load_entry_points()
    context, groups = EvalContext(run, features, seed), list[MetricGroup]()
    for title, suite in SUITES.items():
        try:
            groups += [group for group in suite(context) if group.metrics]
        except VariedError as error:
            groups.append(MetricGroup(title, "not available", [], [str(error)]))
    return groups


def evaluate_runs(runs: Sequence[Run], seed: int = 0) -> list[list[MetricGroup]]:
    """Evaluate several runs with all suites; runs on the same data share a feature extractor.

    Arguments:
        runs: The runs.
        seed: The seed for selecting rows and sampling.
    """
    features: dict[str, Extractor] = {}
    for run in runs:
        digest = run.metadata["digest"]
        if digest not in features:
            features[digest] = EvalContext(run, seed=seed).extractor
    return [evaluate_all(run, features=features[run.metadata["digest"]], seed=seed) for run in runs]
