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
from varied.evaluate import Estimate, Metric, extractor_from, sharpness
from varied.evaluate.ais import ais
from varied.evaluate.suites import (
    SUITES,
    classification,
    comparison_tables,
    evaluate_all,
    evaluate_runs,
    likelihood,
)
from varied.evaluate.suites.context import EvalContext
from varied.explain import PAGES
from varied.seeding import seeded
from varied.training import fit

SMALL = {"width": 32, "batch_size": 32, "steps": 30, "threads": 1, "precision": "float32"}


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
        patch.setattr(likelihood, "PLAN", {"chains": 4, "steps": 30, "leaps": 3})
        patch.setattr(likelihood, "SAMPLES", 100)
        yield {name: evaluate_all(run) for name, run in runs.items()}


def titles(sections):
    return {section.title for section in sections if section.measures}


def figure(sections, name):
    (found,) = [m for section in sections for m in section.measures if m.name == name]
    return found


def test_each_run_has_what_applies_to_it(told):
    always = {"ELBO", "Latent space", "Samples"}
    close = {"NLL by importance sampling", "NLL by annealed importance sampling"}
    looks, labeled = {"Reconstructions"}, {"Probing"}
    taught = {"TSTR: train on synthetic, test on real"}
    factors = {"Disentanglement"}
    assert titles(told["vae"]) == always | close | looks | labeled
    assert titles(told["conditional"]) == always | close | looks | labeled | taught
    assert titles(told["classes"]) == (
        always | looks | labeled | taught | {"Classes", "NLL by importance sampling"}
    )
    assert titles(told["factors"]) == always | close | looks | factors
    assert titles(told["autoencoder"]) == always | looks | labeled
    assert titles(told["rows"]) == always | close


def test_what_cannot_be_measured_stands_there_with_the_reason(told):
    assert "Samples" not in titles(told["few"])
    for name, title in (("few", "Samples"), ("ladder", "NLL by annealed importance sampling")):
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
    seen = run.evaluate(run.split("test"), samples=100)
    value = figure(sections, "-log p(x), 100 importance samples").estimate.value
    assert value == pytest.approx(-seen.log_likelihood.value, abs=0.5)
    made = (255 * torch.from_numpy(run.sample(5).array)).max()
    assert made > 0
    real = run.codec.encode(run.split("test"))
    (samples,) = [s for s in sections if s.title == "Samples"]
    assert str(sharpness(real)) in samples.measures[-1].beside


def test_annealing_and_importance_samples_agree(runs, told):
    run = runs["vae"]
    batch = run.encode_items(run.split("test"))
    with seeded(0, "x"):
        x = run.codec.load(batch.x)
    found = ais(run.model, lambda rows: rows, [Batch(x[:20])], chains=8, steps=100, leaps=5)
    value = figure(told["vae"], "NLL, AIS").estimate
    assert abs(-found.bound.mean() - value.value) < 4 * value.error


def test_it_is_the_same_each_time_and_changes_nothing(runs, told):
    run = runs["conditional"]
    files = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")}
    weights = {k: v.clone() for k, v in run.model.state_dict().items()}
    state = torch.get_rng_state()
    again = evaluate_all(run)
    plain = [section.to_json() for section in told["conditional"]]
    assert [section.to_json() for section in again] == plain
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, weights[k]) for k, v in run.model.state_dict().items())
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*")} == files


def test_features_that_a_person_gives_are_named(runs):
    by = extractor_from(lambda x: x.flatten(1)[:, :20], "the first twenty pixels")
    found = [s for s in evaluate_all(runs["vae"], features=by) if s.title == "Samples"]
    assert "the first twenty pixels" in found[0].note
    assert found[0].fingerprint == by.fingerprint


def test_every_figure_has_a_lesson_and_every_section_a_place(told):
    for sections in told.values():
        for section in sections:
            assert section.title in SUITES
            for one in section.measures:
                assert one.lesson in PAGES
                assert one.better in ("lower", "higher", "")
                assert one.estimate.n > 0


def test_plain_values_are_json(told):
    for sections in told.values():
        text = json.dumps([section.to_json() for section in sections], allow_nan=False)
        assert json.loads(text)[0]["title"] == "ELBO"


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
    assert Metric("x", estimate, unit).value == said


# Side by side


def test_runs_stand_side_by_side_by_the_same_features(runs):
    found = evaluate_runs([runs["vae"], runs["conditional"]])
    prints = {s.fingerprint for sections in found for s in sections if s.title == "Samples"}
    assert len(prints) == 1
    tables = {table.title: table for table in comparison_tables(["a", "b"], found, None)}
    bound = tables["ELBO"]
    assert list(bound.header) == ["", "a", "b", "better"]
    row = next(row for row in bound.rows if row[0] == "-ELBO")
    wanted = [figure(sections, "-ELBO").value for sections in found]
    assert list(row) == ["-ELBO", *wanted, "lower"]
    taught = tables["TSTR: train on synthetic, test on real"]
    assert all(row[1] == "-" for row in taught.rows)
    assert not any("compare" in table.note for table in tables.values())


def test_what_does_not_compare_is_said(told):
    found = [told["vae"], told["rows"]]
    tables = {
        table.title: table for table in comparison_tables(["a", "b"], found, "their data differ")
    }
    assert "different features" in tables["Samples"].note
    assert tables["ELBO"].note.endswith("do not compare: their data differ.")
    assert "nats" not in tables["Samples"].note


def test_the_command_prints_all_and_compares_all(runs, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(likelihood, "PLAN", {"chains": 4, "steps": 10, "leaps": 2})
    assert main(["evaluate", str(runs["vae"].folder), "--all"]) == 0
    out = capsys.readouterr().out
    assert "Fréchet distance" in out and "explained by" in out
    assert main(["evaluate", str(runs["few"].folder), "--all"]) == 0
    assert "left out" in capsys.readouterr().out
    assert main(["evaluate", str(runs["few"].folder), "--all", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Warning" not in out and "varied explain" not in out and "-ELBO" in out
    assert main(["evaluate", str(runs["vae"].folder), "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sections"][0]["title"] == "ELBO"
    assert main(["evaluate", str(runs["vae"].folder), "--all", "--samples", "3"]) != 0
    assert "leave out --all" in capsys.readouterr().err
    folders = [str(runs[name].folder) for name in ("vae", "autoencoder")]
    assert main(["compare", *folders, "--all", "--out", str(tmp_path / "c")]) == 0
    page = (tmp_path / "c" / "compare.html").read_text("utf-8")
    assert "Latent space" in page and "coverage" in page


def test_classes_stand_beside_those_of_a_regression_of_the_labeled_rows(runs, told):
    assert re.search(r"labeled rows alone [01]\.", figure(told["classes"], "accuracy").beside)
    here = EvalContext(runs["classes"])
    known = np.arange(len(here.test))
    _, nothing = classification._alone(here, known, Estimate(1.0, 0.01, len(known)))
    assert nothing == []
    _, (harm,) = classification._alone(here, known, Estimate(0.1, 0.01, len(known)))
    assert "did harm" in harm
