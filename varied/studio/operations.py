"""The table of operations, which of them a run supports, and why not the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from varied.studio import generation, latent_map, schemas
from varied.studio.opened_run import OpenedRun


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
}
