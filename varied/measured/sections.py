"""What is measured, in order, and what happens where something cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from varied.errors import VariedError
from varied.evaluate.features import Extractor
from varied.evaluate.measure import Section
from varied.measured.bounds import annealing, bound, weighted
from varied.measured.codes import factors, labels, latent
from varied.measured.columns import columns, rows
from varied.measured.here import Here
from varied.measured.likeness import reconstructions, samples
from varied.measured.worth import classes, teachers
from varied.runs import Run

__all__ = ["SECTIONS", "measured"]

#: What is measured, in the order of the table; each yields nothing where it does not apply.
SECTIONS: dict[str, Callable[[Here], Iterator[Section]]] = {
    "The bound": bound,
    "Closer, by importance samples": weighted,
    "Closer, by annealing": annealing,
    "The latent space": latent,
    "Labels, read off the codes": labels,
    "Factors, read off single units": factors,
    "Reconstructions": reconstructions,
    "Samples": samples,
    "Columns": columns,
    "Made rows": rows,
    "Classes": classes,
    "Learned from samples, tested on data": teachers,
}


def measured(
    run: Run,
    *,
    features: Extractor | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda title: None,
) -> list[Section]:
    """Measure all that can be measured of a run.

    Arguments:
        run: The run; neither it nor the random state of torch is changed.
        features: What pictures are compared by; by default a net that is trained on the spot, with
            the labels where there are any; of other data, the data themselves, standardised.
        seed: Which rows, draws and samples.
        say: Is told what is being measured.

    Returns:
        Sections of figures. What does not apply to the run is left out; what its data are too few
        for, or what cannot be taken of its model, stands there with the reason.
    """
    here, found = Here(run, features, seed), list[Section]()
    for title, measure in SECTIONS.items():
        say(title)
        try:
            found += [section for section in measure(here) if section.measures]
        except VariedError as error:
            found.append(Section(title, "left out", [], [str(error)]))
    return found
