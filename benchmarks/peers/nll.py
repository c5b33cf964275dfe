"""Pythae's importance-weighted log-likelihood of pictures, by weights that it is given.

``python -m benchmarks.peers.nll FILE SAMPLES``: the file holds the state of the nets of work A and
the pictures; one line of JSON comes out, with nats for each picture and the seconds that it took.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from benchmarks.peers.pythae import build
from benchmarks.peers.works import WORKS

#: The most samples that stand at a time; Pythae takes whole batches of them, whatever it is asked.
BATCH = 100


class Bounded(torch.nn.Module):
    """A layer of log-variances, bounded as Varied's are."""

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
    held = torch.load(file, weights_only=True)
    model = build(WORKS["A"])
    model.load_state_dict(held["state"])
    model.encoder.logvar = Bounded(model.encoder.logvar, held["bound"])
    model.eval()
    begun = time.perf_counter()
    found = [float(model.get_nll(x[None], samples, BATCH)) for x in held["x"]]
    seconds = time.perf_counter() - begun
    sys.stdout.write(json.dumps({"log_px": found, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
