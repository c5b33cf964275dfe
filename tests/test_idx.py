"""The idx files of MNIST: images with labels, folders, and corrupted files."""

import gzip
import struct

import numpy as np
import pytest

from varied.data import memory, read
from varied.errors import VariedError

GRAY = np.random.default_rng(0).integers(0, 256, (12, 9, 11), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 4
TYPES = {"uint8": 8, "int16": 11, "float32": 13}


def idx(x):
    start = struct.pack(">BBBB", 0, 0, TYPES[str(x.dtype)], x.ndim)
    values = x.astype(x.dtype.newbyteorder(">")).tobytes()
    return start + struct.pack(f">{x.ndim}I", *x.shape) + values


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_an_idx_file_takes_the_labels_next_to_it(tmp_path, compress):
    suffix = "" if compress is bytes else ".gz"
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(compress(idx(GRAY)))
    assert read(path).labels is None
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(compress(idx(LABELS)))
    data = read(path)
    np.testing.assert_array_equal(data.x, GRAY)
    assert data.labels.tolist() == LABELS.tolist()
    assert read(path, labels=["a", "b"] * 6).classes == ("a", "b")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_an_idx_file_may_have_other_types(tmp_path, dtype):
    path = tmp_path / "values-idx2"
    x = np.arange(-30, 30, dtype=dtype).reshape(12, 5)
    path.write_bytes(idx(x))
    np.testing.assert_array_equal(read(path).x, x)


def test_an_idx_folder_has_official_test_rows(tmp_path):
    for name, rows in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(GRAY[rows]))
        labels = gzip.compress(idx(LABELS[rows] % 2))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(labels)
    data = read(tmp_path, classes=["even", "odd"])
    np.testing.assert_array_equal(data.x, GRAY)
    assert data.test.tolist() == [8, 9, 10, 11]
    assert data.classes == ("even", "odd")
    assert read(tmp_path, labels=["a"] * 12).classes == ("a",)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(GRAY[:4, :5]))
    with pytest.raises(VariedError, match=r"training and test images in .* differ in size"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("a-idx3-ubyte", idx(GRAY)[:-5], "is truncated or corrupted"),
        ("a-idx3-ubyte", idx(GRAY) + b"x", "is truncated or corrupted"),
        ("a-idx3-ubyte", idx(GRAY)[:9], "is truncated or corrupted"),
        ("a-idx3-ubyte.gz", gzip.compress(idx(GRAY), mtime=0)[:-40], "is corrupted"),
        ("a-idx3-ubyte", b"\0\0\x10\x03" + idx(GRAY)[4:], "is not supported"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, name, contents, message):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(VariedError, match=rf"{name} {message}"):
        read(tmp_path / name)


def test_label_files_must_be_idx_files(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(GRAY))
    (tmp_path / "train-labels-idx1-ubyte").write_text("0 1 2 3")
    with pytest.raises(VariedError, match="train-labels-idx1-ubyte is not an idx file"):
        read(tmp_path)


def test_an_idx_file_larger_than_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(GRAY))
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(VariedError, match="a-idx3-ubyte would take"):
        read(tmp_path / "a-idx3-ubyte")
