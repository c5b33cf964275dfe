"""Small runs of several kinds of data for the tests of the studio."""

from pathlib import Path

import numpy as np
import pandas as pd
from bar_images import bar_images
from quick_training import train_to_end

from varied.studio.opened_run import OpenedRun, Services
from varied.studio.schemas import Source
from varied.training import prepare

SMALL = {"steps": 80, "lr": 5e-3, "batch_size": 64, "precision": "float32", "threads": 1}


def gray_bars(n=200, seed=0):
    """Return images of bars with many gray levels, which are not binarized, and their labels."""
    x, labels = bar_images(n, seed=seed)
    noise = np.random.default_rng(seed).integers(0, 60, x.shape)
    return (x // 2 + noise).astype(np.uint8), labels


def people(n=240):
    """Return a table with missing cells."""
    rng = np.random.default_rng(1)
    age, is_member = rng.normal(40, 10, n).round(1), rng.random(n) < 0.5
    income = (1000 * (age + 5 * is_member + rng.normal(0, 1, n))).round()
    city = np.where(is_member, "Rome", np.where(age > 40, "Oslo", "Kiev")).astype(object)
    age[rng.random(n) < 0.1] = np.nan
    city[rng.random(n) < 0.1] = None
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    return pd.DataFrame({"age": age, "income": income, "city": city, "day": day})


def waves(n=200):
    """Return a series of 24 values per row, of which some are missing."""
    rng = np.random.default_rng(2)
    phase, height = rng.uniform(0, 6, (n, 1)), rng.uniform(0.5, 2, (n, 1))
    x = height * np.sin(phase + np.arange(24) / 4) + rng.normal(0, 0.05, (n, 24))
    x[rng.random(x.shape) < 0.05] = np.nan
    return x.astype(np.float32)


def open_small(folder, data, model="vae", services=None, **options):
    """Train a small run on data in memory or a path, and open it for the studio."""
    train_to_end(prepare(data, model, out=folder, **SMALL | options))
    return OpenedRun(folder, None if isinstance(data, Path) else data, services or Services())


def rows(*numbers):
    """Return a source of rows of the run's data."""
    return Source(rows=list(numbers))
