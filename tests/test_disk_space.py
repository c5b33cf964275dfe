"""Training is refused before the first step if its files do not fit on the disk."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from varied.errors import VariedError
from varied.training import Interrupted, prepare
from varied.training.disk_space import check_disk_space, estimate_disk_space

MIB = 2**20


def prepare_rows(folder, **options):
    x = np.random.default_rng(0).normal(size=(60, 5)).astype("f4")
    plan = {"steps": 30, "latent": 2, "width": 256, "batch_size": 16, "threads": 1}
    return prepare(x, out=folder, **plan | options)


def limit_space(monkeypatch, free):
    usage = lambda path: SimpleNamespace(free=free if path.exists() else None)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9}, {"model": "factor-vae"}])
def test_the_estimate_is_an_upper_bound(tmp_path, options):
    job = prepare_rows(tmp_path / "run", **options)
    estimate = estimate_disk_space(job) - 20 * MIB
    for event in job.train():
        if event.state.step in (10, 20):  # as after 30 seconds
            job.store.write_checkpoint(job.step, event.snapshot())
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    used = sum(path.stat().st_size for path in files)
    assert used <= estimate <= 2.5 * used


def test_training_is_refused_if_its_files_do_not_fit(tmp_path, monkeypatch):
    job = prepare_rows(tmp_path / "run")
    limit_space(monkeypatch, estimate_disk_space(job) - 1)
    with pytest.raises(VariedError) as error:
        check_disk_space(job)
    assert str(error.value).count(". ") == 0
    assert f"to {tmp_path / 'run'}, but only" in str(error.value)
    assert "MiB are free; free some disk space, choose a folder on another disk with --out" in (
        str(error.value)
    )
    limit_space(monkeypatch, estimate_disk_space(job))
    check_disk_space(job)


def test_checkpoints_of_an_interrupted_training_count_as_free(tmp_path, monkeypatch):
    job = prepare_rows(tmp_path / "run")
    with pytest.raises(Interrupted):
        for _ in job.train():
            job.is_stopping = True
    files = {*(tmp_path / "run").rglob("*.safetensors")} - {tmp_path / "run" / "split.safetensors"}
    resumed = prepare_rows(tmp_path / "run")
    free = estimate_disk_space(resumed) - sum(path.stat().st_size for path in files)
    limit_space(monkeypatch, free)
    check_disk_space(resumed)
    limit_space(monkeypatch, free - 1)
    with pytest.raises(VariedError, match="Training would write up to"):
        check_disk_space(resumed)


def test_large_sizes_are_in_gibibytes(tmp_path, monkeypatch):
    job = prepare_rows(tmp_path / "run")
    monkeypatch.setattr("varied.training.disk_space._OTHER_FILES", 5 * 2**30)
    limit_space(monkeypatch, 3 * 2**30)
    with pytest.raises(VariedError, match=r"up to 5\.0 GiB to .*, but only 3\.0 GiB are free"):
        check_disk_space(job)
