"""The distribution of a table row: numbers, categories and missing cells."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor
from torch.nn.functional import logsigmoid

from varied.distributions.base import LOG_2PI, UnvalidatedDistribution
from varied.distributions.counts import negative_binomial_log_prob, sample_negative_binomial
from varied.errors import VariedError


@dataclass(frozen=True)
class ColumnLayout:
    """How the columns of a table are encoded in a vector.

    The vector consists of a flag for each column (1 if the cell is observed), followed by the
    numeric values, and a one-hot vector for each categorical column. A numeric column with frequent
    values is also categorical: its levels are these values and a last level "other", and its
    numeric value is used only if the level is "other". The numeric value of a count k is
    log(1 + k). All elements of a missing cell are 0.

    Arguments:
        number_columns: The column of each numeric value.
        category_columns: The column of each one-hot vector.
        n_levels: The number of levels of each one-hot vector.
        n_columns: The number of columns.
        missing_columns: The columns in which cells may be missing.
        count_columns: The numeric columns that are counts.

    Example:
        >>> layout = ColumnLayout((0, 2), (1, 2), (3, 2), 3)  # n, c3, n1
        >>> layout.width, layout.element_columns.tolist()
        (10, [0, 1, 2, 0, 2, 1, 1, 1, 2, 2])
    """

    number_columns: tuple[int, ...]
    category_columns: tuple[int, ...]
    n_levels: tuple[int, ...]
    n_columns: int
    missing_columns: tuple[int, ...] = ()
    count_columns: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ColumnLayout:
        """Parse the text form of a layout.

        "n" stands for a number, "n2" for a number with two frequent values, "k" for a count, and
        "c5" for a category with five levels. A trailing "?" means that cells may be missing.

        Raises:
            VariedError: If the text is not a layout.

        Example:
            >>> ColumnLayout.parse("n? c3").block_sizes
            (2, 1, 3)
        """
        words = text.split()
        if not words or not all(re.fullmatch(r"(n|k|[nc][1-9]\d*)\??", word) for word in words):
            raise VariedError(
                f"layout='{text}' is not valid; provide a code for each column, such as n, n2, k "
                "or c5."
            )
        types = [word.rstrip("?") for word in words]
        category_columns = tuple(i for i, word in enumerate(types) if len(word) > 1)
        return cls(
            number_columns=tuple(i for i, word in enumerate(types) if word[0] in "nk"),
            category_columns=category_columns,
            n_levels=tuple(int(types[i][1:]) + (types[i][0] == "n") for i in category_columns),
            n_columns=len(types),
            missing_columns=tuple(i for i, word in enumerate(words) if word.endswith("?")),
            count_columns=tuple(i for i, word in enumerate(types) if word == "k"),
        )

    @property
    def block_sizes(self) -> tuple[int, int, int]:
        """The number of flags, numeric values and category levels, in that order."""
        return self.n_columns, len(self.number_columns), sum(self.n_levels)

    @property
    def width(self) -> int:
        """The length of the vector."""
        return sum(self.block_sizes)

    @cached_property
    def level_variables(self) -> Tensor:
        """The index of the one-hot vector to which each level belongs."""
        return torch.arange(len(self.n_levels)).repeat_interleave(_int64(self.n_levels))

    @cached_property
    def level_columns(self) -> Tensor:
        """The column of each level."""
        return _int64(self.category_columns)[self.level_variables]

    @cached_property
    def element_columns(self) -> Tensor:
        """The column of each element of the vector."""
        flags = torch.arange(self.n_columns)
        return torch.cat([flags, _int64(self.number_columns), self.level_columns])

    @cached_property
    def number_gates(self) -> Tensor:
        """For each numeric value, the index of the element that is 1 if the value is used."""
        last_level = _int64(self.n_levels).cumsum(0) + self.n_columns + len(self.number_columns) - 1
        gates = dict(zip(self.category_columns, last_level.tolist(), strict=True))
        return _int64([gates.get(column, column) for column in self.number_columns])

    @cached_property
    def autoregressive_steps(self) -> list[Tensor]:
        """The elements in the order of an autoregressive model.

        Each step consists of the indices of the elements that are sampled together: first the flag
        of each column in which cells may be missing, then the value of each column.
        """
        flags = [_int64([column]) for column in self.missing_columns]
        values = self.element_columns[self.n_columns :]
        columns = range(self.n_columns)
        return flags + [self.n_columns + (values == j).nonzero()[:, 0] for j in columns]

    @cached_property
    def observed_columns(self) -> Tensor:
        """The columns in which no cell may be missing."""
        return _int64([j for j in range(self.n_columns) if j not in self.missing_columns])

    @cached_property
    def counts(self) -> Tensor:
        """The indices of the numeric values that are counts."""
        return _int64([self.number_columns.index(column) for column in self.count_columns])

    def sum_by_column(self, values: Tensor) -> Tensor:
        """Return the sum of the elements of each column, with shape (*, n_columns)."""
        sums = values.new_zeros(*values.shape[:-1], self.n_columns)
        return sums.index_add_(-1, self.element_columns.to(values.device), values)

    def is_missing(self, x: Tensor) -> Tensor:
        """Return whether each element belongs to a missing cell, with the shape of ``x``."""
        return x[..., self.element_columns.to(x.device)] == 0


def _int64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


class RowDistribution(UnvalidatedDistribution):
    """The base class of distributions of table rows; the batch shape includes the row elements.

    Arguments:
        layout: The layout of the columns.
        shape: The batch shape (*, W).
    """

    def __init__(self, layout: ColumnLayout, shape: Size) -> None:
        self.layout = layout
        super().__init__(shape)

    @abstractmethod
    def complete(self, x: Tensor) -> Tensor:
        """Return rows with shape (*, W) whose missing cells are filled with samples.

        Arguments:
            x: The rows, whose shape is broadcast to the batch shape.
        """


class TableRow(RowDistribution):
    r"""A table row with independent cells, each of which may be missing.

    .. math:: \log p(x) = \sum_j \log p(m_j) + m_j \left( \log p(k_j) + g_j \log
        \sum_c w_{jc} \, N(s_j; \mu_{jc}, \sigma_{jc}) \right)

    where :math:`m_j` is 1 if cell j is observed, :math:`k_j` is its level, :math:`s_j` is its
    numeric value, and :math:`g_j` is 1 if the numeric value is used. For a count, a component is a
    negative binomial distribution with mean :math:`e^\mu` and inverse dispersion
    :math:`\sigma^{-2}` instead of a normal distribution. The log-probability is
    computed for each element of the row, in nats. For a missing cell, only the flag contributes,
    and no value is imputed.

    References:
        Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2018),
        https://arxiv.org/abs/1807.03653

    Arguments:
        layout: The layout of the columns.
        flag_logits: The logits of the probability that a cell is observed, with shape
            (*, n_columns).
        log_weights: Unnormalized log-weights of the mixture components of each numeric value, with
            shape (*, numbers, components).
        means: The means of the components (for counts, the logarithms of the means), with the same
            shape.
        log_scales: The logarithms of the scales of the components, with the same shape.
        level_logits: The logits of the levels, with shape (*, levels).
        model_missing: Whether the flags are part of the log-probability; otherwise, cells are
            assumed to be missing at random.
    """

    def __init__(
        self,
        layout: ColumnLayout,
        flag_logits: Tensor,
        log_weights: Tensor,
        means: Tensor,
        log_scales: Tensor,
        level_logits: Tensor,
        model_missing: bool = True,
    ) -> None:
        self.layout, self.model_missing = layout, model_missing
        self.flag_logits, self.level_logits = flag_logits, level_logits
        self.log_weights, self.means = log_weights.log_softmax(-1), means
        self.log_scales = log_scales
        super().__init__(layout, Size((*flag_logits.shape[:-1], layout.width)))

    @property
    def _mixture(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.log_weights, self.means, self.log_scales

    def expand(self, batch_shape: Any, _instance: Any = None) -> TableRow:
        """Return the same distribution with a larger batch shape."""
        lead = tuple(batch_shape)[:-1]
        flags, levels = (p.expand(*lead, -1) for p in (self.flag_logits, self.level_logits))
        weights, means, scales = (p.expand(*lead, -1, -1) for p in self._mixture)
        return TableRow(self.layout, flags, weights, means, scales, levels, self.model_missing)

    def given_flags(self, flags: Tensor) -> TableRow:
        """Return the distribution given flags with shape (*, C), which are 1 for observed cells."""
        logits = (200 * flags - 100).expand_as(self.flag_logits)
        return TableRow(self.layout, logits, *self._mixture, self.level_logits, self.model_missing)

    def complete(self, x: Tensor) -> Tensor:
        """Return rows with shape (*, W) whose missing cells are filled with samples."""
        observed = self.given_flags(torch.ones_like(self.flag_logits))
        return torch.where(self.layout.is_missing(x), observed.sample(), x)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each element, in nats."""
        flags, numbers, levels = value.split(self.layout.block_sizes, -1)
        logits = self.flag_logits
        log_flags = flags * logsigmoid(logits) + (1 - flags) * logsigmoid(-logits)
        log_flags = log_flags if self.model_missing else torch.zeros_like(log_flags)
        log_numbers = value[..., self._on_device(self.layout.number_gates)] * self._density(numbers)
        log_levels = levels * (self.level_logits - self._per_level(self._log_normalizer))
        blocks = (log_flags, log_numbers, log_levels)
        shape = torch.broadcast_shapes(*(block.shape[:-1] for block in blocks))
        return torch.cat([block.expand(*shape, block.shape[-1]) for block in blocks], -1)

    def _density(self, numbers: Tensor) -> Tensor:
        z = (numbers[..., None] - self.means) * (-self.log_scales).exp()
        components = self.log_weights - self.log_scales - 0.5 * (z.square() + LOG_2PI)
        if self.layout.count_columns:
            index = self._on_device(self.layout.counts)
            log_mean, log_r = self._negative_binomials
            counts = numbers[..., index, None].expm1().round()
            log_p = negative_binomial_log_prob(counts, log_mean, log_r)
            log_p = log_p + self.log_weights[..., index, :]
            components = components.index_copy(-2, index, log_p)
        return components.logsumexp(-1)

    @property
    def _negative_binomials(self) -> tuple[Tensor, Tensor]:
        """The logarithms of the means and of the inverse dispersions of the counts."""
        index = self._on_device(self.layout.counts)
        return self.means[..., index, :], -2 * self.log_scales[..., index, :]

    @property
    def mean(self) -> Tensor:
        """The mean of each element, which for flags and levels is a probability."""
        levels = (self.level_logits - self._per_level(self._log_normalizer)).exp()
        return torch.cat([self.flag_logits.sigmoid(), self._number_means, levels], -1)

    @property
    def mode(self) -> Tensor:
        """The most likely flags and levels, and the means of the numeric values."""
        flags, levels = (self.flag_logits > 0).to(self.means), self._one_hot(self.level_logits)
        return self._join(flags, self._number_means, levels)

    @property
    def _number_means(self) -> Tensor:
        numbers = (self.log_weights.exp() * self.means).sum(-1)
        if not self.layout.count_columns:
            return numbers
        index = self._on_device(self.layout.counts)
        log_means = self.log_weights[..., index, :] + self.means[..., index, :]
        return numbers.index_copy(-1, index, log_means.exp().sum(-1).log1p())

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return detached samples, with shape (*sample_shape, *batch_shape)."""
        shape = Size(sample_shape)
        flags = (_uniform(self.flag_logits, shape) < self.flag_logits.sigmoid()).to(self.means)
        levels = self._one_hot(self.level_logits + _gumbel(self.level_logits, shape))
        component = (self.log_weights + _gumbel(self.log_weights, shape)).argmax(-1, True)
        mean, log_scale = (
            p.expand(*shape, *p.shape).gather(-1, component)[..., 0]
            for p in (self.means, self.log_scales)
        )
        numbers = mean + log_scale.exp() * torch.randn_like(mean)
        if self.layout.count_columns:
            index = self._on_device(self.layout.counts)
            parameters = mean[..., index], -2 * log_scale[..., index]
            numbers[..., index] = sample_negative_binomial(*parameters).log1p()
        return self._join(flags, numbers, levels)

    def _join(self, flags: Tensor, numbers: Tensor, levels: Tensor) -> Tensor:
        """Return rows in which the elements of missing cells and unused numbers are 0."""
        levels = levels * flags[..., self._on_device(self.layout.level_columns)]
        row = torch.cat([flags, numbers, levels], -1)
        gates = row[..., self._on_device(self.layout.number_gates)]
        return torch.cat([flags, numbers * gates, levels], -1)

    # All one-hot vectors are processed together, as segments of a single vector, so that the number
    # of operations does not depend on the number of columns.

    def _on_device(self, index: Tensor) -> Tensor:
        return index.to(self.flag_logits.device)

    def _per_level(self, values: Tensor) -> Tensor:
        """Repeat the value for each one-hot vector across all its levels."""
        return values[..., self._on_device(self.layout.level_variables)]

    def _reduce_levels(self, h: Tensor, reduce: str) -> Tensor:
        """Reduce over the levels of each one-hot vector, with "sum" or "amax"."""
        reduced = h.new_zeros(*h.shape[:-1], len(self.layout.n_levels))
        index = self._on_device(self.layout.level_variables).expand(h.shape)
        if reduce == "sum":
            return reduced.scatter_add(-1, index, h)
        return reduced.scatter_reduce(-1, index, h, reduce, include_self=False)

    @cached_property
    def _log_normalizer(self) -> Tensor:
        largest = self._reduce_levels(self.level_logits.detach(), "amax")
        centered = self.level_logits - self._per_level(largest)
        return largest + self._reduce_levels(centered.exp(), "sum").log()

    def _one_hot(self, h: Tensor) -> Tensor:
        return (h == self._per_level(self._reduce_levels(h, "amax"))).to(h)


def _uniform(p: Tensor, sample_shape: Size) -> Tensor:
    u = torch.rand((*sample_shape, *p.shape), device=p.device, dtype=p.dtype)
    return u.clamp(1e-7, 1 - 1e-7)


def _gumbel(p: Tensor, sample_shape: Size) -> Tensor:
    return -(-_uniform(p, sample_shape).log()).log()
