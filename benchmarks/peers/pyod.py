"""Detectors of PyOD with default settings, in their own environment.

`python -m benchmarks.peers.pyod DATA SCORES` reads ``train`` and ``test`` from an ``.npz`` file and
writes an ``.npz`` file with one array of scores per detector; higher is more anomalous.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from pyod.models.knn import KNN
from pyod.models.vae import VAE


def main(data: str, scores: str) -> None:
    torch.set_num_threads(1)
    with np.load(data) as arrays:
        train, test = arrays["train"], arrays["test"]
    detectors = {"PyOD KNN": KNN(), "PyOD VAE": VAE(verbose=0)}
    results = {name: d.fit(train).decision_function(test) for name, d in detectors.items()}
    np.savez(scores, **{name: np.nan_to_num(score) for name, score in results.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
