"""Bits-back coding with asymmetric numeral systems."""

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

from varied.compression.deterministic import entropy_coders, quantize_params
from varied.compression.discretize import (
    from_levels,
    level_probabilities,
    num_levels,
    to_levels,
)
from varied.distributions import analytic_kl, base_distribution
from varied.models import VAE

Array = npt.NDArray[Any]
Words = npt.NDArray[np.uint32]

#: Latent variables are rounded to a grid with this spacing, which covers 8 standard deviations of
#: the prior on each side of its mean.
WIDTH, MAX_DEVIATIONS = 2.0**-9, 8
#: The number of grid points in each of the 128 cells.
CELL = 64
#: The maximum number of examples that pass through the networks together.
MAX_GROUP = 100
#: The maximum number of probabilities in memory at a time.
CHUNK = 2**20
#: Means and standard deviations are rounded to multiples of the grid spacing divided by this value.
RESOLUTION = 64
#: The entropy, in bits, of a Gaussian whose standard deviation is the grid spacing: log2 sqrt(2 pi
#: e).
UNIT_ENTROPY = 2.05


@dataclass(frozen=True)
class BitsBackResult:
    """Encoded data.

    Arguments:
        words: The final stack.
        settings: The settings that `decode` requires in addition to the model.
        index: The levels of the data, int32 with shape (N, *event).
        initial_bits: The number of random bits on the initial stack.
    """

    words: Words
    settings: dict[str, Any]
    index: Tensor
    initial_bits: int


def encode(model: VAE, x: Tensor) -> BitsBackResult:
    r"""Encode data with bits-back coding on the stack of an entropy coder.

    For each example,

    .. math:: \text{pop } z \sim q(z \mid x), \qquad \text{push } x \sim p(x \mid z), \qquad
        \text{push } z \sim p(z),

    which, on average, lengthens the stack by the negative ELBO in bits. The bits that are popped to
    choose z are not lost, since decoding recovers them. Examples pass through the networks in
    groups. A group can pop only bits that have been pushed before, so the first group contains a
    single example, and later groups are larger. The stack initially contains random bits, which the
    first example pops.

    References:
        Practical lossless compression with latent variables using bits back coding
        (Townsend et al., 2019), https://arxiv.org/abs/1901.04866

    Arguments:
        model: A model returned by `deterministic`.
        x: The data, with shape (N, *event).
    """
    levels = num_levels(model.decode(torch.zeros(1, *model.latent_shape, dtype=torch.float64)))
    if not len(x):
        settings = {"levels": levels, "group_ratio": 1}
        return BitsBackResult(np.zeros(0, np.uint32), settings, x.int(), 0)
    index = to_levels(x, levels)
    ratio, n_words = _group_ratio(model, from_levels(index[:MAX_GROUP], levels))
    stack = entropy_coders().stack.AnsCoder(_random_words(n_words), seal=True)
    coder = BitsBackCoder(model, stack, levels)
    for rows in _groups(len(x), ratio):
        z = coder.pop(*coder.posterior(index[rows]))
        coder.push_data(z, index[rows])
        coder.push(z, *coder.prior(len(z)))
    settings = {"levels": levels, "group_ratio": ratio}
    return BitsBackResult(stack.get_compressed(), settings, index, 32 * n_words)


def decode(model: VAE, words: Words, n: int, settings: dict[str, Any]) -> Tensor:
    """Decode words to the levels of the data, int32 with shape (N, *event).

    Arguments:
        model: The model that encoded the data, as returned by `deterministic`.
        words: The words.
        n: The number of examples.
        settings: The settings of the `BitsBackResult`.
    """
    index = torch.zeros(n, *model.event_shape, dtype=torch.int32)
    if not n:
        return index
    coder = BitsBackCoder(model, entropy_coders().stack.AnsCoder(words), settings["levels"])
    for rows in reversed(list(_groups(n, settings["group_ratio"]))):
        size = len(index[rows])
        z = coder.pop(*coder.prior(size * math.prod(model.latent_shape)))
        index[rows] = coder.pop_data(z, size)
        coder.push(z, *coder.posterior(index[rows]))
    return index


@dataclass
class BitsBackCoder:
    """The stack operations of encoding and decoding.

    Encoding and decoding apply the networks to tensors of the same shapes, so that the results are
    identical.

    Arguments:
        model: The model.
        stack: The entropy coder.
        levels: The number of possible values of an element.
    """

    model: VAE
    stack: Any
    levels: int

    def __post_init__(self) -> None:
        models, cells = entropy_coders().model, int(MAX_DEVIATIONS / WIDTH / CELL)
        self.cells = models.QuantizedGaussian(-cells, cells - 1)
        self.categorical = models.Categorical(perfect=False)

    def posterior(self, index: Tensor) -> tuple[Array, Array]:
        """Return the posterior means and standard deviations, in units of the grid spacing."""
        return _in_widths(base_distribution(self.model.encode(from_levels(index, self.levels))))

    def prior(self, size: int) -> tuple[Array, Array]:
        """Return the prior means and standard deviations, in units of the grid spacing."""
        return np.zeros(size), np.full(size, 1 / WIDTH)

    def pop(self, mean: Array, std: Array) -> Array:
        """Pop grid points from a Gaussian: first the cell, and then the point in the cell.

        The entropy coder assigns a probability of at least 2 ** -24 to every symbol. Over the whole
        grid, these minimum probabilities would add up to 1/2,000, and a latent variable drawn from
        this excess would cost hundreds of bits.
        """
        cell: Array = self.stack.decode(self.cells, *_in_cells(mean, std))
        point: Array = self.stack.decode(
            self.categorical, _point_probabilities(mean - CELL * cell, std)
        )
        return CELL * cell + point

    def push(self, z: Array, mean: Array, std: Array) -> None:
        """Push grid points with the probabilities of a Gaussian, in the reverse order of `pop`."""
        cell = z // CELL
        points = _point_probabilities(mean - CELL * cell, std)
        self.stack.encode_reverse(z - CELL * cell, self.categorical, points)
        self.stack.encode_reverse(cell, self.cells, *_in_cells(mean, std))

    def push_data(self, z: Array, index: Tensor) -> None:
        """Push data given their latent variables."""
        outputs = self._decoder_outputs(z, len(index))
        rows = index.flatten(1).split(len(outputs[0]))
        for chunk, levels in reversed(list(zip(outputs, rows, strict=True))):
            symbols = levels.flatten().numpy()
            self.stack.encode_reverse(symbols, self.categorical, self._probabilities(chunk))

    def pop_data(self, z: Array, size: int) -> Tensor:
        """Pop data given their latent variables."""
        symbols = [
            self.stack.decode(self.categorical, self._probabilities(chunk))
            for chunk in self._decoder_outputs(z, size)
        ]
        return torch.from_numpy(np.concatenate(symbols)).reshape(size, *self.model.event_shape)

    def _decoder_outputs(self, z: Array, size: int) -> tuple[Tensor, ...]:
        """Return the outputs of the decoder network, in chunks that fit in memory."""
        latents = torch.from_numpy(z).double().reshape(size, *self.model.latent_shape) * WIDTH
        chunk_size = max(1, CHUNK // (self.levels * math.prod(self.model.event_shape)))
        return self.model.decoder.outputs(latents).split(chunk_size)  # type: ignore[no-any-return]

    def _probabilities(self, outputs: Tensor) -> Array:
        """Return the probabilities of all levels, with shape (elements, levels)."""
        px = self.model.decoder.head(outputs)
        probabilities: Array = quantize_params(level_probabilities(px, self.levels)).numpy()
        return probabilities.reshape(-1, self.levels)


def _in_cells(mean: Array, std: Array) -> tuple[Array, Array]:
    """Convert means and standard deviations to units of cells, whose centers are integers."""
    return (mean - (CELL - 1) / 2) / CELL, std / CELL


def _point_probabilities(mean: Array, std: Array) -> Array:
    """Return (M, CELL) probabilities, proportional to the density at the points of each cell."""
    u = (torch.arange(CELL) - torch.from_numpy(mean)[:, None]) / torch.from_numpy(std)[:, None]
    probabilities: Array = quantize_params((-0.5 * u.square()).softmax(1)).numpy()
    return probabilities


def _in_widths(q: Distribution) -> tuple[Array, Array]:
    """Return rounded means and standard deviations in units of the grid spacing."""
    params = torch.stack([q.mean.flatten(), q.variance.sqrt().flatten()]) / WIDTH
    mean, std = quantize_params(params, RESOLUTION) / RESOLUTION
    return mean.numpy(), std.clamp_min(1 / RESOLUTION).numpy()


def _groups(n: int, ratio: int) -> Iterator[slice]:
    """Yield the rows of each group; its size is max(1, earlier rows // ratio), at most 100."""
    start = 0
    while start < n:
        size = min(max(1, start // ratio), MAX_GROUP, n - start)
        yield slice(start, start + size)
        start += size


def _group_ratio(model: VAE, x: Tensor) -> tuple[int, int]:
    """Return the group ratio and the number of words on the initial stack.

    The ratio is the number of examples that must be pushed to supply the bits that one example
    pops.
    """
    q = model.encode(x)
    _, std = _in_widths(base_distribution(q))
    popped = np.maximum(np.log2(std) + UNIT_ENTROPY, 0).reshape(len(x), -1).sum(1)
    kl = analytic_kl(q, model.prior(None))
    assert kl is not None, "both are Gaussian"
    pushed = float((kl - model.decode(q.mean).log_prob(x)).mean()) / math.log(2)
    pushed = max(pushed, 1.0) if math.isfinite(pushed) else 1.0
    ratio = 1 + math.ceil(float(popped.mean()) / pushed)
    return min(ratio, 10**6), math.ceil((float(popped[0]) + 64) / 32)


def _random_words(n: int) -> Words:
    """Return fixed pseudo-random words that are the same on every machine."""
    data = hashlib.shake_128(b"varied").digest(4 * n)
    return np.frombuffer(data, "<u4").astype(np.uint32)
