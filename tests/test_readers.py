"""The function `read`: sources, labels, options and paths that cannot be read."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from varied.data import codec_of, fit_codec, read
from varied.errors import VariedError

rng = np.random.default_rng(0)
GRAY = rng.integers(0, 256, (12, 9, 11), dtype=np.uint8)
COLOR = rng.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
REAL = rng.normal(size=(12, 5))
FRAME = pd.DataFrame(
    {
        "a": np.arange(12) / 4,
        "kind": ["x", "y", None] * 4,
        "n": [1, 2, 3] * 4,
        "nullable": pd.array([1, 2, None] * 4, dtype="Int64"),
        "time": pd.date_range("2024-01-01", periods=12),
    }
)
DATA = Path(os.environ.get("VARIED_DATA", "."))


@pytest.mark.parametrize(
    ("source", "kind", "summary"),
    [
        (COLOR, "image", "12 color images, 9x11."),
        (GRAY, "image", "12 gray images, 9x11."),
        (REAL, "array", "12 rows of 5 numbers."),
        (FRAME, "table", "12 rows of 5 columns."),
        ((REAL, ["a", "b"] * 6), "array", "12 rows of 5 numbers; 2 classes."),
    ],
)
def test_the_first_note_is_a_summary(source, kind, summary):
    data = read(source)
    assert (data.kind, data.notes[0], data.source) == (kind, summary, None)
    assert codec_of(data).kind == kind


def test_the_summary_counts_official_test_rows(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=REAL[:9], x_test=REAL[9:])
    data = read(tmp_path / "a.npz")
    assert data.notes[0] == "12 rows of 5 numbers; 3 official test rows."
    assert data.source == str((tmp_path / "a.npz").resolve())


def test_raw_data_is_returned_unchanged():
    data = read(REAL)
    assert read(data) is data


def test_image_size_resizes_images_and_is_refused_for_other_data():
    data = read(GRAY, image_size=16)
    assert data.x.shape == (12, 16, 16)
    assert data.notes == ("12 gray images, 16x16.", "Resized to 16x16, as requested.")
    assert len(read(GRAY, image_size=(9, 11)).notes) == 1
    assert read(read(GRAY), image_size=8).x.shape == (12, 8, 8)
    for source in (REAL, FRAME):
        with pytest.raises(VariedError, match=r"image_size= is not an option of .* data; omit it"):
            read(source, image_size=16)
    with pytest.raises(
        VariedError, match="image_siz= is not an option of image data: did you mean 'image_size'"
    ):
        read(GRAY, image_siz=16)


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        ("kind", [0, 1, -1], ("x", "y")),
        ("n", [0, 1, 2], ("1", "2", "3")),
        ("a", [0.0, 0.25, 0.5], ()),
        ("nullable", [1.0, 2.0, np.nan], ()),
        (["p", "q", "r"] * 4, [0, 1, 2], ("p", "q", "r")),
    ],
)
def test_labels_of_a_table_may_be_a_column(labels, expected, classes):
    data = read(FRAME, labels=labels)
    np.testing.assert_array_equal(data.labels[:3], expected)
    assert data.classes == classes
    assert list(data.x.columns) == list(FRAME.columns)


@pytest.mark.parametrize("labels", ["kind,n,a", ["kind", "n", "a"], ("kind", "n", "a")])
def test_several_columns_of_a_table_may_be_labels(labels):
    data = read(FRAME, labels=labels)
    assert (data.labels.dtype, data.classes) == (np.float32, ())
    kind, n, a = data.covariates.values()
    assert kind[0][:3].tolist() == [0, 1, -1]
    assert (kind[1], n[1], a[1]) == (("x", "y"), ("1", "2", "3"), ())
    np.testing.assert_array_equal(a[0][:3], [0.0, 0.25, 0.5])
    assert data.notes[0].endswith("; covariates kind (2 classes), n (3 classes), a (numbers).")


@pytest.mark.parametrize(
    ("source", "labels", "message"),
    [
        (FRAME, ["kind", "tme"], "no column 'tme': did you mean 'time'"),
        (FRAME, "kind,knd", "no column 'knd': did you mean 'kind'"),
        (FRAME, "knd", "no column 'knd': did you mean 'kind'"),
        (FRAME, "time", "'time' contains dates"),
        ((REAL, REAL, REAL), None, r"A tuple must be \(x, labels\).* of length 3"),
        ((REAL, ["a"] * 12), ["b"] * 12, "cannot be combined with `labels`"),
        (object(), None, "An object of type object cannot be read"),
        (3, None, "type int cannot be read"),
        (None, None, "type NoneType cannot be read"),
    ],
)
def test_unsuitable_sources_are_refused(source, labels, message):
    with pytest.raises(VariedError, match=message):
        read(source, labels=labels)


def test_a_few_rows_are_enough_if_they_are_requested(tmp_path):
    Image.fromarray(COLOR[0]).save(tmp_path / "a.png")
    assert len(read(REAL[:3], min_rows=3)) == 3
    assert read(tmp_path / "a.png", min_rows=1).x.shape == (1, 9, 11, 3)
    with pytest.raises(VariedError, match="There are 3 rows, but at least 10 are required"):
        read(REAL[:3])


# Paths


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phtos", "There is no .*did you mean 'photos'"),
        ("data.xlsx", "save it as .csv"),
        ("sound.mp3", "convert the recording to .wav"),
        ("model.pt", "is a pickle, which can run arbitrary code"),
        ("notes.md", r"The format of notes\.md is not supported"),
        ("bare", "The format of bare is not supported"),
        ("bare.gz", "The format of bare.gz is not supported"),
        ("no/such", "the folder '.*no' does not exist"),
        ("photos/a.csv", "'.*photos' is empty"),
        ("a\0b", "There is no"),
        ("n" * 300, "cannot be read"),
        ("pipe", "is neither a file nor a folder"),
    ],
)
def test_paths_that_cannot_be_read(tmp_path, name, message):
    (tmp_path / "photos").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for file in ("data.xlsx", "sound.mp3", "model.pt", "notes.md", "bare", "bare.gz"):
        (tmp_path / file).write_text("a,b\n1,2\n")
    with pytest.raises(VariedError, match=message):
        read(tmp_path / name)


def test_a_missing_path_suggests_the_nearest_and_lists_few(tmp_path, monkeypatch):
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
    with pytest.raises(VariedError, match="did you mean 'fashion-mnist'"):
        read("fashion-mnis")


def test_messages_keep_the_case_of_file_names(tmp_path):
    x = np.ones((20, 3), np.float32)
    x[3, 2] = np.inf
    np.save(tmp_path / "small.npy", x)
    with pytest.raises(VariedError, match=r"^small\.npy contains infinity in row 3, column 2"):
        read(tmp_path / "small.npy")


@pytest.mark.skipif("VARIED_DATA" not in os.environ, reason="VARIED_DATA is not set")
def test_real_folders_and_tables():
    assert read(DATA / "faces" / "lfwcrop_4000.zip").x.shape == (4_000, 64, 64, 3)
    beats = read(DATA / "ecg5000" / "ecg5000.npz")
    assert (len(beats.test), beats.classes) == (4_500, ("1", "2", "3", "4", "5"))
    assert fit_codec(beats).domain == "real"
    adult = read(DATA / "adult" / "adult_test.csv.gz")
    assert (adult.kind, adult.x.shape) == ("table", (16_281, 15))
    codec = fit_codec(adult)
    decoded = codec.decode(codec.encode(adult))
    assert (decoded["fnlwgt"] == adult.x["fnlwgt"]).all()
    assert decoded["workclass"].equals(adult.x["workclass"])
