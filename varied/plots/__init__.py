"""Figures of a run: functions that draw arrays and plain Python values, and write image files."""

from varied.plots.animation import interpolation_gif, latent_gif, samples_gif
from varied.plots.curves import curves, kl_bars, rate_distortion
from varied.plots.embedding import aligned_embeddings
from varied.plots.image_grid import (
    grid,
    interpolations,
    manifold,
    pairs,
    side_by_side,
    traversals,
    variants,
)
from varied.plots.latent_map import latent_map
from varied.plots.loss_curves import loss_curves, loss_overlay
from varied.plots.tabular import column_shapes, nll_bars, pair_trends, table_rows

__all__ = [
    "aligned_embeddings",
    "column_shapes",
    "curves",
    "grid",
    "interpolation_gif",
    "interpolations",
    "kl_bars",
    "latent_gif",
    "latent_map",
    "loss_curves",
    "loss_overlay",
    "manifold",
    "nll_bars",
    "pair_trends",
    "pairs",
    "rate_distortion",
    "samples_gif",
    "side_by_side",
    "table_rows",
    "traversals",
    "variants",
]
