"""End-to-end tests of runs of tables: from a file to samples with the same columns."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest
from quick_training import train_quickly, train_to_end
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import varied
from varied.cli import app
from varied.cli.evaluate import _table_sentences
from varied.errors import VariedError
from varied.evaluate.suites.compare import Comparison
from varied.evaluate.suites.context import EvalContext
from varied.evaluate.suites.likelihood import elbo_suite
from varied.evaluate.suites.tabular import column_suite, synthetic_rows_suite
from varied.training.update import prepare_update

pytestmark = pytest.mark.figures

N = 300


def people() -> pd.DataFrame:
    random = np.random.default_rng(0)
    age = random.integers(18, 80, N)
    town = random.choice(["Ulm", "Graz", "Łódź"], N)
    return pd.DataFrame(
        {
            "name": [f"p{i:03d}" for i in range(N)],
            "age": age,
            "pay": (age * 31.5 + random.normal(0, 90, N)).round(2),
            "town": np.where(random.random(N) < 0.2, "", town),
            "old": np.where(age > 48, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return a file with semicolons, decimal commas, CRLF line endings and a Windows encoding."""
    path = tmp_path_factory.mktemp("table") / "people.csv"
    text = people().to_csv(sep=";", decimal=",", index=False, float_format="%.2f")
    path.write_bytes(text.replace("\n", "\r\n").replace("Łódź", "Köln").encode("cp1252"))
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "people"
    return varied.train(str(file), steps=400, lr=4e-3, batch_size=64, width=64, threads=1, out=out)


def test_the_report_has_figures_of_columns_and_rows(run):
    for name in ("columns.png", "pairs.png", "costs.png", "samples.png", "samples.csv"):
        assert (run.folder / name).stat().st_size > 500
    page = (run.folder / "report.html").read_text("utf-8")
    assert re.search(r"[\d,]+ synthetic and [\d,]+ test rows", page)
    assert "Nats by column" in page


def test_comparison_of_runs_by_column(run, file, tmp_path):
    other = tmp_path / "other"
    train_quickly(
        str(file), column_types={"pay": "ignore"}, steps=20, width=16, threads=1, out=other
    )
    page = Comparison([run.folder, other]).write(tmp_path / "page").read_text("utf-8")
    lines = dict(re.findall(r"<tr>\s*<t[hd][^>]*>([^<]+)</t[hd]>(.*?)</tr>", page, re.S))
    scores = {
        name: [re.sub("<[^>]+>|\\s", "", cell) for cell in re.findall(r"<td.*?</td>", line, re.S)]
        for name, line in lines.items()
    }
    assert {"age", "pay", "town", "old"} <= scores.keys()
    assert scores["pay"][1] == ""  # the second run is not trained on this column
    assert all(0.5 < float(scores[name][0]) <= 1 for name in ("age", "pay", "town", "old"))
    for column, pair in zip(scores["all columns"], scores["all pairs of columns"], strict=True):
        assert 0 < float(pair.partition("±")[0]) < 1
        assert 0.5 < float(column.partition("±")[0]) <= 1
    for i in (1, 2):
        assert (tmp_path / "page" / f"columns-{i}.png").stat().st_size > 500


def evaluation(run):
    return json.loads((run.folder / "evaluation.json").read_text("utf-8"))


def test_the_losses_of_the_columns_add_up_to_the_reconstruction(run):
    columns = evaluation(run)["columns"]
    assert set(columns) == {"age", "pay", "town", "old"}
    total = sum(loss for loss, _ in columns.values())
    assert total == pytest.approx(run.evaluate().reconstruction.value, rel=1e-4)


def test_the_command_prints_the_losses_of_columns_and_the_similarity(run):
    losses, similarity = _table_sentences(evaluation(run))
    assert "in nats: " in losses
    assert "columns 0." in similarity
    assert "pairs 0." in similarity
    assert not list(_table_sentences({"n": 3}))


def test_samples_have_the_columns_and_the_dialect_of_the_file(run, file, tmp_path):
    samples = run.sample(40)
    assert list(samples.array.columns) == ["name", "age", "pay", "town", "old"]
    assert samples.array["age"].between(18, 80).all()
    assert set(samples.array["town"].dropna()) <= {"Ulm", "Graz", "Köln"}
    lines = samples.save(tmp_path / "new.csv").read_bytes().decode("cp1252").splitlines()
    assert lines[0] == file.read_bytes().decode("cp1252").splitlines()[0]
    rows = list(csv.reader(lines[1:], delimiter=";"))
    assert len(rows) == 40
    assert all(re.fullmatch(r"-?\d+,\d\d", row[2]) for row in rows)


def test_samples_have_the_correlations_of_the_rows(run):
    samples, real = run.sample(2000).array, people()
    assert np.corrcoef(samples["age"].astype(float), samples["pay"])[0, 1] > 0.6
    is_old = samples["old"] == "yes"
    assert abs(is_old.mean() - (real["old"] == "yes").mean()) < 0.12
    assert abs(samples["town"].isna().mean() - 0.2) < 0.1
    assert samples.loc[is_old, "age"].mean() > samples["age"].mean()


def test_samples_depend_only_on_the_seed(run):
    pd.testing.assert_frame_equal(run.sample(9, seed=3).array, run.sample(9, seed=3).array)
    assert not run.sample(9, seed=3).array.equals(run.sample(9, seed=4).array)


def test_each_reconstruction_follows_its_original(run):
    rows = run.reconstruct(n=3).array
    assert rows.index.tolist() == [
        (row, which) for row in (1, 2, 3) for which in ("original", "reconstruction")
    ]
    test = run.split("test").x
    originals = rows.xs("original", level="which")
    assert originals["age"].tolist() == test["age"].tolist()[:3]
    assert originals["town"].tolist() == test["town"].tolist()[:3]


def test_interpolations_and_traversals_have_an_index(run, tmp_path):
    path = run.interpolate(n=2, steps=4).save(tmp_path / "path.csv")
    assert path.read_text("cp1252").splitlines()[1].startswith("1;1;")
    assert len(run.traverse(dimensions=2, steps=3).array) == 6


def test_samples_of_a_data_frame_are_a_data_frame(tmp_path):
    frame = people().assign(since=pd.Timestamp("2020-02-01"), member=[True, False] * (N // 2))
    frame["age"] = frame["age"].astype("int16")
    run = train_quickly(frame, steps=20, batch_size=64, width=32, threads=1, out=tmp_path / "run")
    samples = run.sample(5).frame
    assert list(samples.columns) == list(frame.columns)
    assert str(samples["age"].dtype) == "int16"
    assert samples["member"].dtype == bool
    assert (samples["since"] == pd.Timestamp("2020-02-01")).all()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_reconstructions_are_a_frame_of_the_same_library(library, tmp_path):
    module = pytest.importorskip(library)
    frame = people()[["age", "town"]].assign(town=lambda rows: pd.Categorical(rows.town))
    source = {
        "pandas": lambda: frame.set_index(np.arange(N) * 2),
        "polars": lambda: module.from_pandas(frame),
        "pyarrow": lambda: module.Table.from_pandas(frame),
    }[library]()
    run = train_quickly(source, steps=3, threads=1, out=tmp_path / "frames")
    reconstructed = run.reconstruct(n=2).frame
    assert type(reconstructed) is type(source)
    is_pandas = library == "pandas"
    rows = reconstructed.reset_index() if is_pandas else reconstructed.to_pandas()
    assert list(rows.columns) == ["row", "which", "age", "town"]
    assert rows.row.tolist() == [1, 1, 2, 2]
    assert rows.which.tolist() == ["original", "reconstruction"] * 2
    assert rows.town.dtype == "category"
    originals = rows[rows.which == "original"].town.astype(str).tolist()
    assert originals == run.split("test").x.town.astype(str).tolist()[:2]


def patients(n: int, seed: int) -> pd.DataFrame:
    """Return a table with a class that depends on five columns, one of them through another."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 80, n),
            "dose": rng.gamma(2, 1.5, n).round(1),
            "smoker": rng.random(n) < 0.3,
            "group": rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]),
            "weight": rng.normal(75, 12, n),
        }
    )
    logit = 0.06 * (frame.age - 50) + frame.smoker + 0.03 * (frame.weight - 75)
    logit += 0.5 * (frame.dose - 3) * (frame.group == "c") - 0.4 * (frame.group == "b")
    return frame.assign(ill=np.where(rng.random(n) < 1 / (1 + np.exp(-logit)), "yes", "no"))


@pytest.mark.slow
def test_rows_generated_from_a_small_table_are_as_useful_as_real_rows(tmp_path):
    def auroc(rows):
        inputs, test = (pd.get_dummies(part.drop(columns="ill")) for part in (rows, fresh))
        forest = RandomForestClassifier(300, min_samples_leaf=10, random_state=0)
        forest.fit(inputs[test.columns], rows.ill == "yes")
        return roc_auc_score(fresh.ill == "yes", forest.predict_proba(test)[:, 1])

    real, fresh = patients(600, 0), patients(4000, 100)
    options = {"threads": 1, "precision": "float32", "progress": False}
    run = varied.train(real, out=tmp_path / "patients", **options)
    assert auroc(run.sample(600).frame) > auroc(real) - 0.03


@pytest.mark.slow
def test_imputation_intervals_are_calibrated_on_validation_rows(tmp_path):
    random = np.random.default_rng(0)
    z = random.normal(size=(200, 3))
    x = np.tanh(z @ random.normal(size=(3, 9))) + 0.4 * random.normal(size=(200, 9))
    frame = pd.DataFrame(x, columns=list("abcdefghi")).assign(kind=np.where(z[:, 0] > 0, "p", "m"))
    masked = frame.mask(random.random(frame.shape) < 0.3)
    options = {"threads": 1, "precision": "float32"}  # "auto" depends on the load of the machine
    run = train_quickly(masked, steps=800, lr=4e-3, **options, out=tmp_path / "few")
    assert np.mean(run.store.read_calibration("imputation_scale")) > 1.05
    cells = run.impute(masked).cells
    numbers = cells[cells.column != "kind"]
    truth = [
        frame[name].iloc[row - 1] for row, name in zip(numbers.row, numbers.column, strict=True)
    ]
    coverage = ((numbers.ci_low <= truth) & (truth <= numbers.ci_high)).mean()
    assert 0.85 < coverage < 0.97
    assert (numbers.ci_low >= [frame[name].min() for name in numbers.column]).all()
    reopened = varied.Run(run.folder)  # without the training data
    (run.folder / "calibration.json").unlink()
    uncalibrated = varied.Run(run.folder).impute(masked).cells
    uncalibrated = uncalibrated[uncalibrated.column != "kind"]
    width = (numbers.ci_high - numbers.ci_low).mean()
    assert (uncalibrated.ci_high - uncalibrated.ci_low).mean() < 0.95 * width
    assert reopened.impute(masked, n_draws=1).cells.ci_low.notna().sum() == len(numbers)


@pytest.mark.parametrize(("factors", "ratios"), [([1, 3], (1, 3)), (2.0, (2, 2))])
def test_each_column_has_its_own_interval_scale(factors, ratios, tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 2)), columns=["a", "b"])
    frame = frame.mask(random.random(frame.shape) < 0.2)
    run = train_quickly(frame, steps=30, out=tmp_path / "columns")
    assert len(run.store.read_calibration("imputation_scale", 2)) == 2

    def widths(scale):
        text = json.dumps({"imputation_scale": scale})
        (run.folder / "calibration.json").write_text(text)
        run.store.manifest.accept()
        draws = np.stack([draw.to_numpy() for draw in run.impute(frame).draws])
        return draws.std(0)[frame.isna().to_numpy().any(1)].sum(0)

    # The values at the ends of the range of a column do not change.
    assert widths(factors) / widths([1, 1]) == pytest.approx(ratios, rel=0.3)


def test_categories_need_no_interval_calibration(tmp_path):
    frame = pd.DataFrame({"a": ["x", "y"] * 40, "b": ["u", "u", "v", "v"] * 20})
    run = train_quickly(frame, steps=5, threads=1, out=tmp_path / "categories")
    assert run.store.read_calibration("imputation_scale", 0) == []
    assert (run.folder / "calibration.json").is_file()


@pytest.mark.slow
def test_a_column_can_be_the_label(file, tmp_path):
    run = train_quickly(
        str(file),
        "conditional-vae",
        labels="old",
        steps=400,
        lr=4e-3,
        batch_size=64,
        width=64,
        threads=1,
        out=tmp_path / "run",
    )
    assert run.context.classes == ("no", "yes")
    assert (run.sample(200, label="yes").array["old"] == "yes").mean() > 0.8
    with pytest.raises(VariedError, match="no column 'odl': did you mean 'old'"):
        varied.read(str(file), labels="odl")


def cells() -> pd.DataFrame:
    """Return a table whose numbers depend on a donor and a dose; each donor is in one batch."""
    random = np.random.default_rng(0)
    donor, dose = random.integers(0, 3, N), random.uniform(0, 10, N).round(2)
    return pd.DataFrame(
        {
            "gene": 5 * donor + random.normal(0, 0.3, N),
            "marker": dose + random.normal(0, 0.3, N),
            "batch": np.where(donor == 2, 2, 1),
            "donor": np.array(["ann", "bob", "eve"])[donor],
            "dose": dose,
        }
    )


COVARIATES = ["batch", "donor", "dose"]


@pytest.fixture(scope="module")
def covariate_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("covariates")
    frame = cells()
    frame.loc[:9, "donor"] = None
    frame.to_csv(folder / "cells.csv", index=False)
    out = folder / "run"
    types = dict.fromkeys(COVARIATES, "ignore")
    options = {"labels": COVARIATES, "column_types": types, "steps": 300, "out": out}
    return train_quickly(str(folder / "cells.csv"), "conditional-vae", **options)


def test_several_columns_can_be_labels(covariate_run):
    run = varied.Run(covariate_run.folder)
    kinds = {c.name: c.classes for c in run.context.covariates}
    assert kinds == {"batch": ("1", "2"), "donor": ("ann", "bob", "eve"), "dose": ()}
    assert run.spec.context == 6
    assert run.split("test").covariates.keys() == kinds.keys()
    samples = run.sample(300).array
    assert samples["gene"].std() == pytest.approx(run.data.x["gene"].std(), rel=0.3)
    assert samples["marker"].std() == pytest.approx(run.data.x["marker"].std(), rel=0.3)
    given = run.sample(200, label={"batch": 2, "dose": 9}).array
    assert given["gene"].mean() == pytest.approx(10, abs=1.5)  # as only eve is in batch 2
    assert given["marker"].mean() == pytest.approx(9, abs=1.5)


def test_covariates_are_read_from_other_tables(covariate_run):
    other = cells().sample(frac=1, random_state=1)
    data = covariate_run.read(other)
    assert data.covariates["donor"][1] == ("ann", "bob", "eve")
    assert (covariate_run.encode_data(data).c[:, 2:5].sum(1) == 1).all()
    with pytest.raises(VariedError, match="labels in the columns 'batch', 'donor', 'dose'"):
        covariate_run.reconstruct(other.drop(columns="donor"))
    with pytest.raises(VariedError, match="In row 1, 'donor' is 'joe', which is not a class"):
        covariate_run.read(other.assign(donor="joe"))


def test_style_replaces_the_given_covariates_only(covariate_run):
    result = covariate_run.style(label={"dose": [1, 9]}, n=20)
    marker = result.array["marker"].to_numpy().reshape(20, 2)
    gene = result.array["gene"].to_numpy().reshape(20, 2)
    assert marker.mean(0) == pytest.approx([1, 9], abs=1.5)
    assert np.corrcoef(gene[:, 0], gene[:, 1])[0, 1] > 0.8
    assert result.array.index.levels[1].tolist() == ["dose=1", "dose=9"]
    with pytest.raises(VariedError, match="on batch, donor, dose; pass their values"):
        covariate_run.style()


def test_variations_keep_the_covariates_that_are_not_given(covariate_run):
    variations = covariate_run.sample(4, around=cells().head(30), label={"donor": "eve"}).array
    marker = variations["marker"].to_numpy().reshape(30, 5)
    assert np.corrcoef(marker[:, 0], marker[:, 1:].mean(1))[0, 1] > 0.8


def test_an_update_keeps_the_covariates(covariate_run, tmp_path):
    other, labels = cells().drop(index=range(150)), ["batch", "donor", "dose"]
    job = prepare_update(covariate_run, other, out=tmp_path / "run", labels=labels, steps=2)
    assert job.rows("train").c.shape[1] == 6
    assert train_to_end(job).read(other).covariates.keys() == set(labels)
    job = prepare_update(covariate_run, other, out=tmp_path / "default", steps=2)
    assert list(job.data.covariates) == labels
    with pytest.raises(VariedError, match="no class 'joe'"):
        prepare_update(covariate_run, other.assign(donor="joe"), out=tmp_path / "no", labels=labels)
    with pytest.raises(VariedError, match="no label 'dose': choose from batch, donor"):
        prepare_update(covariate_run, other, out=tmp_path / "no", labels=labels[:2])


def test_samples_have_the_numbers_of_the_training_rows(tmp_path):
    options = {"labels": "dose", "steps": 2, "out": tmp_path / "run"}
    run = train_quickly(cells(), "conditional-vae", **options)
    (dose,) = run.context.covariates
    values = np.array(dose.decode(run.contexts(100)))
    assert values.std() == pytest.approx(cells()["dose"].std(), rel=0.1)
    assert run.sample(3, label={"dose": 4}).array.equals(run.sample(3, label=4).array)


@pytest.mark.parametrize("name", ["samples", "columns"])
def test_metrics_of_a_run_with_covariates(covariate_run, name):
    suite = {"samples": synthetic_rows_suite, "columns": column_suite}[name]
    assert list(suite(EvalContext(covariate_run)))


def test_a_table_may_have_one_column(tmp_path):
    frame = pd.DataFrame({"v": np.arange(300) * 1.5})
    run = varied.train(frame, steps=10, threads=1, width=16, out=tmp_path / "run")
    assert not (run.folder / "pairs.png").exists()
    assert next(synthetic_rows_suite(EvalContext(run))).metrics[0].name == "column shapes"
    assert run.sample(3).array.shape == (3, 1)


def test_the_metrics_of_a_table(run):
    context = EvalContext(run)
    suites = (elbo_suite, column_suite, synthetic_rows_suite)
    groups = {group.title: group for suite in suites for group in suite(context)}
    names = {title: [m.name for m in group.metrics] for title, group in groups.items()}
    assert names["Synthetic rows"][:2] == ["column shapes", "pair trends"]
    assert set(names["Columns"]) == {"age", "pay", "town", "old"}
    assert "bits per dimension" not in names["ELBO"]


def test_a_table_with_other_columns_is_refused(run, tmp_path):
    other = tmp_path / "other.csv"
    people().drop(columns=["pay"]).to_csv(other, index=False)
    with pytest.raises(VariedError, match="column 'pay' is missing"):
        run.encode(str(other))
    people().head(20).to_csv(other, index=False)
    assert run.encode(str(other)).mean.shape[0] == 20


@pytest.mark.slow
def test_the_command_trains_and_samples(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    types = ["--column-types", "age=category"]
    result = runner.invoke(app, ["train", str(file), "--steps", "20", *types, "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == "runs/people-vae-01"
    assert runner.invoke(app, ["sample", "last", "-n", "7"]).exit_code == 0
    assert len((tmp_path / "samples.csv").read_bytes().splitlines()) == 8
    assert runner.invoke(app, ["train", str(file), "--column-types", "age"]).exit_code != 0
