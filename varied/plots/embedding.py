"""The latent codes of one set of data in two dimensions, steady while training proceeds."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from varied.errors import VariedError, lookup
from varied.plots.style import Array

__all__ = ["aligned_embeddings"]

Frames: TypeAlias = list[Array]

SECONDS_PER_POINT = 6e-4  # one later stage of t-SNE, measured on one core
PATIENCE = 20.0  # seconds


def aligned_embeddings(
    codes: Sequence[Array], *, seed: int = 0, method: str = "auto"
) -> tuple[list[Array], str]:
    """Return the latent codes of one set of data in two dimensions, steady from stage to stage.

    Arguments:
        codes: The codes of the same data at each stage of training, T of shape (N, D).
        seed: Of t-SNE.
        method: "identity" (the latent plane itself), "pca" (on the axes of the last stage), "tsne"
            (each stage starts from the one before) or "auto": the plane where D is at most 2, else
            t-SNE, but PCA where t-SNE would take more than about 20 seconds.

    Returns:
        T arrays of shape (N, 2), and what to call the method: "latent plane", "PCA" or "t-SNE".

    Raises:
        VariedError: If there is no stage, or no such method.
    """
    if not len(codes):
        raise VariedError("There is no stage to follow: record at least one.")
    stages = [np.nan_to_num(np.asarray(stage, float).reshape(len(stage), -1)) for stage in codes]
    # A single dimension has no other plane than its own.
    chosen = _choose(stages) if method == "auto" or stages[0].shape[1] < 2 else method
    way, name = lookup(WAYS, chosen, "way to follow codes")
    return way(stages, seed), name


def _choose(stages: Frames) -> str:
    count, width = stages[0].shape
    if width <= 2:
        return "identity"
    slow = count > 2000 or (len(stages) + 3) * count * SECONDS_PER_POINT > PATIENCE
    return "pca" if slow or count < 10 else "tsne"


def _plane(stages: Frames, seed: int) -> Frames:
    if stages[0].shape[1] >= 2:
        return [stage[:, :2] for stage in stages]
    # One dimension alone is a line on which the points hide each other.
    jitter = np.random.default_rng(seed).uniform(-0.5, 0.5, len(stages[0]))
    return [np.stack([stage[:, 0], jitter], axis=1) for stage in stages]


def _pca(stages: Frames, seed: int = 0) -> Frames:
    last = stages[-1] - stages[-1].mean(axis=0)
    directions = np.linalg.svd(last, full_matrices=False)[2][:2].T
    return [(stage - stage.mean(axis=0)) @ directions for stage in stages]


def _tsne(stages: Frames, seed: int) -> Frames:
    place = _pca(stages[:1])[0]
    place = _embed(stages[0], place * (1e-4 / (place.std() or 1.0)), seed, steps=500, pull=12.0)
    frames: Frames = []
    for stage in stages:
        # Each stage starts in order, so it needs no more than the fewest steps that scikit-learn
        # allows; the mild pull lets classes part (10-nearest accuracy 0.84 against 0.81 without).
        place = _embed(stage, place, seed, steps=250, pull=1.5)
        frames.append(_turn(_unit(place), frames[-1]) if frames else _unit(place))
    return frames


def _embed(stage: Array, start: Array, seed: int, *, steps: int, pull: float) -> Array:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # scikit-learn 1.5 gave the argument its new name.
    longest = "max_iter" if "max_iter" in inspect.signature(TSNE).parameters else "n_iter"
    method = TSNE(
        init=start.astype(np.float32),
        perplexity=min(30.0, (len(stage) - 1) / 3),
        early_exaggeration=pull,
        angle=0.8,
        random_state=seed,
        **{longest: steps},
    )
    # One thread: on cores that something else keeps busy, two are slower than one.
    with threadpool_limits(1):
        return np.asarray(method.fit_transform(stage))


def _unit(points: Array) -> Array:
    """Return the points about zero, at a mean square distance of 1: t-SNE has no scale to lose."""
    points = points - points.mean(axis=0)
    return np.asarray(points / (np.sqrt((points**2).sum(axis=1).mean()) or 1.0))


def _turn(points: Array, to: Array) -> Array:
    """Return the points turned and mirrored as a whole to lie nearest to another frame."""
    left, _, right = np.linalg.svd(points.T @ to)
    return np.asarray(points @ left @ right)


WAYS = {"identity": (_plane, "latent plane"), "pca": (_pca, "PCA"), "tsne": (_tsne, "t-SNE")}
