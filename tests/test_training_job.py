"""Tests of training runs that are interrupted, killed, corrupted or repeated, and of their logs."""

import math
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from bar_images import prepare_bars, save_bar_images
from quick_training import train_to_end

from varied.errors import VariedError
from varied.runs import Store
from varied.tensor_io import read_tensors
from varied.training import Interrupted, prepare
from varied.training.monitor import RunMonitor, total_loss
from varied.training_state import TrainingState

#: A program that trains a run and prints the number of each step.
PROGRAM = """
import sys
from varied.training import monitor, prepare
monitor._CHECKPOINT_SECONDS = 0.0
options = dict(width=32, batch_size=32, steps=30, threads=1, precision="float32")
job = prepare(sys.argv[1], out=sys.argv[2], latent=3, **options)
for event in job.train():
    print(event.state.step, flush=True)
job.write_model()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_bar_images(tmp_path_factory.mktemp("data") / "bars.npz")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return train_to_end(prepare_bars(data, tmp_path_factory.mktemp("runs") / "bars"))


def interrupt(job, step):
    with pytest.raises(Interrupted):
        for event in job.train():
            job.is_stopping = event.state.step >= step


def assert_same_weights(folder, other):
    weights, others = (read_tensors(f / "model.safetensors")[0] for f in (folder, other))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


# Resuming


@pytest.mark.parametrize("step", [1, 7, 29])
def test_an_interrupted_training_resumes_to_the_same_weights(data, run, tmp_path, step):
    interrupt(prepare_bars(data, tmp_path / "run"), step)
    job = prepare_bars(data, tmp_path / "run")
    assert "Resumes at step" in job.sentences[-1]
    train_to_end(job)
    assert_same_weights(run.folder, job.store.folder)
    steps, resumed = ([row["step"] for row in s.history()] for s in (run.store, job.store))
    assert steps == sorted(resumed)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(data, run, tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(data), str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) >= 8:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert not Store(tmp_path / "run").is_trained
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    assert_same_weights(run.folder, tmp_path / "run")


def test_a_training_without_checkpoint_starts_again(data, run, tmp_path):
    events = prepare_bars(data, tmp_path / "run").train()
    for _ in range(4):
        next(events)
    events.close()
    job = prepare_bars(data, tmp_path / "run")
    assert job.state.step == 0
    train_to_end(job)
    assert_same_weights(run.folder, job.store.folder)
    steps = [row["step"] for row in job.store.history() if row["split"] == "train"]
    assert steps == sorted(set(steps))


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(data, run, tmp_path, monkeypatch):
    monkeypatch.setattr("varied.training.monitor._CHECKPOINT_SECONDS", 0.0)
    interrupt(prepare_bars(data, tmp_path / "run"), 9)
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    job = prepare_bars(data, tmp_path / "run")
    assert any("damaged" in sentence for sentence in job.sentences)
    assert 0 < job.state.step <= 9
    train_to_end(job)
    assert_same_weights(run.folder, job.store.folder)


# Early stopping

#: A model that overfits noisy images of two patterns.
OVERFITTING = {"lr": 4e-3, "width": 64, "steps": 1000, "beta": "linear(0, 1, 30)", "patience": 3}
#: The number of steps between two evaluations: three epochs.
INTERVAL = 21


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2, (2, 6, 6))
    x = patterns[rng.integers(0, 2, 300)] ^ (rng.random((300, 6, 6)) < 0.1)
    np.savez(path := tmp_path_factory.mktemp("data") / "noise.npz", x=x.astype(np.uint8) * 255)
    return path


@pytest.fixture(scope="module")
def stopped(noise, tmp_path_factory):
    job = prepare_bars(noise, tmp_path_factory.mktemp("runs") / "noise", **OVERFITTING)
    return job, train_to_end(job)


def validation_rows(run):
    return [row for row in run.store.history() if row["split"] == "validation"]


def test_training_is_stopped_early_with_the_best_weights(stopped):
    job, run = stopped
    state, rows = job.state, validation_rows(run)
    assert 30 <= state.restored_step < state.cooldown_start < state.step < 1000
    assert state.step == state.cooldown_start + math.ceil(0.1 * state.cooldown_start)
    steps = range(INTERVAL, state.cooldown_start + 1, INTERVAL)
    losses = {row["step"]: row["loss"] for row in rows if row["step"] in steps}
    assert losses[state.restored_step] == min(losses.values()) < losses[state.cooldown_start]
    best = min(losses.values())
    elbo = run.evaluate(split="validation").elbo
    assert -elbo.value == pytest.approx(best, abs=2 * elbo.error)
    assert state.cooldown_start == state.restored_step + OVERFITTING["patience"] * INTERVAL
    [sentence] = [text for text in job.notices if "stopped after" in text]
    assert "did not improve in epochs" in sentence


@pytest.mark.slow
def test_evaluations_during_the_kl_annealing_are_not_counted(noise, tmp_path):
    options = OVERFITTING | {"beta": "linear(0, 1, 600)"}
    job = prepare_bars(noise, tmp_path / "run", **options)
    train_to_end(job)
    assert job.state.cooldown_start >= 600


@pytest.mark.slow
def test_weights_of_the_kl_annealing_are_replaced_if_cells_are_dependent(tmp_path):
    """The loss is lowest before the code contains the noise of independent columns."""
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 4)), columns=list("abcd"))
    options = {"beta": "linear(0, 1, 60)", "steps": 100, "patience": 10**6, "batch_size": 64}
    job = prepare(table, out=tmp_path / "run", threads=1, **options)
    train_to_end(job)
    best = read_tensors(job.store / "best.safetensors")[1]
    losses = {row["step"]: total_loss(row) for row in validation_rows(job)}
    assert min(losses, key=losses.get) < 60 <= best["step"]


def test_the_kl_is_part_of_both_losses_of_dependent_cells():
    """During the KL warm-up, the reconstruction is better and the KL is higher than at the end."""
    warm_up = {"loss": 21.4, "reconstruction": 5.2, "independent_reconstruction": 5.0}
    end = {"loss": 19.6, "reconstruction": 9.9, "independent_reconstruction": 9.8}
    assert total_loss(warm_up) == pytest.approx(21.4 + 5.0 + 16.2)
    assert total_loss(end) < total_loss(warm_up)
    assert total_loss({"loss": 19.6, "reconstruction": 9.9}) == 19.6


@pytest.mark.parametrize("patience", [0, 10**6])
def test_training_without_early_stopping_has_its_full_length(noise, patience, tmp_path):
    options = OVERFITTING | {"steps": 150, "patience": patience}
    job = prepare_bars(noise, tmp_path / "run", **options)
    run = train_to_end(job)
    assert (job.state.step, job.state.cooldown_start) == (150, 0)
    assert (len(validation_rows(run)) > 24) == (patience > 0)


@pytest.mark.parametrize("ema_decay", [0.0, pytest.param(0.9, marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", ["before the best step", "after it", "after the restoration"])
def test_an_interrupted_training_is_stopped_early_with_the_same_weights(
    noise, stopped, place, ema_decay, tmp_path
):
    job, run = stopped
    options = OVERFITTING | {"ema_decay": ema_decay}
    if ema_decay:
        job = prepare_bars(noise, tmp_path / "uninterrupted", **options)
        run = train_to_end(job)
    state = job.state
    steps = {
        "before the best step": state.restored_step - 5,
        "after it": state.restored_step + 5,
        "after the restoration": state.cooldown_start + 1,
    }
    interrupt(prepare_bars(noise, tmp_path / "run", **options), steps[place])
    resumed = prepare_bars(noise, tmp_path / "run", **options)
    train_to_end(resumed)
    assert_same_weights(run.folder, resumed.store.folder)
    assert resumed.notices[1:] == job.notices
    assert [(row["step"], row["loss"]) for row in validation_rows(resumed)] == [
        (row["step"], row["loss"]) for row in validation_rows(run)
    ]


def test_a_lost_checkpoint_does_not_change_the_restored_weights(noise, stopped, tmp_path):
    job, run = stopped
    interrupt(prepare_bars(noise, tmp_path / "run", **OVERFITTING), job.state.restored_step - 5)
    events = prepare_bars(noise, tmp_path / "run", **OVERFITTING).train()
    for event in events:
        if event.state.step > job.state.cooldown_start:
            break
    events.close()  # the best weights are on disk, but the checkpoint is older
    resumed = prepare_bars(noise, tmp_path / "run", **OVERFITTING)
    assert resumed.state.step < job.state.restored_step
    train_to_end(resumed)
    assert_same_weights(run.folder, resumed.store.folder)


# Folders


def test_two_trainings_cannot_share_a_folder(data, tmp_path):
    first, second = (prepare_bars(data, tmp_path / "run") for _ in range(2))
    events = first.train()
    next(events)
    with pytest.raises(VariedError, match="being trained by another process"):
        next(second.train())
    history = second.store.history()
    prepare_bars(data, tmp_path / "run")
    assert second.store.history() == history
    events.close()


def test_folders_with_other_content_are_refused(data, run, tmp_path):
    (run.folder / "report.html").touch()  # the last file of a finished run
    with pytest.raises(VariedError, match="finished"):
        prepare_bars(data, run.folder)
    with pytest.raises(VariedError, match="a different model"):
        prepare_bars(data, run.folder, latent=4)
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "letter.txt").write_text("unchanged")
    with pytest.raises(VariedError, match="does not contain a run"):
        prepare_bars(data, letters)
    assert (letters / "letter.txt").read_text() == "unchanged"


# Monitoring


def test_averaged_weights_are_validated_and_stored(data, tmp_path):
    job = prepare_bars(data, tmp_path / "run", ema_decay=0.9)
    run = train_to_end(job)
    checkpoint, _ = read_tensors(max((run.folder / "checkpoints").iterdir()))
    weights = dict(run.model.named_parameters())
    assert weights
    for name, tensor in weights.items():
        assert torch.equal(tensor, checkpoint[f"moments/average/model.{name}"])
    logged = [row for row in run.store.history() if row["split"] == "validation"][-1]
    assert logged["kl"] == pytest.approx(run.evaluate(split="validation").kl.value, rel=0.05)
    assert not job.notices


@pytest.mark.parametrize(("length", "has_time"), [({"minutes": 1.0}, False), ({"steps": 9}, True)])
def test_frames_of_a_training_by_minutes_take_a_fraction_of_the_time(
    data, length, has_time, tmp_path
):
    monitor = RunMonitor(prepare_bars(data, tmp_path / "run", **{"steps": None} | length))
    monitor.record(0.0, TrainingState())
    assert monitor.frame_seconds == 0.0  # the first frame does not count
    monitor.record(0.5, TrainingState(step=3, seconds=1.0))
    assert monitor.frame_seconds > 0.0
    monitor.frame_seconds = 0.3
    assert monitor._has_time(TrainingState(step=3, seconds=1.0)) == has_time
    assert monitor._has_time(TrainingState(step=3, seconds=2.0))


def test_the_best_adversarial_weights_are_the_newest_with_a_low_reconstruction_error(
    data, tmp_path
):
    options = {"steps": 4, "batch_size": 16, "latent": 2, "width": 8, "disc_depth": 1}
    plan = {"threads": 1, "precision": "float32"}
    job = prepare(data, "patchgan-vae", out=tmp_path / "run", **options, **plan)
    monitor = RunMonitor(job)
    errors = (1.0, 1.4, 1.6, 0.5, 0.7, 0.8)
    is_best = [monitor._is_best({"loss": 9.0, "squared_error": error}, True) for error in errors]
    assert is_best == [True, True, False, True, True, False]
    for _ in job.train():
        pass
    errors = [r["squared_error"] for r in job.store.history() if r["split"] == "validation"]
    assert min(errors) > 0
    assert RunMonitor(job).lowest_error == min(errors)
