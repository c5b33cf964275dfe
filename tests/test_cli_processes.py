"""Tests that run the command in a process: interruption, pipes and imports."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from varied.tensor_io import read_tensors

OPTIONS = ["--steps", "400", "--width", "400", "--precision", "float32", "--threads", "1"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(60, 4)).astype("f4"))
    return path


def training_words(source, folder):
    return ["train", str(source), *OPTIONS, "--compile", "no", "--out", str(folder)]


def start_training(source, folder, program=("-m", "varied"), stderr=subprocess.STDOUT):
    return subprocess.Popen(
        [sys.executable, *program, *training_words(source, folder)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # A shell in which pytest runs in the background ignores Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )


def wait_for_step(folder):
    """Wait for the first logged step."""
    log = folder / "metrics.jsonl"
    for _ in range(3000):
        if log.exists() and '"train"' in log.read_text():
            break
        time.sleep(0.01)


def interrupt(process, folder, number):
    """Send a signal after the first logged step, and return the exit code and the output."""
    wait_for_step(folder)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def run_shell(line):
    """Run a line of a shell, in which $PYTHON is this Python."""
    command = ["bash", "-c", line.replace("$PYTHON", shlex.quote(sys.executable))]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


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


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint(source, tmp_path, number, exit_code):
    folder = tmp_path / "run"
    code, out = interrupt(start_training(source, folder), folder, number)
    assert code == exit_code, out
    assert re.search(r"\nSaved at step \d+; resume with the same command: varied train .*\n$", out)
    assert "Traceback" not in out
    assert len(list((folder / "checkpoints").iterdir())) == 1
    assert not list(folder.rglob(".*"))


def test_training_is_saved_if_the_reader_of_the_output_ends(source, tmp_path):
    code = "import sys, varied.training.progress as p, varied.cli as c; p.LINE_SECONDS = 0; "
    program = ("-c", code + "sys.exit(c.main())")
    process = start_training(source, tmp_path / "run", program, subprocess.PIPE)
    while "Run folder" not in process.stdout.readline():
        pass
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    error = process.stderr.read()
    assert re.fullmatch(r"Saved at step \d+; resume with the same command: varied .*\n", error)


@pytest.mark.slow
def test_only_one_process_trains_in_a_folder(source, tmp_path):
    folder = tmp_path / "run"
    first = start_training(source, folder)
    wait_for_step(folder)
    first.send_signal(signal.SIGSTOP)
    second = start_training(source, folder)
    out, _ = second.communicate(timeout=60)
    first.send_signal(signal.SIGCONT)
    code, _ = interrupt(first, folder, signal.SIGTERM)
    assert (second.returncode, code) == (2, 143)
    assert f"is being trained by another process (process {first.pid} on " in out
    assert "Traceback" not in out


@pytest.mark.slow
def test_training_needs_no_output(source, tmp_path):
    words = shlex.join(training_words(source, tmp_path / "run")).replace("400", "4", 1)
    result = run_shell(f"$PYTHON -m varied {words} >&- 2>&-")
    assert result.returncode == 0
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("command", "exit_code", "out", "error"),
    [
        ("models | true", 141, "", ""),
        ("models --x 2>&1 | true", 141, "", ""),
        ("| true", 141, "", ""),
        ("models >&-", 0, "", ""),
        ("models --x 2>&-", 2, "", ""),
        ("models >/dev/full", 2, "", "varied: .*No space left on device\\.\n"),
        ("models >/dev/full 2>/dev/full", 2, "", ""),
    ],
)
def test_a_closed_stream_causes_no_traceback(command, exit_code, out, error):
    result = run_shell(f"$PYTHON -m varied {command}; exit ${{PIPESTATUS[0]}}")
    assert result.returncode == exit_code
    assert re.fullmatch(out, result.stdout)
    assert re.fullmatch(error, result.stderr)


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
