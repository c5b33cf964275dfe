"""Files are complete or absent, and damage is detected."""

import json
import os

import pytest
import torch

from varied import atomic_io
from varied.errors import VariedError
from varied.tensor_io import read_tensors, write_tensors


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = atomic_io.atomic_write(tmp_path / "a.txt", "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(VariedError, match="No space left"):
        atomic_io.atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_complete_or_absent(tmp_path, monkeypatch):
    files = {"a.onnx": b"a", "b.onnx": b"b"}

    def fail(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(VariedError, match="No space left"):
                atomic_io.write_folder(tmp_path / "onnx", files)
        assert not list(tmp_path.iterdir())
    folder = atomic_io.write_folder(tmp_path / "onnx", files)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    with pytest.raises(VariedError, match="already exists"):
        atomic_io.write_folder(folder, files)


def test_json_contains_null_for_numbers_that_are_not_finite(tmp_path):
    values = {"a": float("nan"), "b": [float("inf"), 1.5]}
    path = atomic_io.write_json(tmp_path / "a.json", values)
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.5]}


def test_damaged_tensors_are_detected(tmp_path):
    path = write_tensors(tmp_path / "a.safetensors", {"w": torch.arange(100.0)}, n=1)
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(VariedError):
            read_tensors(path)
    path.write_bytes(content[:-3])
    with pytest.raises(VariedError, match="damaged"):
        read_tensors(path)
    with pytest.raises(VariedError, match="missing"):
        read_tensors(tmp_path / "none")
