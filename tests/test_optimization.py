"""Optimization of numeric properties: predictors, the search, runs and the command."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.quick_training import train_quickly
from varied import functional
from varied.cli import app
from varied.data import RawData, molecules
from varied.errors import VariedError
from varied.functional import Candidates, TrustRegion, fit_property
from varied.functional.optimize import ascend

ENDS = ("C", "N", "O", "F", "C#N", "C(=O)O", "c1ccccc1", "C1CC1", "C=C", "[NH3+]")
SMILES = [f"{a}{'C' * n}{b}" for a, b in itertools.product(("C", "N", "O"), ENDS) for n in range(8)]


# Predictors


def test_a_linear_property_is_predicted_exactly_by_a_ridge_regression():
    codes = torch.randn(600, 4)
    values = 100 + 7 * codes[:, 1].double()
    predictor = fit_property(codes[:500], values[:500], codes[500:], values[500:])
    assert predictor.kind == "ridge"
    assert predictor.r2.value > 0.9999
    torch.testing.assert_close(predictor(codes).double(), values, atol=0.1, rtol=0)


def test_a_quadratic_property_is_predicted_by_a_network():
    codes = torch.randn(1500, 2)
    values = (codes[:, 0] * codes[:, 1]).double()
    values[3] = math.nan
    arguments = (codes[:1200], values[:1200], codes[1200:], values[1200:])
    predictor = fit_property(*arguments)
    assert predictor.kind == "mlp"
    assert predictor.r2.value > 0.8
    assert fit_property(*arguments, kind="ridge").r2.value < 0.1


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (torch.full((100,), 3.0), None, "The property is 3 for all training examples"),
        (torch.full((100,), math.nan), None, "known for 0 examples, but at least 20"),
        (torch.arange(100.0), "forest", "There is no predictor 'forest'"),
    ],
)
def test_a_property_that_cannot_be_predicted_is_an_error(values, kind, message):
    codes = torch.randn(100, 2)
    with pytest.raises(VariedError, match=message):
        fit_property(codes, values, codes, values, kind=kind)


# The search


def test_distances_are_relative_to_the_training_codes():
    codes = torch.randn(4000, 3) * torch.tensor([1.0, 5.0, 1e-4])
    region = TrustRegion.fit(codes, 0.5)
    distance = region.distance(codes[:2000], codes[2000:])
    assert abs(float(distance.square().mean().sqrt()) - 1) < 0.05
    assert region.scale[2] == 0
    assert (region.offset(codes + 1, codes)[:, 2] == 0).all()


def test_the_ascent_reaches_the_boundary_of_the_ball_in_the_direction_of_the_gradient():
    region = TrustRegion(torch.tensor([2.0, 1.0, 0.0]), 0.5)
    center = torch.tensor([1.0, 1.0, 7.0])
    start, length = center.repeat(2, 1), torch.tensor([9.0, 0.1])
    far, near = ascend(lambda z: z[:, 1], start, center, region, length)
    torch.testing.assert_close(far, torch.tensor([1.0, 1.5, 7.0]))
    torch.testing.assert_close(near, torch.tensor([1.0, 1.1, 7.0]))


def linear_search(predictor, sign=1.0, **options):
    """Search for codes with a high sum of the first two units in a ball of radius 0.5."""
    codes = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    region = TrustRegion(torch.ones(4), 0.5)
    values = codes[:, :2].sum(1)
    if predictor:
        predictor = fit_property(codes[:400], values[:400], codes[400:], values[400:])

    def decode(z):
        assert (region.distance(z, torch.zeros(4)) <= 0.5001).all()
        return Candidates(RawData(z.numpy(), "array"), z)

    return functional.search(
        torch.zeros(4),
        0.0,
        decode,
        lambda candidates: torch.from_numpy(candidates.data.x[:, :2].sum(1)).double(),
        predictor,
        region,
        sign=sign,
        **options,
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_search_finds_the_optimum_in_the_ball(sign):
    optimum = linear_search(True, sign, n_evaluations=40)
    assert optimum.n_evaluations == 40
    assert abs(optimum.value - sign * math.sqrt(0.5)) < 0.05
    assert float(optimum.best.codes[0, :2].sum()) == pytest.approx(optimum.value)


def test_the_predictor_helps():
    guided, at_random = (linear_search(p, n_evaluations=8).value for p in (True, None))
    assert guided > at_random + 0.05


def test_unknown_values_are_ignored():
    region = TrustRegion(torch.ones(2), 0.5)

    def evaluate(candidates):
        return torch.where(candidates.codes[:, 0] > 0, math.nan, candidates.codes[:, 1]).double()

    optimum = functional.search(
        torch.zeros(2),
        0.0,
        lambda z: Candidates(RawData(z.numpy(), "array"), z),
        evaluate,
        None,
        region,
    )
    assert optimum.value > 0.1
    assert optimum.best.codes[0, 0] <= 0


def test_without_a_better_candidate_there_is_no_optimum():
    region = TrustRegion(torch.ones(2), 0.5)

    def decode(z):
        return Candidates(RawData(z.numpy(), "array"), z).take(torch.arange(3))

    optimum = functional.search(
        torch.zeros(2), 1.0, decode, lambda _: torch.zeros(3).double(), None, region
    )
    assert optimum.best is None
    assert optimum.value == 1


def test_similarities_of_molecules():
    similarity = molecules.similarities("CCO", ["OCC", "CCCO", "c1ccccc1", ""])
    assert similarity[0] == 1
    assert 0.4 < similarity[1] < 1
    assert (similarity[2:] == 0).all()


# Runs


SETTINGS = {
    "table": {"source": "people.csv", "latent": 3, "steps": 250},
    "images": {"source": "images.npz", "latent": 2, "steps": 200},
    "molecules": {"source": "molecules.csv", "latent": 8, "beta": 0.1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a table, images with a number each, and molecules."""
    folder = tmp_path_factory.mktemp("optimize")
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 70, 600).round()
    frame = pd.DataFrame(
        {
            "age": age,
            "income": (1000 + 50 * age + rng.normal(0, 100, 600)).round(),
            "height": rng.normal(170, 10, 600).round(1),
            "kind": np.where(age > 45, "old", "young"),
            "constant": 3.0,
        }
    )
    frame.to_csv(folder / "people.csv", index=False)
    column = rng.integers(0, 5, 400)
    images = 255 * (rng.random((400, 8, 8)) < 0.03).astype(np.uint8)
    for image, left in zip(images, column, strict=True):
        image[2:6, left : left + 4] = 255
    np.savez(folder / "images.npz", x=images, y=column.astype(np.float32))
    pd.DataFrame({"smiles": SMILES}).to_csv(folder / "molecules.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def open_run(folder):
    """Return a function that returns a run, which is trained when it is needed."""

    @cache
    def train(name):
        settings = {"precision": "float32", "compile": "no", **SETTINGS[name]}
        return train_quickly(folder / settings.pop("source"), out=folder / name, **settings)

    return train


@pytest.mark.slow
def test_a_column_is_raised_and_correlated_columns_follow(open_run):
    result = open_run("table").optimize(property="income", n=8, n_evaluations=40)
    assert result.shape == (8, 2)
    assert not result.is_predicted
    assert (result.after >= result.before).all()
    assert (result.after - result.before).mean() > 300
    assert result.array["income"].tolist() == [
        value for pair in zip(result.before, result.after, strict=True) for value in pair
    ]
    changes = {change.name: change for change in result.changes}
    assert changes["age"].after - changes["age"].before > 4
    assert result.changes[0].name == "age"
    assert (result.distance <= 0.8001).all()
    assert np.isnan(result.similarity).all()


@pytest.mark.slow
def test_a_column_is_lowered_within_a_small_radius(open_run):
    options = {"minimize": True, "n": 4, "n_evaluations": 40, "radius": 0.1}
    result = open_run("table").optimize(property="income", **options)
    assert result.after.mean() < result.before.mean() - 20
    assert (result.distance <= 0.1001).all()


def test_a_label_of_images_is_raised(open_run, tmp_path):
    result = open_run("images").optimize(property="label", n=10, n_evaluations=20)
    centers = (result.array * np.arange(8.0)).sum((-1, -2)) / result.array.sum((-1, -2))
    assert result.is_predicted
    assert (centers[:, 1] - centers[:, 0]).mean() > 0.5
    assert result.array.shape == (10, 2, 8, 8)
    assert Image.open(result.save(tmp_path / "optimized.png")).size[0] > 50
    summary = pd.read_csv(result.save(tmp_path / "optimized.csv"))
    assert list(summary) == [
        "label before", "label after", "label predicted", "distance", "evaluations",
    ]  # fmt: skip


@pytest.mark.slow
def test_molecules_are_similar_and_have_their_computed_property(open_run, tmp_path):
    run = open_run("molecules")
    starts = ["CCCCO", "N#CCCCN", "CCCCCN"]
    result = run.optimize(starts, property="logp", n_evaluations=30, min_similarity=0.3)
    assert result.name == "logP"
    frame = result.summary
    assert frame["start"].tolist() == starts
    computed = run.codec.properties(frame["best"].tolist())["logP"]
    np.testing.assert_allclose(result.after, computed)
    assert result.after.mean() > result.before.mean() + 0.2
    for row in frame.itertuples():
        assert row.similarity >= 0.3
        assert molecules.similarities(row.start, [row.best])[0] == pytest.approx(
            row.similarity, abs=1e-4
        )
    assert {change.name for change in result.changes} == {"QED", "TPSA", "weight", "heavy atoms"}
    assert (result.n_evaluations <= 30).all()
    assert result.save(tmp_path / "optimized.png").stat().st_size > 1000
    again = run.optimize(starts, property="logP", n_evaluations=30, min_similarity=0.3)
    assert again.summary.equals(frame)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("table", {"property": "incme"}, "no property 'incme': did you mean 'income'"),
        ("table", {"property": "kind"}, r"'kind' has levels \(old, young\) instead of numbers"),
        ("table", {"property": "constant"}, "no property 'constant'"),
        ("table", {"property": "income", "radius": 0}, "radius=0 must be above 0"),
        ("table", {"property": "income", "n_evaluations": 0}, "n_evaluations=0 must be at least 1"),
        ("molecules", {"property": "gap"}, "choose from QED, logP, TPSA, weight, heavy atoms"),
        ("images", {"property": "x", "attributes": {"x": [1.0]}}, "'x' has 1 labels, but"),
        ("images", {"property": "x", "attributes": {"x": [2.5] * 400}}, "is 2.5 for all training"),
    ],
)
def test_wrong_arguments_are_errors(open_run, name, options, message):
    with pytest.raises(VariedError, match=message):
        open_run(name).optimize(**options)


# The command


def invoke(command):
    return CliRunner().invoke(app, command.split())


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("optimize table --property income --from 3,17 --evaluations 20", "optimized.csv"),
        ("optimize images --property label -n 2 --minimize", "optimized.png"),
        ("optimize molecules --property logp --from CCCCO --evaluations 20 --out a.csv", "a.csv"),
    ],
)
def test_the_command_writes_the_examples(command, file, folder, open_run, monkeypatch):
    open_run(command.split()[1])
    monkeypatch.chdir(folder)
    result = invoke(command)
    assert result.exit_code == 0, result.output
    assert (folder / file).exists()
    assert "R2 of the prediction on held-out rows" in result.output
    assert "The mean" in result.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("optimize table", "--property qed"),
        ("optimize table x.csv --from 1 --property income", "cannot be combined with SOURCE"),
        ("optimize table --from 0,1 --property income", "rows are counted from 1"),
    ],
)
def test_the_command_refuses_wrong_options(command, message, folder, open_run, monkeypatch):
    open_run("table")
    monkeypatch.chdir(folder)
    result = invoke(command)
    assert result.exit_code != 0
    assert message in str(result.exception)
