"""Files without read permission are reported as such, not as corrupted."""

import gzip
import os
import shutil
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from varied import atomic_io, tensor_io
from varied.data import read
from varied.errors import VariedError

NOBODY = 65534
IMAGES = np.arange(12 * 8 * 8, dtype=np.uint8).reshape(12, 8, 8)


@pytest.fixture
def folder():
    """A folder that every user can enter, unlike the default folders of pytest."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def write_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "text")


def write_idx(path, opener=open):
    with opener(path, "wb") as file:
        file.write(struct.pack(">4B3I", 0, 0, 8, 3, *IMAGES.shape) + IMAGES.tobytes())


FILES = {
    "rows.npy": lambda path: np.save(path, IMAGES),
    "rows.npz": lambda path: np.savez(path, x=IMAGES),
    "images.zip": write_zip,
    "train-images": write_idx,
    "train-images.gz": lambda path: write_idx(path, gzip.open),
    "rows.csv": lambda path: pd.DataFrame({"x": range(20)}).to_csv(path),
    "rows.parquet": lambda path: pd.DataFrame({"x": range(20)}).to_parquet(path),
    "spec.json": lambda path: path.write_text("{}"),
    "model.safetensors": lambda path: tensor_io.write_tensors(path, {}),
}
READERS = {".json": atomic_io.read_json, ".safetensors": tensor_io.read_tensors}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize("name", FILES)
def test_permission_errors_are_not_corruption(name, folder):
    path = folder / name
    FILES[name](path)
    reader = READERS.get(path.suffix, read)
    try:
        reader(path)  # imports all modules, which another user may not read
    except VariedError as error:
        assert "cannot be read (" not in str(error)
    path.chmod(0)
    is_root = os.geteuid() == 0  # to whom permissions do not apply
    try:
        if is_root:
            os.seteuid(NOBODY)
        with pytest.raises(VariedError, match=r"cannot be read \(.*; check its name and its perm"):
            reader(path)
    finally:
        if is_root:
            os.seteuid(0)
