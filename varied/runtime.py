"""The compute settings of a run: device, precision, threads, compilation and memory.

No other module handles them. On a CPU, the fastest settings are found by timing the training step
once on each machine; see `varied.setup_cache`. They are saved in the checkpoint, so that a resumed
run uses the same settings.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from varied import setup_cache
from varied.errors import VariedError, lookup
from varied.heads import Head
from varied.nets.autocast import AutocastModule
from varied.objectives import Objective
from varied.setup_cache import Timings
from varied.spec import Plan

#: Seconds of training below which a cold compilation (7 to 23 s) costs more time than it saves.
WORTH_COMPILING = 240.0

#: The maximum number of threads, since a file may name any number.
_MAX_THREADS = 4096

COMPILERS = ("g++", "clang++", "c++")
#: Values of `AutocastModule.precision` by name.
PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}

ComputeLoss = Callable[..., tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Setup:
    """The compute settings of a run: device, precision, threads and compilation.

    Arguments:
        device: "cpu" or "cuda".
        precision: The precision of the networks, "float32" or "bfloat16"; everything else uses
            float32.
        threads: The initial number of CPU threads.
        compile: Whether the training step is compiled.
        max_threads: The number of threads to use on an idle machine. If 1, the number of threads
            stays at ``threads``.
        single_thread_seconds: The measured duration of a step on one thread.
    """

    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    compile: bool = False
    max_threads: int = 1
    single_thread_seconds: float = 0.0

    def __post_init__(self) -> None:
        lookup(dict.fromkeys(("cpu", "cuda")), self.device, "device")
        lookup(PRECISIONS, self.precision, "precision")
        for n in (self.threads, self.max_threads):
            if not 1 <= n <= _MAX_THREADS:
                raise VariedError(
                    f"The number of threads is {n:,}, but must be between 1 and {_MAX_THREADS:,}."
                )

    def __str__(self) -> str:
        compiled = ", compiled" if self.compile else ""
        threads = f" on {self.threads} thread{'s' * (self.threads > 1)}" * (self.device == "cpu")
        return f"{self.device}, {self.precision}{threads}{compiled}"


def tune_malloc() -> None:
    """Let glibc keep freed memory in the process.

    Each step allocates and frees the same memory. Returning it to the system between steps causes
    page faults, which made a step of a small convolutional VAE take 1.4 times as long.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL("libc.so.6")
    trim_threshold, mmap_threshold = -1, -3
    library.mallopt(mmap_threshold, 32 * 1024 * 1024)
    library.mallopt(trim_threshold, 1024 * 1024 * 1024)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that the memory of the CPU or GPU is exhausted."""
    is_memory_error = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_memory_error or "DefaultCPUAllocator" in str(error)


@contextmanager
def deterministic_operations(enabled: bool) -> Iterator[None]:
    """Use deterministic operations if ``enabled`` is set; restore the previous setting on exit.

    A warning is printed for operations without a deterministic version.
    """
    if not enabled or torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Flush denormal float32 numbers (below 1.2e-38) to zero if supported; stop on exit.

    Arithmetic with such numbers is many times slower, and importance weights contain thousands of
    them: without flushing, a step with an importance-weighted bound took 1.6 times as long.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def apply_setup(step: nn.Module, setup: Setup) -> None:
    """Move a training step to the device, and set the precision and the number of threads."""
    torch.set_num_threads(setup.threads)
    step.to(setup.device)
    if _is_convolutional(step):
        step.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in _autocast_modules(step):
        module.precision = PRECISIONS[setup.precision]


def _autocast_modules(step: nn.Module) -> list[AutocastModule]:
    return [module for module in step.modules() if isinstance(module, AutocastModule)]


def _is_convolutional(step: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in step.modules())


def autotune(
    step: nn.Module,
    call: Callable[[], Tensor],
    plan: Plan,
    steps: float = 0,
    patience: float = 3.0,
) -> Setup:
    """Return the fastest setup for a training step among those that the plan allows.

    The step is timed once on each machine; later calls use the stored durations. If the plan is
    deterministic, nothing is measured.

    On a GPU, nothing is measured: the precision is bfloat16 unless the plan sets float32, and the
    step is compiled only if the plan sets ``compile="yes"``.

    Arguments:
        step: The training step; its gradients are cleared afterwards.
        call: A function that computes the loss of one step.
        plan: The plan, which may fix the precision, the number of threads and the compilation.
        steps: The maximum number of training steps, in addition to the ``minutes`` of the plan; 0
            for no maximum.
        patience: The number of seconds after which no further setup is measured.
    """
    if torch.cuda.is_available():
        precision = "float32" if plan.precision == "float32" else "bfloat16"
        return Setup("cuda", precision, torch.get_num_threads(), plan.compile == "yes")
    if plan.deterministic:
        precision = "float32" if plan.precision == "auto" else plan.precision
        return Setup("cpu", precision, plan.threads or 1, plan.compile == "yes")
    max_threads = min(num_cores(), torch.get_num_threads())
    key = _describe_step(step, plan, max_threads)
    timings = setup_cache.read_timings(key)
    if timings is None:
        timings = _measure_setups(step, call, plan, max_threads, patience)
        timings = setup_cache.write_timings(key, timings)
    single_threads = plan.threads or 1
    precision, threads = min(timings, key=timings.__getitem__)
    limits = (60 * plan.minutes, steps * timings[precision, threads])
    return Setup(
        precision=precision,
        threads=threads,
        compile=_should_compile(step, plan, min(filter(None, limits), default=0.0)),
        max_threads=1 if plan.threads else max_threads,
        single_thread_seconds=timings[precision, single_threads],
    )


def _measure_setups(
    step: nn.Module, call: Callable[[], Tensor], plan: Plan, max_threads: int, patience: float
) -> Timings:
    """Return the duration of a step with each precision and number of threads."""
    precisions = tuple(PRECISIONS) if plan.precision == "auto" else (plan.precision,)
    compare_threads = not plan.threads and max_threads > 1
    # With a single candidate, the timing only decides about the compilation.
    repeats = 8 if len(precisions) > 1 or compare_threads else 1
    start, timings = time.perf_counter(), Timings()

    def measure(precision: str, threads: int) -> None:
        if not timings or time.perf_counter() - start < patience:
            apply_setup(step, Setup(precision=precision, threads=threads))
            # The time that one thread computes, unlike the time that passes, hardly depends on
            # other programs, which must not affect what is stored in the cache.
            clock = time.process_time if threads == 1 else time.perf_counter
            timings[precision, threads] = _seconds_per_step(call, repeats, clock)

    for precision in precisions:
        measure(precision, plan.threads or 1)
    if compare_threads:
        measure(min(timings, key=timings.__getitem__)[0], max_threads)
    step.zero_grad(set_to_none=True)
    return timings


def _describe_step(step: nn.Module, plan: Plan, max_threads: int) -> dict[str, Any]:
    """Return everything on which the duration of a step depends."""
    machine = [_processor(), max_threads, torch.__version__]
    shapes = {name: list(tensor.shape) for name, tensor in step.state_dict().items()}
    choices = [plan.batch_size, plan.precision, plan.threads]
    settings = [
        {k: v for k, v in vars(module).items() if isinstance(v, int | float | str)}
        for module in step.modules()
    ]
    return {"machine": machine, "shapes": shapes, "choices": choices, "settings": settings}


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # on macOS and Windows
        return os.cpu_count() or 1


def _seconds_per_step(
    call: Callable[[], Tensor], repeats: int, clock: Callable[[], float], budget: float = 0.6
) -> float:
    call().backward()
    times: list[float] = []
    while len(times) < repeats and (len(times) < 2 or sum(times) < budget):
        start = clock()
        call().backward()
        times.append(clock() - start)
    return min(times)


def _should_compile(step: nn.Module, plan: Plan, seconds: float) -> bool:
    if not all(m.can_compile for m in step.modules() if isinstance(m, Head | Objective)):
        return False
    if plan.compile != "auto":
        return plan.compile == "yes"
    # In our measurements, compiled convolutions were no faster than eager ones, and often slower.
    if _is_convolutional(step):
        return False
    return seconds > WORTH_COMPILING and any(map(shutil.which, COMPILERS))


def compile_step(step: nn.Module, enabled: bool) -> ComputeLoss:
    """Return the training step, compiled if ``enabled`` is set and a compiler is available."""
    if not enabled:
        return step
    torch._dynamo.config.suppress_errors = True
    # For a small network, calling kernels from Python takes an eighth of the time of a step, and so
    # does the compiler's random number generator. PyTorch's own generator is faster, and draws the
    # same numbers as in an uncompiled step.
    return torch.compile(step, options={"cpp_wrapper": True, "fallback_random": True})


@contextmanager
def eval_float32(model: nn.Module) -> Iterator[None]:
    """Use evaluation mode without gradients or autocast; restore the previous state on exit."""
    modules = _autocast_modules(model)
    precisions = [module.precision for module in modules]
    training = model.training
    model.eval()
    for module in modules:
        module.precision = None
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        for module, precision in zip(modules, precisions, strict=True):
            module.precision = precision


class ThreadController:
    """Switches to one thread while other programs use the cores, and later tries all threads again.

    Two threads that wait for each other can be 40 times slower than one thread if another program
    uses the same cores.

    Arguments:
        setup: The compute settings of the run.
        window: The number of seconds between two decisions.
        patience: The number of seconds on one thread after which all threads are tried again. It is
            doubled after each failed attempt.
    """

    def __init__(self, setup: Setup, window: float = 0.5, patience: float = 2.5) -> None:
        self.threads, self.max_threads = setup.threads, setup.max_threads
        self.single_thread_seconds = setup.single_thread_seconds
        self.window, self.initial_patience, self.patience = window, patience, patience
        self.waited, self.times, self.is_warm = 0.0, list[float](), False

    def record_step_time(self, seconds: float) -> None:
        """Record the duration of a step, and change the number of threads if this saves time."""
        self.times.append(seconds)
        if self.max_threads == 1 or len(self.times) < 3 or sum(self.times) < self.window:
            return
        median, total = statistics.median(self.times), sum(self.times)
        self.times = []
        if not self.is_warm:
            self.is_warm = True  # the first steps are slow: they compile code and fill caches
        elif self.threads == 1:
            self.single_thread_seconds, self.waited = median, self.waited + total
            if self.waited > self.patience:
                self._use(self.max_threads)
        elif median > 1.5 * self.single_thread_seconds:
            self.patience = min(2 * self.patience, 16 * self.initial_patience)
            self._use(1)
        else:
            self.patience = self.initial_patience

    def _use(self, threads: int) -> None:
        self.threads, self.waited = threads, 0.0
        torch.set_num_threads(threads)


def describe_machine() -> dict[str, str]:
    """Return the hardware and the software versions, without host, user or folder names."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "compiler": next(filter(shutil.which, COMPILERS), "none"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, "unknown")
