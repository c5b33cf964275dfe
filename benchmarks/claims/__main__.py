"""Run claims, keep what came of them, and write the page."""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims.base import Budget
from benchmarks.claims.page import page
from benchmarks.claims.trial import CLAIMS, tried

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "benchmarks" / "results" / "claims.json"
PAGE, PICTURES = ROOT / "docs" / "claims.md", ROOT / "docs" / "images" / "claims"


def main() -> None:
    asks = argparse.ArgumentParser(description="What texts claim of VAEs, put to the test.")
    asks.add_argument("numbers", nargs="*", type=int, help="these claims alone")
    asks.add_argument("--quick", action="store_true", help="the shape of the page, in minutes")
    asks.add_argument("--out", type=Path, default=Path("claims-quick"), help="of --quick")
    asks.add_argument("--workers", type=int, default=2, help="claims at once, a core for each")
    asks.add_argument("--page", action="store_true", help="write the page from what was kept")
    wanted = asks.parse_args()
    kept, written = KEPT, PAGE
    budget = Budget(PICTURES)
    if wanted.quick:
        kept, written = wanted.out / "claims.json", wanted.out / "claims.md"
        budget = Budget(wanted.out / "images", quick=True)
    budget.folder.mkdir(parents=True, exist_ok=True)
    held: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    numbers = [] if wanted.page else longest_first(wanted.numbers or list(CLAIMS))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(wanted.workers, spawn, torch.set_num_threads, (1,)) as workers:
        asked = {workers.submit(tried, number, budget): number for number in numbers}
        for answer in as_completed(asked):
            number = asked[answer]
            held[str(number)] = answer.result()
            kept.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", "utf-8")
            print(number, held[str(number)]["verdict"], held[str(number)]["why"], flush=True)
    said = {number: claim.said for number, claim in CLAIMS.items()}
    pictures = budget.folder.relative_to(written.parent)
    written.write_text(page(held, said, pictures.as_posix(), quick=wanted.quick), "utf-8")


def longest_first(numbers: list[int]) -> list[int]:
    """Order the claims so that no long one is left to run alone at the end."""
    took = {int(at): one["minutes"] for at, one in json.loads(KEPT.read_text("utf-8")).items()}
    return sorted(numbers, key=lambda number: -took.get(number, 0.0))


if __name__ == "__main__":
    main()
