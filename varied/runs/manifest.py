"""The manifest of a run: a digest of each file on which its results depend."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from varied import atomic_io
from varied.errors import VariedError, read_error

NAME = "manifest.json"
#: The files on which the results of a run depend.
FILES = (
    *("spec.toml", "codec.json", "data.json", "split.safetensors"),
    *("model.safetensors", "calibration.json", "prior.safetensors"),
)


class Manifest:
    """The BLAKE2 digests of the files of a run, with which later changes are detected.

    A file is removed from the manifest before it is replaced, and is added again afterwards. After
    a crash in between, it is not in the manifest, so that it is not checked. Runs that were written
    before manifests existed are not checked either.

    Arguments:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> dict[str, str]:
        """Return the digest of each file by name."""
        path = self.folder / NAME
        return atomic_io.read_json(path) if path.exists() else {}

    def check(self, name: str) -> None:
        """Check that a file has not changed since it was written.

        Raises:
            VariedError: If the file has changed.
        """
        digest = self.read().get(name)
        if digest is not None and self._state(name, digest) == "changed":
            raise VariedError(
                f"{self.folder / name} has changed since it was written; restore the file, or, if "
                f"the change is intended, run `varied verify {self.folder} --accept`."
            )

    def states(self) -> dict[str, str]:
        """Return "unchanged", "changed" or "missing" for each file in the manifest."""
        return {name: self._state(name, digest) for name, digest in self.read().items()}

    def _state(self, name: str, digest: str) -> str:
        path = self.folder / name
        if not path.is_file():
            return "missing"
        return "unchanged" if _digest(path) == digest else "changed"

    def replace(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file by calling a function with its path, and update its digest."""
        digests = self.read()
        if digests.pop(name, None):
            atomic_io.write_json(self.folder / NAME, digests)
        write(self.folder / name)
        self.add(name)

    def add(self, *names: str, contents: Mapping[str, bytes] | None = None) -> None:
        """Add the digests of files, and of the contents of files that are not written yet."""
        digests = {name: _digest(self.folder / name) for name in names}
        digests |= {name: _digest_bytes(content) for name, content in (contents or {}).items()}
        atomic_io.write_json(self.folder / NAME, self.read() | digests)

    def matches(self, name: str, content: bytes) -> bool:
        """Return whether a file in the manifest originally had this content."""
        return self.read().get(name) == _digest_bytes(content)

    def accept(self) -> None:
        """Write a new manifest of the files as they are."""
        present = [name for name in FILES if (self.folder / name).is_file()]
        digests = {name: _digest(self.folder / name) for name in present}
        atomic_io.write_json(self.folder / NAME, digests)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _blake2b).hexdigest()
    except OSError as error:
        raise read_error(path, error) from None


def _digest_bytes(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _blake2b() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)
