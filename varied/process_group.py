"""Groups of processes that train one model together.

Each process computes the gradients of its share of every batch, and all processes apply the mean of
these gradients, so that their weights remain equal. Everything else that is computed from a batch
in training, such as the moving averages of a codebook, is averaged over the processes as well, with
``current_group().mean(...)``.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from varied.atomic_io import nan_to_none
from varied.errors import VariedError

#: The duration after which a process that waits for others fails. The process of rank 0 evaluates
#: the model, and writes all files, while the others wait.
TIMEOUT = datetime.timedelta(hours=1)
#: The integer that ends the training of the other processes when they receive it with `agree`.
STOP = 0


class Group:
    """A group that contains only this process, and the base class of other groups."""

    #: The index of this process.
    rank: int = 0
    #: The number of processes.
    world: int = 1
    #: The fraction of the rows of the current batch for which this process computes the gradients.
    share: float = 1.0

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes, weighted by their numbers of rows."""
        return x if self.world == 1 else self.sum(x * self.share)

    def root_mean_square(self, x: Tensor) -> Tensor:
        """Return the root of the mean square of a tensor over all processes."""
        return x if self.world == 1 else self.sum(x.square() / self.world).sqrt()

    def broadcast(self, x: Tensor) -> Tensor:
        """Return the tensor passed by the process of rank 0; all must have the same shape."""
        return x

    def announce(self, value: Any) -> Any:
        """Broadcast a JSON-serializable value other than None from the process of rank 0.

        Raises:
            SystemExit: In the other processes, if the process of rank 0 called `release` instead.
        """
        if self.world == 1:
            return value
        data = torch.frombuffer(
            bytearray(json.dumps(nan_to_none(value)).encode()), dtype=torch.uint8
        )
        size = self.agree(len(data))
        if size == STOP:
            raise SystemExit(0)
        data = data if self.rank == 0 else torch.zeros(size, dtype=torch.uint8)
        return json.loads(bytes(self.broadcast(data).tolist()))

    def agree(self, number: int) -> int:
        """Return the integer passed by the process of rank 0."""
        return number if self.world == 1 else int(self.broadcast(torch.tensor(number)))

    def release(self) -> None:
        """Let the other processes, which wait for the process of rank 0, end."""


class LostProcess(VariedError):
    """Raised if another process of the group has ended unexpectedly."""


class TorchGroup(Group):
    """The default process group of `torch.distributed`, which must be initialized."""

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        is_nccl = "nccl" in torch.distributed.get_backend()
        self.device = torch.device("cuda" if is_nccl else "cpu")
        #: Whether the process of rank 0 has announced anything.
        self.has_started = False
        #: Whether another process has ended unexpectedly.
        self.is_broken = False
        self._are_others_waiting = True
        # As a decorator, it would import the compiler with this module.
        self._communicate = torch.compiler.disable(self._run)

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return self._add(x.detach().clone())

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes, weighted by their numbers of rows."""
        return self._add(x.detach() * self.share)

    def _add(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; it may be computed in place."""
        total: Tensor = self._communicate(x, torch.distributed.all_reduce)
        return total

    def broadcast(self, x: Tensor) -> Tensor:
        """Return the tensor passed by the process of rank 0; all must have the same shape."""
        copy = x.detach().to(torch.uint8 if x.dtype == torch.bool else x.dtype, copy=True)
        value: Tensor = self._communicate(copy, partial(torch.distributed.broadcast, src=0))
        return value.to(x.dtype)

    def _run(self, x: Tensor, operation: Callable[[Tensor], object]) -> Tensor:
        result = x.to(self.device).contiguous()
        try:
            operation(result)
        except RuntimeError as error:
            self.is_broken = True
            raise LostProcess(
                "Another process of this training run has ended unexpectedly; training can be "
                "resumed from the last checkpoint."
            ) from error
        return result.to(x.device)

    def announce(self, value: Any) -> Any:
        """Broadcast a JSON-serializable value other than None from the process of rank 0.

        Raises:
            SystemExit: In the other processes, if the process of rank 0 called `release` instead.
        """
        value = super().announce(value)
        self.has_started = True
        return value

    def agree(self, number: int) -> int:
        """Return the integer passed by the process of rank 0."""
        number = super().agree(number)
        self._are_others_waiting = number != STOP
        return number

    def release(self) -> None:
        """Let the other processes, which wait for the process of rank 0, end."""
        if self.rank == 0 and self._are_others_waiting and not self.is_broken:
            with suppress(LostProcess):
                self.agree(STOP)


#: The group that computes the gradients of the current training step.
_current = Group()
#: The group of this process, if it is a worker.
_joined = Group()


def current_group() -> Group:
    """Return the group of the current training step; outside of training, a group of one process.

    Only modules that are updated in training, such as codebooks, need it.
    """
    return _current


def joined_group() -> Group:
    """Return the group that this process has joined; a group of one unless it is a worker."""
    return _joined


def is_worker() -> bool:
    """Return whether this process has joined a group, which may consist of this process only."""
    return isinstance(_joined, TorchGroup)


@contextmanager
def use_group(group: Group) -> Iterator[None]:
    """Set the group that `current_group` returns; restore the previous group on exit."""
    global _current
    previous, _current = _current, group
    try:
        yield
    finally:
        _current = previous


@contextmanager
def join_group() -> Iterator[TorchGroup]:
    """Join the group that is described by the environment variables of ``torchrun``; leave on exit.

    A default process group that is already initialized, for example by Ray, is used as it is, and
    is not destroyed on exit.
    """
    global _joined
    is_initialized = torch.distributed.is_initialized()
    if not is_initialized:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, timeout=TIMEOUT)
    _joined = group = TorchGroup()
    try:
        yield group
    finally:
        _joined = Group()
        if not is_initialized:
            torch.distributed.destroy_process_group()
