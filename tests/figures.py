"""Read the figures that the tests have written."""

import re

import numpy as np
from PIL import Image


def pixels(path):
    """The RGB pixels of an image file, shape (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def svg_texts(path):
    """The texts of an SVG file; matplotlib draws them as paths, each with a comment."""
    return re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))


def has_blank_margins(path):
    """Whether an image has content but none at its edges, where it would be cut off."""
    gray = pixels(path).min(axis=2)
    edges = (gray[0], gray[-1], gray[:, 0], gray[:, -1])
    return gray.min() < 200 and all((edge > 250).all() for edge in edges)
