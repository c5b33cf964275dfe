"""Train in several processes: ``varied train --processes`` and ``--engine ray``."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from varied.atomic_io import read_json
from varied.errors import VariedError

#: The number of times that training is resumed after a process was killed.
MAX_RESTARTS = 3


def run_in_group(processes: int, engine: str | None, workers: str | None) -> int:
    """Run this command in several processes that train together, and return the exit code.

    Arguments:
        processes: The number of processes on this machine.
        engine: "ray" for a cluster, or None.
        workers: The number of workers in the cluster.

    Raises:
        VariedError: If the options cannot be combined, or training fails.
    """
    if engine not in (None, "ray"):
        raise VariedError(f"There is no engine '{engine}'; use --engine ray or --processes.")
    if engine and processes > 1:
        raise VariedError("--processes cannot be combined with --engine ray; use --workers.")
    if engine is None and workers is not None:
        raise VariedError("--workers requires --engine ray; use --processes on this machine.")
    if engine is None:
        return run_in_processes(processes, sys.argv[1:])
    from varied.cli.ray_workers import run_in_ray

    return run_in_ray(workers or "1", sys.argv[1:])


def run_in_processes(n: int, args: Sequence[str]) -> int:
    """Run a command of ``varied`` in several processes, and return the exit code.

    If a process is killed, all are started again, and training resumes from the last checkpoint.

    Arguments:
        n: The number of processes.
        args: The arguments of ``varied``.

    Raises:
        VariedError: If a process is killed more than `MAX_RESTARTS` times.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from varied.cli.worker import EXIT_CODE_FOLDER
    from varied.runtime import num_cores

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id="varied",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=MAX_RESTARTS,
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(num_cores() // n, 1)))
    # Otherwise, processes that are started again receive the addresses of the killed ones.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.environ[EXIT_CODE_FOLDER] = folder
        logging.disable(logging.ERROR)
        try:
            elastic_launch(config, sys.executable)("-m", "varied.worker", *args)
        except SignalException as error:
            return _exit_code(folder, 128 + error.sigval)
        except ChildFailedError:
            raise VariedError(
                f"A process was killed even after {MAX_RESTARTS} restarts, possibly because the "
                "memory is exhausted; use fewer --processes or a smaller --batch-size. To resume, "
                "run the same command again."
            ) from None
        finally:
            logging.disable(logging.NOTSET)
        return _exit_code(folder, 0)


def _exit_code(folder: str, default: int) -> int:
    """Return the exit code of the last attempt, if the process of rank 0 has stored it."""
    paths = sorted(Path(folder).glob("*.json"))
    return int(read_json(paths[-1])["exit_code"]) if paths else default
