"""Failing disk operations and killed processes: each time, a repeated command gives the same bits.

`benchmarks.chaos` tries all cases; these are some of them.
"""

from __future__ import annotations

import pytest

from benchmarks import chaos
from benchmarks.faulty_disk import FAULTS, Killed, faulty_disk
from varied import atomic_io
from varied.errors import VariedError
from varied.training import prepare


def start(folder):
    prepare(chaos.examples("images"), out=folder / "run", **chaos.SMALL | {"steps": 2})


START = chaos.Command(start, ("run/spec.toml", "run/manifest.json", "run/split.safetensors"), False)


@pytest.mark.parametrize("fault", FAULTS)
def test_operations_at_the_start_of_a_run_may_fail(fault):
    result = chaos.fail_each_operation(START, (fault,), stride=2)
    assert result["operations"] >= 30
    assert not result["failures"]


@pytest.mark.parametrize(("name", "stride"), [("train", 139), ("fit-prior", 9), ("encode", 7)])
def test_operations_of_commands_may_fail(name, stride):
    result = chaos.fail_each_operation(chaos.COMMANDS[name], stride=stride)
    assert result["cases"] >= 6
    assert not result["failures"]


@pytest.mark.slow
@pytest.mark.parametrize("name", chaos.MODELS)
def test_killed_trainings_end_with_the_same_weights(name):
    result = chaos.kill_at_random(name, 20)
    assert result["kills"] >= 20
    assert not result["failures"]


# The stand-in for the disk


def test_a_power_failure_loses_what_was_not_synced(tmp_path):
    path = atomic_io.atomic_write(tmp_path / "a", "old")
    with pytest.raises(Killed), faulty_disk(10, "power failure"):
        atomic_io.append_jsonl(tmp_path / "log", {"a": 1})  # 2 operations
        atomic_io.atomic_write(path, "new")  # the folder is synced by operation 7
        atomic_io.atomic_write(path, "newest")
    assert path.read_text() == "new"
    assert (tmp_path / "log").read_text() == ""


def test_a_file_that_is_not_synced_is_lost(tmp_path):
    with pytest.raises(Killed), faulty_disk(4, "power failure"):
        atomic_io.atomic_write(tmp_path / "a", "content", sync=False)
        atomic_io.atomic_write(tmp_path / "b", "content")
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EACCES"])
def test_errors_are_reported_in_one_sentence(tmp_path, fault):
    path = atomic_io.atomic_write(tmp_path / "a", "old")
    for index in range(4):
        with faulty_disk(index, fault), pytest.raises(VariedError, match="could not be written"):
            atomic_io.atomic_write(path, "new")
        assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
