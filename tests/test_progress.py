"""Tests of the training progress display."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import varied
from varied.spec import Plan
from varied.training import progress
from varied.training.progress import Meter, format_time, progress_stream, run_with_progress

PLAN = {"steps": 6, "latent": 2, "width": 8, "batch_size": 16, "threads": 1}


@pytest.fixture(autouse=True)
def _skip_the_report(monkeypatch):
    monkeypatch.setattr("varied.training.job.finalize", lambda *args: None)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


def train(out, **options):
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    return varied.train(x, out=out, **PLAN, **options)


@pytest.mark.parametrize(("show", "is_shown"), [(True, True), (None, False), (False, False)])
def test_progress_is_printed_on_request(show, is_shown, tmp_path, capsys):
    train(tmp_path / "run", progress=show)
    output = capsys.readouterr().out
    assert ("100%" in output and "-ELBO" in output) == is_shown


def test_default_depends_on_the_terminal_and_the_notebook(monkeypatch):
    assert progress_stream(None) is None
    assert progress_stream(True) is sys.stdout
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert progress_stream(None) is sys.stdout
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert progress_stream(None) is sys.stdout


def test_terminal_shows_a_bar(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    train(tmp_path / "run")
    assert "Trained: epoch" in terminal.getvalue()


def test_other_streams_get_a_line_every_few_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    job = varied.training.prepare(x, out=tmp_path / "run", **PLAN)
    stream = io.StringIO()
    run_with_progress(job.train(), job.spec.plan, stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == PLAN["steps"]
    assert lines[-1].startswith("100%  epoch")


def test_meter_before_the_first_step():
    meter = Meter(Plan(steps=3))
    assert (meter.pace, meter.remaining, meter.progress) == ("starting", "", 0.0)


def test_durations():
    assert [format_time(s) for s in (5, 95, 7300, float("inf"))] == [
        "0:05",
        "1:35",
        "2:01:40",
        "0:00",
    ]
