"""What every posterior is."""

from __future__ import annotations

from varied.heads import Head

__all__ = ["Posterior"]


class Posterior(Head):
    """A head whose events are latents."""
