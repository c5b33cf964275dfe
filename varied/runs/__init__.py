"""Runs: folders with a trained model, and the operations on them."""

from varied.runs.result import Result
from varied.runs.run import Run
from varied.runs.store import Store

__all__ = ["Result", "Run", "Store"]
