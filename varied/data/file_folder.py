"""A set of pictures, from a folder or a zip: labels, one size, and what was understood."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from varied.data.archive import Listing, Member
from varied.data.images import Header, Size, Unreadable, choose_size, header, pixels, quiet
from varied.data.labels import parse_labels
from varied.data.memory import check_memory
from varied.data.raw_data import Problem, RawData
from varied.errors import VariedError

__all__ = ["read_images"]

Array = npt.NDArray[Any]
T = TypeVar("T")

THREADS = min(4, os.cpu_count() or 1)
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
BLOCK = 512


def read_images(
    listing: Listing,
    name: str,
    *,
    size: Size | None = None,
    labels: Any = None,
    classes: Sequence[str] | None = None,
) -> RawData:
    """Return the pictures of a listing, all at one size.

    Arguments:
        listing: The files.
        name: What the messages call the set.
        size: Height and width; chosen from the pictures if None.
        labels: A label for each file in the order of their names, or a mapping from names; the
            folder that a file lies in if None.
        classes: The names of the classes.

    Raises:
        VariedError: If no picture can be read, or all of them would not fit in memory.
    """
    members, problems = listing.members, list(listing.problems)
    given = _given(labels, members, classes)
    with quiet():
        headers = _each(lambda m: _trying(m, header), members)
        kept = [i for i, h in enumerate(headers) if isinstance(h, Header)]
        heads = [h for h in headers if isinstance(h, Header)]
        problems += [h for h in headers if isinstance(h, Problem)]
        if not heads:
            raise VariedError(_nothing(name, problems))
        chosen, reason = (size, "") if size else choose_size([h.size for h in heads])
        x, failed = _decode([members[i] for i in kept], chosen, all(h.gray for h in heads))
    good = [i for j, i in enumerate(kept) if j not in failed]
    if not good:
        raise VariedError(_nothing(name, [*problems, *failed.values()]))
    names = [members[i].name for i in good]
    indices, found = _folders(names, classes) if given is None else (given[0][good], given[1])
    notes = _resized(chosen, size, reason, heads) + _oddities(heads)
    return RawData(
        x,
        "image",
        indices,
        found,
        tuple(names),
        _official(names),
        notes=tuple(notes),
        problems=(*problems, *failed.values()),
    )


def _each(work: Callable[[Member], T], members: Sequence[Member]) -> list[T]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, members))


def _trying(member: Member, work: Callable[..., T], *args: Any) -> T | Problem:
    try:
        with member.open() as file:
            return work(file, *args)
    except Unreadable as error:
        return Problem(member.name, str(error))
    except Exception as error:  # a damaged zip raises many kinds
        return Problem(member.name, f"it cannot be read ({str(error)[:60]})")


def _decode(members: list[Member], size: Size, gray: bool) -> tuple[Array, dict[int, Problem]]:
    """Fill one array, a block at a time; pictures that turn out to be damaged leave no row."""
    shape = (len(members), *size) if gray else (len(members), *size, 3)
    cost = int(np.prod(shape, dtype=np.int64))
    what = f"{len(members):,} pictures of {size[0]}x{size[1]}"
    check_memory(cost, what, "give a smaller size (--image-size), or fewer pictures")
    x, failed, row = np.empty(shape, np.uint8), dict[int, Problem](), 0
    for start in range(0, len(members), BLOCK):
        block = members[start : start + BLOCK]
        for i, result in enumerate(_each(lambda m: _trying(m, pixels, size, gray), block), start):
            if isinstance(result, Problem):
                failed[i] = result
            else:
                x[row], row = result, row + 1
    x = x[:row]
    if not gray and all(_is_gray(x[i : i + BLOCK]) for i in range(0, row, BLOCK)):
        return np.ascontiguousarray(x[..., 0]), failed
    return x, failed


def _is_gray(x: Array) -> bool:
    return bool((x[..., 0] == x[..., 1]).all() and (x[..., 1] == x[..., 2]).all())


def _given(
    labels: Any, members: Sequence[Member], classes: Sequence[str] | None
) -> tuple[Array, tuple[str, ...]] | None:
    if isinstance(labels, Mapping):
        labels = [labels.get(m.name, labels.get(m.name.split("/")[-1])) for m in members]
    return None if labels is None else parse_labels(labels, len(members), classes)


def _folders(
    names: Iterable[str], classes: Sequence[str] | None
) -> tuple[Array | None, tuple[str, ...]]:
    """Take the folder that a file lies in as its label; one and the same folder says nothing."""
    parents = [PurePosixPath(name).parent.name for name in names]
    if len(set(parents)) < 2 or set(parents) <= set(PARTS):
        return None, ()
    return parse_labels(parents, len(parents), classes)


def _official(names: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Find the rows under a folder `test`, where all rows are under `train` or `test`."""
    parts = [{PARTS[p.lower()] for p in n.split("/")[:-1] if p.lower() in PARTS} for n in names]
    if not all(len(p) == 1 for p in parts) or len(set.union(*parts)) < 2:
        return None
    return np.array([i for i, p in enumerate(parts) if "test" in p], dtype=np.int64)


def _nothing(name: str, problems: Sequence[Problem]) -> str:
    first = problems[0]
    return (
        f"None of the {len(problems):,} pictures in {name} can be read ({first.name}: "
        f"{first.reason}): give pictures that open in a viewer."
    )


def _resized(chosen: Size, asked: Size | None, reason: str, heads: Sequence[Header]) -> list[str]:
    changed = sum(h.size != chosen for h in heads)
    if asked and changed:
        return [f"Resized to {chosen[0]}x{chosen[1]}, as asked."]
    return [f"Resized to {chosen[0]}x{chosen[1]}, because {reason} (`size` sets another)."][
        : 1 if changed and reason else 0
    ]


def _oddities(heads: Sequence[Header]) -> list[str]:
    counts = Counter(odd for h in heads for odd in h.odd)
    mended = {"transparent": "laid on white", "with several frames": "the first was taken"}
    return [f"{n:,} {odd}: {mended.get(odd, 'made 8-bit')}." for odd, n in sorted(counts.items())]
