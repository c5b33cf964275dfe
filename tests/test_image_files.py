"""Image files: formats, color modes, orientation, sizes and masks."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from varied.data import read
from varied.data.image_files import as_mask
from varied.errors import VariedError

RED = (200, 30, 40)
#: EXIF data of a camera that is rotated by a quarter turn.
ROTATED = Image.Exif()
ROTATED[0x0112] = 6


def image(seed=0, size=(16, 16), mode="RGB"):
    shape = (size[1], size[0], 3)
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encode(image, file_format, **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes images to a folder and returns it."""

    def write(images, ending="png", **options):
        for i, each in enumerate(images):
            each.save(tmp_path / f"{i:03d}.{ending}", **options)
        return tmp_path

    return write


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp", "gif", "tif", "ppm"])
def test_formats(folder, ending):
    data = read(folder([Image.new("RGB", (12, 8), RED)] * 10, ending))
    assert data.x.shape == (10, 8, 12, 3)
    assert np.abs(data.x.astype(int) - RED).max() < 12


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]), st.data())
def test_an_image_with_changed_bytes_is_read_or_a_problem(tmp_path_factory, file_format, data):
    contents = bytearray(encode(image(1, (12, 12)), file_format))
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    root = tmp_path_factory.mktemp("x")
    image(2, (12, 12)).save(root / "a.png")
    (root / "changed.png").write_bytes(contents)
    raw = read(root, min_rows=1, image_size=12)
    assert len(raw) + len(raw.problems) == 2


def test_an_image_larger_than_memory_is_a_problem(folder, monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    root = folder([image()])
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(VariedError, match="it does not fit in memory"):
        read(root)


# Color modes


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_images_have_no_channel_axis(folder, mode):
    data = read(folder([image(i, mode=mode) for i in range(10)]))
    assert data.x.shape == (10, 16, 16)
    assert "gray" in data.notes[0]


@pytest.mark.parametrize(
    ("values", "ending", "note"),
    [
        (np.arange(256, dtype=np.uint16) * 257, "png", "10 16-bit images"),
        (np.arange(256, dtype=np.float32) / 7, "tif", "10 real-valued images"),
    ],
)
def test_16_bit_and_real_values_are_scaled_to_8_bits(folder, values, ending, note):
    data = read(folder([Image.fromarray(values.reshape(16, 16))] * 10, ending))
    np.testing.assert_array_equal(data.x[0].ravel(), np.arange(256))
    assert f"{note}: converted to 8 bits." in data.notes


def test_color_files_with_gray_pixels_only_are_gray(folder):
    data = read(folder([image(i, mode="L").convert("RGB") for i in range(10)]))
    assert data.x.shape == (10, 16, 16)
    np.testing.assert_array_equal(data.x[3], np.asarray(image(3, mode="L")))


@pytest.mark.parametrize(
    ("mode", "ending", "note"),
    [
        ("P", "png", None),
        ("CMYK", "jpg", "10 CMYK images: converted to RGB."),
        ("RGBA", "png", "10 transparent images: composited over white."),
    ],
)
def test_color_modes_have_three_channels(folder, mode, ending, note):
    data = read(folder([image(i, mode=mode) for i in range(10)], ending))
    assert data.x.shape == (10, 16, 16, 3)
    assert list(data.notes[1:]) == ([note] if note else [])


def test_transparent_images_are_composed_over_white(folder):
    transparent = Image.new("RGBA", (8, 8), (*RED, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    opaque = Image.new("RGB", (8, 8), RED)
    data = read(folder([transparent] * 5 + [half] * 4 + [opaque]))
    assert (data.x[0] == 255).all()
    assert (data.x[5] == 127).all()
    assert (data.x[9] == RED).all()
    assert "9 transparent images: composited over white." in data.notes


def test_a_palette_may_be_transparent(folder):
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([*RED] * 256)
    assert (read(folder([palette] * 10, transparency=0)).x == 255).all()


def test_the_first_frame_of_an_animation_is_read(folder):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, (0, 0, 255))]
    data = read(folder(frames[:1] * 10, "gif", save_all=True, append_images=frames[1:]))
    assert (data.x == RED).all()
    assert "10 multi-frame images: only the first frame is read." in data.notes


# Orientation


@pytest.mark.parametrize(
    ("mode", "color", "ending"), [("RGB", RED, "jpg"), ("RGBA", (*RED, 128), "png")]
)
def test_images_are_rotated_by_their_exif_orientation(folder, mode, color, ending):
    data = read(folder([Image.new(mode, (20, 10), color)] * 10, ending, exif=ROTATED))
    assert data.x.shape == (10, 20, 10, 3)


def test_damaged_exif_data_are_ignored(tmp_path):
    contents = encode(Image.new("RGB", (20, 10), RED), "JPEG", exif=ROTATED.tobytes())
    contents = contents.replace(b"MM\0*", b"XX\0*").replace(b"II*\0", b"XX*\0")
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(contents)
    assert read(tmp_path).x.shape == (10, 10, 20, 3)


# Sizes


@pytest.mark.parametrize(
    ("sizes", "expected", "note"),
    [
        ([(37, 51)] * 10, (51, 37), None),
        ([(1, 1)] * 10, (1, 1), None),
        (
            [(300, 200)] * 10,
            (64, 96),
            "64x96, because the images are large (`image_size` overrides",
        ),
        (
            [(100, 200), (200, 100), (90, 90)] * 4,
            (64, 64),
            "have 3 different sizes and shapes",
        ),
        ([(20 + i, 20 + i) for i in range(10)], (16, 16), "the images have 10 different sizes ("),
    ],
    ids=["small", "one pixel", "large", "mixed shapes", "small and mixed"],
)
def test_the_size_is_chosen_and_noted(folder, sizes, expected, note):
    data = read(folder([image(i, size) for i, size in enumerate(sizes)]))
    assert data.x.shape[1:3] == expected
    assert len(data.notes) == 1 + (note is not None)
    assert note is None or note in data.notes[1]


@pytest.mark.parametrize(("size", "expected"), [(24, (24, 24)), ((8, 12), (8, 12))])
def test_a_requested_size_is_used(folder, size, expected):
    data = read(folder([image(i) for i in range(10)]), image_size=size)
    assert data.x.shape[1:3] == expected
    assert data.notes[1] == f"Resized to {expected[0]}x{expected[1]}, as requested."


@pytest.mark.parametrize("size", [0, -3, 10**6, (4,), (3.5, 4), 8.0, "64", True])
def test_an_invalid_size_is_refused(folder, size):
    with pytest.raises(VariedError, match="is not valid; use an integer such as 64"):
        read(folder([image()]), image_size=size)


# Masks


def half_mask():
    mask = np.zeros((8, 12), bool)
    mask[:4] = True
    return mask


@pytest.mark.parametrize(
    "mask",
    ["0,0,12,4", (0, 0, 12, 4), "-5,-1,30,5", half_mask(), half_mask() * np.uint8(255)],
    ids=["text", "tuple", "beyond the border", "booleans", "8-bit"],
)
def test_masks_of_any_form(mask):
    np.testing.assert_array_equal(as_mask(mask, (8, 12)), half_mask())


def test_a_mask_is_read_from_a_file_and_resized(tmp_path):
    Image.fromarray(half_mask()).resize((48, 32)).save(tmp_path / "mask.png")
    for path in (tmp_path / "mask.png", str(tmp_path / "mask.png")):
        np.testing.assert_array_equal(as_mask(path, (8, 12)), half_mask())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("1,2,3", "is not a mask; use left,top,width,height"),
        ("missing.png", "missing.png is not a mask"),
        (3, "3 is not a mask"),
        ("0,0,12,8", "covers 96 of 96 pixels"),
        ("20,20,3,3", "covers 0 of 96 .* 12 pixels wide and 8 pixels high"),
    ],
)
def test_invalid_masks_are_refused(mask, message):
    with pytest.raises(VariedError, match=message):
        as_mask(mask, (8, 12))
