"""The requests and responses of the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

#: The largest number of examples in a request or a response.
MAX_EXAMPLES = 1_000

Code = Annotated[list[FiniteFloat], Field(min_length=1, max_length=65_536)]
Label = str | float | dict[str, str | float] | None


class Schema(BaseModel):
    """The base class; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


# Examples


class ImageExample(Schema):
    """An image, as a PNG data URL."""

    kind: Literal["image"] = "image"
    image: str


class RowExample(Schema):
    """A row of a table, or counts: the cell of each column; None is a missing cell."""

    kind: Literal["row"] = "row"
    row: dict[str, str | float | int | bool | None]


class ArrayExample(Schema):
    """An array or a series, in the original units; None is a missing value."""

    kind: Literal["array"] = "array"
    shape: list[int]
    values: list[float | None]


class SoundExample(Schema):
    """A recording, as a WAV data URL, and its spectrogram as a PNG data URL."""

    kind: Literal["sound"] = "sound"
    audio: str
    image: str | None = None


class MoleculeExample(Schema):
    """A molecule, as a SMILES string, and its drawing as a data URL."""

    kind: Literal["molecule"] = "molecule"
    smiles: str
    image: str | None = None


Example = Annotated[
    ImageExample | RowExample | ArrayExample | SoundExample | MoleculeExample,
    Field(discriminator="kind"),
]


class Source(Schema):
    """Examples: rows of the run's data by index, an upload, or the examples themselves."""

    rows: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, max_length=MAX_EXAMPLES)
    upload: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    examples: list[Example] | None = Field(default=None, max_length=MAX_EXAMPLES)
    label: Label = Field(default=None, description="the label of the examples, for a conditional run")

    @model_validator(mode="after")
    def _check_one(self) -> Source:
        if sum(value is not None for value in (self.rows, self.upload, self.examples)) != 1:
            raise ValueError("pass exactly one of rows, upload and examples")
        return self


class ItemError(Schema):
    """The error of one of the examples of a request."""

    index: int
    error: str


class Snippets(Schema):
    """The same operation in Python, on the command line and as a request."""

    python: str
    command: str | None
    curl: str


class Decoded(Schema):
    """An example that was decoded from a code, or None with the reason in ``error``."""

    example: Example | None
    error: str | None = None
    label: str | None = None


class Response(Schema):
    """The base class of the responses of operations."""

    snippets: Snippets | None = None


# Runs


class About(Schema):
    """What is served."""

    version: str
    root: str = Field(description="the name of the folder that contains the runs")
    is_single_run: bool


class RunSummary(Schema):
    """A run in the list of runs."""

    id: str
    name: str
    model: str
    data: str
    state: Literal["training", "finished", "stopped", "corrupted"]
    step: int | None
    minus_elbo: float | None
    reconstruction: float | None
    kl: float | None
    active: str | None
    modified: float
    parent: str = Field("", description="the folder that contains the run, relative to the root")
    error: str | None = Field(None, description="why the training of this run failed")


class RunDetails(RunSummary):
    """A run, and what can be done with it."""

    kind: str = Field(description="image, table, array, sound, molecule or another kind of data")
    noun: str
    shape: list[int]
    latent_dim: int | None
    n_data: int | None
    labels: list[str] = Field(description="the classes that a conditional run can generate")
    covariates: list[str]
    columns: list[str]
    operations: list[str] = Field(description="the operations that this run supports")
    reasons: dict[str, str] = Field(description="why each of the other operations is unavailable")
    figures: list[str]
    spec: str = Field(description="spec.toml")


class History(Schema):
    """The rows of metrics.jsonl, as columns; missing values are None."""

    columns: dict[str, list[float | str | None]]
    total_steps: int | None
    remaining_seconds: float | None


class Unit(Schema):
    """A latent unit."""

    index: int
    kl: float | None
    is_active: bool
    mean: float
    std: float
    low: float
    high: float


class Units(Response):
    """The latent units in order of decreasing KL."""

    units: list[Unit]


# Starting runs


class Option(Schema):
    """An option of a model or of training, for a form."""

    name: str
    group: str
    type: Literal["number", "integer", "text", "choice", "flag"]
    default: str | float | int | bool | None
    choices: list[str] = []
    help: str


class ZooModel(Schema):
    """A model of the zoo."""

    name: str
    group: str
    purpose: str


class Upload(Schema):
    """Uploaded data: what was read, and the first examples."""

    id: str
    name: str
    kind: str
    n: int
    shape: list[int]
    notes: list[str]
    problems: list[str]
    columns: list[str]
    labels: list[str]
    preview: list[Example]


class NewRun(Schema):
    """A training run to start."""

    upload: str = Field(pattern=r"^[0-9a-f]{16}$")
    model: str | None = Field(None, pattern=r"^[a-z0-9-]{1,60}$")
    options: dict[str, str | float | int | bool] = {}
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")


class Estimate(Schema):
    """What training will do: the printed configuration, and the expected time and memory."""

    sentences: list[str]
    spec: str
    minutes: float | None
    memory_bytes: int | None


class Started(Schema):
    """The run that was started."""

    id: str


# The map


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


# Operations


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
    neighbors: list[Neighbor] = []
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
    max_fpr: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.05


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
    errors: list[ItemError] = []
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
    errors: list[ItemError] = []
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


# Jobs


class Job(Schema):
    """A long operation."""

    id: str
    operation: str
    state: Literal["running", "finished", "failed", "canceled"]
    progress: float | None
    error: str | None
    result: dict[str, Any] | None


class Problem(Schema):
    """An error: one sentence with the remedy."""

    message: str
    kind: Literal[
        "invalid", "not-found", "unsupported", "conflict", "too-large", "forbidden", "failed"
    ]
    fields: list[str] = []


class Failure(Schema):
    """The body of every response with an error status."""

    error: Problem
