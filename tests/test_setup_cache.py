"""Each machine always chooses the same compute settings for the same training step."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch
from quick_training import train_to_end

from varied import runtime, setup_cache
from varied.cli import main
from varied.errors import VariedError
from varied.spec import Plan
from varied.tensor_io import read_tensors
from varied.training import prepare
from varied.training.finalize import _changed_threads
from varied.training_state import TrainingState


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(setup_cache, "setup_folder", lambda: tmp_path / "setups")
    return tmp_path / "setups"


class Measurements:
    """Fake measurements in which bfloat16 is alternately faster and slower than float32."""

    def __init__(self):
        self.values = [1.0, 0.5, 0.7, 1.0, 2.0, 0.7]
        self.n = 0

    def __call__(self, call, repeats, clock):
        self.n += 1
        return self.values[(self.n - 1) % 6]


@pytest.fixture
def measurements(monkeypatch):
    fake = Measurements()
    monkeypatch.setattr(runtime, "_seconds_per_step", fake)
    monkeypatch.setattr(runtime, "num_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    return fake


def autotune(width=3, **plan):
    step = torch.nn.Linear(width, 2)
    return runtime.autotune(step, lambda: step(torch.ones(width)).sum(), Plan(**plan), 100)


def test_a_step_is_measured_once(measurements, folder):
    first = autotune()
    assert (first.precision, first.threads, measurements.n) == ("bfloat16", 1, 3)
    assert autotune() == first
    assert measurements.n == 3
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("change", [{"width": 4}, {"batch_size": 64}, {"precision": "float32"}])
def test_other_steps_are_measured_separately(measurements, change):
    autotune()
    autotune(**change)
    assert measurements.n > 3


def test_one_thread_is_timed_without_the_time_of_other_programs(monkeypatch):
    step = torch.nn.Linear(3, 2)

    def wait_for_other_programs():
        time.sleep(0.02)
        return step(torch.ones(3)).sum()

    plan = Plan(threads=1)
    timings = runtime._measure_setups(step, wait_for_other_programs, plan, 2, patience=60)
    assert timings.keys() == {("float32", 1), ("bfloat16", 1)}
    assert max(timings.values()) < 0.01


def test_settings_that_change_the_duration_are_distinguished(measurements):
    step = torch.nn.Linear(3, 2)
    step.n_samples = 1
    runtime.autotune(step, lambda: step(torch.ones(3)).sum(), Plan(), 100)
    step.n_samples = 50
    runtime.autotune(step, lambda: step(torch.ones(3)).sum(), Plan(), 100)
    assert measurements.n == 6


def test_cleared_measurements_are_repeated(measurements, capsys):
    autotune()
    assert setup_cache.list_fastest() == {"bfloat16 on 1 thread": 1}
    assert main(["doctor", "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["compute settings"]
    assert text == "measured models: 1; fastest: bfloat16 on 1 thread (1)"
    assert main(["doctor", "--clear-setups", "--json"]) == 0
    assert "measured when a model" in json.loads(capsys.readouterr().out)["compute settings"]
    assert autotune().precision == "float32"
    assert measurements.n == 6


def test_the_first_stored_measurements_are_kept(folder):
    first, second = {("float32", 1): 1.0}, {("float32", 1): 2.0}
    assert setup_cache.write_timings("key", first) == first
    assert setup_cache.write_timings("key", second) == first


@pytest.mark.parametrize("content", ["", "{}", '{"timings": [1]}', '{"timings": [["a", "b", 1]]}'])
def test_a_corrupted_file_is_measured_again(measurements, folder, content):
    autotune()
    next(folder.iterdir()).write_text(content)
    autotune()
    assert measurements.n == 6


def test_a_read_only_cache_is_not_an_error(measurements, folder):
    folder.write_text("not a folder")
    assert autotune().precision == "bfloat16"
    assert autotune().precision == "float32"


# Deterministic training


def test_a_deterministic_plan_measures_nothing(measurements):
    assert str(autotune(deterministic=True)) == "cpu, float32 on 1 thread"
    setup = autotune(deterministic=True, threads=2, precision="bfloat16")
    assert str(setup) == "cpu, bfloat16 on 2 threads"
    assert (setup.max_threads, measurements.n) == (1, 0)


def test_a_deterministic_plan_has_no_time_limit():
    with pytest.raises(VariedError, match="A deterministic training run cannot have minutes=2"):
        Plan(deterministic=True, minutes=2)


def test_deterministic_trainings_have_the_same_weights(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    files = []
    for i in range(2):
        job = prepare(x, out=tmp_path / str(i), epochs=3, width=16, deterministic=True)
        files.append(train_to_end(job).folder / "model.safetensors")
        assert not torch.are_deterministic_algorithms_enabled()
    weights, others = (read_tensors(file)[0] for file in files)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_default_length_of_deterministic_training_is_in_epochs(tmp_path):
    x = np.zeros((60_000, 28, 28), np.uint8)
    x[:, 10:20, ::2] = 255
    job = prepare(x, out=tmp_path / "run", deterministic=True)
    assert job.spec.plan.minutes == 0
    assert job.spec.plan.epochs > 1


# Numbers of threads


def test_steps_are_counted_by_the_number_of_threads(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    job = prepare(x, out=tmp_path / "run", steps=7, width=16, threads=1)
    train_to_end(job)
    assert job.state.steps_by_threads == {"1": 7}
    assert _changed_threads(job.state) == []


def test_a_change_of_threads_is_reported():
    [text] = _changed_threads(TrainingState(steps_by_threads={"2": 9800, "1": 200}))
    assert "(9,800 steps on 2, 200 steps on 1)" in text
