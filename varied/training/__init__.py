"""From what a person has to a trained run: read, choose, train, look."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from varied.runs import Run
from varied.spec import Spec
from varied.training.job import Interrupted, Job, prepare

__all__ = ["Interrupted", "Job", "fit", "prepare"]


def fit(
    source: Any, model: str | Spec = "vae", *, out: Path | str | None = None, **choices: Any
) -> Run:
    """Train a model on data and return the run.

    Arguments:
        source: A folder or zip of pictures, an array, a tensor, a file, a named set, or a dataset;
            see `varied.data.read`.
        model: A name of the zoo, or a whole spec.
        out: The folder of the run; by default a new one below ``runs/``. An unfinished run there
            goes on where it stopped.
        choices: Any axis by name (``net="conv"``), any setting of a part or of the plan
            (``beta=4``, ``minutes=1``, ``**{"net.width": 64}``), and ``size``, ``binarize``,
            ``labels``, ``classes``, ``conditional`` for the data. What is not given is chosen to
            suit the data.

    Raises:
        VariedError: If something cannot be read, chosen or trained; the message says what to do.
        Interrupted: After Ctrl-C, with all that was trained saved.
    """
    job = prepare(source, model, out=out, **choices)
    for _ in itertools.chain(job.train(), job.fit_prior()):
        pass
    return job.finish()
