"""External operations on runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Operations by name. A function ``use(run, source=None, *, setting=default)`` returns an object
#: with a method ``save(path)``. It is available as a method of `varied.Run`, and as the command
#: ``varied NAME RUN SOURCE``, with an option for each keyword argument.
USES: dict[str, Callable[..., Any]] = {}
