"""Compare one process with several processes: ``python -m benchmarks.scale``.

Models are trained on 10,000 images of MNIST by one process and by two processes, each with one
thread and its share of every batch, so that the batches are the same. "Difference" is the mean over
seeds of the test loss with two processes minus that with one (-ELBO, or the reconstruction loss of
a model without a KL), with the standard error of the mean of paired differences. "Largest relative
difference" is that of the training losses of the first 60 steps; it is due to rounding if a model
has no noise. "Speed" is the number of images per second in 60 steps, relative to one process: of
two processes that train together, and of two processes that train independently of each other,
which is what the processor can reach. Communication is timed as the mean of 50 sums of all
gradients.

Each training is a row of ``results/scale.json``; ``results/scale.md`` compares them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.records import description, load, markdown_table, save, write_page

NAME = "scale"
N_IMAGES, SEEDS = 10_000, (0, 1, 2)
#: The number of steps whose losses and durations are compared.
N_COMPARED = 60
N_STEPS = 600
#: The settings of each model, which is trained for 600 steps.
MODELS: dict[str, dict[str, Any]] = {
    "autoencoder": {"binarize": "none", "max_shift": 0},
    "vae": {},
    "vq-vae": {"binarize": "none", "max_shift": 0, "net": "conv", "net.width": 16},
    "vae-gan": {"net": "conv", "net.width": 8},
}
#: A model whose speed is compared, but not its loss.
LARGE_BATCHES = "vae, batches of 1,024"
MODELS[LARGE_BATCHES] = {"batch_size": 1024}
PLAN: dict[str, Any] = {"precision": "float32", "threads": 1, "compile": "no"}
_N_SUMS = 50


def train_in_group(model: str, seed: int, steps: int, folder: Path) -> None:
    """Train as one of the processes of a group; the process of rank 0 stores the results."""
    import torch

    from varied import read
    from varied.process_group import join_group
    from varied.runtime import describe_machine
    from varied.training import prepare

    with join_group() as group:
        data = read("mnist").take(range(N_IMAGES))
        options = PLAN | MODELS[model] | {"steps": steps, "seed": seed}
        job = prepare(data, model.partition(",")[0], out=folder / "run", **options)
        size = sum(parameter.numel() for parameter in job.step.parameters())
        losses = []
        if group.rank > 0:
            job.follow()
        else:
            losses = [float(event.parts["loss"]) for event in job.train()]
        begin = time.perf_counter()
        for _ in range(_N_SUMS):
            group.sum(torch.zeros(size))
        seconds = (time.perf_counter() - begin) / _N_SUMS
    if group.rank > 0:
        return
    result = {
        "losses": losses,
        "images_per_second": len(losses) * job.spec.plan.batch_size / job.state.seconds,
        "megabytes": 4e-6 * size,
        "sum_seconds": seconds,
        "processor": describe_machine()["processor"],
    }
    if steps > N_COMPARED:
        evaluation = job.write_model().evaluate(read("mnist").take(range(60_000, 65_000)))
        elbo = evaluation.elbo
        result["loss"] = -elbo.value if elbo else evaluation.reconstruction.value
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


def run(model: str, seed: int, steps: int, n_processes: int, n_groups: int = 1) -> dict[str, Any]:
    """Train in groups of processes at the same time, and return the results of the first group."""
    with tempfile.TemporaryDirectory() as temporary:
        processes = []
        for index in range(n_groups):
            folder = Path(temporary) / str(index)
            folder.mkdir()
            with closing(socket.socket()) as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            words = [sys.executable, "-m", "benchmarks.scale", "--train", model]
            for rank in range(n_processes):
                variables = {"RANK": str(rank), "WORLD_SIZE": str(n_processes)}
                variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                processes.append(
                    subprocess.Popen(
                        [*words, str(seed), str(steps), str(folder)],
                        env=os.environ | variables | {"OMP_NUM_THREADS": "1"},
                    )
                )
        exit_codes = [process.wait() for process in processes]
        if any(exit_codes):
            raise SystemExit(f"A process that trained {model} has failed.")
        return dict(json.loads((Path(temporary) / "0" / "result.json").read_text("utf-8")))


def compare_speed(model: str) -> dict[str, float]:
    """Return the speed of two processes relative to one, and the duration of communication."""
    single, pair, independent = (run(model, 0, N_COMPARED, *size) for size in ((1,), (2,), (1, 2)))
    speed = single["images_per_second"]
    return {
        "together": pair["images_per_second"] / speed,
        "independently": 2 * independent["images_per_second"] / speed,
        "megabytes": pair["megabytes"],
        "sum_seconds": pair["sum_seconds"],
    }


def _loss_cells(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    if len(pairs) < len(SEEDS):
        return [""] * 4
    differences = [double["loss"] - single["loss"] for single, double in pairs]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return [
        f"{statistics.mean(single['loss'] for single, _ in pairs):.2f}",
        f"{statistics.mean(double['loss'] for _, double in pairs):.2f}",
        f"{statistics.mean(differences):+.2f} ± {error:.2f}",
        f"{max(double['step_difference'] for _, double in pairs):.1e}",
    ]


def _speed_cells(speed: dict[str, float] | None) -> list[str]:
    if speed is None:
        return [""] * 4
    keys = ("together", "independently", "megabytes")
    return [*(f"{speed[key]:.2f}" for key in keys), f"{1000 * speed['sum_seconds']:.1f}"]


def page() -> list[str]:
    """Return the lines of the page."""
    record = load(NAME)
    rows = []
    for model in MODELS:
        pairs = [
            (record[f"{model}, seed {seed}, 1"], record[f"{model}, seed {seed}, 2"])
            for seed in SEEDS
            if f"{model}, seed {seed}, 2" in record
        ]
        rows.append([model, *_loss_cells(pairs), *_speed_cells(record.get(f"{model}, speed"))])
    header = [
        "model",
        "test loss, 1 process",
        "2 processes",
        "difference",
        "largest relative difference",
        "speed together",
        "speed independently",
        "gradients, MB",
        "sum, ms",
    ]
    processors = sorted({row["processor"] for row in record.values() if "processor" in row})
    return [
        "# One process and several processes",
        "",
        description(__doc__),
        "",
        f"Processor: {', '.join(processors)}, {os.cpu_count()} cores.",
        "",
        *markdown_table(header, rows),
    ]


def main() -> None:
    """Train all models that have no results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--train", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        model, seed, steps, folder = args.train
        train_in_group(model, int(seed), int(steps), Path(folder))
        return
    for model in MODELS:
        if f"{model}, speed" not in load(NAME):
            save(NAME, f"{model}, speed", compare_speed(model))
        for seed in SEEDS:
            key = f"{model}, seed {seed}, 2"
            if key in load(NAME) or model == LARGE_BATCHES:
                continue
            single, double = (run(model, seed, N_STEPS, n) for n in (1, 2))
            losses = list(zip(single.pop("losses"), double.pop("losses"), strict=True))
            losses = losses[:N_COMPARED]
            double["step_difference"] = max(abs(a - b) / abs(a) for a, b in losses)
            save(NAME, f"{model}, seed {seed}, 1", single)
            save(NAME, key, double)
            print(key, single["loss"], double["loss"], flush=True)
            write_page(NAME, page())
    write_page(NAME, page())


if __name__ == "__main__":
    main()
