"""The files of a folder or of a zip: listed safely, opened one by one, unpacked nowhere."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from varied.data.raw_data import Problem
from varied.errors import VariedError

__all__ = ["Listing", "Member", "list_file", "list_folder", "list_zip"]

MAX_MEMBERS = 1_000_000
MAX_BYTES = 256 * 2**20  # of one file, unpacked
MAX_TOTAL = 64 * 2**30  # of a zip, unpacked
MAX_RATIO = 200  # of a large member; a blank bitmap reaches it only while it is small
SMALL = 4 * 2**20


@dataclass(frozen=True)
class Member:
    """A file by its name, with `/` between the folders, and how to open it."""

    name: str
    open: Callable[[], IO[bytes]]


@dataclass
class Listing:
    """What a folder or a zip holds: the wanted files, the refused ones, and a count of others."""

    members: list[Member] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, member: Member, wanted: frozenset[str], refusal: str = "") -> None:
        """Put a file where it belongs; hidden files are passed over."""
        path = PurePosixPath(member.name)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts) and not refusal:
            return
        if path.suffix.lower() not in wanted:
            self.others[path.suffix.lower() or "no extension"] += 1
        elif refusal:
            self.problems.append(Problem(member.name, refusal))
        else:
            self.members.append(member)

    def done(self) -> Listing:
        """Sort by name, so that the same files always come in the same order."""
        self.members.sort(key=lambda member: member.name)
        self.problems.sort(key=lambda problem: problem.name)
        return self


def list_file(path: Path) -> Listing:
    """List one file."""
    return Listing([Member(path.name, lambda: path.open("rb"))])


def list_folder(root: Path, wanted: frozenset[str]) -> Listing:
    """List the files of a folder, at any depth, with an extension that is wanted."""
    listing = Listing()
    for path in _walk(root):
        name = _printable(path.relative_to(root).as_posix())
        listing.add(Member(name, _opener(path)), wanted, _file_refusal(path))
    return listing.done()


def list_zip(path: Path, wanted: frozenset[str]) -> Listing:
    """List the files of a zip with an extension that is wanted.

    Raises:
        VariedError: If it is damaged, or is large beyond reason.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise VariedError(f"{path.name} is no zip, or damaged: make or fetch it again.") from error
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS or sum(i.file_size for i in infos) > MAX_TOTAL:
        raise VariedError(
            f"{path.name} unpacks to more than {MAX_MEMBERS:,} files or {MAX_TOTAL >> 30} GiB: "
            "divide it, or unpack it yourself and give the folder."
        )
    listing, seen = Listing(), set[str]()
    for info in infos:
        if not info.is_dir():
            refusal = _zip_refusal(info, seen)
            listing.add(
                Member(_printable(info.filename), _unpacker(archive, info)), wanted, refusal
            )
            seen.add(info.filename)
    return listing.done()


def _walk(root: Path) -> Iterator[Path]:
    """Follow links to folders, as sets of pictures often have them, but each folder once."""
    seen = set[str]()
    for folder, inner, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        inner[:] = [] if real in seen else sorted(d for d in inner if not d.startswith("."))
        if real not in seen:
            yield from (Path(folder) / name for name in files)
        seen.add(real)


def _printable(name: str) -> str:
    """A name is shown on screens: it must not steer them, nor fail to be written."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _unpacker(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def unpack() -> IO[bytes]:
        with archive.open(info) as file:
            return io.BytesIO(file.read(MAX_BYTES))

    return unpack


def _file_refusal(path: Path) -> str:
    try:
        state = path.stat()
    except OSError as error:
        return f"it cannot be opened ({error.strerror})"
    if not stat.S_ISREG(state.st_mode):
        return "it is no regular file"
    return "it is larger than 256 MiB" if state.st_size > MAX_BYTES else ""


def _zip_refusal(info: zipfile.ZipInfo, seen: set[str]) -> str:
    name = info.orig_filename  # zipfile cuts and mends `filename`
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        return "its name leads out of the zip"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.filename in seen:
        return "its name occurs twice"
    if info.file_size > MAX_BYTES:
        return "it is larger than 256 MiB"
    if info.file_size > SMALL and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return "it unpacks to more than 200 times its size, as a zip bomb does"
    return ""
