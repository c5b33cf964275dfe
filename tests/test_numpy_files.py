"""NumPy files: named arrays, and corrupted, malicious and large files."""

import contextlib
import io
import zipfile

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from varied.data import memory, read, split
from varied.data.numpy_files import Npz
from varied.errors import VariedError

rng = np.random.default_rng(0)
GRAY = rng.integers(0, 256, (12, 9, 11), dtype=np.uint8)
COLOR = rng.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
REAL = rng.normal(size=(12, 5))


@pytest.fixture
def save(tmp_path):
    """Return a function that writes arrays to an .npz file and returns its path."""

    def write(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    return write


@pytest.mark.parametrize("x", [COLOR, np.asfortranarray(COLOR), COLOR.astype(">i4")])
def test_npy_files_of_any_memory_order(tmp_path, x):
    path = tmp_path / "with space.npy"
    np.save(path, x)
    np.testing.assert_array_equal(read(path).x, COLOR)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_series_with_missing_values_are_read(tmp_path, ending):
    series = rng.normal(size=(12, 2, 30)).astype(np.float32)
    series[3, 1, 7] = series[5] = np.nan
    path = tmp_path / f"a.{ending}"
    np.save(path, series) if ending == "npy" else np.savez(path, x=series)
    np.testing.assert_array_equal(read(path).x, series)


@pytest.mark.parametrize("name", ["x", "X", "data", "images", "x_train", "train_x", "other"])
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_rows_of_npz_files_are_found_by_name(tmp_path, name, write):
    write(tmp_path / "a.npz", **{name: GRAY})
    np.testing.assert_array_equal(read(tmp_path / "a.npz").x, GRAY)


@pytest.mark.parametrize("name", ["y", "labels", "target"])
def test_labels_of_npz_files_are_found_by_name(save, name):
    path = save(X=REAL, **{name: np.arange(12) % 2}, other=GRAY)
    assert read(path).classes == ("0", "1")
    assert read(path, labels=["p", "q"] * 6).classes == ("p", "q")


@pytest.mark.parametrize("pattern", ["{}_train {}_test", "train_{} test_{}"])
def test_test_arrays_of_npz_files_are_official_test_rows(save, pattern):
    train, test = pattern.split()
    path = save(
        **{train.format("x"): REAL[:8], test.format("x"): REAL[8:]},
        **{train.format("y"): np.arange(8) % 2, test.format("y"): np.arange(4) % 2},
        **{train.format("size"): np.arange(8) / 3, test.format("size"): np.arange(4) / 3},
        classes=np.array(["no", "yes"]),
    )
    data = read(path)
    assert data.test.tolist() == [8, 9, 10, 11]
    assert data.classes == ("no", "yes")
    assert read(path, labels="size").labels.dtype == np.float32
    assert split(data).test.tolist() == [8, 9, 10, 11]


def test_several_arrays_of_npz_files_may_be_labels(save):
    path = save(x=REAL, batch=np.arange(12) % 2, pose=np.ones((12, 2)), classes=np.array(["a"]))
    data = read(path, labels="batch,pose")
    assert list(data.covariates) == ["batch", "pose 1", "pose 2"]
    assert data.covariates["batch"][1] == ("0", "1")
    assert list(read(path, labels=["batch"]).covariates) == ["batch"]


def test_a_single_array_is_not_its_own_label(save):
    assert read(save(y=REAL)).labels is None


def test_too_few_class_names_are_ignored(save):
    path = save(x=REAL, y=np.arange(12) % 3, classes=np.array(["no", "yes"]))
    assert read(path).classes == ("0", "1", "2")


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_matrices_are_read_as_rows(tmp_path, form):
    x = np.random.default_rng(0).poisson(0.5, (20, 6)).astype(float)
    matrix = scipy.sparse.csr_matrix(x).asformat(form)
    scipy.sparse.save_npz(tmp_path / "a.npz", matrix)
    for source in (tmp_path / "a.npz", matrix, scipy.sparse.csr_array(x)):
        data = read(source)
        assert data.kind == "array"
        np.testing.assert_array_equal(data.x, x)
    labels = np.arange(20) % 2
    assert read(tmp_path / "a.npz", labels=labels).classes == ("0", "1")


def test_corrupted_sparse_matrices_are_refused(save):
    parts = {"format": np.array(b"csr"), "shape": [2, 3], "data": np.ones(2)}
    with pytest.raises(VariedError, match="not a valid sparse matrix"):
        read(save(**parts, indices=np.array([0, 9]), indptr=np.array([0, 1])))


@pytest.mark.parametrize(
    ("arrays", "labels", "message"),
    [
        ({"a": REAL, "b": REAL}, None, r"the file contains a, b\. Save the rows as x\."),
        ({"x": REAL}, "color", r"no array of labels named 'color'; .* \(the file contains x\)"),
        ({"x": REAL, "y": REAL[:, 0]}, "x", r"'x' contains the rows, .* contains x, y\)"),
        ({"x": REAL, "y": REAL[:, 0]}, "y,x", "'x' contains the rows"),
        ({"x_train": REAL, "x_test": REAL}, "x", "'x' contains the rows"),
        ({"x_train": REAL, "x_test": REAL[:, :3]}, None, "have different shapes"),
    ],
)
def test_npz_files_without_suitable_arrays_are_refused(save, arrays, labels, message):
    with pytest.raises(VariedError, match=message):
        read(save(**arrays), labels=labels)


def test_an_unknown_array_is_refused_with_the_nearest(save):
    with (
        Npz(save(images=GRAY)) as npz,
        pytest.raises(VariedError, match="no array 'imags': did you mean 'images'"),
    ):
        npz["imags"]


class Malicious:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_objects_are_never_unpickled(tmp_path, name):
    objects = np.array([Malicious()] * 12, dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=objects)
    with pytest.raises(VariedError, match="can run code"):
        read(tmp_path / name)


def npy_header(shape):
    file = io.BytesIO()
    header = {"shape": shape, "fortran_order": False, "descr": "<f8"}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def npy(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (npy_header((10**12, 5)), "is truncated"),
        (npy(REAL)[:-8], "is truncated"),
        (npy(REAL)[:20], "is corrupted or not a NumPy array"),
        (b"", "is corrupted or not a NumPy array"),
    ],
    ids=["a large header", "a short end", "a short header", "an empty file"],
)
def test_truncated_npy_files_are_refused(tmp_path, contents, message):
    (tmp_path / "a.npy").write_bytes(contents)
    with pytest.raises(VariedError, match=rf"a\.npy {message}"):
        read(tmp_path / "a.npy")


def test_arrays_larger_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", REAL)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(VariedError, match=r"a\.npy would take"):
        read(tmp_path / "a.npy")
    with pytest.raises(VariedError, match=r"a\.npz\[x\] would take"):
        read(tmp_path / "a.npz")


def test_damaged_npz_files_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=REAL)
    contents = (tmp_path / "a.npz").read_bytes()
    path = tmp_path / "b.npz"
    for n_bytes in (0, 30, 200, len(contents) - 5):
        path.write_bytes(contents[:n_bytes])
        with pytest.raises(VariedError, match=r"b\.npz is corrupted"):
            read(path)
    x = rng.normal(size=5000)
    np.savez(path, x=x)
    path.write_bytes(path.read_bytes().replace(x[4000:4001].tobytes(), bytes(8)))
    with pytest.raises(VariedError, match=r"b\.npz\[x\] is corrupted; create or download it again"):
        read(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", "hello")
    with pytest.raises(VariedError, match="not a NumPy array"):
        read(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(1, 255))
def test_an_npy_file_with_any_changed_byte_is_read_or_refused(tmp_path_factory, position, flip):
    contents = bytearray(npy(REAL))
    contents[position % len(contents)] ^= flip
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    path.write_bytes(contents)
    with contextlib.suppress(VariedError):
        read(path)
