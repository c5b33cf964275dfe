"""Importance-weighted log-likelihood, compared with Pythae: ``python -m benchmarks.likelihood``.

Both libraries use the same network with the same weights, 100 test digits, the same number of
samples and one thread; each measurement is repeated three times. Pythae processes images one by
one, encodes each of their copies, and uses at least 100 samples, so its values for fewer samples
are those for 100. Varied batches images and samples, encodes each image once, and uses exactly the
requested number of samples. With many samples, both spend most of the time on decoding.

The results are written to ``results/likelihood.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.environments import ROOT
from benchmarks.peers.tasks import TASKS
from benchmarks.peers.varied_peer import build_step
from benchmarks.records import RESULTS, description, markdown_table, write_page
from benchmarks.throughput import PYTHAE
from benchmarks.training import load_dataset
from varied.data import Batches, iter_batches
from varied.evaluate import log_likelihood
from varied.models import VAE
from varied.posteriors import Gaussian
from varied.prior_fitting import require_vae
from varied.spec import Plan
from varied.training_loop import train

N_IMAGES, SAMPLES, REPEATS = 100, (1, 10, 100, 1000), 3


def train_model() -> VAE:
    """Return the model of task A after two epochs."""
    plan = Plan(epochs=2, batch_size=100, threads=1, compile="no")
    model, step = build_step(TASKS["A"], plan)
    rows = load_dataset("mnist").splits["train"]
    for _ in train(step, Batches(rows.x, size=100, seed=0), plan):
        pass
    return require_vae(model)


def pythae_state(model: VAE) -> dict[str, Tensor]:
    """Return the weights under the names that Pythae uses."""
    encoder_in, encoder_out = _linear_layers(model.encoder.net)
    decoder_in, decoder_out = _linear_layers(model.decoder.net)
    mean_weight, logvar_weight = encoder_out.weight.chunk(2)
    mean_bias, logvar_bias = encoder_out.bias.chunk(2)
    return {
        "encoder.trunk.1.weight": encoder_in.weight,
        "encoder.trunk.1.bias": encoder_in.bias,
        "encoder.mean.weight": mean_weight,
        "encoder.logvar.weight": logvar_weight,
        "encoder.mean.bias": mean_bias,
        "encoder.logvar.bias": logvar_bias,
        "decoder.net.0.weight": decoder_in.weight,
        "decoder.net.0.bias": decoder_in.bias,
        "decoder.net.2.weight": decoder_out.weight,
        "decoder.net.2.bias": decoder_out.bias,
    }


def _linear_layers(net: nn.Module) -> list[nn.Linear]:
    return [layer for layer in net.modules() if isinstance(layer, nn.Linear)]


def run_varied(model: VAE, x: Tensor, samples: int) -> tuple[Tensor, float]:
    begin = time.perf_counter()
    log_px, _ = log_likelihood(model, lambda rows: rows, iter_batches(x, size=500), samples=samples)
    return log_px, time.perf_counter() - begin


def run_pythae(file: Path, samples: int) -> tuple[Tensor, float]:
    command: list[str | Path] = [
        PYTHAE / "bin" / "python",
        "-m",
        "benchmarks.peers.nll",
        file,
        str(samples),
    ]
    process = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    output = json.loads(process.stdout.splitlines()[-1])
    return torch.tensor(output["log_px"]), output["seconds"]


def main() -> None:
    if not PYTHAE.is_dir():
        sys.exit("Pythae is not installed for the benchmarks: run `benchmarks.throughput` first.")
    torch.set_num_threads(1)
    model = train_model()
    x = (load_dataset("mnist").splits["test"].x[:N_IMAGES].float() / 255).round()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pt"
        state = {k: v.detach().clone() for k, v in pythae_state(model).items()}
        head = model.encoder.head
        assert isinstance(head, Gaussian)
        torch.save({"state": state, "x": x, "bound": head.logvar_bound}, file)
        for samples in SAMPLES:
            trials = [
                (*run_varied(model, x, samples), *run_pythae(file, samples)) for _ in range(REPEATS)
            ]
            rows.append(table_row(samples, trials))
    values = ["Varied, nats", "Pythae, nats", "difference", "Varied, s", "Pythae, s", "ratio"]
    header = ["samples", *values]
    table = markdown_table(header, rows)
    write_page(
        "likelihood", ["# Importance-weighted log-likelihood", "", description(__doc__), "", *table]
    )
    sys.stdout.write((RESULTS / "likelihood.md").read_text("utf-8"))


def table_row(samples: int, trials: list[tuple[Tensor, float, Tensor, float]]) -> list[str]:
    """Return the values of the first trial, and the shortest times of all trials."""
    varied, _, pythae, _ = trials[0]
    difference = (varied - pythae).double()
    ratios = sorted(pythae_time / varied_time for _, varied_time, _, pythae_time in trials)
    return [
        f"{samples:,}",
        f"{varied.mean():.3f}",
        f"{pythae.mean():.3f}",
        f"{difference.mean():.3f} ± {difference.std() / len(difference) ** 0.5:.3f}",
        f"{min(trial[1] for trial in trials):.3f}",
        f"{min(trial[3] for trial in trials):.3f}",
        f"{ratios[0]:.1f} to {ratios[-1]:.1f}",
    ]


if __name__ == "__main__":
    main()
