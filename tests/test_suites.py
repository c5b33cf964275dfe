"""Tests of all metric suites on small runs, and of the comparison of runs."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

from varied.cli import main
from varied.data import Batch
from varied.evaluate import Estimate, MetricGroup, ais, extractor_from, sharpness
from varied.evaluate.metric import Metric
from varied.evaluate.suites import (
    SUITES,
    EvalContext,
    all_suites,
    classification,
    comparison_tables,
    evaluate_all,
    evaluate_runs,
    likelihood,
)
from varied.explain import PAGES
from varied.seeding import seeded
from varied.training import train

#: Evaluating several runs by all suites takes more than a minute.
pytestmark = pytest.mark.slow

SMALL = {"width": 32, "batch_size": 32, "steps": 30, "threads": 1, "precision": "float32"}
TSTR = "TSTR: train on synthetic, test on real"
AIS = "NLL by annealed importance sampling"


def bars(n=600, side=9, seed=0):
    """Return images of a bright bar, with the orientation and the position of each bar."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, (n, side, side), dtype=np.uint8)
    kind, position = rng.integers(0, 2, n), rng.integers(1, side - 1, n)
    for image, k, p in zip(x, kind, position, strict=True):
        image[(p, slice(None)) if k else (slice(None), p)] = 250
    return x, kind, position


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    x, kind, position = bars()
    names, rng = np.array(["vertical", "horizontal"]), np.random.default_rng(0)
    np.savez(folder / "classes.npz", x=x, labels=names[kind])
    np.savez(folder / "factors.npz", x=x, labels=np.stack([kind, position], 1))
    np.save(folder / "rows.npy", rng.normal(size=(600, 4)).astype("f4"))
    np.save(folder / "few.npy", rng.normal(size=(40, 4)).astype("f4"))
    settings = {
        "vae": ("classes.npz", "vae", 3),
        "conditional": ("classes.npz", "conditional-vae", 3),
        "classes": ("classes.npz", "m2", 3),
        "factors": ("factors.npz", "vae", 3),
        "autoencoder": ("classes.npz", "autoencoder", 3),
        "ladder": ("classes.npz", "ladder-vae", 2),
        "rows": ("rows.npy", "vae", 2),
        "few": ("few.npy", "vae", 2),
    }
    return {
        name: train(folder / file, model, out=folder / name, latent=latent, **SMALL)
        for name, (file, model, latent) in settings.items()
    }


@pytest.fixture(scope="module")
def groups(runs):
    with pytest.MonkeyPatch.context() as patch:
        settings = {"chains": 4, "steps": 30, "leapfrog_steps": 3}
        patch.setattr(likelihood, "AIS_SETTINGS", settings)
        patch.setattr(likelihood, "IWAE_SAMPLES", 100)
        yield {name: evaluate_all(run) for name, run in runs.items()}


def titles(groups_of_run):
    return {group.title for group in groups_of_run if group.metrics}


def metric(groups_of_run, name):
    (match,) = [m for group in groups_of_run for m in group.metrics if m.name == name]
    return match


# All suites


def test_each_run_has_the_suites_that_apply(groups):
    always = {"ELBO", "Latent space", "Samples"}
    nll = {"NLL by importance sampling", AIS}
    images, labels, factors = {"Reconstructions"}, {"Probing"}, {"Disentanglement"}
    assert titles(groups["vae"]) == always | nll | images | labels
    assert titles(groups["conditional"]) == always | nll | images | labels | {TSTR}
    classes = {"Classes", "NLL by importance sampling"}
    assert titles(groups["classes"]) == always | images | labels | {TSTR} | classes
    assert titles(groups["factors"]) == always | nll | images | factors
    assert titles(groups["autoencoder"]) == always | images | labels
    assert titles(groups["rows"]) == always | nll


@pytest.mark.parametrize(("run", "title"), [("few", "Samples"), ("ladder", AIS)])
def test_groups_that_are_not_available_have_a_reason(groups, run, title):
    assert title not in titles(groups[run])
    (group,) = [group for group in groups[run] if group.title == title]
    assert group.note == "not available"
    (reason,) = group.warnings
    assert reason.endswith(".")


def test_metrics_are_those_of_the_functions(runs, groups):
    run, of_run = runs["vae"], groups["vae"]
    evaluation = run.evaluate()
    assert metric(of_run, "-ELBO").estimate == -evaluation.elbo
    bits = metric(of_run, "bits per dimension").estimate.value
    assert bits == pytest.approx(-evaluation.elbo.value / 81 / math.log(2))
    weighted = run.evaluate(run.split("test"), samples=100)
    value = metric(of_run, "NLL (IWAE, K = 100)").estimate.value
    assert value == pytest.approx(-weighted.log_likelihood.value, abs=0.5)
    real = run.codec.encode(run.split("test"))
    (samples,) = [group for group in of_run if group.title == "Samples"]
    assert str(sharpness(real)) in samples.metrics[-1].reference


def test_ais_and_importance_sampling_agree(runs, groups):
    run = runs["vae"]
    batch = run.encode_data(run.split("test"))
    with seeded(0, "x"):
        x = run.codec.load(batch.x)
    settings = {"chains": 8, "steps": 100, "leapfrog_steps": 5}
    result = ais(run.model, lambda rows: rows, [Batch(x[:20])], **settings)
    estimate = metric(groups["vae"], "NLL (AIS)").estimate
    assert abs(-result.lower_bound.mean() - estimate.value) < 4 * estimate.error


def test_evaluation_is_deterministic_without_side_effects(runs, groups):
    run = runs["conditional"]
    files = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    weights = {key: tensor.clone() for key, tensor in run.model.state_dict().items()}
    state = torch.get_rng_state()
    again = [group.to_json() for group in evaluate_all(run)]
    assert again == [group.to_json() for group in groups["conditional"]]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, weights[key]) for key, v in run.model.state_dict().items())
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == files


def test_features_of_the_user_are_named(runs):
    extractor = extractor_from(lambda x: x.flatten(1)[:, :20], "the first twenty pixels")
    groups = evaluate_all(runs["vae"], features=extractor)
    (samples,) = [group for group in groups if group.title == "Samples"]
    assert "the first twenty pixels" in samples.note
    assert samples.fingerprint == extractor.fingerprint


def test_metrics_have_topics_directions_and_sizes(groups):
    for of_run in groups.values():
        for group in of_run:
            assert group.title in SUITES
            for item in group.metrics:
                assert item.topic in PAGES
                assert item.better in ("lower", "higher", "")
                assert item.estimate.n > 0


def test_groups_are_valid_json(groups):
    for of_run in groups.values():
        text = json.dumps([group.to_json() for group in of_run], allow_nan=False)
        assert json.loads(text)[0]["title"] == "ELBO"


def test_metric_as_json_and_text():
    item = Metric("PSNR", Estimate(math.inf, math.nan, 10), "dB", "higher", "20 dB", "psnr")
    expected = {"name": "PSNR", "value": None, "error": None, "n": 10, "unit": "dB"}
    expected |= {"better": "higher", "reference": "20 dB", "topic": "psnr"}
    assert item.to_json() == expected
    assert str(Metric("-ELBO", Estimate(91.2345, 0.253, 10), "nats")) == "91.23 ± 0.25 nats"


def test_suites_of_the_user_are_evaluated(runs, monkeypatch):
    def pixel_mean(context: EvalContext):
        mean = Estimate.of(context.samples.double().flatten(1).mean(1))
        yield MetricGroup("Pixels", "all samples", [Metric("mean", mean)])

    monkeypatch.setattr(all_suites, "SUITES", {"Pixels": pixel_mean})
    (group,) = evaluate_all(runs["vae"])
    assert group.metrics[0].estimate.n == 60


def test_accuracy_is_compared_with_a_classifier_of_labeled_rows(runs, groups):
    accuracy = metric(groups["classes"], "accuracy")
    assert re.search(r"labeled rows alone \d", accuracy.reference)
    context = EvalContext(runs["classes"])
    known = np.arange(len(context.test))
    certain, poor = (Estimate(value, 0.01, len(known)) for value in (1.0, 0.1))
    assert classification._supervised_reference(context, known, certain)[1] == []
    _, (warning,) = classification._supervised_reference(context, known, poor)
    assert "does not benefit from the unlabeled rows" in warning


# Comparison


def test_runs_of_the_same_data_are_compared_by_the_same_features(runs):
    groups = evaluate_runs([runs["vae"], runs["conditional"]])
    fingerprints = {g.fingerprint for of_run in groups for g in of_run if g.title == "Samples"}
    assert len(fingerprints) == 1
    tables = {table.title: table for table in comparison_tables(["a", "b"], groups, None)}
    elbo = tables["ELBO"]
    assert list(elbo.header) == ["", "a", "b", "better"]
    row = next(row for row in elbo.rows if row[0] == "-ELBO")
    values = [str(metric(of_run, "-ELBO")) for of_run in groups]
    assert list(row) == ["-ELBO", *values, "lower"]
    assert all(row[1] == "-" for row in tables[TSTR].rows)
    assert not any("comparable" in table.note for table in tables.values())


def test_metrics_that_are_not_comparable_have_a_note(groups):
    compared = [groups["vae"], groups["rows"]]
    reason = "their data differ"
    tables = {table.title: table for table in comparison_tables(["a", "b"], compared, reason)}
    assert "The features differ" in tables["Samples"].note
    assert tables["ELBO"].note.endswith("are not comparable: their data differ.")
    assert reason not in tables["Samples"].note


def test_commands_evaluate_and_compare_all(runs, capsys, monkeypatch, tmp_path):
    settings = {"chains": 4, "steps": 10, "leapfrog_steps": 2}
    monkeypatch.setattr(likelihood, "AIS_SETTINGS", settings)
    vae, few = str(runs["vae"].folder), str(runs["few"].folder)
    assert main(["evaluate", vae, "--all"]) == 0
    out = capsys.readouterr().out
    assert "Fréchet distance" in out and "explained by" in out
    assert main(["evaluate", few, "--all"]) == 0
    assert "not available" in capsys.readouterr().out
    assert main(["evaluate", few, "--all", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Warning" not in out and "varied explain" not in out and "-ELBO" in out
    assert main(["evaluate", vae, "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["title"] == "ELBO"
    assert main(["evaluate", vae, "--all", "--samples", "3"]) != 0
    assert "omit SOURCE, --split and --samples" in capsys.readouterr().err
    autoencoder = str(runs["autoencoder"].folder)
    assert main(["compare", vae, autoencoder, "--all", "--out", str(tmp_path / "c")]) == 0
    page = (tmp_path / "c" / "compare.html").read_text("utf-8")
    assert "Latent space" in page and "coverage" in page
