"""Arrays, tensors, datasets, npy, npz and idx files: read as what they are, or refused."""

import contextlib
import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from varied.data import fit_codec, memory, read, split
from varied.data.labels import parse_labels
from varied.errors import VariedError

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (12, 9, 11), dtype=np.uint8)
COLOUR = rng.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
REAL = rng.normal(size=(12, 5))


# what an array is


def test_gray_and_color_pictures():
    assert read(GREY).kind == "image"
    np.testing.assert_array_equal(read(COLOUR).x, COLOUR)
    np.testing.assert_array_equal(read(GREY[..., None]).x, GREY)
    np.testing.assert_array_equal(read(np.moveaxis(COLOUR, -1, 1)).x, COLOUR)


def test_transparency_is_laid_on_white():
    clear = np.zeros((12, 9, 11, 4), np.uint8)
    clear[..., :3] = 7
    items = read(clear)
    assert (items.x == 255).all()
    assert items.notes[1:] == ("Transparency was laid on white.",)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_whole_numbers_up_to_255_are_pictures(dtype):
    items = read(GREY.astype(dtype))
    np.testing.assert_array_equal(items.x, GREY)
    assert "8 bits" in items.notes[1]


def test_multiples_of_a_255th_are_pictures():
    np.testing.assert_array_equal(read(COLOUR / np.float32(255)).x, COLOUR)


def test_unit_floats_keep_a_picture_s_shape():
    items = read(rng.random((12, 9, 11)))
    assert (items.kind, items.x.shape, items.x.dtype) == ("array", (12, 1, 9, 11), np.float32)
    assert fit_codec(items).domain == "unit-interval"
    assert read(rng.random((12, 9, 11, 3))).x.shape == (12, 3, 9, 11)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float64])
def test_zeros_and_ones_are_binary(dtype):
    items = read((GREY > 127).astype(dtype))
    assert items.x.shape == (12, 1, 9, 11)
    assert fit_codec(items).domain == "binary"
    assert fit_codec(read((REAL > 0).astype(dtype))).domain == "binary"


def test_vectors_series_and_single_numbers():
    assert fit_codec(read(REAL)).domain == "real"
    assert read(rng.normal(size=(12, 3, 40))).x.shape == (12, 3, 40)
    assert read(np.arange(12)).x.shape == (12, 1)
    assert read(np.arange(60).reshape(12, 5)).x.dtype == np.float32
    assert read([[1.0, 2.0]] * 12).x.shape == (12, 2)


def test_tensors_are_channels_first():
    tensor = torch.from_numpy(np.moveaxis(COLOUR, -1, 1).copy())
    np.testing.assert_array_equal(read(tensor).x, COLOUR)
    assert read(torch.rand(12, 3, 4, 3, requires_grad=True)).x.shape == (12, 3, 4, 3)
    assert read(torch.rand(12, 5, dtype=torch.bfloat16)).x.dtype == np.float32


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((0, 5)), "is empty, of shape"),
        (np.zeros((12, 0)), "is empty"),
        (np.float64(3.0).reshape(()), "single number"),
        (np.array([[1], [1, 2]] * 6, dtype=object), "ragged or holds Python objects"),
        ([[1], [1, 2]] * 6, "ragged"),
        (np.array(["a"] * 12), "and not numbers"),
        (np.zeros((12, 2), complex), "and not numbers"),
        (torch.zeros(12, 2, dtype=torch.complex64), "complex"),
        (np.full((12, 2), 1e300), "infinity"),
        (np.zeros((9, 2)), "There are 9 rows"),
        (object(), "A object cannot be read"),
        ((REAL, REAL, REAL), "A tuple is"),
        (3, "A int cannot be read"),
        (None, "A NoneType cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(x, says):
    with pytest.raises(VariedError, match=says):
        read(x)


def test_a_gap_is_named_by_row_and_column():
    x = REAL.copy()
    x[7, 3] = x[8, 1] = np.nan
    says = r"The array has NaN in row 7, column 3 \(and 1 more\): fill them or drop the rows\."
    with pytest.raises(VariedError, match=says):
        read(x)
    x[2, 0] = np.inf
    with pytest.raises(VariedError, match="infinity in row 2, column 0"):
        read(x)


def test_size_is_for_pictures():
    assert read(GREY, image_size=16).x.shape == (12, 16, 16)
    with pytest.raises(VariedError, match="these are arrays"):
        read(REAL, image_size=16)


def test_items_come_back_as_they_are():
    items = read(REAL)
    assert read(items) is items


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        dtype=st.one_of(
            hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes(),
            hnp.boolean_dtypes(), hnp.complex_number_dtypes(), hnp.unicode_string_dtypes(),
        ),
        shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=12),
    )
)  # fmt: skip
def test_any_array_is_read_and_encoded_or_refused(x):
    try:
        items = read(x, min_rows=3)
        codec = fit_codec(items.take(split(items).train))
        stored = codec.encode(items)  # a held-out row may leave the domain of the training rows
    except VariedError:
        return
    assert codec.load(stored).isfinite().all()
    assert codec.decode(codec.load(stored)).shape[0] == len(items)


# labels


@pytest.mark.parametrize(
    ("labels", "indices", "classes"),
    [
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (["b", None, ""], [0, -1, -1], ("b",)),
        (np.array([b"x", b"y", b"x"]), [0, 1, 0], ("x", "y")),
        ([3, 5, 3], [0, 1, 0], ("3", "5")),
        ([0, -1, 1], [0, -1, 1], ("0", "1")),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        ([True, False, True], [1, 0, 1], ("0", "1")),
        (torch.tensor([[0], [1], [1]]), [0, 1, 1], ("0", "1")),
    ],
)
def test_labels_become_classes(labels, indices, classes):
    got, names = parse_labels(labels, 3)
    assert (got.tolist(), names) == (indices, classes)
    assert got.dtype == np.int64


def test_labels_become_numbers():
    got, names = parse_labels([0.5, float("nan"), 2.0], 3)
    assert (got.dtype, got.shape, names) == (np.float32, (3,), ())
    assert parse_labels(REAL, 12)[0].shape == (12, 5)
    assert parse_labels(np.arange(200), 200)[1] == ()


def test_named_classes():
    assert parse_labels([1, 0, -1], 3, ["cat", "dog"])[1] == ("cat", "dog")
    assert parse_labels(["dog", "cat", "dog"], 3, ["cat", "dog"])[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "classes", "says"),
    [
        ([1, 2], None, "3 rows and 2 labels"),
        (7, None, "one value"),
        ([[1], [1, 2], []], None, "ragged"),
        ([0, 1, 2], ["a", "b"], "from 0 to 2 and there are 2 classes"),
        (["a", "b", "z"], ["a", "b"], "'z' is none of the classes a, b"),
        ([0.1, float("inf"), 1], None, "row 1 is infinite"),
        ([1j, 2j, 3j], None, "are not read"),
        ([["a", "b"]] * 3, None, "several labels"),
    ],
)
def test_labels_that_cannot_be(labels, classes, says):
    with pytest.raises(VariedError, match=says):
        parse_labels(labels, 3, classes)


# datasets


class Listed(Dataset):
    def __init__(self, rows, classes=None):
        self.rows = rows
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def test_tensor_dataset():
    y = torch.arange(12) % 3
    items = read(TensorDataset(torch.from_numpy(REAL), y))
    assert items.x.shape == (12, 5)
    assert items.classes == ("0", "1", "2")
    assert read(TensorDataset(torch.from_numpy(REAL))).labels is None


def test_dataset_of_tensors_as_torchvision_makes_them():
    rows = [
        (torch.from_numpy(x).permute(2, 0, 1).float() / 255, i % 2) for i, x in enumerate(COLOUR)
    ]
    items = read(Listed(rows, ["cat", "dog"]))
    np.testing.assert_array_equal(items.x, COLOUR)
    assert items.classes == ("cat", "dog")


def test_dataset_of_pictures_and_of_bare_arrays():
    np.testing.assert_array_equal(read(Listed([(Image.fromarray(x), 0) for x in COLOUR])).x, COLOUR)
    np.testing.assert_allclose(read(Listed(list(REAL))).x, REAL, rtol=1e-6)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (Listed([]), "is empty"),
        (Listed([torch.zeros(3)] * 5 + [torch.zeros(4)] * 9), r"Row 5 .* shape \(4,\) and row 0"),
        (Listed([{"x": 1}] * 12), "Row 0 of the dataset is a dict"),
        (Stream(), "has no length"),
    ],
)
def test_datasets_that_cannot_be_read(dataset, says):
    with pytest.raises(VariedError, match=says):
        read(dataset)


# npy and npz


def test_npy_in_both_orders(tmp_path):
    for i, x in enumerate((COLOUR, np.asfortranarray(COLOUR), COLOUR.astype(">i4"))):
        path = tmp_path / f"with space {i}.npy"
        np.save(path, x)
        np.testing.assert_array_equal(read(path).x, COLOUR)


@pytest.mark.parametrize("x", ["x", "X", "data", "images", "x_train", "strange"])
@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_npz_by_name(tmp_path, x, pack):
    pack(tmp_path / "a.npz", **{x: GREY})
    np.testing.assert_array_equal(read(tmp_path / "a.npz").x, GREY)


@pytest.mark.parametrize("y", ["y", "labels", "target"])
def test_npz_with_labels(tmp_path, y):
    np.savez(tmp_path / "a.npz", X=REAL, **{y: np.arange(12) % 2}, other=GREY)
    items = read(tmp_path / "a.npz")
    assert items.classes == ("0", "1")
    other = read(tmp_path / "a.npz", labels=["p", "q"] * 6)
    assert other.classes == ("p", "q")


@pytest.mark.parametrize("names", ["{}_train {}_test", "train_{} test_{}"])
def test_npz_with_an_official_test_part(tmp_path, names):
    train, test = names.split()
    np.savez(
        tmp_path / "a.npz",
        **{train.format("x"): REAL[:8], test.format("x"): REAL[8:]},
        **{train.format("y"): np.arange(8) % 2, test.format("y"): np.arange(4) % 2},
        **{train.format("size"): np.arange(8) / 3, test.format("size"): np.arange(4) / 3},
        classes=np.array(["no", "yes"]),
    )
    items = read(tmp_path / "a.npz")
    assert items.test.tolist() == [8, 9, 10, 11]
    assert items.classes == ("no", "yes")
    assert read(tmp_path / "a.npz", labels="size").labels.dtype == np.float32
    assert split(items).test.tolist() == [8, 9, 10, 11]


def test_npz_that_does_not_say_which(tmp_path):
    np.savez(tmp_path / "a.npz", first=REAL, second=REAL)
    with pytest.raises(VariedError, match=r"it holds first, second; save the rows as x\."):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=REAL)
    with pytest.raises(VariedError, match="has no labels 'color': it holds x"):
        read(tmp_path / "b.npz", labels="color")


def test_objects_are_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('code ran')",))

    np.save(tmp_path / "a.npy", np.array([Evil()] * 12, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=np.array([Evil()] * 12, dtype=object))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(VariedError, match="could run code"):
            read(tmp_path / name)


def test_an_npy_that_claims_more_than_it_holds(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", REAL)
    whole = (tmp_path / "a.npy").read_bytes()
    large = io.BytesIO()
    header = {"shape": (10**12, 5), "fortran_order": False, "descr": "<f8"}
    np.lib.format.write_array_header_1_0(large, header)
    for name, contents in zip("bcde", (large.getvalue(), whole[:-8], whole[:20], b""), strict=True):
        (tmp_path / f"{name}.npy").write_bytes(contents)
        with pytest.raises(VariedError, match=rf"{name}\.npy"):
            read(tmp_path / f"{name}.npy")
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(VariedError, match=r"a\.npy would take"):
        read(tmp_path / "a.npy")


def test_an_npz_bomb_is_measured_before_it_is_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    monkeypatch.setattr(memory, "free_memory", lambda: 2**20)
    with pytest.raises(VariedError, match=r"a\.npz\[x\] would take"):
        read(tmp_path / "a.npz")


def test_damaged_npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=REAL)
    whole = (tmp_path / "a.npz").read_bytes()
    for keep in (0, 30, 200, len(whole) - 5):
        (tmp_path / "b.npz").write_bytes(whole[:keep])
        with pytest.raises(VariedError, match=r"b\.npz is damaged"):
            read(tmp_path / "b.npz")
    flipped = bytearray(whole)
    flipped[150] ^= 255
    (tmp_path / "b.npz").write_bytes(flipped)
    with pytest.raises(VariedError, match=r"b\.npz"):
        read(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as z:
        z.writestr("x.npy", "hello")
    with pytest.raises(VariedError, match="no array of NumPy"):
        read(tmp_path / "c.npz")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(1, 255))
def test_any_changed_byte_of_an_npy_is_read_or_refused(tmp_path_factory, position, flip):
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, REAL)
    contents = bytearray(path.read_bytes())
    contents[position % len(contents)] ^= flip
    path.write_bytes(contents)
    with contextlib.suppress(VariedError):
        read(path)


# idx


def idx(x):
    codes = {"uint8": 8, "int16": 11, "float32": 13}
    head = struct.pack(">BBBB", 0, 0, codes[str(x.dtype)], x.ndim)
    return (
        head + struct.pack(f">{x.ndim}I", *x.shape) + x.astype(x.dtype.newbyteorder(">")).tobytes()
    )


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_with_the_labels_beside_it(tmp_path, suffix):
    pack = gzip.compress if suffix else bytes
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx(GREY)))
    assert read(tmp_path / f"train-images-idx3-ubyte{suffix}").labels is None
    y = np.arange(12, dtype=np.uint8) % 4
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(y)))
    items = read(tmp_path / f"train-images-idx3-ubyte{suffix}")
    np.testing.assert_array_equal(items.x, GREY)
    assert items.labels.tolist() == y.tolist()


def test_a_summary_is_the_first_note(tmp_path):
    assert read(COLOUR).notes[0] == "12 color pictures, 9x11."
    np.savez(tmp_path / "a.npz", x_train=REAL[:9], x_test=REAL[9:])
    assert read(tmp_path / "a.npz").notes[0] == "12 rows of 5 numbers; 3 official test rows."


def test_idx_folder_has_the_official_test_part(tmp_path):
    for part, rows in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        y = np.arange(12, dtype=np.uint8)[rows] % 2
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(GREY[rows]))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(y)))
    items = read(tmp_path, classes=["even", "odd"])
    np.testing.assert_array_equal(items.x, GREY)
    assert items.test.tolist() == [8, 9, 10, 11]
    assert items.classes == ("even", "odd")
    assert read(tmp_path, labels=["a"] * 12).classes == ("a",)


def test_damaged_idx(tmp_path):
    path = tmp_path / "a-idx3-ubyte"
    for contents in (idx(GREY)[:-5], idx(GREY) + b"x", idx(GREY)[:9]):
        path.write_bytes(contents)
        with pytest.raises(VariedError, match="cut short or damaged"):
            read(path)
    packed = tmp_path / "b-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(idx(GREY))[:-40])
    with pytest.raises(VariedError, match=r"b-idx3-ubyte\.gz"):
        read(packed)


# paths


def test_paths_that_cannot_be_read(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("data.xlsx", "sound.wav", "model.pt", "notes.md", "bare"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    cases = {
        "phtos": "There is no .*did you mean 'photos'",
        "data.xlsx": "save it as .csv",
        "sound.wav": "is a sound",
        "model.pt": "is a pickle, which can run any code",
        "notes.md": "is not in a format that is read",
        "bare": "is not in a format that is read",
        "no/such": "is not there either",
        "a\0b": "There is no",
        "n" * 300: "cannot be read",
    }
    for name, says in cases.items():
        with pytest.raises(VariedError, match=says):
            read(tmp_path / name)


def test_among_many_files_the_nearest_is_found_and_few_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in range(100):
        (tmp_path / f"note-{n:02d}.txt").touch()
    (tmp_path / "zebras.csv").write_text("a,b\n1,2\n")
    for path in ("zebra.csv", "zebrs", tmp_path / "zebra.csv"):
        with pytest.raises(VariedError, match=r"did you mean 'zebras.csv'\?"):
            read(path)
    with pytest.raises(VariedError, match=r"choose from mnist, .* and 101 more"):
        read("qqq")
    with pytest.raises(VariedError, match=r"note-19\.txt and 81 more"):
        read("qqq.csv")


def test_the_name_of_a_file_is_told_as_it_is_written(tmp_path):
    x = np.ones((20, 3), np.float32)
    x[3, 2] = np.nan
    np.save(tmp_path / "small.npy", x)
    with pytest.raises(VariedError, match=r"^small\.npy has NaN in row 3, column 2"):
        read(tmp_path / "small.npy")
