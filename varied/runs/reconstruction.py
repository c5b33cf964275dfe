"""Reconstruction of examples."""

from __future__ import annotations

from typing import Any

import torch

from varied import functional
from varied.data import Batch
from varied.runs.base import RunBase
from varied.runs.result import Result, draw_pairs


def reconstruct(run: RunBase, source: Any = None, *, n: int = 32) -> Result:
    """Return examples as the model receives them, and their reconstructions.

    Arguments:
        run: The run.
        source: The data; None uses the test rows.
        n: The number of examples.

    Returns:
        A result with shape (2, n).
    """
    data = run.read(source).head(n)
    x, c = run.model_input(data)
    reconstructions = functional.reconstruct(run.model, x, c)
    axes = {"which": ["original", "reconstruction"], "row": None}
    contexts = run.paired_contexts(data, Batch(x, c), reconstructions[:, None])
    contexts = None if contexts is None else contexts.transpose(0, 1)
    x = torch.cat([run.with_missing(data, x), reconstructions])
    return run.result(x, draw_pairs, axes, (2, len(data)), contexts)
