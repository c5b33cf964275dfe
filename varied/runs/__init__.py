"""Runs: a folder with a trained model, opened for use."""

from varied.runs.result import Result
from varied.runs.run import Run
from varied.runs.store import Store

__all__ = ["Result", "Run", "Store"]
