"""Named datasets: in the package, installed, downloaded or missing."""

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from varied.data import (
    CATALOG,
    catalog,
    catalog_rows,
    download,
    fit_codec,
    is_nearly_binary,
    read,
    split,
)
from varied.data.download import Remote, cache_folder, verify
from varied.errors import VariedError

needs_data = pytest.mark.skipif("VARIED_DATA" not in os.environ, reason="VARIED_DATA is not set")
URL = "https://example.org/a"


def sha256(contents):
    return hashlib.sha256(contents).hexdigest()


def test_mnist_is_in_the_package():
    path = CATALOG["mnist"].find() / "mnist.npz"
    assert sha256(path.read_bytes()) == CATALOG["mnist"].remotes[0].sha256
    assert path.stat().st_size < 11.6e6
    data = read("mnist")
    assert data.x.shape == (70_000, 28, 28)
    assert np.bincount(data.labels[data.test]).tolist()[:3] == [980, 1135, 1032]
    assert data.classes[7] == "seven"
    assert data.source == "mnist"
    assert data.notes == ("70,000 gray images, 28x28; 10 classes; 10,000 official test rows.",)
    assert read("mnist", classes=list("abcdefghij")).classes[7] == "h"
    assert is_nearly_binary(data.x)
    s = split(data)
    assert [len(rows) for rows in (s.train, s.validation, s.test)] == [55_000, 5_000, 10_000]
    assert fit_codec(data.take(s.train)).shape == (1, 28, 28)


def test_catalog_rows_describe_each_dataset():
    rows = catalog_rows()
    assert [row.name for row in rows] == list(CATALOG)
    assert rows[0].location == "in the package"
    assert all(row.content == CATALOG[row.name].content for row in rows)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Return an empty folder, after making all datasets unavailable and all downloads fail."""
    monkeypatch.delenv("VARIED_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path


def test_a_missing_dataset_is_refused_with_its_folder(offline):
    with pytest.raises(VariedError, match=r"no network\); download it .* save it as .*cifar10"):
        read("cifar10")
    with pytest.raises(VariedError, match=r"Omniglot is not on this machine; create .*VARIED_DATA"):
        read("omniglot")
    assert not [path for path in offline.rglob("*") if path.is_file()]
    assert CATALOG["cifar10"].find() is None
    assert CATALOG["cifar10"].location() == "downloaded when it is first used"
    assert CATALOG["omniglot"].location().startswith("create omniglot28.npz")


def test_datasets_are_searched_in_the_data_folder_first(offline, monkeypatch):
    assert CATALOG["cifar10"].folders() == [offline / "cache" / "varied" / "cifar10"]
    monkeypatch.setenv("VARIED_DATA", str(offline))
    first, installed, cache = CATALOG["fashion-mnist"].folders()
    assert (first, cache) == (offline / "fashion-mnist", cache_folder() / "fashion-mnist")
    assert installed == CATALOG["fashion-mnist"].installed
    assert len(CATALOG["mnist"].folders()) == 1


@pytest.fixture
def cifar10(offline, monkeypatch):
    """Return the folder of a CIFAR-10 dataset with uniform images."""
    monkeypatch.setenv("VARIED_DATA", str(offline))
    folder = offline / "cifar10"
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    record = np.zeros((10_000, 3073), np.uint8)
    record[:, 0] = np.arange(10_000) % 10
    record[:, 1:1025] = 200  # the red channel is first
    for name in catalog._CIFAR_FILES:
        (folder / name).write_bytes(record.tobytes())
    return folder


def test_cifar10_is_read_from_unpacked_files(cifar10):
    data = read("cifar10")
    assert data.x.shape == (60_000, 32, 32, 3)
    assert data.x[0, 0, 0].tolist() == [200, 0, 0]
    assert data.classes[3] == "cat"
    assert len(data.test) == 10_000
    assert CATALOG["cifar10"].location() == str(cifar10)
    (cifar10 / catalog._CIFAR_FILES[2]).write_bytes(b"short")
    with pytest.raises(VariedError, match="of cifar10 is truncated"):
        read("cifar10")


def test_cifar10_is_read_from_its_archive(cifar10, monkeypatch):
    archive = cifar10 / catalog._CIFAR.name
    with tarfile.open(archive, "w:gz", compresslevel=1) as file:
        for name in catalog._CIFAR_FILES:
            file.add(cifar10 / name, name)
            (cifar10 / name).unlink()
    with pytest.raises(VariedError, match="since its SHA-256 is not the expected one"):
        read("cifar10")
    monkeypatch.setattr(catalog, "verify", lambda *_: None)
    assert read("cifar10", labels=np.zeros(60_000)).x.shape == (60_000, 32, 32, 3)
    archive.write_bytes(b"not an archive")
    with pytest.raises(VariedError, match=r"cifar-10-binary\.tar\.gz is corrupted"):
        read("cifar10")


def test_a_missing_dataset_is_downloaded(offline, monkeypatch):
    def write(remote, folder):
        folder.mkdir(parents=True, exist_ok=True)
        shape = (10, 28, 28) if "images" in remote.name else (10,)
        start = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
        values = np.arange(np.prod(shape)) % 10
        (folder / remote.name).write_bytes(gzip.compress(start + values.astype("u1").tobytes()))

    monkeypatch.setattr(catalog, "download", write)
    monkeypatch.setattr(catalog, "verify", lambda *_: None)
    data = dataclasses.replace(CATALOG["fashion-mnist"], installed=None).load()
    assert (data.x.shape, data.classes[9]) == ((20, 28, 28), "Ankle boot")
    assert data.test.tolist() == [*range(10, 20)]


@pytest.mark.skipif(not CATALOG["fashion-mnist"].find(), reason="Fashion-MNIST is not installed")
def test_fashion_mnist_is_the_published_dataset():
    data = read("fashion-mnist")
    assert data.x.shape == (70_000, 28, 28)
    assert data.classes[9] == "Ankle boot"
    assert np.bincount(data.labels).tolist() == [7_000] * 10


@needs_data
def test_omniglot_has_characters_and_alphabets():
    data = read("omniglot")
    assert (data.x.shape, len(data.classes), len(data.test)) == ((32_460, 28, 28), 1623, 13_180)
    assert len(read("omniglot", labels="alphabet").classes) == 50


# Downloads


@pytest.fixture
def serve(monkeypatch):
    """Return a function that sets the contents of the next download."""

    def set_contents(contents):
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(contents))

    return set_contents


@pytest.mark.parametrize("unpacked", [False, True])
def test_a_download_is_verified(tmp_path, serve, unpacked):
    contents = b"hello" * 1000
    served = gzip.compress(contents) if unpacked else contents
    serve(served)
    remote = Remote("a", URL, sha256(contents), unpacked)
    path = download.download(remote, tmp_path)
    assert path.read_bytes() == served
    verify(path, remote)
    serve(b"")  # the file exists, so it is not downloaded again
    assert download.download(remote, tmp_path).read_bytes() == served
    path.write_bytes(b"changed")
    with pytest.raises(VariedError, match="is corrupted or a different file"):
        verify(path, remote)


@pytest.mark.parametrize(
    ("contents", "message"),
    [(b"other", "its SHA-256 is not the expected one"), (b"x" * 2000, "larger than expected")],
)
def test_a_failed_download_leaves_no_file(tmp_path, serve, monkeypatch, contents, message):
    monkeypatch.setattr(download, "_MAX_BYTES", 1000)
    serve(contents)
    with pytest.raises(VariedError, match=message):
        download.download(Remote("b", URL, "0" * 64), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/cache"}, Path("/cache/varied")),
        ("linux", {}, Path.home() / ".cache" / "varied"),
        ("darwin", {}, Path.home() / "Library" / "Caches" / "varied"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/varied/Cache")),
    ],
)
def test_the_cache_folder_follows_the_platform(monkeypatch, platform, variables, expected):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download.sys, "platform", platform)
    assert cache_folder() == expected
