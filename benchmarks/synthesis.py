"""Made rows of a census: ``python -m benchmarks.synthesis FOLDER``, that of Adult's two files.

A classifier (scikit-learn's HistGradientBoostingClassifier, its defaults) learns the income from
made rows alone, as many as there are training rows (32,561), and is asked about the 16,281 real
test rows: the F1 of the rarer class (over 50K) and the AUROC. Beside them stand how alike columns
and pairs of columns are to the test rows (1 is alike), and how far a made row is from the closest
training row, with test rows as the measure of what is no copy. Varied is what `varied train` does
by default, of the epochs that are said; a fifth of the training rows is its validation and test.
"Told the label" is `varied train adult.csv --model conditional-vae --labels income`.
TVAE is that of CTGAN 0.12.1 by its defaults, in an environment of its own, on all training rows.
Means over the seeds; seconds are those of one processor.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score, roc_auc_score

from benchmarks.peers.environments import ROOT, python_of
from benchmarks.trained import RESULTS, keep
from varied.data.tables import read_table
from varied.evaluate.dcr import distance_to_closest_record
from varied.evaluate.tabular import column_shapes, pair_trends
from varied.training import prepare

LABEL, RARER = "income", ">50K"
CTGAN = "ctgan==0.12.1"
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "varied": ("Varied", {}),
    "told": ("Varied, told the label", {"model": "conditional-vae", "labels": "income"}),
}
COLUMNS = {
    "f1": "F1",
    "auroc": "AUROC",
    "shapes": "column shapes",
    "pairs": "pair trends",
    "closest": "distance to closest record, median",
    "copies": "copies",
    "seconds": "seconds",
}


def worth(made: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, float]:
    """Return what a classifier that learned from made rows alone says of the test rows."""
    both = pd.concat([made, test])
    levels = {name: sorted(both[name].dropna().unique()) for name in both if _is_words(both[name])}
    x, y = _seen(made, levels), (made[LABEL] == RARER).to_numpy()
    words = [name for name in levels if name != LABEL]
    learner = HistGradientBoostingClassifier(categorical_features=words, random_state=seed)
    chance = learner.fit(x, y).predict_proba(_seen(test, levels))[:, 1]
    truth = (test[LABEL] == RARER).to_numpy()
    return {"f1": f1_score(truth, chance > 0.5), "auroc": roc_auc_score(truth, chance)}


def _is_words(cells: pd.Series) -> bool:
    return cells.dtype == object


def _seen(frame: pd.DataFrame, levels: dict[str, list[str]]) -> pd.DataFrame:
    """Return the columns as the classifier takes them; what is missing stays so."""
    columns = {
        name: pd.Categorical(frame[name], levels[name])
        if name in levels
        else frame[name].to_numpy(np.float64, na_value=np.nan)
        for name in frame.drop(columns=LABEL)
    }
    return pd.DataFrame(columns)


def judged(
    made: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, seed: int
) -> dict[str, float]:
    """Return all figures of made rows."""
    near = distance_to_closest_record(made, train, test, seed=seed)
    return worth(made, test, seed) | {
        "shapes": column_shapes(test, made).mean.value,
        "pairs": pair_trends(test, made).mean.value,
        "closest": near.median.value,
        "copies": near.copies.value,
    }


def ours(
    path: Path, n: int, epochs: float, seed: int, **choices: Any
) -> tuple[pd.DataFrame, float]:
    """Return rows that our run made, and the seconds of its training."""
    with TemporaryDirectory() as folder:
        begun = time.process_time()
        job = prepare(
            path, out=Path(folder) / "run", epochs=epochs, seed=seed, threads=1, **choices
        )
        for _ in job.train():
            pass
        seconds = time.process_time() - begun
        return job.deliver().sample(n, seed=seed).array, seconds


def tvae(path: Path, epochs: int, seed: int) -> tuple[pd.DataFrame, float]:
    """Return rows that TVAE made, and the seconds of its training."""
    with TemporaryDirectory() as folder:
        table, made = (Path(folder) / name for name in ("table.csv", "made.csv"))
        table.write_bytes(gzip.decompress(path.read_bytes()))
        python = python_of("ctgan", CTGAN, lent=True)
        command = [python, "-m", "benchmarks.peers.tvae", table, made, str(epochs), str(seed)]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return read_table(made)[0], json.loads(said.stdout.splitlines()[-1])["seconds"]


def trials(wanted: argparse.Namespace) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Yield the figures of each source of rows, one for each seed."""
    paths = [wanted.folder / f"adult_{part}.csv.gz" for part in ("train", "test")]
    train, test = (read_table(path)[0] for path in paths)
    if "real" in wanted.only:
        half = judged(test.iloc[::2], train, test.iloc[1::2], 0)  # is no copy of any training row
        found = judged(train, train, test, 0) | {k: half[k] for k in ("closest", "copies")}
        yield "real rows", [found]
    for source, (name, choices) in OURS.items():
        if source in wanted.only:
            found = []
            for seed in range(wanted.seeds):
                made, seconds = ours(paths[0], len(train), wanted.epochs, seed, **choices)
                found.append(judged(made, train, test, seed) | {"seconds": seconds})
            yield f"{name}, {wanted.epochs:g} epochs", found
    if "tvae" in wanted.only:
        made, seconds = tvae(paths[0], wanted.tvae, 0)
        yield f"TVAE, {wanted.tvae} epochs", [judged(made, train, test, 0) | {"seconds": seconds}]


def page(held: dict[str, Any]) -> str:
    """Return the page of all that were kept."""
    lines = ["# Made rows of a census", "", (__doc__ or "").split("\n\n")[1].replace("\n", " "), ""]
    lines += [
        f"| rows | seeds | {' | '.join(COLUMNS.values())} |",
        f"|{'---|' * (len(COLUMNS) + 2)}",
    ]
    for name, found in sorted(held.items(), key=lambda pair: -pair[1]["f1"]):
        cells = [f"{found[key]:.3f}" if key in found else "" for key in COLUMNS if key != "seconds"]
        seconds = f"{found['seconds']:,.0f}" if "seconds" in found else ""
        lines.append(f"| {name} | {found['seeds']} | {' | '.join(cells)} | {seconds} |")
    return "\n".join([*lines, ""])


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("folder", type=Path, help="with adult_train.csv.gz and adult_test.csv.gz")
    asks.add_argument("--epochs", type=float, default=20, help="of our run")
    asks.add_argument("--seeds", type=int, default=3, help="of our run")
    asks.add_argument("--tvae", type=int, default=300, help="epochs of TVAE")
    sources = ["real", "varied", "told", "tvae"]
    asks.add_argument("--only", nargs="+", choices=sources, default=sources)
    torch.set_num_threads(1)
    for name, found in trials(asks.parse_args()):
        told(name, found)


def told(name: str, found: list[dict[str, float]]) -> None:
    """Keep the means over the seeds, and write the page."""
    means = {key: mean(trial[key] for trial in found) for key in found[0]} | {"seeds": len(found)}
    keep("synthesis", name, means)
    print(name, {key: round(value, 4) for key, value in means.items()}, flush=True)
    held = json.loads((RESULTS / "synthesis.json").read_text("utf-8"))
    (RESULTS / "synthesis.md").write_text(page(held), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
