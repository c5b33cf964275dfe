"""The map, and the examples of the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from varied.studio.schemas.base import Decoded, Example, Label, Response, Schema, Snippets


class Projection(Schema):
    """A projection of the codes to two dimensions."""

    name: str
    title: str
    is_ready: bool
    explained: float | None = None


class MapInfo(Schema):
    """What the map of a run shows."""

    n: int
    total: int
    is_sampled: bool
    projections: list[Projection]
    labels: list[str]
    columns: list[str] = Field(description="the columns and scores by which points can be colored")
    levels: dict[str, list[str]] = Field(
        default={}, description="the levels of columns of categories"
    )
    snippets: Snippets | None = None


class MapPoint(Schema):
    """A point of the map."""

    projection: str
    x: FiniteFloat
    y: FiniteFloat
    label: Label = None


class MapDecoded(Response):
    """The example at a point of the map."""

    z: list[float]
    decoded: Decoded
    is_outside: bool = Field(description="whether the code is outside the support of the data")


class Neighbor(Schema):
    """A neighbor of an example in the latent space."""

    row: int
    distance: float
    label: str | None


class Neighbors(Response):
    """The nearest neighbors of an example, nearest first."""

    neighbors: list[Neighbor]


class Item(Schema):
    """An example of the run's data."""

    row: int
    name: str
    label: str | None
    split: Literal["train", "validation", "test"]
    example: Example
