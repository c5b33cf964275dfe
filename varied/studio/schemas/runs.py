"""Runs, new runs, uploads and jobs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from varied.studio.schemas.base import Example, Response, Schema


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
    choices: list[str] = Field(default=[])
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
    options: dict[str, str | float | int | bool] = Field(default={})
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
    fields: list[str] = Field(default=[])


class Failure(Schema):
    """The body of every response with an error status."""

    error: Problem
