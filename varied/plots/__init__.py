"""Pictures of a run: pure functions from arrays and plain values to files."""

from varied.plots.history import loss_curves, loss_overlay
from varied.plots.lines import curves, kl_bars, rate_distortion
from varied.plots.maps import latent_map
from varied.plots.mosaics import grid, interpolations, manifold, pairs, side_by_side, traversals

__all__ = [
    "curves",
    "grid",
    "interpolations",
    "kl_bars",
    "latent_map",
    "loss_curves",
    "loss_overlay",
    "manifold",
    "pairs",
    "rate_distortion",
    "side_by_side",
    "traversals",
]
