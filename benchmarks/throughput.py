"""Training speed of Varied, Pythae and a plain PyTorch loop: ``python -m benchmarks.throughput``.

Each trial runs in a separate process, in the environment of its system; the trials of the systems
alternate; the results are medians. Another program on the same cores can slow two threads down by a
factor of 50, so a disturbed trial of any system is repeated (`--max-load`, `--retries`), and the
page reports the remaining load. `--quality 3` measures -ELBO on the test digits after 3 epochs
instead.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.peers.environments import FOLDER, ROOT, python_of
from benchmarks.peers.tasks import TASKS
from benchmarks.records import RESULTS, markdown_table, mean_std

PYTHAE = FOLDER / "pythae"
SYSTEMS = {
    "plain": (Path(sys.executable), "benchmarks.peers.plain_pytorch"),
    "pythae": (PYTHAE / "bin" / "python", "benchmarks.peers.pythae"),
    "varied": (Path(sys.executable), "benchmarks.peers.varied_peer"),
}
Trial = dict[str, Any]


def main() -> None:
    """Run all trials, print the results and write them."""
    args = parse_args()
    args.data = mnist_path(args.data)
    if "pythae" in args.systems:
        python_of("pythae", "pythae==0.1.2")
    machine = describe_machine(args.threads)
    trials = list(quality_trials(args) if args.quality else speed_trials(args))
    if not trials:
        raise SystemExit("All trials failed; the reasons are listed above.")
    body = quality_table(trials) if args.quality else speed_table(trials)
    write_results(args, machine | describe_load(trials), trials, body)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--data", type=Path, help="the .npz file of MNIST; default: the packaged one"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="per trial")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds that are not counted")
    parser.add_argument(
        "--max-load", type=float, default=0.15, help="cores that other programs may use"
    )
    parser.add_argument("--retries", type=int, default=4, help="retries of a disturbed trial")
    parser.add_argument(
        "--patience", type=float, default=30.0, help="seconds to wait for idle cores"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quality", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--seeds", type=int, default=3, help="for --quality")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def mnist_path(path: Path | None) -> Path:
    """Return the .npz file of MNIST: the given one, the packaged one, or the one in VARIED_DATA."""
    external = Path(os.environ.get("VARIED_DATA", "")) / "mnist" / "mnist.npz"
    paths = [path] if path else [ROOT / "varied" / "data" / "mnist" / "mnist.npz", external]
    for candidate in paths:
        if candidate.is_file():
            return candidate.resolve()
    raise SystemExit("MNIST was not found: give its .npz file with --data.")


# Trials


def speed_trials(args: argparse.Namespace) -> Iterator[Trial]:
    """Yield the speed trials; the systems alternate within each round."""
    options = ["--seconds", str(args.seconds), "--warmup", str(args.warmup)]
    for index, task, system in product(range(args.rounds), args.tasks, args.systems):
        trial = run_undisturbed(system, task, args, options)
        if trial:
            rate, load = trial["samples_per_second"], trial["other_load"]
            log(f"round {index + 1}  {task}  {system:7} {rate:10,.0f} /s, other load {load} cores")
            yield trial | {"round": index + 1}


def quality_trials(args: argparse.Namespace) -> Iterator[Trial]:
    """Yield reconstruction and KL for each seed, task with a test set, and system."""
    tasks = [task for task in args.tasks if TASKS[task].shape == (1, 28, 28)]
    for seed, task, system in product(range(args.seeds), tasks, args.systems):
        options = ["--epochs", str(args.quality), "--seed", str(seed)]
        trial = run_trial(system, task, args, options)
        if trial:
            log(f"seed {seed}  {task}  {system:7} {trial['negative_elbo']:8.2f} nats")
            yield trial


def run_undisturbed(
    system: str, task: str, args: argparse.Namespace, options: list[str]
) -> Trial | None:
    """Repeat a trial until other programs do not disturb it; return the least disturbed one."""
    best: Trial | None = None
    for _ in range(1 + args.retries):
        wait_until_idle(args.max_load, args.patience)
        trial = run_trial(system, task, args, options)
        if trial is None or (trial["other_load"] or 0.0) <= args.max_load:
            return trial
        best = min(best or trial, trial, key=lambda trial: trial["other_load"])
    return best


def wait_until_idle(max_load: float, patience: float) -> None:
    """Wait until other programs are idle for a second, but not longer than `patience` seconds."""
    begin = time.monotonic()
    while time.monotonic() - begin < patience:
        before = cpu_usage()
        time.sleep(1.0)
        if (other_load(before, cpu_usage()) or 0.0) <= max_load:
            return


def run_trial(system: str, task: str, args: argparse.Namespace, options: list[str]) -> Trial | None:
    """Run one process and return its result; if it fails, log the reason and return None."""
    python, module = SYSTEMS[system]
    threads = str(args.threads)
    command = [python, "-m", module, "--data", args.data, "--task", task, "--threads", threads]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    before = cpu_usage()
    process = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if process.returncode:
        log(f"{system} {task}: {last_line(process.stderr)}")
        return None
    load = other_load(before, cpu_usage())
    trial: Trial = json.loads(last_line(process.stdout))
    return trial | {"other_load": load}


def cpu_usage() -> tuple[float, float, float]:
    """Return wall time, CPU time of all programs, and CPU time of our trials, in seconds."""
    times = os.times()
    return times.elapsed, total_cpu_seconds(), times.children_user + times.children_system


def total_cpu_seconds() -> float:
    counters = Path("/proc/stat")
    if not counters.exists():
        return nan
    user, nice, system, _idle, _wait, irq, softirq, *_ = counters.read_text().split()[1:]
    ticks = sum(map(int, (user, nice, system, irq, softirq)))
    return ticks / os.sysconf("SC_CLK_TCK")


def other_load(before: tuple[float, ...], after: tuple[float, ...]) -> float | None:
    """Return how many cores other programs used, or None if the system does not report it."""
    wall, total, own = (b - a for a, b in zip(before, after, strict=True))
    return None if isnan(total) else round(max(0.0, total - own) / wall, 2)


def describe_machine(threads: int) -> dict[str, Any]:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return lines[0].partition(":")[2].strip() if lines else platform.machine()


def describe_load(trials: list[Trial]) -> dict[str, Any]:
    """Return the load by other programs: results of a busy machine are not reliable."""
    loads = [trial["other_load"] for trial in trials if trial["other_load"] is not None]
    return {"other_load": f"{median(loads)} cores (maximum {max(loads)})"} if loads else {}


# Tables


def speed_table(trials: list[Trial]) -> str:
    """Return medians, ranges and ratios as Markdown."""
    systems = unique(trials, "system")
    ratios = [(a, b) for a in systems for b in systems if a > b]
    header = ["task", *systems, *(f"{a} / {b}" for a, b in ratios)]
    tasks = unique(trials, "task")
    rows = [speed_row(select(trials, task=task), task, systems, ratios) for task in tasks]
    return "\n".join(markdown_table(header, rows)) + "\n" + size_warnings(trials)


def speed_row(
    trials: list[Trial], task: str, systems: list[str], ratios: list[tuple[str, str]]
) -> list[str]:
    rates = {
        system: [t["samples_per_second"] for t in select(trials, system=system)]
        for system in systems
    }
    return [
        f"{task}: {TASKS[task].description}, batch size {TASKS[task].batch_size}",
        *(median_range(rates[system]) for system in systems),
        *(ratio(rates[a], rates[b]) for a, b in ratios),
    ]


def median_range(rates: list[float]) -> str:
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})" if rates else "-"


def ratio(a: list[float], b: list[float]) -> str:
    return f"{median(a) / median(b):.2f}" if a and b else "-"


def size_warnings(trials: list[Trial]) -> str:
    """Return a warning for each task whose parameter counts differ by more than 1%."""
    warnings = ""
    for task in unique(trials, "task"):
        sizes = {trial["system"]: trial["parameters"] for trial in select(trials, task=task)}
        if max(sizes.values()) > 1.01 * min(sizes.values()):
            warnings += f"\nWarning: the parameter counts of task {task} differ: {sizes}.\n"
    return warnings


def quality_table(trials: list[Trial]) -> str:
    """Return means and standard deviations over seeds as Markdown, in nats."""
    keys = {"reconstruction": "reconstruction", "kl": "KL", "negative_elbo": "-ELBO"}
    rows = []
    for task, system in product(unique(trials, "task"), unique(trials, "system")):
        seeds = select(trials, task=task, system=system)
        if seeds:
            values = [mean_std([trial[key] for trial in seeds]) for key in keys]
            rows.append([task, system, str(seeds[0]["epochs"]), str(len(seeds)), *values])
    header = ["task", "system", "epochs", "seeds", *keys.values()]
    return "\n".join(markdown_table(header, rows)) + "\n"


def select(trials: list[Trial], **values: str) -> list[Trial]:
    return [t for t in trials if all(t[key] == value for key, value in values.items())]


def unique(trials: list[Trial], key: str) -> list[str]:
    return list(dict.fromkeys(trial[key] for trial in trials))


def write_results(
    args: argparse.Namespace, machine: dict[str, Any], trials: list[Trial], body: str
) -> None:
    """Print the page, and write it with a JSON record of all trials."""
    name = "quality" if args.quality else "throughput"
    text = page(name, machine, body)
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / f"{name}.md").write_text(text, encoding="utf-8")
    record = {"machine": machine, "trials": trials}
    (args.results / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    log("\n" + text)


def page(name: str, machine: dict[str, Any], body: str) -> str:
    captions = {
        "throughput": "The number of training images per second: median (minimum-maximum) of the "
        "trials.",
        "quality": "Metrics on the MNIST test digits in nats: mean ± standard deviation over "
        "seeds, with one sample per image.",
    }
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items())
    command = "python -m benchmarks.throughput" + (" --quality 3" if name == "quality" else "")
    return (
        f"# {name.capitalize()}\n\n{captions[name]}\n\n{body}\n"
        f"Machine: {facts}. Generated by `{command}`.\n"
    )


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["the process ended without output"])[-1]


def log(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
