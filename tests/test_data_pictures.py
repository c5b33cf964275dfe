"""Folders and zips of pictures: read, labeled, resized; and what cannot be read, survived."""

import io
import os
import stat
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from varied.data import archive, memory, read
from varied.errors import VariedError

RED = (200, 30, 40)


def picture(seed=0, size=(16, 16), mode="RGB"):
    shape = (size[1], size[0], 3)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Twelve color pictures in two folders."""
    root = tmp_path / "my photos é"
    for i in range(12):
        path = root / ("cats" if i % 2 else "dogs ü") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    return root


def flat(root, images, suffix="png", **options):
    root.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        image.save(root / f"{i:03d}.{suffix}", **options)
    return root


def test_folder_gives_pictures_labels_and_names(folder):
    items = read(folder)
    assert items.kind == "image"
    assert items.x.shape == (12, 16, 16, 3)
    assert items.x.dtype == np.uint8
    assert items.classes == ("cats", "dogs ü")
    assert items.names[0] == "cats/01.png"
    assert items.names == tuple(sorted(items.names))
    assert items.source == str(folder.resolve())
    np.testing.assert_array_equal(items.x[0], np.asarray(picture(1)))
    assert read(folder, classes=["dogs ü", "cats"]).labels[0] == 1
    assert items.notes == ("12 color pictures, 16x16; 2 classes.",)


def test_reading_is_deterministic_and_the_digest_sees_every_change(folder):
    first = read(folder)
    assert read(str(folder)).digest() == first.digest()
    picture(99).save(folder / "cats" / "01.png")
    assert read(folder).digest() != first.digest()


def test_zip_reads_as_the_folder_does(folder, tmp_path):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for path in folder.rglob("*.png"):
            z.write(path, path.relative_to(folder))
        z.writestr("__MACOSX/cats/._01.png", b"resource fork")
    assert read(archive).digest() == read(folder).digest()
    assert not read(archive).problems


def test_one_common_root_is_no_label(tmp_path):
    for i in range(12):
        path = tmp_path / "set" / "root" / f"person {i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    assert read(tmp_path / "set").classes == ("person 0", "person 1", "person 2")


def test_one_folder_has_no_labels(tmp_path):
    assert read(flat(tmp_path / "x", [picture(i) for i in range(10)])).labels is None


def test_folders_called_train_and_test_are_the_official_parts(tmp_path):
    for part in ("train", "test"):
        for i in range(10):
            path = tmp_path / part / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(i).save(path)
    items = read(tmp_path)
    assert items.classes == ("class0", "class1")
    assert [items.names[i].split("/")[0] for i in items.test] == ["test"] * 10


def test_given_labels_go_by_order_or_by_name(tmp_path):
    root = flat(tmp_path / "x", [picture(i) for i in range(10)])
    assert read(root, labels=["a", "b"] * 5).labels.tolist() == [0, 1] * 5
    named = read(root, labels={"003.png": "odd"})
    assert named.labels.tolist() == [-1, -1, -1, 0, -1, -1, -1, -1, -1, -1]
    with pytest.raises(VariedError, match="10 rows and 3 labels"):
        read(root, labels=["a", "b", "c"])


def test_unreadable_files_cost_a_line_and_not_the_run(folder):
    whole = encoded(picture(5, (64, 64)), "JPEG")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "twenty.png").write_bytes(b"x" * 20)
    (folder / "empty.gif").write_bytes(b"")
    (folder / "text.png").write_text("<svg onload='alert(1)'/>")
    items = read(folder)
    assert len(items) == 12
    assert {p.name for p in items.problems} == {"cut.jpg", "twenty.png", "empty.gif", "text.png"}
    assert all(p.reason for p in items.problems)
    assert "4 unreadable" in items.notes[0]


def test_a_huge_picture_is_refused_by_its_header(folder):
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (folder / "huge.png").write_bytes(bomb)
    (problem,) = read(folder).problems
    assert problem.name == "huge.png"


def test_other_formats_are_not_decoded(folder):
    (folder / "evil.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (problem,) = read(folder).problems
    assert "format" in problem.reason


def test_nothing_readable_says_why(tmp_path):
    root = tmp_path / "x"
    root.mkdir()
    for i in range(12):
        (root / f"{i}.png").write_bytes(b"no")
    with pytest.raises(VariedError, match=r"None of the 12 pictures in x can be read \(0.png: "):
        read(root)


@pytest.mark.parametrize("make", ["folder", "zip"])
def test_no_pictures_says_what_was_found_and_what_is_read(tmp_path, make):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("hello")
    source = tmp_path / "x"
    if make == "zip":
        source = tmp_path / "x.zip"
        with zipfile.ZipFile(source, "w") as z:
            z.writestr("notes.txt", "hello")
    with pytest.raises(VariedError, match=r"no pictures \(found 1 .txt\).*\.png"):
        read(source)


def test_empty_folder(tmp_path):
    with pytest.raises(VariedError, match="is empty"):
        read(tmp_path)


def test_hidden_files_are_passed_over(folder):
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / ".git").mkdir()
    picture().save(folder / ".git" / "a.png")
    items = read(folder)
    assert len(items) == 12
    assert not items.problems


def test_links_in_a_circle_end(folder):
    (folder / "cats" / "again").symlink_to(folder, target_is_directory=True)
    assert len(read(folder)) == 12


def test_a_pipe_called_png_does_not_hang(folder):
    os.mkfifo(folder / "pipe.png")
    (problem,) = read(folder).problems
    assert problem.reason == "it is no regular file"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]), st.data())
def test_any_changed_byte_of_a_picture_is_read_or_reported(tmp_path_factory, form, data):
    contents = bytearray(encoded(picture(1, (12, 12)), form))
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    root = flat(tmp_path_factory.mktemp("x"), [picture(2, (12, 12))])
    (root / "changed.png").write_bytes(contents)
    items = read(root, min_rows=1, image_size=12)
    assert len(items) + len(items.problems) == 2


def test_a_damaged_exif_part_does_not_cost_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (20, 10), RED)
    contents = encoded(image, "JPEG", exif=exif.tobytes()).replace(b"MM\0*", b"XX\0*")
    contents = contents.replace(b"II*\0", b"XX*\0")
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(contents)
    assert read(tmp_path).x.shape == (10, 10, 20, 3)


def test_names_that_would_steer_a_screen_are_made_plain(folder):
    (folder / "a\x1b[31m.png").write_bytes(b"x")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    names = [p.name for p in read(folder).problems]
    assert names == ["a\N{REPLACEMENT CHARACTER}[31m.png", "\N{REPLACEMENT CHARACTER}.png"]


# modes


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_gray_modes_give_one_channel(tmp_path, mode):
    if mode == "I;16":
        deep = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
        images = [Image.fromarray(deep)] * 10
    else:
        images = [picture(i, mode=mode) for i in range(10)]
    items = read(flat(tmp_path / "x", images))
    assert items.x.shape == (10, 16, 16)
    assert "gray" in items.notes[0]
    if mode == "I;16":
        np.testing.assert_array_equal(items.x[0].ravel(), np.arange(256))
        assert "10 16-bit: made 8-bit." in items.notes


def test_color_files_that_are_all_gray_give_one_channel(tmp_path):
    images = [picture(i, mode="L").convert("RGB") for i in range(10)]
    items = read(flat(tmp_path / "x", images))
    assert items.x.shape == (10, 16, 16)
    np.testing.assert_array_equal(items.x[3], np.asarray(picture(3, mode="L")))


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA"])
def test_odd_color_modes_give_three_channels(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    items = read(flat(tmp_path / "x", [picture(i, mode=mode) for i in range(10)], suffix))
    assert items.x.shape == (10, 16, 16, 3)


def test_transparency_is_laid_on_white_and_said(tmp_path):
    clear = Image.new("RGBA", (8, 8), (*RED, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    items = read(flat(tmp_path / "x", [clear] * 5 + [half] * 4 + [Image.new("RGB", (8, 8), RED)]))
    assert (items.x[0] == 255).all()
    assert (items.x[5] == 127).all()
    assert (items.x[9] == RED).all()
    assert "9 transparent: laid on white." in items.notes


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED] * 256)
    items = read(flat(tmp_path / "x", [image] * 10, transparency=0))
    assert (items.x == 255).all()


def test_the_camera_s_turn_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = Image.new("RGB", (20, 10), RED)
    items = read(flat(tmp_path / "x", [image] * 10, "jpg", exif=exif))
    assert items.x.shape == (10, 20, 10, 3)


def test_the_turn_is_kept_through_transparency(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (20, 10), (*RED, 128))
    assert read(flat(tmp_path / "x", [image] * 10, exif=exif)).x.shape == (10, 20, 10, 3)


def test_the_first_frame_of_a_gif_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in (RED, (0, 0, 255))]
    root = tmp_path / "x"
    root.mkdir()
    for i in range(10):
        frames[0].save(root / f"{i}.gif", save_all=True, append_images=frames[1:])
    items = read(root)
    assert (items.x == RED).all()
    assert "10 with several frames: the first was taken." in items.notes


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "gif", "tif", "ppm"])
def test_every_format_is_read(tmp_path, suffix):
    items = read(flat(tmp_path / "x", [Image.new("RGB", (12, 8), RED)] * 10, suffix))
    assert items.x.shape == (10, 8, 12, 3)
    assert np.abs(items.x.astype(int) - RED).max() < 12


# sizes


def test_one_small_size_is_kept(tmp_path):
    items = read(flat(tmp_path / "x", [picture(i, (37, 51)) for i in range(10)]))
    assert items.x.shape[1:3] == (51, 37)
    assert len(items.notes) == 1


def test_large_pictures_are_resized_and_it_is_said(tmp_path):
    items = read(flat(tmp_path / "x", [picture(i, (300, 200)) for i in range(10)]))
    assert items.x.shape[1:3] == (64, 96)
    assert items.notes[1] == "Resized to 64x96, because they are large (`size` sets another)."


def test_mixed_shapes_become_square(tmp_path):
    sizes = [(100, 200), (200, 100), (90, 90)] * 4
    items = read(flat(tmp_path / "x", [picture(i, s) for i, s in enumerate(sizes)]))
    assert items.x.shape[1:3] == (64, 64)
    assert "3 sizes and shapes" in items.notes[1]


def test_small_mixed_pictures_are_not_blown_up(tmp_path):
    images = [picture(i, (20 + i, 20 + i)) for i in range(10)]
    assert read(flat(tmp_path / "x", images)).x.shape[1:3] == (16, 16)


@pytest.mark.parametrize(("size", "shape"), [(24, (24, 24)), ((8, 12), (8, 12))])
def test_a_given_size_goes_first(folder, size, shape):
    items = read(folder, image_size=size)
    assert items.x.shape[1:3] == shape
    assert "as asked" in items.notes[1]


@pytest.mark.parametrize("size", [0, -3, 10**6, (4,), (3.5, 4)])
def test_a_silly_size_is_refused(folder, size):
    with pytest.raises(VariedError, match="is no size"):
        read(folder, image_size=size)


def test_one_pixel_pictures(tmp_path):
    assert read(flat(tmp_path / "x", [picture(i, (1, 1)) for i in range(10)])).x.shape[1] == 1


def test_memory_is_asked_for_before_it_is_taken(folder, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10_000)
    with pytest.raises(VariedError, match=r"12 pictures of 16x16 would take .*--image-size"):
        read(folder)


def test_few_pictures_are_refused_unless_few_are_enough(tmp_path):
    root = flat(tmp_path / "x", [picture(i) for i in range(3)])
    with pytest.raises(VariedError, match="There are 3 rows and at least 10 are needed"):
        read(root)
    assert len(read(root, min_rows=1)) == 3
    assert len(read(root / "001.png", min_rows=1)) == 1


# hostile zips


def hostile(path, *entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for i in range(10):
            z.writestr(f"good/{i}.png", encoded(picture(i)))
        for info, data in entries:
            z.writestr(info, data)
    return path


@pytest.mark.parametrize(
    "name", ["../../slip.png", "/etc/abs.png", "C:/drive.png", "..\\back.png", "\\\\host\\u.png"]
)
def test_zip_slip(tmp_path, name):
    items = read(hostile(tmp_path / "z.zip", (name, encoded(picture()))))
    assert len(items) == 10
    assert [p.reason for p in items.problems] == ["its name leads out of the zip"]
    assert [p.name for p in tmp_path.iterdir()] == ["z.zip"]


def test_zip_links_and_twins(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.warns(UserWarning, match="Duplicate"):
        path = hostile(tmp_path / "z.zip", (link, b"/etc/passwd"), ("good/0.png", b"twin"))
    items = read(path)
    assert len(items) == 10
    assert {p.reason for p in items.problems} == {"it is a link", "its name occurs twice"}


def test_zip_bomb(tmp_path):
    items = read(hostile(tmp_path / "z.zip", ("bomb.png", bytes(20 * 2**20))))
    assert len(items) == 10
    assert "zip bomb" in items.problems[0].reason


def test_zip_with_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    with pytest.raises(VariedError, match="divide it"):
        read(hostile(tmp_path / "z.zip"))


@pytest.mark.parametrize("keep", [0, 10, 500, -30])
def test_damaged_zip(tmp_path, keep):
    path = hostile(tmp_path / "z.zip")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VariedError, match=r"z\.zip is no zip, or damaged"):
        read(path)


def test_zip_with_a_damaged_member(tmp_path):
    path = hostile(tmp_path / "z.zip", ("bad.png", encoded(picture(3, (64, 64)))))
    contents = bytearray(path.read_bytes())
    start = contents.index(b"bad.png") + 2000
    contents[start : start + 200] = bytes(200)
    path.write_bytes(contents)
    items = read(path)
    assert [p.name for p in items.problems] == ["bad.png"]
