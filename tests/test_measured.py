"""All that is measured of a run: whole, the same each time, and nothing is changed by it."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

from varied.cli import main
from varied.data import Batch
from varied.evaluate import Estimate, Measure, features_by, sharpness
from varied.evaluate.annealing import annealed
from varied.jobs import fit
from varied.lessons import LESSONS
from varied.measured import SECTIONS, abreast, all_of, bounds, measured, worth
from varied.measured.here import Here
from varied.randomness import noise

SMALL = {"width": 32, "batch": 32, "steps": 30, "threads": 1, "precision": "float32"}


def bars(n=600, side=9, seed=0):
    """Bright bars on black, upright or lying, with their kind and their place."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, (n, side, side), dtype=np.uint8)
    kind, place = rng.integers(0, 2, n), rng.integers(1, side - 1, n)
    for row, k, p in zip(x, kind, place, strict=True):
        row[(p, slice(None)) if k else (slice(None), p)] = 250
    return x, kind, place


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    here = tmp_path_factory.mktemp("measured")
    x, kind, place = bars()
    words = np.array(["upright", "lying"])
    np.savez(here / "classes.npz", x=x, labels=words[kind])
    np.savez(here / "factors.npz", x=x, labels=np.stack([kind, place], 1))
    np.save(here / "rows.npy", np.random.default_rng(0).normal(size=(600, 4)).astype("f4"))
    np.save(here / "few.npy", np.random.default_rng(0).normal(size=(40, 4)).astype("f4"))
    kinds = {
        "vae": ("classes.npz", "vae", {"latent": 3}),
        "conditional": ("classes.npz", "conditional-vae", {"latent": 3}),
        "classes": ("classes.npz", "m2", {"latent": 3}),
        "factors": ("factors.npz", "vae", {"latent": 3}),
        "autoencoder": ("classes.npz", "autoencoder", {"latent": 3}),
        "ladder": ("classes.npz", "ladder-vae", {"latent": 2}),
        "rows": ("rows.npy", "vae", {"latent": 2}),
        "few": ("few.npy", "vae", {"latent": 2}),
    }
    return {
        name: fit(here / file, model, out=here / name, **parts, **SMALL)
        for name, (file, model, parts) in kinds.items()
    }


@pytest.fixture(scope="module")
def told(runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "PLAN", {"chains": 4, "steps": 30, "leaps": 3})
        patch.setattr(bounds, "SAMPLES", 100)
        yield {name: measured(run) for name, run in runs.items()}


def titles(sections):
    return {section.title for section in sections if section.measures}


def figure(sections, name):
    (found,) = [m for section in sections for m in section.measures if m.name == name]
    return found


def test_each_run_has_what_applies_to_it(told):
    always = {"The bound", "The latent space", "Samples"}
    close = {"Closer, by importance samples", "Closer, by annealing"}
    looks, labelled = {"Reconstructions"}, {"Labels, read off the codes"}
    taught = {"Learned from samples, tested on data"}
    factors = {"Factors, read off single units"}
    assert titles(told["vae"]) == always | close | looks | labelled
    assert titles(told["conditional"]) == always | close | looks | labelled | taught
    assert titles(told["classes"]) == (
        always | looks | labelled | taught | {"Classes", "Closer, by importance samples"}
    )
    assert titles(told["factors"]) == always | close | looks | factors
    assert titles(told["autoencoder"]) == always | looks | labelled
    assert titles(told["rows"]) == always | close


def test_what_cannot_be_measured_stands_there_with_the_reason(told):
    assert "Samples" not in titles(told["few"])
    for name, title in (("few", "Samples"), ("ladder", "Closer, by annealing")):
        (section,) = [s for s in told[name] if s.title == title]
        assert section.note == "left out"
        (reason,) = section.warnings
        assert reason.endswith(".")


def test_figures_are_those_of_the_functions(runs, told):
    run, sections = runs["vae"], told["vae"]
    found = run.evaluate()
    assert figure(sections, "-ELBO").estimate == -found.elbo
    bits = figure(sections, "bits per dimension").estimate.value
    assert bits == pytest.approx(-found.elbo.value / 81 / math.log(2))
    seen = run.evaluate(run.part("test"), samples=100)
    value = figure(sections, "-log p(x), 100 importance samples").estimate.value
    assert value == pytest.approx(-seen.log_likelihood.value, abs=0.5)
    made = (255 * torch.from_numpy(run.sample(5).array)).max()
    assert made > 0
    real = run.codec.encode(run.part("test"))
    (samples,) = [s for s in sections if s.title == "Samples"]
    assert str(sharpness(real)) in samples.measures[-1].beside


def test_annealing_and_importance_samples_agree(runs, told):
    run = runs["vae"]
    batch = run.stored(run.part("test"))
    with noise(0, "x"):
        x = run.codec.load(batch.x)
    found = annealed(run.model, lambda rows: rows, [Batch(x[:20])], chains=8, steps=100, leaps=5)
    value = figure(told["vae"], "-log p(x), annealed").estimate
    assert abs(-found.bound.mean() - value.value) < 4 * value.error


def test_it_is_the_same_each_time_and_changes_nothing(runs, told):
    run = runs["conditional"]
    files = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    weights = {k: v.clone() for k, v in run.model.state_dict().items()}
    state = torch.get_rng_state()
    again = measured(run)
    plain = [section.to_json() for section in told["conditional"]]
    assert [section.to_json() for section in again] == plain
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, weights[k]) for k, v in run.model.state_dict().items())
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == files


def test_features_that_a_person_gives_are_named(runs):
    by = features_by(lambda x: x.flatten(1)[:, :20], "the first twenty pixels")
    found = [s for s in measured(runs["vae"], features=by) if s.title == "Samples"]
    assert "the first twenty pixels" in found[0].note
    assert found[0].fingerprint == by.fingerprint


def test_every_figure_has_a_lesson_and_every_section_a_place(told):
    for sections in told.values():
        for section in sections:
            assert section.title in SECTIONS
            for one in section.measures:
                assert one.lesson in LESSONS
                assert one.better in ("lower", "higher", "")
                assert one.estimate.n > 0


def test_plain_values_are_json(told):
    for sections in told.values():
        text = json.dumps([section.to_json() for section in sections], allow_nan=False)
        assert json.loads(text)[0]["title"] == "The bound"


@pytest.mark.parametrize(
    ("estimate", "unit", "said"),
    [
        (Estimate(91.2345, 0.253, 10), "nats", "91.23 ± 0.25 nats"),
        (Estimate(0.5, math.nan, 10), "", "0.5"),
        (Estimate(0.0002, 0.000001, 10), "", "0.0002 ± 0.0000"),
        (Estimate(math.inf, math.nan, 10), "dB", "infinite"),
        (Estimate(math.nan, math.nan, 10), "dB", "none"),
        (Estimate(15.0, 0.0, 10), "", "15"),
        (Estimate(12345.6, 120.0, 10), "nats", "12,346 ± 120 nats"),
    ],
)
def test_a_figure_is_told_to_the_digits_that_count(estimate, unit, said):
    assert Measure("x", estimate, unit).value == said


# Side by side


def test_runs_stand_side_by_side_by_the_same_features(runs):
    found = all_of([runs["vae"], runs["conditional"]])
    prints = {s.fingerprint for sections in found for s in sections if s.title == "Samples"}
    assert len(prints) == 1
    tables = {table.title: table for table in abreast(["a", "b"], found, None)}
    bound = tables["The bound"]
    assert list(bound.header) == ["", "a", "b", "better"]
    row = next(row for row in bound.rows if row[0] == "-ELBO")
    wanted = [figure(sections, "-ELBO").value for sections in found]
    assert list(row) == ["-ELBO", *wanted, "lower"]
    taught = tables["Learned from samples, tested on data"]
    assert all(row[1] == "-" for row in taught.rows)
    assert not any("compare" in table.note for table in tables.values())


def test_what_does_not_compare_is_said(told):
    found = [told["vae"], told["rows"]]
    tables = {table.title: table for table in abreast(["a", "b"], found, "their data differ")}
    assert "different features" in tables["Samples"].note
    assert tables["The bound"].note.endswith("do not compare: their data differ.")
    assert "nats" not in tables["Samples"].note


def test_the_command_prints_all_and_compares_all(runs, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bounds, "PLAN", {"chains": 4, "steps": 10, "leaps": 2})
    assert main(["evaluate", str(runs["vae"].folder), "--all"]) == 0
    out = capsys.readouterr().out
    assert "Fréchet distance" in out and "explained by" in out
    assert main(["evaluate", str(runs["few"].folder), "--all"]) == 0
    assert "left out" in capsys.readouterr().out
    assert main(["evaluate", str(runs["few"].folder), "--all", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Warning" not in out and "varied explain" not in out and "-ELBO" in out
    assert main(["evaluate", str(runs["vae"].folder), "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sections"][0]["title"] == "The bound"
    assert main(["evaluate", str(runs["vae"].folder), "--all", "--samples", "3"]) != 0
    assert "leave out --all" in capsys.readouterr().err
    folders = [str(runs[name].folder) for name in ("vae", "autoencoder")]
    assert main(["compare", *folders, "--all", "--out", str(tmp_path / "c")]) == 0
    page = (tmp_path / "c" / "compare.html").read_text("utf-8")
    assert "The latent space" in page and "coverage" in page


def test_classes_stand_beside_those_of_a_regression_of_the_labelled_rows(runs, told):
    assert re.search(r"labelled rows alone [01]\.", figure(told["classes"], "accuracy").beside)
    here = Here(runs["classes"])
    known = np.arange(len(here.test))
    _, nothing = worth._alone(here, known, Estimate(1.0, 0.01, len(known)))
    assert nothing == []
    _, (harm,) = worth._alone(here, known, Estimate(0.1, 0.01, len(known)))
    assert "did harm" in harm
