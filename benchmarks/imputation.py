"""Missing cells, filled: ``python -m benchmarks.imputation FOLDER``, a folder of ADBench tables.

Of each table (at most 3,000 rows, standardized) 30 % and 50 % of the cells are hidden by chance,
and each method fits on what is left and fills it, with its default settings; two seeds. Root mean
squared error of the hidden cells in standard deviations: 1 is what the mean of a column does. The
coverage is the share of hidden cells within the central 90 % of 200 draws of `VAEImputer`; "smooth"
is that of the columns of which no value is held by more than a tenth of the rows. In other columns
an interval cannot hold 90 %: it has a value that half of the rows hold, or has it not.
"""

from __future__ import annotations

import json
import sys
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

from benchmarks.tables import asks, tables
from benchmarks.trained import RESULTS, keep
from varied import VAEImputer

MOST, SEEDS, SHARES, DRAWS = 3000, 2, (0.3, 0.5), 200
#: The largest share of the rows that may hold one value of a smooth column.
COMMON = 0.1
METHODS = ("VAEImputer", "nearest neighbors", "iterative", "mean")


def scored(x: np.ndarray, share: float, seed: int, **settings: Any) -> dict[str, float]:
    """Return the error of each method on hidden cells, and the coverage and seconds of ours."""
    dice = np.random.default_rng(seed)
    x = StandardScaler().fit_transform(x[dice.permutation(len(x))[:MOST]].astype(np.float64))
    hidden = (dice.random(x.shape) < share) & (x.std(0) > 0)
    hidden[:, hidden.all(0)] = False
    gaps = np.where(hidden, np.nan, x)
    begun = time.perf_counter()
    ours = VAEImputer(random_state=seed, **settings).fit(gaps)
    filled = {"VAEImputer": ours.transform(gaps)}
    seconds = time.perf_counter() - begun
    low, high = np.quantile(ours.draw(gaps, DRAWS), (0.05, 0.95), axis=0)
    others = (KNNImputer(), IterativeImputer(random_state=seed), SimpleImputer())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name, method in zip(METHODS[1:], others, strict=True):
            filled[name] = method.fit_transform(gaps)
    found = {name: float(np.sqrt(((filled[name] - x)[hidden] ** 2).mean())) for name in METHODS}
    inside = (low <= x + 1e-9) & (x - 1e-9 <= high)
    found |= {"coverage": float(inside[hidden].mean()), "seconds": seconds}
    common = np.array([np.unique(column, return_counts=True)[1].max() for column in x.T]) / len(x)
    smooth = hidden & (common <= COMMON)
    return found | ({"smooth": float(inside[smooth].mean())} if smooth.any() else {})


def page(held: dict[str, Any]) -> str:
    """Return the page of all that were kept."""
    lines = ["# Missing cells", "", (__doc__ or "").split("\n\n")[1].replace("\n", " "), ""]
    for share in SHARES:
        rows = {k.partition("/")[2]: v for k, v in held.items() if k.startswith(f"{share:.0%}/")}
        best = sum(all(v[METHODS[0]] < v[m] for m in METHODS[1:]) for v in rows.values())
        lines += [f"## {share:.0%} hidden", ""]
        lines += [f"| table | {' | '.join(METHODS)} | coverage | smooth | seconds |"]
        lines += [f"|{'---|' * (len(METHODS) + 4)}"]
        for name, found in sorted(rows.items()):
            cells = [f"{found[method]:.3f}" for method in METHODS]
            smooth = f"{found['smooth']:.1%}" if "smooth" in found else ""
            cells += [f"{found['coverage']:.1%}", smooth, f"{found['seconds']:.1f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += ["", f"`VAEImputer` errs least on {best} of {len(rows)}.", ""]
    return "\n".join(lines)


def main() -> None:
    wanted = asks(__doc__ or "").parse_args()
    torch.set_num_threads(1)
    for name, x, _ in tables(wanted):
        for share in SHARES:
            trials = [scored(x, share, seed) for seed in range(SEEDS)]
            found = {
                key: mean(trial[key] for trial in trials) for key in trials[0] if key in trials[-1]
            }
            keep("imputation", f"{share:.0%}/{name}", found)
            print(name, share, {k: round(v, 3) for k, v in found.items()}, flush=True)
    held = json.loads((RESULTS / "imputation.json").read_text("utf-8"))
    (RESULTS / "imputation.md").write_text(page(held), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
