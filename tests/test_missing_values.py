"""Operations of a run that was trained on an array with missing values."""

import numpy as np
import pandas as pd
import pytest
import torch
from figures import pixels
from quick_training import train_quickly, train_to_end
from typer.testing import CliRunner

import varied
from varied.cli import app
from varied.errors import VariedError
from varied.evaluate.suites import EvalContext, evaluate_all
from varied.functional import negative_log_likelihood
from varied.functional.anomaly_score import SWEEPS
from varied.training import prepare
from varied.training.update import update

N, COMPLETE = 400, slice(300, 400)
OPTIONS = {"steps": 400, "batch_size": 64, "lr": 4e-3, "width": 64, "latent": 4}


def series(n=N, seed=0):
    """Return sine waves in two channels with different units, complete and with missing values."""
    rng = np.random.default_rng(seed)
    phase, size = rng.uniform(0, 2 * np.pi, (n, 1, 1)), rng.uniform(1, 2, (n, 1, 1))
    waves = size * np.sin(np.linspace(0, 6, 20) + phase + np.array([[0], [1]]))
    noise = 0.05 * rng.normal(size=(n, 2, 20))
    complete = ((waves + noise) * [[1], [20]] + [[0], [100]]).astype(np.float32)
    is_missing = rng.random(complete.shape) < 0.2
    is_missing[COMPLETE] = False
    return complete, np.where(is_missing, np.float32(np.nan), complete)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_quickly(series()[1], out=tmp_path_factory.mktemp("runs") / "series", **OPTIONS)


def is_finite(array):
    return bool(np.isfinite(np.asarray(array)).all())


# Training


def test_the_loss_counts_observed_values(run):
    assert run.codec.has_missing_values
    data = run.split("validation")
    batch = run.encode_data(data)
    trace = run.model(batch.x, None, batch.mask)
    elements = trace.px.base_dist.log_prob(batch.x) * ~torch.from_numpy(np.isnan(data.x))
    torch.testing.assert_close(trace.log_px, elements.sum((-1, -2)))
    assert not batch.mask.all()


def test_training_does_not_depend_on_what_missing_values_contain(tmp_path):
    x = series()[1]
    other = x.copy()
    other[np.isnan(x)] = -np.float32(np.nan)
    runs = [train_quickly(v, out=tmp_path / str(i), steps=20) for i, v in enumerate((x, other))]
    states = [run.model.state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        {"model": "vq-vae"},
        {"model": "ladder-vae"},
        {"model": "iwae"},
        {"prior": "vamp"},
        {"likelihood": "laplace"},
        {"model": "autoencoder"},
    ],
    ids=str,
)
def test_models_are_trained_on_missing_values(choices, tmp_path):
    plan = {"steps": 20, "threads": 1, "out": tmp_path / "run"}
    run = train_to_end(prepare(series(100)[1], **plan | choices))
    assert is_finite(run.evaluate().reconstruction.value)
    assert is_finite(run.sample(3).array)
    assert all(is_finite(row["loss"]) for row in run.store.history())


@pytest.mark.slow
def test_labeled_rows_with_missing_values_are_classified(tmp_path):
    complete, x = series()
    labels = np.where(complete.max((1, 2)) > 130, "high", "low")
    run = train_quickly((x, labels), "m2", out=tmp_path / "run", **OPTIONS)
    predicted = np.array(run.context.classes)[run.classify(x).argmax(1)]
    assert (predicted == labels).mean() > 0.8
    assert run.augment(20).gains(seeds=1)


@pytest.mark.slow
def test_a_run_is_updated_on_missing_values(run, tmp_path):
    new = update(run.folder, series(100, seed=3)[1], out=tmp_path / "new", steps=5)
    assert is_finite(new.evaluate().elbo.value)


# Operations


@pytest.mark.figures
def test_reconstructions_are_complete_and_originals_keep_their_missing_values(run, tmp_path):
    complete, x = series(50, seed=1)
    result = run.reconstruct(x, n=50)
    np.testing.assert_array_equal(np.isnan(result.array[0]), np.isnan(x))
    error = (result.array[1] - complete).std((0, 2)) / complete.std((0, 2))
    assert (error < 0.4).all()
    assert pixels(result.save(tmp_path / "reconstructions.png")).std() > 5


@pytest.mark.figures
def test_operations_return_finite_results(run, tmp_path):
    x = series(50, seed=1)[1]
    assert is_finite(run.evaluate(x, samples=5).log_likelihood.value)
    assert is_finite(run.encode(x).mean)
    assert is_finite(run.interpolate(x).array)
    assert is_finite(run.traverse(x).array)
    assert is_finite(run.sample(4, around=x[:3]).array[:, 1:])
    neighbors = run.neighbors(x, n=3)
    assert is_finite(neighbors.distance)
    assert pixels(neighbors.save(tmp_path / "neighbors.png")).std() > 5
    edited = run.edit(x, examples=(list(range(50)), list(range(50, 100))))
    assert is_finite(edited.array)


def test_a_complete_row_is_its_own_neighbor(run):
    x = series()[1][COMPLETE]
    assert run.neighbors(x, x, n=1).index[:, 0].tolist() == list(range(100))


def test_the_likelihood_of_a_row_depends_on_its_observed_values_only(run):
    complete, x = series(30, seed=2)
    report = run.detect(x, samples=20)
    x_other = x.copy()
    x_other[1:] = complete[1:]
    assert report.nll[0] == pytest.approx(run.detect(x_other, samples=20).nll[0], rel=1e-5)
    assert is_finite(report.score)
    assert (report.excess[np.isnan(x)] == 0).all()
    assert (report.excess[~np.isnan(x)] != 0).all()
    batch = run.encode_data(run.read(x))
    nll = negative_log_likelihood(run.model, run.codec.load, [batch], samples=20, sweeps=SWEEPS).nll
    np.testing.assert_allclose(nll, report.nll, rtol=1e-5)


def test_an_anomaly_is_detected_despite_missing_values(run):
    x = series(60, seed=2)[1]
    x[7, 0] = 4 * (-1.0) ** np.arange(20)
    assert run.detect(x, samples=20).score.argmax() == 7


@pytest.mark.slow
@pytest.mark.parametrize("method", ["both", pytest.param("density", marks=pytest.mark.slow)])
def test_p_values_do_not_depend_on_how_many_values_are_missing(method, tmp_path):
    run = train_quickly(series()[0], out=tmp_path / "run", **OPTIONS)
    x = series(200, seed=2)[0]
    complete = run.detect(x, method=method, samples=10)
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    for _ in range(2):  # the reference is computed, and then read
        report = run.detect(x, method=method, samples=10)
        assert report.is_anomaly.mean() < complete.is_anomaly.mean() + 0.05
        assert report.p_value.mean() == pytest.approx(complete.p_value.mean(), abs=0.1)


def test_samples_are_compared_with_complete_training_rows(run):
    nearest = run.nearest_training(run.sample(30))
    training = run.split("train").x[nearest.index]
    np.testing.assert_allclose(nearest.pairs.array[1], training, rtol=1e-4, atol=1e-4)
    assert is_finite(training)


@pytest.mark.slow
def test_comparisons_require_complete_rows(tmp_path):
    x = series()[1]
    x[:, 0, 0] = np.where(np.arange(N) < 200, np.nan, 1)
    x[200:, 1, 0] = np.nan
    run = train_quickly(x, out=tmp_path / "run", steps=10)
    with pytest.raises(VariedError, match="All training rows have missing values"):
        run.nearest_training(run.sample(3))
    message = "Only 0 of 40 rows have no missing values; at least 20 are required"
    with pytest.raises(VariedError, match=message):
        _ = EvalContext(run).test_features
    groups = {group.title: group for group in evaluate_all(run)}
    assert message in groups["Samples"].warnings[0]
    assert groups["ELBO"].metrics


@pytest.mark.slow
def test_all_metrics_are_computed_on_complete_rows(tmp_path):
    complete, x = series(700)
    x[60:] = complete[60:]
    run = train_quickly(x, out=tmp_path / "run", steps=20)
    n = int(np.isnan(run.split("test").x).any((1, 2)).sum())
    groups = {group.title: group for group in evaluate_all(run)}
    assert 0 < n < 20
    assert f"{n} test rows with missing values are omitted" in groups["Samples"].note
    assert not any(group.note == "not available" for group in groups.values())
    values = [metric.estimate.value for group in groups.values() for metric in group.metrics]
    assert is_finite(values)
    assert "bits per dimension" not in [metric.name for metric in groups["ELBO"].metrics]


def test_missing_values_cannot_be_compressed(tmp_path):
    x = series()[1] > 0
    x = np.where(np.isnan(series()[1]), np.nan, x)
    run = train_quickly(x, out=tmp_path / "run", steps=10)
    assert run.codec.domain == "binary"
    with pytest.raises(VariedError, match="missing values cannot be compressed; fill"):
        run.compress()


# Imputation


def test_missing_values_are_predicted_and_observed_values_do_not_change(run):
    complete, x = series()
    result = run.impute(x)
    observed = ~np.isnan(x)
    assert result.array.dtype == np.float32
    assert (result.array[observed] == x[observed]).all()
    for channel in (0, 1):
        error = (result.array - complete)[:, channel][~observed[:, channel]]
        assert error.std() < 0.3 * complete[:, channel].std()
    assert len(result.draws) == 50
    assert all((draw[observed] == x[observed]).all() for draw in result.draws)
    assert not np.array_equal(*result.draws[:2])
    truth = complete[tuple(result.cells[["row", "axis_1", "axis_2"]].to_numpy().T)]
    is_covered = (result.cells.ci_low <= truth) & (truth <= result.cells.ci_high)
    assert 0.82 < is_covered.mean() <= 1


def test_a_model_of_complete_rows_fills_missing_values(tmp_path):
    complete, x = series()
    run = train_quickly(complete, out=tmp_path / "run", **OPTIONS)
    assert not run.codec.has_missing_values
    errors = [
        (run.impute(x, sweeps=sweeps).array - complete)[:, 1][np.isnan(x[:, 1])].std()
        for sweeps in (None, 0)
    ]
    assert errors[0] < min(errors[1], 0.3 * complete[:, 1].std())


def test_images_with_missing_pixels_are_filled(tmp_path):
    rng = np.random.default_rng(0)
    complete = (np.indices((12, 12))[0] * rng.random((200, 1, 1)) / 12).astype(np.float32)
    x = np.where(rng.random(complete.shape) < 0.2, np.float32(np.nan), complete)
    run = train_quickly(x, out=tmp_path / "run", **OPTIONS)
    assert run.codec.domain == "unit-interval"
    result = run.impute(x)
    assert np.abs(result.array[:, 0] - complete).mean() < 0.1
    assert pixels(result.save(tmp_path / "imputed.png")).std() > 5
    assert run.reconstruct(x).images.dtype == np.uint8


@pytest.mark.slow
def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    complete, x = series(150)
    x[20:150] = complete[20:150]
    x[5, 0, 3] = np.nan
    np.save("series.npy", x)
    np.save("complete.npy", complete)
    np.savez("series.npz", x=x)

    def invoke(*arguments):
        return CliRunner().invoke(app, arguments)

    result = invoke("train", "series.npy", "--steps", "30", "--out", "run")
    assert result.exit_code == 0, result.output
    n = int(np.isnan(x).sum())
    assert f"{n} of 6,000 values are missing in" in " ".join(result.output.split())
    for name in ("series.npy", "series.npz"):
        result = invoke("impute", "run", name, "--out", f"{name}.filled.npy")
        assert result.exit_code == 0, result.output
        filled = np.load(f"{name}.filled.npy")
        np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
        assert is_finite(filled)
    options = ("--intervals", "cells.csv", "--n-draws", "5")
    assert invoke("impute", "run", "series.npy", *options).exit_code == 0
    assert len(pd.read_csv("cells.csv")) == n
    assert (tmp_path / "imputed.npy").is_file()
    assert "no missing values to impute" in str(invoke("impute", "run", "complete.npy").exception)
    for command in ("evaluate", "detect", "reconstruct", "encode", "neighbors"):
        result = invoke(command, "run", "series.npy")
        assert result.exit_code == 0, result.output
    assert invoke("sample", "run", "--check-copies").exit_code == 0
    assert invoke("train", "series.npy", "--steps", "5", "--out", "other").exit_code == 0
    assert invoke("compare", "run", "other").exit_code == 0


def test_missing_values_are_accepted_in_python(tmp_path):
    x = series(60)[1]
    x[:30] = np.nan  # rows without any observed value are kept, as in tables
    run = varied.train(x, steps=5, out=tmp_path / "run", progress=False)
    assert (run.folder / "report.html").is_file()
    assert is_finite(run.impute(x).array)
    assert is_finite(run.detect(x, samples=5).score)
