"""Measure the duration of a few training steps, and estimate the time and memory of training."""

from __future__ import annotations

import math
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from varied.training.job import Job

#: The maximum number of seconds and of steps that are measured, and of first steps that are not.
_SECONDS, _STEPS, _FIRST_STEPS = 2.0, 50, 2


class Cost(NamedTuple):
    """The expected cost of training.

    Arguments:
        minutes: The training time in minutes, or None if it could not be measured.
        memory_bytes: The memory of the process during the measured steps; None on Windows.
    """

    minutes: float | None
    memory_bytes: int | None


def measure_cost(job: Job) -> Cost:
    """Train for about two seconds, and return the expected cost of the whole training.

    Arguments:
        job: The training run, whose folder is temporary; it cannot be used afterwards.
    """
    times: list[float] = []
    start = time.perf_counter()
    with closing(job.train()) as steps:  # type: ignore[type-var]
        for _ in steps:
            times.append(time.perf_counter())
            if len(times) >= _STEPS or (len(times) > 1 and times[-1] - times[0] > _SECONDS):
                break
    plan, state = job.spec.plan, job.state
    recent = times[_FIRST_STEPS:] if len(times) > _FIRST_STEPS + 1 else times
    pace = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else times[0] - start
    by_steps = state.total * pace / 60 if state.total < math.inf else math.inf
    minutes = min(by_steps, plan.minutes or math.inf)
    return Cost(minutes if math.isfinite(minutes) else None, _peak_memory())


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # not available on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
