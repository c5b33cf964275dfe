"""The routes of the page and of the API."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Body, FastAPI, Header, Path, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel, TypeAdapter
from starlette.concurrency import run_in_threadpool

from varied import __version__
from varied.errors import printable
from varied.studio import generation, items, latent_map, schemas
from varied.studio.events import follow_run
from varied.studio.failures import not_found, responses
from varied.studio.openapi import describe_api, request_examples
from varied.studio.opened_run import OpenedRun
from varied.studio.operations import OPERATIONS, Operation
from varied.studio.options import list_models, list_options
from varied.studio.paths import interpolation_gif
from varied.studio.security import MAX_EXAMPLES_JSON, MAX_JSON, MAX_UPLOAD
from varied.studio.static_files import read_static_files
from varied.studio.uploads import Reception
from varied.studio.workspace import read_history

if TYPE_CHECKING:
    from varied.studio.app import Studio

T = TypeVar("T")

RunId = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$", description="The id of a run.")]
ResultId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="An id.")]
RowIndex = Annotated[int, Path(ge=0, le=2**53, description="The index of a row of the data.")]
Name = Annotated[str, Path(min_length=1, max_length=300)]
BINARY = "application/octet-stream"
#: The statuses with which every route can answer.
_REFUSALS = (400, 401, 403, 404, 405, 413, 422, 500)
#: The operations whose requests contain examples or many rows, so that their bodies may be large.
_LARGE = re.compile(r"/api/runs/[^/]+/(?!decode$|sample$|map/|stop$|continue$)")


def max_body_bytes(path: str) -> int:
    """Return the maximum size of the body of a request to a path."""
    if path == "/api/uploads":
        return MAX_UPLOAD
    return MAX_EXAMPLES_JSON if _LARGE.match(path) else MAX_JSON


def add_routes(app: FastAPI, studio: Studio) -> None:
    """Add all routes to an application."""
    app.router.responses = dict(responses(*_REFUSALS))
    for name, operation in OPERATIONS.items():  # first, since routes are compared in order
        _add_operation(app, studio, name, operation)
    _add_page(app)
    _add_run_routes(app, studio)
    _add_training_routes(app, studio)
    _add_map_routes(app, studio)
    _add_item_routes(app, studio)
    _add_job_routes(app, studio)
    _add_animation(app, studio)


def to_json(value: BaseModel, status: int = 200) -> Response:
    """Return a response with a schema as its body."""
    return Response(value.model_dump_json(), status, media_type="application/json")


async def wait_for(future: Future[T]) -> T:
    """Return the result of the model thread.

    Raises:
        VariedError: If the operation fails.
    """
    return await asyncio.wrap_future(future)


# The page


def _add_page(app: FastAPI) -> None:
    files = read_static_files()
    assets = {name.removeprefix("assets/"): f for name, f in files.items() if "/" in name}

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index() -> Response:
        return Response(files["index.html"].content, media_type=files["index.html"].media_type)

    @app.get("/assets/{name:path}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in assets:
            raise not_found("file", "the page")
        headers = {"cache-control": "private, max-age=31536000, immutable"}
        return Response(assets[name].content, headers=headers, media_type=assets[name].media_type)

    @app.get("/{name}", include_in_schema=False)
    async def other(name: str) -> Response:
        if name not in files or name == "index.html":
            raise not_found("file", "the page")
        return Response(files[name].content, media_type=files[name].media_type)


# Runs


def _add_run_routes(app: FastAPI, studio: Studio) -> None:
    trainings, workspace = studio.trainings, studio.workspace

    @app.get("/api/about", tags=["runs"])
    async def about() -> schemas.About:
        """Return what is served."""
        shown = workspace.run or workspace.root
        return schemas.About(
            version=__version__,
            root=printable(shown.name),
            is_single_run=workspace.is_single_run,
        )

    @app.get("/api/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        if workspace.run is None:
            return describe_api(app)
        id = next(iter(workspace.folders()))
        return describe_api(app, id, await wait_for(studio.models.call(id, request_examples)))

    @app.get("/api/runs", tags=["runs"])
    def runs() -> list[schemas.RunSummary]:
        """List all runs, newest first, including those that are being trained."""
        return trainings.list_runs()

    @app.get("/api/runs/{id}", tags=["runs"])
    async def run(id: RunId) -> schemas.RunDetails:
        """Describe a run, and what can be done with it."""
        return await studio.describe(id)

    @app.get("/api/runs/{id}/history", tags=["runs"])
    def history(id: RunId) -> schemas.History:
        """Return the log of the training as columns."""
        return read_history(trainings.find(id))

    @app.get(
        "/api/runs/{id}/events",
        tags=["runs"],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def events(
        id: RunId, last_event_id: Annotated[str | None, Header(max_length=20)] = None
    ) -> Response:
        """Follow the training: the events ``metrics``, ``state``, ``figures`` and ``reset``."""
        folder = await run_in_threadpool(trainings.find, id)
        stream = follow_run(
            folder,
            partial(trainings.summarize, id),
            partial(workspace.figures, folder),
            int(last_event_id) if last_event_id and last_event_id.isdecimal() else 0,
            studio.is_closing,
        )
        return StreamingResponse(stream, media_type="text/event-stream")

    @app.get(
        "/api/runs/{id}/figures/{name}",
        tags=["runs"],
        response_class=Response,
        responses={200: {"content": {"image/png": {}, "image/gif": {}}}},
    )
    def figure(id: RunId, name: Name) -> Response:
        """Return an image that was written during or after training."""
        content, media_type = workspace.read_figure(trainings.find(id), name)
        return Response(content, media_type=media_type)


# Training


def _add_training_routes(app: FastAPI, studio: Studio) -> None:
    trainings = studio.trainings

    @app.get("/api/zoo", tags=["training"])
    def zoo() -> list[schemas.ZooModel]:
        """List the models."""
        return list_models()

    @app.get("/api/options", tags=["training"])
    def options(
        model: Annotated[str, Query(pattern=r"^[a-z0-9-]{1,60}$")] = "vae",
    ) -> list[schemas.Option]:
        """List the options with which a model can be trained."""
        return list_options(model)

    multipart = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
    body = {"required": True, "content": {"multipart/form-data": {"schema": multipart}}}

    @app.post("/api/uploads", tags=["training"], openapi_extra={"requestBody": body})
    async def upload(request: Request) -> schemas.Upload:
        """Upload data: one file, or several files, which are the examples of a dataset."""
        received = Reception(request.headers.get("content-type", ""))
        try:
            await received.receive(request.stream())
            return await run_in_threadpool(studio.uploads.store, received)
        finally:
            received.close()

    @app.post("/api/estimate", tags=["training"])
    def estimate(new: schemas.NewRun) -> schemas.Estimate:
        """Return the configuration of a training run, and measure its duration and memory."""
        return trainings.estimate(new)

    @app.post("/api/runs", status_code=202, tags=["training"], responses=responses(409))
    def start(new: schemas.NewRun) -> schemas.Started:
        """Start a training run."""
        return schemas.Started(id=trainings.start(new))

    @app.post("/api/runs/{id}/stop", tags=["training"], responses=responses(409))
    def stop(id: RunId) -> schemas.RunSummary:
        """Stop the training of a run, which saves a checkpoint."""
        return trainings.stop(id)

    @app.post("/api/runs/{id}/continue", tags=["training"], responses=responses(409))
    def resume(id: RunId) -> schemas.RunSummary:
        """Continue the training of a run from its last checkpoint."""
        return trainings.resume(id)


# The map and the data


def _add_map_routes(app: FastAPI, studio: Studio) -> None:
    binary: dict[int | str, dict[str, Any]] = {200: {"content": {BINARY: {}}}}

    @app.get("/api/runs/{id}/map", tags=["map"])
    async def map_info(id: RunId) -> schemas.MapInfo:
        """Describe the map."""
        return await wait_for(studio.models.call(id, latent_map.map_info))

    @app.get(
        "/api/runs/{id}/map/{projection}",
        tags=["map"],
        response_class=Response,
        responses=binary,
    )
    async def map_points(id: RunId, projection: Name) -> Response:
        """Return the points: uint32 n; float32 x[n], y[n]; uint32 row[n]; uint8 label[n]."""
        call = studio.models.call(
            id, lambda opened: latent_map.map_columns(opened, projection).to_bytes()
        )
        return Response(await wait_for(call), media_type=BINARY)

    @app.get(
        "/api/runs/{id}/map/values/{column:path}",
        tags=["map"],
        response_class=Response,
        responses=binary,
    )
    async def map_values(id: RunId, column: Name) -> Response:
        """Return the value of a column for each point: float32 value[n], NaN if missing."""
        call = studio.models.call(
            id, lambda opened: latent_map.map_values(opened, column).astype("<f4").tobytes()
        )
        return Response(await wait_for(call), media_type=BINARY)

    @app.get("/api/runs/{id}/units", tags=["map"], response_model=schemas.Units)
    async def units(id: RunId) -> Response:
        """Return the latent units in order of decreasing KL."""
        return to_json(await wait_for(studio.models.call(id, generation.units)))

    async def start_projection(id: str, name: str) -> Response:
        opened = await wait_for(studio.models.call(id, _with_codes))

        def compute() -> None:
            latent_map.compute_projection(opened, name)

        return to_json(studio.jobs.start(f"map/{name}", compute), 202)

    for name in latent_map.SLOW:

        def start_route(name: str) -> Callable[[RunId], Awaitable[Response]]:
            async def start(id: RunId) -> Response:
                """Compute a projection that takes long."""
                return await start_projection(id, name)

            return start

        app.post(
            f"/api/runs/{{id}}/map/{name}",
            name=f"start_{name}",
            status_code=202,
            tags=["map"],
            response_model=schemas.Job,
            responses=responses(409),
        )(start_route(name))


def _with_codes(opened: OpenedRun) -> OpenedRun:
    """Compute the codes, which a projection needs, and return the run."""
    _ = opened.codes, opened.map_rows
    return opened


def _add_item_routes(app: FastAPI, studio: Studio) -> None:
    list_of_items: TypeAdapter[list[schemas.Item]] = TypeAdapter(list[schemas.Item])

    @app.get("/api/runs/{id}/items", tags=["data"], response_model=list[schemas.Item])
    async def search(
        id: RunId,
        query: Annotated[str, Query(max_length=200)] = "",
        n: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        """Search the data by name, label or row number."""
        call = studio.models.call(id, lambda opened: items.search(opened, query, n))
        content = list_of_items.dump_json(await wait_for(call))
        return Response(content, media_type="application/json")

    @app.get("/api/runs/{id}/items/{row}", tags=["data"], response_model=schemas.Item)
    async def item(id: RunId, row: RowIndex) -> Response:
        """Return an example of the data."""
        return to_json(await wait_for(studio.models.call(id, lambda o: items.item(o, row))))

    @app.get(
        "/api/runs/{id}/items/{row}/thumbnail",
        tags=["data"],
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    async def thumbnail(id: RunId, row: RowIndex) -> Response:
        """Return a small image of an example."""
        content = await wait_for(studio.models.call(id, lambda o: items.thumbnail(o, row)))
        headers = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/png", headers=headers)

    @app.get(
        "/api/runs/{id}/items/{row}/neighbors", tags=["data"], response_model=schemas.Neighbors
    )
    async def neighbors(
        id: RunId, row: RowIndex, n: Annotated[int, Query(ge=1, le=200)] = 12
    ) -> Response:
        """Return the nearest neighbors of an example in the latent space."""
        return to_json(await wait_for(studio.models.call(id, lambda o: items.neighbors(o, row, n))))


# Jobs and downloads


def _add_job_routes(app: FastAPI, studio: Studio) -> None:
    @app.post(
        "/api/runs/{id}/evaluate",
        status_code=202,
        tags=["operations"],
        response_model=schemas.Job,
        responses=responses(409),
    )
    def evaluate(id: RunId, body: Annotated[dict[str, Any], Body(max_length=0)]) -> Response:
        """Compute the metrics of a run on its test rows."""
        folder = studio.trainings.find(id)
        words = ["evaluate", str(folder), "--json"]
        return to_json(studio.jobs.start_command("evaluate", words, folder.parent), 202)

    @app.get("/api/jobs/{id}", tags=["jobs"])
    async def job(id: ResultId) -> schemas.Job:
        """Return the state of a job and, once it is finished, its result."""
        return studio.jobs.find(id)

    @app.post("/api/jobs/{id}/cancel", tags=["jobs"])
    async def cancel(id: ResultId) -> schemas.Job:
        """Cancel a job."""
        return studio.jobs.cancel(id)

    @app.get(
        "/api/downloads/{id}",
        tags=["jobs"],
        response_class=FileResponse,
        responses={200: {"content": {BINARY: {}}}},
    )
    def download(id: ResultId) -> Response:
        """Return the file of a result."""
        name, path = studio.downloads.find(id)
        return FileResponse(path, filename=name, media_type=BINARY)


# Operations


def _add_operation(app: FastAPI, studio: Studio, name: str, operation: Operation) -> None:
    async def perform(id: str, request: Any) -> Response:
        return to_json(await studio.perform(id, name, request))

    perform.__signature__ = _operation_signature(operation)  # type: ignore[attr-defined]
    app.post(
        f"/api/runs/{{id}}/{name}",
        name=name.replace("/", "_"),
        summary=operation.title,
        description=inspect.getdoc(operation.request) or operation.title,
        tags=["operations"],
        response_model=operation.response,
    )(perform)


def _operation_signature(operation: Operation) -> inspect.Signature:
    """Return the signature from which FastAPI derives how a request is read."""
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter("id", keyword, annotation=RunId),
        inspect.Parameter("request", keyword, annotation=operation.request),
    ]
    return inspect.Signature(parameters)


def _add_animation(app: FastAPI, studio: Studio) -> None:
    @app.post(
        "/api/runs/{id}/interpolate.gif",
        tags=["operations"],
        response_class=Response,
        responses={200: {"content": {"image/gif": {}}}},
    )
    async def interpolate_gif(id: RunId, request: schemas.InterpolateRequest) -> Response:
        """Return an animation of the path between two images."""
        call = studio.models.call(id, lambda opened: interpolation_gif(opened, request))
        return Response(await wait_for(call), media_type="image/gif")
