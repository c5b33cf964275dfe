"""The files of the page, which are read when the server starts; no path is built from a request."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "json": "application/json",
    "wasm": "application/wasm",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
}
#: The page if the files have not been built.
_ABSENT = (
    "<!doctype html><html lang=en><title>Varied</title>"
    "<p>The page has not been built; run `npm run build` in web/. The API is below /api."
)


class StaticFile(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str


def read_static_files() -> dict[str, StaticFile]:
    """Return the files of the page by their path in the address, such as ``assets/index.js``."""
    root, result = files("varied.studio") / "static", {}
    waiting = [("", root)] if root.is_dir() else []
    while waiting:
        prefix, folder = waiting.pop()
        for entry in folder.iterdir():
            name = f"{prefix}{entry.name}"
            if entry.is_dir():
                waiting.append((f"{name}/", entry))
                continue
            media_type = _MEDIA_TYPES.get(name.rpartition(".")[2])
            if media_type is not None:
                result[name] = StaticFile(entry.read_bytes(), media_type)
    result.setdefault("index.html", StaticFile(_ABSENT.encode(), _MEDIA_TYPES["html"]))
    return result
