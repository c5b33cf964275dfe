"""Images of bars, with their direction as the label."""

import numpy as np

from varied.training import prepare

SMALL = {"width": 32, "batch_size": 32, "steps": 30, "threads": 1, "precision": "float32"}


def bar_images(n=200, side=9, channels=1, seed=0):
    """Return images of a horizontal or vertical bar on a dark background, and their labels."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, (n, side, side), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label in zip(x, labels, strict=True):
        position = rng.integers(1, side - 1)
        image[(position, slice(None)) if label else (slice(None), position)] = 250
    x = np.repeat(x[..., None], channels, -1) if channels > 1 else x
    return x, np.array(["vertical", "horizontal"])[labels]


def save_bar_images(path, seed=0):
    """Write bar images and their labels to an .npz file."""
    x, labels = bar_images(seed=seed)
    np.savez(path, x=x, labels=labels)
    return path


def prepare_bars(data, out, **options):
    """Prepare a short training run on bar images."""
    return prepare(data, out=out, **SMALL | {"latent": 3} | options)
