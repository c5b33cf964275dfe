"""A run that goes on with new data: its beginning, what it keeps, and what it leaves alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from varied.cli import app
from varied.errors import VariedError
from varied.training import prepare
from varied.training.update import prepare_update


def rows(shift: float = 0.0, n: int = 200) -> np.ndarray:
    dice = np.random.default_rng(0)
    return (dice.normal(size=(n, 1)) * [1.0, 2.0, 3.0] + shift).astype("f4")


def trained(source, out, model="vae", **choices):
    job = prepare(source, model, out=out, threads=1, **{"steps": 60, "net.width": 16} | choices)
    for _ in job.train():
        pass
    return job.deliver()


@pytest.fixture(scope="module")
def base(place):
    return trained(rows(), place / "base")


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_begins_where_the_other_ended_and_leaves_it_alone(base, place):
    before = digest(base.folder)
    job = prepare_update(base, rows(1.0), out=place / "on", steps=40)
    old, new = weights(base.model), weights(job.model)
    assert all(torch.equal(old[name], new[name]) for name in old)
    for _ in job.train():
        pass
    run = job.deliver()
    assert any(not torch.equal(old[name], tensor) for name, tensor in weights(run.model).items())
    assert run.codec.to_json() == base.codec.to_json()
    assert run.data["from"] == str(base.folder)
    assert digest(base.folder) == before
    shifted = run.read(rows(1.0))
    assert run.evaluate(shifted).elbo.value > base.evaluate(shifted).elbo.value


def test_what_moved_stands_at_its_end(base, place):
    job = prepare_update(base, rows(), out=place / "still")
    assert "linear" in base.spec.objective.settings["beta"]
    assert job.spec.objective.settings["beta"] == 1.0
    capacity = trained(rows(), place / "capacity", "annealed-capacity-vae", steps=2)
    ends = prepare_update(capacity, rows(), out=place / "capacity-on").spec.objective.settings
    assert ends["capacity"] == 25
    assert (job.spec.plan.epochs, job.spec.plan.steps, job.spec.plan.minutes) == (5.0, 0, 0)


def test_codebooks_are_not_begun_anew(place):
    base = trained(
        rows(), place / "vq", "vq-vae", steps=20, latent=(4, 2), codebook_update="gradient"
    )
    job = prepare_update(base, rows(5.0), out=place / "vq-on", steps=1, lr=1e-9)
    old = weights(base.model)
    for _ in job.train():
        pass
    new = job.model.state_dict()
    assert all(torch.allclose(old[k], new[k], atol=1e-3) for k in old if "embedding" in k)
    assert any("encoder.head.embedding" in name for name in old)


def test_classes_keep_their_numbers(place):
    x, names = rows(), ["b", "a"] * 100
    base = trained((x, names), place / "classes", "conditional-vae", steps=5)
    assert base.context.classes == ("a", "b")
    job = prepare_update(base, (x, ["b"] * 200), out=place / "classes-on", steps=5)
    assert (job.rows("train").c == torch.tensor([0.0, 1.0])).all()
    with pytest.raises(VariedError, match="no class 'c'"):
        prepare_update(base, (x, ["b", "c"] * 100), out=place / "classes-no")
    with pytest.raises(VariedError, match="are numbers"):
        prepare_update(base, (x, x[:, 0]), out=place / "classes-no")


def test_levels_and_columns_of_a_table_are_kept(place):
    frame = pd.DataFrame({"size": rows()[:, 0], "kind": ["x", "y"] * 100})
    base = trained(frame, place / "table", steps=5)
    other = frame.assign(kind=["x", "new"] * 100)
    job = prepare_update(base, other, out=place / "table-on", steps=5)
    assert any("levels that are not in the training rows" in said for said in job.sentences)
    assert job.rows("train").x.shape[1] == base.codec.shape[0]
    with pytest.raises(VariedError, match="column 'kind' is missing"):
        prepare_update(base, frame.drop(columns="kind"), out=place / "table-no")


def test_refusals(base, place):
    (place / "full").mkdir()
    (place / "full" / "mine.txt").touch()
    for out, more, said in (
        (place / "full", {}, "holds other files"),
        (place / "base", {}, "holds another run"),
        (place / "no", {"beta": 2}, "An update has no 'beta'"),
    ):
        with pytest.raises(VariedError, match=said):
            prepare_update(base, rows(), out=out, **more)
    assert not (place / "no").exists()


def test_it_goes_on_after_it_was_stopped(base, place):
    runs = {}
    for name in ("whole", "stopped"):
        job = prepare_update(base, rows(1.0), out=place / name, steps=30)
        for event in job.train():
            if name == "stopped" and event.state.step == 12:
                job.store.write_checkpoint(job.step, event.snapshot())
                break
        if name == "stopped":
            job = prepare_update(base, rows(1.0), out=place / name, steps=30)
            assert job.state.step == 12
            for _ in job.train():
                pass
        runs[name] = weights(job.model)
    assert all(torch.equal(runs["whole"][k], runs["stopped"][k]) for k in runs["whole"])


def test_the_command(base, place, monkeypatch):
    monkeypatch.chdir(place)
    jobs = []
    monkeypatch.setattr("varied.cli.update.trained", lambda job, told: jobs.append(job))
    np.save("new.npy", rows(1.0))
    found = CliRunner().invoke(app, ["update", str(base.folder), "new.npy", "--steps", "5"])
    assert found.exit_code == 0, found.output
    assert "Goes on from the weights of" in found.output
    assert jobs[0].store.folder == place / "base-update"
    assert jobs[0].spec.plan.steps == 5
