"""Tests of the list of runs."""

from __future__ import annotations

import json
import os

import pytest

from varied import list_runs

EVALUATION = {"elbo": -91.25, "reconstruction": 70.0, "kl": 21.25, "active_units": 5.0}


def write_run(folder, *, seconds, evaluation=None):
    folder.mkdir(parents=True)
    (folder / "spec.toml").write_text("format = 2\n")
    (folder / "data.json").write_text(json.dumps({"model": "vae", "source": "data/digits.npz"}))
    if evaluation:
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
        (folder / "model.safetensors").touch()
    os.utime(folder / "spec.toml", (seconds, seconds))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "b", seconds=2)
    write_run(tmp_path / "runs" / "a", seconds=1, evaluation=EVALUATION | {"latent_dim": 8})
    write_run(tmp_path / "c", seconds=3, evaluation=EVALUATION | {"latent": 16})
    return tmp_path


def test_runs_are_listed_from_the_oldest_to_the_newest(folder):
    assert [path.name for path in list_runs()] == ["a", "b", "c"]
    assert [path.name for path in list_runs(folder / "runs")] == ["a", "b"]
    assert list_runs(folder / "nowhere") == []


def test_rows_summarize_the_runs(folder):
    first, second, third = list_runs().rows
    assert (first["model"], first["data"], first["state"]) == ("vae", "digits", "finished")
    assert (first["-ELBO"], first["KL"], first["active"]) == ("91.25", "21.25", "5 of 8")
    assert (second["state"], second["-ELBO"]) == ("not started", "-")
    assert third["active"] == "5 of 16"  # "latent" is the key in format 1


def test_a_run_with_invalid_files_is_corrupted(folder):
    (folder / "c" / "data.json").write_text("{")
    assert list_runs().rows[-1]["state"] == "corrupted"


def test_notebooks_show_a_table(folder):
    html = list_runs()._repr_html_()
    assert html.count("<tr>") == 4
    assert "<td>91.25</td>" in html
