"""Training speed of Varied beside Pythae and an ordinary PyTorch loop, on this machine.

Run from the root of the repository: `python -m benchmarks.throughput` (or `make bench`). Each
trial is a process of its own, in its system's own environment; the trials of the systems take
turns; the figures are medians. Another program on the same cores can slow two threads down by a
factor of 50, so a trial that others disturbed is repeated (`--calm`, `--retries`), whichever
system it was, and the figures say how calm it was in the end.
`--quality 3` measures the negative ELBO on the test digits after 3 epochs instead.
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
from statistics import mean, median, stdev
from typing import Any

import torch

from benchmarks.peers.environments import FOLDER, ROOT, python_of
from benchmarks.peers.works import WORKS

PYTHAE = FOLDER / "pythae"
SYSTEMS = {
    "plain": (Path(sys.executable), "benchmarks.peers.plain"),
    "pythae": (PYTHAE / "bin" / "python", "benchmarks.peers.pythae"),
    "varied": (Path(sys.executable), "benchmarks.peers.ours"),
}
Line = dict[str, Any]


def main() -> None:
    """Measure, print the tables, write them."""
    wanted = arguments()
    wanted.data = mnist(wanted.data)
    if "pythae" in wanted.systems:
        python_of("pythae", "pythae==0.1.2")
    about = machine(wanted.threads)
    lines = list(qualities(wanted) if wanted.quality else speeds(wanted))
    if not lines:
        raise SystemExit("No system could be measured; the reasons stand above.")
    body = quality_table(lines) if wanted.quality else speed_table(lines)
    write(wanted, about | company(lines), lines, body)


def arguments() -> argparse.Namespace:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("--data", type=Path, help="the MNIST npz; else the packaged one")
    asks.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    asks.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    asks.add_argument("--rounds", type=int, default=3)
    asks.add_argument("--seconds", type=float, default=8.0, help="of each trial")
    asks.add_argument("--warmup", type=float, default=2.0, help="seconds not counted")
    asks.add_argument("--calm", type=float, default=0.15, help="processors others may keep busy")
    asks.add_argument("--retries", type=int, default=4, help="of a trial that others disturbed")
    asks.add_argument("--patience", type=float, default=30.0, help="seconds to wait for calm")
    asks.add_argument("--threads", type=int, default=2)
    asks.add_argument("--quality", type=int, default=0, metavar="EPOCHS")
    asks.add_argument("--seeds", type=int, default=3, help="for --quality")
    asks.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    return asks.parse_args()


def mnist(given: Path | None) -> Path:
    """Return the npz of the digits: the given one, the packaged one, or that of VARIED_DATA."""
    elsewhere = Path(os.environ.get("VARIED_DATA", "")) / "mnist" / "mnist.npz"
    places = [given] if given else [ROOT / "varied" / "data" / "mnist" / "mnist.npz", elsewhere]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise SystemExit("The MNIST digits were not found: give their npz with --data.")


def speeds(wanted: argparse.Namespace) -> Iterator[Line]:
    """Yield the trials; the systems take turns within each round."""
    options = ["--seconds", str(wanted.seconds), "--warmup", str(wanted.warmup)]
    for turn, work, system in product(range(wanted.rounds), wanted.works, wanted.systems):
        line = calmest(system, work, wanted, options)
        if line:
            rate, rest = line["samples_per_second"], line["others"]
            say(f"round {turn + 1}  {work}  {system:7} {rate:10,.0f} /s, others busy on {rest}")
            yield line | {"round": turn + 1}


def qualities(wanted: argparse.Namespace) -> Iterator[Line]:
    """Yield distortion and rate for each seed, work with a test set, and system."""
    works = [work for work in wanted.works if WORKS[work].shape == (1, 28, 28)]
    for seed, work, system in product(range(wanted.seeds), works, wanted.systems):
        options = ["--epochs", str(wanted.quality), "--seed", str(seed)]
        line = trial(system, work, wanted, options)
        if line:
            say(f"seed {seed}  {work}  {system:7} {line['negative_elbo']:8.2f} nats")
            yield line


def calmest(system: str, work: str, wanted: argparse.Namespace, options: list[str]) -> Line | None:
    """Repeat a trial until other programs left it alone; return the one they disturbed least."""
    best: Line | None = None
    for _ in range(1 + wanted.retries):
        wait_for_calm(wanted.calm, wanted.patience)
        line = trial(system, work, wanted, options)
        if line is None or (line["others"] or 0.0) <= wanted.calm:
            return line
        best = min(best or line, line, key=lambda one: one["others"])
    return best


def wait_for_calm(calm: float, patience: float) -> None:
    """Wait until other programs were quiet for a second, or for as long as we have patience."""
    began = time.monotonic()
    while time.monotonic() - began < patience:
        before = usage()
        time.sleep(1.0)
        if (others(before, usage()) or 0.0) <= calm:
            return


def trial(system: str, work: str, wanted: argparse.Namespace, options: list[str]) -> Line | None:
    """Run one process; return its line, or None when it failed, with the reason said."""
    python, module = SYSTEMS[system]
    threads = str(wanted.threads)
    command = [python, "-m", module, "--data", wanted.data, "--work", work, "--threads", threads]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    before = usage()
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        say(f"{system} {work}: {last(done.stderr)}")
        return None
    return json.loads(last(done.stdout)) | {"others": others(before, usage())}


def usage() -> tuple[float, float, float]:
    """Return the seconds on the clock, of all processors at work, and of our own trials."""
    spent = os.times()
    return spent.elapsed, busy(), spent.children_user + spent.children_system


def busy() -> float:
    counters = Path("/proc/stat")
    if not counters.exists():
        return nan
    user, nice, system, _idle, _wait, irq, softirq, *_ = counters.read_text().split()[1:]
    ticks = sum(map(int, (user, nice, system, irq, softirq)))
    return ticks / os.sysconf("SC_CLK_TCK")


def others(before: tuple[float, ...], after: tuple[float, ...]) -> float | None:
    """Return how many processors other programs kept busy, None where the system does not tell."""
    wall, all_of_them, ours = (b - a for a, b in zip(before, after, strict=True))
    return None if isnan(all_of_them) else round(max(0.0, all_of_them - ours) / wall, 2)


def machine(threads: int) -> Line:
    """Return what the figures depend on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor() or platform.machine()
    named = [line for line in listing.read_text().splitlines() if line.startswith("model name")]
    return named[0].partition(":")[2].strip() if named else platform.machine()


def company(lines: list[Line]) -> Line:
    """Return how busy other programs were: figures of a machine that was shared are no verdict."""
    rests = [line["others"] for line in lines if line["others"] is not None]
    return {"processors_others_kept_busy": f"{median(rests)} (most {max(rests)})"} if rests else {}


def speed_table(lines: list[Line]) -> str:
    """Return the medians, the spread of the trials, and the ratios as Markdown."""
    systems = named(lines, "system")
    ratios = [(over, under) for over in systems for under in systems if over > under]
    head = ["work", *systems, *(f"{over} / {under}" for over, under in ratios)]
    rows = [speed_row(of(lines, work=work), work, systems, ratios) for work in named(lines, "work")]
    return table(head, rows) + unequal(lines)


def speed_row(
    lines: list[Line], work: str, systems: list[str], ratios: list[tuple[str, str]]
) -> list[str]:
    rates = {
        system: [x["samples_per_second"] for x in of(lines, system=system)] for system in systems
    }
    cells = [spread(rates[system]) for system in systems]
    quotients = [quotient(rates[over], rates[under]) for over, under in ratios]
    return [f"{work}: {WORKS[work].says}, batch {WORKS[work].batch}", *cells, *quotients]


def spread(rates: list[float]) -> str:
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})" if rates else "-"


def quotient(over: list[float], under: list[float]) -> str:
    return f"{median(over) / median(under):.2f}" if over and under else "-"


def unequal(lines: list[Line]) -> str:
    """Return a warning for each work whose networks differ by more than 1 % of parameters."""
    warnings = ""
    for work in named(lines, "work"):
        sizes = {line["system"]: line["parameters"] for line in of(lines, work=work)}
        if max(sizes.values()) > 1.01 * min(sizes.values()):
            warnings += f"\nWarning: on {work} the numbers of parameters differ: {sizes}.\n"
    return warnings


def quality_table(lines: list[Line]) -> str:
    """Return means and standard deviations over the seeds as Markdown, in nats."""
    head = ["work", "system", "epochs", "seeds", "reconstruction", "rate", "-ELBO"]
    pairs = product(named(lines, "work"), named(lines, "system"))
    return table(head, [quality_row(of(lines, work=w, system=s)) for w, s in pairs])


def quality_row(lines: list[Line]) -> list[str]:
    if not lines:
        return ["-"] * 7
    first = lines[0]
    figures = [
        over_seeds([x[key] for x in lines]) for key in ("reconstruction", "rate", "negative_elbo")
    ]
    return [first["work"], first["system"], str(first["epochs"]), str(len(lines)), *figures]


def over_seeds(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values) if len(values) > 1 else 0:.2f}"


def of(lines: list[Line], **wanted: str) -> list[Line]:
    return [line for line in lines if all(line[key] == value for key, value in wanted.items())]


def named(lines: list[Line], key: str) -> list[str]:
    return list(dict.fromkeys(line[key] for line in lines))


def table(head: list[str], rows: list[list[str]]) -> str:
    ruled = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ruled)


def write(wanted: argparse.Namespace, about: Line, lines: list[Line], body: str) -> None:
    """Print the page and write it as Markdown, with the trials beside it as JSON."""
    name = "quality" if wanted.quality else "throughput"
    text = page(name, about, body)
    wanted.results.mkdir(parents=True, exist_ok=True)
    (wanted.results / f"{name}.md").write_text(text, encoding="utf-8")
    record = {"machine": about, "trials": lines}
    (wanted.results / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    say("\n" + text)


def page(name: str, about: Line, body: str) -> str:
    says = {
        "throughput": "Training pictures a second: median (least-most) of the trials.",
        "quality": "Test digits, nats: mean ± standard deviation over seeds, one sample each.",
    }
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items())
    command = "python -m benchmarks.throughput" + (" --quality 3" if name == "quality" else "")
    return (
        f"# {name.capitalize()}\n\n{says[name]}\n\n{body}\nMachine: {facts}. Made by `{command}`.\n"
    )


def last(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a word"])[-1]


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
