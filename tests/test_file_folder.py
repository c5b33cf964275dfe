"""Folders and zip files: labels, splits, and unreadable and malicious files."""

import io
import os
import stat
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from varied.data import archive, memory, read
from varied.errors import VariedError


def image(seed=0, size=(16, 16)):
    shape = (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encode(image, file_format="PNG"):
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def save_images(root, names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image(i).save(root / name)
    return root


@pytest.fixture
def folder(tmp_path):
    """Return a folder with twelve color images in two folders."""
    names = [f"{'cats' if i % 2 else 'dogs ü'}/{i:02d}.png" for i in range(12)]
    return save_images(tmp_path / "my photos é", names)


def test_options_of_other_kinds_of_data_are_rejected(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(VariedError, match="sample_rate= is not an option of image data"):
        read(tmp_path, sample_rate=8000)


def test_a_pattern_selects_labels_from_the_names_of_images(tmp_path):
    for name in ("cat_1", "dog_1", "cat_2"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    data = read(tmp_path, labels="{animal}_{index}", min_rows=1)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1]
    assert data.label_names == ("animal",)


def test_a_folder_has_images_labels_and_names(folder):
    data = read(folder)
    assert data.kind == "image"
    assert (data.x.shape, data.x.dtype) == ((12, 16, 16, 3), np.uint8)
    assert data.classes == ("cats", "dogs ü")
    assert data.names[0] == "cats/01.png"
    assert data.names == tuple(sorted(data.names))
    assert data.source == str(folder.resolve())
    np.testing.assert_array_equal(data.x[0], np.asarray(image(1)))
    assert data.notes == ("12 color images, 16x16; 2 classes.",)
    assert read(folder, classes=["dogs ü", "cats"]).labels[0] == 1


def test_the_digest_of_a_folder_depends_on_its_images(folder):
    digest = read(folder).digest()
    assert read(str(folder)).digest() == digest
    image(99).save(folder / "cats" / "01.png")
    assert read(folder).digest() != digest


def test_a_zip_file_is_read_like_its_folder(folder, tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as file:
        for member in folder.rglob("*.png"):
            file.write(member, member.relative_to(folder))
        file.writestr("__MACOSX/cats/._01.png", b"resource fork")
    assert read(path).digest() == read(folder).digest()
    assert not read(path).problems


@pytest.mark.parametrize(
    ("pattern", "classes"),
    [
        ("root/person {k}/{i}.png", ("person 0", "person 1", "person 2")),
        ("{i}.png", ()),
        ("root/{i}.png", ()),
        ("train/{i}.png", ()),
    ],
)
def test_the_inner_folders_are_labels(tmp_path, pattern, classes):
    names = [pattern.format(i=i, k=i % 3) for i in range(12)]
    data = read(save_images(tmp_path / "x", names))
    assert data.classes == classes
    assert (data.labels is None) == (not classes)
    assert data.test is None


@pytest.mark.parametrize(
    ("pattern", "classes"), [("{s}/class{k}/{i}.png", ("class0", "class1")), ("{s}/{i}.png", ())]
)
def test_folders_named_train_and_test_are_the_official_split(tmp_path, pattern, classes):
    names = [pattern.format(s=s, k=i % 2, i=i) for s in ("train", "test") for i in range(10)]
    data = read(save_images(tmp_path, names))
    assert data.classes == classes
    assert [data.names[i].split("/")[0] for i in data.test] == ["test"] * 10


def test_labels_are_given_in_order_or_by_name(tmp_path):
    root = save_images(tmp_path / "x", [f"in/{i:03d}.png" for i in range(10)])
    assert read(root, labels=["a", "b"] * 5).labels.tolist() == [0, 1] * 5
    for name in ("003.png", "in/003.png"):
        labels = read(root, labels={name: "a"}).labels
        assert np.flatnonzero(labels >= 0).tolist() == [3]
    with pytest.raises(VariedError, match="labels, 3, differs from the number of rows, 10"):
        read(root, labels=["a", "b", "c"])


# Unreadable files


def png_of_size(width, height):
    def chunk(name, contents):
        body = name + contents
        return struct.pack(">I", len(contents)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


JPEG = encode(image(5, (64, 64)), "JPEG")


@pytest.mark.parametrize(
    ("name", "contents", "reason"),
    [
        ("truncated.jpg", JPEG[: len(JPEG) // 2], "is corrupted"),
        ("damaged.png", b"x" * 20, "corrupted or not an image"),
        ("empty.gif", b"", "corrupted or not an image"),
        ("text.png", b"<svg onload='alert(1)'/>", "not an image in a supported format"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image in a supported format"),
        ("large.png", png_of_size(12_000, 12_000), "too many pixels"),
        ("huge.png", png_of_size(50_000, 50_000), "decompression bomb"),
    ],
)
def test_unreadable_files_are_problems(folder, name, contents, reason):
    (folder / name).write_bytes(contents)
    data = read(folder)
    assert len(data) == len(data.labels) == 12
    assert [problem.name for problem in data.problems] == [name]
    assert reason in data.problems[0].reason
    assert "1 unreadable" in data.notes[0]


def test_labels_of_unreadable_files_are_left_out(tmp_path):
    root = save_images(tmp_path, [f"{i}.png" for i in range(4)])
    (root / "1.png").write_bytes(b"")
    data = read(root, labels=["a", "b", "c", "a"], min_rows=1)
    assert (data.labels.tolist(), data.names) == ([0, 2, 0], ("0.png", "2.png", "3.png"))


def test_hidden_files_are_skipped(folder):
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / ".git").mkdir()
    image().save(folder / ".git" / "a.png")
    data = read(folder)
    assert len(data) == 12
    assert not data.problems


def test_a_cycle_of_links_is_read_once(folder):
    (folder / "cats" / "cycle").symlink_to(folder, target_is_directory=True)
    assert len(read(folder)) == 12


def test_pipes_and_broken_links_are_problems(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to(folder / "missing")
    link, pipe = read(folder).problems
    assert link.reason.startswith("it cannot be opened")
    assert pipe.reason == "it is not a regular file"


def test_control_characters_of_names_are_replaced(folder):
    (folder / "a\x1b[31m.png").write_bytes(b"x")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    names = [problem.name for problem in read(folder).problems]
    assert names == ["a\N{REPLACEMENT CHARACTER}[31m.png", "\N{REPLACEMENT CHARACTER}.png"]


def test_large_files_are_problems(folder, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_FILE_BYTES", 2000)
    (folder / "large.png").write_bytes(bytes(2001))
    (problem,) = read(folder).problems
    assert problem.reason == "it is larger than 256 MiB"
    path = folder.parent / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(folder / "cats" / "01.png", "a.png")
        file.writestr("large.png", bytes(2001))
    assert read(path, min_rows=1).problems == (problem,)


# Rejected folders


def test_a_folder_without_a_readable_file_is_refused(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(b"no")
    message = rf"None of the 12 images in {tmp_path.name} can be read \(0.png: it is corrupted"
    with pytest.raises(VariedError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"The (folder|zip file) x(\.zip)? is empty; use one that contains images"),
        (
            ["a.txt", "b.txt", "c"],
            r"recordings \(found 2 .txt, 1 no extension\).*\.png, ",
        ),
        (
            ["a.csv"],
            r"no images or recordings \(found 1 .csv\).*to read a table, pass its own path",
        ),
    ],
)
def test_folders_and_zip_files_without_images_are_refused(tmp_path, names, message):
    root = tmp_path / "x"
    root.mkdir()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name in names:
            (root / name).write_text("hello")
            file.writestr(name, "hello")
    for source in (root, tmp_path / "x.zip"):
        with pytest.raises(VariedError, match=message):
            read(source)


def test_images_larger_than_memory_are_refused(folder, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10_000)
    with pytest.raises(VariedError, match=r"12 images of 16x16 would take .*--image-size"):
        read(folder)


# Malicious zip files


def write_zip(path, *entries):
    """Write a zip file with ten images and other entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(10):
            file.writestr(f"good/{i}.png", encode(image(i)))
        for info, contents in entries:
            file.writestr(info, contents)
    return path


@pytest.mark.parametrize(
    "name", ["../../a.png", "/etc/a.png", "C:/drive.png", "..\\back.png", "\\\\host\\a.png"]
)
def test_a_path_that_points_outside_the_zip_file_is_a_problem(tmp_path, name):
    data = read(write_zip(tmp_path / "a.zip", (name, encode(image()))))
    assert len(data) == 10
    assert [problem.reason for problem in data.problems] == ["its path points outside the zip file"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", ["", "."])
def test_an_entry_without_a_name_is_ignored(tmp_path, name):
    path = write_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as file, file.open(zipfile.ZipInfo(name), "w") as entry:
        entry.write(b"x")
    data = read(path)
    assert (len(data), data.problems) == (10, ())


def test_links_and_duplicates_in_a_zip_file_are_problems(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write_zip(tmp_path / "a.zip", (link, b"/etc/passwd"), ("good/0.png", b"again"))
    data = read(path)
    assert len(data) == 10
    assert {p.reason for p in data.problems} == {"it is a symbolic link", "its name occurs twice"}


def test_an_encrypted_file_is_a_problem(tmp_path):
    path = write_zip(tmp_path / "a.zip", ("secret.png", b"x"))
    contents = bytearray(path.read_bytes())
    entry = contents.rindex(b"PK\x01\x02")
    contents[entry + 8] |= 1  # the flag in the central directory
    path.write_bytes(contents)
    (problem,) = read(path).problems
    assert (problem.name, problem.reason) == ("secret.png", "it is encrypted")


def test_a_zip_bomb_is_a_problem(tmp_path):
    data = read(write_zip(tmp_path / "a.zip", ("bomb.png", bytes(20 * 2**20))))
    assert len(data) == 10
    assert "zip bomb" in data.problems[0].reason


@pytest.mark.parametrize("limit", ["_MAX_FILES", "_MAX_TOTAL_BYTES"])
def test_a_zip_file_with_too_much_is_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(archive, limit, 5)
    with pytest.raises(VariedError, match=r"a\.zip unpacks to more than .* split it"):
        read(write_zip(tmp_path / "a.zip"))


@pytest.mark.parametrize("end", [0, 10, 500, -30])
def test_a_truncated_zip_file_is_refused(tmp_path, end):
    path = write_zip(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(VariedError, match=r"a\.zip is corrupted or not a zip file"):
        read(path)


def test_a_damaged_file_in_a_zip_file_is_a_problem(tmp_path):
    path = write_zip(tmp_path / "a.zip", ("bad.png", encode(image(3, (64, 64)))))
    contents = bytearray(path.read_bytes())
    start = contents.index(b"bad.png") + 2000
    contents[start : start + 200] = bytes(200)
    path.write_bytes(contents)
    assert [problem.name for problem in read(path).problems] == ["bad.png"]
