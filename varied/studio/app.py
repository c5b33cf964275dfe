"""The web application: the page, the API, and the objects that answer its requests."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from varied import __version__, atomic_io
from varied.errors import VariedError, printable
from varied.studio.descriptions import describe_run, describe_unopened
from varied.studio.failures import add_handlers, not_found
from varied.studio.generation import decode_together
from varied.studio.jobs import Jobs
from varied.studio.model_thread import ModelThread
from varied.studio.opened_run import OpenedRun, Services
from varied.studio.operations import run_operation
from varied.studio.routes import add_routes, max_body_bytes
from varied.studio.schemas import DecodeRequest, DecodeResponse, Response, RunDetails, Schema
from varied.studio.security import Access, Guard
from varied.studio.snippets import make_snippets
from varied.studio.trainings import Trainings
from varied.studio.uploads import Uploads
from varied.studio.workspace import Workspace, run_id

#: The number of files of results that are offered for download.
_MAX_DOWNLOADS = 50


class Downloads:
    """The files of results, in a temporary folder that is removed when the server ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: OrderedDict[str, tuple[str, Path]] = OrderedDict()

    def add(self, name: str, write: Callable[[Path], Path]) -> str:
        """Write a file, and return its id."""
        id = secrets.token_hex(8)
        suffix = Path(name).suffix.lower()
        target = self.folder / id / f"file{suffix if suffix[1:].isalnum() else ''}"
        atomic_io.make_folder(target.parent)
        self._files[id] = printable(Path(name).name), write(target)
        while len(self._files) > _MAX_DOWNLOADS:
            old, _ = self._files.popitem(last=False)
            atomic_io.remove_folder(self.folder / old)
        return id

    def find(self, id: str) -> tuple[str, Path]:
        """Return the name and the path of a file.

        Raises:
            RequestError: If there is no file with this id.
        """
        if id not in self._files:
            raise not_found("file", "the response that offered it")
        return self._files[id]


class Studio:
    """What the routes use to answer requests.

    Arguments:
        root: The folder that contains the runs.
        address: The address of the page.
        run: The folder of the only run that is served, or None for all runs.
    """

    def __init__(self, root: Path, address: str, run: Path | None = None) -> None:
        self.address = address
        self.temporary = tempfile.TemporaryDirectory(prefix="varied-")
        temporary = Path(self.temporary.name)
        self.workspace = Workspace(root, run)
        uploads = temporary if self.workspace.is_single_run else self.workspace.root
        self.uploads = Uploads(uploads / "uploads")
        self.trainings = Trainings(self.workspace, self.uploads)
        self.jobs = Jobs(self.workspace.hide_root)
        self.downloads = Downloads(temporary)
        services = Services(self.uploads.path, add_download=self.downloads.add)
        self.models = ModelThread(self.trainings.find, services, self._decode)
        #: Whether the server ends, so that event streams end as well.
        self.is_closing: Callable[[], bool] = lambda: False

    async def perform(self, id: str, name: str, request: Schema) -> Response:
        """Perform an operation on a run, on the model thread.

        Raises:
            VariedError: If the operation fails.
        """
        if name == "decode":
            assert isinstance(request, DecodeRequest)
            return await self.models.decode_soon(id, request)

        url = f"{self.address}api/runs/{id}/{name}"
        call = self.models.call(id, lambda opened: run_operation(opened, name, request, url))
        return await asyncio.wrap_future(call)

    def _decode(self, opened: OpenedRun, requests: Sequence[DecodeRequest]) -> list[DecodeResponse]:
        """Answer decode requests together, and add code that does what each request does."""
        id = run_id(self.workspace.relative(opened.run.folder))
        url = f"{self.address}api/runs/{id}/decode"
        responses = decode_together(opened, requests)
        for request, response in zip(requests, responses, strict=True):
            response.snippets = make_snippets(opened, "decode", request, url, response)
        return responses

    async def describe(self, id: str) -> RunDetails:
        """Describe a run.

        Raises:
            RequestError: If there is no run with this id.
        """
        summary = await run_in_threadpool(self.trainings.summarize, id)
        folder = self.trainings.find(id)
        figures = self.workspace.figures(folder) if folder.is_dir() else {}
        try:
            future = self.models.call(id, lambda opened: describe_run(opened, summary, figures))
            return await asyncio.wrap_future(future)
        except VariedError as error:  # it has no checkpoint, or its files are corrupted
            reason = self.workspace.hide_root(str(error))
            return describe_unopened(folder, summary, figures, reason)

    def close(self) -> None:
        """End the jobs and the model thread; training runs continue."""
        self.jobs.close()
        self.models.close()
        self.temporary.cleanup()


def create_app(root: Path | str, access: Access, run: Path | str | None = None) -> FastAPI:
    """Return the application.

    Arguments:
        root: The folder that contains the runs.
        access: Who may use the server.
        run: The folder of the only run that is served; None serves all runs.

    Raises:
        VariedError: If there is no such folder.
    """
    if not Path(root).is_dir():
        raise VariedError(f"There is no folder {root}; pass a folder that contains runs.")
    studio = Studio(Path(root), access.address, None if run is None else Path(run))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    app = FastAPI(
        title="Varied",
        version=__version__,
        description="Use variational autoencoders that were trained with Varied.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # a route of the API adds examples
        lifespan=lifespan,
    )
    app.state.studio = studio
    add_handlers(app, studio.workspace.hide_root)
    add_routes(app, studio)
    app.add_middleware(Guard, access=access, max_bytes=max_body_bytes)
    return app
