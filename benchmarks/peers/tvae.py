"""TVAE of CTGAN with default settings, in its own environment.

`python -m benchmarks.peers.tvae TABLE GENERATED EPOCHS SEED` reads a ``.csv`` file, writes a
generated table, and prints the epochs and the CPU seconds of training as JSON. TVAE does not
support missing cells, so they are treated as a level of their column.
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


def main(table: str, generated: str, epochs: str, seed: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    np.random.seed(int(seed))  # TVAE uses the global generator
    rows = pd.read_csv(table, keep_default_na=False, na_values=[""])
    text = [name for name in rows if not pd.api.types.is_numeric_dtype(rows[name])]
    rows[text] = rows[text].fillna(MISSING)
    begin = time.process_time()
    model = TVAE(epochs=int(epochs), enable_gpu=False)
    model.fit(rows, text)
    seconds = time.process_time() - begin
    samples = model.sample(len(rows))
    samples[text] = samples[text].replace(MISSING, np.nan)
    samples.to_csv(generated, index=False)
    print(json.dumps({"epochs": int(epochs), "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
