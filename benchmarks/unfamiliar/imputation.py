"""Imputation: a fifth of the observed cells is hidden at random, or depending on another column."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from benchmarks.unfamiliar.encoding import Encoding, is_number
from benchmarks.unfamiliar.tables import Table
from varied import VAEImputer

OURS = "VAEImputer"
RIVALS = ("mean or mode", "nearest neighbors", "Bayesian ridge", "random forests")
HIDDEN, DRAWS = 0.2, 50
INTERVAL = (0.05, 0.95)
#: Number of forests to fit; the number of iterations is this divided by the number of columns.
FORESTS, TREES, PREDICTORS = 20, 50, 10


def hide_at_random(frame: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """Return which cells are hidden: each has the same probability (MCAR)."""
    return random.random(frame.shape) < HIDDEN


def hide_by_column(frame: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """Return which cells are hidden: most in rows with a large value of one column (MAR).

    This column is the one with the most values, and is observed.
    """
    values = _codes(frame).rank(pct=True)
    driver = int(frame.nunique().argmax())
    p = 2 * HIDDEN * values.iloc[:, driver].fillna(0.5).to_numpy()[:, None]
    hidden = random.random(frame.shape) < p
    hidden[:, driver] = False
    return hidden


MECHANISMS = {"MCAR": hide_at_random, "MAR": hide_by_column}


def _codes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(
        lambda cells: cells if is_number(cells) else cells.astype("category").cat.codes
    )


def impute_by_rival(name: str, observed: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the table imputed by a method of scikit-learn, on standardized columns.

    Text is one-hot encoded, but for the iterative methods, which would predict a missing level from
    the other missing levels of the same cell; they use ordinal codes.
    """
    iterative = name in RIVALS[2:]
    encoding = Encoding(observed, one_hot=not iterative)
    x = encoding.encode(observed)
    iterations = int(np.clip(FORESTS // x.shape[1], 1, 5))
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed)
    predictors = min(PREDICTORS, x.shape[1] - 1)
    imputers = {
        "mean or mode": SimpleImputer(),
        "nearest neighbors": KNNImputer(),
        "Bayesian ridge": IterativeImputer(random_state=seed),
        "random forests": IterativeImputer(
            forest, max_iter=iterations, n_nearest_features=predictors, random_state=seed
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return encoding.decode(imputers[name].fit_transform(x))


def errors(frame: pd.DataFrame, imputed: pd.DataFrame, hidden: np.ndarray) -> dict[str, float]:
    """Return the root mean squared error in standard deviations, and the error rate of text.

    Constant columns, which every method fills correctly, have no unit and are left out.
    """
    squares, wrong = [], []
    for index, name in enumerate(frame):
        rows = hidden[:, index]
        truth, values = frame[name][rows], imputed[name][rows]
        if is_number(frame[name]):
            if (std := frame[name].std()) > 0:
                squares.append(((values - truth) / std).to_numpy(float) ** 2)
        else:
            wrong.append((values.to_numpy(object) != truth.to_numpy(object)).astype(float))
    result = {"rmse": float(np.sqrt(np.concatenate(squares).mean()))} if squares else {}
    return result | ({"error_rate": float(np.concatenate(wrong).mean())} if wrong else {})


def coverage(frame: pd.DataFrame, draws: list[pd.DataFrame], hidden: np.ndarray) -> float | None:
    """Return the fraction of hidden numbers within the central 90% of the draws."""
    covered = []
    for index, name in enumerate(frame):
        rows = hidden[:, index]
        if is_number(frame[name]) and rows.any():
            values = np.stack([draw[name].to_numpy(float)[rows] for draw in draws])
            low, high = np.quantile(values, INTERVAL, axis=0)
            truth = frame[name].to_numpy(float)[rows]
            covered.append((low <= truth + 1e-9) & (truth - 1e-9 <= high))
    return float(np.concatenate(covered).mean()) if covered else None


def measure(table: Table, rows: int, seed: int, **settings: Any) -> dict[str, Any]:
    """Return the errors of each method by mechanism, and our coverage and seconds."""
    frame = table.sample(rows, seed).features.reset_index(drop=True)
    result: dict[str, Any] = {"rows": len(frame)}
    for mechanism, hide in MECHANISMS.items():
        hidden = hide(frame, np.random.default_rng(seed)) & frame.notna().to_numpy()
        hidden &= (~hidden & frame.notna().to_numpy()).sum(0) > 1
        observed = frame.mask(hidden)
        begin = time.perf_counter()
        imputer = VAEImputer(random_state=seed, **settings).fit(observed)
        imputed = {OURS: imputer.transform(observed)}
        seconds = time.perf_counter() - begin
        imputed |= {name: impute_by_rival(name, observed, seed) for name in RIVALS}
        result[mechanism] = {
            "errors": {name: errors(frame, rows, hidden) for name, rows in imputed.items()},
            "coverage": coverage(frame, imputer.draw(observed, DRAWS), hidden),
            "seconds": seconds,
        }
    return result
