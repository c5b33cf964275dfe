"""The command `varied`: each command is parse, call, print.

Whatever is slow to import is imported inside the commands, so that help comes at once.
"""

from varied.cli.app import app
from varied.cli.errors import main

__all__ = ["app", "main"]
