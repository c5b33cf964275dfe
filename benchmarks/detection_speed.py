"""Time `varied detect` on a generated table: ``python benchmarks/detection_speed.py``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import varied

ROWS, NEW, STEPS = 500_000, 20_000, 1500


def table(n: int = ROWS) -> pd.DataFrame:
    """Return a table of seven columns of numbers and three of categories."""
    random = np.random.default_rng(0)
    z = random.normal(size=(n, 3))
    noise = random.normal(size=(n, 6)) / 2
    numbers = (z @ random.normal(size=(3, 6)) + noise).round(3)
    return pd.DataFrame(numbers, columns=list("abcdef")).assign(
        kind=np.array(list("uvwxyz"))[(1.3 * z[:, 0] + 3).astype(int).clip(0, 5)],
        answer=np.where(z[:, 1] + noise[:, 0] > 0, "yes", "no"),
        count=random.poisson(np.exp(1 + z[:, 2] / 2)),
        group=random.choice(["p", "q", "r"], n),
    )


def main() -> None:
    """Train on the table, and print the times of the first and of later detections."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table().to_csv(folder / "rows.csv", index=False)
        table().sample(NEW, random_state=1).to_csv(folder / "new.csv", index=False)
        varied.train(str(folder / "rows.csv"), steps=STEPS, threads=1, out=folder / "run")
        for title in ("first", "second"):
            start, cpu = time.perf_counter(), time.process_time()
            varied.Run(folder / "run").detect(str(folder / "new.csv"))
            cpu = time.process_time() - cpu
            print(f"{title}: {time.perf_counter() - start:.1f} s, CPU {cpu:.1f} s")
            print(f"{title}: {NEW / cpu:,.0f} rows per second of CPU time")


if __name__ == "__main__":
    main()
