"""A table of mixed types for the tests of tabular metrics."""

import numpy as np
import pandas as pd

NAMES = ["amount", "count", "day", "truth", "kind"]


def mixed_table(seed, n=500):
    """Return a table of five dependent columns of different types, with missing cells."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, n)
    amount = np.round(np.exp(rng.normal(group / 2, 1 + seed / 4)), 2)
    count = rng.poisson(2 + group, n).astype(float)
    days = rng.integers(0, 1000, n) + 200 * seed
    kind = np.array(list("abcd"), dtype=object)[group]
    columns = {
        "amount": np.where(rng.random(n) < 0.1, np.nan, amount),
        "count": pd.array(count, dtype="Int64"),
        "day": (np.datetime64("2020-01-01") + days.astype("m8[D]")).astype("M8[ns]"),
        "truth": pd.array(rng.random(n) < 0.3 + 0.1 * group, dtype="boolean"),
        "kind": pd.Series(np.where(rng.random(n) < 0.05, None, kind), dtype=object),
    }
    return pd.DataFrame(columns)
