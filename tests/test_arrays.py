"""Arrays, tensors and lists as images, vectors or series."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from varied.data import fit_codec, mask_missing, memory, read, split
from varied.errors import VariedError

rng = np.random.default_rng(0)
GRAY = rng.integers(0, 256, (12, 9, 11), dtype=np.uint8)
COLOR = rng.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
REAL = rng.normal(size=(12, 5))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (GRAY, GRAY),
        (GRAY[..., None], GRAY),
        (GRAY[:, None], GRAY),
        (COLOR, COLOR),
        (np.moveaxis(COLOR, -1, 1), COLOR),
        (torch.from_numpy(np.moveaxis(COLOR, -1, 1).copy()), COLOR),
    ],
    ids=["gray", "channel last", "channel first", "color", "channels first", "tensor"],
)
def test_8_bit_arrays_are_images(x, expected):
    data = read(x)
    assert data.kind == "image"
    np.testing.assert_array_equal(data.x, expected)


def test_transparent_images_are_composed_over_white():
    transparent = np.full((12, 9, 11, 4), 7, np.uint8)
    transparent[:6, ..., 3] = 0
    transparent[6:, ..., 3] = 255
    data = read(transparent)
    assert (data.x[:6] == 255).all()
    assert (data.x[6:] == 7).all()
    assert data.notes[1:] == ("Transparent images are composited over white.",)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_integers_up_to_255_are_images(dtype):
    data = read(GRAY.astype(dtype))
    np.testing.assert_array_equal(data.x, GRAY)
    assert data.notes[1].startswith("The values are integers up to 255 and are stored as 8-bit")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_multiples_of_1_255_are_images(dtype):
    data = read((COLOR / 255).astype(dtype))
    np.testing.assert_array_equal(data.x, COLOR)
    assert data.notes[1].startswith(
        "The values are multiples of 1 / 255 and are stored as 8-bit images."
    )


@pytest.mark.parametrize(
    ("shape", "expected"), [((12, 9, 11), (12, 1, 9, 11)), ((12, 9, 11, 3), (12, 3, 9, 11))]
)
def test_values_in_the_unit_interval_keep_the_shape_of_images(shape, expected):
    data = read(rng.random(shape))
    assert (data.kind, data.x.shape, data.x.dtype) == ("array", expected, np.float32)
    assert fit_codec(data).domain == "unit-interval"


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float64])
def test_zeros_and_ones_are_binary(dtype):
    data = read((GRAY > 127).astype(dtype))
    assert data.x.shape == (12, 1, 9, 11)
    assert fit_codec(data).domain == "binary"
    assert fit_codec(read((REAL > 0).astype(dtype))).domain == "binary"


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (REAL, (12, 5)),
        (rng.normal(size=(12, 3, 40)), (12, 3, 40)),
        (np.arange(12), (12, 1)),
        (np.arange(60).reshape(12, 5), (12, 5)),
        ([[1.0, 2.0]] * 12, (12, 2)),
        (torch.rand(12, 3, 4, 3, requires_grad=True), (12, 3, 4, 3)),
        (torch.rand(12, 5, dtype=torch.bfloat16), (12, 5)),
        (torch.eye(12).to_sparse(), (12, 12)),
    ],
)
def test_vectors_and_series_are_float32(x, shape):
    data = read(x)
    assert (data.kind, data.x.shape, data.x.dtype) == ("array", shape, np.float32)


def test_one_number_per_row_is_noted():
    assert read(np.arange(12)).notes[1] == "Each row is one number."


MASKED = np.ma.masked_array(np.ones((12, 2)), np.arange(24).reshape(12, 2) == 3)
NESTED = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 5)), r"is empty, with shape \(0, 5\)"),
        (np.zeros((12, 0)), "is empty"),
        (np.float64(3.0).reshape(()), "is a single number"),
        (np.array([[1], [1, 2]] * 6, dtype=object), "rows of different shapes, or Python objects"),
        ([[1], [1, 2]] * 6, "The rows have different shapes"),
        (np.array(["a"] * 12), "has the dtype <U1, but must be numeric"),
        (np.zeros((12, 2), complex), "has the dtype complex128, but must be numeric"),
        (MASKED, "contains masked values"),
        (torch.zeros(12, 2, dtype=torch.complex64), "The tensor is complex"),
        (torch.empty(12, 2, device="meta"), "on the meta device"),
        (NESTED, "The tensor is nested"),
        (np.full((12, 2), 1e300), r"1e\+300 \(infinite in float32\) in row 0, column 0"),
        (np.zeros((9, 2)), "There are 9 rows, but at least 10"),
        (np.zeros((1, 2)), "There is 1 row, but at least 10"),
    ],
)
def test_unsuitable_arrays_are_refused(x, message):
    with pytest.raises(VariedError, match=message):
        read(x)


def test_an_infinite_value_is_located():
    x = REAL.copy()
    x[0, 1], x[7, 3], x[8, 1] = np.nan, np.inf, -np.inf
    message = r"The array contains infinity in row 7, column 3 \(and 1 more\); replace"
    with pytest.raises(VariedError, match=message):
        read(x)
    series = np.zeros((12, 2, 5))
    series[3, 1, 4] = np.inf
    with pytest.raises(VariedError, match=r"row 3, position \(1, 4\)"):
        read(series)


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (REAL, (5,)),
        (REAL[:, 0], (1,)),
        (rng.normal(size=(12, 3, 30)), (3, 30)),
        (rng.random((12, 9, 11)), (1, 9, 11)),
        (COLOR / 255, (3, 9, 11)),
        (torch.from_numpy(REAL), (5,)),
    ],
    ids=["vectors", "numbers", "series", "unit interval", "colors", "tensor"],
)
def test_nan_marks_missing_values(x, shape):
    x = x.clone() if isinstance(x, torch.Tensor) else x.copy()
    x[3] = x[7:8].reshape(-1)[0] = np.nan
    data = read(x)
    assert (data.kind, data.x.shape, data.x.dtype) == ("array", (12, *shape), np.float32)
    n_missing, n = int(np.isnan(data.x).sum()), data.x.size
    assert data.notes[-1] == (
        f"{n_missing:,} of {n:,} values are missing in 2 of 12 rows; the likelihood counts "
        "observed values only."
    )
    assert not any("missing" in note for note in read(np.nan_to_num(np.asarray(x))).notes)


def test_arrays_larger_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    with pytest.raises(VariedError, match=r"The array would take 0.0 GiB, more than half"):
        read(REAL)
    with pytest.raises(VariedError, match=r"The tensor would take"):
        read(torch.from_numpy(REAL))


def test_free_memory_respects_the_limit_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    system = memory.free_memory()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.free_memory() is None or memory.free_memory() > 1e6
    (tmp_path / "memory.max").write_text("5000\n")
    assert memory.free_memory() == 4000
    assert system is None or system > 4000


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
def test_any_array_is_encoded_or_refused(x):
    try:
        data = read(x, min_rows=3)
        codec = fit_codec(data.take(split(data).train))
        stored = codec.encode(data)  # a test row may be outside the domain of the training rows
    except VariedError:
        return
    assert codec.load(mask_missing(stored).x).isfinite().all()
    assert codec.decode(codec.load(stored)).shape[0] == len(data)
