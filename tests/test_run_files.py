"""The files of a run: how they appear, how changes are detected, and what is restored."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from bar_images import prepare_bars, save_bar_images
from quick_training import train_to_end

from varied import atomic_io
from varied.cli import main
from varied.errors import DataWarning, VariedError
from varied.runs import Run
from varied.runs.manifest import FILES, Manifest
from varied.tensor_io import read_tensors, to_bytes
from varied.training import Interrupted


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_bar_images(tmp_path_factory.mktemp("data") / "bars.npz")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return train_to_end(prepare_bars(data, tmp_path_factory.mktemp("runs") / "bars"))


@pytest.fixture
def run(trained, data, tmp_path):
    """Return a copy of a trained run."""
    return Run(trained.save(tmp_path / "copy"), data)


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# The start of a run


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize("last", ["split.safetensors", "codec.json", "data.json", "manifest.json"])
def test_a_start_that_was_killed_is_repeated(data, trained, tmp_path, monkeypatch, last):
    replace, is_killed = os.replace, []

    def replace_and_die(source, target):
        if not is_killed:
            replace(source, target)
            is_killed.extend([True] * (target.name == last))
        if is_killed:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_and_die)
        patch.setattr(os, "unlink", lambda path: None)
        with pytest.raises(Killed):
            prepare_bars(data, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {".lock", last} <= names
    assert "spec.toml" not in names
    resumed = train_to_end(prepare_bars(data, tmp_path / "run"))
    weights, expected = (read_tensors(r.folder / FILES[4])[0] for r in (resumed, trained))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert not list(resumed.folder.rglob(".*"))


def test_a_start_that_failed_leaves_no_file(data, tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == 6:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(VariedError, match="No space left"):
        prepare_bars(data, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    prepare_bars(data, tmp_path / "run")


def test_a_killed_start_is_resumed_in_the_same_default_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "bars-vae-01"
    folder.mkdir(parents=True)
    (folder / ".lock").write_text("process 1")
    (folder / ".1-0.tmp").write_text("half")
    assert prepare_bars(data, None).store.folder.resolve() == folder
    assert not (folder / ".1-0.tmp").exists()


def test_folders_with_other_files_are_not_used(data, tmp_path):
    (tmp_path / ".lock").write_text("process 1")
    (tmp_path / "thesis.txt").write_text("text")
    with pytest.raises(VariedError, match="is not empty and does not contain a run"):
        prepare_bars(data, tmp_path)
    (tmp_path / "file").write_text("text")
    with pytest.raises(VariedError, match="could not be written"):
        prepare_bars(data, tmp_path / "file")


# Locks

HOLDER = """
import sys, time
from pathlib import Path
from varied.atomic_io import lock_file
with lock_file(Path(sys.argv[1]), "it is used"):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    path = tmp_path / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(VariedError, match=rf"it is used \(process {holder.pid} on .*, since 2"):
            hold(path)
    finally:
        holder.kill()
        holder.communicate()
    assert path.exists()
    hold(path)
    assert not path.exists()


def hold(path):
    with atomic_io.lock_file(path, "it is used"):
        assert f"process {os.getpid()} on" in path.read_text()


def test_a_lock_on_a_removed_file_is_not_shared(tmp_path):
    path = tmp_path / ".lock"
    with atomic_io.lock_file(path, "it is used"):
        path.unlink()
        with atomic_io.lock_file(path, "it is used"):
            assert path.exists()


def test_unfinished_files_are_removed_when_training_starts(data, tmp_path):
    store = prepare_bars(data, tmp_path / "run").store
    for name in (".9-1.tmp", "checkpoints/.9-2.tmp"):
        atomic_io.atomic_write(store / name, "half")
    with store.lock():
        assert not list(store.folder.rglob("*.tmp"))


# The manifest


def test_the_manifest_contains_the_files_of_a_run(trained):
    assert set(Manifest(trained.folder).states()) == set(FILES[:5])
    assert set(Manifest(trained.folder).states().values()) == {"unchanged"}


@pytest.mark.parametrize("name", ["spec.toml", "codec.json", "data.json", "model.safetensors"])
def test_a_changed_file_is_detected(run, data, name, capsys):
    path, folder = run.folder / name, str(run.folder)
    if name == "model.safetensors":
        tensors, notes = read_tensors(path)
        path.write_bytes(to_bytes({k: v + 1 for k, v in tensors.items()}, **notes))
    else:
        path.write_text(path.read_text() + " ")
    with pytest.raises(VariedError, match=f"{name} has changed since it was written; .* --accept"):
        Run(run.folder, data).sample(2)
    assert main(["verify", folder]) == 1
    assert "changed" in capsys.readouterr().out
    assert main(["verify", folder, "--accept", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out).values()) == {"unchanged"}
    Run(run.folder, data).sample(2)


def test_a_missing_file_is_reported(run, capsys):
    (run.folder / "split.safetensors").unlink()
    assert main(["verify", str(run.folder), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["split.safetensors"] == "missing"


def test_runs_without_manifest_are_not_checked(run, data, capsys):
    (run.folder / "manifest.json").unlink()
    (run.folder / "spec.toml").write_text((run.folder / "spec.toml").read_text() + "\n")
    Run(run.folder, data)
    assert main(["verify", str(run.folder)]) == 0
    assert "has no manifest.json" in capsys.readouterr().out


def test_a_fitted_prior_updates_the_manifest(run):
    for _ in range(2):
        run.fit_prior("gmm", n_components=2)
        assert Manifest(run.folder).states()["prior.safetensors"] == "unchanged"
    run.reset_prior()
    Run(run.folder).sample(2)


# What is restored, and what is ignored


def test_a_corrupted_split_is_computed_again(run, data):
    path = run.folder / "split.safetensors"
    content = path.read_bytes()
    for change in (damage, lambda path: path.unlink()):
        change(path)
        with pytest.warns(DataWarning, match="was corrupted; it was computed again"):
            rows = Run(run.folder, data).split("test")
        assert np.array_equal(rows.x, run.split("test").x)
        assert path.read_bytes() == content


def test_a_split_that_cannot_be_computed_again_raises(run, data):
    (run.folder / "manifest.json").unlink()
    damage(run.folder / "split.safetensors")
    with pytest.raises(VariedError, match="is corrupted"):
        Run(run.folder, data).split("test")


def test_corrupted_frames_are_ignored(data, tmp_path):
    job = prepare_bars(data, tmp_path / "run")
    train_to_end(job)
    frames = sorted((job.store / "frames").iterdir())
    n_frames = len(job.store.frames())
    damage(frames[0])
    with pytest.warns(DataWarning, match="The frame is ignored"):
        assert len(job.store.frames()) == n_frames - 1


def test_a_report_without_frames_is_written(data, tmp_path):
    job = prepare_bars(data, tmp_path / "run")
    train_to_end(job)
    for path in (job.store / "frames").iterdir():
        path.unlink()
    job.finish()
    assert job.store.is_finished
    assert not (job.store / "latent.gif").exists()


def test_corrupted_best_weights_are_ignored(data, trained, tmp_path):
    job = prepare_bars(data, tmp_path / "run")
    with pytest.raises(Interrupted):
        for event in job.train():
            job.is_stopping = event.state.step >= 20
    damage(job.store / "best.safetensors")
    with pytest.warns(DataWarning, match="The file is ignored"):
        run = train_to_end(prepare_bars(data, tmp_path / "run"))
    weights, expected = (read_tensors(r.folder / FILES[4])[0] for r in (run, trained))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("tail", ['{"split": "tr', "\0\0\0", "\n[1]\n", "\udcff"])
def test_an_unfinished_line_of_the_log_is_removed(data, tmp_path, tail):
    job = prepare_bars(data, tmp_path / "run")
    with pytest.raises(Interrupted):
        for event in job.train():
            job.is_stopping = event.state.step >= 20
    rows = job.store.history()
    with (job.store / "metrics.jsonl").open("ab") as file:
        file.write(tail.encode(errors="surrogateescape"))
    job = prepare_bars(data, tmp_path / "run")
    train_to_end(job)
    assert job.store.history()[: len(rows)] == rows
    steps = [row["step"] for row in job.store.history() if row["split"] == "train"]
    assert steps == list(range(1, 31))


def test_the_log_is_synced_before_a_checkpoint_is_written(data, tmp_path, monkeypatch):
    job, calls = prepare_bars(data, tmp_path / "run"), []
    sync, write = atomic_io.sync_file, atomic_io.atomic_write
    monkeypatch.setattr(atomic_io, "sync_file", lambda path: calls.append(path.name) or sync(path))
    monkeypatch.setattr(
        "varied.tensor_io.atomic_write",
        lambda path, content: calls.append(path.parent.name) or write(path, content),
    )
    train_to_end(job)
    assert calls[calls.index("checkpoints") - 1] == "metrics.jsonl"
