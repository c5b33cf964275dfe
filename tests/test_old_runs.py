"""Test that runs of format 1 open, and give the same samples and reconstructions as before."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import varied
from varied.data.tables import TableDialect
from varied.errors import VariedError
from varied.runs.old_names import FORMAT, OLD_MODELS, old_kind, upgrade_dialect, upgrade_spec
from varied.spec import Spec
from varied.training.defaults import resolve
from varied.zoo import ZOO

#: Runs from commit 86ead4d, one for each kind of model, with their samples and reconstructions.
OLD = Path(__file__).parent / "old_runs"
#: Models of format 1 whose network has other defaults now, with the settings that their runs store.
OLD_NET = {"name": "conv", "width": 32, "dense_width": 256, "activation": "relu"}
OLD_CHOICES = {"conv-vae": {"net": OLD_NET, "lr": 1e-3}, "very-deep-vae": {"net": OLD_NET}}
RUNS = sorted(path.name for path in OLD.iterdir() if path.is_dir())


def digits():
    data = load_digits()
    return (data.images[:60] / 16 * 255).astype("uint8"), data.target[:60] % 3


@pytest.mark.parametrize("name", RUNS)
def test_samples_are_the_same(name):
    run = varied.Run(OLD / name)
    if (OLD / name / "expected_prior.npy").exists():
        samples = run.sample(3, seed=1).array
        np.testing.assert_allclose(samples, np.load(OLD / name / "expected_prior.npy"), atol=1)
    elif run.codec.kind == "table":
        expected = pd.read_csv(OLD / name / "expected.csv", parse_dates=["since"])
        samples = run.sample(3, seed=1).array
        pd.testing.assert_frame_equal(samples, expected, check_dtype=False, rtol=1e-4)
    else:
        expected = np.load(OLD / name / "expected.npy")
        np.testing.assert_allclose(run.sample(3, seed=1).array, expected, atol=1)


@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("table", "images")])
def test_reconstructions_are_the_same(name):
    x, labels = digits()
    has_labels = json.loads((OLD / name / "data.json").read_text())["classes"]
    run = varied.Run(OLD / name, varied.read(x, labels=labels if has_labels else None))
    expected = np.load(OLD / name / "reconstructed.npy")
    np.testing.assert_allclose(run.reconstruct(n=2).array, expected, atol=1)


def test_the_digest_of_the_data_is_the_same():
    x, _ = digits()
    run = varied.Run(OLD / "images")
    assert varied.read(x).digest(old_kind("image")) == run.metadata["digest"]


@pytest.mark.parametrize("old", json.loads((OLD / "specs.json").read_text()))
def test_an_upgraded_spec_is_that_of_the_model(old):
    values = json.loads((OLD / "specs.json").read_text())[old]
    new = OLD_MODELS.get(old, old)
    assert new in ZOO
    data = varied.read("mnist").head(200)
    spec = Spec.parse(**upgrade_spec(values))
    # A shorter training has the same KL annealing as before.
    choices = {"epochs": 100, "max_shift": 0} | OLD_CHOICES.get(new, {})
    if spec.net.name == "mlp" and "net" not in ZOO[new].parts:
        choices["net"] = "mlp"  # now, the default for so few images is another network
    resolved = resolve(data, new, choices).spec
    if new == "conditional-vae":  # its prior did not depend on the context
        spec = dataclasses.replace(spec, prior=resolved.prior)
    spec = dataclasses.replace(spec, plan=dataclasses.replace(spec.plan, epochs=100.0))
    assert spec.without_defaults() == resolved.without_defaults()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, TableDialect()),
        ({"kind": "polars", "dtypes": {"a": "Int8"}}, TableDialect(library="polars")),
        (
            {"encoding": "utf-8", "bom": True, "missing": "?", "tokens": {"b": ""}, "styles": {}},
            TableDialect(encoding="utf-8-sig", missing={"a": "?"}),
        ),
        (
            {"encoding": "utf-16-be", "bom": True, "dates": {"a": "%-d.%m.%Y %H:%M:%S.%3f"}},
            TableDialect(encoding="utf-16", dates={"a": "%d.%m.%Y %H:%M:%S.%f"}),
        ),
    ],
)
def test_the_dialect_of_a_table_is_upgraded(old, new):
    assert TableDialect.from_json(upgrade_dialect(old, ["a", "b"])) == new


def test_a_newer_format_is_refused_in_one_sentence(tmp_path):
    run = shutil.copytree(OLD / "images", tmp_path / "run")
    text = (run / "spec.toml").read_text()
    (run / "spec.toml").write_text(f"format = {FORMAT + 1}\n{text}")
    with pytest.raises(VariedError, match="written by a newer version of Varied") as error:
        varied.Run(run)
    assert "\n" not in str(error.value)


def test_a_new_run_has_the_current_format(tmp_path):
    x, _ = digits()
    run = varied.train(x, "vae", out=tmp_path / "run", steps=2, latent=2, width=8, threads=1)
    assert (run.folder / "spec.toml").read_text().startswith(f"format = {FORMAT}\n")
    assert not run.store.is_format_1
