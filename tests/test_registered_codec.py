"""A registered kind of data: text files with digits, read, encoded, saved and used in a run."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import varied
from varied import registry
from varied.data import CODECS, Codec, RawData, codec_of, fit_codec, open_codec, read
from varied.errors import VariedError
from varied.training import prepare

rng = np.random.default_rng(0)


@dataclass(frozen=True)
class TextGrid(Codec):
    """Text files with a grid of digits.

    Arguments:
        shape: (1, H, W).
    """

    kind: ClassVar[str] = "text-grid"
    noun: ClassVar[str] = "grids"
    endings: ClassVar[tuple[str, ...]] = (".grid",)
    reads_folders: ClassVar[bool] = True
    domain: ClassVar[str] = "real"

    shape: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def read_example(cls, file):
        lines = file.read().decode().split()
        return np.array([[int(digit) for digit in line] for line in lines], np.float32)[None]

    @classmethod
    def fit(cls, data):
        return cls(tuple(data.x.shape[1:]))

    def encode(self, data):
        return torch.from_numpy(data.x if isinstance(data, RawData) else np.asarray(data))

    def decode(self, x, labels=None):
        return x.numpy()


@dataclass(frozen=True)
class TextVector(TextGrid):
    """Vectors in whole files, which cannot be read from folders."""

    kind: ClassVar[str] = "text-vector"
    noun: ClassVar[str] = "vectors"
    endings: ClassVar[tuple[str, ...]] = (".vec",)
    reads_folders: ClassVar[bool] = False

    @classmethod
    def read_file(cls, path):
        return RawData(np.loadtxt(path, dtype="f4"), cls.kind)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Register the two codecs for each test."""
    monkeypatch.setattr(registry, "_origins", dict(registry._origins))
    for codec in (TextGrid, TextVector):
        monkeypatch.setitem(CODECS, codec.kind, None)
        del CODECS[codec.kind]
        varied.register("data", codec.kind, codec)


def write_grids(folder, names, shape=(3, 5)):
    """Write files with random digits and return the digits."""
    grids = rng.integers(0, 10, (len(names), *shape))
    for name, grid in zip(names, grids, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join("".join(map(str, line)) for line in grid))
    return grids.astype(np.float32)[:, None]


NAMES = [f"{'odd' if i % 2 else 'even'}/{i:02d}.grid" for i in range(12)]


@pytest.fixture
def grids(tmp_path):
    """Return a folder of grids in two folders, and the grids sorted by name."""
    digits = write_grids(tmp_path / "grids", NAMES)
    return tmp_path / "grids", np.concatenate([digits[::2], digits[1::2]])


def test_a_folder_has_examples_labels_and_a_summary(grids):
    folder, digits = grids
    data = read(folder)
    assert (data.kind, data.classes, data.names) == (
        "text-grid",
        ("even", "odd"),
        tuple(sorted(NAMES)),
    )
    np.testing.assert_array_equal(data.x, digits)
    assert data.labels.tolist() == [0] * 6 + [1] * 6
    assert data.notes == ("12 grids of 1x3x5 numbers; 2 classes.",)
    assert codec_of(data) is TextGrid


def test_a_zip_file_and_a_single_file_are_read(grids, tmp_path):
    folder, digits = grids
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in NAMES:
            file.write(folder / name, name)
    assert read(tmp_path / "a.zip").digest() == read(folder).digest()
    np.testing.assert_array_equal(read(folder / NAMES[0], min_rows=1).x, digits[:1])


def test_unreadable_files_are_problems(grids):
    folder, _ = grids
    (folder / "even" / "bad.grid").write_text("12\nab")
    data = read(folder)
    (problem,) = data.problems
    assert problem.name == "even/bad.grid"
    assert problem.reason.startswith("it cannot be read (invalid literal for int()")
    assert data.notes[0] == "12 grids of 1x3x5 numbers; 1 unreadable; 2 classes."


def test_a_folder_without_readable_files_is_refused(tmp_path):
    (tmp_path / "a.grid").write_text("ab")
    with pytest.raises(VariedError, match=r"None of the 1 grids in .*\(a.grid: it cannot be read"):
        read(tmp_path)
    with pytest.raises(VariedError, match="no images, recordings or grids"):
        (tmp_path / "a.grid").rename(tmp_path / "a.txt")
        read(tmp_path)


@pytest.mark.parametrize(("n_images", "kind"), [(3, "text-grid"), (15, "image")])
def test_a_mixed_folder_is_read_as_the_kind_of_most_files(grids, n_images, kind):
    folder, _ = grids
    for i in range(n_images):
        Image.fromarray(np.full((8, 8), 9 * i, np.uint8)).save(folder / f"{i}.png")
    data = read(folder)
    noun, n_ignored = ("grids", n_images) if kind == "text-grid" else ("images", 12)
    assert data.kind == kind
    note = f"Number of files ignored because they are not {noun}: {n_ignored}."
    assert data.notes[-1] == note


def test_examples_of_different_shapes_are_refused(grids):
    folder, _ = grids
    write_grids(folder, ["wide.grid"], (3, 6))
    with pytest.raises(VariedError, match=r"different shapes, such as \(1, 3, 5\) and \(1, 3, 6\)"):
        read(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 8}, "image_size= is not an option of text-grid data; omit it"),
        ({"rate": 8}, "rate= is not an option of text-grid data"),
    ],
)
def test_options_of_other_kinds_of_data_are_refused(grids, options, message):
    with pytest.raises(VariedError, match=message):
        read(grids[0], **options)


def test_a_codec_may_read_whole_files_only(tmp_path):
    x = rng.random((12, 3)).astype("f4")
    np.savetxt(tmp_path / "a.vec", x)
    data = read(tmp_path / "a.vec", labels=["a", "b"] * 6)
    np.testing.assert_allclose(data.x, x)
    assert (data.kind, data.classes) == ("text-vector", ("a", "b"))
    assert data.notes == ("12 vectors of 3 numbers; 2 classes.",)
    with pytest.raises(VariedError, match=r"found 1 .vec\).*to read a table, pass its own path"):
        read(tmp_path)
    with pytest.raises(VariedError, match="Codec does not implement `read_example`"):
        Codec.read_example(None)


def test_the_fitted_codec_is_stored_and_has_defaults(grids):
    data = read(grids[0])
    codec = fit_codec(data)
    assert codec.to_json() == {"codec": "text-grid", "shape": [1, 3, 5], "notes": []}
    assert open_codec(codec.to_json()) == codec
    x = codec.load(codec.encode(data))
    assert x.dtype == torch.float32
    np.testing.assert_array_equal(codec.decode(x), data.x)
    values = {name: default.value for name, default in codec.defaults(1000).items()}
    assert values == {"net": "mlp", "likelihood": "gaussian", "latent": 7}
    assert torch.equal(codec.to_distances(data), x)
    assert codec.is_lossy is False
    with pytest.raises(VariedError, match="size= is not an option of the text-grid codec"):
        fit_codec(data, size=3)


def test_results_are_arranged_and_plotted_as_images(grids):
    data = read(grids[0])
    codec = fit_codec(data)
    arranged = codec.arrange(data.x, (3, 4), {"path": None, "step": None})
    np.testing.assert_array_equal(arranged[1, 2], data.x[6])
    images = codec.to_images(torch.from_numpy(data.x))
    assert (images.dtype, images.shape) == (np.uint8, (12, 3, 5))
    np.testing.assert_array_equal(images, np.round(data.x[:, 0] / 9 * 255))


def test_examples_are_saved_as_numpy_files(grids, tmp_path):
    data = read(grids[0])
    codec = fit_codec(data)
    path = codec.save(data.x, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(path), data.x)
    with pytest.raises(VariedError, match=r"'a\.grid' .* file extension; use \.npy or \.png"):
        codec.save(data.x, tmp_path / "a.grid")
    path = codec.save_labeled(data, tmp_path / "a.npz")
    labeled = read(path)
    assert labeled.kind == "text-grid"
    np.testing.assert_array_equal(labeled.x, data.x)
    assert read(path, labels=[0.5] * 12).labels.dtype == np.float32
    np.testing.assert_array_equal(labeled.labels, data.labels)
    assert labeled.classes == data.classes
    del CODECS["text-grid"]
    with pytest.raises(VariedError, match="There is no kind of data 'text-grid'"):
        read(path)


def test_a_run_is_trained_on_registered_data(grids, tmp_path):
    job = prepare(
        str(grids[0]), steps=2, batch_size=4, width=4, latent=2, threads=1, out=tmp_path / "run"
    )
    for _ in job.train():
        pass
    run = job.write_model()
    assert f'[origins.data]\nmodule = "{__name__}"' in (run.folder / "spec.toml").read_text()
    samples = run.sample(3, seed=0)
    assert samples.array.shape == (3, 1, 3, 5)
    assert samples.save(tmp_path / "samples.npy").is_file()
    assert samples.save(tmp_path / "samples.png").is_file()
    assert run.reconstruct(str(grids[0]), n=2).array.shape == (2, 2, 1, 3, 5)
