"""Make disk operations fail and kill processes at random: ``python -m benchmarks.chaos``.

"Disk operations": each operation of a command that changes files fails once in each of seven ways
(the process dies before or during it, the power fails so that everything that was not synced is
lost, and four system errors). The command is then repeated without a failure, and must end with the
same bits as a command that never failed. "Random kills": processes that train are killed by SIGKILL
at random times and started again until they end. The final weights must have the same bits as those
of a process that was not killed. If none of n independent trials fails, the probability of a
failure is below 3 / n with a confidence of 95%.

Results are stored in ``results/chaos.json`` after each command and each model.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faulty_disk import FAULTS, Killed, faulty_disk, remove_folder
from benchmarks.records import description, load, markdown_table, save, write_page
from varied.errors import VariedError
from varied.runtime import describe_machine

NAME = "chaos"
#: Settings of trainings whose weights do not depend on the machine.
SMALL: dict[str, Any] = {"net.width": 8, "batch_size": 16, "threads": 1, "precision": "float32"}
#: The models that are killed, with their data and settings.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("images", {"latent": 2}),
    "vq-vae": ("images", {}),
    "ladder-vae": ("images", {}),
    "patchgan-vae": ("images", {"latent": 2}),
    "m2": ("images", {"latent": 2}),
    "vae, table with missing cells": ("table", {"latent": 2}),
    "vae, series": ("series", {"latent": 2}),
}


def examples(kind: str, n: int = 80) -> Any:
    """Return small data of a kind."""
    import varied
    from varied.data import RawData

    rng = np.random.default_rng(0)
    if kind == "images":
        x = (rng.random((n, 8, 8)) < 0.3).astype(np.uint8) * 255
        return varied.read(x, labels=np.array(["a", "b"])[rng.integers(0, 2, n)])
    if kind == "series":
        return varied.read(rng.normal(size=(n, 2, 16)).astype(np.float32))
    import pandas as pd

    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "b": rng.integers(0, 9, n), "c": rng.choice(["x", "y"], n)}
    )
    data: RawData = varied.read(frame.mask(rng.random(frame.shape) < 0.1))
    return data


def train(folder: Path, name: str, kind: str, steps: int, choices: dict[str, Any]) -> None:
    """Train a model, with a checkpoint after each step and without a report."""
    from varied.training import monitor, prepare

    monitor._CHECKPOINT_SECONDS = 0.0
    options = SMALL | {"steps": steps, "compile": "no"} | choices
    job = prepare(examples(kind), name.partition(",")[0], out=folder / "run", **options)
    for _ in job.train():
        pass
    for _ in job.fit_prior():
        pass
    job.write_model()


def train_small(folder: Path) -> None:
    """Train a VAE of vectors for two steps."""
    train(folder, "vae", "images", 2, {"latent": 2})


def fit_prior(folder: Path) -> None:
    """Fit a mixture to the codes of the run."""
    open_run(folder).fit_prior("gmm", n_components=2)


def update(folder: Path) -> None:
    """Continue the training of the run in another folder."""
    from varied.training.update import prepare_update

    job = prepare_update(open_run(folder), examples("images"), out=folder / "updated", steps=2)
    for _ in job.train():
        pass
    job.write_model()


def save_result(folder: Path, operation: str, name: str) -> None:
    """Apply an operation to test rows, and save its result."""
    run = open_run(folder)
    getattr(run, operation)().save(folder / name)


def open_run(folder: Path) -> Any:
    """Open the run of a command."""
    import varied

    return varied.Run(folder / "run", examples("images"))


@dataclass(frozen=True)
class Command:
    """A command whose disk operations fail.

    Arguments:
        run: A function of a folder, which may contain a trained run.
        outputs: The names of the files that have the result.
        needs_run: Whether the folder contains a trained run before the command.
        caches: Whether the command stores a cache in the run folder, which may fail.
    """

    run: Callable[[Path], None]
    outputs: tuple[str, ...]
    needs_run: bool = True
    caches: bool = False

    def may_ignore_error(self, path: Path, fault: str) -> bool:
        """Return whether the command may succeed although an operation on a file failed.

        The system releases a lock even if its file remains, and interrupted writes are repeated.
        """
        is_cache = self.caches and "run" in (path.name, path.parent.name)
        return path.name == ".lock" or fault == "EINTR" or is_cache


COMMANDS = {
    "train": Command(train_small, ("run/model.safetensors", "run/metrics.jsonl"), False),
    "fit-prior": Command(fit_prior, ("run/prior.safetensors",)),
    "update": Command(update, ("updated/model.safetensors",)),
    "encode": Command(partial(save_result, operation="encode", name="a.npz"), ("a.npz",)),
    "detect": Command(
        partial(save_result, operation="detect", name="a.csv"), ("a.csv",), caches=True
    ),
    "compress": Command(partial(save_result, operation="compress", name="a.vz"), ("a.vz",)),
}


def contents(folder: Path, names: tuple[str, ...]) -> list[bytes]:
    """Return what the files of a result contain, without measured times."""
    return [strip_times((folder / name).read_bytes()) for name in names]


def strip_times(content: bytes) -> bytes:
    """Remove the seconds from a metrics log."""
    import json

    if not content.startswith(b'{"split"'):
        return content
    rows = [json.loads(line) for line in content.splitlines()]
    return json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()


def fail_each_operation(
    command: Command, faults: tuple[str, ...] = FAULTS, stride: int = 1
) -> dict[str, Any]:
    """Let each operation of a command fail in each way, and return the counts and the failures.

    Arguments:
        command: The command.
        faults: The faults, a subset of `FAULTS`.
        stride: Only every ``stride``-th case is tried.
    """
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        template = root / "template"
        template.mkdir()
        if command.needs_run:
            train_small(template)
        shutil.copytree(template, root / "reference")
        with faulty_disk() as disk:
            command.run(root / "reference")
        expected = contents(root / "reference", command.outputs)
        cases = [(index, fault) for index in range(disk.count) for fault in faults]
        failures = []
        for index, fault in cases[::stride]:
            folder = root / "case"
            remove_folder(folder)
            shutil.copytree(template, folder)
            reason = fail_once(command, folder, index, fault, expected)
            if reason:
                failures.append(f"operation {index}, {fault}: {reason}")
    return {"operations": disk.count, "cases": len(cases[::stride]), "failures": failures}


def fail_once(command: Command, folder: Path, index: int, fault: str, expected: list[bytes]) -> str:
    """Let one operation fail, repeat the command, and return what is wrong afterwards, or ""."""
    with faulty_disk(index, fault) as disk:
        try:
            command.run(folder)
            if not command.may_ignore_error(disk.failed, fault):
                return f"the error of {disk.failed.name} was ignored"
        except (Killed, VariedError):
            pass
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    try:
        command.run(folder)
    except Exception as error:
        return f"repeated: {type(error).__name__}: {error}"
    if contents(folder, command.outputs) != expected:
        return "the result differs"
    if not command.needs_run and (rest := [str(path) for path in folder.rglob("*.tmp")]):
        return f"unfinished files remain: {rest}"
    return ""


def kill_at_random(name: str, n: int, seed: int = 0, steps: int = 12) -> dict[str, Any]:
    """Kill processes that train a model, and return the counts and the failures."""
    kind, choices = MODELS[name]
    rng, counts, failures = random.Random(seed), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        work = partial(train, name=name, kind=kind, steps=steps, choices=choices)
        work(root / "first")  # imports modules, which the other processes share
        begin = time.perf_counter()
        assert run_process(work, root / "reference") == 0, (root / "reference.txt").read_text()
        longest = time.perf_counter() - begin
        names = ("run/model.safetensors", "run/metrics.jsonl")
        expected = contents(root / "reference", names)
        while counts["kills"] < n:
            folder = root / "case"
            remove_folder(folder)
            code = -signal.SIGKILL
            while code == -signal.SIGKILL:
                # At least one in five processes is not killed, so that each training ends.
                code = run_process(work, folder, rng.uniform(0, 1.25 * longest))
                counts["kills"] += code == -signal.SIGKILL
            counts["trainings"] += 1
            if code:
                counts["refused"] += 1
                failures.append((root / "case.txt").read_text()[-300:])
            elif contents(folder, names) != expected:
                counts["different"] += 1
                failures.append("the weights or the log differ")
    keys = ("kills", "trainings", "refused", "different")
    return {key: counts[key] for key in keys} | {"seconds": longest, "failures": failures}


def run_process(work: Callable[[Path], None], folder: Path, seconds: float | None = None) -> int:
    """Run a function in another process, kill it after some time, and return the exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work(folder)
            code = 0
        except BaseException:
            folder.with_suffix(".txt").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            end = None
        time.sleep(0.001)


def page(record: dict[str, Any]) -> list[str]:
    """Return the lines of the page."""
    operations = [
        [name, str(r["operations"]), str(r["cases"]), str(len(r["failures"]))]
        for name, r in record.items()
        if "operations" in r
    ]
    kills = [
        [name, *(str(r[key]) for key in ("kills", "trainings", "refused", "different"))]
        for name, r in record.items()
        if "kills" in r
    ]
    n = sum(r["kills"] for r in record.values() if "kills" in r)
    total = f"{n:,} kills; if none leads to a failure, at most {3 / max(n, 1):.2%} of kills do."
    return [
        "# Failing disks and killed processes",
        "",
        description(__doc__),
        "",
        *markdown_table(["command", "operations", "cases", "failures"], operations),
        "",
        *markdown_table(["model", "kills", "trainings", "refused", "different"], kills),
        "",
        total,
        "",
        f"Processor: {describe_machine()['processor']}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=3000, help="the number of kills in total")
    parser.add_argument("--only", nargs="+", help="names of commands and models")
    args = parser.parse_args()
    import varied.runs
    import varied.training  # noqa: F401

    for name, command in COMMANDS.items():
        if not args.only or name in args.only:
            save(NAME, name, fail_each_operation(command))
            print(name, load(NAME)[name], flush=True)
    for name in MODELS:
        if not args.only or name in args.only:
            save(NAME, name, kill_at_random(name, args.kills // len(MODELS) + 1))
            print(name, load(NAME)[name], flush=True)
    write_page(NAME, page(load(NAME)))


if __name__ == "__main__":
    main()
