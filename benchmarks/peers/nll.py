"""Pythae's importance-weighted log-likelihood of images, for given weights.

``python -m benchmarks.peers.nll FILE SAMPLES``: the file contains the state of the networks of task
A and the images. The command prints one line of JSON with the log-likelihood of each image in nats
and the seconds.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from benchmarks.peers.pythae import build
from benchmarks.peers.tasks import TASKS

#: The number of samples per batch; Pythae uses whole batches, even for fewer samples.
BATCH_SIZE = 100


class BoundedLogVariance(torch.nn.Module):
    """A layer that returns log-variances, bounded as in Varied."""

    def __init__(self, layer: torch.nn.Module, bound: float) -> None:
        super().__init__()
        self.layer, self.bound = layer, bound

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return log-variances."""
        return self.bound * torch.tanh(self.layer(h) / self.bound)


@torch.no_grad()
def main(file: str, samples: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    inputs = torch.load(file, weights_only=True)
    model = build(TASKS["A"])
    model.load_state_dict(inputs["state"])
    model.encoder.logvar = BoundedLogVariance(model.encoder.logvar, inputs["bound"])
    model.eval()
    begin = time.perf_counter()
    log_px = [float(model.get_nll(x[None], samples, BATCH_SIZE)) for x in inputs["x"]]
    seconds = time.perf_counter() - begin
    sys.stdout.write(json.dumps({"log_px": log_px, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
