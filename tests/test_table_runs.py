"""A table from end to end: the person's file in, the person's columns out."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import varied
from varied.cli import app
from varied.cli.metrics_table import of_table
from varied.errors import VariedError
from varied.evaluate.suites.context import EvalContext
from varied.evaluate.suites.likelihood import elbo_suite
from varied.evaluate.suites.tabular import column_suite, synthetic_rows_suite
from varied.evaluate.suites.compare import Comparison
from varied.training import prepare

N = 300


def people() -> pd.DataFrame:
    dice = np.random.default_rng(0)
    age = dice.integers(18, 80, N)
    town = dice.choice(["Ulm", "Graz", "Łódź"], N)
    return pd.DataFrame(
        {
            "name": [f"p{i:03d}" for i in range(N)],
            "age": age,
            "pay": (age * 31.5 + dice.normal(0, 90, N)).round(2),
            "town": np.where(dice.random(N) < 0.2, "", town),
            "old": np.where(age > 48, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A table as an office writes it: semicolons, decimal commas, in Windows' letters."""
    path = tmp_path_factory.mktemp("table") / "people.csv"
    text = people().to_csv(sep=";", decimal=",", index=False, float_format="%.2f")
    path.write_bytes(text.replace("\n", "\r\n").replace("Łódź", "Köln").encode("cp1252"))
    return path


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "people"
    return varied.fit(str(file), steps=400, lr=4e-3, batch_size=64, width=64, threads=1, out=out)


def trained(*source, **choices):
    """Train without the pictures."""
    job = prepare(*source, **choices)
    for _ in job.train():
        pass
    return job.deliver()


def test_the_report_shows_columns_rows_and_costs(run):
    for name in ("columns.png", "pairs.png", "costs.png", "samples.png", "samples.csv"):
        assert (run.folder / name).stat().st_size > 500
    page = (run.folder / "report.html").read_text("utf-8")
    assert "made rows beside" in page
    assert "Nats by column" in page


def test_tables_are_compared_column_by_column(run, file, tmp_path):
    alone = tmp_path / "alone"
    trained(str(file), column_types={"pay": "ignore"}, steps=20, width=16, threads=1, out=alone)
    page = Comparison([run.folder, alone]).write(tmp_path / "page").read_text("utf-8")
    lines = dict(re.findall(r"<tr>\s*<t[hd][^>]*>([^<]+)</t[hd]>(.*?)</tr>", page, re.S))
    scores = {
        name: [re.sub("<[^>]+>|\\s", "", cell) for cell in re.findall(r"<td.*?</td>", line, re.S)]
        for name, line in lines.items()
    }
    assert {"age", "pay", "town", "old"} <= scores.keys()
    assert scores["pay"][1] == ""  # a column that the second run does not learn
    assert all(0.5 < float(scores[name][0]) <= 1 for name in ("age", "pay", "town", "old"))
    both = zip(scores["all columns"], scores["all pairs of columns"], strict=True)
    for columns_, pairs in both:
        assert 0 < float(pairs.partition("±")[0]) < 1
        assert 0.5 < float(columns_.partition("±")[0]) <= 1
    for index in (1, 2):
        assert (tmp_path / "page" / f"columns-{index}.png").stat().st_size > 500


def test_each_columns_cost_is_told_and_they_add_up(run):
    told = json.loads((run.folder / "evaluation.json").read_text("utf-8"))
    assert set(told["columns"]) == {"age", "pay", "town", "old"}
    total = sum(cost for cost, _ in told["columns"].values())
    assert total == pytest.approx(run.evaluate().reconstruction.value, rel=1e-4)


def test_the_command_says_what_columns_cost(run):
    told = json.loads((run.folder / "evaluation.json").read_text("utf-8"))
    first, second = of_table(told)
    assert first.startswith("Dearest columns, in nats: ")
    assert "by columns and" in second
    assert not list(of_table({"n": 3}))


def test_samples_have_the_persons_columns_and_form(run, file, tmp_path):
    made = run.sample(40)
    assert list(made.array.columns) == ["name", "age", "pay", "town", "old"]
    assert made.array["age"].between(18, 80).all()
    assert set(made.array["town"].dropna()) <= {"Ulm", "Graz", "Köln"}
    written = made.save(tmp_path / "new.csv").read_bytes()
    assert written.startswith(file.read_bytes().split(b"\r\n")[0] + b"\r\n")
    rows = list(csv.reader(written.decode("cp1252").splitlines(), delimiter=";"))
    assert len(rows) == 41
    assert all(
        row[2].partition(",")[2].isdigit() and len(row[2].partition(",")[2]) == 2
        for row in rows[1:]
    )


def test_samples_hang_together_as_the_rows_do(run):
    made = run.sample(2000).array
    real = people()
    alike = np.corrcoef(made["age"].astype(float), made["pay"])[0, 1]
    assert alike > 0.6
    assert abs((made["old"] == "yes").mean() - (real["old"] == "yes").mean()) < 0.12
    assert abs(made["town"].isna().mean() - 0.2) < 0.1
    assert (made.loc[made["old"] == "yes", "age"].mean()) > made["age"].mean()


def test_the_same_seed_makes_the_same_rows(run):
    pd.testing.assert_frame_equal(run.sample(9, seed=3).array, run.sample(9, seed=3).array)
    assert not run.sample(9, seed=3).array.equals(run.sample(9, seed=4).array)


def test_originals_stand_above_their_reconstructions(run, file):
    made = run.reconstruct(n=3).array
    assert made.index.tolist() == [
        (row, which) for row in (1, 2, 3) for which in ("original", "reconstruction")
    ]
    test = run.split("test").x
    originals = made.xs("original", level="which")
    assert originals["age"].tolist() == test["age"].tolist()[:3]
    assert originals["town"].tolist() == test["town"].tolist()[:3]


def test_paths_and_traversals_say_where_they_are(run, tmp_path):
    path = run.interpolate(n=2, steps=4).save(tmp_path / "path.csv")
    assert path.read_text("cp1252").splitlines()[1].startswith("1;1;")
    assert len(run.traverse(dimensions=2, steps=3).array) == 6


def test_a_data_frame_trains_too_and_comes_back_as_one(tmp_path):
    frame = people().assign(since=pd.Timestamp("2020-02-01"), member=[True, False] * (N // 2))
    frame["age"] = frame["age"].astype("int16")
    run = trained(frame, steps=20, batch_size=64, width=32, threads=1, out=tmp_path / "run")
    made = run.sample(5).frame
    assert list(made.columns) == list(frame.columns)
    assert str(made["age"].dtype) == "int16"
    assert made["member"].dtype == bool
    assert (made["since"] == pd.Timestamp("2020-02-01")).all()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_rows_that_belong_together_come_back_in_any_frame(library, tmp_path):
    there = pytest.importorskip(library)
    frame = people()[["age", "town"]].assign(town=lambda rows: pd.Categorical(rows.town))
    given = {
        "pandas": lambda: frame.set_index(np.arange(N) * 2),
        "polars": lambda: there.from_pandas(frame),
        "pyarrow": lambda: there.Table.from_pandas(frame),
    }[library]()
    run = trained(given, steps=3, threads=1, out=tmp_path / "frames")
    made = run.reconstruct(n=2).frame
    assert type(made) is type(given)
    rows = made.reset_index() if library == "pandas" else made.to_pandas()
    assert list(rows.columns) == ["row", "which", "age", "town"]
    assert rows.row.tolist() == [1, 1, 2, 2]
    assert rows.which.tolist() == ["original", "reconstruction"] * 2
    assert rows.town.dtype == "category"
    originals = rows[rows.which == "original"].town.astype(str).tolist()
    assert originals == run.split("test").x.town.astype(str).tolist()[:2]


@pytest.mark.parametrize(
    ("rows", "passes"), [(12, 200), (9_000, 200), (50_000, 49), (400_000, 20), (700_000, 0)]
)
def test_few_rows_are_not_learned_by_heart(rows, passes, tmp_path):
    """Where a person gives no length: passes of a table, minutes of one that is very long."""
    x = np.random.default_rng(0).normal(size=rows).astype("f4")
    job = prepare(pd.DataFrame({"a": x}), out=tmp_path / "run")
    plan = job.spec.plan
    assert (plan.epochs, plan.minutes) == ((passes, 0.0) if passes else (0.0, 10.0))
    [said] = [sentence for sentence in job.sentences if sentence.startswith("Trains for")]
    assert ("by heart" in said) == (passes == 200)
    asked = prepare(pd.DataFrame({"a": x}), out=tmp_path / "asked", minutes=2).spec.plan
    assert (asked.epochs, asked.minutes) == (0.0, 2.0)


def test_few_pictures_are_seen_two_hundred_times(tmp_path):
    few, many = np.zeros((2, 1500, 8, 8), np.uint8)
    few[:, 2, 3], many[::2, 1] = 255, 255
    assert prepare(few[:1000], out=tmp_path / "few").spec.plan.epochs == 200
    assert prepare(many, out=tmp_path / "many").spec.plan.minutes == 10


def test_intervals_of_filled_cells_are_as_wide_as_held_rows_ask_for(tmp_path):
    """A model of few rows is too sure of itself; the rows that it did not learn say by how much."""
    dice = np.random.default_rng(0)
    z = dice.normal(size=(200, 3))
    x = np.tanh(z @ dice.normal(size=(3, 9))) + 0.4 * dice.normal(size=(200, 9))
    whole = pd.DataFrame(x, columns=list("abcdefghi")).assign(kind=np.where(z[:, 0] > 0, "p", "m"))
    hidden = dice.random(whole.shape) < 0.3
    run = trained(whole.mask(hidden), steps=800, lr=4e-3, threads=1, out=tmp_path / "few")
    assert run.imputation_scale > 1.05
    cells = run.impute(whole.mask(hidden)).cells
    numbers = cells[cells.column != "kind"]
    truth = [
        whole[name].iloc[row - 1] for row, name in zip(numbers.row, numbers.column, strict=True)
    ]
    inside = ((numbers.low <= truth) & (truth <= numbers.high)).mean()
    assert 0.85 < inside < 0.97
    assert (numbers.low >= [whole[name].min() for name in numbers.column]).all()
    again = varied.Run(run.folder)  # the data of the training are not there
    (run.folder / "cells.json").unlink()
    narrow = varied.Run(run.folder).impute(whole.mask(hidden)).cells
    narrow = narrow[narrow.column != "kind"]
    assert (narrow.high - narrow.low).mean() < 0.95 * (numbers.high - numbers.low).mean()
    assert again.impute(whole.mask(hidden), n_draws=1).cells.low.notna().sum() == len(numbers)


def test_choices_alone_have_no_width(tmp_path):
    frame = pd.DataFrame({"a": ["x", "y"] * 40, "b": ["u", "u", "v", "v"] * 20})
    run = trained(frame, steps=5, threads=1, out=tmp_path / "choices")
    assert json.loads((run.folder / "cells.json").read_text("utf-8")) == {"width": 1.0}


def test_a_column_gives_the_labels(file, tmp_path):
    run = trained(
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


def test_a_table_of_one_column_is_a_table(tmp_path):
    frame = pd.DataFrame({"v": np.arange(300) * 1.5})
    run = varied.fit(frame, steps=10, threads=1, width=16, out=tmp_path / "run")
    assert not (run.folder / "pairs.png").exists()
    assert next(synthetic_rows_suite(EvalContext(run))).metrics[0].name == "column shapes"
    assert run.sample(3).array.shape == (3, 1)


def test_what_is_measured_of_a_table(run):
    here = EvalContext(run)
    found = [
        section
        for part in (elbo_suite, column_suite, synthetic_rows_suite)
        for section in part(here)
    ]
    sections = {section.title: section for section in found}
    assert [m.name for m in sections["Synthetic rows"].metrics][:2] == [
        "column shapes",
        "pair trends",
    ]
    assert {m.name for m in sections["Columns"].metrics} == {"age", "pay", "town", "old"}
    assert "bits per dimension" not in {m.name for m in sections["ELBO"].metrics}


def test_another_table_is_read_or_refused(run, tmp_path):
    other = tmp_path / "other.csv"
    people().drop(columns=["pay"]).to_csv(other, index=False)
    with pytest.raises(VariedError, match="there is no column 'pay'"):
        run.encode(str(other))
    people().head(20).to_csv(other, index=False)
    assert run.encode(str(other)).mean.shape[0] == 20


def test_the_command(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    does = CliRunner()
    found = does.invoke(
        app, ["train", str(file), "--steps", "20", "--column-types", "age=category", "--quiet"]
    )
    assert found.exit_code == 0, found.output
    assert found.output.strip() == "runs/people-vae-01"
    assert does.invoke(app, ["sample", "last", "-n", "7"]).exit_code == 0
    assert len((tmp_path / "samples.csv").read_bytes().splitlines()) == 8
    wrong = does.invoke(app, ["train", str(file), "--column-types", "age"])
    assert wrong.exit_code != 0
