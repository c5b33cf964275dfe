"""Train on a Ray cluster: ``varied train --engine ray``."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from varied.cli import console
from varied.errors import VariedError

#: The number of times that training is resumed after a worker has failed.
MAX_FAILURES = 3
#: The number of seconds between two readings of the output of the workers.
_POLL_SECONDS = 0.3


def run_in_ray(workers: str, args: Sequence[str]) -> int:
    """Run a command of ``varied`` in the workers of a Ray cluster, and return the exit code.

    Without the environment variable ``RAY_ADDRESS``, a cluster is started on this machine. If a
    worker fails, or if the number of workers changes, training resumes from the last checkpoint.

    Arguments:
        workers: The number of workers, or the minimum and the maximum, such as "2:8".
        args: The arguments of ``varied``.

    Raises:
        VariedError: If Ray is not installed or cannot be started, ``workers`` is invalid, or
            training fails.
    """
    n_workers = parse_workers(workers)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it prints everything twice
    try:
        import ray
        from ray.util.queue import Queue
    except ImportError:
        raise VariedError(
            "--engine ray requires Ray; install it with `pip install 'varied[ray]'`."
        ) from None

    address = None if "RAY_ADDRESS" in os.environ else "127.0.0.1"
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, _node_ip_address=address)
    except Exception as error:
        raise VariedError(f"Ray could not be started: {error}") from error
    try:
        queue, results = Queue(), list[Any]()
        config = {"args": list(args), "folder": str(Path.cwd()), "queue": queue}
        thread = threading.Thread(target=_fit, args=(n_workers, config, results), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            _print_output(queue)
    except KeyboardInterrupt:
        console.show("", f"Stopped; resume with the same command: {console.command_line()}")
        raise
    finally:
        ray.shutdown()
    (result,) = results
    if isinstance(result, Exception):
        raise VariedError(
            f"Training failed in the workers even after {MAX_FAILURES} restarts: "
            f"{str(result).strip().splitlines()[-1]}"
        ) from result
    return int(result.return_value)


def _fit(n_workers: int | tuple[int, int], config: dict[str, Any], results: list[Any]) -> None:
    """Train, and append the result or the exception to a list."""
    import torch
    from ray import train
    from ray.train.torch import TorchTrainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            train_in_worker,
            train_loop_config=config,
            scaling_config=train.ScalingConfig(
                num_workers=n_workers, use_gpu=torch.cuda.is_available()
            ),
            run_config=train.RunConfig(
                name="varied",
                storage_path=folder,
                failure_config=train.FailureConfig(max_failures=MAX_FAILURES),
            ),
        )
        try:
            results.append(trainer.fit())
        except Exception as error:  # it is raised in the main thread
            results.append(error)


def _print_output(queue: Any) -> None:
    text = "".join(queue.get_nowait_batch(queue.size()))
    if text:
        console.show(*text.removesuffix("\n").split("\n"))


class QueueWriter(io.TextIOBase):
    """A text stream that puts each text into a queue.

    Arguments:
        queue: The queue.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    def write(self, text: str) -> int:
        """Put a text into the queue."""
        self.queue.put(text)
        return len(text)


def train_in_worker(config: dict[Any, Any]) -> int:
    """Train in a Ray worker, and return the exit code."""
    from varied.cli.worker import run_worker
    from varied.process_group import join_group

    os.chdir(config["folder"])
    output = QueueWriter(config["queue"])
    with join_group() as group, redirect_stdout(output), redirect_stderr(output):
        code = run_worker(config["args"], group)
        if group.is_broken:
            raise RuntimeError("Another worker has ended unexpectedly.")
    return code


def parse_workers(text: str) -> int | tuple[int, int]:
    """Return the number of workers, or the minimum and the maximum.

    Raises:
        VariedError: If the text is neither a positive number nor such a range.

    Example:
        >>> parse_workers("4"), parse_workers("2:8")
        (4, (2, 8))
    """
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(":")]
    if len(numbers) > 2 or min(numbers) < 1 or numbers != sorted(numbers):
        raise VariedError(
            f"--workers {text} must be a number of workers, such as 4, or a minimum and a maximum, "
            "such as 2:8."
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
