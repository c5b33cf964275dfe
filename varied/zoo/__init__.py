"""Published models, each defined as a combination of parts.

Each TOML file contains the entries of one group. The ``parts`` of an entry have the format of a
spec; parts that an entry does not set are chosen to suit the data.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

__all__ = ["GROUPS", "ZOO", "Entry"]


@dataclass(frozen=True)
class Entry:
    """A named model.

    Arguments:
        title: The name of the model.
        reference: The title and the authors of the paper.
        year: The year of the paper.
        link: The URL of the paper.
        use_for: The recommended applications.
        benchmark: A measured result.
        parts: The parts that the model sets, by axis.
        conditional: Whether the model requires a context.
        group: The group under which the model is listed.
    """

    title: str
    reference: str
    year: int
    link: str
    use_for: str
    benchmark: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    conditional: bool = False
    group: str = "Others"


#: The group of the entries in each file.
GROUPS = {
    "basics": "Basics",
    "likelihood": "Better likelihood",
    "posterior_collapse": "Prevention of posterior collapse",
    "disentanglement": "Disentanglement",
    "discrete_codes": "Discrete codes",
    "sharp_images": "Sharp images",
    "structured_latents": "Structured latents",
    "semi_supervised": "Semi-supervised",
    "autoencoders": "Autoencoders without an ELBO",
}


def _read(file: str, group: str) -> dict[str, Entry]:
    tables = tomllib.loads((files(__name__) / f"{file}.toml").read_text("utf-8"))
    return {name: Entry(**values, group=group) for name, values in tables.items()}


ZOO: dict[str, Entry] = {
    name: entry for pair in GROUPS.items() for name, entry in _read(*pair).items()
}
