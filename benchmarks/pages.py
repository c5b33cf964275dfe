"""Tables of figures, as Markdown."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "elbo": "-ELBO",
    "log_likelihood": "-log p(x)",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "active_units": "active units",
    "levels": "KL of each level",
    "used": "codebook usage",
    "perplexity": "perplexity",
    "frechet": "Fréchet distance",
    "sharpness": "sharpness",
    "mse": "mean squared error",
    "error": "error of classes",
    "mig": "MIG",
    "mig_spread": "spread over seeds",
    "parameters": "parameters",
    "epochs": "epochs",
    "seconds": "seconds",
}


def markdown(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of a table, a row for each variant; columns that none has are left out."""
    shown = [key for key in COLUMNS if any(row.get(key) is not None for row in rows.values())]
    head = " | ".join(["variant", *(COLUMNS[key] for key in shown)])
    lines = [f"| {head} |", "|" + "---|" * (len(shown) + 1)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row, key) for key in shown) + " |")
    return lines


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if key in ("elbo", "log_likelihood"):
        return f"{-value:.2f} ± {row[f'{key}_error']:.2f}"
    if key in ("reconstruction", "kl"):
        return f"{value:.2f}"
    if key == "used":
        return f"{value:.1%} of {row['codes']}"
    if key == "error":
        return f"{value:.1%}"
    if key == "active_units":
        return f"{value:.0f} of {row['latent']}"
    if key in ("parameters", "seconds"):
        return f"{value:,}"
    return str(value) if isinstance(value, list) else f"{value:.4g}"
