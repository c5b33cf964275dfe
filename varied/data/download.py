"""Files that are fetched once, checked by their SHA-256, and kept in the cache folder."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import sys
import tempfile
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from varied.errors import VariedError

__all__ = ["Remote", "cache_folder", "check", "fetch"]

BLOCK = 1 << 20
AT_MOST = 512 * 2**20
TIMEOUT = 30.0


@dataclass(frozen=True)
class Remote:
    """A file at its official source.

    Arguments:
        name: The name of the file.
        url: Where it is, over https.
        sha256: Its digest; of the unpacked contents where `unpacked`, since copies of a gzip file
            differ in the name and time that it carries.
        unpacked: Whether the digest is that of the unpacked contents.
    """

    name: str
    url: str
    sha256: str
    unpacked: bool = False


def cache_folder() -> Path:
    """Return the folder where fetched files are kept."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "varied"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "varied"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "varied" / "Cache"
    return Path.home() / ".cache" / "varied"


def check(path: Path, remote: Remote) -> None:
    """Compare a file with its digest.

    Raises:
        VariedError: If it is another file, or damaged.
    """
    if _digest(path, remote.unpacked) != remote.sha256:
        raise VariedError(
            f"{path} is damaged or another file (its SHA-256 is not the one that is known): "
            "delete it, and it is fetched again."
        )


def fetch(remote: Remote, folder: Path) -> Path:
    """Fetch a file into a folder, unless it is there; it appears whole or not at all.

    Raises:
        VariedError: If it cannot be fetched, or is not the file that is known.
    """
    path = folder / remote.name
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = _download(remote, folder)
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise VariedError(
            f"{remote.url} cannot be fetched ({reason}): fetch it elsewhere and put it at {path}."
        ) from error
    try:
        _check_part(part, remote)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _check_part(part: Path, remote: Remote) -> None:
    if _digest(part, remote.unpacked) != remote.sha256:
        raise VariedError(
            f"{remote.url} gave another file than the one that is known (by its SHA-256): "
            "nothing was kept; try again later."
        )


def _download(remote: Remote, folder: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{remote.name}.", suffix=".part")
    part = Path(name)
    try:
        with (
            os.fdopen(handle, "wb") as file,
            urllib.request.urlopen(remote.url, timeout=TIMEOUT) as answer,
        ):
            _copy(answer, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _copy(answer: Any, file: IO[bytes]) -> None:
    written = 0
    while block := answer.read(BLOCK):
        written += file.write(block)
        if written > AT_MOST:
            raise ValueError("it is larger than it can be")
    file.flush()
    os.fsync(file.fileno())


def _digest(path: Path, unpacked: bool) -> str:
    digest = hashlib.sha256()
    unpack: Callable[..., IO[bytes]] = gzip.open if unpacked else open  # type: ignore[assignment]
    with unpack(path, "rb") as file, contextlib.suppress(OSError, EOFError, zlib.error):
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
