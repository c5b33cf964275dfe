"""The library sizes of rows of counts, and the input of networks that read counts."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class InitializedFromRows(nn.Module, ABC):
    """A module whose buffers are initialized from the first training rows."""

    @abstractmethod
    def init_from_rows(self, x: Tensor) -> None:
        """Initialize the buffers.

        Arguments:
            x: Rows, with shape (N, *event); missing values are 0.
        """


class LibrarySize(InitializedFromRows):
    """The distribution of the library size (the sum of the counts of a row) in the training rows.

    The buffers are the mean and the standard deviation of its logarithm, and its median.
    """

    log_location: Tensor
    log_scale: Tensor
    median: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("log_location", 0.0), ("log_scale", 0.0), ("median", 1.0)):
            self.register_buffer(name, torch.tensor(value))

    @torch.no_grad()
    def init_from_rows(self, x: Tensor) -> None:
        """Set the buffers to the statistics of the rows; the library size of an empty row is 1."""
        size = x.flatten(1).sum(1).clamp(min=1)
        self.median.copy_(size.median())
        self.log_location.copy_(size.log().mean())
        self.log_scale.copy_(size.log().std(correction=0))


class LogCounts(nn.Module):
    r"""A network whose input is the logarithm of counts, relative to the library size.

    .. math:: \log(1 + x_j \, l_0 / l), \qquad l = \sum_j x_j

    where :math:`l_0` is the median library size of the training rows. The input therefore does not
    depend on the library size, except that smaller counts are noisier.

    Arguments:
        net: The network, called with the input and, for a conditional model, a context.
        is_relative: Whether the counts are divided by the library size.
    """

    def __init__(self, net: nn.Module, is_relative: bool = True) -> None:
        super().__init__()
        self.net = net
        self.library = LibrarySize() if is_relative else None

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """Return the output of the network for counts with shape (N, *event)."""
        x = x.clamp(min=0)
        if self.library is not None:
            size = x.flatten(1).sum(1).clamp(min=1)
            x = x * (self.library.median / size).reshape(-1, *[1] * (x.dim() - 1))
        return self.net(x.log1p(), *c)  # type: ignore[no-any-return]
