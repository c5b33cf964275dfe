"""The map: the codes of a run in two dimensions, with the values by which points are colored."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from varied.errors import VariedError, lookup
from varied.priors.gmm import MAX_DIMS
from varied.studio.examples import decoded_examples
from varied.studio.map_rows import numeric_column, stratify
from varied.studio.opened_run import SPLITS, OpenedRun
from varied.studio.projections import (
    MAX_FITTED,
    Projection,
    principal_plane,
    tsne,
    umap,
    unit_plane,
)
from varied.studio.schemas import MapDecoded, MapInfo, MapPoint
from varied.studio.schemas import Projection as ProjectionInfo

Array = npt.NDArray[Any]

#: The projections that are computed only on request, since they take long, with their titles.
SLOW = {"tsne": "t-SNE", "umap": "UMAP"}
_SCORES = ("KL", "reconstruction", "-ELBO", "log-density", "split")


@dataclass(frozen=True)
class MapColumns:
    """The points of a map as columns.

    Arguments:
        x: The first coordinate, float32 with shape (N).
        y: The second coordinate, float32 with shape (N).
        row: The row of the data of each point, uint32 with shape (N).
        label: The index of the label of each point, or 255, uint8 with shape (N).
    """

    x: Array
    y: Array
    row: Array
    label: Array

    def to_bytes(self) -> bytes:
        """Return the number of points as a uint32, and the columns, in little-endian order."""
        columns = ((self.x, "<f4"), (self.y, "<f4"), (self.row, "<u4"), (self.label, "u1"))
        content = [np.ascontiguousarray(column, dtype).tobytes() for column, dtype in columns]
        return struct.pack("<I", len(self.x)) + b"".join(content)


def map_info(opened: OpenedRun) -> MapInfo:
    """Describe the map: its projections, labels and columns.

    Raises:
        VariedError: If the data of the run are not available.
    """
    rows = opened.map_rows
    levels: dict[str, list[str]] = {"split": [*SPLITS]}
    for name, values in _attributes(opened, head=True).items():
        if not isinstance(values, np.ndarray):
            levels[name] = numeric_column(_attributes(opened)[name])[1]
    return MapInfo(
        n=len(rows),
        total=rows.total,
        is_sampled=rows.is_sampled,
        projections=_describe_projections(opened),
        labels=list(rows.names),
        columns=_columns(opened),
        levels=levels,
    )


def _describe_projections(opened: OpenedRun) -> list[ProjectionInfo]:
    ready = [_describe(name, projection(opened, name)) for name in _quick(opened)]
    for name, title in SLOW.items():
        computed = opened.cache.get(("projection", name))
        if computed is not None:
            ready.append(_describe(name, computed))
        elif name != "umap" or find_spec("umap") is not None:
            ready.append(ProjectionInfo(name=name, title=title, is_ready=False))
    return ready


def _describe(name: str, computed: Projection) -> ProjectionInfo:
    explained = computed.explained
    return ProjectionInfo(name=name, title=computed.title, is_ready=True, explained=explained)


def _quick(opened: OpenedRun) -> list[str]:
    """Return the names of the projections that are computed at once."""
    return ["pca", "units"] if opened.run.has_euclidean_latent else ["pca"]


def projection(opened: OpenedRun, name: str) -> Projection:
    """Return a projection; one that takes long must have been computed before.

    Raises:
        VariedError: If it is unknown, or has not been computed.
    """
    key = ("projection", name)
    if key not in opened.cache:
        if name in SLOW:
            raise VariedError(f"The {SLOW[name]} has not been computed yet; compute it first.")
        lookup(dict.fromkeys((*_quick(opened), *SLOW)), name, "projection")
        opened.cache[key] = (
            principal_plane(opened.codes)
            if name == "pca"
            else unit_plane(opened.codes, opened.units[0])
        )
    result: Projection = opened.cache[key]
    return result


def compute_projection(opened: OpenedRun, name: str) -> Projection:
    """Compute a projection that takes long, unless it has been computed before.

    Once the codes are known, this does not use the model, so another thread may use it.

    Raises:
        VariedError: If the projection is unknown, or UMAP is not installed.
    """
    if name in SLOW and ("projection", name) not in opened.cache:
        if name == "umap" and find_spec("umap") is None:
            raise VariedError("UMAP is not installed; run `pip install umap-learn`, or use t-SNE.")
        if len(opened.codes) < 4:
            raise VariedError(f"{SLOW[name]} requires at least 4 points; use pca.")
        rows = stratify(opened.map_rows.labels, MAX_FITTED)
        compute = tsne if name == "tsne" else umap
        opened.cache["projection", name] = compute(opened.codes, rows)
    return projection(opened, name)


def ready_projections(opened: OpenedRun) -> dict[str, Projection]:
    """Return the projections that are ready, by name."""
    slow = [name for name in SLOW if ("projection", name) in opened.cache]
    return {name: projection(opened, name) for name in (*_quick(opened), *slow)}


def map_columns(opened: OpenedRun, name: str) -> MapColumns:
    """Return the points of the map in a projection.

    Raises:
        VariedError: If the projection is unknown, or has not been computed.
    """
    positions, rows = projection(opened, name).positions, opened.map_rows
    return MapColumns(positions[:, 0], positions[:, 1], rows.rows.astype(np.uint32), rows.labels)


def decode_point(opened: OpenedRun, request: MapPoint) -> MapDecoded:
    """Decode the code at a position of the map.

    If the latent variables are not real vectors, the code of the nearest point is decoded.
    """
    plane = projection(opened, request.projection)
    point = np.array([[request.x, request.y]], np.float32)
    if opened.run.has_euclidean_latent:
        z = plane.invert(point)
    else:
        z = opened.codes[int(((plane.positions - point) ** 2).sum(1).argmin())][None]
    c = opened.context(request.label)
    decoded = decoded_examples(opened, opened.decode(z, c), c)[0]
    outside = opened.is_outside(z)
    is_outside = bool(plane.is_far(point)[0]) or (outside is not None and bool(outside[0]))
    return MapDecoded(z=z[0].tolist(), decoded=decoded, is_outside=is_outside)


# The values by which points are colored


def map_values(opened: OpenedRun, column: str) -> npt.NDArray[np.float32]:
    """Return the value of a column or a score for each point, NaN where it is missing.

    A category is returned as the index of its level; see `map_info`.

    Raises:
        VariedError: If there is no such column.
    """
    lookup(dict.fromkeys(_columns(opened)), column, "column")
    key = ("values", column)
    if key not in opened.cache:
        opened.cache[key] = _values(opened, column)
    values: npt.NDArray[np.float32] = opened.cache[key]
    return values


def _values(opened: OpenedRun, column: str) -> npt.NDArray[np.float32]:
    attributes = _attributes(opened, head=True)
    if column in attributes:
        return numeric_column(_attributes(opened)[column])[0]
    if column == "split":
        return opened.splits[opened.map_rows.rows].astype(np.float32)
    if column == "log-density":
        if opened.density is None:
            raise VariedError("The density of the codes requires more held-out rows; train again.")
        parts = [opened.density.log_density(z) for z in opened.codes.split(1000)]
        return torch.cat(parts).float().numpy()
    scores = opened.scores
    kl = 0 if scores.kl is None else scores.kl
    chosen = {"KL": scores.kl, "reconstruction": scores.reconstruction}
    values = chosen.get(column, scores.reconstruction + kl)
    assert values is not None
    return values.float().numpy()


def _columns(opened: OpenedRun) -> list[str]:
    names = [*_attributes(opened, head=True)]
    absent = set() if opened.run.has_density else {"KL", "-ELBO"}
    if not (opened.run.has_euclidean_latent and opened.latent_dim <= MAX_DIMS):
        absent.add("log-density")
    return [*names, *(name for name in _SCORES if name not in absent and name not in names)]


def _attributes(opened: OpenedRun, *, head: bool = False) -> dict[str, Any]:
    """Return the attributes of the points, or of the first point, as numbers or names.

    They are the columns of a table or the properties of molecules, and numeric labels.
    """
    key = ("attributes", head)
    if key not in opened.cache:
        data = opened.map_data.head(1) if head else opened.map_data
        numbers = {
            name: np.asarray(values)
            for name, (values, classes) in data.covariates.items()
            if not classes
        }
        opened.cache[key] = numbers | opened.run.codec.attributes(data)
    result: dict[str, Any] = opened.cache[key]
    return result
