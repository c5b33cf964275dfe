"""Train in several processes on this machine: ``varied train --processes``."""

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


def run_in_processes(n: int, args: Sequence[str]) -> int:
    """Run a command of ``varied`` in several processes, and return the exit code.

    If a process is killed, all are started again, and training resumes from the last checkpoint.

    Arguments:
        n: The number of processes.
        args: The arguments of ``varied``.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from varied.runtime import num_cores
    from varied.worker import EXIT_CODE_FOLDER

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
                f"A process was killed, also after {MAX_RESTARTS} restarts, possibly because the "
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
