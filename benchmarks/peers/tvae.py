"""CTGAN's TVAE by its defaults, in its own environment: reads a table, writes one that it made.

`python -m benchmarks.peers.tvae TABLE MADE EPOCHS SEED` prints JSON: the epochs and the processor
seconds of the fit. Both tables are ``.csv``. TVAE knows no missing cells: here one is a word of its
own.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import torch
from ctgan import TVAE

MISSING = "missing"


def main(table: str, made: str, epochs: str, seed: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    np.random.seed(int(seed))  # TVAE draws from it
    given = pd.read_csv(table, keep_default_na=False, na_values=[""])
    words = [name for name in given if given[name].dtype == object]
    given[words] = given[words].fillna(MISSING)
    begun = time.process_time()
    model = TVAE(epochs=int(epochs), enable_gpu=False)
    model.fit(given, words)
    seconds = time.process_time() - begun
    drawn = model.sample(len(given))
    drawn[words] = drawn[words].replace(MISSING, np.nan)
    drawn.to_csv(made, index=False)
    print(json.dumps({"epochs": int(epochs), "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
