"""Tests of edits and style transfer with runs of images, tables and arrays."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from quick_training import train_quickly
from typer.testing import CliRunner

from varied import plots
from varied.cli import app
from varied.errors import VariedError


def quarters(n=400):
    """Return noisy images with one bright quarter, and whether it is on the left or the right."""
    rng = np.random.default_rng(0)
    x = 255 * (rng.random((n, 8, 8)) < 0.03).astype(np.uint8)
    is_right = rng.random(n) < 0.5
    for image, column in zip(x, 4 * is_right, strict=True):
        row = 4 * rng.integers(2)
        image[row : row + 4, column : column + 4] = 255
    return x, np.where(is_right, "right", "left")


def fraction_right(images):
    """Return the fraction of the brightness that is in the right half."""
    x = images.astype(float)
    return x[..., 4:].sum((-1, -2)) / x.sum((-1, -2))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "quarters"
    return train_quickly(quarters(), out=out, latent=2, steps=500)


# Edits of images


def test_an_edit_adds_and_removes_the_attribute(run):
    result = run.edit(target="right", strengths=(-1.0, 0.0, 1.0), n=20)
    fractions = fraction_right(result.array)
    assert result.array.shape == (20, 3, 8, 8)
    assert fractions[:, 2].mean() > 0.8
    assert fractions[:, 0].mean() < 0.2
    assert np.array_equal(result.array[:, 1], run.reconstruct(n=20).array[1])
    assert sum(result.rows) == len(run.store.read_split().train)
    effect = result.effects[0]
    assert effect.name.startswith("class: ")
    assert abs(effect.cosine) > 0.99
    assert abs(effect.after - effect.before) > 0.2
    assert (effect.after > effect.before) == (effect.cosine > 0)


def test_only_large_strengths_are_outside_the_data(run):
    # The limits are quantiles of the validation rows, so the most extreme row is at a limit.
    validation = run.split("validation")
    result = run.edit(validation, target="right", strengths=(0.0, 30.0), n=len(validation))
    assert result.outside[:, 0].sum() <= 2
    assert result.outside[:, 1].all()
    assert result.sparse[:, 1].all()


def test_examples_define_the_same_direction_as_labels(run):
    x, labels = quarters()
    right, left = (np.flatnonzero(labels == name)[:20].tolist() for name in ("right", "left"))
    by_rows = run.edit(examples=(right, left), n=10)
    by_data = run.edit(examples=(x[right], x[left]), n=10)
    assert np.array_equal(by_rows.array, by_data.array)
    by_label = run.edit(target="right", n=10)
    assert torch.cosine_similarity(by_rows.step, by_label.step, dim=0) > 0.8
    assert by_rows.rows == (20, 20)


def test_additional_attributes_are_edited_and_controlled_for(run):
    x, _ = quarters()
    is_high = x[:, :4].sum((1, 2)) > x[:, 4:].sum((1, 2))
    correlated = np.where(np.arange(len(x)) % 10 == 0, ~is_high, is_high).astype(str)
    attributes = {"half": np.where(is_high, "top", "bottom"), "correlated": correlated}
    options = {"column": "half", "target": "top", "attributes": pd.DataFrame(attributes)}
    result = run.edit(**options, n=20, strengths=(-1.0, 1.0))
    brightness = result.array.astype(float)
    assert brightness[:, 1, :4].sum() > 2 * brightness[:, 0, :4].sum()
    assert any(effect.name.startswith("correlated: ") for effect in result.effects)
    controlled = run.edit(**options, control_for=["correlated"], n=2)
    assert not torch.equal(controlled.step, result.step)


def test_plots_mark_edits_outside_the_data(run, tmp_path, monkeypatch):
    result = run.edit(target="right", strengths=(0.0, 30.0), n=3)
    n_outside = result.outside.sum()
    assert f"3 examples, 2 strengths of 'right', {n_outside} outside" in repr(result)
    assert result.save(tmp_path / "edits.png").stat().st_size > 500
    assert result.save(tmp_path / "edits.npy").exists()
    calls = []
    monkeypatch.setattr(plots, "variants", lambda *_, **options: calls.append(options))
    result.draw(result.images, tmp_path / "edits.png")
    assert calls[0]["captions"] == np.where(result.outside, "outside", "").tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "rihgt"}, "There is no class 'rihgt': did you mean 'right'"),
        ({}, "An attribute is required"),
        ({"target": "right", "column": "size"}, "There is no attribute 'size'"),
        ({"target": "right", "control_for": ["class"]}, "cannot control for the same attribute"),
        ({"examples": ([1], [2, 3])}, "at least two examples"),
        ({"examples": ([1, 900], [2, 3])}, "no row with index 900"),
        ({"examples": (["a.png", "b.png"], [2, 3])}, "the rows of this run have no names"),
        ({"target": "right", "attributes": {"a": [1, 2]}}, "'a' has 2 labels"),
        ({"target": "right", "direction": "svm"}, "There is no direction 'svm'"),
    ],
)
def test_wrong_options_are_refused(run, options, message):
    with pytest.raises(VariedError, match=message):
        run.edit(**options)


@pytest.mark.parametrize(
    ("use", "options"),
    [
        ("edit", {"target": "right"}),
        ("interpolate", {"path": "density"}),
        ("style", {"units": [0]}),
    ],
)
def test_codes_on_a_sphere_are_refused(use, options, sphere):
    with pytest.raises(VariedError, match="sphere"):
        getattr(sphere, use)(**options)


@pytest.fixture(scope="module")
def sphere(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "sphere"
    return train_quickly(quarters(60), "hyperspherical-vae", out=out, steps=2, latent=3)


# Style transfer


@pytest.mark.slow
def test_a_conditional_run_decodes_examples_as_each_class(tmp_path):
    run = train_quickly(quarters(), "conditional-vae", out=tmp_path / "run", latent=1, steps=500)
    result = run.style(n=5)
    assert result.array.shape == (5, 2, 8, 8)
    assert fraction_right(result.array)[:, 0].mean() < 0.2
    assert fraction_right(result.array)[:, 1].mean() > 0.8
    assert run.style(label="right", n=2).array.shape == (2, 1, 8, 8)
    assert result.save(tmp_path / "style.png").exists()
    with pytest.raises(VariedError, match="decoder of this run is conditioned on the class"):
        run.edit(target="right")


def test_labels_of_a_conditional_run_are_not_edited(tmp_path):
    x, side = quarters(60)
    np.savez(tmp_path / "quarters.npz", x=x, side=side, age=np.arange(60.0))
    options = {"labels": ["side", "age"], "out": tmp_path / "run", "latent": 2, "steps": 5}
    run = train_quickly(tmp_path / "quarters.npz", "conditional-vae", **options)
    assert run.style(label={"side": ["left", "right"]}, n=3).array.shape == (3, 2, 8, 8)
    for attribute in ({"target": "right"}, {"column": "age"}):
        with pytest.raises(VariedError, match="decoder of this run is conditioned on the class"):
            run.edit(**attribute)


def test_latent_units_are_taken_from_the_style(run, tmp_path):
    result = run.style(units=[1], n=3)
    assert result.array.shape == (3, 3, 8, 8)
    assert result.save(tmp_path / "style.png").exists()
    all_units = run.style(units=[0, 1], n=3).array
    assert np.array_equal(all_units[:, 0], run.reconstruct(n=3).array[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "decoder of this run is not conditioned on a class"),
        ({"levels": [1]}, "single level"),
        ({"units": [9]}, "must be between 0 and 1"),
        ({"units": [0], "levels": [1]}, "cannot be combined"),
    ],
)
def test_wrong_options_of_style_transfer_are_refused(run, options, message):
    with pytest.raises(VariedError, match=message):
        run.style(**options)


# Tables and arrays


def test_columns_of_a_table_are_attributes(tmp_path):
    rng = np.random.default_rng(0)
    size = rng.normal(0, 1, 600)
    frame = pd.DataFrame(
        {
            "height": (170 + 10 * size).round(1),
            "kind": np.where(size + rng.normal(0, 0.3, 600) > 0, "tall", "short"),
            "shoe": (41 + 2 * size).round(1),
        }
    )
    run = train_quickly(frame, out=tmp_path / "run", latent=2, steps=250)

    def mean_heights(result):
        return result.array["height"].to_numpy(float).reshape(result.shape).mean(0)

    result = run.edit(column="kind", target="tall", strengths=(-1.0, 0.0, 1.0), n=20)
    assert (np.diff(mean_heights(result)) > 3).all()
    assert result.array.index.names == ["example", "strength"]
    numeric = run.edit(column="height", strengths=(-1.0, 1.0), n=20)
    assert numeric.name == "height: high"
    assert np.diff(mean_heights(numeric)) > 3
    assert {"height: high", "shoe: high"} <= {effect.name for effect in result.effects}
    assert result.save(tmp_path / "edits.csv").read_text().startswith("example,strength,height")
    with pytest.raises(VariedError, match="Choose a level of 'kind'"):
        run.edit(column="kind")


def test_arrays_are_edited_and_plotted(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 6)) + np.arange(200)[:, None] % 2
    run = train_quickly((x, np.arange(200) % 2), out=tmp_path / "run", latent=2, steps=100)
    result = run.edit(target="1", strengths=(-1.0, 1.0), n=5)
    assert result.array.shape == (5, 2, 6)
    assert result.array[:, 1].mean() > result.array[:, 0].mean() + 0.3
    assert result.save(tmp_path / "edits.png").exists()
    grid = run.interpolate(grid=True, steps=3)
    assert grid.array.shape == (3, 3, 6)
    assert grid.save(tmp_path / "grid.png").exists()


# Commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, and a folder of image files for each class."""
    folder = tmp_path_factory.mktemp("commands")
    x, labels = quarters()
    np.savez(folder / "quarters.npz", x=x, y=labels)
    for name in ("right", "left"):
        (folder / name).mkdir()
        for i, row in enumerate(np.flatnonzero(labels == name)[:5]):
            Image.fromarray(x[row]).save(folder / name / f"{i}.png")
    train_quickly(folder / "quarters.npz", out=folder / "run", latent=2, steps=50)
    return folder


def invoke(command):
    return CliRunner().invoke(app, command.split())


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("edit run --target right --strengths=-1,0,40", "edits.png"),
        ("edit run --positive right --negative left -n 2 --out folders.png", "folders.png"),
        ("edit run --positive 1,2,3 --negative 5,6,7 -n 2 --out rows.png", "rows.png"),
        ("style run --units 0,1 -n 3", "style.png"),
        ("interpolate run --grid", "interpolation.png"),
        ("interpolate run --path density --out path.gif --steps 4 -n 2", "path.gif"),
    ],
)
def test_the_commands_write_a_plot(command, file, folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = invoke(command)
    assert result.exit_code == 0, result.output
    assert (folder / file).exists()
    assert file in result.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("edit run --positive right", "Examples of both groups are required"),
        ("edit run --strengths a", "use, for example, --strengths=-1,0,1"),
        ("style run --units x", "use, for example, --units=1,2"),
        ("edit run --positive 0,1 --negative 2,3", "rows are counted from 1"),
    ],
)
def test_the_commands_refuse_wrong_options(command, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = invoke(command)
    assert result.exit_code != 0
    assert message in str(result.exception)
