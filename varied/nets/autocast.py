"""Base class for modules whose networks can run in a lower precision."""

from __future__ import annotations

import torch
from torch import nn


class AutocastModule(nn.Module):
    """A module that runs its networks in ``precision``, which is set by `varied.runtime`."""

    #: The data type of matrix products and convolutions; None for the type of the weights.
    precision: torch.dtype | None = None

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the autocast context manager in which to run the networks."""
        enabled = self.precision is not None
        return torch.autocast(device.type, dtype=self.precision, enabled=enabled)
