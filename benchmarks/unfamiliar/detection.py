"""Detection: models of normal rows score other normal rows and anomalies."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.unfamiliar.encoding import encoder, is_number
from benchmarks.unfamiliar.tables import Table
from varied import VAEDetector
from varied.evaluate import auroc

OURS, PARTS = "VAEDetector", ("density", "distance")
RIVALS = ("nearest neighbors", "LOF", "isolation forest")
NEIGHBORS = 5
#: Maximum number of normal rows, and of anomalies of each kind, in the test.
MAX_TEST = 400
#: Fraction of the cells that are exchanged in local anomalies.
EXCHANGED = 0.3
#: Maximum number of columns that are shifted in marginal anomalies, and the shift.
MAX_SHIFTED, SHIFT = 3, 3.0


def exchange_cells(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Replace cells by those of other rows: each column is as usual, but not their combination."""
    columns = {}
    for name in frame:
        cells = frame[name].to_numpy(object)
        exchanged = random.random(len(cells)) < EXCHANGED
        columns[name] = np.where(exchanged, random.permutation(cells), cells)
    return pd.DataFrame(columns).astype(frame.dtypes.to_dict())


def shift_columns(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Shift up to three numeric columns of each row by three standard deviations.

    Whole numbers stay whole, so that the fraction does not reveal the anomaly.
    """
    names = [name for name in frame if is_number(frame[name])]
    n = random.integers(1, min(MAX_SHIFTED, len(names)) + 1, len(frame))
    order = random.random((len(frame), len(names))).argsort(1).argsort(1)
    shifts = SHIFT * random.choice([-1, 1], order.shape) * (order < n[:, None])
    columns = {}
    for name, shift in zip(names, shifts.T, strict=True):
        change = shift * frame[name].std()
        is_whole = frame[name].dropna().mod(1).eq(0).all()
        columns[name] = frame[name] + (
            np.sign(change) * np.ceil(abs(change)) if is_whole else change
        )
    return frame.assign(**columns)


def split_rows(table: Table, rows: int, seed: int) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the training rows, and the normal rows and the kinds of anomalies of the test."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(table.frame))
    shuffled, is_anomaly = table.features.iloc[order], table.is_anomaly[order]
    normal = shuffled[~is_anomaly][:rows]
    train, test = normal[: len(normal) // 2], normal[len(normal) // 2 :][:MAX_TEST]
    test = test.reset_index(drop=True)
    kinds = {"normal": test, "local": exchange_cells(test, random)}
    if any(is_number(test[name]) for name in test):
        kinds["marginal"] = shift_columns(test, random)
    if is_anomaly.any():
        kinds["real"] = shuffled[is_anomaly][: len(test)]
    return train.reset_index(drop=True), kinds


def rival_scores(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    """Return the anomaly scores of scikit-learn's methods."""
    transform = encoder().fit(train)
    x, y = transform.transform(train), transform.transform(test)
    k = min(NEIGHBORS, len(x))
    distance = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(y)[0][:, -1]
    lof = LocalOutlierFactor(n_neighbors=min(20, len(x) - 1), novelty=True).fit(x)
    forest = IsolationForest(random_state=seed).fit(x)
    scores = (distance, -lof.score_samples(y), -forest.score_samples(y))
    return dict(zip(RIVALS, scores, strict=True))


def our_scores(detector: VAEDetector, test: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the anomaly score, and the density and the distance that it combines."""
    rows = detector._validate(test)
    # Scoring takes as long as training, so that all three scores are computed at once.
    parts = detector._apply(lambda model, load, batches: detector.scorer_.score(batches), rows)
    scores = {OURS: parts.score, "density": parts.nll, "distance": parts.distance}
    return {name: values.numpy() for name, values in scores.items()}


def measure(table: Table, rows: int, seed: int, **settings: Any) -> dict[str, Any]:
    """Return the AUROC by kind of anomaly and method, and our false-positive rate and seconds."""
    train, kinds = split_rows(table, rows, seed)
    test = pd.concat(kinds.values(), ignore_index=True)
    labels = np.repeat(list(kinds), list(map(len, kinds.values())))
    begin = time.perf_counter()
    detector = VAEDetector(random_state=seed, **settings).fit(train)
    seconds = time.perf_counter() - begin
    scores = our_scores(detector, test) | rival_scores(train, test, seed)
    is_alarm = -scores[OURS][labels == "normal"] < detector.offset_
    result = {}
    for kind in kinds.keys() - {"normal"}:
        selected = (labels == "normal") | (labels == kind)
        truth = labels[selected] == kind
        result[kind] = {name: auroc(values[selected], truth) for name, values in scores.items()}
    return {
        "auroc": result,
        "false_positive_rate": float(is_alarm.mean()),
        "training_rows": len(train),
        "seconds": seconds,
    }
