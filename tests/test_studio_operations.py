"""Tests of the operations of the studio on small runs of images."""

import base64
import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from studio_runs import gray_bars, open_small, rows

from varied import functional
from varied.errors import VariedError
from varied.evaluate import is_active
from varied.studio import analysis, generation, items, latent_map, map_rows, paths, schemas
from varied.studio.opened_run import OpenedRun
from varied.studio.operations import OPERATIONS, run_operation, supported_operations


def pixels(example):
    """Return the pixels of an example."""
    content = base64.b64decode(example.image.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)))


def image_url(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return open_small(
        tmp_path_factory.mktemp("runs") / "bars", gray_bars(), latent=2, steps=300, width=32
    )


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "conditional"
    return open_small(folder, gray_bars(), "conditional-vae", latent=3, width=32)


@pytest.fixture(scope="module")
def vq(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "vq"
    return open_small(folder, gray_bars(), "vq-vae", steps=20, latent=4, codebook_size=16)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "ladder"
    return open_small(folder, gray_bars(), "ladder-vae", latent=2, levels=2, steps=40)


# Decoding and encoding


def test_few_contexts_are_kept(conditional, monkeypatch):
    monkeypatch.setattr(generation, "_MAX_CONTEXTS", 1)
    z = [[0.0] * 3]
    first, second, again = (
        generation.decode(conditional, schemas.DecodeRequest(z=z, label=label)).results[0].example
        for label in ("horizontal", "vertical", "horizontal")
    )
    assert first == again != second
    assert len(conditional.cache["contexts"]) == 1


def test_decoding_codes_equals_reconstruction(bars):
    data = bars.run.split("test")
    expected = bars.run.reconstruct(data, n=5).array[1]
    encoded = generation.encode(bars, schemas.SourceRequest(source=source_of(bars, "test", 5)))
    request = schemas.DecodeRequest(z=[result.mean for result in encoded.results])
    response = generation.decode(bars, request)
    assert np.array_equal([pixels(r.example) for r in response.results], expected)
    pairs = generation.reconstruct(bars, schemas.SourceRequest(source=source_of(bars, "test", 5)))
    assert np.array_equal([pixels(p.reconstruction) for p in pairs.results], expected)
    assert np.array_equal([pixels(p.original) for p in pairs.results], data.x[:5])
    assert generation.decode(bars, request) == response


def source_of(opened, split, n):
    index = getattr(opened.run.store.read_split(), split)
    return rows(*index[:n].tolist())


def test_codes_equal_those_of_the_run(bars):
    codes = bars.run.encode(bars.run.data)
    assert torch.allclose(bars.codes, codes.mean, atol=1e-5)
    response = generation.encode(bars, schemas.SourceRequest(source=rows(7)))
    (result,) = response.results
    assert np.allclose(result.mean, codes.mean[7], atol=1e-5)
    assert np.allclose(result.std, codes.std[7], atol=1e-5)
    assert result.neighbors[0].row == 7
    assert np.allclose(result.positions["pca"], latent_map.projection(bars, "pca").positions[7])
    variances = np.array(result.ellipses["units"])
    order = bars.units[0]
    assert np.allclose(variances, [*(codes.std[7][order] ** 2), 0], rtol=1e-4)


def test_only_bad_codes_have_errors(bars):
    request = schemas.DecodeRequest(z=[bars.codes[11].tolist(), [1], [0, 50]])
    response = generation.decode(bars, request)
    assert [result.error is None for result in response.results] == [True, False, True]
    assert "pass 2 values" in response.results[1].error
    assert response.is_outside[0] is False
    assert response.is_outside[2] is True


def test_requests_are_decoded_together(bars):
    requests = [schemas.DecodeRequest(z=[[0.1, 0], [1]]), schemas.DecodeRequest(z=[[0.5, 1]])]
    together = generation.decode_together(bars, requests)
    alone = [generation.decode(bars, request) for request in requests]
    for response, other in zip(together, alone, strict=True):
        for result, expected in zip(response.results, other.results, strict=True):
            assert result.error == expected.error
            if result.example:
                difference = pixels(result.example).astype(int) - pixels(expected.example)
                assert np.abs(difference).max() <= 1
    labeled = [schemas.DecodeRequest(z=[[0, 0]], label="horizontal"), requests[1]]
    first, second = generation.decode_together(bars, labeled)
    assert "not conditional" in first.results[0].error
    assert second.results[0].error is None


def test_only_bad_examples_have_errors(bars):
    x = bars.run.data.x
    examples = [
        {"kind": "image", "image": image_url(x[3])},
        {"kind": "image", "image": "data:image/png;base64,AAAA"},
        {"kind": "image", "image": "https://example.com/a.png"},
        {"kind": "row", "row": {"a": 1}},
        {"kind": "image", "image": image_url(np.repeat(x[3], 2, 0).repeat(2, 1))},
    ]
    source = schemas.Source(examples=examples)
    results = generation.encode(bars, schemas.SourceRequest(source=source)).results
    assert [result.error is None for result in results] == [True, False, False, False, True]
    assert np.allclose(results[0].mean, bars.codes[3], atol=1e-5)
    assert "corrupted" in results[1].error
    assert "not a data URL" in results[2].error
    assert "pass an image" in results[3].error
    results = generation.reconstruct(bars, schemas.SourceRequest(source=rows(0, 999))).results
    assert results[1].error == "There is no row 999; rows must be between 0 and 199."
    only_bad = schemas.SourceRequest(source=schemas.Source(examples=examples[1:3]))
    assert all(result.error for result in generation.encode(bars, only_bad).results)


def test_samples_equal_those_of_the_run(bars):
    response = generation.sample(bars, schemas.SampleRequest(n=3, seed=4, temperature=0.5))
    expected = bars.run.sample(3, seed=4, temperature=0.5).array
    assert np.array_equal([pixels(r.example) for r in response.results], expected)


def test_decoding_one_code_is_fast(bars):
    request = schemas.DecodeRequest(z=[[0.3, 0.4]])
    generation.decode(bars, request)
    durations = []
    for _ in range(20):
        start = time.perf_counter()
        generation.decode(bars, request).model_dump_json()
        durations.append(time.perf_counter() - start)
    assert np.median(durations) < 0.02


# The map


def test_principal_components_equal_those_of_scikit_learn(ladder):
    plane = latent_map.projection(ladder, "pca")
    pca = PCA(2).fit(ladder.codes.double().numpy())
    expected = pca.transform(ladder.codes.double().numpy())
    signs = np.sign((plane.positions * expected).sum(0))
    assert np.allclose(plane.positions, signs * expected, atol=1e-4)
    assert plane.explained == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-4)


@pytest.mark.parametrize("name", ["pca", "units"])
def test_a_point_decodes_as_its_code_if_there_are_two_units(bars, name):
    x, y = map(float, latent_map.projection(bars, name).positions[11])
    response = latent_map.decode_point(bars, schemas.MapPoint(projection=name, x=x, y=y))
    assert np.allclose(response.z, bars.codes[11], atol=1e-5)
    code = schemas.DecodeRequest(z=[bars.codes[11].tolist()])
    assert np.array_equal(
        pixels(response.decoded.example), pixels(generation.decode(bars, code).results[0].example)
    )
    far = schemas.MapPoint(projection=name, x=60, y=60)
    assert latent_map.decode_point(bars, far).is_outside


def test_other_units_are_at_their_mean(ladder):
    x, y = 0.3, -0.2
    response = latent_map.decode_point(ladder, schemas.MapPoint(projection="units", x=x, y=y))
    first, second, *others = ladder.units[0]
    assert response.z[first] == pytest.approx(x)
    assert response.z[second] == pytest.approx(y)
    assert np.allclose(np.array(response.z)[others], ladder.codes.mean(0)[others], atol=1e-5)


def test_tsne_is_computed_on_request(bars):
    assert [p.is_ready for p in latent_map.map_info(bars).projections][2] is False
    with pytest.raises(VariedError, match="compute it first"):
        latent_map.map_columns(bars, "tsne")
    plane = latent_map.compute_projection(bars, "tsne")
    assert np.allclose(plane.invert(plane.positions[:9]), bars.codes[:9], atol=1e-4)
    assert np.allclose(plane.place(bars.codes[:9]), plane.positions[:9], atol=1e-4)
    assert plane.is_far(np.array([[50.0, 0], plane.positions[0]])).tolist() == [True, False]
    assert latent_map.map_info(bars).projections[2].is_ready
    encoded = generation.encode(bars, schemas.SourceRequest(source=rows(5))).results[0]
    assert np.allclose(encoded.positions["tsne"], plane.positions[5], atol=1e-4)
    # Points that t-SNE does not include are placed by their nearest codes.
    from varied.studio.projections import tsne

    sampled = tsne(bars.codes, np.arange(0, 200, 2))
    assert sampled.positions.shape == (200, 2)
    assert np.isfinite(sampled.positions).all()


def test_map_columns_are_binary(bars):
    columns = latent_map.map_columns(bars, "pca")
    content = columns.to_bytes()
    assert len(content) == 4 + 200 * (4 + 4 + 4 + 1)
    assert np.frombuffer(content, "<u4", 1)[0] == 200
    assert np.array_equal(np.frombuffer(content, "<f4", 200, 4), columns.x)
    names = np.array(latent_map.map_info(bars).labels)
    assert np.array_equal(names[columns.label], gray_bars()[1])


def test_map_values_are_scores_of_the_points(bars):
    info = latent_map.map_info(bars)
    assert info.columns == ["KL", "reconstruction", "-ELBO", "log-density", "split"]
    values = {name: latent_map.map_values(bars, name) for name in info.columns}
    assert np.allclose(values["-ELBO"], values["KL"] + values["reconstruction"], atol=1e-3)
    split = bars.run.store.read_split()
    assert set(np.flatnonzero(values["split"] == 2)) == set(split.test)
    test = values["KL"][values["split"] == 2]
    assert test.mean() == pytest.approx(bars.run.evaluate().kl.value, rel=0.05)
    with pytest.raises(VariedError, match="no column"):
        latent_map.map_values(bars, "age")


def test_large_data_are_sampled_by_label():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    chosen = map_rows.stratify(labels, 100)
    assert np.bincount(labels[chosen]).tolist() == [70, 20, 10]
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, map_rows.stratify(labels, 100))
    assert not np.array_equal(chosen, np.arange(0, 1000, 10))


def test_codes_and_density_are_stored_with_a_finished_run(bars):
    for name in ("codes", "density"):
        bars.prepare(name)
        assert (bars.run.folder / f"{name}.safetensors").is_file()
    again = OpenedRun(bars.run.folder, gray_bars())
    again.run.model.encode = None  # so that the codes cannot be computed again
    assert torch.equal(again.codes, bars.codes)
    assert torch.equal(again.density.log_density(again.codes), bars.density.log_density(bars.codes))
    assert again.density.threshold == bars.density.threshold


# The data


def test_items_have_labels_and_splits(bars):
    data, split = bars.run.data, bars.run.store.read_split()
    row = int(split.test[0])
    result = items.item(bars, row)
    assert (result.row, result.split, result.label) == (row, "test", data.classes[data.labels[row]])
    assert np.array_equal(pixels(result.example), data.x[row])
    thumbnail = np.asarray(Image.open(io.BytesIO(items.thumbnail(bars, row))))
    assert np.array_equal(thumbnail, data.x[row])
    with pytest.raises(VariedError, match="no row 200"):
        items.item(bars, 200)


def test_items_are_searched_by_row_and_label(bars):
    assert items.search(bars, "17")[0].row == 17
    results = items.search(bars, "Horizontal", 5)
    assert [result.label for result in results] == ["horizontal"] * 5
    assert [result.row for result in items.search(bars, "", 3)] == [0, 1, 2]
    assert items.search(bars, "diagonal") == []


def test_neighbors_equal_those_of_the_run(bars):
    response = items.neighbors(bars, 3, 4)
    index, distance = functional.nearest_codes(bars.run.model, bars.codes[3:4], bars.codes, 5)
    others = [i for i in index[0].tolist() if i != 3][:4]
    assert [neighbor.row for neighbor in response.neighbors] == others
    expected = [d for i, d in zip(index[0].tolist(), distance[0].tolist(), strict=True) if i != 3]
    assert np.allclose([n.distance for n in response.neighbors], expected[:4], atol=1e-4)


def test_units_are_sorted_by_kl(ladder):
    units = generation.units(ladder).units
    assert [unit.index for unit in units] == np.argsort(
        -np.array(ladder.run.evaluate().kl_by_unit)
    ).tolist()
    active = is_active(ladder.codes)
    for unit in units:
        assert unit.low < unit.mean < unit.high
        assert unit.is_active == bool(active[unit.index])


# Paths


def test_interpolation_starts_and_ends_at_the_examples(bars):
    request = schemas.InterpolateRequest(source=rows(2, 9), steps=5)
    response = paths.interpolate(bars, request)
    decoded = [pixels(result.example) for result in response.rows[0]]
    data = bars.run.data.take([2, 9])
    assert np.array_equal(decoded, bars.run.interpolate(data, n=1, steps=5).array[0])
    density = bars.density.log_density(bars.codes[[2, 9]]).tolist()
    assert np.allclose(np.array(response.log_density)[0, [0, -1]], density, atol=1e-3)
    assert response.threshold == bars.density.threshold
    dense = paths.interpolate(bars, request.model_copy(update={"path": "density"}))
    assert max(dense.log_density[0]) >= max(response.log_density[0]) - 0.5


def test_four_examples_are_the_corners_of_a_grid(bars):
    request = schemas.InterpolateRequest(source=rows(2, 9, 4, 7), steps=3)
    response = paths.interpolate(bars, request)
    decoded = [[pixels(result.example) for result in row] for row in response.rows]
    data = bars.run.data.take([2, 9, 4, 7])
    assert np.array_equal(decoded, bars.run.interpolate(data, steps=3, grid=True).array)
    with pytest.raises(VariedError, match="2 examples, or 4"):
        paths.interpolate(bars, schemas.InterpolateRequest(source=rows(1, 2, 3)))
    with pytest.raises(VariedError, match="Example 2 cannot be used"):
        paths.interpolate(bars, schemas.InterpolateRequest(source=rows(1, 999)))


def test_a_path_of_images_is_animated(bars):
    content = paths.interpolation_gif(bars, schemas.InterpolateRequest(source=rows(2, 9), steps=4))
    assert Image.open(io.BytesIO(content)).n_frames == 6


def test_traversals_equal_those_of_the_run(bars):
    response = paths.traverse(bars, schemas.TraverseRequest(source=rows(3), dimensions=2, steps=3))
    expected = bars.run.traverse(bars.run.data.take([3]), dimensions=2, steps=3).array
    decoded = [[pixels(result.example) for result in row] for row in response.rows]
    assert np.array_equal(decoded, expected)
    assert response.units == bars.units[0][:2]


def test_an_attribute_is_the_difference_between_mean_codes(bars):
    positive = np.flatnonzero(gray_bars()[1] == "horizontal").tolist()
    response = paths.attribute(bars, schemas.AttributeRequest(name="flat", positive=positive))
    is_positive = np.isin(np.arange(200), positive)
    expected = bars.codes[is_positive].mean(0) - bars.codes[~is_positive].mean(0)
    assert np.allclose(response.step, expected, atol=1e-5)
    assert (response.n_positive, response.n_negative) == (len(positive), 200 - len(positive))
    assert response.effects[0].name.startswith("class: ")
    negative = [row for row in range(200) if row not in positive]
    request = schemas.AttributeRequest(name="flat", positive=positive, negative=negative)
    assert np.allclose(paths.attribute(bars, request).step, expected, atol=1e-5)
    with pytest.raises(VariedError, match="no row 200"):
        paths.attribute(bars, schemas.AttributeRequest(name="x", positive=[1, 200]))


# Analysis


def test_anomalies_are_sorted_and_have_maps(bars):
    response = analysis.detect(bars, schemas.DetectRequest(source=rows(1, 2, 900)))
    report = bars.run.detect(bars.run.data.take([1, 2]))
    assert [result.score for result in response.results] == sorted(report.score, reverse=True)
    assert {result.row for result in response.results} == {1, 2}
    assert response.errors[0].index == 2
    assert pixels(response.results[0].excess).shape == (9, 9, 3)
    assert response.normal_scores == sorted(report.normal_score)
    default = analysis.detect(bars, schemas.DetectRequest(max_fpr=0.2))
    assert len(default.results) == len(bars.run.split("test"))
    assert default.threshold is not None
    noise = np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8)
    example = {"kind": "image", "image": image_url(noise)}
    request = schemas.DetectRequest(source=schemas.Source(examples=[example]))
    result = analysis.detect(bars, request).results[0]
    assert result.score > max(response.normal_scores)
    assert (result.row, result.name) == (0, "0")


def test_a_region_of_an_image_is_filled(bars):
    mask = np.zeros((9, 9), np.uint8)
    mask[:, 5:] = 255
    request = schemas.InpaintRequest(source=rows(4), mask=image_url(mask), n=3)
    response = analysis.inpaint(bars, request)
    assert len(response.results) == 3
    for result in response.results:
        assert np.array_equal(pixels(result.example)[:, :5], bars.run.data.x[4][:, :5])
    with pytest.raises(VariedError, match="mask is unreadable"):
        analysis.inpaint(bars, request.model_copy(update={"mask": "data:text/plain;base64,AAAA"}))


def test_runs_are_compared_on_the_same_rows(bars, conditional):
    from varied.studio.opened_run import Services

    bars.services = Services(open_run={"other": conditional}.__getitem__)
    response = analysis.compare(bars, schemas.CompareRequest(other="other", rows=[3, 5]))
    assert np.array_equal(pixels(response.originals[1]), bars.run.data.x[5])
    for opened, examples in zip((bars, conditional), response.reconstructions, strict=True):
        expected = opened.run.reconstruct(opened.run.data.take([3, 5])).array[1]
        assert np.array_equal([pixels(example) for example in examples], expected)
    assert "conditional" in response.sentence
    assert response.figures["run"] == ["bars", "conditional"]


# Other models


def test_a_conditional_run_needs_labels(conditional):
    request = schemas.DecodeRequest(z=[[0, 0, 0]], label="vertical")
    vertical = generation.decode(conditional, request).results[0]
    horizontal = generation.decode(
        conditional, request.model_copy(update={"label": "horizontal"})
    ).results[0]
    assert (vertical.label, horizontal.label) == ("vertical", "horizontal")
    assert not np.array_equal(pixels(vertical.example), pixels(horizontal.example))
    unknown = generation.decode(conditional, request.model_copy(update={"label": "diagonal"}))
    assert "diagonal" in unknown.results[0].error
    sampled = generation.sample(conditional, schemas.SampleRequest(n=2, label="vertical"))
    assert [result.label for result in sampled.results] == ["vertical", "vertical"]
    example = {"kind": "image", "image": image_url(conditional.run.data.x[3])}
    source = schemas.Source(examples=[example])
    with pytest.raises(VariedError, match="provide data with labels"):
        generation.encode(conditional, schemas.SourceRequest(source=source))
    label = str(gray_bars()[1][3])
    labeled = schemas.Source(examples=[example], label=label)
    result = generation.encode(conditional, schemas.SourceRequest(source=labeled)).results[0]
    assert np.allclose(result.mean, conditional.codes[3], atol=1e-5)


def test_discrete_codes_have_a_map_but_no_units(vq):
    names, reasons = supported_operations(vq)
    assert {"sample", "decode", "encode", "reconstruct", "interpolate", "map"} <= {*names}
    assert {"traverse", "attribute", "units", "impute"} <= {*reasons}
    assert "real-valued latent variables" in reasons["traverse"]
    x, y = map(float, latent_map.projection(vq, "pca").positions[4])
    response = latent_map.decode_point(vq, schemas.MapPoint(projection="pca", x=x, y=y))
    assert np.allclose(response.z, vq.codes[4])
    expected = vq.run.reconstruct(vq.run.data.take([4])).array[1, 0]
    assert np.array_equal(pixels(response.decoded.example), expected)
    assert generation.decode(vq, schemas.DecodeRequest(z=[response.z])).is_outside is None


@pytest.mark.parametrize("name", ["bars", "conditional", "vq", "ladder"])
def test_supported_operations_work(name, request):
    opened = request.getfixturevalue(name)
    names, reasons = supported_operations(opened)
    assert not {*names} & {*reasons}
    assert {*names, *reasons} >= {*OPERATIONS}
    latent = opened.codes[:1].tolist()
    requests = {
        "sample": schemas.SampleRequest(n=2),
        "decode": schemas.DecodeRequest(z=latent),
        "encode": schemas.SourceRequest(source=rows(0, 1)),
        "reconstruct": schemas.SourceRequest(source=rows(0, 1)),
        "interpolate": schemas.InterpolateRequest(source=rows(0, 1), steps=3),
        "traverse": schemas.TraverseRequest(source=rows(0), steps=2),
        "attribute": schemas.AttributeRequest(name="a", positive=[0, 1, 2]),
        "map/decode": schemas.MapPoint(projection="pca", x=0, y=0),
    }
    for operation, body in requests.items():
        if operation in names:
            response = run_operation(opened, operation, body, "http://127.0.0.1:8642/api/x")
            assert "varied.Run(" in response.snippets.python
            compile(response.snippets.python, "snippet", "exec")
            assert "$TOKEN" in response.snippets.curl
            assert run_operation(opened, operation, body) == response.model_copy(
                update={"snippets": None}
            )


def test_a_newer_checkpoint_is_noticed(bars, tmp_path):
    folder = bars.run.save(tmp_path / "copy")
    opened = OpenedRun(folder, gray_bars())
    assert opened.is_current
    data = opened.run.data
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(content)
    assert not opened.is_current
    again = opened.reopen()
    assert again.is_current
    assert again.run.data is data


def test_a_run_is_opened_at_its_last_checkpoint(bars, tmp_path):
    folder = bars.run.save(tmp_path / "copy")
    for name in ("model", "codes", "density"):
        (folder / f"{name}.safetensors").unlink(missing_ok=True)
    opened = OpenedRun(folder, gray_bars())
    assert opened.codes.shape == (200, 2)
    assert not (folder / "codes.safetensors").exists()  # only a finished run stores them
    (checkpoint,) = sorted((folder / "checkpoints").iterdir())[-1:]
    checkpoint.rename(checkpoint.with_name("000000999.safetensors"))
    assert not opened.is_current
