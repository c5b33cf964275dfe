"""Pictures of a run: pure functions from arrays and plain values to files."""

from varied.plots.columns import column_shapes, pair_trends, rows, shares
from varied.plots.history import loss_curves, loss_overlay
from varied.plots.lines import curves, kl_bars, rate_distortion
from varied.plots.maps import latent_map
from varied.plots.mosaics import grid, interpolations, manifold, pairs, side_by_side, traversals

__all__ = [
    "column_shapes",
    "curves",
    "grid",
    "interpolations",
    "kl_bars",
    "latent_map",
    "loss_curves",
    "loss_overlay",
    "manifold",
    "pair_trends",
    "pairs",
    "rate_distortion",
    "rows",
    "shares",
    "side_by_side",
    "traversals",
]
