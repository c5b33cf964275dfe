"""Train as one of several processes that ``torchrun`` or a cluster starts with the same arguments.

The arguments are those of ``varied``, as in
``torchrun --nproc-per-node 2 -m varied.worker train digits/``. Only the process of rank 0 prints
messages and writes the run folder, which all processes must be able to read. Each process
reads the data itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from varied.cli.worker import run_worker
from varied.process_group import join_group


def main(args: Sequence[str] | None = None) -> int:
    """Run ``varied train`` as one of several processes, and return the exit code.

    Arguments:
        args: The arguments of ``varied``; None uses those of this process.
    """
    args = list(sys.argv[1:] if args is None else args)
    with join_group() as group:
        return run_worker(args, group)


if __name__ == "__main__":
    sys.exit(main())
