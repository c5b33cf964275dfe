"""Exported ONNX files return what PyTorch returns, for all batch sizes, or nothing is written."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from bar_images import bar_images
from mixed_table import mixed_table
from quick_training import train_quickly, train_to_end
from tones import write_tones

from varied import export, functional
from varied.cli import main
from varied.errors import VariedError
from varied.export import conversion
from varied.likelihoods import Gaussian
from varied.models import Ladder
from varied.nets.ladder_blocks import DenseBlocks
from varied.runtime import eval_float32
from varied.training import prepare
from varied.zoo import ZOO

onnxruntime = pytest.importorskip("onnxruntime")

SMALL = {"steps": 3, "width": 8, "latent": 2}
#: The absolute and the relative tolerance.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Exported:
    """The files of an export, opened without PyTorch."""

    def __init__(self, folder):
        self.folder = folder
        self.interface = json.loads((folder / "interface.json").read_text("utf-8"))

    def run(self, name, **inputs):
        """Return the outputs of a graph by name."""
        graph = self.interface["graphs"][name]
        session = onnxruntime.InferenceSession(self.folder / graph["file"])
        names = [port["name"] for port in graph["outputs"]]
        assert [port.name for port in session.get_outputs()] == names
        assert {port.name for port in session.get_inputs()} == inputs.keys()
        assert all(port["shape"][0] == "batch" for port in graph["inputs"])
        return dict(zip(names, session.run(None, inputs), strict=True))


def export_run(run, folder):
    return Exported(run.export_onnx(folder).folder)


def random_rows(n, size=5):
    return (np.random.default_rng(0).normal(size=(n, size)) * 10 + 3).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run on real numbers."""
    return train_quickly(random_rows(60), out=tmp_path_factory.mktemp("runs") / "run", **SMALL)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Return the files that the command writes."""
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    assert main(["export", str(run.folder), "--onnx", str(folder)]) == 0
    return Exported(folder)


def test_the_folder_contains_the_files(exported):
    names = {path.name for path in exported.folder.iterdir()}
    assert names == {"encoder.onnx", "decoder.onnx", "interface.json"}
    check = exported.interface["check"]
    assert check["batch_sizes"] == [1, 3, 65]
    assert 0 < check["largest_error"] < check["tolerance"] == 1e-5


@pytest.mark.parametrize("n", [1, 2, 60])
def test_codes_and_means_can_be_computed_from_the_interface(run, exported, n):
    rows, data = random_rows(n), exported.interface["data"]
    mean, scale = np.array(data["mean"]), np.array(data["scale"])
    encoded = exported.run("encoder", x=((rows - mean) / scale).astype(np.float32))
    codes = run.encode(rows)
    np.testing.assert_allclose(encoded["mean"], codes.mean.numpy(), **CLOSE)
    np.testing.assert_allclose(encoded["std"], codes.std.numpy(), **CLOSE)
    decoded = exported.run("decoder", z=encoded["mean"])["mean"] * scale + mean
    np.testing.assert_allclose(decoded, run.reconstruct(rows, n=n).array[1], rtol=1e-4, atol=1e-4)


def test_the_interface_describes_the_latent_variables(exported):
    latent = exported.interface["latent"]
    assert (latent["shape"], latent["size"], latent["codebook_size"]) == ([2], 2, None)
    assert exported.interface["prior"] == {"distribution": "standard normal"}
    assert exported.interface["context"] is None
    assert exported.interface["notes"] == []


@pytest.mark.slow
def test_a_conditional_run_on_a_table(tmp_path):
    table = mixed_table(0, 100)[["amount", "kind", "truth"]]
    choices = {"labels": "truth", "likelihood": "table", "out": tmp_path / "run", **SMALL}
    run = train_quickly(table, "conditional-vae", **choices)
    exported = export_run(run, tmp_path / "onnx")
    labels = exported.interface["context"]["labels"]
    assert labels == [{"name": "truth", "classes": ["False", "True"]}]
    x, c = run.model_input(run.data)
    assert cells_of_levels(exported, "kind", x.numpy()) == [
        None if pd.isna(cell) else cell for cell in run.data.x["kind"]
    ]
    encoded = exported.run("encoder", x=x.numpy(), c=c.numpy())
    np.testing.assert_allclose(encoded["mean"], run.encode(run.data).mean, **CLOSE)
    mean = exported.run("decoder", z=encoded["mean"], c=c.numpy())["mean"]
    decoded = run.codec.decode(torch.from_numpy(mean))
    expected = run.codec.decode(functional.reconstruct(run.model, x, c))
    pd.testing.assert_frame_equal(decoded, expected)
    noise = torch.randn(100, 2)
    z = exported.run("prior", noise=noise.numpy(), c=c.numpy())["z"]
    with eval_float32(run.model):
        p = run.model.prior(c)
        np.testing.assert_allclose(z, p.mean + p.variance.sqrt() * noise, **CLOSE)


def cells_of_levels(exported, name, x):
    """Return the cells of a categorical column, decoded with the values in the interface."""
    columns = {column["name"]: column for column in exported.interface["data"]["columns"]}
    column, parameters = columns[name], columns[name]["parameters"]
    names = np.array([*parameters["levels"], None])
    choice = x[:, slice(*column["levels"])].argmax(1)
    return names[np.where(x[:, column["flag"]] > 0.5, choice, -1)].tolist()


@pytest.mark.slow
def test_a_ladder_returns_the_codes_of_all_levels(tmp_path):
    settings = {"architecture": {"name": "ladder", "levels": 2, "hidden_size": 8}, "net": "mlp"}
    run = train_quickly(random_rows(60), out=tmp_path / "run", steps=3, latent=2, **settings)
    exported = export_run(run, tmp_path / "onnx")
    x, _ = run.model_input(run.data)
    encoded = exported.run("encoder", x=x.numpy())
    codes = run.encode(run.data)
    np.testing.assert_allclose(encoded["mean"], codes.mean, **CLOSE)
    np.testing.assert_allclose(encoded["std"], codes.std, **CLOSE)
    draws = exported.run("prior", noise=np.zeros((9, 4), np.float32))["z"]
    with eval_float32(run.model):
        np.testing.assert_allclose(draws, run.model.sample_prior(9, temperature=0.0), **CLOSE)
        expected = run.model.decode(torch.from_numpy(draws)).mean
    np.testing.assert_allclose(exported.run("decoder", z=draws)["mean"], expected, **CLOSE)


def test_noise_of_a_ladder_has_the_scale_of_its_prior():
    model = Ladder(DenseBlocks((4,), 8, 2), Gaussian((4,)), 2, 0, 0.0)
    with torch.no_grad():
        draws = model.from_noise(torch.randn(20_000, 4))
        samples = model.sample_prior(20_000)
    torch.testing.assert_close(draws.mean(0), samples.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(draws.std(0), samples.std(0), rtol=0.03, atol=0)


def test_a_vq_vae_maps_images_to_codes_and_codes_to_images(tmp_path):
    images, _ = bar_images(60, 8)
    settings = {"net.width": 4, "prior.width": 8, "codebook_size": 16, "threads": 1, "steps": 3}
    run = train_to_end(prepare(images, "vq-vae", out=tmp_path / "run", **settings))
    exported = export_run(run, tmp_path / "onnx")
    assert exported.interface["prior"] is None
    assert "The prior is not exported" in exported.interface["notes"][0]
    x, _ = run.model_input(run.data)
    codes = exported.run("encoder", x=x.numpy())["codes"]
    assert codes.dtype == np.int64
    with eval_float32(run.model):
        index = run.model.encode(x).base_dist.index
        assert np.mean(codes != index.numpy()) < 0.001
        z = run.model.encoder.head.lookup(torch.from_numpy(codes))
        expected = run.model.decode(z).mean
    np.testing.assert_allclose(exported.run("decoder", codes=codes)["mean"], expected, **CLOSE)


# Failures


def test_a_fixed_batch_size_is_detected(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(export.Encoder, "outputs", lambda self, x: {"mean": x.new_ones(len(x), 2)})
    with pytest.raises(VariedError, match="The encoder of this run cannot be exported to ONNX"):
        run.export_onnx(tmp_path / "onnx")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_outputs_that_differ_are_detected(run, exported, tmp_path, monkeypatch):
    class Shifted:
        def __init__(self, session):
            self.session = session

        def run(self, *arguments):
            return [output + 1e-4 for output in self.session.run(*arguments)]

    content, original = (exported.folder / "encoder.onnx").read_bytes(), conversion._open
    monkeypatch.setattr(conversion, "_convert", lambda *values: content)
    monkeypatch.setattr(conversion, "_open", lambda *values: Shifted(original(*values)))
    with pytest.raises(VariedError, match="'mean' of the exported encoder differs from PyTorch"):
        run.export_onnx(tmp_path / "onnx")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused(run, tmp_path):
    with pytest.raises(VariedError, match="already exists; choose a new name"):
        run.export_onnx(tmp_path)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_names_the_extra(run, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(VariedError, match=r"run `pip install 'varied\[onnx\]'`"):
        run.export_onnx(tmp_path / "onnx")


# Slow tests


@pytest.mark.slow
@pytest.mark.parametrize("model", ZOO)
def test_every_model_of_the_zoo_is_exported(model, tmp_path):
    images, labels = bar_images(100)
    plan = {"steps": 2, "batch_size": 16, "threads": 1}
    run = train_to_end(prepare((images, labels), model, out=tmp_path / "run", **plan))
    exported = export_run(run, tmp_path / "onnx")
    assert exported.interface["check"]["largest_error"] < 2e-5


COUNTS = np.random.default_rng(0).poisson(np.random.default_rng(1).gamma(0.5, 4, (100, 8)))
MOLECULES = ["C" * i + end for i in range(1, 12) for end in ("O", "N", "=O", "F")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "options"),
    [
        (mixed_table(0, 100), {"likelihood": "autoregressive-table"}),
        (COUNTS.astype(np.float32), {"likelihood": "negative-binomial"}),
        (COUNTS.astype(np.float32), {"likelihood": "zero-inflated-negative-binomial"}),
        (random_rows(60, 80).reshape(60, 2, 40), {}),
        (MOLECULES, {"kind": "molecules", "likelihood": "one-hot"}),
        (MOLECULES, {"kind": "molecules", "likelihood": "autoregressive-one-hot"}),
    ],
)
def test_every_kind_of_data_is_exported(source, options, tmp_path):
    if "molecules" in options.values():
        pytest.importorskip("rdkit")
    run = train_quickly(source, out=tmp_path / "run", steps=3, **options)
    exported = export_run(run, tmp_path / "onnx")
    x, _ = run.model_input(run.data)
    encoded = exported.run("encoder", x=x.numpy())
    np.testing.assert_allclose(encoded["mean"], run.encode(run.data).mean, **CLOSE)


@pytest.mark.slow
def test_tokens_are_decoded_step_by_step(tmp_path):
    pytest.importorskip("rdkit")
    options = {"kind": "molecules", "likelihood": "autoregressive-one-hot"}
    run = train_quickly(MOLECULES, out=tmp_path / "run", steps=3, **options)
    exported = export_run(run, tmp_path / "onnx")
    n_tokens, length = run.codec.shape
    z = np.random.default_rng(0).normal(size=(5, *run.model.latent_shape)).astype(np.float32)
    tokens = np.zeros((5, length), np.int64)
    for position in range(length):
        mean = exported.run("decoder", z=z, tokens=tokens)["mean"]
        tokens[:, position] = mean[:, :, position].argmax(1)
    assert n_tokens == mean.shape[1]
    px = run.model.eval().decode(torch.from_numpy(z)).base_dist
    assert tokens.tolist() == px.modes.tolist()


@pytest.mark.slow
def test_recordings_are_exported(tmp_path):
    options = {"net.width": 4, "net.dense_width": 16, "latent": 2, "batch_size": 8}
    run = train_quickly(write_tones(tmp_path / "tones"), out=tmp_path / "run", steps=3, **options)
    exported = export_run(run, tmp_path / "onnx")
    assert exported.interface["data"]["hop_samples"] == run.codec.mel.hop


@pytest.mark.slow
def test_class_probabilities_are_calibrated(tmp_path):
    images, labels = bar_images(200)
    run = train_quickly((images, labels), "m2", out=tmp_path / "run", steps=30, batch_size=16)
    exported = export_run(run, tmp_path / "onnx")
    x, _ = run.model_input(run.data)
    outputs = exported.run("encoder", x=x.numpy())
    with eval_float32(run.model):
        probabilities = export.Encoder(run.model, temperature=run.calibration_temperature)(x)[-1]
    np.testing.assert_allclose(outputs["class_probabilities"], probabilities, **CLOSE)
    assert exported.interface["classes"] == list(run.context.classes)


@pytest.mark.slow
def test_a_mixture_prior_is_listed(tmp_path):
    run = train_quickly(random_rows(60), out=tmp_path / "run", **SMALL)
    run.fit_prior("gmm", n_components=2)
    prior = export_run(run, tmp_path / "onnx").interface["prior"]
    p = run.model.prior()
    np.testing.assert_allclose(prior["weights"], p.log_weights.exp(), rtol=1e-6)
    np.testing.assert_allclose(prior["means"], p.means, rtol=1e-6)
    np.testing.assert_allclose(prior["scale_tril"], p.scale_tril, rtol=1e-6)
