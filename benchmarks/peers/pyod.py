"""PyOD's detectors by its defaults, in its own environment: reads trials, writes scores.

`python -m benchmarks.peers.pyod TRIALS SCORES`: both are ``.npz``; the trials hold ``train`` and
``test``, the scores one array for each detector; higher is stranger.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from pyod.models.knn import KNN
from pyod.models.vae import VAE


def main(trial: str, scores: str) -> None:
    torch.set_num_threads(1)
    with np.load(trial) as given:
        train, test = given["train"], given["test"]
    detectors = {"PyOD KNN": KNN(), "PyOD VAE": VAE(verbose=0)}
    found = {name: one.fit(train).decision_function(test) for name, one in detectors.items()}
    np.savez(scores, **{name: np.nan_to_num(score) for name, score in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
