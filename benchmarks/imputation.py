"""Imputation of tables: ``python -m benchmarks.imputation FOLDER``, a folder of ADBench tables.

In each table (at most 3,000 rows, standardized), 30 % and 50 % of the cells are hidden at random.
Each method is fitted to the remaining cells with its default settings and imputes the hidden cells;
there are two seeds. The error is the root mean squared error in standard deviations, which is 1 for
the column mean. Coverage is the fraction of hidden cells within the central 90 % of 200 draws of
`VAEImputer`; "smooth" is the coverage for columns in which no value occurs in more than a tenth of
the rows. In other columns, no interval can have a coverage of 90 %: it either contains the value of
half of the rows or it does not.
"""

from __future__ import annotations

import time
import warnings
from statistics import mean
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler

from benchmarks.adbench import parser, tables
from benchmarks.records import description, load, markdown_table, save, write_page
from varied import VAEImputer

MAX_ROWS, SEEDS, FRACTIONS, DRAWS = 3000, 2, (0.3, 0.5), 200
#: The maximum frequency of a value in a smooth column.
MAX_FREQUENCY = 0.1
METHODS = ("VAEImputer", "nearest neighbors", "iterative", "mean")


def measure(x: np.ndarray, fraction: float, seed: int, **settings: Any) -> dict[str, float]:
    """Return the error of each method, and the coverage and seconds of `VAEImputer`."""
    random = np.random.default_rng(seed)
    x = StandardScaler().fit_transform(x[random.permutation(len(x))[:MAX_ROWS]].astype(np.float64))
    hidden = (random.random(x.shape) < fraction) & (x.std(0) > 0)
    hidden[:, hidden.all(0)] = False
    observed = np.where(hidden, np.nan, x)
    begin = time.perf_counter()
    imputer = VAEImputer(random_state=seed, **settings).fit(observed)
    imputed = {"VAEImputer": imputer.transform(observed)}
    seconds = time.perf_counter() - begin
    low, high = np.quantile(imputer.draw(observed, DRAWS), (0.05, 0.95), axis=0)
    baselines = (KNNImputer(), IterativeImputer(random_state=seed), SimpleImputer())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, method in zip(METHODS[1:], baselines, strict=True):
            imputed[name] = method.fit_transform(observed)
    result = {name: float(np.sqrt(((imputed[name] - x)[hidden] ** 2).mean())) for name in METHODS}
    is_covered = (low <= x + 1e-9) & (x - 1e-9 <= high)
    result |= {"coverage": float(is_covered[hidden].mean()), "seconds": seconds}
    counts = np.array([np.unique(column, return_counts=True)[1].max() for column in x.T])
    smooth = hidden & (counts / len(x) <= MAX_FREQUENCY)
    return result | ({"smooth": float(is_covered[smooth].mean())} if smooth.any() else {})


def page(results: dict[str, Any]) -> list[str]:
    lines = ["# Imputation of tables", "", description(__doc__), ""]
    for fraction in FRACTIONS:
        start = f"{fraction:.0%}/"
        rows = {k.partition("/")[2]: v for k, v in results.items() if k.startswith(start)}
        body = []
        for name, row in sorted(rows.items()):
            cells = [name, *(f"{row[method]:.3f}" for method in METHODS), f"{row['coverage']:.1%}"]
            smooth = f"{row['smooth']:.1%}" if "smooth" in row else ""
            body.append([*cells, smooth, f"{row['seconds']:.1f}"])
        best = sum(all(v[METHODS[0]] < v[m] for m in METHODS[1:]) for v in rows.values())
        header = ["table", *METHODS, "coverage", "smooth", "seconds"]
        lines += [f"## {fraction:.0%} hidden", "", *markdown_table(header, body), ""]
        lines += [f"`VAEImputer` has the lowest error on {best} of {len(rows)} tables.", ""]
    return lines


def main() -> None:
    args = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    for name, x, _ in tables(args):
        for fraction in FRACTIONS:
            trials = [measure(x, fraction, seed) for seed in range(SEEDS)]
            keys = [key for key in trials[0] if key in trials[-1]]
            means = {key: mean(trial[key] for trial in trials) for key in keys}
            save("imputation", f"{fraction:.0%}/{name}", means)
            print(name, fraction, {k: round(v, 3) for k, v in means.items()}, flush=True)
    write_page("imputation", page(load("imputation")))


if __name__ == "__main__":
    main()
