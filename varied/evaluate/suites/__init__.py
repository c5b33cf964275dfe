"""All that can be measured of a run, in sections, by the functions of `varied.evaluate`."""

from varied.evaluate.suites.all_suites import SUITES, evaluate_all
from varied.evaluate.suites.compare import comparison_tables, evaluate_runs

__all__ = ["SUITES", "comparison_tables", "evaluate_all", "evaluate_runs"]
