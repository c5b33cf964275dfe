"""Uses of runs from outside the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Functions of a run by name: ``use(run, source=None, *, setting=default)`` returns an object with
#: a method ``save(path)``. Each is a method of `varied.Run` and a command ``varied NAME RUN
#: SOURCE``; its keyword arguments become flags.
USES: dict[str, Callable[..., Any]] = {}
