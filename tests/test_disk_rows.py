"""Images that stay on the disk give the same run as those in memory."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import varied
from tests.bar_images import bar_images
from tests.quick_training import train_to_end
from varied.data import Batch, DiskBatches, image_cache, numpy_files, raw_data, split
from varied.data.disk_rows import DiskRows
from varied.data.image_files import read_images
from varied.errors import VariedError
from varied.training import Interrupted, prepare


@pytest.fixture
def path(tmp_path):
    images = bar_images(600)[0]
    images[7] = images[3]
    np.save(tmp_path / "bars.npy", images)
    return tmp_path / "bars.npy"


@pytest.fixture
def on_disk(monkeypatch):
    """Keep all images of .npy files on the disk."""
    monkeypatch.setattr(numpy_files, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(raw_data, "MAX_READ", 20_000)


@pytest.fixture
def rows(path):
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return DiskRows(path, file.tell(), shape, dtype)


@pytest.mark.parametrize(
    "key",
    [slice(None), slice(3, 300, 7), [5], [], [4, 599, 0, 4, -2], np.arange(599, -1, -1)],
    ids=str,
)
def test_rows_are_those_of_the_array(path, rows, key, monkeypatch):
    monkeypatch.setattr("varied.data.disk_rows._MAX_GAP", 200)
    images = np.load(path)
    key = key if isinstance(key, slice) else np.asarray(key, dtype=np.int64)
    assert np.array_equal(rows[key], images[key])
    if not isinstance(key, slice):
        selected = rows.take(key)
        assert selected.shape == images[key].shape
        assert np.array_equal(selected, images[key])
        assert np.array_equal(selected.take(range(len(key) // 2)), images[key[: len(key) // 2]])
        assert all(np.array_equal(selected[i], images[key[i]]) for i in range(min(3, len(key))))


def test_blocks_contain_all_rows(path, rows, monkeypatch):
    monkeypatch.setattr("varied.data.disk_rows.BLOCK_BYTES", 1000)
    blocks = list(rows.blocks())
    assert len(blocks) == 50
    assert np.array_equal(np.concatenate(blocks), np.load(path))


def test_a_file_that_becomes_shorter_is_an_error(path, rows):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VariedError, match="was changed while it was read"):
        rows[np.array([599])]


def test_data_on_disk_have_the_same_digest_and_split(path, on_disk):
    data, expected = varied.read(path), varied.read(np.load(path))
    assert data.is_on_disk
    assert not expected.is_on_disk
    assert data.digest() == expected.digest()
    for name in ("train", "validation", "test"):
        assert np.array_equal(getattr(split(data), name), getattr(split(expected), name))
    assert data.take(np.arange(400)).is_on_disk
    assert not data.take(np.arange(20)).is_on_disk


def test_other_arrays_are_read_into_memory(tmp_path, on_disk):
    arrays = {"bits": np.ones((20, 9, 9), np.uint8), "floats": np.random.rand(20, 3)}
    arrays["fortran"] = np.asfortranarray(np.full((20, 9, 9), 7, np.uint8))
    for name, x in arrays.items():
        np.save(tmp_path / f"{name}.npy", x)
        assert not varied.read(tmp_path / f"{name}.npy").is_on_disk


# Batches


@pytest.mark.parametrize("n", [1, 7, 100, 128, 1000, 1003])
def test_each_row_is_in_one_batch_of_an_epoch(n, monkeypatch):
    monkeypatch.setattr(DiskBatches, "WINDOW_BYTES", 640)
    batches = DiskBatches(lambda rows: Batch(rows[:, None]), n, 1, size=10, seed=0)
    epoch = [batches.at(step).x for step in range(batches.steps_per_epoch)]
    rows = torch.cat(epoch)[:, 0]
    assert len(rows) == len(rows.unique()) == n - n % min(n, 10)
    other = torch.cat([batches.at(batches.steps_per_epoch + i).x for i in range(len(epoch))])[:, 0]
    assert n < 10 or not torch.equal(rows, other)


def test_batches_depend_only_on_the_step(monkeypatch):
    monkeypatch.setattr(DiskBatches, "WINDOW_BYTES", 640)

    def new():
        return DiskBatches(lambda rows: Batch(rows[:, None]), 3000, 1, size=64, seed=1)

    batches = new()
    for step in (90, 3, 46, 0, 45, 90):
        assert torch.equal(batches.at(step).x, new().at(step).x)


def test_rows_of_a_batch_come_from_all_blocks_of_a_window():
    batches = DiskBatches(lambda rows: Batch(rows[:, None]), 10**6, 2**16, size=256, seed=0)
    rows = batches.at(0).x[:, 0]
    assert len((rows // batches.block).unique()) > 0.9 * batches.BLOCKS
    assert rows.double().std() > 0.2 * 10**6


# Runs


def test_a_run_on_the_disk_is_trained_resumed_and_used(path, tmp_path, on_disk):
    options = {"steps": 60, "batch_size": 50, "net.width": 16, "threads": 1, "conditional": False}
    job = prepare(path, out=tmp_path / "run", **options)
    assert job.data.is_on_disk
    losses = [float(event.parts["loss"]) for event in job.train()]
    run = job.write_model()
    assert losses[-1] < losses[0]
    result = run.evaluate()
    assert result.n == len(run.split("test"))
    again = varied.Run(tmp_path / "run")
    assert again.data.is_on_disk
    assert len(again.encode(path).mean) == 600


def test_an_interrupted_run_on_the_disk_ends_with_the_same_weights(path, tmp_path, on_disk):
    options = {"steps": 30, "batch_size": 50, "net.width": 16, "deterministic": True}
    uninterrupted = train_to_end(prepare(path, out=tmp_path / "uninterrupted", **options))
    job = prepare(path, out=tmp_path / "run", **options)
    with pytest.raises(Interrupted):
        for event in job.train():
            job.is_stopping = event.state.step == 17
    run = train_to_end(prepare(path, out=tmp_path / "run", **options))
    weights, expected = run.model.state_dict(), uninterrupted.model.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


# Decoded images


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "MIN_FILES", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i, image in enumerate(bar_images(30)[0]):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png")
    (tmp_path / "photos" / "a" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def is_decoded(path, monkeypatch):
    """Return whether reading a folder decodes its images, and check that the data are the same."""
    counts = Counter()

    def count(*args):
        counts["calls"] += 1
        return read_images(*args)

    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "read_images", count)
        data = varied.read(path)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "MIN_FILES", 10**6)
        expected = varied.read(path)
    assert data.digest() == expected.digest()
    assert (data.names, data.notes, data.problems) == (
        expected.names,
        expected.notes,
        expected.problems,
    )
    return counts["calls"] == 1


def test_a_large_folder_is_decoded_once(photos, monkeypatch):
    assert is_decoded(photos, monkeypatch)
    assert not is_decoded(photos, monkeypatch)
    monkeypatch.setattr(image_cache, "MAX_IN_MEMORY", 0)
    assert varied.read(photos).is_on_disk
    assert not is_decoded(photos, monkeypatch)


@pytest.mark.parametrize(
    "change", ["a new file", "another time", "a shorter cache", "a damaged cache", "cleared"]
)
def test_it_is_decoded_again_after_a_change(photos, monkeypatch, change):
    varied.read(photos)
    (pixels,) = image_cache.image_folder().glob("*.pixels")
    if change == "a new file":
        Image.fromarray(bar_images(1)[0][0]).save(photos / "a" / "new.png")
    elif change == "another time":
        os.utime(photos / "a" / "0.png", (0, 0))
    elif change == "a shorter cache":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif change == "a damaged cache":
        pixels.write_bytes(pixels.read_bytes()[:-1] + b"\x7b")
    else:
        assert image_cache.clear_images() == 2
    assert is_decoded(photos, monkeypatch)


@pytest.mark.parametrize("fault", ["full disk", "no permission"])
def test_a_cache_that_cannot_be_written_is_not_used(photos, monkeypatch, fault):
    if fault == "full disk":
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    else:
        (photos.parent / "cache").write_text("a file instead of a folder")
    assert is_decoded(photos, monkeypatch)
    assert is_decoded(photos, monkeypatch)
