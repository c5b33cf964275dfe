"""Latent variables that are trained to predict properties (`property_weight`)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

from tests.quick_training import train_quickly, train_to_end
from varied import functional
from varied.errors import VariedError
from varied.runs import Run
from varied.training import prepare
from varied.training.update import prepare_update
from varied.training_step import PropertyHead

FIXED = {"precision": "float32", "compile": "no", "latent": 1}


def two_factors(n=600, seed=0):
    """Return rows that mainly contain one factor, and labels that are the other factor."""
    random = np.random.default_rng(seed)
    main, other = random.normal(size=(2, n))
    x = np.repeat(main[:, None], 8, 1) + 0.3 * random.normal(size=(n, 8))
    x[:, 7] = other + 0.3 * random.normal(size=n)
    return x.astype(np.float32), other.astype(np.float32)


def r2_of_labels(run):
    parts = [run.split(name) for name in ("train", "test")]
    codes = [run.encode(part).mean.flatten(1) for part in parts]
    values = [torch.from_numpy(part.labels.astype(np.float64)) for part in parts]
    return functional.fit_property(codes[0], values[0], codes[1], values[1]).r2.value


def test_loss_is_the_negative_log_probability_of_the_known_properties():
    torch.manual_seed(0)
    head, z = PropertyHead((2, 3), 2), torch.randn(4, 5, 2, 3)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([0.3, -9.0]))
    y = torch.randn(5, 2)
    y[0, 0] = y[1] = torch.nan
    stds = torch.tensor([math.exp(0.3), 0.05])
    exact = -Normal(head.net(z.flatten(2)), stds).log_prob(y.nan_to_num())
    exact[:, 0, 0] = exact[:, 1] = 0
    torch.testing.assert_close(head(z, y), exact.sum(2).mean(0))
    assert head(z, y)[1] == 0


@pytest.mark.slow
def test_codes_contain_the_property(tmp_path):
    x, y = two_factors()
    plain = train_quickly(x, labels=y, steps=300, out=tmp_path / "plain", **FIXED)
    options = FIXED | {"property_weight": 30}
    trained = train_quickly(x, labels=y, steps=300, out=tmp_path / "trained", **options)
    assert r2_of_labels(plain) < 0.2
    assert r2_of_labels(trained) > 0.5
    logged = [row["properties"] for row in trained.store.history() if row["split"] == "train"]
    assert logged[-1] < logged[0] - 0.2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ladder-vae", "vq-vae", "conditional-vae", "iwae"])
def test_models_are_trained_to_predict_a_column(model, tmp_path):
    x, y = two_factors(200)
    frame = pd.DataFrame(x, columns=list("abcdefgh")).assign(kind=np.where(y > 0, "p", "q"))
    options = {"steps": 3, "property_weight": 0.5, "labels": "kind", "threads": 1}
    run = train_to_end(prepare(frame, model, out=tmp_path / "run", **options))
    rows = [row for row in run.store.history() if row["split"] == "train"]
    assert rows
    assert all(np.isfinite(row["properties"]) for row in rows)
    assert len(run.sample(3).array) == 3


def test_interrupted_training_is_resumed(tmp_path):
    x, y = two_factors(200)
    y[:50] = np.nan
    options = {"labels": y, "property_weight": 1.0, "steps": 20, "threads": 1, **FIXED}
    reference = prepare(x, out=tmp_path / "reference", **options)
    events = reference.train()
    for _ in range(20):
        next(events)
    expected = {name: value.clone() for name, value in reference.step.state_dict().items()}
    job = prepare(x, out=tmp_path / "parts", **options)
    for event in job.train():
        if event.state.step == 7:
            job.is_stopping = True
            break
    job.store.write_checkpoint(job.step, event.snapshot())
    resumed = prepare(x, out=tmp_path / "parts", **options)
    assert resumed.state.step == 7
    assert Run(tmp_path / "parts", (x, y)).sample(2).array.shape == (2, 8)
    for _ in resumed.train():
        pass
    assert "property_head.net.0.weight" in expected
    torch.testing.assert_close(dict(resumed.step.state_dict()), expected, atol=0, rtol=0)


def test_run_is_updated(tmp_path):
    x, y = two_factors(200)
    options = {"property_weight": 1.0, "steps": 5, **FIXED}
    run = train_quickly(x, labels=y, out=tmp_path / "run", **options)
    job = prepare_update(run, x, labels=y, out=tmp_path / "new", steps=5)
    assert job.properties.names == ["label"]
    assert len(train_to_end(job).sample(2).array) == 2


def test_properties_of_molecules_are_computed(tmp_path):
    smiles = [f"{'C' * n}{end}" for n in range(1, 12) for end in ("O", "N", "F", "c1ccccc1")]
    frame = pd.DataFrame({"smiles": smiles, "gap": np.arange(len(smiles)) / 3})
    options = {"labels": "gap", "property_weight": 1.0, "steps": 2, "out": tmp_path / "run"}
    job = prepare(frame, threads=1, **options)
    names = ["QED", "logP", "TPSA", "weight", "heavy atoms", "gap"]
    assert job.properties.names == names
    assert f"The latent variables are trained to predict {', '.join(names)}." in job.sentences
    y = job.properties.values()
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(6))
    run = train_to_end(job)
    assert run.spec.plan.property_weight == 1.0


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("vae", {}, "but these arrays have none; provide numeric labels"),
        (
            "conditional-vae",
            {"labels": np.arange(60.0) / 7},
            "requires numeric properties other than the labels on which",
        ),
        ("vae", {"property_weight": -1.0}, "property_weight=-1.0 must not be negative"),
    ],
)
def test_data_without_properties_are_refused(model, options, message, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    options = {"property_weight": 1.0, "steps": 2, "out": tmp_path / "run"} | options
    with pytest.raises(VariedError, match=message):
        train_quickly(x, model, **options)
    assert not (tmp_path / "run").exists()
