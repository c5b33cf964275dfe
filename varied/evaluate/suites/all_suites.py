"""What is measured, in order, and what happens where something cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from varied.errors import VariedError
from varied.evaluate.feature_nets import Extractor
from varied.evaluate.metric import MetricGroup
from varied.evaluate.suites.classification import classification_suite, tstr_suite
from varied.evaluate.suites.context import EvalContext
from varied.evaluate.suites.latent import disentanglement_suite, latent_suite, probing_suite
from varied.evaluate.suites.likelihood import ais_suite, elbo_suite, iwae_suite
from varied.evaluate.suites.samples import reconstruction_suite, sample_suite
from varied.evaluate.suites.tabular import column_suite, synthetic_rows_suite
from varied.runs import Run

__all__ = ["SUITES", "evaluate_all"]

#: What is measured, in the order of the table; each yields nothing where it does not apply.
SUITES: dict[str, Callable[[EvalContext], Iterator[MetricGroup]]] = {
    "ELBO": elbo_suite,
    "NLL by importance sampling": iwae_suite,
    "NLL by annealed importance sampling": ais_suite,
    "Latent space": latent_suite,
    "Probing": probing_suite,
    "Disentanglement": disentanglement_suite,
    "Reconstructions": reconstruction_suite,
    "Samples": sample_suite,
    "Columns": column_suite,
    "Synthetic rows": synthetic_rows_suite,
    "Classes": classification_suite,
    "TSTR: train on synthetic, test on real": tstr_suite,
}


def evaluate_all(
    run: Run,
    *,
    features: Extractor | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda title: None,
) -> list[MetricGroup]:
    """Measure all that can be measured of a run.

    Arguments:
        run: The run; neither it nor the random state of torch is changed.
        features: What pictures are compared by; by default a net that is trained on the spot, with
            the labels where there are any; of other data, the data themselves, standardized.
        seed: Which rows, draws and samples.
        say: Is told what is being measured.

    Returns:
        Sections of figures. What does not apply to the run is left out; what its data are too few
        for, or what cannot be taken of its model, stands there with the reason.
    """
    here, found = EvalContext(run, features, seed), list[MetricGroup]()
    for title, measure in SUITES.items():
        say(title)
        try:
            found += [section for section in measure(here) if section.measures]
        except VariedError as error:
            found.append(MetricGroup(title, "left out", [], [str(error)]))
    return found
