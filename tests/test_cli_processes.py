"""Tests that run the command in a process: interruption, pipes and imports."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from varied.tensor_io import read_tensors

OPTIONS = ["--steps", "400", "--width", "400", "--precision", "float32", "--threads", "1"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 4)).astype("f4"))
    return path


def start_training(source, folder):
    command = [sys.executable, "-m", "varied", "train", source, *OPTIONS, "--compile", "no"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*map(str, command), "--out", str(folder)], **pipe)


def interrupt(process, folder, number):
    """Send a signal after the first logged step, and return the exit code and the output."""
    log = folder / "metrics.jsonl"
    for _ in range(3000):
        if log.exists() and '"train"' in log.read_text():
            break
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


@pytest.mark.slow
def test_resumed_training_gives_identical_weights(source, tmp_path):
    uninterrupted = start_training(source, tmp_path / "uninterrupted")
    folder = tmp_path / "resumed"
    code, out = interrupt(start_training(source, folder), folder, signal.SIGINT)
    assert code == 130, out
    assert re.search(r"Saved at step \d+; resume with the same command: varied train", out)
    assert "Traceback" not in out
    resumed = start_training(source, folder)
    out, _ = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, out
    assert "Resumes at step" in out
    uninterrupted.communicate(timeout=60)
    assert uninterrupted.returncode == 0
    weights, expected = (
        read_tensors(tmp_path / name / "model.safetensors")[0]
        for name in ("resumed", "uninterrupted")
    )
    assert weights.keys() == expected.keys()
    assert all(weights[name].equal(expected[name]) for name in weights)


def test_sigterm_saves_a_checkpoint(source, tmp_path):
    process = start_training(source, tmp_path / "run")
    code, out = interrupt(process, tmp_path / "run", signal.SIGTERM)
    assert code == 130
    assert "Saved at step" in out


def test_closed_pipe_prints_no_error():
    code = "import sys; from varied.cli import main; sys.exit(main(['models']))"
    line = f'"{sys.executable}" -c "{code}" | true'
    result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        ("varied.cli", {"torch", "numpy", "pandas", "rich"}),
        ("varied, varied.runs, varied.evaluate", {"sklearn", "scipy.stats", "pandas"}),
        ("varied, varied.runs, varied.evaluate", {"torch._dynamo"}),
    ],
)
def test_slow_modules_are_imported_lazily(modules, slow):
    code = f"import sys, {modules}; sys.exit(bool({slow} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
