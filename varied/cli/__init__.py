"""The command-line interface `varied`.

Each command parses its arguments, calls the library and prints the result. Modules that are slow to
import are imported inside the commands, so that `--help` is fast.
"""

from varied.cli.app import app
from varied.cli.errors import main

__all__ = ["app", "main"]
