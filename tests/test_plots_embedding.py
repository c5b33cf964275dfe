"""Tests of aligned embeddings: the choice of the method, and stable positions."""

import numpy as np
import pytest

from varied.errors import VariedError
from varied.plots import aligned_embeddings
from varied.plots.embedding import _align, _pca

pytestmark = pytest.mark.figures


@pytest.fixture(scope="module")
def stages():
    """Return codes of three classes that separate during training, and the class of each code."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    noise, centers = rng.normal(size=(90, 6)), np.eye(3, 6)[labels] * 9
    return [noise + centers * fraction for fraction in (0, 0.5, 0.8, 1.0)], labels


def test_two_dimensions_are_kept():
    codes = [np.random.default_rng(0).normal(size=(50, 2)) for _ in range(3)]
    frames, name = aligned_embeddings(codes)
    assert name == "latent plane"
    assert all((frame == code).all() for frame, code in zip(frames, codes, strict=True))


def test_one_dimension_gets_the_same_jitter_in_each_frame():
    frames, name = aligned_embeddings([np.arange(5.0)[:, None], np.ones((5, 1))])
    assert name == "latent plane"
    assert (frames[0][:, 0] == np.arange(5)).all()
    assert (frames[0][:, 1] == frames[1][:, 1]).all()


def test_tsne_separates_the_classes_and_is_stable(stages):
    codes, labels = stages
    frames, name = aligned_embeddings([*codes, codes[-1]])
    assert name == "t-SNE"
    centers = np.array([frames[-1][labels == label].mean(axis=0) for label in range(3)])
    std = max(frames[-1][labels == label].std() for label in range(3))
    distances = [np.linalg.norm(centers[a] - centers[b]) for a in range(3) for b in range(a)]
    assert min(distances) > 2 * std
    movement = np.linalg.norm(frames[-1] - frames[-2], axis=1)
    # The codes do not change, so points move by less than a tenth of the root mean square radius.
    assert np.median(movement) < 0.1
    for frame in frames:
        assert np.isclose((frame**2).sum(axis=1).mean(), 1)


def test_tsne_is_reproducible(stages):
    first, second = (aligned_embeddings(stages[0][:2], seed=3)[0] for _ in range(2))
    assert np.array_equal(first, second)


def test_align_undoes_rotation_and_reflection():
    points = np.random.default_rng(0).normal(size=(40, 2))
    rotation = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    assert np.allclose(_align(points @ rotation, points), points)


@pytest.mark.parametrize(("count", "num_stages"), [(2500, 2), (500, 200)])
def test_pca_replaces_a_slow_tsne(count, num_stages):
    codes = np.random.default_rng(0).normal(size=(count, 5))
    frames, name = aligned_embeddings([codes] * num_stages)
    assert (name, frames[0].shape) == ("PCA", (count, 2))


def test_pca_uses_the_axes_of_the_last_stage():
    codes = np.random.default_rng(0).normal(size=(30, 4))
    frames = _pca([codes, codes * 2, codes])
    assert np.allclose(frames[0], frames[2])
    assert np.allclose(frames[0] * 2, frames[1])


@pytest.mark.parametrize("code", [np.zeros((20, 3)), np.full((20, 3), np.nan), np.ones((3, 4))])
def test_collapsed_non_finite_and_few_codes(code):
    assert all(np.isfinite(frame).all() for frame in aligned_embeddings([code, code])[0])


def test_missing_stages_are_refused():
    with pytest.raises(VariedError, match="at least one stage of training"):
        aligned_embeddings([])
