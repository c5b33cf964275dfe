"""Codecs and contexts: there and back, through JSON, and refused where they do not fit."""

import json

import numpy as np
import pytest
import torch

from varied.data import (
    ArrayCodec,
    ContextCodec,
    ImageCodec,
    RawData,
    fit_codec,
    is_nearly_binary,
    open_codec,
    open_context,
    read,
)
from varied.errors import VariedError
from varied.seeding import seeded

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (20, 8, 12), dtype=np.uint8)
COLOUR = rng.integers(0, 256, (20, 8, 12, 3), dtype=np.uint8)
DRAWN = np.where(rng.random((20, 8, 12)) < 0.2, 250, 3).astype(np.uint8)
REAL = rng.normal(5.0, 3.0, (20, 4)).astype(np.float32)
CODECS = [
    fit_codec(read(GREY)),
    fit_codec(read(COLOUR)),
    fit_codec(read(DRAWN)),
    fit_codec(read(DRAWN), binarize="fixed", seed=3),
    fit_codec(read(REAL)),
    fit_codec(read(rng.normal(size=(20, 3, 30)))),
    fit_codec(read(rng.random((20, 8, 8, 3)))),
    fit_codec(read(REAL > 5)),
]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_json_brings_it_back(codec):
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_suggestions_come_with_reasons(codec):
    suggested = codec.suggest(1000)
    assert set(suggested) == {"net", "likelihood", "latent"}
    assert len(codec.reasons(1000)) == 3
    assert codec.suggest(40)["latent"] <= suggested["latent"]


@pytest.mark.parametrize("x", [GREY, COLOUR])
def test_pictures_there_and_back(x):
    codec = fit_codec(read(x))
    stored = codec.encode(read(x))
    assert stored.dtype == torch.uint8
    assert stored.shape == (20, *codec.shape)
    assert codec.domain == "uint8"
    seen = codec.load(stored)
    assert seen.dtype == torch.float32
    assert 0 <= seen.min() <= seen.max() <= 1
    np.testing.assert_array_equal(codec.decode(seen), x)


def test_decode_cuts_what_no_picture_has():
    x = torch.tensor([-1.0, 2.0, float("nan"), 0.5]).reshape(1, 1, 2, 2)
    assert ImageCodec((1, 2, 2)).decode(x).ravel().tolist() == [0, 255, 0, 128]


def test_nearly_binary_pictures_are_drawn_anew_at_every_look():
    codec = fit_codec(read(DRAWN))
    assert is_nearly_binary(DRAWN)
    assert not is_nearly_binary(GREY)
    assert (codec.binarize, codec.domain) == ("dynamic", "binary")
    assert codec.suggest(1000)["likelihood"] == "bernoulli"
    stored = torch.full((500, 1, 8, 12), 64, dtype=torch.uint8)
    with seeded(0, "test", 1):
        first = codec.load(stored)
    with seeded(0, "test", 1):
        again = codec.load(stored)
    with seeded(0, "test", 2):
        other = codec.load(stored)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(first.mean() - 64 / 255) < 0.02


def test_fixed_binarization_belongs_to_the_picture_wherever_it_stands():
    codec = ImageCodec.fit(read(GREY), binarize="fixed", seed=1)
    stored = codec.encode(read(GREY))
    assert set(stored.unique().tolist()) == {0, 255}
    torch.testing.assert_close(codec.encode(read(GREY).take([7, 3])), stored[[7, 3]])
    assert torch.equal(codec.load(stored), codec.load(stored))
    other = ImageCodec.fit(read(GREY), binarize="fixed", seed=2).encode(read(GREY))
    assert not torch.equal(stored, other)
    assert abs(stored.float().mean() - GREY.mean()) < 8


def test_black_stays_black_and_white_white_in_any_draw():
    ends = np.repeat(np.array([0, 255], np.uint8), 64).reshape(2, 8, 8)
    for binarize in ("fixed", "dynamic"):
        codec = ImageCodec((1, 8, 8), binarize)
        np.testing.assert_array_equal(codec.decode(codec.load(codec.encode(ends))), ends)


def test_gray_and_color_runs_take_each_other_s_pictures():
    color, gray = fit_codec(read(COLOUR)), fit_codec(read(GREY))
    np.testing.assert_array_equal(color.encode(GREY)[:, 2].numpy(), GREY)
    np.testing.assert_array_equal(gray.encode(np.stack([GREY] * 3, -1))[:, 0].numpy(), GREY)


def test_pictures_and_unit_arrays_take_each_other_s_rows():
    floats = RawData((GREY / np.float32(255))[:, None], "array")
    np.testing.assert_array_equal(fit_codec(read(GREY)).encode(floats)[:, 0].numpy(), GREY)
    unit = fit_codec(read(rng.random((20, 8, 12))))
    np.testing.assert_allclose(unit.encode(read(GREY))[:, 0].numpy(), GREY / 255, atol=1e-6)


def test_another_size_is_refused_with_the_way_out():
    with pytest.raises(VariedError, match=r"9x9 in gray .* read them with size=\(8, 12\)"):
        fit_codec(read(GREY)).encode(np.zeros((2, 9, 9), np.uint8))
    assert fit_codec(read(GREY)).size == (8, 12)


def test_real_arrays_are_standardised_and_come_back():
    codec = fit_codec(read(REAL))
    stored = codec.encode(REAL)
    np.testing.assert_allclose(stored.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(stored.numpy().std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(codec.decode(codec.load(stored)), REAL, rtol=1e-5)


def test_statistics_are_those_of_the_training_rows_alone():
    items = read(REAL)
    codec = fit_codec(items.take(range(10)))
    np.testing.assert_allclose(codec.mean, REAL[:10].mean(0), rtol=1e-6)


def test_channels_of_a_series_are_standardised_each():
    x = rng.normal(size=(20, 3, 30)) * np.array([1, 10, 100])[:, None] + 7
    codec = fit_codec(read(x))
    assert len(codec.mean) == 3
    np.testing.assert_allclose(codec.encode(read(x)).std((0, 2), correction=0), 1, rtol=1e-4)
    np.testing.assert_allclose(codec.decode(codec.encode(read(x))), x, rtol=1e-3, atol=1e-3)


def test_constant_columns_are_kept_and_named():
    x = REAL.copy()
    x[:, 2] = 0.1
    codec = fit_codec(read(x))
    assert codec.notes == ("1 features are constant in the training rows and carry nothing: 2.",)
    assert (codec.encode(x)[:, 2] == 0).all()
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, rtol=1e-5)


def test_rows_outside_the_domain_are_named():
    codec = fit_codec(read(REAL > 5))
    with pytest.raises(VariedError, match=r"Row 1 has the value 0.5, neither 0 nor 1"):
        codec.encode(np.array([[0, 1, 0, 1], [0, 0.5, 0, 1]]))
    with pytest.raises(VariedError, match=r"outside \[0, 1\]"):
        ArrayCodec.fit(read(REAL), domain="unit-interval")
    with pytest.raises(VariedError, match="Row 1 has NaN"):
        fit_codec(read(REAL)).encode(np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]]))
    with pytest.raises(VariedError, match=r"shape \(3,\) and the run knows \(4,\)"):
        fit_codec(read(REAL)).encode(np.zeros((2, 3)))
    assert fit_codec(read(REAL > 5), domain="real").domain == "real"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"codec": "images"}, "did you mean 'image'"),
        ({}, "There is no codec ''"),
        ({"codec": "image", "shap": [1, 8, 8]}, "has no 'shap': did you mean 'shape'"),
        ({"codec": "image"}, "is damaged"),
        ({"codec": "image", "shape": [2, 8, 8]}, "is damaged"),
        ({"codec": "image", "shape": None}, "is damaged"),
        ({"codec": "image", "shape": "abc"}, "is damaged"),
        ({"codec": "image", "shape": [1, 8, -8]}, "is damaged"),
        ({"codec": "image", "shape": [1, 8, 8], "binarize": "fixt"}, "did you mean 'fixed'"),
        ({"codec": "array", "shape": [4], "domain": "real"}, "is damaged"),
        ({"codec": "array", "shape": [4], "domain": "reel"}, "did you mean 'real'"),
    ],
)
def test_damaged_codecs(values, says):
    with pytest.raises(VariedError, match=says):
        open_codec(values)


def test_unknown_options_name_the_nearest():
    with pytest.raises(VariedError, match="has no 'binarise': did you mean 'binarize'"):
        fit_codec(read(GREY), binarise="none")
    with pytest.raises(VariedError, match="There is no binarize 'dyn'"):
        fit_codec(read(GREY), binarize="dyn")


# context

WORDS = ContextCodec.fit(np.array([0, 1, 2, -1]), ("zero", "one", "two"))
MANY = ContextCodec.fit(np.arange(100), tuple(f"kind {n:03}" for n in range(100)))
DIGITS = ContextCodec.fit(np.array([0, 1]), ("3", "4"))
NUMBERS = ContextCodec.fit(np.array([10.0, 30.0, np.nan], np.float32))
PAIRS = ContextCodec.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))


@pytest.mark.parametrize(
    ("codec", "values", "rows"),
    [
        (WORDS, "two", [2]),
        (WORDS, 2, [2]),
        (WORDS, "2", [2]),
        (WORDS, ["one", None, -1, 0], [1, None, None, 0]),
        (WORDS, np.array([1, -1]), [1, None]),
        (WORDS, torch.tensor([2, 0]), [2, 0]),
        (WORDS, None, [None]),
        (DIGITS, 3, [0]),
        (DIGITS, ["4", 3], [1, 0]),
        (DIGITS, np.array([0, 1]), [0, 1]),
        (DIGITS, 1, [1]),
        (DIGITS, 3.0, [0]),
        (WORDS, [True, np.float64(2)], [1, 2]),
    ],
)
def test_classes_are_one_hot(codec, values, rows):
    c = codec.encode(values)
    assert c.shape == (len(rows), codec.size)
    assert c.dtype == torch.float32
    expected = [None if i is None else codec.classes[i] for i in rows]
    assert codec.decode(c) == expected
    assert c.sum(1).tolist() == [0.0 if i is None else 1.0 for i in rows]


@pytest.mark.parametrize(
    ("codec", "values", "shape"),
    [
        (NUMBERS, 20, (1, 1)),
        (NUMBERS, [10, 30.0], (2, 1)),
        (NUMBERS, np.array([[10.0], [30.0]]), (2, 1)),
        (PAIRS, [1, 5], (1, 2)),
        (PAIRS, [[1, 5], [3, 5]], (2, 2)),
        (PAIRS, torch.tensor([[1.0, 5.0]]), (1, 2)),
    ],
)
def test_numbers_are_standardised_and_come_back(codec, values, shape):
    c = codec.encode(values)
    assert c.shape == shape
    np.testing.assert_allclose(codec.decode(c).ravel(), np.ravel(values), rtol=1e-6)


def test_missing_numbers_are_zeros():
    assert NUMBERS.encode(None).tolist() == [[0.0]]
    assert NUMBERS.encode([float("nan"), 20]).tolist() == [[0.0], [0.0]]
    assert PAIRS.encode(None).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("codec", [WORDS, DIGITS, NUMBERS, PAIRS])
def test_context_json_brings_it_back(codec):
    assert open_context(json.loads(json.dumps(codec.to_json()))) == codec
    assert open_context(None) is None


@pytest.mark.parametrize(
    ("codec", "values", "says"),
    [
        (WORDS, "tow", "There is no class 'tow': did you mean 'two'"),
        (WORDS, 9, "There is no class '9'"),
        (MANY, "knid 097", "did you mean 'kind 097'"),
        (WORDS, np.array([0, 3]), "from 0 to 2"),
        (WORDS, np.array([[0, 1]]), "one for each row"),
        (NUMBERS, "old", "1 numbers a row, not 'old'"),
        (PAIRS, [[1, 2, 3]], r"2 finite numbers a row, not shape \(1, 3\)"),
        (NUMBERS, float("inf"), "finite"),
    ],
)
def test_contexts_that_cannot_be(codec, values, says):
    with pytest.raises(VariedError, match=says):
        codec.encode(values)


def test_damaged_contexts():
    with pytest.raises(VariedError, match="did you mean 'classes'"):
        open_context({"clases": ["a"]})
    with pytest.raises(VariedError, match="No row has a label"):
        ContextCodec.fit(np.array([-1, -1]), ("a", "b"))
    with pytest.raises(VariedError, match="no number at all"):
        ContextCodec.fit(np.array([[1, np.nan], [2, np.nan]]))


def test_dynamic_binarization_draws_each_level_as_often_as_it_should():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(20_000, 1, 16, 16)
    with seeded(0, "test"):
        often = ImageCodec((1, 16, 16), "dynamic").load(levels).mean(0).ravel()
    p = torch.arange(256) / 255
    assert (often[0], often[255]) == (0.0, 1.0)
    assert ((often - p).abs() <= 5 * (p * (1 - p) / 20_000).sqrt() + 1e-6).all()


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
def test_usual_contexts_come_as_often_as_in_training(n):
    codec = ContextCodec.fit(np.repeat([0, 1, 2], [10, 70, 20]), ("a", "b", "c"))
    c = codec.usual(n)
    assert c.shape == (n, 3)
    assert (c.sum(1) == 1).all()
    assert (c.sum(0) - n * torch.tensor([0.1, 0.7, 0.2])).abs().max() < 1
    if n > 99:
        assert (c.argmax(1).diff() != 0).sum() > n / 5  # and in no order
