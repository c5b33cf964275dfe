"""The examples of a run's data: their names, thumbnails and nearest neighbors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from varied.data.codecs.plain_formats import encode_png
from varied.errors import VariedError
from varied.studio.examples import originals, row_labels
from varied.studio.opened_run import SPLITS, OpenedRun
from varied.studio.schemas import Item, Neighbor, Neighbors

Array = npt.NDArray[Any]

#: The length of the longer side of a thumbnail in pixels.
_SIDE = 64
#: The maximum number of values that are drawn in a thumbnail.
_MAX_DRAWN = 512
#: A color that is visible on light and on dark backgrounds.
_LINE = (110, 120, 135, 255)


def item(opened: OpenedRun, row: int) -> Item:
    """Return an example of the data of a run.

    Raises:
        VariedError: If there is no such row, or the data are not available.
    """
    return _items(opened, [_check_row(opened, row)])[0]


def search(opened: OpenedRun, query: str = "", n: int = 50) -> list[Item]:
    """Return the examples whose row number, label or name contains a text, best first.

    Arguments:
        opened: The run.
        query: The text; all examples contain an empty one.
        n: The maximum number of examples.
    """
    data, text = opened.run.data, query.strip().lower()
    rows: list[int] = []
    if text.isdecimal() and int(text) < len(data):
        rows.append(int(text))
    labels, names = _lower_case(opened)
    rows += [row for row, label in enumerate(labels) if label == text][:n]
    for texts in (labels, names):
        if len(set(rows)) < n:
            rows += [row for row, known in enumerate(texts) if text in known][: 2 * n]
    return _items(opened, list(dict.fromkeys(rows))[:n])


def _lower_case(opened: OpenedRun) -> tuple[list[str], list[str]]:
    """Return the labels and the names of all rows in lower case."""
    if "names" not in opened.cache:
        data = opened.run.data
        labels = [(label or "").lower() for label in row_labels(data)]
        opened.cache["names"] = labels, [name.lower() for name in data.names or ()]
    result: tuple[list[str], list[str]] = opened.cache["names"]
    return result


def _items(opened: OpenedRun, rows: list[int]) -> list[Item]:
    if not rows:
        return []
    data = opened.run.data.take(rows)
    examples = originals(opened, data, opened.run.encode_data(data))
    names = data.names or tuple(map(str, rows))
    parts = zip(rows, names, row_labels(data), examples, strict=True)
    return [
        Item(row=row, name=name, label=label, split=SPLITS[opened.splits[row]], example=example)
        for row, name, label, example in parts
    ]


def _check_row(opened: OpenedRun, row: int) -> int:
    n = len(opened.run.data)
    if not 0 <= row < n:
        raise VariedError(f"There is no row {row}; rows must be between 0 and {n - 1:,}.")
    return row


def thumbnail(opened: OpenedRun, row: int) -> bytes:
    """Return a small image of an example as a PNG file: the image, or a drawing of its values.

    Raises:
        VariedError: If there is no such row, or the data are not available.
    """
    data = opened.run.data.take([_check_row(opened, row)])
    codec, batch = opened.run.codec, opened.run.encode_data(data)
    image = codec.to_images(opened.run.with_missing(data, codec.to_values(batch.x)))[0]
    if image.dtype != np.uint8:
        return encode_png(_draw_values(np.ravel(image).astype(np.float64)))
    if max(image.shape[:2]) > _SIDE:
        small = Image.fromarray(image)
        small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
        image = np.asarray(small)
    return encode_png(image)


def _draw_values(values: Array) -> Array:
    """Return a curve through the values that are not missing, uint8 with shape (H, W, 4)."""
    values = values[:: -(-len(values) // _MAX_DRAWN)]
    image = Image.new("RGBA", (_SIDE, _SIDE // 2))
    low, high = (
        float(f(values)) if np.isfinite(values).any() else 0.0 for f in (np.nanmin, np.nanmax)
    )
    heights = (_SIDE // 2 - 3) * (1 - (values - low) / ((high - low) or 1.0)) + 1
    across = np.linspace(1, _SIDE - 2, len(values))
    draw = ImageDraw.Draw(image)
    for i in range(max(1, len(values) - 1)):
        j = min(i + 1, len(values) - 1)
        if np.isfinite(heights[[i, j]]).all():
            draw.line([across[i], heights[i], across[j], heights[j]], fill=_LINE)
    return np.asarray(image)


def neighbors(opened: OpenedRun, row: int, n: int = 12) -> Neighbors:
    """Return the points of the map whose codes are nearest to the code of an example.

    Distances are those of `varied.functional.nearest_codes`.

    Raises:
        VariedError: If there is no such row, or no latent unit is active.
    """
    data = opened.run.data.take([_check_row(opened, row)])
    z = opened.encode(opened.run.encode_data(data))
    return Neighbors(neighbors=nearest_points(opened, z, n, without=row)[0])


def nearest_points(
    opened: OpenedRun, z: Tensor, n: int, *, without: int | None = None
) -> list[list[Neighbor]]:
    """Return the points of the map whose codes are nearest to each of M codes, nearest first.

    Arguments:
        opened: The run.
        z: The codes, with shape (M, D).
        n: The number of neighbors.
        without: A row that is not returned.
    """
    points, scale = opened.map_rows, opened.unit_scale
    if "scaled codes" not in opened.cache:
        opened.cache["scaled codes"] = (opened.codes.double() / scale)[:, scale.isfinite()]
    scaled: Tensor = opened.cache["scaled codes"]
    results = []
    for query in (z.double() / scale)[:, scale.isfinite()]:
        distance = (scaled - query).norm(dim=1)
        nearest = distance.topk(min(n + 1, len(distance)), largest=False).indices.tolist()
        chosen = [i for i in nearest if points.rows[i] != without][:n]
        rows = points.rows[chosen].tolist()
        labels = row_labels(opened.run.data.take(rows))
        parts = zip(rows, distance[chosen].tolist(), labels, strict=True)
        results.append([Neighbor(row=r, distance=d, label=label) for r, d, label in parts])
    return results
