"""The only file that knows where it runs: device, precision, threads, compilation, memory.

What is faster is measured on the step itself at the start, never assumed, and what was found is
kept in the checkpoint, so that a resumed run computes in the same way.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from varied.spec import Plan

__all__ = [
    "Setup",
    "ThreadController",
    "apply_setup",
    "autotune",
    "compile_step",
    "describe_machine",
    "eval_float32",
    "flush_denormals",
    "tune_malloc",
]

#: Seconds of training under which a cold compilation (7 to 23 s) is not repaid.
WORTH_COMPILING = 240.0

Call = Callable[..., tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Setup:
    """How a run computes.

    Arguments:
        device: "cpu" or "cuda".
        precision: Of the networks; all else is float32.
        threads: Processor threads at the start.
        compile: Whether the step is compiled.
        most: Threads to try where nothing else runs; 1 leaves their number alone.
        alone: Seconds of a step on one thread, as measured.
    """

    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    compile: bool = False
    most: int = 1
    alone: float = 0.0

    def __str__(self) -> str:
        compiled = ", compiled" if self.compile else ""
        threads = f" on {self.threads} thread{'s' * (self.threads > 1)}" * (self.device == "cpu")
        return f"{self.device}, {self.precision}{threads}{compiled}"


def tune_malloc() -> None:
    """Ask the C library to keep freed memory in the process, where it is glibc.

    A step frees and takes the same megabytes again; giving them back to the system each time costs
    page faults, measured at 1.4 times the step of a small convolutional VAE.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL("libc.so.6")
    trim_threshold, mmap_threshold = -1, -3
    library.mallopt(mmap_threshold, 32 * 1024 * 1024)
    library.mallopt(trim_threshold, 1024 * 1024 * 1024)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Take numbers below the normal ones of float32 (1.2e-38) as 0, where the processor can.

    Processors are many times slower with them, and the weights of importance samples make them by
    the thousand: a step of an importance-weighted bound was measured to take 1.6 times as long.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def apply_setup(step: nn.Module, setup: Setup) -> None:
    """Put a step where the setup says, in its precision, with its number of threads."""
    torch.set_num_threads(setup.threads)
    step.to(setup.device)
    if _convolves(step):
        step.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = getattr(torch, setup.precision)
    for module in _casting(step):
        module.precision = None if dtype == torch.float32 else dtype


def _casting(step: nn.Module) -> list[Any]:
    """Return the modules that choose the precision of their networks."""
    return [module for module in step.modules() if hasattr(module, "precision")]


def _convolves(step: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in step.modules())


def autotune(
    step: nn.Module,
    call: Callable[[], Tensor],
    plan: Plan,
    steps: float = 0,
    patience: float = 3.0,
) -> Setup:
    """Return the fastest setup for a step among those that the plan leaves open.

    Arguments:
        step: The module that is trained; its gradients are cleared afterwards.
        call: Runs one step forward and returns its loss.
        plan: Fixed choices for precision, threads and device, and the minutes to train.
        steps: How many steps the run has, where the plan gives no minutes.
        patience: Seconds after which no further setup is tried.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        precision = "float32" if plan.precision == "float32" else "bfloat16"
        return Setup(device, precision, torch.get_num_threads(), plan.compile == "yes")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = min(cores or 1, torch.get_num_threads())
    start, timed = time.perf_counter(), dict[Setup, float]()

    def attempt(setup: Setup) -> None:
        if not timed or time.perf_counter() - start < patience:
            apply_setup(step, setup)
            timed[setup] = _seconds(call)

    # One thread first: it waits for no other, so a busy machine does not blur what it says.
    alone = Setup(device, threads=plan.threads or 1)
    for precision in ("float32", "bfloat16") if plan.precision == "auto" else (plan.precision,):
        attempt(replace(alone, precision=precision))
    alone = min(timed, key=timed.__getitem__)
    if not plan.threads and most > 1:
        attempt(replace(alone, threads=most))
    step.zero_grad(set_to_none=True)
    fastest = min(timed, key=timed.__getitem__)
    seconds = 60 * plan.minutes or steps * timed[fastest]
    compiled = _repays(step, plan, seconds)
    usable = 1 if plan.threads else most
    return replace(fastest, compile=compiled, most=usable, alone=timed[alone])


def _seconds(call: Callable[[], Tensor], repeats: int = 8, most: float = 0.6) -> float:
    call().backward()
    seen: list[float] = []
    while len(seen) < 2 or (len(seen) < repeats and sum(seen) < most):
        start = time.perf_counter()
        call().backward()
        seen.append(time.perf_counter() - start)
    return min(seen)


@contextmanager
def eval_float32(model: nn.Module) -> Iterator[None]:
    """Compute in float32, without gradients and in evaluation mode; put all back afterwards."""
    given = _casting(model)
    kept = [module.precision for module in given]
    training = model.training
    model.eval()
    for module in given:
        module.precision = None
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        for module, precision in zip(given, kept, strict=True):
            module.precision = precision


class ThreadController:
    """Steps back to one thread while other programs hold the cores, and tries all again later.

    Two threads that wait for each other at every turn can be 40 times slower than one where
    another program is busy on the same cores.

    Arguments:
        setup: How the run computes.
        window: Seconds after which the last steps are judged.
        patience: Seconds on one thread after which all are tried again; doubled each time that
            this was in vain.
    """

    def __init__(self, setup: Setup, window: float = 0.5, patience: float = 2.5) -> None:
        self.threads, self.most, self.alone = setup.threads, setup.most, setup.alone
        self.window, self.first, self.patience = window, patience, patience
        self.waited, self.felt, self.warm = 0.0, list[float](), False

    def record_step_time(self, seconds: float) -> None:
        """Take note of how long a step took, and change the number of threads where that helps."""
        self.felt.append(seconds)
        if self.most == 1 or len(self.felt) < 3 or sum(self.felt) < self.window:
            return
        usual, passed = statistics.median(self.felt), sum(self.felt)
        self.felt = []
        if not self.warm:
            self.warm = True  # the first steps compile, and fill caches
        elif self.threads == 1:
            self.alone, self.waited = usual, self.waited + passed
            if self.waited > self.patience:
                self._take(self.most)
        elif usual > 1.5 * self.alone:
            self.patience = min(2 * self.patience, 16 * self.first)
            self._take(1)
        else:
            self.patience = self.first

    def _take(self, threads: int) -> None:
        self.threads, self.waited = threads, 0.0
        torch.set_num_threads(threads)


def compile_step(step: nn.Module, wanted: bool) -> Call:
    """Return the step, compiled where that is wanted; a compiler that fails is done without."""
    if not wanted:
        return step
    torch._dynamo.config.suppress_errors = True
    # The call from Python into each kernel is an eighth of the step of a small network, and so is
    # the compiler's own noise; the library's is faster, and that of a plain step.
    return torch.compile(step, options={"cpp_wrapper": True, "fallback_random": True})


def _repays(step: nn.Module, plan: Plan, seconds: float) -> bool:
    if any(getattr(part, "eager", False) for part in step.modules()):
        return False
    if plan.compile != "auto":
        return plan.compile == "yes"
    # Compiled convolutions were measured to be no faster, and often slower, than the library's.
    if _convolves(step):
        return False
    return seconds > WORTH_COMPILING and any(map(shutil.which, ("g++", "clang++", "c++")))


def describe_machine() -> dict[str, str]:
    """Return what machine and versions these are, without names of hosts, people or folders."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "compiler": next((n for n in ("g++", "clang++", "c++") if shutil.which(n)), "none"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if "model name" in line), "unknown"
    )
