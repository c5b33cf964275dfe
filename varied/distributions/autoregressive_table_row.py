"""The distribution of a table row in which each cell depends on the preceding cells."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent

from varied.distributions.base import base_distribution
from varied.distributions.table_row import ColumnLayout, RowDistribution, TableRow


class AutoregressiveTableRow(RowDistribution):
    r"""A table row in which each cell depends on the preceding cells.

    .. math:: \log p(x) = \sum_j \log p(m_j \mid m_{<j}) + m_j \log p(x_j \mid m, x_{<j})

    All flags precede all values, so that the distribution of a value depends on which cells are
    missing. Missing cells contribute only their flag and are not imputed.

    References:
        MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015),
        https://arxiv.org/abs/1502.03509

    Arguments:
        layout: The layout of the columns.
        h: The output of a network, with shape (*, P).
        condition: A function that maps ``h`` and rows with shape (*, W) to a `TableRow`, in which
            the distribution of an element depends only on ``h`` and on elements of preceding steps;
            see `ColumnLayout.autoregressive_steps`. If the rows are None, the cells are independent
            given ``h``. Flags with shape (*, C) replace the flags of the rows as inputs, but do not
            change which cells are visible.
        detach: Whether the gradient of the log-probability with respect to ``h`` is computed as if
            the cells were independent.
    """

    def __init__(
        self,
        layout: ColumnLayout,
        h: Tensor,
        condition: Callable[..., TableRow],
        detach: bool = False,
    ) -> None:
        self.h, self._condition, self._detach = h, condition, detach
        super().__init__(layout, Size((*h.shape[:-1], layout.width)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> AutoregressiveTableRow:
        """Return the same distribution with a larger batch shape."""
        h = self.h.expand(*tuple(batch_shape)[:-1], -1)
        return AutoregressiveTableRow(self.layout, h, self._condition, self._detach)

    @cached_property
    def independent(self) -> TableRow:
        """The distribution of independent cells given ``h``."""
        return self._condition(self.h, None)

    def condition(self, x: Tensor, flags: Tensor | None = None) -> TableRow:
        """Return the distribution of each element given the preceding elements of ``x``.

        Arguments:
            x: The rows, with shape (*, W).
            flags: Flags with shape (*, C) that replace the flags of the rows as inputs, but do not
                change which cells are visible.
        """
        return self._condition(self.h, x, flags)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of each element given the preceding elements, in nats."""
        if not self._detach:
            return self.condition(value).log_prob(value)
        log_p = self._condition(self.h.detach(), value).log_prob(value)
        independent = self.independent.log_prob(value)
        return log_p + independent - independent.detach()

    @property
    def mean(self) -> Tensor:
        """The mean of each element given the modes of the preceding elements."""
        x = means = self._initial_rows(())
        for step, elements in enumerate(self.layout.autoregressive_steps):
            row = self._conditional(x, step)
            means = means.index_copy(-1, elements, row.mean[..., elements])
            x = x.index_copy(-1, elements, row.mode[..., elements].detach())
        return means

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return detached samples, with shape (*sample_shape, *batch_shape)."""
        x = self._initial_rows(sample_shape)
        for step, elements in enumerate(self.layout.autoregressive_steps):
            x = x.index_copy(-1, elements, self._conditional(x, step).sample()[..., elements])
        return x

    @torch.no_grad()
    def complete(self, x: Tensor) -> Tensor:
        """Return rows with shape (*, W) whose missing cells are filled with samples.

        A sample depends on which other cells are missing, as in training, and on the samples for
        preceding cells.
        """
        x = x.expand(self.batch_shape)
        flags, missing = x[..., : self.layout.n_columns], self.layout.is_missing(x)
        x = torch.where(missing, self._initial_rows(()), x)
        for elements in self.layout.autoregressive_steps[len(self.layout.missing_columns) :]:
            if missing[..., elements].any():
                column = self.layout.element_columns[elements[:1]].to(x.device)
                row = self.condition(x, flags.index_fill(-1, column, 1.0))
                filled = row.given_flags(torch.ones_like(flags)).sample()
                completed = torch.where(missing, filled, x)
                x = x.index_copy(-1, elements, completed[..., elements])
        return x

    def _initial_rows(self, sample_shape: Any) -> Tensor:
        """Return rows in which all flags are 1 and all other elements are 0."""
        x = self.h.new_zeros((*sample_shape, *self.batch_shape))
        x[..., : self.layout.n_columns] = 1
        return x

    def _conditional(self, x: Tensor, step: int) -> TableRow:
        """Return the distribution of the elements of a step, given the preceding elements."""
        row, is_value = self.condition(x), step >= len(self.layout.missing_columns)
        return row.given_flags(x[..., : self.layout.n_columns]) if is_value else row


def independent_cells(px: Distribution) -> Distribution | None:
    """Return p(x | z) with independent cells, or None if its cells are already independent."""
    base = base_distribution(px)
    if not isinstance(base, AutoregressiveTableRow):
        return None
    return Independent(base.independent, 1, validate_args=False)
