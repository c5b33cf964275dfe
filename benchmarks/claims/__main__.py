"""Run claims, keep what came of them, and write the page."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import anomalies, collapse, nets, rivalry, spaces, weights
from benchmarks.claims.base import Budget, Claim
from benchmarks.claims.page import page

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "benchmarks" / "results" / "claims.json"
PAGE, PICTURES = ROOT / "docs" / "claims.md", ROOT / "docs" / "images" / "claims"

MODULES = (spaces, weights, collapse, nets, rivalry, anomalies)
CLAIMS = {claim.number: claim for module in MODULES for claim in module.CLAIMS}


def main() -> None:
    asks = argparse.ArgumentParser(description="What texts claim of VAEs, put to the test.")
    asks.add_argument("numbers", nargs="*", type=int, help="these claims alone")
    asks.add_argument("--quick", action="store_true", help="the shape of the page, in minutes")
    asks.add_argument("--out", type=Path, default=Path("claims-quick"), help="of --quick")
    asks.add_argument("--page", action="store_true", help="write the page from what was kept")
    wanted = asks.parse_args()
    kept, written = KEPT, PAGE
    budget = Budget(PICTURES)
    if wanted.quick:
        kept, written = wanted.out / "claims.json", wanted.out / "claims.md"
        budget = Budget(wanted.out / "images", quick=True)
    budget.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    held: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    for number in [] if wanted.page else wanted.numbers or sorted(CLAIMS):
        held[str(number)] = tried(CLAIMS[number], budget)
        kept.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(number, held[str(number)]["verdict"], held[str(number)]["why"], flush=True)
    said = {number: claim.said for number, claim in CLAIMS.items()}
    pictures = budget.folder.relative_to(written.parent)
    written.write_text(page(held, said, pictures.as_posix(), quick=wanted.quick), "utf-8")


def tried(claim: Claim, budget: Budget) -> dict[str, Any]:
    """Test a claim; return what came of it as plain values."""
    begun = time.perf_counter()
    outcome = claim.test(budget)
    return {
        "said": claim.said,
        "experiment": inspect.getdoc(claim.test),
        **dataclasses.asdict(outcome),
        "minutes": round((time.perf_counter() - begun) / 60, 1),
    }


if __name__ == "__main__":
    main()
