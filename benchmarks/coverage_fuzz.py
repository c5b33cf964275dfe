"""Search for files that are read wrongly, by coverage: ``python -m benchmarks.coverage_fuzz``.

Atheris (``pip install atheris``) changes valid files of a format, and keeps changes that reach new
code of the package. Each file must be read or refused with one sentence; another error is a fault.
A reading that needs more than 20 s or 4 GiB ends the process, which is also a fault. Molecules are
left out, since each is parsed in another process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.mutations import run_files, seeds
from benchmarks.reading_process import FAULT, READ, REFUSED, try_reading
from benchmarks.records import description, load, markdown_table, save, write_page

NAME = "coverage_fuzz"
#: The time limit for a file in seconds, and the memory limit of a process in MiB.
_TIMEOUT, _MAX_MEMORY = 20, 4096
#: The maximum length of a file in bytes, and the maximum number of faults that are listed.
_MAX_LENGTH, _LISTED = 4096, 20
#: The number of files after which the counts are stored.
_COUNT_INTERVAL = 1000


def formats() -> dict[str, bytes]:
    """Return a valid file of each format: "table.csv", or "run/spec.toml" for a file of a run."""
    names = ("codec.json", "data.json", "model.safetensors", "spec.toml")
    files = {name: data for name, data in seeds().items() if not name.endswith(".smi")}
    return files | {f"run/{name}": run_files()[name] for name in names}


def fuzz_format(name: str, n: int, seed: int, counts_file: Path) -> None:
    """Read ``n`` files of a format in this process, and write the counts to a file."""
    import atheris

    with atheris.instrument_imports(include=["varied"]):
        import varied.cli
        import varied.compression.container
        import varied.data.image_files
        import varied.runs.store
        import varied.training  # noqa: F401
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(dir=_memory_folder()))
    path = folder / Path(name).name
    if name.startswith("run/"):
        for file, data in run_files().items():
            (folder / file).write_bytes(data)
    corpus = Path(tempfile.mkdtemp(dir=_memory_folder()))
    (corpus / "valid").write_bytes(formats()[name])
    counts, faults = Counter[str](), dict[str, str]()

    def test_one_input(contents: bytes) -> None:
        path.write_bytes(contents)
        result, message = try_reading(folder if name.startswith("run/") else path)
        counts[result] += 1
        if result == FAULT:
            faults.setdefault(re.sub(r"\d+|'.*'", "", message)[:80], message[:300])
        if counts.total() % _COUNT_INTERVAL == 0 or counts.total() >= n:
            counts_file.write_text(json.dumps({"counts": counts, "faults": list(faults.values())}))

    limits = [f"-timeout={_TIMEOUT}", f"-rss_limit_mb={_MAX_MEMORY}", f"-max_len={_MAX_LENGTH}"]
    artifacts = f"-artifact_prefix={folder}/"
    atheris.Setup(
        [sys.argv[0], f"-runs={n}", f"-seed={seed}", *limits, artifacts, str(corpus)],
        test_one_input,
    )
    atheris.Fuzz()


def _memory_folder() -> str | None:
    """Return a folder whose files are in memory, if the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def fuzz(name: str, n: int, seed: int) -> dict[str, Any]:
    """Read ``n`` files of a format in another process, and return the counts and the faults."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as temporary:
        counts_file = Path(temporary) / "counts.json"
        command = [sys.executable, "-m", "benchmarks.coverage_fuzz", "--child", str(counts_file)]
        # The process writes its files below this folder, which is removed if it crashes.
        process = subprocess.run(
            [*command, "--only", name, "--runs", str(n), "--seed", str(seed)],
            env=os.environ | {"TMPDIR": temporary},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        record = json.loads(counts_file.read_text()) if counts_file.exists() else {}
    faults = record.get("faults", [])
    if process.returncode:
        faults.append(f"The process ends with code {process.returncode}: {process.stderr[-600:]}")
    counts = record.get("counts", {})
    edges = re.findall(r"cov: (\d+)", process.stderr)
    result: dict[str, Any] = {key: counts.get(key, 0) for key in (READ, REFUSED, FAULT)}
    result |= {"files": sum(counts.values()), "edges": int(edges[-1]) if edges else 0}
    return result | {"seconds": round(time.perf_counter() - begin), "faults": faults[:_LISTED]}


def write() -> None:
    """Write the page of the benchmark from its record."""
    from varied.runtime import describe_machine

    record = load(NAME)
    rows = [
        [name, *(f"{row[key]:,}" for key in ("files", READ, REFUSED, FAULT, "edges", "seconds"))]
        for name, row in sorted(record.items())
    ]
    files, n_faults = (sum(row[key] for row in record.values()) for key in ("files", FAULT))
    header = ["format", "files", "read", "refused", "faults", "branches reached", "seconds"]
    total = f"{files:,} files, {n_faults:,} faults."
    faults = [f"- {name}: `{text}`" for name, row in record.items() for text in row["faults"]]
    machine = f"Processor: {describe_machine()['processor']}."
    lines = ["# Files changed by coverage", "", description(__doc__), "", total, ""]
    table = markdown_table(header, rows)
    write_page(NAME, [*lines, *table, *([""] * bool(faults)), *faults, "", machine])


def main() -> None:
    """Read changed files of each format, and save the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=300_000, help="number of files per format")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument("--only", nargs="+", help="names of formats")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fuzz_format(options.only[0], options.runs, options.seed, options.child)
        return
    for name in options.only or formats():
        save(NAME, name, fuzz(name, options.runs, options.seed))
        print(name, load(NAME)[name], flush=True)
        write()


if __name__ == "__main__":
    main()
