"""Training a run: prepare, train, evaluate and report."""

from varied.training.job import Interrupted, Job
from varied.training.prepare import prepare, train

__all__ = ["Interrupted", "Job", "prepare", "train"]
