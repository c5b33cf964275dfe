"""Uploaded files: received within limits, stored under random names, and read by the readers."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from pydantic import TypeAdapter
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from varied import atomic_io
from varied.data import RawData, fit_codec, read
from varied.errors import VariedError, printable
from varied.studio.failures import RequestError, not_found
from varied.studio.schemas import Example, Upload

#: The maximum number of files in an upload, and of the characters of their names.
_MAX_FILES, _MAX_NAME = 100_000, 240
#: The maximum number of problems, and of examples, in the description of an upload, and of rows
#: from which the kind of each column is inferred for these examples.
_MAX_PROBLEMS, _MAX_PREVIEW, _MAX_FITTED = 20, 12, 2000
_EXAMPLES: TypeAdapter[list[Example]] = TypeAdapter(list[Example])
_MALFORMED = "The multipart body is malformed; send the files in the field 'file'."


@dataclass
class ReceivedFile:
    """A file in the body of a request.

    Arguments:
        name: The name that the client gave; it is never used as a path.
        start: Where its content starts in the temporary file.
        size: The number of bytes.
    """

    name: str
    start: int
    size: int = 0


class Reception:
    """The files of a multipart body, whose contents are appended to one temporary file.

    Arguments:
        content_type: The Content-Type header of the request.

    Raises:
        RequestError: If the header is not that of a multipart body.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise RequestError(400, _MALFORMED)
        self.content: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.files: list[ReceivedFile] = []
        self._names: set[str] = set()
        self._field, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._is_complete = self._is_file = False
        events: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._add_field,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._write,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, events)

    async def receive(self, chunks: AsyncIterator[bytes]) -> None:
        """Receive the body.

        Raises:
            RequestError: If the body is malformed, or contains no file or too many files.
        """
        try:
            async for chunk in chunks:
                self._parser.write(chunk)
            self._parser.finalize()
        except FormParserError:
            raise RequestError(400, _MALFORMED) from None
        if not self._is_complete or not self.files:
            raise RequestError(400, _MALFORMED)

    def close(self) -> None:
        """Remove the temporary file."""
        self.content.close()

    def copy(self, file: ReceivedFile, target: BinaryIO | IO[bytes]) -> None:
        """Copy the content of a file."""
        self.content.seek(file.start)
        remaining = file.size
        while remaining and (part := self.content.read(min(remaining, 2**20))):
            target.write(part)
            remaining -= len(part)

    def _begin(self) -> None:
        self._headers, self._is_file = {}, False

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._is_file = options.get(b"name") == b"file" and b"filename" in options
        if not self._is_file:
            return
        if len(self.files) == _MAX_FILES:
            raise RequestError(422, f"More than {_MAX_FILES:,} files; upload a zip file instead.")
        name = _clean_name(options[b"filename"].decode("utf-8", "replace"))
        number = 1
        while name in self._names:  # files of the same name from different folders
            number += 1
            path = PurePosixPath(name)
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        self._names.add(name)
        self.files.append(ReceivedFile(name, self.content.tell()))

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.content.write(data[start:end])
            self.files[-1].size += end - start

    def _end(self) -> None:
        self._is_complete = True


def _clean_name(name: str) -> str:
    """Return the name of a file, with the inner folders, that is safe to show."""
    parts = [part for part in re.split(r"[/\\]+", printable(name)) if part.strip(". ")]
    return "/".join(part.replace(":", "_") for part in parts[-6:])[-_MAX_NAME:] or "data"


class Uploads:
    """The uploaded data, in folders with random names.

    Arguments:
        folder: The folder that contains them; it is created with the first upload.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, id: str) -> Path:
        """Return the file with the data of an upload.

        Raises:
            RequestError: If there is no upload with this id.
        """
        if re.fullmatch(r"[0-9a-f]{16}", id):
            paths = sorted((self.folder / id).glob("data*"))
            if paths and paths[0].is_file() and not paths[0].is_symlink():
                return paths[0]
        raise not_found("upload", "the answer of POST /api/uploads")

    def name(self, id: str) -> str:
        """Return the name of an upload, for the user.

        Raises:
            RequestError: If there is no upload with this id.
        """
        described = atomic_io.read_json(self.path(id).parent / "upload.json")
        return printable(described.get("name", "data"))

    def store(self, received: Reception) -> Upload:
        """Store the received files, and return what they contain.

        One file is stored as it is, and several files as the members of a zip file, which is never
        unpacked.

        Raises:
            VariedError: If the data cannot be stored or read.
        """
        first = received.files[0]
        id = secrets.token_hex(8)
        is_single = len(received.files) == 1
        ending = _ending(first.name) if is_single else ".zip"
        if (
            sum(file.size for file in received.files)
            > shutil.disk_usage(_existing(self.folder)).free
        ):
            raise VariedError("The disk is too full for these files; free some disk space.")
        path = self.folder / id / f"data{ending}"
        if is_single:
            atomic_io.atomic_write(path, lambda file: received.copy(first, file))
        else:
            atomic_io.atomic_write(path, lambda file: _write_zip(received, file))
        try:
            upload = self.describe(id, _title(received.files), path)
            described = {"name": upload.name, "time": time.time()}
            atomic_io.write_json(path.parent / "upload.json", described)
        except BaseException:
            atomic_io.remove_folder(path.parent)
            raise
        return upload

    def describe(self, id: str, name: str, path: Path) -> Upload:
        """Read uploaded data, and return what they contain.

        Raises:
            VariedError: If they cannot be read.
        """
        try:
            data = read(path, min_rows=1)
        except VariedError as error:
            text = str(error).replace(str(path), name).replace(path.name, name)
            raise VariedError(text) from None
        problems = [f"{problem.name}: {problem.reason}" for problem in data.problems]
        rest = len(problems) - _MAX_PROBLEMS
        more = [f"{rest:,} more files cannot be read"] if rest > 0 else []
        return Upload(
            id=id,
            name=name,
            kind=data.kind,
            n=len(data),
            shape=[] if data.is_frame else [int(n) for n in data.x.shape[1:]],
            notes=[printable(note) for note in data.notes],
            problems=[printable(text) for text in [*problems[:_MAX_PROBLEMS], *more]],
            columns=[printable(column) for column in data.columns],
            labels=_labels(data),
            preview=_preview(data),
        )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _ending(name: str) -> str:
    """Return the extension of a file, which consists of letters and digits only."""
    match = re.search(r"(\.[a-z0-9]{1,10})?(\.gz)?$", name.lower())
    return match[0] if match else ""


def _title(files: list[ReceivedFile]) -> str:
    """Return the name of the file, or of the folder that contains all files."""
    if len(files) == 1:
        return files[0].name.rpartition("/")[2]
    folders = {file.name.partition("/")[0] for file in files if "/" in file.name}
    return folders.pop() if len(folders) == 1 else f"{len(files):,} files"


def _write_zip(received: Reception, file: BinaryIO) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for each in received.files:
            with archive.open(zipfile.ZipInfo(each.name), "w", force_zip64=True) as member:
                received.copy(each, member)


def _labels(data: RawData) -> list[str]:
    """Return the names of the labels that the data have, or of the columns that may be labels."""
    return [printable(name) for name in data.classes or data.label_names]


def _preview(data: RawData) -> list[Example]:
    """Return the first examples; none if the data are not suitable for training."""
    try:
        codec = fit_codec(data.head(_MAX_FITTED))
        first = data.head(_MAX_PREVIEW)
        return _EXAMPLES.validate_python(codec.plain_format.to_plain(codec, first.x))
    except VariedError:
        return []
