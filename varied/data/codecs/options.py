"""The names of the options of codecs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from varied.errors import OptionError, suggest


def check_options(options: Mapping[str, Any], names: Sequence[str], owner: str) -> None:
    """Check the names of options.

    Raises:
        OptionError: If an option is unknown; the message suggests the nearest name.
    """
    for name in options:
        if name not in names:
            hint = f": {suggest(name, list(names))}" if names else "; omit it."
            raise OptionError(f"{name}= is not an option of {owner}{hint}")


def option_names(function: Callable[..., Any], skip: int = 1) -> list[str]:
    """Return the names of the arguments of a function, except the first ``skip``."""
    return list(inspect.signature(function).parameters)[skip:]
