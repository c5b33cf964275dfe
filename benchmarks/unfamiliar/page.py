"""The page of the results, from the record of all tables, tasks and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean
from typing import Any

from benchmarks.records import markdown_table
from benchmarks.unfamiliar import detection, imputation, synthesis
from benchmarks.unfamiliar.tables import HELD_OUT, SOURCES, TUNED

HALVES = (HELD_OUT, TUNED)
#: The difference in AUROC that counts as worse.
MARGIN = 0.03
Results = dict[str, Any]

INTRODUCTION = """
The defaults of Varied were chosen on some tables, and the documentation reports results on them.
This benchmark compares those tables ("tuned on") with tables that were not used before ("held
out"): tables of Python packages, and generated tables with properties on which models fail. Read
the means of the held-out half as what to expect on your own data. A method that is good only in
the other half was fitted to its tables. All methods have default settings and one thread; values
are means over the seeds of a table, then over tables. Seconds were measured while other programs
used the same cores.
"""

DETECTION = """
Half of the normal rows are used for training, and up to 400 other normal rows and as many
anomalies for testing. Values are the AUROC. Anomalies are real if the table has labels of
anomalies or classes; "local" anomalies are normal rows in which each cell is replaced by that of
another row with probability 0.3, and "marginal" anomalies are normal rows in which one to three
numbers are shifted by three standard deviations. The rivals (fifth nearest neighbor, local outlier
factor, isolation forest) use standardized and one-hot columns. "density" and "distance" are the
two parts of `VAEDetector`. A table counts as behind if the AUROC is more than 0.03 below that of
the best rival, which is chosen by its test result and therefore has an advantage.
"""

IMPUTATION = """
A fifth of the cells is hidden, at random (MCAR) or more often in rows with a large value of one
column (MAR). The error is the root mean squared error of numbers in standard deviations, and the
error rate of categories. Nearest neighbors use one-hot columns, and the iterative methods
(`IterativeImputer` with `BayesianRidge`, or with 50 trees and one to five iterations) use ordinal
codes. Coverage is the fraction of hidden numbers in the central 90% of 50 draws; it is above 90%
in columns with few values.
"""

SYNTHESIS = """
A model is trained on half of the rows, and as many rows are generated. "Usefulness" is the AUROC,
or R² for numbers, on the other half of the rows of a gradient-boosting model that was trained on
generated rows. The distances are the mean Kolmogorov-Smirnov or total variation distance of
columns, and the mean difference of correlations or contingency tables of pairs of columns; 0 is
best. C2ST is the AUROC of a random forest that distinguishes generated from real rows; 0.5 is
best. TVAE is the implementation of CTGAN with 300 epochs.
"""


def write(record: Results) -> list[str]:
    """Return the lines of the page."""
    lines = ["# Varied on unfamiliar data", "", " ".join(INTRODUCTION.split()), ""]
    processors = sorted({row["processor"] for row in record.values() if "processor" in row})
    lines += [f"Processor: {', '.join(processors) or 'unknown'}.", ""]
    for title, text, pages in (
        ("detection", DETECTION, detection_tables),
        ("imputation", IMPUTATION, imputation_tables),
        ("synthesis", SYNTHESIS, synthesis_tables),
    ):
        trials = by_table(record, title)
        lines += [
            f"## {title.capitalize()}",
            "",
            " ".join(text.split()),
            "",
            *missing(title, trials),
        ]
        lines += pages(trials) if trials else []
    return lines


def by_table(record: Results, task: str) -> dict[str, list[Results]]:
    """Return the results of each table, one for each seed."""
    trials: dict[str, list[Results]] = defaultdict(list)
    for key, result in sorted(record.items()):
        name = key.split("/")[1]
        if key.startswith(f"{task}/") and name in SOURCES:
            trials[name].append(result)
    return trials


def missing(task: str, trials: dict[str, list[Results]]) -> list[str]:
    """Return the numbers of tables, rows and seeds, and the tables without results."""
    expected = synthesis.TABLES if task == "synthesis" else SOURCES
    absent = [name for name in expected if name not in trials]
    seeds = " or ".join(str(n) for n in sorted({len(results) for results in trials.values()}))
    results = [result for table in trials.values() for result in table]
    rows = max((row.get("training_rows") or row["rows"] for row in results), default=0)
    text = f"{len(trials)} tables of at most {rows:,} training rows; seeds per table: {seeds or 0}."
    return [text + (f" Not measured: {', '.join(absent)}." if absent else ""), ""]


def average(trials: Iterable[Results]) -> Results:
    """Return the means over nested dictionaries of numbers with the same keys."""
    rows = list(trials)
    result: Results = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows if row.get(key) is not None]
        result[key] = average(values) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            result[key] = mean(values)
    return result


def of_half(rows: dict[str, Results], half: str) -> dict[str, Results]:
    return {name: row for name, row in rows.items() if SOURCES[name].half == half}


def share(flags: Iterable[bool]) -> str:
    values = list(flags)
    return f"{sum(values)} of {len(values)}"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def detection_tables(trials: dict[str, list[Results]]) -> list[str]:
    means = {name: average(results) for name, results in trials.items()}
    methods = (detection.OURS, *detection.PARTS, *detection.RIVALS)
    summary, rows = [], []
    for kind in ("real", "local", "marginal"):
        for half in HALVES:
            tables = [r["auroc"][kind] for r in of_half(means, half).values() if kind in r["auroc"]]
            if tables:
                cells = [number(mean(row[m] for row in tables)) for m in methods]
                behind = share(is_behind(row) for row in tables)
                summary.append([kind, half, str(len(tables)), *cells, behind])
        for name, result in means.items():
            if kind in result["auroc"]:
                row = result["auroc"][kind]
                mark = "behind" if is_behind(row) else ""
                cells = [number(row[method]) for method in methods]
                rows.append([kind, name, SOURCES[name].half, *cells, mark])
    rates = [
        [half, percent(mean(r["false_positive_rate"] for r in tables)), share_above, seconds]
        for half in HALVES
        if (tables := list(of_half(means, half).values()))
        for share_above in [share(r["false_positive_rate"] > 0.05 for r in tables)]
        for seconds in [f"{mean(r['seconds'] for r in tables):.0f}"]
    ]
    return [
        *markdown_table(["anomalies", "half", "tables", *methods, "behind"], summary),
        "",
        "False-positive rate of `VAEDetector` at the default threshold, nominally at most 5%:",
        "",
        *markdown_table(["half", "false-positive rate", "above 5%", "seconds"], rates),
        "",
        *markdown_table(["anomalies", "table", "half", *methods, ""], rows),
        "",
    ]


def is_behind(row: Results) -> bool:
    """Return whether the AUROC is below that of the best rival by more than the margin."""
    return row[detection.OURS] < max(row[rival] for rival in detection.RIVALS) - MARGIN


def imputation_tables(trials: dict[str, list[Results]]) -> list[str]:
    means = {name: average(results) for name, results in trials.items()}
    methods = (imputation.OURS, *imputation.RIVALS)
    summary, rows = [], []
    for mechanism in imputation.MECHANISMS:
        for metric, label in (("rmse", "numbers"), ("error_rate", "categories")):
            for half in HALVES:
                tables = [r[mechanism] for r in of_half(means, half).values()]
                errors = [row for r in tables if (row := errors_of(r, metric))]
                if errors:
                    cells = [number(mean(row[m] for row in errors)) for m in methods]
                    covered = [r["coverage"] for r in tables if r["coverage"] is not None]
                    coverage = percent(mean(covered)) if metric == "rmse" and covered else ""
                    best = share(is_best(row) for row in errors)
                    summary.append(
                        [mechanism, label, half, str(len(errors)), *cells, best, coverage]
                    )
            for name, result in means.items():
                if row := errors_of(result[mechanism], metric):
                    coverage = percent(result[mechanism]["coverage"]) if metric == "rmse" else ""
                    cells = [number(row[m]) for m in methods]
                    rows.append([mechanism, label, name, SOURCES[name].half, *cells, coverage])
    header = ["missing", "cells", "half", "tables", *methods, "least error", "coverage"]
    details = ["missing", "cells", "table", "half", *methods, "coverage"]
    return [*markdown_table(header, summary), "", *markdown_table(details, rows), ""]


def errors_of(result: Results, metric: str) -> dict[str, float]:
    """Return the error of each method, empty if the table has no such cells."""
    return {m: row[metric] for m, row in result["errors"].items() if row.get(metric) is not None}


def is_best(errors: dict[str, float]) -> bool:
    return errors[imputation.OURS] <= min(errors[rival] for rival in imputation.RIVALS)


def synthesis_tables(trials: dict[str, list[Results]]) -> list[str]:
    means = {name: average(results) for name, results in trials.items()}
    metrics = ("usefulness", "column_distance", "pair_distance", "c2st")
    sources = (synthesis.OURS, synthesis.TVAE, synthesis.REAL)
    header = ["rows", "tables", "usefulness", "above TVAE", "columns", "pairs", "C2ST"]
    summary, rows = [], []
    for half in HALVES:
        tables = [row["metrics"] for row in of_half(means, half).values()]
        for source in sources:
            values = [row[source] for row in tables if source in row]
            if values:
                first, *others = [number(mean(row[m] for row in values)) for m in metrics]
                above = share(is_above(row) for row in tables) if source == synthesis.OURS else ""
                summary.append([half, source, str(len(values)), first, above, *others])
    for name, result in means.items():
        score = trials[name][0]["score"]
        for source in sources:
            if source in result["metrics"]:
                cells = [number(result["metrics"][source][metric]) for metric in metrics]
                rows.append([name, SOURCES[name].half, source, score, *cells])
    details = ["table", "half", "rows", "score", "usefulness", "columns", "pairs", "C2ST"]
    return [
        *markdown_table(["half", *header], summary),
        "",
        *markdown_table(details, rows),
        "",
    ]


def is_above(row: Results) -> bool:
    """Return whether our rows are more useful than those of TVAE, if it was measured."""
    ours, peer = row[synthesis.OURS], row.get(synthesis.TVAE)
    return peer is not None and ours["usefulness"] > peer["usefulness"]
