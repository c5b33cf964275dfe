"""Random alterations of the configuration of runs, and what a run with altered files does.

``python -m tests.run_alterations`` counts the outcomes of thousands of alterations.
"""

from __future__ import annotations

import collections
import copy
import json
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import tomllib
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import tomlkit

import varied
from tests.quick_training import train_quickly
from tests.tones import tone
from varied.data import RawData
from varied.errors import VariedError

FILES = ("codec.json", "data.json", "calibration.json", "spec.toml")
JUNK = (
    *(None, True, "x", "", "nan", [], {}, [[1]], {"a": 1}, [None, "x"], [1, 2, 3], "2020-01-01"),
    *(-1, 0, 1, 2, 1.5, -1e-9, 1e308, float("nan"), float("inf"), 10**6, 10**9, 10**30),
)


def write_runs(folder):
    """Train small runs, one for each kind of data and of context; return the rows to encode."""
    rng, rows = np.random.default_rng(0), {}

    def add(name, source, model="vae", **choices):
        data = (
            source if isinstance(source, RawData) else varied.read(source, **READING.get(name, {}))
        )
        rows[name] = data.take(np.arange(2))
        quick = {"steps": 2, "width": 8, "latent": 2, "batch_size": 8} | choices
        run = train_quickly(data, model, out=folder / name, **quick)
        (run.folder / "manifest.json").unlink()  # which would detect each alteration
        if not (calibration := run.folder / "calibration.json").exists():
            calibration.write_text('{"temperature": 1.5, "imputation_scale": 1.2}')

    n = 40
    images = rng.integers(0, 256, (n, 8, 8)).astype(np.uint8)
    add("image", RawData(images, "image", np.arange(n) % 3, ("a", "b", "c")), conditional=True)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    x[::7, 1] = np.nan
    labels = np.stack([rng.normal(size=n), np.arange(n) % 2], 1).astype(np.float32)
    named = {"label_names": ("y", "z"), "label_classes": ((), ("n", "p"))}
    add("array", RawData(x, "array", labels, **named), conditional=True)
    add("counts", rng.poisson(0.6, (n, 6)).astype(np.float32), domain="count")
    waves = np.float32([tone(200 + 20 * i, 0.1) for i in range(n)])
    add("sound", RawData(waves, "sound", dialect={"rate": 8000}))
    smiles = [f"{a}{'C' * i}{b}" for a in "CNO" for i in range(4) for b in ("C", "N", "O", "C=C")]
    add("molecules", smiles)
    add("table", mixed_frame(rng, 120))
    add("classes", mixed_frame(rng, 120).assign(y=["u", "v", "w"] * 40), "m2")
    return rows


READING = {"molecules": {"kind": "molecules"}, "classes": {"labels": "y"}}


def mixed_frame(rng, n):
    """Return a table with numbers, dates, categories, constants and relations between columns."""
    a, b = rng.integers(0, 90, n), rng.normal(50, 9, n).round(2)
    return pd.DataFrame(
        {
            "a": a,
            "b": np.where(rng.random(n) < 0.1, np.nan, b),
            "sum": a + 2 * rng.integers(0, 3, n) + b,
            "total": (2 * a + 5).astype(float),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "kind": pd.Categorical(np.array(["red", "green", "blue"])[rng.integers(0, 3, n)]),
            "is_new": rng.random(n) < 0.5,
            "empty": None,
            "constant": 7,
        }
    )


def alter(values, rng):
    """Return a copy of nested values with one random alteration."""
    values = copy.deepcopy(values)
    root = {"": values}
    parent, key = root, ""
    while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    node, keys = parent[key], list(parent) if isinstance(parent, dict) else range(len(parent))
    operation = rng.randrange(10)
    if operation == 0:
        del parent[key]
        return root.get("")
    if operation == 1:
        other = rng.choice(list(keys))
        parent[key], parent[other] = parent[other], parent[key]
    elif operation == 2:
        nested = node
        for _ in range(rng.choice([1, 2, 50])):
            nested = [nested]
        parent[key] = nested
    elif operation == 3 and isinstance(node, int | float):
        parent[key] = rng.choice([-node, node * 10, node + 1, node / 3, str(node), 10**12])
    elif operation == 4 and isinstance(node, list):
        parent[key] = rng.choice([node[:-1], node + node, node[::-1], [*node, rng.choice(JUNK)]])
    elif operation == 4 and isinstance(node, dict):
        node[rng.choice(["unknown", "type", "name", "shape", "x"])] = rng.choice(JUNK)
    elif operation == 5 and isinstance(node, str):
        parent[key] = rng.choice([node.upper(), node[:-1], node + "?", node * 100, "é\0\n"])
    else:
        parent[key] = copy.deepcopy(rng.choice(JUNK))
    return root[""]


def altered_text(text, name, rng):
    """Return the text of a file with one random alteration."""
    if name.endswith(".json"):
        return json.dumps(alter(json.loads(text), rng))
    for _ in range(100):
        values = alter(tomllib.loads(text), rng)
        try:
            return tomlkit.dumps(values)
        except (TypeError, ValueError, AttributeError):  # values that TOML does not have
            continue
    raise AssertionError(name)


def use(folder, rows):
    """Open a run, sample two examples, write and convert them, and encode two rows."""
    run = varied.Run(folder)
    samples = run.sample(2, seed=0)
    samples.save(folder / ("out" + run.codec.default_ending))
    if run.codec.kind == "table":
        samples.frame  # noqa: B018
    run.encode(rows)
    run.label_columns, run.calibration_temperature  # noqa: B018
    if run.codec.has_missing_values:
        run.impute(rows, n_draws=2, samples=2)
    if run.model.num_classes:
        run.classify(rows)


class Hang(BaseException):
    """A use of a run takes too long."""


@contextmanager
def time_limit(seconds):
    """Raise `Hang` after a number of seconds."""

    def stop(*_):
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def outcome(folder, rows, seconds=10):
    """Return the name of the exception that a use of a run raises, and its message."""
    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(folder, rows)
    except VariedError as error:
        return "VariedError", str(error)
    except (Exception, Hang) as error:
        return type(error).__name__, str(error)
    return "none", ""


def is_one_sentence(message):
    """Return whether a message is one line that ends with a period and contains no other."""
    body = re.sub(r"'[^']*'|\"[^\"]*\"|\([^()]*\)", "", message[:-1])
    return "\n" not in message and message[-1] in ".?" and not re.search(r"[a-z]\. [A-Z]", body)


def alterations(folder, rows, files, n, seed=0):
    """Yield the run, the file, the altered text and the outcome of n alterations."""
    names = [(r, f) for r in sorted(rows) for f in files if (folder / r / f).exists()]
    for i in range(n):
        run, file = names[i % len(names)]
        path, rng = folder / run / file, random.Random(f"{seed} {i} {run} {file}")
        text = path.read_text()
        changed = altered_text(text, file, rng)
        path.write_text(changed)
        try:
            yield run, file, changed, *outcome(path.parent, rows[run])
        finally:
            path.write_text(text)


def main():
    """Count the outcomes of 3,000 alterations of codecs, 4,000 of specs and 1,000 of the rest."""
    scale, log = float(sys.argv[1]), Path(sys.argv[2]).open("w", buffering=1)  # noqa: SIM115
    folder = Path(tempfile.mkdtemp())
    rows = write_runs(folder)
    used = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30,) * 2)
    for files, n in ((FILES[:1], 3000), (FILES[3:], 4000), (FILES[1:3], 1000)):
        counts = collections.Counter()
        for run, file, text, name, message in alterations(folder, rows, files, int(n * scale)):
            is_clear = name != "VariedError" or is_one_sentence(message)
            counts[name if is_clear else "several sentences"] += 1
            if name != "none":
                print(
                    json.dumps([run, file, name, is_clear, message[:600], text[:20000]]), file=log
                )
        print(", ".join(files), dict(counts.most_common()), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak {peak / 2**10:,.0f} MiB")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
