"""Functions that read the figures written by the tests."""

import re

import numpy as np
from PIL import Image


def pixels(path):
    """Return the RGB pixels of an image file, with shape (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def svg_texts(path):
    """Return the texts of an SVG file; matplotlib draws them as paths, each with a comment."""
    return re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))


def has_blank_margins(path):
    """Return whether an image has content, but none at its edges, where it would be cut off."""
    gray = pixels(path).min(axis=2)
    edges = (gray[0], gray[-1], gray[:, 0], gray[:, -1])
    return gray.min() < 200 and all((edge > 250).all() for edge in edges)
