"""`varied studio` and `varied serve`: a page and an API for runs."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varied.cli import console
from varied.cli.options import RunName, option
from varied.cli.paths import resolve_run
from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.studio.security import Access

Host = Annotated[
    str,
    option(
        "NAME",
        "Name or address to listen at; other machines can connect only if it is not a loopback "
        "address, and need the token in the link.",
    ),
]
Port = Annotated[
    int, typer.Option(metavar="N", min=0, max=65_535, help="Port; the next free one if it is used.")
]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")]
_PACKAGES = ("fastapi", "uvicorn", "python_multipart")


def studio(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Folder with runs; by default the current folder."),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8642,
    no_open: NoOpen = False,
) -> None:
    """Open a page that shows runs, trains new ones, and explores their latent space.

    The page is served on this machine and requires the token in the printed link. New runs are
    trained by other processes, which continue when this command ends.
    """
    root = folder or Path()
    if not root.is_dir():
        raise VariedError(f"There is no folder {root}; pass a folder that contains runs.")
    _serve(root, None, host, port, no_open)


def serve(
    run: RunName, host: Host = "127.0.0.1", port: Port = 8642, no_open: NoOpen = False
) -> None:
    """Serve one run: an HTTP API with all operations, and the page for this run.

    The API is described by /api/openapi.json. The files of the run are not changed.
    """
    folder = resolve_run(run).resolve()
    _serve(folder.parent, folder, host, port, no_open)


def _serve(root: Path, run: Path | None, host: str, port: int, no_open: bool) -> None:
    if not all(map(importlib.util.find_spec, _PACKAGES)):
        raise VariedError(
            "The studio requires FastAPI, uvicorn and python-multipart; run `pip install "
            '"varied[studio]"`.'
        )

    def announce(access: Access) -> None:
        shown = run or root.resolve()
        console.show(f"Studio of {shown}: {access.link} (Ctrl-C ends it)")
        if host not in ("127.0.0.1", "localhost", "::1"):
            console.show(
                "Warning: other machines can connect, and the connection is not encrypted.",
                error=True,
            )
        if not no_open and _has_display():
            threading.Thread(target=webbrowser.open, args=(access.link,), daemon=True).start()

    with console.status("Starting"):
        from varied.studio.serving import Server

        server = Server(root, run=run, host=host, port=port, on_start=announce)
    try:
        server.serve_until_interrupt()
    except KeyboardInterrupt:
        console.show("Stopped; training runs continue, and `varied studio` shows them again.")


def _has_display() -> bool:
    """Return whether a browser can open a window, rather than in the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
