"""Pictures of a run: pure functions from arrays and plain values to files."""

from varied.plots.curves import curves, kl_bars, rate_distortion
from varied.plots.image_grid import grid, interpolations, manifold, pairs, side_by_side, traversals
from varied.plots.latent_map import latent_map
from varied.plots.loss_curves import loss_curves, loss_overlay
from varied.plots.tabular import column_shapes, pair_trends, rows, shares

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
