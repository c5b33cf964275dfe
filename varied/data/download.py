"""Download of files with a known SHA-256 digest to the cache folder."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sys
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from varied.atomic_io import atomic_write
from varied.errors import VariedError

_BLOCK = 1 << 20
_MAX_BYTES = 512 * 2**20
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Remote:
    """A file of a dataset at its official source.

    Arguments:
        name: The name of the file.
        url: The https address; empty if the file cannot be downloaded.
        sha256: The SHA-256 digest of the file.
        unpacked: Whether ``sha256`` is the digest of the decompressed contents, since copies of a
            gzip file may store different names and times.
    """

    name: str
    url: str
    sha256: str
    unpacked: bool = False


def cache_folder() -> Path:
    """Return the folder for downloaded files."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "varied"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "varied"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "varied" / "Cache"
    return Path.home() / ".cache" / "varied"


def verify(path: Path, remote: Remote) -> None:
    """Check the digest of a file.

    Raises:
        VariedError: If the digest differs from the expected one.
    """
    with path.open("rb") as file:
        digest = _digest(file, remote.unpacked)
    if digest != remote.sha256:
        raise VariedError(
            f"{path} is corrupted or a different file, since its SHA-256 is not the expected one; "
            "delete it and load the dataset again."
        )


def download(remote: Remote, folder: Path) -> Path:
    """Download a file to a folder, unless the file exists, and return its path.

    Raises:
        VariedError: If the download fails, or the digest of the file differs from the expected one.
    """
    path = folder / remote.name
    if path.exists():
        return path
    try:
        content = _fetch(remote)
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise VariedError(
            f"{remote.url} cannot be downloaded ({reason}); download it on another machine and "
            f"save it as {path}."
        ) from error
    if _digest(io.BytesIO(content), remote.unpacked) != remote.sha256:
        raise VariedError(
            f"The file at {remote.url} was not saved, since its SHA-256 is not the expected one; "
            "try again later."
        )
    return atomic_write(path, content)


def _fetch(remote: Remote) -> bytes:
    content = bytearray()
    with urllib.request.urlopen(remote.url, timeout=_TIMEOUT_SECONDS) as response:
        while block := response.read(_BLOCK):
            content += block
            if len(content) > _MAX_BYTES:
                raise ValueError("the file is larger than expected")
    return bytes(content)


def _digest(file: IO[bytes], unpacked: bool) -> str:
    digest = hashlib.sha256()
    contents: Any = gzip.GzipFile(fileobj=file) if unpacked else file
    with contextlib.suppress(OSError, EOFError, zlib.error):
        while block := contents.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
