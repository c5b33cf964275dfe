"""Compare the weights trained by two checkouts: ``python -m benchmarks.same_weights OLD NEW``.

Every model of the zoo is trained for twelve steps on 512 digits, with one seed, on one thread and
in float32, by the code of each checkout. The tensors of the finished run are compared bit for bit,
without their names, so that renaming a module does not count as a change. Models are matched
through the table of old names in ``varied.runs.old_names``. The exit status is 1 if a model
differs.

Both checkouts must run on the same processor, so one call trains both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from varied.runs.old_names import OLD_MODELS

#: The program that runs in each checkout. `varied.train` and `batch_size` had other names before.
TRAIN = """
import hashlib, json, sys, tempfile, warnings
from pathlib import Path
import safetensors.torch
import varied

warnings.simplefilter("ignore")
data = varied.read("mnist")
x, labels = data.x[:512], data.labels[:512]
train = getattr(varied, "fit", None) or varied.train  # "fit" is the old name
names = sys.argv[1:] or list(varied.ZOO)
size = "batch_size" if "batch_size" in varied.Plan.__dataclass_fields__ else "batch"
for name in names:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        train(
            x, name, out=out, labels=labels, steps=12, seed=0, threads=1, precision="float32",
            compile="no", **{size: 32},
        )
        digests = sorted(
            hashlib.sha256(f"{t.dtype}{tuple(t.shape)}".encode() + t.numpy().tobytes()).hexdigest()
            for t in safetensors.torch.load_file(out / "model.safetensors").values()
        )
    print(json.dumps([name, hashlib.sha256("".join(digests).encode()).hexdigest()]), flush=True)
"""


def digests(checkout: Path, names: Sequence[str] = ()) -> dict[str, str]:
    """Return the digest of the trained weights of each model, by its name in that checkout."""
    command = [sys.executable, "-c", TRAIN, *names]
    environment = {
        "PYTHONPATH": str(checkout.resolve()),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }
    done = subprocess.run(
        command, cwd=checkout, env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr[-3000:]}")
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def main(args: Sequence[str] | None = None) -> int:
    """Train with both checkouts, and print a line for each model that differs."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="models, by their new names")
    arguments = parser.parse_args(args)
    olds = {new: old for old, new in OLD_MODELS.items()}
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(
            digests, arguments.old, [olds.get(name, name) for name in arguments.only]
        )
        after = pool.submit(digests, arguments.new, arguments.only)
        old, new = before.result(), after.result()
    renamed = {OLD_MODELS.get(name, name): digest for name, digest in old.items()}
    different = [name for name in renamed if new.get(name) != renamed[name]]
    for name in different:
        print(f"{name}: {'differs' if name in new else 'is missing'}")
    print(f"{len(renamed) - len(different)} of {len(renamed)} models have identical weights.")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
