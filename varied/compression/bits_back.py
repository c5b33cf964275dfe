"""Data to bits and back by their latents: bits back with asymmetric numeral systems."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.distributions import Distribution

from varied.compression.deterministic import SHARE, quantize_params, stream
from varied.compression.discretized import chances, count, index_of, value_of
from varied.distributions import analytic_kl, base_distribution
from varied.models import VAE

__all__ = ["read", "write"]

Words = npt.NDArray[np.uint32]

#: Latents lie on a grid of this width, within 8 deviations of the prior.
WIDTH, FAR = 2.0**-9, 8
#: Widths in a cell of the grid; 128 cells are the whole.
CELL = 64
#: Data that pass through the nets at once.
MOST = 100
#: Probabilities that may stand at a time.
ROOM = 2**20
#: Parts of a width to which means and deviations are rounded.
FINE = 64
#: Bits that a Gaussian of one grid width takes: log2 of sqrt(2 pi e).
ONE = 2.05


@dataclass(frozen=True)
class BitsBackResult:
    """Data as words.

    Arguments:
        words: What the stack holds.
        notes: What the reader must know.
        index: The levels of the data, int32 with shape (N, *event).
        start: Bits among the words that tell nothing.
    """

    words: Words
    notes: dict[str, Any]
    index: Tensor
    start: int


def write(model: VAE, x: Tensor) -> BitsBackResult:
    r"""Return the words that tell data.

    For each datum, with the words as a stack,

    .. math:: \text{pop } z \sim q(z \mid x), \qquad \text{push } x \sim p(x \mid z), \qquad
        \text{push } z \sim p(z),

    which lengthens the stack by minus the ELBO, in bits: what the choice of z takes off the stack,
    the reader puts back. Data go through the nets in groups; a group can pop no more than was
    pushed before it, so the first is of one datum and they grow. For that one there are words that
    tell nothing.

    References:
        Practical lossless compression with latent variables using bits back coding
        (Townsend et al., 2019), https://arxiv.org/abs/1901.04866

    Arguments:
        model: A model that is `steady`.
        x: Data, with shape (N, *event).
    """
    levels = count(model.decode(torch.zeros(1, *model.latent_shape, dtype=torch.float64)))
    if not len(x):
        return BitsBackResult(np.zeros(0, np.uint32), {"levels": levels, "pace": 1}, x.int(), 0)
    index = index_of(x, levels)
    pace, start = _pace(model, value_of(index[:MOST], levels))
    coder = stream().stack.AnsCoder(_start(start), seal=True)
    desk = BitsBackCoder(model, coder, levels)
    for rows in _groups(len(x), pace):
        z = desk.pop(*desk.posterior(index[rows]))
        desk.push_data(z, index[rows])
        desk.push(z, *desk.prior(len(z)))
    return BitsBackResult(
        coder.get_compressed(), {"levels": levels, "pace": pace}, index, 32 * start
    )


def read(model: VAE, words: Words, n: int, notes: dict[str, Any]) -> Tensor:
    """Return the levels of the data that words tell, int32 with shape (N, *event).

    Arguments:
        model: The model that they were written by, `steady`.
        words: What `write` returned.
        n: How many data.
        notes: What `write` noted.
    """
    index = torch.zeros(n, *model.event_shape, dtype=torch.int32)
    if not n:
        return index
    coder = stream().stack.AnsCoder(words)
    desk = BitsBackCoder(model, coder, notes["levels"])
    for rows in reversed(list(_groups(n, notes["pace"]))):
        size = len(index[rows])
        z = desk.pop(*desk.prior(size * math.prod(model.latent_shape)))
        index[rows] = desk.pop_data(z, size)
        desk.push(z, *desk.posterior(index[rows]))
    return index


@dataclass
class BitsBackCoder:
    """What writer and reader do alike, on tensors of equal shapes, so that all numbers are equal.

    Arguments:
        model: The model.
        coder: The stack.
        levels: How many values an element can take.
    """

    model: VAE
    coder: Any
    levels: int

    def __post_init__(self) -> None:
        models, cells = stream().model, int(FAR / WIDTH / CELL)
        self.cells = models.QuantizedGaussian(-cells, cells - 1)
        self.choice = models.Categorical(perfect=False)

    def posterior(self, index: Tensor) -> tuple[Any, Any]:
        """Return mean and deviation of each latent given data, in widths of the grid."""
        return _in_widths(base_distribution(self.model.encode(value_of(index, self.levels))))

    def prior(self, size: int) -> tuple[Any, Any]:
        """Return mean and deviation of each latent before data are seen, in widths of the grid."""
        return np.zeros(size), np.full(size, 1 / WIDTH)

    def pop(self, mean: Any, scale: Any) -> Any:
        """Take places on the grid off the stack, given mean and deviation: first the cell.

        The coder gives every place some chance, 2 ** -24 at the least. Over the whole grid these
        would come to 1 in 2,000, and a latent that is far off costs its datum hundreds of bits.
        """
        cell = self.coder.decode(self.cells, *_of_cells(mean, scale))
        within = self.coder.decode(self.choice, _within(mean - CELL * cell, scale))
        return CELL * cell + within

    def push(self, z: Any, mean: Any, scale: Any) -> None:
        """Put places on the grid back on the stack, the last first."""
        cell = z // CELL
        within = _within(mean - CELL * cell, scale)
        self.coder.encode_reverse(z - CELL * cell, self.choice, within)
        self.coder.encode_reverse(cell, self.cells, *_of_cells(mean, scale))

    def push_data(self, z: Any, index: Tensor) -> None:
        """Put data on the stack, given their latents."""
        tables = self._tables(z, len(index))
        rows = index.flatten(1).split(self._at_once())
        for part, table in reversed(list(zip(rows, tables, strict=True))):
            self.coder.encode_reverse(part.flatten().numpy(), self.choice, table())

    def pop_data(self, z: Any, size: int) -> Tensor:
        """Take data off the stack, given their latents."""
        found = [self.coder.decode(self.choice, table()) for table in self._tables(z, size)]
        return torch.from_numpy(np.concatenate(found)).reshape(size, *self.model.event_shape)

    def _tables(self, z: Any, size: int) -> list[Any]:
        """Return what makes the probabilities of all values, for a few data each."""
        latent = torch.from_numpy(z).double().reshape(size, *self.model.latent_shape) * WIDTH
        h = self.model.decoder.outputs(latent)

        def table(part: Tensor) -> Any:
            law = self.model.decoder.head(part)
            return (
                quantize_params(chances(law, self.levels), SHARE).reshape(-1, self.levels).numpy()
            )

        return [lambda part=part: table(part) for part in h.split(self._at_once())]

    def _at_once(self) -> int:
        return max(1, ROOM // (self.levels * math.prod(self.model.event_shape)))


def _of_cells(mean: Any, scale: Any) -> tuple[Any, Any]:
    """Return mean and deviation in cells, from those in widths; both count from a middle."""
    return (mean - (CELL - 1) / 2) / CELL, scale / CELL


def _within(mean: Any, scale: Any) -> Any:
    """Return the probabilities of the places of a cell, with shape (M, CELL), by their density."""
    off = (torch.arange(CELL) - torch.from_numpy(mean)[:, None]) / torch.from_numpy(scale)[:, None]
    return quantize_params((-0.5 * off.square()).softmax(1), SHARE).numpy()


def _in_widths(q: Distribution) -> tuple[Any, Any]:
    """Return mean and deviation in widths of the grid, rounded to 64ths of them."""
    told = torch.stack([q.mean.flatten(), q.variance.sqrt().flatten()]) / WIDTH
    mean, scale = quantize_params(told, FINE) / FINE
    return mean.numpy(), scale.clamp_min(1 / FINE).numpy()


def _groups(n: int, pace: int) -> Iterator[slice]:
    """Yield the rows of each group: as many as an even share of all before, 1 at least."""
    done = 0
    while done < n:
        size = min(max(1, done // pace), MOST, n - done)
        yield slice(done, done + size)
        done += size


def _pace(model: VAE, x: Tensor) -> tuple[int, int]:
    """Return by how many data the bits for one more choice of z are earned, and words to start."""
    q = model.encode(x)
    _, scale = _in_widths(base_distribution(q))
    taken = np.maximum(np.log2(scale) + ONE, 0).reshape(len(x), -1).sum(1)
    rate = analytic_kl(q, model.prior(None))
    assert rate is not None, "both are Gaussians"
    earned = float((rate - model.decode(q.mean).log_prob(x)).mean()) / math.log(2)
    earned = max(earned, 1.0) if math.isfinite(earned) else 1.0
    pace = 1 + math.ceil(float(taken.mean()) / earned)
    return min(pace, 10**6), math.ceil((float(taken[0]) + 64) / 32)


def _start(words: int) -> Words:
    """Return words that tell nothing, the same wherever they are made."""
    return np.frombuffer(hashlib.shake_128(b"varied").digest(4 * words), "<u4").astype(np.uint32)
