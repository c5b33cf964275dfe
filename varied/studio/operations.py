"""The table of operations, which of them a run supports, and why not the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from varied.errors import VariedError
from varied.runs.detection import require_density
from varied.studio import analysis, generation, latent_map, paths, schemas
from varied.studio.opened_run import OpenedRun
from varied.studio.snippets import make_snippets


@dataclass(frozen=True)
class Operation:
    """An operation on a run.

    Arguments:
        function: A function of a run and a request that returns a response.
        request: The class of the request.
        response: The class of the response.
        title: A title for documentation.
    """

    function: Callable[[OpenedRun, Any], Any]
    request: type[schemas.Schema]
    response: type[schemas.Response]
    title: str


#: The operations by the last part of their path.
OPERATIONS: dict[str, Operation] = {
    "sample": Operation(
        generation.sample, schemas.SampleRequest, schemas.DecodedList, "Sample from the prior"
    ),
    "decode": Operation(
        generation.decode, schemas.DecodeRequest, schemas.DecodeResponse, "Decode codes"
    ),
    "encode": Operation(
        generation.encode, schemas.SourceRequest, schemas.EncodeResponse, "Encode examples"
    ),
    "reconstruct": Operation(
        generation.reconstruct,
        schemas.SourceRequest,
        schemas.ReconstructResponse,
        "Reconstruct examples",
    ),
    "map/decode": Operation(
        latent_map.decode_point, schemas.MapPoint, schemas.MapDecoded, "Decode a point of the map"
    ),
    "interpolate": Operation(
        paths.interpolate,
        schemas.InterpolateRequest,
        schemas.InterpolateResponse,
        "Interpolate between examples",
    ),
    "traverse": Operation(
        paths.traverse, schemas.TraverseRequest, schemas.TraverseResponse, "Vary latent units"
    ),
    "attribute": Operation(
        paths.attribute,
        schemas.AttributeRequest,
        schemas.AttributeResponse,
        "Find the direction of an attribute",
    ),
    "detect": Operation(
        analysis.detect, schemas.DetectRequest, schemas.DetectResponse, "Detect anomalies"
    ),
    "impute": Operation(
        analysis.impute, schemas.ImputeRequest, schemas.ImputeResponse, "Impute missing values"
    ),
    "inpaint": Operation(
        analysis.inpaint, schemas.InpaintRequest, schemas.DecodedList, "Fill a region of an image"
    ),
    "compare": Operation(
        analysis.compare, schemas.CompareRequest, schemas.CompareResponse, "Compare two runs"
    ),
}


def run_operation(
    opened: OpenedRun, name: str, request: schemas.Schema, url: str = ""
) -> schemas.Response:
    """Run an operation, and add snippets to its response if a URL is passed.

    Arguments:
        opened: The run.
        name: The name of the operation, as in `OPERATIONS`.
        request: The request.
        url: The URL to which the request was sent.
    """
    response: schemas.Response = OPERATIONS[name].function(opened, request)
    if url:
        response.snippets = make_snippets(opened, name, request, url, response)
    return response


# The operations that a run supports


def _require_data(opened: OpenedRun) -> None:
    len(opened.run.data)


def _require_traversal(opened: OpenedRun) -> None:
    opened.run.require_euclidean_latent("A traversal")


def _require_edit(opened: OpenedRun) -> None:
    _require_data(opened)
    opened.run.require_euclidean_latent("An attribute")


def _require_units(opened: OpenedRun) -> None:
    _require_data(opened)
    opened.run.require_euclidean_latent("A slider for each latent unit")


def _require_detection(opened: OpenedRun) -> None:
    require_density(opened.run)
    _require_data(opened)


def _require_sampling(opened: OpenedRun) -> None:
    opened.run.sample(1)


def _require_mask(opened: OpenedRun) -> None:
    opened.run.codec.parse_mask("0,0,1,1")


def _require_imputer(opened: OpenedRun) -> None:
    opened.run.codec.imputer()


#: Functions that raise an error if a run does not support an operation. "map", "items" and "units"
#: are the views of the data and of the latent units.
CHECKS: dict[str, Callable[[OpenedRun], None]] = {
    "sample": _require_sampling,
    "traverse": _require_traversal,
    "attribute": _require_edit,
    "detect": _require_detection,
    "impute": _require_imputer,
    "inpaint": _require_mask,
    "compare": _require_data,
    "evaluate": _require_data,
    "map": _require_data,
    "map/decode": _require_data,
    "items": _require_data,
    "units": _require_units,
}


def supported_operations(opened: OpenedRun) -> tuple[list[str], dict[str, str]]:
    """Return the operations that a run supports, and why it does not support the others.

    Returns:
        The names; and a sentence for each of the other operations, by name.
    """
    if "supported" not in opened.cache:
        reasons = {}
        for name, check in CHECKS.items():
            try:
                check(opened)
            except VariedError as error:
                reasons[name] = str(error)
        names = [name for name in dict.fromkeys([*OPERATIONS, *CHECKS]) if name not in reasons]
        opened.cache["supported"] = names, reasons
    result: tuple[list[str], dict[str, str]] = opened.cache["supported"]
    return result
