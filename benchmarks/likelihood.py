"""The importance-weighted log-likelihood, beside Pythae's own: ``python -m benchmarks.likelihood``.

The same network with the same weights, the same 100 test digits, as many samples, one thread, three
times. Pythae goes over pictures one by one, encodes each copy of them, and takes 100 samples where
fewer are asked for, so its figures for fewer are those of 100; here pictures and samples are
batched, a picture is encoded once, and samples are as many as were asked for. By many samples both
do little but decode.

The page is ``results/likelihood.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.ours import step_of
from benchmarks.peers.works import WORKS
from benchmarks.throughput import PYTHAE, ROOT
from benchmarks.trained import RESULTS, data
from varied.data import Batches, iter_batches
from varied.evaluate import log_likelihood
from varied.spec import Plan
from varied.training_loop import train

PICTURES, SAMPLES, TIMES = 100, (1, 10, 100, 1000), 3


def trained() -> Any:
    """Return the model of work A after two epochs of digits."""
    plan = Plan(epochs=2, batch_size=100, threads=1, compile="no")
    model, step = step_of(WORKS["A"], plan)
    for _ in train(step, Batches(data("mnist").parts["train"].x, size=100, seed=0), plan):
        pass
    return model


def state(model: Any) -> dict[str, Tensor]:
    """Return the weights under the names of the peer's nets."""
    first, last = (layer for layer in model.encoder.net if hasattr(layer, "weight"))
    enter, leave = (layer for layer in model.decoder.net if hasattr(layer, "weight"))
    weights, biases = last.weight.chunk(2), last.bias.chunk(2)  # of the mean, of the log-variance
    return {
        "encoder.trunk.1.weight": first.weight,
        "encoder.trunk.1.bias": first.bias,
        "encoder.mean.weight": weights[0],
        "encoder.logvar.weight": weights[1],
        "encoder.mean.bias": biases[0],
        "encoder.logvar.bias": biases[1],
        "decoder.net.0.weight": enter.weight,
        "decoder.net.0.bias": enter.bias,
        "decoder.net.2.weight": leave.weight,
        "decoder.net.2.bias": leave.bias,
    }


def ours(model: Any, x: Tensor, samples: int) -> tuple[Tensor, float]:
    begun = time.perf_counter()
    found, _ = log_likelihood(model, lambda rows: rows, iter_batches(x, size=500), samples=samples)
    return found, time.perf_counter() - begun


def theirs(file: Path, samples: int) -> tuple[Tensor, float]:
    command = [PYTHAE / "bin" / "python", "-m", "benchmarks.peers.nll", file, str(samples)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    line = json.loads(told.stdout.splitlines()[-1])
    return torch.tensor(line["log_px"]), line["seconds"]


def main() -> None:
    if not PYTHAE.is_dir():
        sys.exit("Pythae is not installed for the benchmarks: see `benchmarks.throughput`.")
    torch.set_num_threads(1)
    model = trained()
    x = (data("mnist").parts["test"].x[:PICTURES].float() / 255).round()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pt"
        plain = {k: v.detach().clone() for k, v in state(model).items()}
        torch.save({"state": plain, "x": x, "bound": model.encoder.head.logvar_bound}, file)
        for samples in SAMPLES:
            trials = [(*ours(model, x, samples), *theirs(file, samples)) for _ in range(TIMES)]
            table.append(row(samples, trials))
    head = (
        "samples",
        "Varied, nats",
        "Pythae, nats",
        "difference",
        "Varied, s",
        "Pythae, s",
        "ratio",
    )
    lines = [
        "# Importance-weighted log-likelihood",
        "",
        " ".join((__doc__ or "").split("\n\n")[1].split()),
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *table,
    ]
    page = "\n".join(lines) + "\n"
    (RESULTS / "likelihood.md").write_text(page, "utf-8")
    sys.stdout.write(page)


def row(samples: int, trials: list[tuple[Tensor, float, Tensor, float]]) -> str:
    """Return a line of the table: the values of the first trial, the least time of all."""
    mine, _, other, _ = trials[0]
    gap = (mine - other).double()
    quick, slow = min(us for _, us, *_ in trials), min(them for *_, them in trials)
    ratios = sorted(them / us for _, us, _, them in trials)
    cells = (
        f"{samples:,}",
        f"{mine.mean():.3f}",
        f"{other.mean():.3f}",
        f"{gap.mean():.3f} ± {gap.std() / len(gap) ** 0.5:.3f}",
        f"{quick:.3f}",
        f"{slow:.3f}",
        f"{ratios[0]:.1f} to {ratios[-1]:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
