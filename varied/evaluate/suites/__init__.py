"""Suites of metrics for a run, and the comparison of several runs."""

from varied.evaluate.suites.all_suites import SUITES, evaluate_all, evaluate_runs
from varied.evaluate.suites.compare import Comparison, comparison_tables
from varied.evaluate.suites.context import EvalContext

__all__ = [
    "SUITES",
    "Comparison",
    "EvalContext",
    "comparison_tables",
    "evaluate_all",
    "evaluate_runs",
]
