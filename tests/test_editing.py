"""Edits and styles: closed forms of linear models, planted correlations, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.plots import interpolation_gif
from varied.training import prepare

# Runs


def quarters(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return small pictures with one light quarter and dust, and whether it is on the right."""
    dice = np.random.default_rng(0)
    x, right = 255 * (dice.random((n, 8, 8)) < 0.03).astype(np.uint8), dice.random(n) < 0.5
    for picture, side in zip(x, right, strict=True):
        top = 4 * dice.integers(2)
        picture[top : top + 4, 4 * side : 4 * side + 4] = 255
    return x, np.where(right, "right", "left")


def trained(data, out, model="vae", steps=250, **how):
    job = prepare(data, model, steps=steps, lr=5e-3, threads=1, width=32, out=out, **how)
    for _ in job.train():
        pass
    return job.deliver()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "quarters"
    return trained(quarters(), out, latent=2, steps=500)


def half(pictures: np.ndarray) -> np.ndarray:
    """Return the share of light on the right."""
    light = pictures.astype(float)
    return light[..., 4:].sum((-1, -2)) / light.sum((-1, -2))


def test_an_edit_takes_the_attribute_away_and_adds_it(run):
    found = run.edit(target="right", strengths=(-1.0, 0.0, 1.0), n=20)
    shares = half(found.array)
    assert found.array.shape == (20, 3, 8, 8)
    assert shares[:, 2].mean() > 0.8
    assert shares[:, 0].mean() < 0.2
    assert np.array_equal(found.array[:, 1], run.reconstruct(n=20).array[1])
    assert found.rows[0] + found.rows[1] == len(run.store.read_split().train)
    assert found.effects[0].name.startswith("class: ")
    effect = found.effects[0]
    assert abs(effect.cosine) > 0.99
    assert abs(effect.after - effect.before) > 0.2
    assert (effect.after > effect.before) == (effect.cosine > 0)


def test_far_strengths_are_outside_and_0_is_not(run):
    held = run.split("validation")  # it drew the lines, and its farthest row lies on them
    found = run.edit(held, target="right", strengths=(0.0, 30.0), n=len(held))
    assert found.outside[:, 0].sum() <= 2
    assert found.outside[:, 1].all()
    assert found.sparse[:, 1].all()


def test_examples_do_what_labels_do(run):
    x, side = quarters()
    right, left = (np.flatnonzero(side == name)[:20].tolist() for name in ("right", "left"))
    by_rows = run.edit(examples=(right, left), n=10)
    by_data = run.edit(examples=(x[right], x[left]), n=10)
    assert np.array_equal(by_rows.array, by_data.array)
    by_label = run.edit(target="right", n=10)
    assert torch.cosine_similarity(by_rows.step, by_label.step, dim=0) > 0.8
    assert by_rows.rows == (20, 20)


def test_further_attributes_are_edited_and_balanced(run):
    x, _ = quarters()
    high = x[:, :4].sum((1, 2)) > x[:, 4:].sum((1, 2))
    mostly = np.where(np.arange(len(x)) % 10 == 0, ~high, high)
    further = pd.DataFrame({"place": np.where(high, "top", "bottom"), "mostly": mostly.astype(str)})
    found = run.edit(column="place", target="top", attributes=further, n=20, strengths=(-1.0, 1.0))
    light = found.array.astype(float)
    assert light[:, 1, :4].sum() > 2 * light[:, 0, :4].sum()
    assert any(effect.name.startswith("mostly: ") for effect in found.effects)
    fair = run.edit(column="place", target="top", attributes=further, control_for=["mostly"], n=2)
    assert not torch.equal(fair.step, found.step)


def test_what_is_drawn_has_the_originals_and_marks(run, tmp_path):
    found = run.edit(target="right", strengths=(0.0, 30.0), n=3)
    small = run.edit(target="right", strengths=(0.0,), n=3)
    pictures = [Image.open(one.save(tmp_path / f"{i}.png")) for i, one in enumerate((found, small))]
    assert pictures[0].height > pictures[1].height * 0.5
    assert found.save(tmp_path / "e.npy").exists()
    assert "outside" in repr(found)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"target": "rihgt"}, "There is no class 'rihgt': did you mean 'right'"),
        ({}, "Say which attribute"),
        ({"target": "right", "column": "size"}, "There is no attribute 'size'"),
        ({"target": "right", "control_for": ["class"]}, "cannot be balanced against itself"),
        ({"examples": ([1], [2, 3])}, "at least two examples"),
        ({"examples": ([1, 900], [2, 3])}, "none of the run's data, which have"),
        ({"target": "right", "attributes": {"a": [1, 2]}}, "'a' has 2 labels"),
        ({"target": "right", "direction": "svm"}, "There is no direction 'svm'"),
    ],
)
def test_refusals(run, how, said):
    with pytest.raises(VariedError, match=said):
        run.edit(**how)


def test_latents_that_cannot_be_moved_are_refused(tmp_path):
    ball = trained(quarters(60), tmp_path / "ball", "hyperspherical-vae", steps=2, latent=3)
    for refused in (
        lambda: ball.edit(target="right"),
        lambda: ball.interpolate(path="density"),
        lambda: ball.style(units=[0]),
    ):
        with pytest.raises(VariedError, match="sphere"):
            refused()


def test_a_conditional_run_is_styled_and_not_edited(tmp_path):
    told = trained(quarters(), tmp_path / "told", "conditional-vae", latent=1, steps=500)
    made = told.style(n=5)
    assert made.array.shape == (5, 2, 8, 8)
    assert half(made.array)[:, 0].mean() < 0.2
    assert half(made.array)[:, 1].mean() > 0.8
    assert told.style(label="right", n=2).array.shape == (2, 1, 8, 8)
    assert made.save(tmp_path / "style.png").exists()
    with pytest.raises(VariedError, match="told the class"):
        told.edit(target="right")


def test_styles_by_units_and_what_they_need(run, tmp_path):
    made = run.style(units=[1], n=3)
    assert made.array.shape == (3, 3, 8, 8)
    assert made.save(tmp_path / "mix.png").exists()
    whole = run.style(units=[0, 1], n=3).array
    assert np.array_equal(whole[:, 0], run.reconstruct(n=3).array[1])
    for how, said in (
        ({}, "not told a class"),
        ({"levels": [1]}, "single level"),
        ({"units": [9]}, "has the units 0 to 1"),
        ({"units": [0], "levels": [1]}, "not both"),
    ):
        with pytest.raises(VariedError, match=said):
            run.style(**how)


def test_columns_of_a_table_are_attributes(tmp_path):
    dice = np.random.default_rng(0)
    size = dice.normal(0, 1, 600)
    table = pd.DataFrame(
        {
            "height": (170 + 10 * size).round(1),
            "kind": np.where(size + dice.normal(0, 0.3, 600) > 0, "tall", "short"),
            "shoe": (41 + 2 * size).round(1),
        }
    )
    run = trained(table, tmp_path / "sizes", latent=2)
    found = run.edit(column="kind", target="tall", strengths=(-1.0, 0.0, 1.0), n=20)
    height = found.array["height"].to_numpy(float).reshape(20, 3).mean(0)
    assert height[0] < height[1] - 3
    assert height[2] > height[1] + 3
    assert found.array.index.names == ["item", "strength"]
    taller = run.edit(column="height", strengths=(-1.0, 1.0), n=20)
    assert taller.name == "height: high"
    height = taller.array["height"].to_numpy(float).reshape(20, 2).mean(0)
    assert height[1] > height[0] + 3
    names = [effect.name for effect in found.effects]
    assert {"height: high", "shoe: high"} <= set(names)
    assert found.save(tmp_path / "edits.csv").read_text().startswith("item,strength,height")
    with pytest.raises(VariedError, match="several levels: say towards which of"):
        run.edit(column="kind")


def test_vectors_are_edited_and_drawn(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 6)) + np.arange(200)[:, None] % 2
    run = trained((x, np.arange(200) % 2), tmp_path / "vectors", latent=2, steps=100)
    found = run.edit(target="1", strengths=(-1.0, 1.0), n=5)
    assert found.array.shape == (5, 2, 6)
    assert found.array[:, 1].mean() > found.array[:, 0].mean() + 0.3
    assert found.save(tmp_path / "edits.png").exists()
    square = run.interpolate(grid=True, steps=3)
    assert square.array.shape == (3, 3, 6)
    assert square.save(tmp_path / "square.png").exists()


def test_a_film_goes_there_and_back(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 5, 8, 8), dtype=np.uint8)
    film = Image.open(interpolation_gif(frames, tmp_path / "film.gif"))
    assert film.n_frames == 8
    shots = []
    for frame in range(8):
        film.seek(frame)
        shots.append(np.asarray(film.convert("L")))
    assert all(np.array_equal(shots[i], shots[8 - i]) for i in range(1, 8))
    assert not np.array_equal(shots[0], shots[4])


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, side = quarters()
    np.savez("quarters.npz", x=x, y=side)
    for name in ("right", "left"):
        (tmp_path / name).mkdir()
        for i, row in enumerate(np.flatnonzero(side == name)[:5]):
            Image.fromarray(x[row]).save(tmp_path / name / f"{i}.png")
    trained("quarters.npz", tmp_path / "kept", latent=2, steps=50)
    does = CliRunner()
    for said, wrote in (
        ("edit kept --target right --strengths=-1,0,40", "edits.png"),
        ("edit kept --positive right --negative left -n 2", "edits-2.png"),
        ("edit kept --positive 1,2,3 --negative 5,6,7 -n 2", "edits-3.png"),
        ("style kept --units 0,1 -n 3", "style.png"),
        ("interpolate kept --grid", "interpolation.png"),
        ("interpolate kept --path density --out path.gif --steps 4 -n 2", "path.gif"),
    ):
        found = does.invoke(app, said.split())
        assert found.exit_code == 0, found.output
        assert (tmp_path / wrote).exists()
        assert wrote in found.output
    for said in ("edit kept --positive right", "edit kept --strengths a", "style kept --units x"):
        assert does.invoke(app, said.split()).exit_code != 0
    found = does.invoke(app, ["edit", "kept", "--positive", "0,1", "--negative", "2,3"])
    assert "rows count from 1" in str(found.exception)
