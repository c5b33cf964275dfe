"""Damaged and hostile run folders, and models that do not fit in memory, are refused."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import varied
from tests.run_alterations import FILES, alterations, is_one_sentence, outcome, write_runs
from varied.composition import compose
from varied.errors import VariedError
from varied.evaluate import Estimate
from varied.evaluate.active_units import negative_kl_warning
from varied.spec import Spec
from varied.stored_values import Scalar, read_fields, read_value, stored_in
from varied.tensor_io import write_tensors
from varied.training_state import TrainingState


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the folder of small runs, and two rows for each of them."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, write_runs(folder)


# Alterations of files


@pytest.mark.parametrize(("file", "n"), list(zip(FILES, (49, 10, 7, 31), strict=True)))
def test_an_altered_run_works_or_is_refused_in_one_sentence(runs, file, n):
    folder, rows = runs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for run, name, text, error, message in alterations(folder, rows, [file], n):
        assert error in ("none", "VariedError"), (run, name, text, error, message)
        assert not message or is_one_sentence(message), (run, name, message)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 2**10


@pytest.mark.parametrize(
    ("run", "file", "old", "new", "where"),
    [
        ("image", "codec.json", '"seed": 0', '"seed": "0"', "x.seed: '0' is not an integer"),
        ("image", "codec.json", '"binarize"', '"binarise"', r"x.binarise: .* mean 'binarize'"),
        ("image", "codec.json", '"binarize": "none"', '"binarize": "no"', "x: .* method 'no'"),
        ("image", "codec.json", '"scale": 1.0', '"scale": 0.0', r"c.covariates\[0\]: .* scale"),
        ("array", "codec.json", '"notes"', '"nodes"', "x.nodes: there is no such field"),
        ("sound", "codec.json", '"rate": 8000', '"rate": 1', "x: the sample rate is 1 Hz"),
        ("molecules", "codec.json", '"length": ', '"length": 9999999999', "x: the shape"),
        ("table", "codec.json", '"numeric"', '"numerical"', r"x.columns\[0\].type: there is no"),
        ("table", "codec.json", '"is_order": false', '"is_order": 0', r"x.relations\[0\].is_order"),
        ("table", "codec.json", '"delimiter": ","', '"delimiter": 1', "x.dialect.delimiter: 1 is"),
        ("table", "data.json", '"train": 9', '"train": -"', "is not valid JSON"),
        ("table", "data.json", '"options": {', '"options": 3, "o": {', "options: 3 is not a map"),
        (
            "table",
            "calibration.json",
            '"imputation',
            '"imputation_scale": [1, 2], "',
            "non-negative numbers",
        ),
        ("table", "spec.toml", "format = 2", 'format = "2"', "format: '2' is not an integer"),
    ],
)
def test_the_message_names_the_file_and_the_value(runs, tmp_path, run, file, old, new, where):
    folder, rows = runs
    copy = shutil.copytree(folder / run, tmp_path / "run")
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    error, message = outcome(copy, rows[run])
    assert error == "VariedError"
    assert re.search(where, message)
    assert message.startswith(f"{copy / file} is not valid")


@pytest.mark.parametrize("notes", [{}, {"prior": 3}, {"prior": {"name": ["a"]}}])
def test_invalid_notes_of_a_fitted_prior_are_refused(runs, tmp_path, notes):
    copy = shutil.copytree(runs[0] / "counts", tmp_path / "run")
    write_tensors(copy / "prior.safetensors", {}, **notes)
    assert outcome(copy, runs[1]["counts"])[0] == "VariedError"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("step", "1"), ("steps", 1), ("anchor", [1]), ("setup", {"device": 1})],
        *[("setup", {"threads": 10**9}), ("setup", {"device": "a"}), ("setup", {"precision": "a"})],
    ],
)
def test_the_state_in_a_checkpoint_is_checked(name, value):
    state = {"step": 3, "total": None, "anchor": [0, 0.0], "setup": None, "moments": {}}
    assert TrainingState.from_values(state).step == 3
    with pytest.raises(VariedError, match=name):
        TrainingState.from_values(state | {name: value})


# Values


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()
    origin: Point | None = None


def test_values_are_converted_to_the_types_of_a_class():
    values = json.loads('{"x": 1, "names": ["a"], "origin": {"x": 0.5}}')
    assert read_fields(Point, values) == Point(1.0, ("a",), Point(0.5))
    assert read_value([None, "a", 1, True], tuple[Scalar, ...]) == (None, "a", 1, True)
    assert read_value({"a": [1]}, dict[str, list[int]]) == {"a": [1]}


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({}, "x: it is missing"),
        ({"x": float("nan")}, "x: nan is not a finite number"),
        ({"x": True}, "x: True is not a finite number"),
        ({"x": 10**400}, "is not a finite number"),
        ({"x": 1, "names": "a"}, "names: 'a' is not a list"),
        ({"x": 1, "names": ["\ud800"]}, r"names\[0\]: .* is not text"),
        ({"x": 1, "origin": {"x": 1, "origin": {"x": ""}}}, "origin.origin.x: '' is not a"),
        ([1], r"\[1\] is not a mapping"),
    ],
)
def test_the_place_of_an_invalid_value_is_named(values, where):
    with pytest.raises(VariedError, match=f"^a.json is not valid: .*{where}"), stored_in("a.json"):
        read_fields(Point, values)


# Memory


HUGE = [
    ({"latent": 10**9}, "GiB of available memory"),
    ({"latent": 10**30}, "is too large"),
    ({"context": 10**9}, "GiB of available memory"),
    ({"net": {"name": "mlp", "depth": 10**6}}, "weight tensors; reduce the depth"),
    ({"net": {"name": "mlp", "width": 10**6}}, "GiB of available memory"),
    ({"net": {"name": "mlp", "width": 10**9}}, "must be at most"),
    ({"net": {"name": "conv", "width": 10**6}}, "GiB of available memory"),
    ({"architecture": {"name": "ladder", "levels": 10**6}}, "weight tensors"),
    ({"prior": "flow", "latent": 10**6}, "GiB of available memory"),
]


@pytest.mark.slow
def test_models_that_do_not_fit_in_memory_are_refused_quickly():
    program = (
        "import resource\nfrom tests.test_run_validation import *\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10\n"
        "before = peak()\n"
        "for values, message in HUGE:\n"
        "    with pytest.raises(VariedError, match=message):\n"
        "        compose(Spec.parse(**values), (1, 28, 28))\n"
        "assert peak() - before < 300, peak() - before\n"
    )
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, timeout=100)


def test_a_large_model_that_fits_has_the_same_weights(monkeypatch):
    spec = Spec.parse(prior="vamp", net={"name": "mlp", "width": 8})
    expected = compose(spec, (784,))[0].state_dict()
    monkeypatch.setattr("varied.allocation_limit._MAX_ELEMENTS", 100)
    weights = compose(spec, (784,))[0].state_dict()
    assert expected.keys() == weights.keys()
    assert all((weights[name] == value).all() for name, value in expected.items())


def test_a_training_step_that_does_not_fit_in_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("varied.step_memory._LARGE", 1)
    monkeypatch.setattr("varied.data.memory.free_memory", lambda: 2**20)
    x = np.random.default_rng(0).integers(0, 255, (40, 16, 16)).astype(np.uint8)
    with pytest.raises(VariedError, match=r"A training step with .* rows of .*reduce the network"):
        varied.train(x, "vae", steps=1, threads=1, out=tmp_path / "run", progress=False)


# Results


@pytest.mark.parametrize(
    ("value", "error", "is_negative"),
    [(-0.04, 1e-3, True), (-0.04, 0.02, False), (-1e-5, 0.0, False), (3.0, 0.1, False)],
)
def test_a_negative_kl_is_reported(value, error, is_negative):
    warning = negative_kl_warning(Estimate(value, error, 100))
    assert (warning is not None) == is_negative
    if warning:
        assert "-0.04 nats" in warning
        assert "not usable" in warning
