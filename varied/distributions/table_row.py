"""Rows of a table: numbers, choices and gaps side by side, each with its own law."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from varied.distributions.base import LOG_2PI, Elementwise
from varied.errors import VariedError

__all__ = ["ColumnLayout", "TableRow"]


@dataclass(frozen=True)
class ColumnLayout:
    """Where each column of a table stands in a row of numbers.

    A row is a flag for each column (1 where the cell is known), then a score for each number, then
    a choice (one-hot) for each column that has one. A number may have a choice too: of its frequent
    values, and last of "another", where alone its score counts. What is not known is 0 throughout.

    Arguments:
        numbers: The column of each score.
        choices: The column of each choice.
        sizes: How many options each choice has.
        columns: How many columns there are.
        gaps: The columns that may be missing.

    Example:
        >>> layout = ColumnLayout((0, 2), (1, 2), (3, 2), 3)  # a number, one of three, a number with a 0
        >>> layout.width, layout.owner.tolist()
        (10, [0, 1, 2, 0, 2, 1, 1, 1, 2, 2])
    """

    numbers: tuple[int, ...]
    choices: tuple[int, ...]
    sizes: tuple[int, ...]
    columns: int
    gaps: tuple[int, ...] = ()

    @classmethod
    def of(cls, text: str) -> ColumnLayout:
        """Read a layout: "n" is a number, "n2" one with 2 values of its own, "c5" a choice of 5.

        Raises:
            VariedError: If it is none.

        Example:
            >>> ColumnLayout.of("n? c3").parts  # a number that may be missing, and one of three
            (2, 1, 3)
        """
        marked = text.split()
        if not marked or not all(re.fullmatch(r"(n|[nc][1-9]\d*)\??", word) for word in marked):
            raise VariedError(f"layout='{text}' is none: write n, n2 or c5 for each column.")
        gaps = tuple(i for i, word in enumerate(marked) if word.endswith("?"))
        words = [word.rstrip("?") for word in marked]
        numbers = tuple(i for i, word in enumerate(words) if word[0] == "n")
        choices = tuple(i for i, word in enumerate(words) if len(word) > 1)
        sizes = tuple(int(words[i][1:]) + (words[i][0] == "n") for i in choices)
        return cls(numbers, choices, sizes, len(words), gaps)

    @property
    def width(self) -> int:
        """The length of a row."""
        return self.columns + len(self.numbers) + sum(self.sizes)

    @property
    def parts(self) -> tuple[int, int, int]:
        """How many flags, scores and options a row has, in this order."""
        return self.columns, len(self.numbers), sum(self.sizes)

    @cached_property
    def owner(self) -> Tensor:
        """The column of each number of a row."""
        flags, numbers = torch.arange(self.columns), torch.tensor(self.numbers, dtype=torch.int64)
        return torch.cat([flags, numbers, self.option_owner])

    def by_column(self, values: Tensor) -> Tensor:
        """Return numbers of rows, with shape (*, width), added up by column: (*, columns)."""
        found = values.new_zeros(*values.shape[:-1], self.columns)
        return found.index_add_(-1, self.owner.to(values.device), values)

    def missing(self, x: Tensor) -> Tensor:
        """Return which numbers of rows belong to a cell that is missing, as bool."""
        return x[..., self.owner.to(x.device)] == 0

    @cached_property
    def option_owner(self) -> Tensor:
        """The column of each option."""
        return torch.tensor(self.choices, dtype=torch.int64)[self.segments]

    @cached_property
    def segments(self) -> Tensor:
        """The choice that each option belongs to."""
        sizes = torch.tensor(self.sizes, dtype=torch.int64)
        return torch.arange(len(self.sizes)).repeat_interleave(sizes)

    @cached_property
    def gates(self) -> Tensor:
        """For each score, the place in a row that is 1 where it counts."""
        ends = torch.tensor((0, *self.sizes)).cumsum(0)[1:].tolist()
        last = dict(zip(self.choices, ends, strict=True))
        start = self.columns + len(self.numbers) - 1
        places = [start + last[c] if c in last else c for c in self.numbers]
        return torch.tensor(places, dtype=torch.int64)


class TableRow(Elementwise):
    r"""A row of a table, given its code: each column by itself, known or not.

    .. math:: \log p(x) = \sum_j \log p(m_j) + m_j \left( \log p(k_j) + g_j \log
        \sum_c w_{jc} \, N(s_j; \mu_{jc}, \sigma_{jc}) \right)

    with :math:`m_j` whether cell j is known, :math:`k_j` its choice, :math:`s_j` its score and
    :math:`g_j` whether the score counts. Nats, element by element of the row; what belongs to a
    cell that is not known counts nothing, and nothing stands in for it.

    References:
        Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2018),
        https://arxiv.org/abs/1807.03653

    Arguments:
        layout: Where the columns stand.
        flags: Logits that a cell is known, with shape (*, columns).
        weights: Log-weights of the components of each score, with shape (*, scores, M).
        means: Their means, with that shape.
        log_scales: Their log standard deviations, with that shape.
        logits: Of the options, with shape (*, options).
        gaps: Whether the flags are told as well; without, a gap is taken as chance.
    """

    def __init__(
        self,
        layout: ColumnLayout,
        flags: Tensor,
        weights: Tensor,
        means: Tensor,
        log_scales: Tensor,
        logits: Tensor,
        gaps: bool = True,
    ) -> None:
        self.layout, self.gaps = layout, gaps
        self.flags, self.logits = flags, logits
        self.weights, self.means, self.log_scales = weights.log_softmax(-1), means, log_scales
        super().__init__(torch.cat([flags, means[..., 0], logits], -1))

    def expand(self, batch_shape: Any, _instance: Any = None) -> TableRow:
        """Return the same distribution with a larger batch shape."""
        lead = tuple(batch_shape)[:-1]
        flags, logits = (p.expand(*lead, -1) for p in (self.flags, self.logits))
        parts = (self.weights, self.means, self.log_scales)
        weights, means, log_scales = (p.expand(*lead, -1, -1) for p in parts)
        return TableRow(self.layout, flags, weights, means, log_scales, logits, self.gaps)

    @property
    def whole(self) -> TableRow:
        """The same law where every cell is known."""
        sure = torch.full_like(self.flags, 100.0)
        parts = (self.weights, self.means, self.log_scales, self.logits)
        return TableRow(self.layout, sure, *parts, self.gaps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return nats, with the broadcast shape of a row and the distribution."""
        flag, score, option = value.split(self.layout.parts, -1)
        known = flag * logsigmoid(self.flags) + (1 - flag) * logsigmoid(-self.flags)
        known = known if self.gaps else torch.zeros_like(known)
        told = value[..., self._at(self.layout.gates)] * self._density(score)
        chosen = option * (self.logits - self._spread(self._log_total))
        shape = torch.broadcast_shapes(known.shape[:-1], told.shape[:-1], chosen.shape[:-1])
        return torch.cat([p.expand(*shape, p.shape[-1]) for p in (known, told, chosen)], -1)

    def _density(self, score: Tensor) -> Tensor:
        far = (score[..., None] - self.means) * (-self.log_scales).exp()
        each = self.weights - self.log_scales - 0.5 * (far.square() + LOG_2PI)
        return each.logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        """The chance that each cell is known, the mean of each score, the chance of each option."""
        scores = (self.weights.exp() * self.means).sum(-1)
        chances = (self.logits - self._spread(self._log_total)).exp()
        return torch.cat([self.flags.sigmoid(), scores, chances], -1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw rows; a draw of a choice has no gradient, so use it to look at alone."""
        shape = torch.Size(sample_shape)
        known = (self._like(self.flags, shape) < self.flags.sigmoid()).to(self.flags)
        heat = -(-self._like(self.logits, shape).log()).log()
        options = self._one_hot(self.logits + heat)
        pick = (self.weights - (-self._like(self.weights, shape).log()).log()).argmax(-1, True)
        wide = (*shape, *self.means.shape)
        mean, log_scale = (
            p.expand(wide).gather(-1, pick)[..., 0] for p in (self.means, self.log_scales)
        )
        scores = mean + log_scale.exp() * torch.randn_like(mean)
        options = options * known[..., self._at(self.layout.option_owner)]
        row = torch.cat([known, scores, options], -1)
        count = row[..., self._at(self.layout.gates)]
        return torch.cat([known, scores * count, options], -1)

    # Choices lie side by side in one long row, so that a table of a hundred costs as few steps as
    # a table of one.

    def _at(self, places: Tensor) -> Tensor:
        return places.to(self.flags.device)

    def _spread(self, by_choice: Tensor) -> Tensor:
        return by_choice[..., self._at(self.layout.segments)]

    def _over(self, h: Tensor, how: str) -> Tensor:
        """Return the sum or the largest of each choice, with shape (*, choices)."""
        found = h.new_zeros(*h.shape[:-1], len(self.layout.sizes))
        to = self._at(self.layout.segments).expand(h.shape)
        if how == "sum":
            return found.scatter_add(-1, to, h)
        return found.scatter_reduce(-1, to, h, "amax", include_self=False)

    @cached_property
    def _log_total(self) -> Tensor:
        most = self._over(self.logits.detach(), "amax")
        return most + self._over((self.logits - self._spread(most)).exp(), "sum").log()

    def _one_hot(self, h: Tensor) -> Tensor:
        return (h == self._spread(self._over(h, "amax"))).to(h)

    def _like(self, p: Tensor, shape: torch.Size) -> Tensor:
        """Return uniform numbers above 0 and below 1."""
        return torch.rand((*shape, *p.shape), device=p.device, dtype=p.dtype).clamp(1e-7, 1 - 1e-7)
