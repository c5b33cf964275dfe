"""The OpenAPI document, with examples from the data of the run if only one is served."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

from fastapi import FastAPI

from varied.errors import VariedError
from varied.studio import items
from varied.studio.opened_run import OpenedRun

Json = dict[str, Any]


def request_examples(opened: OpenedRun) -> dict[str, Json]:
    """Return a request for each operation, with examples from the data of a run."""
    examples: dict[str, Json] = {"sample": {"n": 4}, "detect": {"max_fpr": 0.05}, "evaluate": {}}
    with suppress(VariedError):  # the data may not be available
        example = items.item(opened, 0).example.model_dump(mode="json")
        for name in ("encode", "reconstruct", "traverse", "impute"):
            examples[name] = {"source": {"examples": [example]}}
        for name in ("interpolate", "interpolate.gif"):
            examples[name] = {"source": {"rows": [0, 1]}, "steps": 9}
        examples["decode"] = {"z": [[round(value, 4) for value in opened.codes[0].tolist()]]}
        examples["attribute"] = {"name": "an attribute", "positive": [0, 1, 2]}
        examples["map/decode"] = {"projection": "pca", "x": 0.0, "y": 0.0}
    return examples


def describe_api(app: FastAPI, id: str = "", examples: dict[str, Json] | None = None) -> Json:
    """Return the OpenAPI document.

    Arguments:
        app: The application.
        id: The id of the run that is served, or "".
        examples: A request for each operation, by name.
    """
    document: Json = copy.deepcopy(app.openapi())
    for name, example in (examples or {}).items():
        route = document["paths"].get(f"/api/runs/{{id}}/{name}", {}).get("post")
        if route is not None:
            content = route["requestBody"]["content"]["application/json"]
            content["examples"] = {"example": {"value": example}}
    for path, methods in document["paths"].items() if id else ():
        if path.startswith("/api/runs/{id}"):
            for route in methods.values():
                for parameter in route["parameters"]:
                    if parameter["name"] == "id":
                        parameter["example"] = id
    return document
