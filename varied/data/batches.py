"""Batches as a pure function of (seed, step): to resume, nothing need be saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.seeding import permutation

__all__ = ["Batch", "Batches", "iter_batches"]


@dataclass
class Batch:
    """Rows of data `x`, with their context `c` and `mask` (1 where observed) where there is one."""

    x: Tensor
    c: Tensor | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(*(_to(t, torch.device(device)) for t in (self.x, self.c, self.mask)))  # type: ignore[arg-type]


class Batches:
    r"""Shuffled batches; the batch at a step depends on the seed and the step alone.

    The rows of an epoch come in the order `permutation(n, seed, "rows", epoch)`. The last, short
    batch of an epoch is left out, unless there are fewer rows than `size`.

    Where labels are few, a batch may hold none: `labeled` gives a share of each batch to rows that
    have one, which come in the order `permutation(n, seed, "labeled", time)`, over and over. They
    are extra: all rows come in every epoch as well. A loss then counts labeled rows more often
    than the data have them.

    Arguments:
        x: The stored rows, as `Codec.encode` gives them, with shape `(N, *shape)`.
        c: The context, with shape `(N, F)`.
        mask: 1 where observed, with the shape of `x`.
        size: Rows in a batch.
        seed: Which order is drawn.
        labeled: The share of each batch that is drawn from the rows with a label, below 1; it is
            left out where every row has one.
        device: Where the batches are wanted. Rows move there once if they fit, else batchwise.

    Example:
        >>> batches = Batches(torch.arange(10.0)[:, None], size=4, seed=0)
        >>> batches.steps_per_epoch, len(batches.at(0)), batches.epoch(5)
        (2, 4, 2.5)
    """

    def __init__(
        self,
        x: Tensor,
        c: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        size: int,
        seed: int,
        labeled: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        _check(x, c, mask, size)
        self.labeled = _labeled(c, labeled)
        self.extra = round(labeled * size) if len(self.labeled) else 0
        if self.extra >= size:
            raise VariedError(
                f"labeled={labeled} leaves no row of a batch of {size} for all the data; 0.25 is "
                "usual."
            )
        self.device = torch.device(device)
        home = self.device if _fits((x, c, mask), self.device) else torch.device("cpu")
        self.rows = Batch(x, c, mask).to(home)
        self.n, self.size, self.seed = len(x), min(size - self.extra, len(x)), seed
        self.steps_per_epoch = self.n // self.size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __repr__(self) -> str:
        more = f" + {self.extra} labeled" if self.extra else ""
        return f"Batches({self.n} rows, size={self.size}{more}, seed={self.seed})"

    def at(self, step: int) -> Batch:
        """Return the batch of a step, in the stored type."""
        epoch, i = divmod(step, self.steps_per_epoch)
        rows = self._rows(epoch)[i * self.size : (i + 1) * self.size]
        if self.extra:
            rows = torch.cat([rows, self._extra(step).to(rows.device)])
        x, c, mask = self.rows.x, self.rows.c, self.rows.mask
        return Batch(
            x.index_select(0, rows),
            None if c is None else c.index_select(0, rows),
            None if mask is None else mask.index_select(0, rows),
        ).to(self.device)

    def epoch(self, step: int) -> float:
        """Return how many times the rows have been seen before a step."""
        return step / self.steps_per_epoch

    def _rows(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            order = permutation(self.n, self.seed, "rows", epoch)
            self._epoch, self._order = epoch, order.to(self.rows.x.device)
        return self._order

    def _extra(self, step: int) -> Tensor:
        """Return the rows with a label that are added at a step."""
        n, start = len(self.labeled), step * self.extra
        times = range(start // n, (start + self.extra - 1) // n + 1)
        orders = torch.cat([permutation(n, self.seed, "labeled", time) for time in times])
        return self.labeled[orders[start - times[0] * n :][: self.extra]]


def iter_batches(
    x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, *, size: int
) -> Iterator[Batch]:
    """Yield all rows in order, `size` at a time, the short last ones too.

    Example:
        >>> [len(b) for b in iter_batches(torch.zeros(10, 2), size=4)]
        [4, 4, 2]
    """
    _check(x, c, mask, size)
    for i in range(0, len(x), size):
        yield Batch(
            x[i : i + size],
            None if c is None else c[i : i + size],
            None if mask is None else mask[i : i + size],
        )


def _check(x: Tensor, c: Tensor | None, mask: Tensor | None, size: int) -> None:
    if size < 1 or len(x) < 1:
        raise VariedError(f"A batch of {size} out of {len(x)} rows is empty: give at least 1 row.")
    for name, other in (("c", c), ("mask", mask)):
        if other is not None and len(other) != len(x):
            raise VariedError(
                f"`{name}` has {len(other):,} rows and `x` has {len(x):,}: give one for each row."
            )


def _labeled(c: Tensor | None, share: float) -> Tensor:
    """Return the indices of the rows with a label, none where a share of them is not wanted."""
    if not 0 <= share < 1:
        raise VariedError(f"labeled={share} must be from 0 to below 1; 0.25 is usual.")
    if not share:
        return torch.empty(0, dtype=torch.int64)
    known = torch.empty(0) if c is None else (c != 0).flatten(1).any(1).cpu()
    if not known.any():
        raise VariedError("No row has a label: leave labeled out, or give labels.")
    rows = torch.nonzero(known)[:, 0]
    return rows if len(rows) < len(known) else rows[:0]


def _fits(tensors: tuple[Tensor | None, ...], device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(t.nbytes for t in tensors if t is not None) < free / 2


def _to(t: Tensor | None, device: torch.device) -> Tensor | None:
    return t if t is None or t.device == device else t.to(device, non_blocking=True)
