"""Test claims, save the outcomes, and write the page."""

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
from benchmarks.claims.registry import CLAIMS, run_test
from benchmarks.records import RESULTS

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORD, PAGE, IMAGES = RESULTS / "claims.json", DOCS / "claims.md", DOCS / "images" / "claims"


def main() -> None:
    parser = argparse.ArgumentParser(description="Test common claims about VAEs.")
    parser.add_argument("numbers", nargs="*", type=int, help="test only these claims")
    parser.add_argument("--quick", action="store_true", help="short versions, to test the code")
    parser.add_argument("--out", type=Path, default=Path("claims-quick"), help="for --quick")
    parser.add_argument("--workers", type=int, default=2, help="number of parallel processes")
    parser.add_argument("--page", action="store_true", help="write the page from saved outcomes")
    args = parser.parse_args()
    record, target = RECORD, PAGE
    budget = Budget(IMAGES)
    if args.quick:
        record, target = args.out / "claims.json", args.out / "claims.md"
        budget = Budget(args.out / "images", quick=True)
    budget.folder.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Any] = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    numbers = [] if args.page else longest_first(args.numbers or list(CLAIMS))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, spawn, torch.set_num_threads, (1,)) as workers:
        futures = {workers.submit(run_test, number, budget): number for number in numbers}
        for future in as_completed(futures):
            number = str(futures[future])
            outcomes[number] = future.result()
            record.write_text(json.dumps(outcomes, indent=1, ensure_ascii=False) + "\n", "utf-8")
            print(number, outcomes[number]["verdict"], outcomes[number]["summary"], flush=True)
    images = budget.folder.relative_to(target.parent)
    target.write_text(page(outcomes, CLAIMS, images.as_posix(), quick=args.quick), "utf-8")


def longest_first(numbers: list[int]) -> list[int]:
    """Return the claims by decreasing previous duration, so that no long claim starts last."""
    minutes = {int(n): outcome["minutes"] for n, outcome in json.loads(RECORD.read_text()).items()}
    return sorted(numbers, key=lambda number: -minutes.get(number, 0.0))


if __name__ == "__main__":
    main()
