"""Datasets in a folder or zip file with one example per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from varied.data.archive import Listing, Member, list_file, list_folder, list_zip
from varied.data.codecs import CODECS, Codec
from varied.data.codecs.options import check_options
from varied.data.labels import Labels, parse_labels
from varied.data.name_labels import infer_pattern, is_pattern, match_labels
from varied.data.raw_data import RawData
from varied.errors import VariedError
from varied.registry import load_entry_points

Array = npt.NDArray[Any]

#: Names of folders that contain an official split.
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}


def read_folder(path: Path, labels: Any, classes: Sequence[str] | None, **options: Any) -> RawData:
    """Read a folder of files, at any depth; the names of the inner folders become labels.

    Arguments:
        path: The folder.
        labels: A label for each file, in the order of the file names; a mapping from file names
            to labels; or a pattern of the file names, such as "{digit}_{speaker}_{index}". By
            default, the label is the name of the folder that contains the file or, for recordings
            in a single folder, the fields of the file name.
        classes: The names of the classes.
        options: Options for the kind of data, such as ``image_size``.

    Raises:
        VariedError: If no file can be read.
    """
    return _read(path, list_folder, "folder", labels, classes, options)


def read_zip(path: Path, labels: Any, classes: Sequence[str] | None, **options: Any) -> RawData:
    """Read the files in a zip file, in the same way as `read_folder`."""
    return _read(path, list_zip, "zip file", labels, classes, options)


def read_single(
    path: Path, codec: type[Codec], labels: Any, classes: Sequence[str] | None, **options: Any
) -> RawData:
    """Read one file as a dataset with a single example."""
    return _read_listing(list_file(path), path.name, codec, labels, classes, options)


def _read(
    path: Path,
    list_files: Callable[[Path, frozenset[str]], Listing],
    container: str,
    labels: Any,
    classes: Sequence[str] | None,
    options: Mapping[str, Any],
) -> RawData:
    load_entry_points()
    codecs = {e: c for c in CODECS.values() if c.reads_folders for e in c.endings}
    listing = list_files(path, frozenset(codecs))
    if not listing.members and not listing.problems:
        raise VariedError(_nothing_to_read(path, listing, container, codecs))
    # A folder with images and sounds is read as the kind of data with more files.
    names = [member.name for member in listing.members] or [p.name for p in listing.problems]
    counts = Counter(codecs[PurePosixPath(name).suffix.lower()] for name in names)
    codec = counts.most_common(1)[0][0]
    n_files = len(listing.members)
    listing.members = [m for m in listing.members if codecs[_ending(m)] is codec]
    data = _read_listing(listing, path.name, codec, labels, classes, options)
    n_ignored = n_files - len(listing.members)
    note = f"Number of files ignored because they are not {codec.noun}: {n_ignored:,}."
    return data.with_notes(note) if n_ignored else data


def _ending(member: Member) -> str:
    return PurePosixPath(member.name).suffix.lower()


def _read_listing(
    listing: Listing,
    name: str,
    codec: type[Codec],
    labels: Any,
    classes: Sequence[str] | None,
    options: Mapping[str, Any],
) -> RawData:
    check_options(options, codec.reading_option_names, f"{codec.kind} data")
    members = listing.members
    pattern = labels if is_pattern(labels) else ""
    given = None if pattern else _given_labels(labels, members, classes)
    x, unreadable, notes, dialect = codec.read_members(members, **options)
    problems = (*listing.problems, *unreadable.values())
    readable = [i for i in range(len(members)) if i not in unreadable]
    if not readable:
        problem = problems[0]
        if problem.name == name:  # a single file
            raise VariedError(f"{name} cannot be read: {problem.reason}.")
        raise VariedError(
            f"None of the {len(problems):,} {codec.noun} in {name} can be read "
            f"({problem.name}: {problem.reason}); check that other programs can open them."
        )
    names = [members[i].name for i in readable]
    if given is not None:
        given = given[0][readable], given[1]
    elif not pattern:
        given = _folder_labels(names, classes)
    indices, class_names = given or (None, ())
    data = RawData(
        x,
        codec.kind,
        indices,
        class_names,
        tuple(names),
        _official_test_rows(names),
        notes=notes,
        problems=problems,
        dialect=dialect,
    )
    if pattern:
        return data.with_labels(match_labels(pattern, names))
    return _with_inferred_labels(data) if codec.has_labels_in_names and given is None else data


def _with_inferred_labels(data: RawData) -> RawData:
    """Return data with the labels in the file names, if there are any."""
    pattern = infer_pattern(data.names or ())
    if not pattern:
        return data
    note = (
        f"The labels are the fields of the file names, {pattern}; to name them, pass a pattern "
        "such as --labels '{word}_{speaker}_{index}'."
    )
    return data.with_labels(match_labels(pattern, data.names or ())).with_notes(note)


def _given_labels(
    labels: Any, members: Sequence[Member], classes: Sequence[str] | None
) -> Labels | None:
    if isinstance(labels, Mapping):
        labels = [labels.get(m.name, labels.get(m.name.split("/")[-1])) for m in members]
    return None if labels is None else parse_labels(labels, len(members), classes)


def _folder_labels(names: Iterable[str], classes: Sequence[str] | None) -> Labels | None:
    """Return the folder names as labels, unless there is only one, or they are train and test."""
    parents = [PurePosixPath(name).parent.name for name in names]
    if len(set(parents)) < 2 or set(parents) <= set(_SPLITS):
        return None
    return parse_labels(parents, len(parents), classes)


def _official_test_rows(names: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Return the rows in "test" folders if all rows are in "train" or "test" folders.

    If a row is in neither, or one of the two splits is empty, return None.
    """
    splits = [
        {_SPLITS[part.lower()] for part in name.split("/")[:-1] if part.lower() in _SPLITS}
        for name in names
    ]
    if not all(len(s) == 1 for s in splits) or len(set.union(*splits)) < 2:
        return None
    return np.array([i for i, s in enumerate(splits) if "test" in s], dtype=np.int64)


def _nothing_to_read(
    path: Path, listing: Listing, container: str, codecs: Mapping[str, type[Codec]]
) -> str:
    *nouns, last = dict.fromkeys(codec.noun for codec in codecs.values())
    examples = " or ".join([", ".join(nouns), last] if nouns else [last])
    if not listing.others:
        return f"The {container} {path.name} is empty; use one that contains {examples}."
    others = ", ".join(f"{n:,} {suffix}" for suffix, n in listing.others.most_common(5))
    endings = ", ".join(sorted(codecs))
    single = {e for c in CODECS.values() if not c.reads_folders for e in c.endings}
    if single & listing.others.keys():
        endings += "; to read a table, pass its own path"
    return (
        f"The {container} {path.name} contains no {examples} (found {others}). The supported file "
        f"extensions are {endings}."
    )
