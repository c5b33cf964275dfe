"""`varied data`: list the datasets that are available by name."""

from __future__ import annotations

from typing import Annotated

import typer

from varied.cli import console
from varied.cli.options import AsJson
from varied.errors import lookup


def data(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the details of this dataset.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the datasets that are available by name."""
    with console.status("Searching"):
        from varied.data import CATALOG, catalog_rows
    if name is not None and name.lower() != "list":
        dataset = lookup(CATALOG, name, "dataset")
        rows = [
            ("content", dataset.content),
            ("reference", dataset.reference),
            ("license", dataset.license),
            ("location", dataset.location()),
        ]
        console.heading(f"{dataset.name}: {dataset.title}")
        console.table(("", ""), rows)
        return
    datasets = catalog_rows()
    if as_json:
        console.show_json({"data": [row._asdict() for row in datasets]})
        return
    for row in datasets:
        console.heading(row.name)
        console.say(f"{row.title}: {row.content}.", 2)
        console.say(f"Location: {row.location}.", 2)
    console.show()
    console.say(
        "`varied train NAME` trains on a dataset; `varied train PATH` trains on your own files."
    )
