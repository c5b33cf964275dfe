"""Semi-supervised classification of Adult: ``python -m benchmarks.semi_supervised_adult FOLDER``.

Of 26,049 training rows, the given number is labeled (income over 50K or not), with half of them in
each class. AUROC and log loss are computed on the 16,281 test rows and averaged over random
selections of the labels. m1, m2 and m1m2 are trained with `varied train adult_train.csv --model
NAME --labels income --n-labels N` for four epochs, and calibrated by a temperature fitted to a
hundred labeled validation rows. The other methods have no such rows, so only AUROC is comparable.
For the first selection of a hundred labels, the AUROC of m1 is 0.851 after twenty epochs, and that
of m2 is 0.864 after half an epoch. All methods use the same rows: logistic regression and gradient
boosting are trained on the labeled rows; self-training adds confident predictions for 5,000 other
rows to the labels, and label spreading uses the seven nearest neighbors of these rows. Since half
of the labeled rows but only a quarter of all rows are in the rarer class, all probabilities are
first corrected to the class frequencies of all rows.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean
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

from benchmarks.records import description, load, markdown_table, mean_std, save, write_page
from varied import functional
from varied.data import read
from varied.runs import Run
from varied.runs.augmentation import labeled_training_rows
from varied.training import prepare

NAME = "semi_supervised_adult"
LABEL, UNLABELED, CALIBRATION = "income", 5000, 100
MODELS = ("m1", "m2", "m1m2")


def sklearn_classifiers() -> dict[str, tuple[Any, bool]]:
    """Return scikit-learn classifiers, and whether each uses unlabeled rows."""
    logistic = LogisticRegression(max_iter=2000)
    return {
        "logistic regression": (logistic, False),
        "gradient boosting": (HistGradientBoostingClassifier(), False),
        "self-training, logistic": (SelfTrainingClassifier(logistic, threshold=0.9), True),
        "label spreading": (LabelSpreading(kernel="knn", n_neighbors=7), True),
    }


def fit_encoder(rows: pd.DataFrame) -> Any:
    """Return a transformer that makes all columns numeric: one-hot, imputed, standardized."""
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, max_categories=20)
    encoder = make_column_transformer(
        (one_hot, make_column_selector(dtype_include=object)),
        (numeric, make_column_selector(dtype_exclude=object)),
    )
    return encoder.fit(rows)


def run_trial(folder: Path, n_labels: int, seed: int, epochs: float) -> dict[str, dict[str, float]]:
    """Return the scores of each classifier for one draw of the labels."""
    test = read(folder / "adult_test.csv.gz", labels=LABEL)
    results = {}
    for model in MODELS:
        with TemporaryDirectory() as out:
            begin = time.process_time()
            run = train_run(folder, model, Path(out), n_labels, seed, epochs)
            seconds = time.process_time() - begin
            p = functional.apply_temperature(run.classify(test, calibrated=False), temperature(run))
            labels = labeled_training_rows(run).class_indices
            train = run.split("train")
        frequency = float((train.class_indices == 1).mean())
        results[model] = score(p[:, 1].numpy(), test.class_indices, frequency, seconds)
    labeled = np.flatnonzero(labels >= 0)
    others = np.setdiff1d(np.arange(len(train)), labeled)
    others = np.random.default_rng(seed).permutation(others)[:UNLABELED]
    tables = [to_sklearn(data.x).drop(columns=LABEL) for data in (train, test)]
    encoder = fit_encoder(tables[0])
    x, test_x = (encoder.transform(table) for table in tables)
    for name, (classifier, uses_unlabeled) in sklearn_classifiers().items():
        begin = time.process_time()
        rows = np.r_[labeled, others] if uses_unlabeled else labeled
        classifier.fit(x[rows], labels[rows])
        p = classifier.predict_proba(test_x)[:, 1]
        results[name] = score(p, test.class_indices, frequency, time.process_time() - begin)
    return results


def train_run(folder: Path, model: str, out: Path, n_labels: int, seed: int, epochs: float) -> Run:
    """Return a run trained as by `varied train`, without plots."""
    options: dict[str, Any] = {"n_labels": n_labels, "seed": seed, "threads": 1, "epochs": epochs}
    source = folder / "adult_train.csv.gz"
    job = prepare(source, model, labels=LABEL, out=out / "run", **options)
    for _ in job.train():
        pass
    return job.write_model()


def temperature(run: Run) -> float:
    """Return the calibration temperature from a hundred labeled validation rows."""
    rows = run.split("validation").head(CALIBRATION)
    labels = torch.from_numpy(rows.class_indices)
    return functional.calibration_temperature(run.classify(rows, calibrated=False), labels)


def to_sklearn(rows: pd.DataFrame) -> pd.DataFrame:
    """Return strings with missing cells as a level, and numbers as float64."""
    return pd.DataFrame(
        {
            name: cells.where(cells.notna(), "?")
            if cells.dtype == object
            else cells.to_numpy(np.float64, na_value=np.nan)
            for name, cells in rows.items()
        }
    )


def score(p: Any, y: Any, frequency: float, seconds: float) -> dict[str, float]:
    """Return AUROC, and log loss after correction to the frequency of the rarer class."""
    p = np.nan_to_num(p, nan=0.5)  # label spreading does not reach every row
    odds = p / np.clip(1 - p, 1e-6, None) * frequency / (1 - frequency)
    corrected = np.clip(odds / (1 + odds), 1e-6, 1 - 1e-6)
    return {
        "auroc": float(roc_auc_score(y, p)),
        "log_loss": float(log_loss(y, corrected)),
        "seconds": seconds,
    }


def page(results: dict[str, Any]) -> list[str]:
    rows = []
    for n_labels in sorted({int(key.partition("/")[0]) for key in results}):
        draws = [draw for key, draw in results.items() if key.startswith(f"{n_labels}/")]
        for name in sorted(draws[0], key=lambda name: -mean(d[name]["auroc"] for d in draws)):
            trials = [draw[name] for draw in draws]
            scores = [mean_std([t[key] for t in trials], 3) for key in ("auroc", "log_loss")]
            seconds = f"{mean(t['seconds'] for t in trials):.0f}"
            rows.append([str(n_labels), name, *scores, seconds, str(len(trials))])
    header = ["labels", "classifier", "AUROC", "log loss, nats", "seconds", "draws"]
    table = markdown_table(header, rows)
    return ["# Semi-supervised classification of Adult", "", description(__doc__), "", *table]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with adult_train.csv.gz and adult_test.csv.gz")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for n_labels in args.labels:
        for seed in args.seeds:
            results = run_trial(args.folder, n_labels, seed, args.epochs)
            save(NAME, f"{n_labels}/{seed}", results)
            print(n_labels, seed, json.dumps(results), flush=True)
    write_page(NAME, page(load(NAME)))


if __name__ == "__main__":
    main()
