"""Examples, and what the schemas of all routes share."""

from __future__ import annotations

from typing import Annotated, Literal

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
    label: Label = Field(default=None, description="the label of the examples of conditional runs")

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
