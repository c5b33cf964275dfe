"""Listing the files in a folder or zip file safely, and opening them one by one."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from varied.data.memory import MAX_RATIO, is_bomb
from varied.data.raw_data import Problem, printable
from varied.errors import VariedError, read_error

T = TypeVar("T")

_MAX_FILES = 1_000_000
#: The maximum size of a file, and of the unpacked contents of a zip file, in bytes.
_MAX_FILE_BYTES = 256 * 2**20
_MAX_TOTAL_BYTES = 64 * 2**30
#: Smaller files, such as blank bitmaps, may exceed the maximum compression ratio.
_SMALL_BYTES = 4 * 2**20
_THREADS = min(4, os.cpu_count() or 1)


class UnreadableFile(Exception):
    """Raised if a file cannot be read; the message gives the reason."""


@dataclass(frozen=True)
class Member:
    """A file in a folder or zip file.

    Arguments:
        name: The path, with ``/`` as the separator.
        open: A function that opens the file.
        version: Numbers that change with the file; None if they are not known.
    """

    name: str
    open: Callable[[], IO[bytes]]
    version: tuple[int, ...] | None = None


@dataclass
class Listing:
    """The files of a folder or zip file.

    Attributes:
        members: The files to read.
        problems: The files that are rejected, with the reasons.
        others: The number of files with each unsupported extension.
    """

    members: list[Member] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, member: Member, endings: frozenset[str], refusal: str = "") -> None:
        """Add a file to the members, problems or others; skip hidden files that are not refused."""
        path = PurePosixPath(member.name)
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts) and not refusal:
            return
        if path.suffix.lower() not in endings:
            self.others[path.suffix.lower() or "no extension"] += 1
        elif refusal:
            self.problems.append(Problem(member.name, refusal))
        else:
            self.members.append(member)

    def by_name(self) -> Listing:
        """Return the listing sorted by name, so that the order of files is deterministic."""
        members = sorted(self.members, key=lambda member: member.name)
        problems = sorted(self.problems, key=lambda problem: problem.name)
        return Listing(members, problems, self.others)


def list_file(path: Path) -> Listing:
    """Return a listing of a single file."""
    return Listing([Member(path.name, lambda: path.open("rb"))])


def list_folder(root: Path, endings: frozenset[str]) -> Listing:
    """List the files of a folder, at any depth, that have one of the given extensions."""
    listing = Listing()
    for path in _walk(root):
        name = printable(path.relative_to(root).as_posix())
        refusal, version = _inspect_file(path)
        listing.add(Member(name, _opener(path), version), endings, refusal)
    return listing.by_name()


def list_zip(path: Path, endings: frozenset[str]) -> Listing:
    """List the files of a zip file that have one of the given extensions.

    Raises:
        VariedError: If the zip file cannot be read, or the number or the total size of its
            unpacked files is too large.
    """
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError as error:
        raise read_error(path, error) from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise VariedError(
            f"{path.name} is corrupted or not a zip file; create or download it again."
        ) from error
    infos = archive.infolist()
    if len(infos) > _MAX_FILES or sum(i.file_size for i in infos) > _MAX_TOTAL_BYTES:
        raise VariedError(
            f"{path.name} unpacks to more than {_MAX_FILES:,} files, or more than "
            f"{_MAX_TOTAL_BYTES >> 30} GiB; split it, or unpack it and use the folder."
        )
    listing, names = Listing(), set[str]()
    for info in infos:
        if info.filename and not info.is_dir():
            version = (info.file_size, info.CRC)
            member = Member(printable(info.filename), _unpacker(archive, info), version)
            listing.add(member, endings, _refuse_zipped(info, names))
            names.add(info.filename)
    return listing.by_name()


def read_members(members: Sequence[Member], read: Callable[[Member], T]) -> list[T]:
    """Read files in several threads, and return the results in order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(read, members))


def attempt(member: Member, read: Callable[..., T], *args: Any) -> T | Problem:
    """Return the result of reading a file, or a `Problem` if reading raises an error."""
    try:
        with member.open() as file:
            return read(file, *args)
    except UnreadableFile as error:
        return Problem(member.name, str(error))
    except Exception as error:  # corrupted files raise errors of many types
        return Problem(member.name, f"it cannot be read ({printable(str(error)[:60])})")


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files of a folder; links to folders are followed, but each folder only once."""
    visited = set[str]()
    for folder, inner, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        inner[:] = [] if real in visited else sorted(d for d in inner if not d.startswith("."))
        if real not in visited:
            yield from (Path(folder) / name for name in files)
        visited.add(real)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _unpacker(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def unpack() -> IO[bytes]:
        with archive.open(info) as file:
            # Without the stated size, zipfile unpacks more before it cuts off the rest.
            return io.BytesIO(file.read(min(info.file_size, _MAX_FILE_BYTES)))

    return unpack


def _inspect_file(path: Path) -> tuple[str, tuple[int, ...] | None]:
    """Return the reason why a file is not read, or an empty string, and its version."""
    try:
        state = path.stat()
    except OSError as error:
        return f"it cannot be opened ({error.strerror})", None
    if not stat.S_ISREG(state.st_mode):
        return "it is not a regular file", None
    refusal = "it is larger than 256 MiB" if state.st_size > _MAX_FILE_BYTES else ""
    return refusal, (state.st_size, state.st_mtime_ns)


def _refuse_zipped(info: zipfile.ZipInfo, names: set[str]) -> str:
    """Return the reason why a member of a zip file is not read, or an empty string."""
    name = info.orig_filename  # zipfile truncates and corrects `filename`
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ":" in parts[0] or ".." in parts or "\0" in name:
        return "its path points outside the zip file"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a symbolic link"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.filename in names:
        return "its name occurs twice"
    if info.file_size > _MAX_FILE_BYTES:
        return "it is larger than 256 MiB"
    if is_bomb(info.file_size, info.compress_size, _SMALL_BYTES):
        return f"it unpacks to more than {MAX_RATIO} times its size, like a zip bomb"
    return ""
