"""Tests of training in several processes, which are real processes that communicate with gloo."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

from tests.bar_images import save_bar_images
from tests.group_training import KINDS, PLAN, train_in_processes, train_kind
from varied.atomic_io import read_jsonl
from varied.cli import main
from varied.cli.worker import run_worker
from varied.errors import VariedError
from varied.process_group import Group, current_group, joined_group, use_group
from varied.seeding import derive_seed
from varied.synchronization import Synchronizer
from varied.tensor_io import read_tensors
from varied.training_state import TrainingState

#: Kinds whose loss does not depend on random numbers, or on the statistics of a batch.
EXACT = ("autoencoder", "vq-vae")


def relative_difference(losses, expected):
    return ((losses - expected).abs() / expected.abs()).max()


def assert_same_in_all_processes(results, kind):
    (_, tensors), *others = (result[kind] for result in results)
    for _, other in others:
        assert tensors.keys() == other.keys()
        different = [name for name in tensors if not torch.equal(tensors[name], other[name])]
        # The weight for the next step is computed from the other buffers at its beginning.
        assert different in ([], ["objective.weights.1.value"])


def test_two_processes_train_like_one(tmp_path):
    kinds = (*EXACT, "vae")
    results = train_in_processes(2, tmp_path, kinds)
    for kind in kinds:
        assert_same_in_all_processes(results, kind)
        losses, _ = results[0][kind]
        expected, _ = train_kind(kind, tmp_path / f"{kind}-alone")
        tolerance = 1e-6 if kind in EXACT else 0.01
        assert relative_difference(losses, expected) < tolerance
        assert len(losses) == PLAN["steps"]


@pytest.mark.slow
def test_three_processes_have_equal_codebooks_and_weights(tmp_path):
    kinds = [kind for kind in KINDS if kind not in ("early-stopping", "finished run")]
    results = train_in_processes(3, tmp_path, kinds)
    for kind in kinds:
        assert_same_in_all_processes(results, kind)
        losses, _ = results[0][kind]
        expected, _ = train_kind(kind, tmp_path / f"{kind}-alone")
        assert relative_difference(losses, expected) < (1e-6 if kind in EXACT else 0.1)


@pytest.mark.slow
def test_early_stopping_restores_the_weights_of_all_processes(tmp_path):
    results = train_in_processes(2, tmp_path, ["early-stopping"])
    assert_same_in_all_processes(results, "early-stopping")
    assert len(results[0]["early-stopping"][0]) < KINDS["early-stopping"]["steps"]


@pytest.mark.slow
def test_all_processes_return_the_finished_run(tmp_path):
    results = train_in_processes(2, tmp_path, ["finished run"])
    assert_same_in_all_processes(results, "finished run")
    assert (tmp_path / "finished run" / "report.html").is_file()


# The command


RAY = ["--engine", "ray", "--workers", "2"]


def test_other_commands_do_not_run_in_several_processes(capsys):
    assert run_worker(["sample", "run"], Group()) == 2
    assert "Only `varied train` runs" in capsys.readouterr().err


def start_command(source, folder, *options, group=("--processes", "2")):
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    if "ray" in group:  # it connects to the address of this machine in the local network
        paths = [path for path in paths if "network_guard" not in path]
    words = ["train", str(source), "--out", str(folder), "--net.width", "16", "--compile", "no"]
    return subprocess.Popen(
        [sys.executable, "-m", "varied", *words, *group, *options],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell in which pytest runs in the background ignores Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )


def wait_for_step(folder, min_steps):
    """Wait until a step of the run is logged."""
    for _ in range(6000):
        rows = read_jsonl(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
        if any(row["step"] >= min_steps for row in rows):
            return
        time.sleep(0.01)


def workers(name="varied.worker"):
    """Return the process IDs of the workers, in the order of their ranks."""
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    ids = [line.split()[0] for line in lines.stdout.splitlines() if name in line]
    return [int(number) for number in ids]


@pytest.fixture
def source(tmp_path):
    return save_bar_images(tmp_path / "bars.npz")


@pytest.mark.slow
def test_an_interrupted_command_is_resumed(source, tmp_path):
    folder = tmp_path / "run"
    process = start_command(source, folder, "--steps", "3000", "--deterministic")
    wait_for_step(folder, 2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert re.search(r"Saved at step \d+; resume with the same command: varied train .*2", out)
    resumed = start_command(source, folder, "--steps", "3000", "--deterministic")
    out, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, out
    assert "Resumes at step" in out
    other = start_command(source, tmp_path / "other", "--steps", "3000", "--deterministic")
    other.communicate(timeout=300)
    (weights, _), (expected, _) = (
        read_tensors(path / "model.safetensors") for path in (folder, tmp_path / "other")
    )
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_training_goes_on_after_a_process_is_killed(source, tmp_path, rank):
    folder = tmp_path / "run"
    process = start_command(source, folder, "--steps", "4000")
    wait_for_step(folder, 100)
    os.kill(workers()[rank], signal.SIGKILL)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert out.count("Run folder") == 2
    assert "Traceback" not in out
    assert read_jsonl(folder / "metrics.jsonl")[-1]["step"] == 4000


@pytest.mark.slow
def test_a_time_limit_ends_all_processes_at_the_same_step(source, tmp_path):
    process = start_command(source, tmp_path / "run", "--minutes", "0.1")
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "vaee"], "There is no model 'vaee'"),
        (["--batch-size", "1"], "A batch of 1 rows cannot be divided among 2 processes"),
        (["--lr", "1e30"], "had non-finite gradients"),
    ],
)
def test_an_error_is_printed_once(source, tmp_path, options, message):
    process = start_command(source, tmp_path / "run", *options)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out.count(message) == 1
    assert "Traceback" not in out


# Ray


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("n_workers", "killed"), [("1", None), ("1:2", None), ("2", 0), ("2", 1)])
def test_workers_of_ray_train_together(source, tmp_path, n_workers, killed):
    pytest.importorskip("ray")
    folder, steps = tmp_path / "run", "60" if killed is None else "4000"
    group = ["--engine", "ray", "--workers", n_workers]
    process = start_command(source, folder, "--steps", steps, group=group)
    if killed is not None:
        wait_for_step(folder, 100)
        os.kill(workers("ray::RayTrainWorker")[killed], signal.SIGKILL)
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out
    assert out.count("Run folder") == 1 + (killed is not None)
    assert read_jsonl(folder / "metrics.jsonl")[-1]["step"] == int(steps)


@pytest.mark.slow
def test_a_process_and_workers_of_ray_train_alike(source, tmp_path):
    pytest.importorskip("ray")
    options = ("--model", "autoencoder", "--steps", "60", "--binarize", "none", "--deterministic")
    results = []
    for group in ([], ["--processes", "2"], RAY):
        folder = tmp_path / f"run-{len(results)}"
        out, _ = start_command(source, folder, *options, group=group).communicate(timeout=200)
        rows = read_jsonl(folder / "metrics.jsonl")
        results.append(torch.tensor([row["loss"] for row in rows if row["split"] == "train"]))
        assert len(results[-1]) > 10, out
    for losses in results[1:]:
        assert relative_difference(losses, results[0]) < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "slurm"], "There is no engine 'slurm'"),
        (["--engine", "ray", "--processes", "2"], "cannot be combined"),
        (["--workers", "2"], "requires --engine ray"),
        (["--engine", "ray", "--workers", "3:2"], "must be a number of workers"),
        (["--engine", "ray", "--workers", "a"], "must be a number of workers"),
    ],
)
def test_invalid_groups_are_refused(capsys, options, message):
    assert main(["train", "rows.npy", *options]) == 2
    assert message in capsys.readouterr().err


# Groups of one


def test_a_group_of_one_returns_its_arguments():
    group, x = Group(), torch.rand(3)
    for method in (group.sum, group.mean, group.root_mean_square, group.broadcast):
        assert method(x) is x
    value = {"a": [1, "b"]}
    assert group.announce(value) is value
    assert group.agree(7) == 7
    group.release()


def test_the_group_is_used_only_inside_the_context():
    group = Group()
    with pytest.raises(ZeroDivisionError), use_group(group):
        assert current_group() is group
        1 / 0  # noqa: B018
    assert current_group() is not group
    assert joined_group().world == 1


class TwoEqualProcesses(Group):
    """A group whose other process has the same values, with a quarter of the rows in this one."""

    world, share = 2, 0.25

    def sum(self, x):
        return 2 * x


def test_means_are_weighted_by_the_number_of_rows():
    group = TwoEqualProcesses()
    assert group.mean(torch.tensor(8.0)) == 4
    assert group.root_mean_square(torch.tensor(3.0)) == 3


class ProcessesWithDifferentBuffers(TwoEqualProcesses):
    """A group in which the process of rank 0 has other tensors."""

    def broadcast(self, x):
        return x + 1


def test_a_buffer_that_is_computed_from_the_rows_of_one_process_is_an_error():
    module = torch.nn.BatchNorm1d(2)
    synchronizer = Synchronizer(ProcessesWithDifferentBuffers(), module, TrainingState())
    with pytest.raises(VariedError, match="running_mean differs between the processes"):
        synchronizer.check_buffers()
    Synchronizer(TwoEqualProcesses(), module, TrainingState()).check_buffers()


def test_processes_draw_different_random_numbers():
    assert derive_seed(0, "step", 3) == derive_seed(0, "step", 3, rank=0)
    assert len({derive_seed(0, "step", 3, rank=rank) for rank in range(5)}) == 5
