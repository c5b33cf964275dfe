"""The requests and responses of operations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from varied.studio.schemas.base import (
    MAX_EXAMPLES,
    Code,
    Decoded,
    Example,
    ItemError,
    Label,
    Response,
    Schema,
    Source,
)
from varied.studio.schemas.maps import Neighbor


class SampleRequest(Schema):
    """Sample from the prior."""

    n: Annotated[int, Field(ge=1, le=MAX_EXAMPLES)] = 16
    label: Label = None
    temperature: Annotated[FiniteFloat, Field(gt=0, le=10)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class DecodeRequest(Schema):
    """Decode codes."""

    z: list[Code] = Field(min_length=1, max_length=MAX_EXAMPLES)
    label: Label = None


class SourceRequest(Schema):
    """An operation on examples."""

    source: Source


class DecodedList(Response):
    """Decoded examples, in order."""

    results: list[Decoded]


class DecodeResponse(DecodedList):
    """Decoded examples, and whether each code is outside the support of the data."""

    is_outside: list[bool] | None


class Encoded(Schema):
    """The code of an example, and its position in each projection that is ready."""

    mean: list[float] | None
    std: list[float] | None
    kl: float | None
    positions: dict[str, tuple[float, float]]
    ellipses: dict[str, tuple[float, float, float]] = Field(
        default={}, description="the covariance of each position: the variances of x and y, and xy"
    )
    neighbors: list[Neighbor] = Field(default=[])
    error: str | None = None


class EncodeResponse(Response):
    """The codes of examples, in order."""

    results: list[Encoded]


class Pair(Schema):
    """An example and its reconstruction."""

    original: Example | None
    reconstruction: Example | None
    error: str | None = None


class ReconstructResponse(Response):
    """Examples and their reconstructions, in order."""

    results: list[Pair]


class InterpolateRequest(Schema):
    """Interpolate between two examples, or on a grid between four."""

    source: Source
    steps: Annotated[int, Field(ge=2, le=64)] = 9
    path: Literal["linear", "spherical", "density"] = "linear"


class InterpolateResponse(Response):
    """Decoded examples by row, and the log-density of each code, or None if it is undefined."""

    rows: list[list[Decoded]]
    log_density: list[list[float]] | None
    threshold: float | None = Field(description="the log-density that 99.9% of the data exceed")


class TraverseRequest(Schema):
    """Vary the latent units with the largest KL, one at a time."""

    source: Source
    dimensions: Annotated[int, Field(ge=1, le=64)] = 10
    steps: Annotated[int, Field(ge=2, le=32)] = 9


class TraverseResponse(Response):
    """Decoded examples by latent unit."""

    units: list[int]
    values: list[float]
    rows: list[list[Decoded]]


class AttributeRequest(Schema):
    """Define an attribute by examples that have it and, optionally, examples that do not."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    positive: list[Annotated[int, Field(ge=0)]] = Field(min_length=2, max_length=100_000)
    negative: list[Annotated[int, Field(ge=0)]] | None = Field(None, max_length=100_000)


class AttributeEffect(Schema):
    """How much an attribute changes with the direction, in standard deviations or probability."""

    name: str
    change: float


class AttributeResponse(Response):
    """A direction in the latent space; adding ``step`` to a code adds the attribute."""

    name: str
    step: list[float]
    effects: list[AttributeEffect]
    n_positive: int
    n_negative: int


class DetectRequest(Schema):
    """Score examples; the test rows if there is no source."""

    source: Source | None = None
    max_fpr: Annotated[FiniteFloat, Field(ge=1e-6, lt=1)] = 0.05


class Anomaly(Schema):
    """The anomaly score of an example."""

    row: int
    name: str
    score: float
    p_value: float | None
    is_anomaly: bool
    reason: str
    excess: Example | None = Field(
        None, description="for images, a map of the excess in each pixel"
    )


class DetectResponse(Response):
    """The examples, highest score first."""

    results: list[Anomaly]
    errors: list[ItemError] = Field(default=[])
    threshold: float | None = Field(description="None if too few rows are held out for a guarantee")
    max_fpr: float
    normal_scores: list[float] = Field(description="the scores of held-out normal rows, sorted")


class ImputeRequest(Schema):
    """Fill the missing cells of a table."""

    source: Source


class ImputedCell(Schema):
    """An imputed cell."""

    row: int
    column: str
    value: str | float | int | bool | None
    low: float | None
    high: float | None
    probability: float | None


class ImputeResponse(Response):
    """The completed rows, the imputed cells, and the file with all rows to download."""

    rows: list[Example]
    errors: list[ItemError] = Field(default=[])
    cells: list[ImputedCell]
    download: str | None


class InpaintRequest(Schema):
    """Fill a masked region of an image: the white pixels of the mask."""

    source: Source
    mask: str = Field(
        description="a PNG data URL with the size of the image", max_length=20_000_000
    )
    n: Annotated[int, Field(ge=1, le=16)] = 4


class CompareRequest(Schema):
    """Compare this run with another one on the same examples."""

    other: str
    rows: list[Annotated[int, Field(ge=0)]] | None = Field(None, max_length=64)


class CompareResponse(Response):
    """The reconstructions by each run, and their figures."""

    sentence: str = Field(description="whether the -ELBOs of the runs can be compared, and why")
    figures: dict[str, list[float | str | None]]
    originals: list[Example]
    reconstructions: list[list[Example]]
