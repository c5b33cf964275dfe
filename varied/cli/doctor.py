"""What `varied doctor` tells of a machine: nothing that names a person, a host or a folder."""

from __future__ import annotations

import os
import re
import shutil
import time
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from varied import __version__
from varied.data.download import cache_folder
from varied.runtime import describe_machine

__all__ = ["described"]

GIGABYTE = 2**30


def described() -> dict[str, str]:
    """Return a word for each thing."""
    return {
        "varied": __version__,
        **describe_machine(),
        "bfloat16": _bfloat16(),
        "memory": _memory(),
        "disk free here": f"{shutil.disk_usage(Path()).free / GIGABYTE:.1f} GB",
        "VARIED_DATA": "set" if os.environ.get("VARIED_DATA") else "not set",
        "cache": _cache(),
        **_versions(),
    }


def _bfloat16() -> str:
    """Time a matrix product in both precisions, 50 ms in all."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 512, dtype=dtype)
        b = torch.ones(512, 512, dtype=dtype)
        a @ b
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < 0.02:
            a @ b
            count += 1
        seconds[dtype] = (time.perf_counter() - start) / count
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    if ratio >= 1:
        return f"{ratio:.1f} times as fast as float32 here, on one matrix product"
    return f"{1 / ratio:.1f} times slower than float32 here, on one matrix product"


def _memory() -> str:
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
    try:
        page, pages, free = (os.sysconf(name) for name in names)
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{page * pages / GIGABYTE:.1f} GB, {page * free / GIGABYTE:.1f} GB of it free"


def _cache() -> str:
    folder = cache_folder()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    place = str(folder).replace(str(Path.home()), "~", 1)
    return f"{place}, {sum(sizes) / 2**20:,.0f} MB" if sizes else f"{place}, empty"


def _versions() -> dict[str, str]:
    names = [re.split(r"[^\w-]", line, maxsplit=1)[0] for line in requires("varied") or ()]
    return {name: _version(name) for name in dict.fromkeys(names) if name != "torch"}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
