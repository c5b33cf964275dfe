"""`varied doctor`: describe the machine and the installed packages, for bug reports.

The output does not contain the name of a user, a host or a folder outside the home directory.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer

from varied.cli import console
from varied.cli.options import AsJson

GIGABYTE = 2**30
#: The number of seconds for which matrix products are timed in each precision.
TIMED_SECONDS = 0.02


def doctor(
    as_json: AsJson = False,
    clear_setups: Annotated[
        bool,
        typer.Option(
            "--clear-setups",
            help="Remove the measured durations of training steps, which are then measured again.",
        ),
    ] = False,
    clear_images: Annotated[
        bool,
        typer.Option("--clear-images", help="Remove the cached images of large folders."),
    ] = False,
) -> None:
    """Print system information for bug reports."""
    if clear_images:
        from varied.data import image_cache

        image_cache.clear_images()
    if clear_setups:
        from varied.setup_cache import clear_timings

        clear_timings()
    with console.status("Inspecting this machine"):
        facts = describe_system()
    if as_json:
        console.show_json(facts)
        return
    console.heading("varied doctor")
    console.table(("", ""), list(facts.items()))


def describe_system() -> dict[str, str]:
    """Return information about the machine and the versions of installed packages, by name."""
    from varied import __version__
    from varied.runtime import describe_machine

    return {
        "varied": __version__,
        **describe_machine(),
        "bfloat16": _bfloat16(),
        "memory": _memory(),
        "free disk": f"{shutil.disk_usage(Path()).free / GIGABYTE:.1f} GB",
        "VARIED_DATA": "set" if os.environ.get("VARIED_DATA") else "not set",
        "cache": _cache(),
        "compute settings": _setups(),
        **_versions(),
    }


def _bfloat16() -> str:
    """Time a matrix product, and return the speed of bfloat16 relative to float32."""
    import torch

    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        a @ b
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < TIMED_SECONDS:
            a @ b
            count += 1
        seconds[dtype] = (time.perf_counter() - start) / count
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    if ratio >= 1:
        return f"{ratio:.1f} times as fast as float32 (one matrix product)"
    return f"{1 / ratio:.1f} times as slow as float32 (one matrix product)"


def _memory() -> str:
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
    try:
        page, pages, free = (os.sysconf(name) for name in names)
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{page * pages / GIGABYTE:.1f} GB, {page * free / GIGABYTE:.1f} GB free"


def _cache() -> str:
    from varied.data.download import cache_folder

    folder = cache_folder()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    shown = str(folder).replace(str(Path.home()), "~", 1)
    return f"{shown}, {sum(sizes) / 2**20:,.0f} MB" if sizes else f"{shown}, empty"


def _setups() -> str:
    from varied.setup_cache import list_fastest

    counts = list_fastest()
    if not counts:
        return "measured when a model is first trained"
    choices = ", ".join(f"{choice} ({n})" for choice, n in counts.items())
    return f"measured models: {sum(counts.values())}; fastest: {choices}"


def _versions() -> dict[str, str]:
    names = [re.split(r"[^\w-]", line, maxsplit=1)[0] for line in requires("varied") or ()]
    return {name: _version(name) for name in dict.fromkeys(names) if name != "torch"}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
