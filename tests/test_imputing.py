"""Imputation and detection: held against closed forms, and the same for the same datum."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributions as td
from torch import nn
from typer.testing import CliRunner

import varied
from varied import functional
from varied.cli import app
from varied.data import Batch, iter_batches
from varied.data.codecs import ImageCodec
from varied.errors import VariedError
from varied.likelihoods import Gaussian as GaussianLikelihood
from varied.models import VAE
from varied.posteriors import Gaussian as GaussianPosterior
from varied.priors import StandardNormal
from varied.spec import Plan, Spec, compose
from varied.trace import ConditionalDistribution
from varied.training import prepare

D, SCALE = 6, 0.5


class World:
    """x = w z + noise with one latent: what is missing given the rest is known in closed form."""

    def __init__(self) -> None:
        self.w = torch.linspace(0.5, 2.0, D)
        self.covariance = torch.outer(self.w, self.w) + SCALE**2 * torch.eye(D)

    def model(self, wide: float = 0.0) -> VAE:
        """Return the model, with an encoder that is exact where all is observed, or wider."""
        posterior, precision = GaussianPosterior((1,)), self.w @ self.w / SCALE**2 + 1
        encoder, decoder = nn.Linear(D, 2), nn.Linear(1, D, bias=False)
        decoder.weight.data = self.w[:, None]
        encoder.weight.data = torch.stack([self.w / SCALE**2 / precision, torch.zeros(D)])
        log_variance = -precision.log() + wide
        before = posterior.logvar_bound * torch.atanh(log_variance / posterior.logvar_bound)
        encoder.bias.data = torch.stack([torch.tensor(0.0), before])
        likelihood = GaussianLikelihood((D,), scale=SCALE)
        return VAE(
            ConditionalDistribution(encoder, posterior, (D,)),
            ConditionalDistribution(decoder, likelihood, (1,)),
            StandardNormal((1,)),
        )

    def given(self, x, known):
        """Return mean and standard deviation of what is missing, given what is known."""
        a, b = np.flatnonzero(known == 0), np.flatnonzero(known)
        s = self.covariance
        gain = s[a][:, b] @ torch.linalg.inv(s[b][:, b])
        spread = (s[a][:, a] - gain @ s[b][:, a]).diagonal().sqrt()
        return gain @ x[b], spread


@pytest.mark.parametrize("sweeps", [0, 30])
def test_draws_follow_the_conditional_of_a_linear_model(sweeps):
    world = World()
    x = torch.tensor([[1.0, 1.5, 0.8, 2.0, 1.0, 3.0], [-1.0, 0, 0.5, -1.0, 0.3, -2.0]])
    known = torch.tensor([[1.0, 0, 1, 1, 0, 1], [0, 1.0, 1, 0, 1, 0]])
    model = world.model(wide=0.0 if sweeps else 2.0)  # a guess that covers what is missing
    samples = 200 if sweeps else 4000
    made = functional.impute(model, x, mask=known, n_draws=4000, samples=samples, sweeps=sweeps)
    assert torch.equal(made[:, known > 0], x[known > 0].expand(4000, -1))
    for row in range(2):
        mean, spread = world.given(x[row], known[row].numpy())
        drawn = made[:, row, known[row] == 0]
        assert torch.allclose(drawn.mean(0), mean, atol=0.07)
        assert torch.allclose(drawn.std(0), spread, atol=0.05)


def test_strangeness_is_minus_log_p_of_a_linear_model():
    world = World()
    exact = td.MultivariateNormal(torch.zeros(D), world.covariance)
    x = torch.cat([exact.sample((20,)), 5 * torch.ones(1, D)])
    found = functional.negative_log_likelihood(world.model(), lambda x: x, [Batch(x)], samples=3000)
    assert torch.allclose(found.score, -exact.log_prob(x), atol=0.1)
    assert found.score.argmax() == 20
    assert found.cost.shape == x.shape


@pytest.mark.parametrize("posterior", ["gaussian", "iaf"])
def test_the_same_datum_always_gets_the_same_score(posterior):
    spec = Spec.of(likelihood="gaussian", posterior=posterior, latent=3, plan=Plan(threads=1))
    model, _ = compose(spec, (5,))
    x = torch.randn(40, 5)
    once = functional.negative_log_likelihood(model, lambda x: x, [Batch(x)], samples=20).score
    order = torch.randperm(40)
    again = functional.negative_log_likelihood(
        model, lambda x: x, iter_batches(x[order], size=7), samples=20
    ).score
    torch.testing.assert_close(again, once[order])
    other = functional.negative_log_likelihood(
        model, lambda x: x, [Batch(x)], samples=20, seed=1
    ).score
    assert not torch.allclose(other, once)


def test_a_picture_that_is_binarized_at_every_look_keeps_its_score():
    model, _ = compose(
        Spec.of(likelihood="bernoulli", latent=3, net={"name": "mlp", "width": 8}), (1, 4, 4)
    )
    load = ImageCodec((1, 4, 4), binarize="dynamic").load
    x = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    order = torch.randperm(30)
    once = functional.negative_log_likelihood(model, load, [Batch(x)], samples=20).score
    again = functional.negative_log_likelihood(
        model, load, iter_batches(x[order], size=7), samples=20
    ).score
    torch.testing.assert_close(again, once[order])


def judged(world, normal, x, by, **more):
    """Return how strange data are to a linear model, beside normal data."""
    beside = functional.AnomalyScorer(
        world.model(), lambda x: x, iter_batches(normal, size=64), method=by, **more
    )
    return beside.judge(iter_batches(x, size=7))


def test_a_distance_is_that_to_the_nearest_other_in_datum_and_residual():
    world, normal, x = World(), torch.randn(150, D), torch.randn(20, D)
    project = torch.outer(world.w, world.w) / (world.w @ world.w + SCALE**2)  # x to its mean
    places, others = (torch.cat([a, a - a @ project], 1) for a in (normal, x))
    far = torch.cdist(others.double(), places.double())
    torch.testing.assert_close(judged(world, normal, x, "distance").score, far.min(1).values)
    own = torch.cdist(places.double(), places.double()).fill_diagonal_(torch.inf).min(1).values
    found = judged(world, normal, normal[:30], "distance")
    torch.testing.assert_close(found.score, own[:30], atol=1e-5, rtol=1e-5)


def test_density_and_distance_add_up_in_units_of_normal_data():
    world, normal = World(), torch.randn(400, D)
    found = {by: judged(world, normal, normal, by) for by in functional.WAYS}
    usual = {}
    for by in ("density", "distance"):
        middle, high = np.quantile(found[by].score.numpy(), (0.5, 0.9))
        usual[by] = (found[by].score.numpy() - middle) / (high - middle)
        assert np.isclose(np.quantile(usual[by], 0.9), 1)
    expected = sum(np.sign(u) * np.log1p(np.abs(u)) for u in usual.values())
    np.testing.assert_allclose(found["both"].score.numpy(), expected, atol=1e-5)


def test_a_hole_in_the_data_is_strange_by_distance_where_the_density_is_high():
    """Normal data lie on a ring: its middle is the likeliest place of all to a linear model."""
    world, turn = World(), torch.linspace(0, 6.28, 200)
    other = torch.nn.functional.normalize(torch.arange(D) - 2.5, dim=0)
    along = torch.nn.functional.normalize(world.w, dim=0)
    ring = 3 * (turn.cos()[:, None] * along + turn.sin()[:, None] * other)
    x = torch.cat([torch.zeros(1, D), ring[:50] + 0.01])
    assert judged(world, ring, x, "density").score.argmin() == 0
    assert judged(world, ring, x, "distance").score.argmax() == 0


def test_there_is_no_other_way_to_judge_and_one_normal_datum_is_too_few():
    with pytest.raises(VariedError, match="not judged by 'nearness'"):
        judged(World(), torch.randn(9, D), torch.randn(2, D), "nearness")
    with pytest.raises(VariedError, match="Two normal data"):
        judged(World(), torch.randn(1, D), torch.randn(2, D), "both")


# A table


def table(n: int = 1200, gaps: float = 0.25) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a table whose columns hang together, and the same with gaps."""
    dice = np.random.default_rng(0)
    size = dice.normal(0, 1, n)
    whole = pd.DataFrame(
        {
            "height": (170 + 10 * size).round(1),
            "weight": (70 + 12 * size + dice.normal(0, 4, n)).round(1),
            "kind": np.where(size > 0, "tall", "short"),
            "shoe": (41 + 2 * size).round().astype(int),
        }
    )
    return whole, whole.mask(dice.random(whole.shape) < gaps)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "sizes"
    job = prepare(table()[1], steps=900, batch_size=128, lr=4e-3, width=64, threads=1, out=out)
    for _ in job.train():
        pass
    return job.deliver()


def test_cells_are_filled_better_than_by_the_mean_and_others_are_not_touched(run):
    whole, gappy = table()
    found = run.impute(gappy, n_draws=30)
    gap = gappy.isna()
    assert not found.array.isna().any().any()
    for name in whole:
        kept = found.array[name][~gap[name]].astype(whole[name].dtype)
        assert (kept == whole[name][~gap[name]]).all()
    for name in ("height", "weight"):
        off = found.array[name] - whole[name]
        assert off[gap[name]].std() < 0.6 * whole[name].std()
    right = (found.array["kind"] == whole["kind"])[gap["kind"]]
    assert right.mean() > 0.75
    assert (found.array["shoe"] == found.array["shoe"].round()).all()


def test_intervals_cover_what_was_there(run):
    whole, gappy = table()
    cells = run.impute(gappy, n_draws=100).cells
    some = cells[cells.column.isin(["height", "weight"])]
    truth = [whole.loc[row - 1, name] for row, name in zip(some.row, some.column, strict=True)]
    inside = (some.low.astype(float) <= truth) & (truth <= some.high.astype(float))
    assert 0.82 < inside.mean() < 0.97
    choices = cells[cells.column == "kind"]
    assert choices.share.astype(float).between(0.3, 1).all()
    assert choices.low.isna().all()


def test_completed_tables_differ_by_what_is_not_known(run):
    gappy = table()[1].iloc[:50]
    draws = run.impute(gappy, n_draws=5).draws
    assert len(draws) == 5
    assert all(not one.isna().any().any() for one in draws)
    assert not draws[0].equals(draws[1])


def test_a_table_without_gaps_comes_back(run):
    whole = table()[0].iloc[:20].reset_index(drop=True)
    found = run.impute(whole)
    assert len(found.cells) == 0
    assert (found.array["kind"] == whole["kind"]).all()


def test_what_does_not_fit_together_is_strange_and_named(run):
    whole = table()[0].iloc[:200].reset_index(drop=True)
    whole.loc[7, "weight"] = 20.0
    whole.loc[9, "kind"] = "tall" if whole.loc[9, "kind"] == "short" else "short"
    whole.loc[9, "height"] = 170 - 2 * (whole.loc[9, "height"] - 170)
    found = run.detect(whole)
    assert set(np.argsort(-found.score)[:2]) == {7, 9}
    assert found.reasons[7].startswith("weight +")
    assert found.is_anomaly[7]
    assert found.p[7] < 0.02
    assert found.is_anomaly.mean() < 0.15
    frame = found.frame
    assert list(frame.columns)[:5] == ["row", "score", "p", "strange", "because"]
    assert list(frame.columns)[5:] == ["nats", "distance", *whole.columns]


def test_a_level_that_was_never_seen_is_strange(run):
    whole = table()[0].iloc[:50].reset_index(drop=True)
    before = run.detect(whole).nats
    whole.loc[3, "kind"] = "giant"
    found = run.detect(whole)
    assert found.reasons[3].startswith("kind +")
    assert found.nats[3] > before[3] + 4
    assert np.allclose(np.delete(found.nats, 3), np.delete(before, 3))


def test_a_gap_that_is_strange_is_called_one(run):
    rows = table()[0].iloc[:9].reset_index(drop=True).astype({"kind": object})
    found = run.detect(rows)
    found.items.x.loc[3, "kind"] = None
    found.excess[3] = [9.0 if name == "kind" else 0.0 for name in found.columns]
    assert found.reasons[3] == "kind missing +9.0"
    assert "missing" not in " ".join(np.delete(found.reasons, 3))


def test_few_normal_rows_draw_no_line(run):
    found = run.detect(table()[0].iloc[:5], max_fpr=0.001)
    assert found.line is None
    assert not found.is_anomaly.any()


def test_refusals(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    job = prepare(x, "autoencoder", steps=5, threads=1, out=tmp_path / "a")
    for _ in job.train():
        pass
    run = job.deliver()
    with pytest.raises(VariedError, match="no density"):
        run.detect(x)
    with pytest.raises(VariedError, match="Cells are filled in tables"):
        run.impute(x)


def test_pictures_are_drawn_above_what_makes_them_strange(tmp_path):
    dice = np.random.default_rng(0)
    x = (100 + dice.random((80, 8, 8)) * 20).astype(np.uint8)
    job = prepare(x, steps=300, lr=5e-3, threads=1, width=32, out=tmp_path / "run")
    for _ in job.train():
        pass
    odd = x[:20].copy()
    odd[4, 2:5, 2:5] = 255
    found = job.deliver().detect(odd, samples=10)
    assert found.score.argmax() == 4
    assert found.excess[4].sum(0)[2:5, 2:5].mean() > found.excess[4].mean()
    assert found.save(tmp_path / "odd.png").stat().st_size > 500


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, gappy = table(400)
    gappy.to_csv("gaps.csv", index=False)
    does = CliRunner()
    run = varied.fit("gaps.csv", steps=60, width=32, threads=1, out="run")
    assert run.store.finished
    found = does.invoke(
        app, ["impute", "run", "gaps.csv", "--intervals", "cells.csv", "--n-draws", "5"]
    )
    assert found.exit_code == 0, found.output
    filled = list(csv.reader((tmp_path / "filled.csv").open()))
    assert filled[0] == list(gappy.columns)
    assert all(cell for row in filled for cell in row)
    assert (
        len((tmp_path / "cells.csv").read_text().splitlines()) == int(gappy.isna().sum().sum()) + 1
    )
    found = does.invoke(app, ["detect", "run", "gaps.csv", "--samples", "5"])
    assert found.exit_code == 0, found.output
    assert len((tmp_path / "detected.csv").read_text().splitlines()) == 401
    whole.to_csv("whole.csv", index=False)
    assert does.invoke(app, ["impute", "run", "whole.csv"]).exit_code != 0
