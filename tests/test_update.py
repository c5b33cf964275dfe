"""Tests of updates: initial weights, what is kept from the first run, and rejected inputs."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly, train_to_end
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.training.update import prepare_update, update


def rows(shift=0.0, n=200):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 1)) * [1.0, 2.0, 3.0] + shift).astype("f4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def base(folder):
    return train_quickly(rows(), out=folder / "base", steps=60, width=16)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_an_update_starts_from_the_weights_and_does_not_change_the_other_run(base, tmp_path):
    before = digests(base.folder)
    job = prepare_update(base, rows(1.0), out=tmp_path / "run", steps=40)
    old, initial = weights(base.model), weights(job.model)
    assert all(torch.equal(old[name], initial[name]) for name in old)
    run = train_to_end(job)
    assert any(not torch.equal(old[name], tensor) for name, tensor in weights(run.model).items())
    assert run.codec.to_json() == base.codec.to_json()
    assert run.metadata["from"] == str(base.folder)
    assert digests(base.folder) == before
    shifted = run.read(rows(1.0))
    assert run.evaluate(shifted).elbo.value > base.evaluate(shifted).elbo.value


@pytest.mark.slow
def test_an_update_is_a_finished_run(base, tmp_path):
    run = update(base.folder, rows(1.0), out=tmp_path / "run", steps=2)
    assert run.store.is_finished
    with pytest.raises(VariedError, match="finished run or a different run"):
        prepare_update(base, rows(1.0), out=tmp_path / "run", steps=2)


def test_schedules_stay_at_their_final_values(base, tmp_path):
    job = prepare_update(base, rows(), out=tmp_path / "beta")
    assert "linear" in base.spec.objective.settings["beta"]
    assert job.spec.objective.settings["beta"] == 1.0
    plan = job.spec.plan
    assert (plan.epochs, plan.steps, plan.minutes) == (5.0, 0, 0)
    capacity = train_quickly(rows(), "annealed-capacity-vae", out=tmp_path / "base", steps=2)
    job = prepare_update(capacity, rows(), out=tmp_path / "capacity")
    assert job.spec.objective.settings["capacity"] == 25


def test_codebooks_are_not_initialized_again(tmp_path):
    options = {"steps": 20, "latent": (4, 2), "codebook_update": "gradient", "width": None}
    base = train_quickly(rows(), "vq-vae", out=tmp_path / "base", **options)
    job = prepare_update(base, rows(5.0), out=tmp_path / "run", steps=1, lr=1e-9)
    old = {name: tensor for name, tensor in weights(base.model).items() if "embedding" in name}
    for _ in job.train():
        pass
    new = job.model.state_dict()
    assert any("encoder.head.embedding" in name for name in old)
    assert all(torch.allclose(old[name], new[name], atol=1e-3) for name in old)


def test_classes_keep_their_indices(tmp_path):
    x = rows()
    base = train_quickly((x, ["b", "a"] * 100), "conditional-vae", out=tmp_path / "base", steps=5)
    assert base.context.classes == ("a", "b")
    job = prepare_update(base, (x, ["b"] * 200), out=tmp_path / "run", steps=5)
    assert (job.rows("train").c == torch.tensor([0.0, 1.0])).all()
    for labels, message in (
        (["b", "c"] * 100, "no class 'c'"),
        (x[:, 0], "labels of the new data are numbers"),
    ):
        with pytest.raises(VariedError, match=message):
            prepare_update(base, (x, labels), out=tmp_path / "refused")


def test_a_table_keeps_its_levels_and_columns(tmp_path):
    frame = pd.DataFrame({"size": rows()[:, 0], "kind": ["x", "y"] * 100})
    base = train_quickly(frame, out=tmp_path / "base", steps=5)
    other = frame.assign(kind=["x", "new"] * 100)
    job = prepare_update(base, other, out=tmp_path / "run", steps=5)
    assert any("that is not in the training rows ('new' in row 2" in text for text in job.sentences)
    assert job.rows("train").x.shape[1] == base.codec.shape[0]
    with pytest.raises(VariedError, match="column 'kind' is missing"):
        prepare_update(base, frame.drop(columns="kind"), out=tmp_path / "refused")


def test_wrong_folders_and_settings_are_refused(base, folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file.txt").touch()
    for out, options, message in (
        (tmp_path / "full", {}, "is not empty and does not contain a run"),
        (folder / "base", {}, "contains a finished run or a different run"),
        (tmp_path / "none", {"beta": 2}, "An update has no setting 'beta'"),
    ):
        with pytest.raises(VariedError, match=message):
            prepare_update(base, rows(), out=out, **options)
    assert not (tmp_path / "none").exists()


def test_an_interrupted_update_resumes_to_the_same_weights(base, tmp_path):
    complete = prepare_update(base, rows(1.0), out=tmp_path / "complete", steps=30)
    for _ in complete.train():
        pass
    job = prepare_update(base, rows(1.0), out=tmp_path / "stopped", steps=30)
    for event in job.train():
        if event.state.step == 12:
            job.store.write_checkpoint(job.step, event.snapshot())
            break
    job = prepare_update(base, rows(1.0), out=tmp_path / "stopped", steps=30)
    assert job.state.step == 12
    for _ in job.train():
        pass
    expected, resumed = weights(complete.model), weights(job.model)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_the_command_prepares_an_update(base, folder, monkeypatch):
    monkeypatch.chdir(folder)
    jobs = []
    monkeypatch.setattr("varied.cli.update.run_job", lambda job, mode: jobs.append(job))
    np.save("new.npy", rows(1.0))
    result = CliRunner().invoke(app, ["update", str(base.folder), "new.npy", "--steps", "5"])
    assert result.exit_code == 0, result.output
    assert "Continues from the weights of" in result.output
    assert jobs[0].store.folder == folder / "base-update"
    assert jobs[0].spec.plan.steps == 5
