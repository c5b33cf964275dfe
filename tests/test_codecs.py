"""The codecs of images and arrays: tensors, restored data, files, plots and defaults."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from varied.data import (
    ArrayCodec,
    ImageCodec,
    RawData,
    fit_codec,
    is_nearly_binary,
    mask_missing,
    open_codec,
    read,
)
from varied.errors import VariedError
from varied.seeding import seeded

rng = np.random.default_rng(0)
GRAY = rng.integers(0, 256, (20, 8, 12), dtype=np.uint8)
COLOR = rng.integers(0, 256, (20, 8, 12, 3), dtype=np.uint8)
NEARLY_BINARY = np.where(rng.random((20, 8, 12)) < 0.2, 250, 3).astype(np.uint8)
REAL = rng.normal(5.0, 3.0, (20, 4)).astype(np.float32)
UNIT = rng.random((20, 8, 8, 3)).astype(np.float32)
CODECS = {
    "gray": fit_codec(read(GRAY)),
    "color": fit_codec(read(COLOR)),
    "dynamic": fit_codec(read(NEARLY_BINARY)),
    "fixed": fit_codec(read(NEARLY_BINARY), binarize="fixed", seed=3),
    "real": fit_codec(read(REAL)),
    "series": fit_codec(read(rng.normal(size=(20, 3, 30)))),
    "unit-interval": fit_codec(read(UNIT)),
    "binary": fit_codec(read(REAL > 5)),
}
GRAY_CODEC, COLOR_CODEC, REAL_CODEC = CODECS["gray"], CODECS["color"], CODECS["real"]
IMAGES_OR_ARRAYS = pytest.mark.parametrize("codec", [GRAY_CODEC, REAL_CODEC])


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_codec_is_restored_from_json(codec):
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec


@pytest.mark.parametrize(
    ("name", "net", "likelihood"),
    [
        ("gray", "mlp", "discretized-logistic"),
        ("color", "conv", "discretized-logistic"),
        ("dynamic", "mlp", "bernoulli"),
        ("fixed", "mlp", "bernoulli"),
        ("real", "mlp", "gaussian"),
        ("series", "mlp", "gaussian"),
        ("unit-interval", "conv", "continuous-bernoulli"),
        ("binary", "mlp", "bernoulli"),
    ],
)
def test_defaults_have_values_and_reasons(name, net, likelihood):
    defaults = CODECS[name].defaults(1000)
    assert list(defaults) == ["net", "likelihood", "latent"]
    assert (defaults["net"].value, defaults["likelihood"].value) == (net, likelihood)
    assert all(default.reason for default in defaults.values())
    assert CODECS[name].defaults(40)["latent"].value <= defaults["latent"].value
    assert ImageCodec((3, 64, 64)).defaults(1000)["latent"].value == 64


# Images


@pytest.mark.parametrize("x", [GRAY, COLOR])
def test_decoding_inverts_the_encoding_of_images(x):
    codec = fit_codec(read(x))
    stored = codec.encode(read(x))
    assert (stored.dtype, stored.shape) == (torch.uint8, (20, *codec.shape))
    assert codec.domain == "uint8"
    assert codec.is_lossy is False
    loaded = codec.load(stored)
    assert loaded.dtype == torch.float32
    assert 0 <= loaded.min() <= loaded.max() <= 1
    np.testing.assert_array_equal(codec.decode(loaded), x)
    np.testing.assert_array_equal(codec.to_images(loaded), x)


def test_decoded_images_are_clipped():
    x = torch.tensor([-1.0, 2.0, float("nan"), 0.5]).reshape(1, 1, 2, 2)
    assert ImageCodec((1, 2, 2)).decode(x).ravel().tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize(
    ("x", "expected"),
    [(GRAY, False), (COLOR, False), (NEARLY_BINARY, True), (np.zeros((9, 8, 8), np.uint8), True)],
)
def test_images_with_few_gray_levels_are_nearly_binary(x, expected):
    assert is_nearly_binary(x) == expected


def test_nearly_binary_images_are_binarized_at_every_load():
    codec = CODECS["dynamic"]
    assert (codec.binarize, codec.domain, codec.is_lossy) == ("dynamic", "binary", True)
    assert "nearly black and white" in codec.notes[0]
    stored = torch.full((500, 1, 8, 12), 64, dtype=torch.uint8)
    samples = []
    for i in (1, 1, 2):
        with seeded(0, "test", i):
            samples.append(codec.load(stored))
    first, second, other = samples
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert abs(first.mean() - 64 / 255) < 0.02
    assert (codec.to_values(stored) == 64 / 255).all()


def test_dynamic_binarization_has_the_probability_of_each_gray_level():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(20_000, 1, 16, 16)
    with seeded(0, "test"):
        frequency = ImageCodec((1, 16, 16), "dynamic").load(levels).mean(0).ravel()
    p = torch.arange(256) / 255
    assert (frequency[0], frequency[255]) == (0.0, 1.0)
    assert ((frequency - p).abs() <= 5 * (p * (1 - p) / 20_000).sqrt() + 1e-6).all()


def test_fixed_binarization_depends_on_the_image_only():
    codec = ImageCodec.fit(read(GRAY), binarize="fixed", seed=1)
    stored = codec.encode(read(GRAY))
    assert set(stored.unique().tolist()) == {0, 255}
    assert torch.equal(codec.encode(read(GRAY).take([7, 3])), stored[[7, 3]])
    assert torch.equal(codec.load(stored), codec.load(stored))
    other = ImageCodec.fit(read(GRAY), binarize="fixed", seed=2).encode(read(GRAY))
    assert not torch.equal(stored, other)
    assert abs(stored.float().mean() - GRAY.mean()) < 8


@pytest.mark.parametrize("binarize", ["fixed", "dynamic"])
def test_binarization_keeps_black_and_white(binarize):
    x = np.repeat(np.array([0, 255], np.uint8), 64).reshape(2, 8, 8)
    codec = ImageCodec((1, 8, 8), binarize)
    np.testing.assert_array_equal(codec.decode(codec.load(codec.encode(x))), x)


@pytest.mark.parametrize(
    ("domains", "expected"), [({"uint8"}, "none"), ({"binary", "real"}, "auto")]
)
def test_a_likelihood_of_gray_levels_prevents_binarization(domains, expected):
    assert ImageCodec.fit_options(frozenset(domains)) == {"binarize": expected}
    assert ArrayCodec.fit_options(frozenset(domains)) == {"domain": domains}


def test_gray_and_color_images_are_converted():
    np.testing.assert_array_equal(COLOR_CODEC.encode(GRAY)[:, 2].numpy(), GRAY)
    np.testing.assert_array_equal(GRAY_CODEC.encode(np.stack([GRAY] * 3, -1))[:, 0].numpy(), GRAY)


def test_images_and_arrays_in_the_unit_interval_are_converted():
    floats = RawData((GRAY / np.float32(255))[:, None], "array")
    np.testing.assert_array_equal(GRAY_CODEC.encode(floats)[:, 0].numpy(), GRAY)
    codec = fit_codec(read(rng.random((20, 8, 12))))
    np.testing.assert_allclose(codec.encode(read(GRAY))[:, 0].numpy(), GRAY / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 9, 9), np.uint8), r"9x9 in gray, .* read them with image_size=\(8, 12\)"),
        (np.zeros((2, 9, 9, 3), np.uint8), "9x9 in gray"),
        (np.zeros((2, 8, 12)), "must be uint8 .* got float64"),
        (np.zeros((2, 8), np.uint8), r"got uint8 of shape \(2, 8\)"),
    ],
)
def test_unsuitable_images_are_refused(x, message):
    with pytest.raises(VariedError, match=message):
        GRAY_CODEC.encode(x)


@pytest.mark.parametrize("x", [rng.random((20, 8, 12)), np.zeros((20, 8, 12), np.uint8)])
def test_images_read_as_arrays_are_encoded_by_a_codec_of_images(x):
    data = read(x, **GRAY_CODEC.reading_options)
    assert data.kind == "array"
    np.testing.assert_array_equal(GRAY_CODEC.encode(data)[:, 0], np.round(data.x[:, 0] * 255))
    with pytest.raises(VariedError, match="image_size= is not an option of array data"):
        read(x, image_size=9)


def test_reading_options_bring_other_images_to_the_size():
    assert GRAY_CODEC.size == (8, 12)
    assert GRAY_CODEC.reading_options == {"image_size": (8, 12)}
    assert REAL_CODEC.reading_options == {}
    other = read(np.full((10, 30, 30), 9, np.uint8), **GRAY_CODEC.reading_options)
    assert GRAY_CODEC.encode(other).shape == (10, 1, 8, 12)


# Arrays


def test_real_arrays_are_standardized():
    stored = REAL_CODEC.encode(REAL)
    np.testing.assert_allclose(stored.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(stored.numpy().std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(REAL_CODEC.decode(REAL_CODEC.load(stored)), REAL, rtol=1e-5)


def test_statistics_are_those_of_the_training_rows():
    codec = fit_codec(read(REAL).take(range(10)))
    np.testing.assert_allclose(codec.mean, REAL[:10].mean(0), rtol=1e-6)


def test_each_channel_of_a_series_is_standardized():
    x = rng.normal(size=(20, 3, 30)) * np.array([1, 10, 100])[:, None] + 7
    codec = fit_codec(read(x))
    assert len(codec.mean) == 3
    np.testing.assert_allclose(codec.encode(read(x)).std((0, 2), correction=0), 1, rtol=1e-4)
    np.testing.assert_allclose(codec.decode(codec.encode(read(x))), x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("columns", "listed"), [([2], "2"), (range(8), "0, 1, 2, 3, 4 and 3 more")]
)
def test_constant_features_are_centered_and_noted(columns, listed):
    x = rng.normal(size=(20, 9)).astype(np.float32)
    x[:, list(columns)] = 0.1
    codec = fit_codec(read(x))
    assert (codec.encode(x)[:, list(columns)] == 0).all()
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, rtol=1e-5, atol=1e-6)
    assert codec.notes == (f"Constant features in the training rows: {listed}.",)


@pytest.mark.parametrize(
    ("name", "x", "message"),
    [
        (
            "binary",
            [[0, 1, 0, 1], [0, 0.5, 0, 1]],
            "Row 1 has the value 0.5, which is neither 0 nor 1",
        ),
        ("unit-interval", UNIT.transpose(0, 3, 1, 2) + 1, r"Row 0 .* outside \[0, 1\], but"),
        ("real", [[1, 2, 3, 4], [1, np.inf, 3, 4]], "Row 1 contains infinity; replace it"),
        ("gray", np.full((2, 1, 8, 12), np.nan, np.float32), "Images must be uint8"),
        ("real", np.zeros((2, 3)), r"shape \(3,\), but the run was trained on .* \(4,\)"),
        ("real", ["a"], "Arrays must be numeric .* got <U1"),
    ],
)
def test_unsuitable_arrays_are_refused(name, x, message):
    with pytest.raises(VariedError, match=message):
        CODECS[name].encode(np.asarray(x))


def with_missing(x, fraction=0.3):
    """Return a copy of an array with missing values, and which values are missing."""
    is_missing = np.random.default_rng(1).random(x.shape) < fraction
    return np.where(is_missing, np.nan, x).astype(np.float32), is_missing


@pytest.mark.parametrize("shape", [(20, 4), (20, 3, 30)])
def test_statistics_are_those_of_the_observed_values(shape):
    x, is_missing = with_missing(rng.normal(5.0, 3.0, shape))
    codec = fit_codec(read(x))
    assert (codec.domain, codec.has_missing_values) == ("real", True)
    for channel in range(shape[1]):
        observed = x[:, channel][~is_missing[:, channel]].astype(np.float64)
        np.testing.assert_allclose(codec.mean[channel], observed.mean(), rtol=1e-12)
        np.testing.assert_allclose(codec.scale[channel], observed.std(), rtol=1e-12)
    stored = codec.encode(x)
    np.testing.assert_array_equal(stored.isnan(), is_missing)
    np.testing.assert_allclose(codec.decode(stored), x, rtol=1e-5, atol=1e-5)
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec
    assert torch.equal(codec.to_features(stored), stored.nan_to_num(0.0).flatten(1))
    assert not fit_codec(read(np.nan_to_num(x))).has_missing_values


def test_statistics_of_large_values_are_finite():
    codec = fit_codec(read(with_missing(REAL * 1e37)[0]))
    assert np.isfinite(codec.scale).all()


def test_arrays_of_earlier_versions_have_no_missing_values():
    values = REAL_CODEC.to_json()
    del values["has_missing_values"]
    assert open_codec(values) == REAL_CODEC


@pytest.mark.parametrize(
    ("x", "domain"), [(UNIT, "unit-interval"), (REAL > 5, "binary"), (UNIT[..., 0] > 0.5, "binary")]
)
def test_the_domain_is_that_of_the_observed_values(x, domain):
    codec = fit_codec(read(with_missing(x)[0]))
    assert (codec.domain, codec.has_missing_values) == (domain, True)
    stored = codec.encode(read(with_missing(x)[0]))
    assert stored.isnan().any()
    np.testing.assert_array_equal(codec.decode(stored), stored)


def test_a_constant_feature_with_missing_values_is_centered():
    x = with_missing(REAL)[0]
    x[:, 2] = np.where(np.isnan(x[:, 2]), np.nan, 7)
    codec = fit_codec(read(x))
    assert (codec.mean[2], codec.scale[2]) == (7, 1)
    assert codec.notes == ("Constant features in the training rows: 2.",)


@pytest.mark.parametrize(
    ("x", "what"), [(REAL, "Feature"), (rng.normal(size=(20, 4, 9)), "Channel"), (UNIT, "Channel")]
)
def test_a_feature_without_observed_values_is_refused(x, what):
    x = x.copy()
    channel = x[..., 2] if x is not REAL and x.shape[-1] == 3 else x[:, 2]
    channel[:] = np.nan
    with pytest.raises(VariedError, match=f"{what} 2 has no observed value .*; drop it"):
        fit_codec(read(x))


def test_missing_pixels_are_plotted_in_gray():
    x, is_missing = with_missing(UNIT.transpose(0, 3, 1, 2))
    for codec in (CODECS["unit-interval"], ArrayCodec((3, 8, 8), "real", (0.0,) * 3, (1.0,) * 3)):
        images = codec.to_images(torch.from_numpy(x))
        assert (images[is_missing.transpose(0, 2, 3, 1)] == 128).all()
        assert (images.min(), images.max()) == (0, 255)


def test_the_missing_values_of_arrays_are_filled():
    x, is_missing = with_missing(rng.normal(5.0, 3.0, (20, 3, 30)))
    x[4:9], is_missing[4:9] = 0, False
    data, codec = read(x), fit_codec(read(x))
    imputer = codec.imputer()
    batch = mask_missing(codec.encode(data))
    rows = imputer.incomplete_rows(batch)
    assert rows.tolist() == [i for i in range(20) if not 4 <= i < 9]
    draws = [batch.x[rows] + 1, batch.x[rows] - 3]
    filled, completed, cells = imputer.fill(data, rows.numpy(), draws)
    np.testing.assert_array_equal(filled[~is_missing], x[~is_missing])
    means = np.broadcast_to(np.array(codec.mean)[:, None], (3, 30))
    scales = np.broadcast_to(np.array(codec.scale)[:, None], (3, 30))
    expected = np.where(is_missing, means - scales, x)
    np.testing.assert_allclose(filled, expected, rtol=1e-5)
    np.testing.assert_allclose(completed[0], np.where(is_missing, means + scales, x), rtol=1e-5)
    assert list(cells.columns) == ["row", "axis_1", "axis_2", "value", "ci_low", "ci_high"]
    index = tuple(cells[["row", "axis_1", "axis_2"]].to_numpy().T)
    np.testing.assert_array_equal(np.argwhere(is_missing).T, index)
    np.testing.assert_array_equal(cells.value, filled[index])
    assert (cells.ci_low < cells.value).all()
    assert np.isnan(data.x).any()


def test_complete_arrays_are_not_filled():
    data = read(REAL)
    imputer = REAL_CODEC.imputer()
    assert not len(imputer.incomplete_rows(mask_missing(REAL_CODEC.encode(data))))
    filled, completed, cells = imputer.fill(data, np.arange(0), [])
    np.testing.assert_array_equal(filled, REAL)
    assert (completed, len(cells)) == ([], 0)


def test_missing_binary_values_are_filled_with_the_most_frequent_value():
    x = with_missing(REAL > 5)[0]
    data, codec = read(x), fit_codec(read(x))
    draws = [torch.full((20, 4), value) for value in (1.0, 0.0, 1.0)]
    filled, completed, _ = codec.imputer().fill(data, np.arange(20), draws)
    np.testing.assert_array_equal(filled, np.nan_to_num(x, nan=1))
    np.testing.assert_array_equal(completed[1], np.nan_to_num(x, nan=0))
    assert (codec.imputer().scale([2.0]) == 1).all()
    assert not list(codec.imputer().hide_numbers(mask_missing(codec.encode(data)), seed=0))


def test_each_observed_number_is_hidden_once():
    x, is_missing = with_missing(rng.normal(size=(200, 3, 40)))
    codec = fit_codec(read(x))
    batch = mask_missing(codec.encode(x))
    count = np.zeros_like(x)
    for cells in codec.imputer().hide_numbers(batch, seed=0):
        hidden = (cells.rows, cells.elements)
        count.reshape(200, -1)[hidden] += 1
        assert (cells.x.flatten(1)[hidden] == 0).all()
        assert (cells.mask.flatten(1)[hidden] == 0).all()
        assert torch.equal(cells.values, batch.x.flatten(1)[hidden])
    np.testing.assert_array_equal(count[:166], ~is_missing[:166])
    assert not count[166:].any()  # the rows have at most 20,000 values
    assert (codec.imputer().scale([2.0]) == 2).all()


def test_the_domain_of_arrays_can_be_chosen():
    assert fit_codec(read(REAL > 5), domain="real").domain == "real"
    assert fit_codec(read(REAL > 5), domain="unit-interval").domain == "unit-interval"
    with pytest.raises(VariedError, match=r"outside \[0, 1\].* or train with domain='real'"):
        ArrayCodec.fit(read(REAL), domain="unit-interval")
    with pytest.raises(VariedError, match="There is no domain 'reel': did you mean 'real'"):
        ArrayCodec.fit(read(REAL), domain="reel")


# Results


def test_arrays_with_image_channels_are_plotted_as_images():
    codec = CODECS["unit-interval"]
    x = torch.from_numpy(UNIT.transpose(0, 3, 1, 2).copy())
    np.testing.assert_array_equal(codec.to_images(x), np.round(UNIT * 255).astype(np.uint8))
    gray = ArrayCodec((1, 8, 8), "real", (0.0,), (1.0,))
    images = gray.to_images(torch.linspace(-3, 3, 64).reshape(1, 1, 8, 8))
    assert (images.dtype, images.shape) == (np.uint8, (1, 8, 8))
    assert (images.min(), images.max()) == (0, 255)
    assert REAL_CODEC.to_images(torch.zeros(2, 4)).dtype == np.float32


@pytest.mark.parametrize(("codec", "x"), [(GRAY_CODEC, GRAY), (REAL_CODEC, REAL)])
def test_results_are_arranged_in_a_leading_shape(codec, x):
    arranged = codec.arrange(x, (4, 5), {"path": None, "step": None})
    assert arranged.shape == (4, 5, *x.shape[1:])
    np.testing.assert_array_equal(arranged[1, 2], x[7])


def test_examples_are_plotted_by_the_function_of_the_result(tmp_path):
    path = GRAY_CODEC.plot(GRAY, GRAY[:2], lambda images, path: path / str(len(images)), tmp_path)
    assert path == tmp_path / "2"


@pytest.mark.parametrize(("codec", "x"), [(GRAY_CODEC, GRAY), (COLOR_CODEC, COLOR)])
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), "00000.png"),
        (tuple(f"in/{i}.jpg" for i in range(20)), "in/0.png"),
        (("../a.png", *map(str, range(19))), "00000.png"),
        (("a.png", "A.jpg", *map(str, range(18))), "00000.png"),
    ],
    ids=["no names", "folders", "a name outside", "duplicates"],
)
def test_images_are_saved_to_a_folder(tmp_path, codec, x, names, expected):
    folder = codec.save(x.reshape(4, 5, *x.shape[1:]), tmp_path / "images", names)
    assert len(list(folder.rglob("*.png"))) == 20
    np.testing.assert_array_equal(np.asarray(Image.open(folder / expected)), x[0])


@pytest.mark.parametrize(("codec", "x"), [(GRAY_CODEC, GRAY), (REAL_CODEC, REAL)])
def test_examples_are_saved_as_npy(tmp_path, codec, x):
    np.testing.assert_array_equal(np.load(codec.save(x, tmp_path / "a.npy")), x)
    with pytest.raises(VariedError, match=r"'a.txt' .* file extension; use \.npy or \.png"):
        codec.save(x, tmp_path / "a.txt")


def test_arrays_are_saved_as_csv(tmp_path):
    path = REAL_CODEC.save(REAL.reshape(4, 5, 4), tmp_path / "a.csv")
    np.testing.assert_array_equal(np.loadtxt(path, delimiter=",", dtype="f4"), REAL)


@pytest.mark.parametrize(("x", "ending"), [(GRAY, ""), (COLOR, ""), (GRAY, ".npz"), (REAL, ".npz")])
def test_labeled_examples_are_read_again(tmp_path, x, ending):
    data = read((x, ["a/b", "c"] * 10))
    codec = fit_codec(data)
    saved = read(codec.save_labeled(data, tmp_path / f"labeled{ending}"))
    order = slice(None) if ending else np.argsort(data.labels, kind="stable")
    np.testing.assert_array_equal(saved.x, x[order])
    np.testing.assert_array_equal(saved.labels, data.labels[order])
    assert saved.classes == (("a/b", "c") if ending else ("a_b", "c"))


def test_labeled_examples_that_cannot_be_saved_are_refused(tmp_path):
    data = read((GRAY, ["a/b", "a_b"] * 10))
    with pytest.raises(VariedError, match="same folder name"):
        GRAY_CODEC.save_labeled(data, tmp_path / "labeled")
    with pytest.raises(VariedError, match="already exists"):
        GRAY_CODEC.save_labeled(data.replace(classes=("a", "b")), tmp_path)
    with pytest.raises(VariedError, match=r"'a.csv' .* file extension; use \.npz"):
        REAL_CODEC.save_labeled(data, tmp_path / "a.csv")


def test_features_and_distances_of_images_and_arrays():
    x = GRAY_CODEC.load(GRAY_CODEC.encode(GRAY))
    assert torch.equal(GRAY_CODEC.to_features(x), GRAY_CODEC.encode(GRAY))
    assert torch.equal(GRAY_CODEC.to_features(GRAY_CODEC.encode(GRAY)), GRAY_CODEC.encode(GRAY))
    assert torch.equal(GRAY_CODEC.to_distances(GRAY), x)
    assert CODECS["series"].to_features(torch.zeros(2, 3, 30)).shape == (2, 90)
    assert torch.equal(REAL_CODEC.to_distances(REAL), REAL_CODEC.encode(REAL))
    outside = np.full((2, 4), 0.5, np.float32)  # binary data may be compared with other values
    assert torch.equal(CODECS["binary"].to_distances(outside), torch.from_numpy(outside))


@IMAGES_OR_ARRAYS
def test_images_and_arrays_have_no_columns(codec, tmp_path):
    data = read(GRAY if codec is GRAY_CODEC else REAL)
    values = torch.rand(2, 4)
    assert codec.column_names == ()
    assert codec.by_column(values) is values
    assert codec.convert(data) is data
    assert codec.invalid_cells(data) == []
    assert codec.attributes(data) == {}
    assert codec.decodes_labels is False
    with pytest.raises(VariedError, match=f"{codec.noun.capitalize()} cannot be converted"):
        codec.to_frame(data.x)
    scores = pd.DataFrame({"score": [0.5, 1.5]})
    path = codec.write_table(scores, tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), scores)


def test_images_have_no_missing_values():
    assert not GRAY_CODEC.has_missing_values
    with pytest.raises(VariedError, match=r"this run was trained on images.*--mask"):
        GRAY_CODEC.imputer()


def test_masks_are_for_images():
    assert GRAY_CODEC.parse_mask("0,0,12,4").sum() == 48
    with pytest.raises(
        VariedError, match="Only images can be masked, but this run was trained on arrays"
    ):
        REAL_CODEC.parse_mask("0,0,12,4")
    with pytest.raises(VariedError, match="cannot be read as arrays; use a folder or an array"):
        ArrayCodec.read_file(type("Path", (), {"name": "a.arr"}))


# Errors


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"codec": "images"}, "did you mean 'image'"),
        ({}, "codec: there is no kind of data ''"),
        ({"codec": "image", "shap": [8]}, r"shap: there is no such field \(did you mean 'shape'"),
        ({"codec": "image"}, "shape: it is missing"),
        ({"codec": "image", "shape": [2, 8, 8]}, r"does not match the shape \(2, 8, 8\)"),
        ({"codec": "image", "shape": None}, "shape: None is not a list"),
        ({"codec": "image", "shape": "abc"}, "shape: 'abc' is not a list"),
        ({"codec": "image", "shape": [1, 8, -8]}, "must consist of positive integers"),
        ({"codec": "image", "shape": [1, 8, "8"]}, r"shape\[2\]: '8' is not an integer"),
        ({"codec": "image", "shape": [1, 8, 8], "binarize": "fixt"}, "did you mean 'fixed'"),
        ({"codec": "array", "shape": [4], "domain": "real"}, r"does not match the shape \(4,\)"),
        ({"codec": "array", "shape": [4], "domain": "reel"}, "did you mean 'real'"),
    ],
)
def test_damaged_codecs_are_refused(values, message):
    with pytest.raises(VariedError, match=message):
        open_codec(values)


def test_unknown_options_are_refused_with_the_nearest():
    with pytest.raises(
        VariedError, match="binarise= is not an option of the image codec: did you mean 'binarize'"
    ):
        fit_codec(read(GRAY), binarise="none")
    with pytest.raises(VariedError, match="There is no binarization method 'dyn'"):
        fit_codec(read(GRAY), binarize="dyn")
