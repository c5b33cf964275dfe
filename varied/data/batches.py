"""Batches as a function of the seed and the step, so that training can be resumed exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from varied.errors import VariedError
from varied.seeding import permutation


@dataclass
class Batch:
    """Rows of training data.

    Arguments:
        x: The rows.
        c: Their context, or None.
        mask: 1 where ``x`` is observed, 0 where it is missing; None if nothing is missing.
        y: Properties to predict from the latent variables, or None.
    """

    x: Tensor
    c: Tensor | None = None
    mask: Tensor | None = None
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of the batch; ``y`` is omitted if it is None."""
        return (self.x, self.c, self.mask, *(() if self.y is None else (self.y,)))

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return self._map(lambda t: t.to(device, non_blocking=True))

    def split(self, n: int) -> list[Batch]:
        """Return n parts of nearly equal size."""
        rows = torch.arange(len(self), device=self.x.device)
        return [self.take(part) for part in rows.tensor_split(n)]

    def take(self, rows: Tensor) -> Batch:
        """Return the rows at the given indices."""
        return self._map(lambda t: t.index_select(0, rows))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        c, mask, y = (None if t is None else function(t) for t in (self.c, self.mask, self.y))
        return Batch(function(self.x), c, mask, y)


def mask_missing(x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Batch:
    """Return rows as a batch; NaN in ``x`` marks missing values.

    Missing values are set to 0, and the mask is 0 at their positions. If no values are missing, the
    mask is None. If a mask is given, neither ``x`` nor the mask is changed.

    Example:
        >>> mask_missing(torch.tensor([[1.0, torch.nan]]))
        Batch(x=tensor([[1., 0.]]), c=None, mask=tensor([[1., 0.]]), y=None)
    """
    if mask is not None or not x.is_floating_point() or not (is_missing := x.isnan()).any():
        return Batch(x, c, mask)
    return Batch(x.masked_fill(is_missing, 0), c, (~is_missing).to(x))


class Batches:
    r"""Shuffled batches for training; the batch of a step depends only on the seed and the step.

    The order of the rows in an epoch is ``permutation(n, seed, "rows", epoch)``. An incomplete
    last batch is dropped, unless there are fewer rows than ``size``.

    If only some rows have labels, ``labeled`` reserves a fraction of each batch for labeled rows,
    in the order ``permutation(n, seed, "labeled", repetition)``. They are added to the rows of the
    epoch, so labeled rows have a larger weight in the loss than their frequency implies.

    Arguments:
        x: The stored rows, as `Codec.encode` returns them, with shape ``(N, *shape)``.
        c: The context, with shape ``(N, F)``.
        mask: 1 where observed, with the shape of ``x``; if None, NaN in ``x`` marks missing values.
        y: Properties to predict from the latent variables, with shape ``(N, P)``.
        size: The number of rows per batch.
        seed: The random seed.
        labeled: The fraction of each batch that is drawn from labeled rows, less than 1; ignored if
            every row has a label.
        device: The device of the batches. All rows are moved to the device if they fit.

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
        y: Tensor | None = None,
        *,
        size: int,
        seed: int,
        labeled: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        _check(x, c, mask, size, y)
        self.labeled_rows = _labeled_rows(c, labeled)
        self.n_labeled = round(labeled * size) if len(self.labeled_rows) else 0
        if self.n_labeled >= size:
            raise VariedError(
                f"labeled={labeled} leaves no room for other rows in a batch of {size}; a typical "
                "value is 0.25."
            )
        self.device = torch.device(device)
        rows = replace(mask_missing(x, c, mask), y=y)
        fits = _fits(rows.tensors, self.device)
        self.rows = rows.to(self.device if fits else "cpu")
        self.n, self.size, self.seed = len(x), min(size - self.n_labeled, len(x)), seed
        self.steps_per_epoch = self.n // self.size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __repr__(self) -> str:
        labeled = f" + {self.n_labeled} labeled" if self.n_labeled else ""
        return f"Batches({self.n} rows, size={self.size}{labeled}, seed={self.seed})"

    def at(self, step: int) -> Batch:
        """Return the batch of a step, with the dtype of the stored rows."""
        epoch, i = divmod(step, self.steps_per_epoch)
        rows = self._epoch_order(epoch)[i * self.size : (i + 1) * self.size]
        if self.n_labeled:
            rows = torch.cat([rows, self._select_labeled(step).to(rows.device)])
        return self.rows.take(rows).to(self.device)

    def epoch(self, step: int) -> float:
        """Return the number of epochs, possibly fractional, that precede a step."""
        return step / self.steps_per_epoch

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            order = permutation(self.n, self.seed, "rows", epoch)
            self._epoch, self._order = epoch, order.to(self.rows.x.device)
        return self._order

    def _select_labeled(self, step: int) -> Tensor:
        """Return the labeled rows that are added to the batch of a step."""
        n, start = len(self.labeled_rows), step * self.n_labeled
        repetitions = range(start // n, (start + self.n_labeled - 1) // n + 1)
        orders = torch.cat([permutation(n, self.seed, "labeled", r) for r in repetitions])
        offset = start - repetitions[0] * n
        return self.labeled_rows[orders[offset : offset + self.n_labeled]]


class DiskBatches(Batches):
    r"""Shuffled batches of rows that stay on disk and are read in windows.

    The rows of an epoch are divided into blocks of consecutive rows, in an order that depends only
    on the seed and the epoch. A window consists of a few blocks, which are read and then shuffled,
    so that the disk is read sequentially, and rows of a batch come from all blocks of its window.

    Arguments:
        read: A function that returns the rows at the given ascending indices as a batch.
        n: The number N of rows.
        row_bytes: The size of a row in bytes.
        size: The number of rows per batch.
        seed: The random seed.
    """

    #: The number of blocks in a window, and the size of a window in bytes.
    BLOCKS, WINDOW_BYTES = 64, 2**26

    def __init__(
        self, read: Callable[[Tensor], Batch], n: int, row_bytes: int, *, size: int, seed: int
    ) -> None:
        self.read, self.n, self.size, self.seed = read, n, min(size, n), seed
        self.n_labeled, self.steps_per_epoch = 0, n // self.size
        self.block = max(self.WINDOW_BYTES // self.BLOCKS // row_bytes, 1)
        self.window = self.block * self.BLOCKS
        self._windows = dict[tuple[int, int], Batch]()

    def at(self, step: int) -> Batch:
        """Return the batch of a step, with the dtype of the stored rows."""
        epoch, i = divmod(step, self.steps_per_epoch)
        start, parts = i * self.size, list[Batch]()
        end = start + self.size
        while start < end:
            index, offset = divmod(start, self.window)
            rows = torch.arange(offset, min(offset + end - start, self.window))
            parts.append(self._read_window(epoch, index).take(rows))
            start += len(rows)
        return join_batches(parts)

    def _read_window(self, epoch: int, index: int) -> Batch:
        """Return the shuffled rows of a window; the last two windows are kept in memory."""
        key = (epoch, index)
        if key not in self._windows:
            # An incomplete block is the last one, so that all windows but the last are full.
            n_blocks = self.n // self.block
            blocks = permutation(n_blocks, self.seed, "blocks", epoch)
            starts = self.block * blocks[index * self.BLOCKS : (index + 1) * self.BLOCKS].sort()[0]
            rows = (starts[:, None] + torch.arange(self.block)).flatten()
            if (index + 1) * self.BLOCKS > n_blocks:
                rows = torch.cat([rows, torch.arange(n_blocks * self.block, self.n)])
            order = permutation(len(rows), self.seed, f"window {index}", epoch)
            if len(self._windows) > 1:
                del self._windows[next(iter(self._windows))]
            self._windows[key] = self.read(rows).take(order)
        return self._windows[key]


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Return the rows of several batches as one batch."""
    if len(batches) == 1:
        return batches[0]

    def join(parts: Iterator[Tensor | None]) -> Tensor | None:
        tensors = [part for part in parts if part is not None]
        return torch.cat(tensors) if tensors else None

    x = torch.cat([batch.x for batch in batches])
    c, mask, y = (join(getattr(b, name) for b in batches) for name in ("c", "mask", "y"))
    return Batch(x, c, mask, y)


def iter_batches(
    x: Tensor, c: Tensor | None = None, mask: Tensor | None = None, *, size: int
) -> Iterator[Batch]:
    """Yield all rows in order, ``size`` at a time, including an incomplete last batch.

    Without a mask, NaN in ``x`` marks missing values.

    Example:
        >>> [len(b) for b in iter_batches(torch.zeros(10, 2), size=4)]
        [4, 4, 2]
    """
    _check(x, c, mask, size)
    batch = mask_missing(x, c, mask)
    x, mask = batch.x, batch.mask
    for i in range(0, len(x), size):
        rows = slice(i, i + size)
        yield Batch(x[rows], None if c is None else c[rows], None if mask is None else mask[rows])


def _check(
    x: Tensor, c: Tensor | None, mask: Tensor | None, size: int, y: Tensor | None = None
) -> None:
    if size < 1 or len(x) < 1:
        raise VariedError(
            f"The batch size is {size} and the number of rows is {len(x)}; both must be at least 1."
        )
    for name, other in (("c", c), ("mask", mask), ("y", y)):
        if other is not None and len(other) != len(x):
            raise VariedError(
                f"`{name}` has {len(other):,} rows, but `x` has {len(x):,}; they must have the "
                "same number of rows."
            )


def _labeled_rows(c: Tensor | None, fraction: float) -> Tensor:
    """Return the indices of labeled rows; empty if all rows are labeled or the fraction is 0."""
    if not 0 <= fraction < 1:
        raise VariedError(f"labeled={fraction} must be in [0, 1); a typical value is 0.25.")
    if not fraction:
        return torch.empty(0, dtype=torch.int64)
    is_labeled = torch.empty(0) if c is None else (c != 0).flatten(1).any(1).cpu()
    if not is_labeled.any():
        raise VariedError("No row has a label; omit the argument `labeled`, or pass labels.")
    rows = torch.nonzero(is_labeled)[:, 0]
    return rows if len(rows) < len(is_labeled) else rows[:0]


def _fits(tensors: tuple[Tensor | None, ...], device: torch.device) -> bool:
    """Return whether tensors take up less than half of the free GPU memory; true without CUDA."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(t.nbytes for t in tensors if t is not None) < free / 2
