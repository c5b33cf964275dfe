"""Few labels on a census: ``python -m benchmarks.few_rows FOLDER``, that of Adult's two files.

Of 26,049 training rows as many have a label (over 50K a year or not) as is said, half of each
class; the AUROC and the log loss are those on the 16,281 test rows, means over draws of the labels.
m1, m2 and m1m2 are `varied train adult_train.csv --model NAME --labels income --n-labels N`, four
epochs each, at the temperature that a hundred validation rows with a label ask for; the others have
no such rows, so that AUROC is what compares. On the first draw of a hundred labels m1 has 0.851
after twenty epochs, and m2 0.864 after half of one. The others see the same rows: logistic
regression and gradient boosting the labeled ones alone; self-training takes their sure guesses on
5,000 other rows for labels, label spreading has their seven nearest neighbors. Since half of the
labeled rows are of each class, and a quarter of all rows is of the rarer, every probability is
first moved to the shares of the classes among all rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from benchmarks.trained import RESULTS, keep
from varied import functional
from varied.data import read
from varied.runs import Run
from varied.runs.augmentation import learned
from varied.training import prepare

LABEL, OTHERS, HELD = "income", 5000, 100
OURS = ("m1", "m2", "m1m2")


def rivals() -> dict[str, Any]:
    """Return scikit-learn's classifiers, and whether each reads rows without a label."""
    logistic, trees = LogisticRegression(max_iter=2000), HistGradientBoostingClassifier()
    return {
        "logistic regression": (logistic, False),
        "gradient boosting": (trees, False),
        "self-training, logistic": (SelfTrainingClassifier(logistic, threshold=0.9), True),
        "label spreading": (LabelSpreading(kernel="knn", n_neighbors=7), True),
    }


def numbers(rows: pd.DataFrame) -> Any:
    """Return what makes numbers of rows: words one-hot, gaps filled, the rest standardized."""
    words = make_column_selector(dtype_include=object)
    plain = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, max_categories=20)
    made = make_column_transformer(
        (one_hot, words), (plain, make_column_selector(dtype_exclude=object))
    )
    return made.fit(rows)


def trial(folder: Path, labels: int, seed: int, epochs: float) -> dict[str, dict[str, float]]:
    """Return the figures of each classifier for one draw of the labels."""
    test = read(folder / "adult_test.csv.gz", labels=LABEL)
    found = {}
    for model in OURS:
        with TemporaryDirectory() as place:
            begun = time.process_time()
            run = trained(folder, model, Path(place), labels, seed, epochs)
            seconds = time.process_time() - begun
            chances = functional.apply_temperature(
                run.classify(test, calibrated=False), _temperature(run)
            )
            few, whole = learned(run), run.split("train")
        share = float((whole.labels == 1).mean())
        found[model] = scored(chances[:, 1].numpy(), test.labels, share, seconds)
    known = np.flatnonzero(few.labels >= 0)
    rest = np.setdiff1d(np.arange(len(whole)), known)
    some = np.r_[known, np.random.default_rng(seed).permutation(rest)[:OTHERS]]
    rows = [_plain(items.x).drop(columns=LABEL) for items in (whole, test)]
    made = numbers(rows[0])
    x, tested = (made.transform(one) for one in rows)
    for name, (one, reads) in rivals().items():
        begun, taken = time.process_time(), some if reads else known
        chance = one.fit(x[taken], few.labels[taken].astype(int)).predict_proba(tested)[:, 1]
        found[name] = scored(chance, test.labels, share, time.process_time() - begun)
    return found


def trained(folder: Path, model: str, place: Path, labels: int, seed: int, epochs: float) -> Run:
    """Train as a person does it, without the pictures."""
    how: dict[str, Any] = {"n_labels": labels, "seed": seed, "threads": 1, "epochs": epochs}
    source = folder / "adult_train.csv.gz"
    job = prepare(source, model, labels=LABEL, out=place / "run", **how)
    for _ in job.train():
        pass
    return job.deliver()


def _temperature(run: Run) -> float:
    """Return that of the run from a hundred of its validation rows."""
    held = run.split("validation").first(HELD)
    labels = torch.from_numpy(held.labels.astype(np.int64))
    return functional.calibration_temperature(run.classify(held, calibrated=False), labels)


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns as scikit-learn takes them."""
    return pd.DataFrame(
        {
            name: cells.where(cells.notna(), "?")
            if cells.dtype == object
            else cells.to_numpy(np.float64, na_value=np.nan)
            for name, cells in rows.items()
        }
    )


def scored(chance: Any, truth: Any, share: float, seconds: float) -> dict[str, float]:
    """Return AUROC and log loss of the chances of the rarer class, moved to its true share."""
    chance = np.nan_to_num(chance, nan=0.5)  # label spreading does not reach every row
    odds = chance / np.clip(1 - chance, 1e-6, None) * share / (1 - share)
    moved = np.clip(odds / (1 + odds), 1e-6, 1 - 1e-6)
    return {
        "auroc": float(roc_auc_score(truth, chance)),
        "log_loss": float(log_loss(truth, moved)),
        "seconds": seconds,
    }


def page(held: dict[str, Any]) -> str:
    """Return the page of all that were kept."""
    lines = [
        "# Few labels on a census",
        "",
        (__doc__ or "").split("\n\n")[1].replace("\n", " "),
        "",
    ]
    lines += [
        "| labels | | AUROC | log loss, nats | seconds | draws |",
        "|---|---|---|---|---|---|",
    ]
    for labels in sorted({key.partition("/")[0] for key in held}, key=int):
        draws = [found for key, found in held.items() if key.partition("/")[0] == labels]
        for name in sorted(draws[0], key=lambda one: -mean(draw[one]["auroc"] for draw in draws)):
            each = [draw[name] for draw in draws]
            cells = [_spread([one[key] for one in each]) for key in ("auroc", "log_loss")]
            seconds = f"{mean(one['seconds'] for one in each):.0f}"
            lines.append(f"| {labels} | {name} | {' | '.join(cells)} | {seconds} | {len(each)} |")
    return "\n".join([*lines, ""])


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("folder", type=Path, help="with adult_train.csv.gz and adult_test.csv.gz")
    asks.add_argument("--labels", type=int, nargs="+", default=[100, 1000])
    asks.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asks.add_argument("--epochs", type=float, default=4)
    wanted = asks.parse_args()
    torch.set_num_threads(1)
    for labels in wanted.labels:
        for seed in wanted.seeds:
            found = trial(wanted.folder, labels, seed, wanted.epochs)
            keep("few_rows", f"{labels}/{seed}", found)
            print(labels, seed, json.dumps(found), flush=True)
    held = json.loads((RESULTS / "few_rows.json").read_text("utf-8"))
    (RESULTS / "few_rows.md").write_text(page(held), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
