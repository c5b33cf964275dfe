"""Edits and styles: closed forms of linear models, planted correlations, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from varied import functional
from varied.cli import app
from varied.errors import VariedError
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.plots import interpolation_gif
from varied.posteriors import Gaussian as GaussianPosterior
from varied.priors import StandardNormal
from varied.spec import Spec, compose
from varied.trace import ConditionalDistribution
from varied.training import prepare

UNITS, WIDE = 3, 5


def rotated() -> torch.Tensor:
    """Return orthonormal columns, with shape (WIDE, UNITS)."""
    return torch.linalg.qr(torch.randn(WIDE, UNITS))[0]


def linear_model(w: torch.Tensor) -> VAE:
    """Return x = w z, whose encoder is the exact inverse of its decoder."""
    posterior = GaussianPosterior((UNITS,))
    encoder, decoder = nn.Linear(WIDE, 2 * UNITS, bias=False), nn.Linear(UNITS, WIDE, bias=False)
    encoder.weight.data = torch.cat([w.T, torch.zeros(UNITS, WIDE)])
    decoder.weight.data = w
    return VAE(
        ConditionalDistribution(encoder, posterior, (WIDE,)),
        ConditionalDistribution(decoder, GaussianLikelihood((WIDE,), scale=0.1), (UNITS,)),
        StandardNormal((UNITS,)),
    )


# Directions


def test_an_edit_of_a_linear_model_moves_by_the_direction_exactly():
    w = rotated()
    model, z, step = linear_model(w), torch.randn(4, UNITS), torch.randn(UNITS)
    made = functional.edit(model, z @ w.T, step, strengths=(-2.0, 0.0, 0.5))
    for column, strength in enumerate((-2.0, 0.0, 0.5)):
        torch.testing.assert_close(made[:, column], (z + strength * step) @ w.T)


def test_strength_1_leads_from_mean_to_mean():
    codes = torch.randn(200, UNITS)
    wanted = torch.arange(200) % 3 == 0
    step = functional.direction(codes, wanted)
    torch.testing.assert_close(
        codes[~wanted].mean(0) + step, codes[wanted].mean(0), atol=1e-5, rtol=0
    )


def test_a_regression_goes_as_far_as_the_means_lie_apart_along_it():
    wanted = torch.arange(400) % 2 == 0
    codes = torch.randn(400, UNITS) + torch.tensor([3.0, 0.0, 0.0]) * wanted[:, None]
    step = functional.direction(codes, wanted, method="logistic")
    apart = functional.direction(codes, wanted)
    assert torch.cosine_similarity(step, torch.tensor([1.0, 0, 0]), dim=0) > 0.95
    torch.testing.assert_close(step @ step, step @ apart, atol=1e-3, rtol=0)


def planted(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return codes whose unit 0 says the attribute and unit 1 another, which mostly goes along."""
    dice = np.random.default_rng(0)
    other = dice.random(n) < 0.5
    wanted = dice.random(n) < np.where(other, 0.9, 0.2)
    codes = np.stack([2.0 * wanted, 3.0 * other, 0 * other], 1) + dice.normal(0, 0.1, (n, 3))
    return torch.from_numpy(codes).float(), torch.from_numpy(wanted), torch.from_numpy(other)


@pytest.mark.parametrize("by", functional.DIRECTIONS)
def test_balance_removes_a_planted_correlation(by):
    codes, wanted, other = planted()
    plain = functional.direction(codes, wanted, method=by)
    weight = functional.balance_weights(wanted, other[:, None].long())
    fair = functional.direction(codes, wanted, weight, method=by)
    assert plain[1] > 0.2
    torch.testing.assert_close(fair, torch.tensor([2.0, 0.0, 0.0]), atol=0.03, rtol=0)


def test_balanced_rows_weigh_as_if_the_fewer_were_repeated():
    wanted = torch.tensor([True, True, True, False, True, False])
    others = torch.tensor([[0], [0], [0], [0], [1], [1]])
    weight = functional.balance_weights(wanted, others)
    torch.testing.assert_close(weight, torch.tensor([0.25, 0.25, 0.25, 0.75, 0.5, 0.5]))
    alone = functional.balance_weights(wanted, torch.tensor([[0], [0], [1], [0], [1], [2]]))
    assert (alone > 0).tolist() == [True, True, False, True, False, False]
    with pytest.raises(VariedError, match="no value of the others in common"):
        functional.balance_weights(wanted, wanted[:, None].long())


def test_effects_name_what_comes_along_and_what_does_not():
    codes, wanted, other = planted()
    known = torch.ones_like(wanted)
    attributes = {"itself": (wanted, known), "other": (other, known)}
    plain, fair = (
        {
            e.name: e
            for e in functional.effects(step, codes, attributes, codes[:500], codes[:500] + step)
        }
        for step in (functional.direction(codes, wanted), torch.tensor([2.0, 0.0, 0.0]))
    )
    assert plain["other"].cosine > fair["other"].cosine + 0.2
    assert plain["other"].cosine > 0.5
    assert plain["other"].after - plain["other"].before > 0.2
    assert abs(fair["other"].after - fair["other"].before) < 0.05
    assert fair["itself"].after > 0.95
    assert next(iter(fair)) == "itself"


def test_few_examples_point_as_far_off_as_the_noise_of_their_means():
    units, apart, each, tries = 20, 2.0, 20, 60
    wanted = torch.arange(2 * each) % 2 == 0
    found = []
    for _ in range(tries):
        codes = torch.randn(2 * each, units)
        codes[:, 0] += apart * wanted
        step = functional.direction(codes, wanted)
        found.append(step[0] / step.norm())
    expected = apart / (apart**2 + units * 2 / each) ** 0.5
    assert abs(torch.stack(found).mean() - expected) < 0.03


def test_groups_of_one_are_refused():
    codes = torch.randn(10, UNITS)
    with pytest.raises(VariedError, match="two of each at least"):
        functional.direction(codes, torch.arange(10) == 0)
    with pytest.raises(VariedError, match="There is no direction 'mean'"):
        functional.direction(codes, torch.arange(10) < 5, method="mean")


# Support


def test_held_out_codes_lie_inside_and_far_ones_outside():
    codes = torch.cat([torch.randn(3000, 2), torch.randn(3000, 2) + 12])
    codes = codes[torch.randperm(6000)]
    found = functional.fit_latent_density(codes[:4000], codes[4000:])
    assert found.outside(codes[4000:]).float().mean() <= 0.002
    assert found.outside(torch.tensor([[6.0, 6.0], [0.0, 12.0], [60.0, 0.0]])).all()
    assert not found.outside(torch.tensor([[0.0, 0.0], [12.0, 12.0]])).any()
    with pytest.raises(VariedError, match="no density"):
        functional.fit_latent_density(torch.zeros(5, 2000), codes)


def test_an_exact_inverse_strays_nowhere_and_a_bent_one_does():
    w = rotated()
    model, z = linear_model(w), 3 * torch.randn(450, UNITS)
    torch.testing.assert_close(functional.reencode(model, z), z, atol=1e-5, rtol=0)
    model.decoder.net = nn.Sequential(model.decoder.net, nn.Hardtanh(-1, 1))
    far, near = 9 * torch.eye(UNITS), 0.1 * torch.eye(UNITS)
    assert ((functional.reencode(model, far) - far).norm(dim=1) > 5).all()
    torch.testing.assert_close(functional.reencode(model, near), near, atol=1e-5, rtol=0)


# Style


def test_other_contexts_keep_the_code_and_the_own_one_gives_the_reconstruction():
    model, _ = compose(Spec.of(net={"name": "mlp", "width": 8}, latent=2, context=3), (1, 4, 4))
    x, every = torch.rand(3, 1, 4, 4).round(), torch.eye(3)
    made = functional.recondition(model, x, every, every)
    assert made.shape == (3, 3, 1, 4, 4)
    own = made[torch.arange(3), torch.arange(3)]
    torch.testing.assert_close(own, functional.reconstruct(model, x, every))
    z = model.encode(x, every).mean
    torch.testing.assert_close(made[2, 0], functional.decode(model, z[2:], every[:1])[0])


def test_a_mix_of_a_linear_model_takes_the_named_units_from_the_style():
    w = rotated()
    content, style = torch.randn(2, UNITS), torch.randn(4, UNITS)
    made = functional.mix_codes(linear_model(w), content @ w.T, style @ w.T, [1])
    assert made.shape == (4, 2, WIDE)
    wanted = torch.stack([content[1, 0], style[3, 1], content[1, 2]])
    torch.testing.assert_close(made[3, 1], w @ wanted)


def test_levels_of_a_ladder_are_their_units():
    spec = Spec.of(
        latent=3, architecture={"name": "ladder", "levels": 2, "hidden_size": 8}, net="mlp"
    )
    model, _ = compose(spec, (6,))
    first, second = model.sizes
    assert functional.level_units(model, [1]) == list(range(first))
    assert functional.level_units(model, [2]) == list(range(first, first + second))
    with pytest.raises(VariedError, match=r"levels 1 \(nearest to the datum\) to 2"):
        functional.level_units(model, [3])
    with pytest.raises(VariedError, match="one level of latents"):
        functional.level_units(linear_model(rotated()), [1])


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
        ({"examples": ([1], [2, 3])}, "two of each at least"),
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
        ({"levels": [1]}, "one level of latents"),
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
