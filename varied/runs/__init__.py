"""A run is a folder: open it, list them, use what is in it."""

from varied.runs.result import Result
from varied.runs.run import Run, list_runs
from varied.runs.store import Store

__all__ = ["Result", "Run", "Store", "list_runs"]
