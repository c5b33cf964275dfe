"""Items, splits, batches and the catalog."""

import gzip
import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from varied.data import (
    CATALOG,
    Batches,
    RawData,
    catalog_rows,
    fit_codec,
    is_nearly_binary,
    iter_batches,
    read,
    split,
)
from varied.data import catalog as catalog_module
from varied.data.download import Remote, cache_folder, fetch
from varied.errors import VariedError

DATA = Path(os.environ.get("VARIED_DATA", "."))
needs_data = pytest.mark.skipif("VARIED_DATA" not in os.environ, reason="VARIED_DATA is not set")


def rows(n, **fields):
    return RawData(np.arange(n * 2, dtype=np.float32).reshape(n, 2), "array", **fields)


def test_take_keeps_what_belongs_to_a_row():
    items = rows(5, labels=np.arange(5), classes=tuple("abcde"), names=tuple("vwxyz"))
    some = items.take([3, 1])
    assert (some.labels.tolist(), some.names, some.classes) == ([3, 1], ("y", "w"), items.classes)
    marked = rows(5, test=np.array([1, 4])).take([4, 0, 1])
    assert marked.test.tolist() == [0, 2]


def test_digest_sees_values_shape_type_labels_and_classes():
    items = rows(5)
    others = [
        rows(6),
        RawData(items.x.reshape(5, 2, 1), "array"),
        RawData(items.x.astype(np.float64), "array"),
        rows(5, labels=np.arange(5)),
        rows(5, classes=("a",)),
    ]
    assert items.digest() == rows(5, names=tuple("abcde"), notes=("said",)).digest()
    assert len({i.digest() for i in [items, *others]}) == 6
    swapped = RawData(np.asfortranarray(items.x), "array")
    assert swapped.digest() == items.digest()


# splits


@settings(max_examples=50, deadline=None)
@given(st.integers(10, 3000), st.integers(0, 2**31), st.booleans())
def test_the_parts_are_disjoint_and_complete(n, seed, official):
    items = rows(n, test=np.arange(n // 3) if official else None)
    parts = split(items, seed=seed)
    everything = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(everything.tolist()) == list(range(n))
    assert min(len(parts.train), len(parts.validation), len(parts.test)) >= 1
    assert all((np.diff(p) > 0).all() for p in (parts.train, parts.validation, parts.test))
    if official:
        np.testing.assert_array_equal(parts.test, items.test)


def test_the_seed_draws_the_split():
    first, again, other = (split(rows(100), seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.test, again.test)
    assert first.test.tolist() != other.test.tolist()


def test_large_sets_hold_out_no_more_than_they_need():
    parts = split(rows(200_000))
    assert (len(parts.validation), len(parts.test)) == (5_000, 10_000)
    counted = split(rows(100), validation=7, test=9)
    assert (len(counted.validation), len(counted.test), len(counted.train)) == (7, 9, 84)


@pytest.mark.parametrize("options", [{"test": 100}, {"validation": 0}, {"test": -0.5}])
def test_splits_that_leave_nothing(options):
    with pytest.raises(VariedError, match="leaves no row"):
        split(rows(100), **options)


# batches


def test_a_batch_depends_on_seed_and_step_alone():
    x = torch.arange(103)[:, None]
    first, second = (Batches(x, size=10, seed=4) for _ in range(2))
    for step in (57, 3, 31, 9, 10):
        assert torch.equal(first.at(step).x, Batches(x, size=10, seed=4).at(step).x)
    assert torch.equal(second.at(57).x, first.at(57).x)
    assert not torch.equal(first.at(0).x, Batches(x, size=10, seed=5).at(0).x)


def test_an_epoch_sees_each_row_at_most_once_and_the_next_in_another_order():
    batches = Batches(torch.arange(103)[:, None], size=10, seed=0)
    assert batches.steps_per_epoch == 10
    epochs = [torch.cat([batches.at(e * 10 + i).x for i in range(10)]) for e in range(2)]
    assert all(len(e.unique()) == 100 for e in epochs)
    assert not torch.equal(*epochs)
    assert batches.epoch(25) == 2.5


def test_context_and_mask_go_with_their_rows():
    x = torch.arange(50, dtype=torch.uint8)[:, None]
    batch = Batches(x, x.float(), x > 3, size=8, seed=0).at(3)
    assert batch.x.dtype == torch.uint8
    assert torch.equal(batch.c, batch.x.float())
    assert torch.equal(batch.mask, batch.x > 3)


def test_fewer_rows_than_a_batch():
    batches = Batches(torch.arange(5)[:, None], size=64, seed=0)
    assert batches.steps_per_epoch == 1
    assert sorted(batches.at(7).x.ravel().tolist()) == list(range(5))


def test_batches_leave_torch_s_generator_as_it_was():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Batches(torch.zeros(9, 1), size=2, seed=3).at(5)
    assert torch.equal(torch.rand(1), expected)


def test_chunks_are_all_rows_in_order():
    x = torch.arange(23)[:, None]
    parts = list(iter_batches(x, x.float(), size=10))
    assert [len(p) for p in parts] == [10, 10, 3]
    assert torch.equal(torch.cat([p.x for p in parts]), x)
    assert torch.equal(torch.cat([p.c for p in parts]), x.float())


def test_batches_that_cannot_be():
    with pytest.raises(VariedError, match="is empty"):
        Batches(torch.zeros(0, 2), size=4, seed=0)
    with pytest.raises(VariedError, match="`c` has 3 rows and `x` has 5"):
        Batches(torch.zeros(5, 2), torch.zeros(3, 1), size=4, seed=0)
    with pytest.raises(VariedError, match="is empty"):
        list(iter_batches(torch.zeros(5, 2), size=0))


# the catalog


def test_mnist_ships_and_is_the_known_file():
    path = catalog_module.HERE / "mnist" / "mnist.npz"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == catalog_module.MNIST.sha256
    assert path.stat().st_size < 11.6e6
    items = read("mnist")
    assert items.x.shape == (70_000, 28, 28)
    assert np.bincount(items.labels[items.test]).tolist()[:3] == [980, 1135, 1032]
    assert items.classes[7] == "seven"
    assert items.source == "mnist"
    assert items.notes == ("70,000 gray pictures, 28x28; 10 classes; 10,000 official test rows.",)
    assert read("mnist", classes=list("abcdefghij")).classes[7] == "h"
    assert is_nearly_binary(items.x)
    parts = split(items)
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [55_000, 5_000, 10_000]
    assert fit_codec(items.take(parts.train)).shape == (1, 28, 28)


def test_the_catalog_lists_every_set():
    assert [r.name for r in catalog_rows()] == list(CATALOG)
    assert catalog_rows()[0].where == "in the package"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No set is installed, and there is no network."""
    monkeypatch.delenv("VARIED_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog_module, "DEBIAN", tmp_path / "debian")

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path


def test_without_a_network_the_message_says_where_to_put_the_file(nowhere):
    with pytest.raises(
        VariedError, match=r"no network\): fetch it elsewhere and put it at .*cifar10"
    ):
        read("cifar10")
    with pytest.raises(VariedError, match="VARIED_DATA"):
        read("omniglot")
    assert not [p for p in nowhere.rglob("*") if p.is_file()]


def test_unknown_names_are_met_with_the_nearest(nowhere, monkeypatch):
    monkeypatch.chdir(nowhere)
    with pytest.raises(VariedError, match="did you mean 'fashion-mnist'"):
        read("fashion-mnis")


class Answer:
    def __init__(self, contents):
        self.left = contents

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, n):
        block, self.left = self.left[:n], self.left[n:]
        return block


def test_a_fetched_file_is_checked_and_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    contents = b"hello" * 1000
    packed = gzip.compress(contents)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(packed))
    digest = hashlib.sha256(contents).hexdigest()
    path = fetch(Remote("a.gz", "https://example.org/a.gz", digest, unpacked=True), tmp_path)
    assert path.read_bytes() == packed
    with pytest.raises(VariedError, match="another file than the one that is known"):
        fetch(Remote("b.gz", "https://example.org/b.gz", "0" * 64), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz"]


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "varied"


def test_cifar10_unpacked_and_from_its_archive(nowhere, monkeypatch):
    monkeypatch.setenv("VARIED_DATA", str(nowhere))
    folder = nowhere / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    record = np.zeros((10_000, 3073), np.uint8)
    record[:, 0] = np.arange(10_000) % 10
    record[:, 1:1025] = 200  # red comes first
    for name in catalog_module.CIFAR_FILES:
        (nowhere / "cifar10" / name).write_bytes(record.tobytes())
    items = read("cifar10")
    assert items.x.shape == (60_000, 32, 32, 3)
    assert items.x[0, 0, 0].tolist() == [200, 0, 0]
    assert items.classes[3] == "cat"
    assert len(items.test) == 10_000
    (nowhere / "cifar10" / catalog_module.CIFAR_FILES[2]).write_bytes(b"short")
    with pytest.raises(VariedError, match="cut short"):
        read("cifar10")
    for name in catalog_module.CIFAR_FILES:
        (nowhere / "cifar10" / name).unlink()
    (nowhere / "cifar10" / catalog_module.CIFAR.name).write_bytes(b"no archive")
    with pytest.raises(VariedError, match="its SHA-256 is not the one that is known"):
        read("cifar10")


@pytest.mark.skipif(
    not CATALOG["fashion-mnist"].find(), reason="Fashion-MNIST is not on this machine"
)
def test_fashion_mnist_is_the_known_one():
    items = read("fashion-mnist")
    assert items.x.shape == (70_000, 28, 28)
    assert items.classes[9] == "Ankle boot"
    assert np.bincount(items.labels).tolist() == [7_000] * 10


@needs_data
def test_omniglot_by_character_and_by_alphabet():
    items = read("omniglot")
    assert (items.x.shape, len(items.classes), len(items.test)) == ((32_460, 28, 28), 1623, 13_180)
    assert len(read("omniglot", labels="alphabet").classes) == 50


@needs_data
def test_real_folders_and_tables():
    faces = read(DATA / "faces" / "lfwcrop_4000.zip")
    assert faces.x.shape == (4_000, 64, 64, 3)
    beats = read(DATA / "ecg5000" / "ecg5000.npz")
    assert (len(beats.test), beats.classes) == (4_500, ("1", "2", "3", "4", "5"))
    assert fit_codec(beats).domain == "real"
    adult = read(DATA / "adult" / "adult_test.csv.gz")
    assert (adult.kind, adult.x.shape) == ("table", (16_281, 15))
    back = fit_codec(adult).decode(fit_codec(adult).encode(adult))
    assert (back["fnlwgt"] == adult.x["fnlwgt"]).all()
    assert back["workclass"].equals(adult.x["workclass"])
