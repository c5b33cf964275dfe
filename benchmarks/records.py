"""Result files of the benchmarks: one JSON record and one Markdown page each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

#: Metrics of a trained model, in the order of the columns.
METRICS = {
    "elbo": "-ELBO",
    "log_likelihood": "-log p(x)",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "active_units": "active units",
    "kl_by_level": "KL by level",
    "codebook_usage": "codebook usage",
    "codebook_perplexity": "perplexity",
    "frechet": "Fréchet distance",
    "sharpness": "sharpness",
    "mse": "mean squared error",
    "error": "classification error",
    "mig": "MIG",
    "mig_std": "standard deviation over seeds",
    "parameters": "parameters",
    "epochs": "epochs",
    "seconds": "seconds",
}


def load(name: str) -> dict[str, Any]:
    """Return the record of a benchmark, empty if it does not exist."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def save(name: str, key: str, values: dict[str, Any]) -> None:
    """Add an entry to the record of a benchmark, or replace it."""
    record = load(name) | {key: values}
    (RESULTS / f"{name}.json").write_text(
        json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8"
    )


def write_page(name: str, lines: Iterable[str]) -> None:
    """Write the page of a benchmark."""
    (RESULTS / f"{name}.md").write_text("\n".join(lines).rstrip("\n") + "\n", "utf-8")


def description(doc: str | None) -> str:
    """Return the second paragraph of a module's docstring, for its page."""
    return " ".join((doc or "").split("\n\n")[1].split()).replace("``", "`")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    ruled = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cells)} |" for cells in ruled]


def metrics_table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return a Markdown table with a row for each model; columns without values are omitted."""
    keys = [key for key in METRICS if any(row.get(key) is not None for row in rows.values())]
    body = [[name, *(_cell(row, key) for key in keys)] for name, row in rows.items()]
    return markdown_table(["model", *(METRICS[key] for key in keys)], body)


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if key in ("elbo", "log_likelihood"):
        return f"{-value:.2f} ± {row[f'{key}_error']:.2f}"
    if key in ("reconstruction", "kl"):
        return f"{value:.2f}"
    if key == "codebook_usage":
        return f"{value:.1%} of {row['codebook_size']}"
    if key == "error":
        return f"{value:.1%}"
    if key == "active_units":
        return f"{value:.0f} of {row['latent_dim']}"
    if key in ("parameters", "seconds"):
        return f"{value:,}"
    return str(value) if isinstance(value, list) else f"{value:.4g}"


def mean_std(values: Sequence[float], digits: int = 2) -> str:
    """Return the mean and, for several values, the standard deviation."""
    std = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{std}"
