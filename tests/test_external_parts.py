"""Tests of external parts: objects, registered names, files and installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import varied
from varied import registry
from varied.errors import VariedError
from varied.likelihoods import LIKELIHOODS, Gaussian, Laplace
from varied.posteriors import Gaussian as GaussianPosterior
from varied.runs.uses import USES
from varied.spec import Part
from varied.training import prepare

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tests" / "external"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install the external package into a separate folder."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "package"
    source.mkdir()
    for file in PACKAGE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Return a folder with low tones, high tones, and a file that is not a valid sound."""
    folder = tmp_path_factory.mktemp("data") / "sounds"
    rng = np.random.default_rng(0)
    for name, hertz in (("low", 200), ("high", 900)):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            time = np.arange(256) / 8000 + rng.random()
            samples = 0.3 * np.sin(2 * np.pi * hertz * time) * 32767
            (folder / name / f"{i:02d}.pcm").write_bytes(samples.astype("<i2").tobytes())
    (folder / "low" / "broken.pcm").write_bytes(b"odd")
    return folder


def command(*args, cwd, path=()):
    """Run a command in another process, with additional folders on the import path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run(
        [sys.executable, "-m", "varied", *map(str, args)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def run(site, sounds, tmp_path_factory):
    """Return a run that was trained in another process with the installed package."""
    folder = tmp_path_factory.mktemp("runs")
    done = command(
        *("train", sounds, "--likelihood", "cauchy", "--scale", "0.2", "--latent", "4"),
        *("--encoder", "sound-encoder", "--decoder", "sound-decoder", "--width", "32"),
        *("--steps", "30", "--batch-size", "16", "--threads", "1", "--out", "run"),
        cwd=folder,
        path=[site],
    )
    assert done.returncode == 0, done.stderr
    assert "60 sounds" in done.stdout
    assert "broken.pcm" in done.stdout
    return folder / "run"


# An installed package


@pytest.mark.slow
def test_an_installed_package_is_found_by_its_entry_point(run):
    spec = (run / "spec.toml").read_text()
    for axis in ("likelihood", "encoder", "decoder", "data"):
        assert f'[origins.{axis}]\nmodule = "varied_sound"\nversion = "0.3.1"' in spec
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_another_process_samples_sounds(run, site):
    done = command("sample", "run", "-n", "3", "--out", "new", cwd=run.parent, path=[site])
    assert done.returncode == 0, done.stderr
    files = sorted((run.parent / "new").iterdir())
    assert [file.name for file in files] == ["00000.pcm", "00001.pcm", "00002.pcm"]
    assert files[0].stat().st_size == 2 * 256


@pytest.mark.slow
def test_another_process_evaluates_with_the_suite(run, site):
    done = command("evaluate", "run", "--all", cwd=run.parent, path=[site])
    assert done.returncode == 0, done.stderr
    assert "Loudness" in done.stdout
    assert "loudness ratio" in done.stdout


@pytest.mark.slow
def test_another_process_detects(run, site, sounds):
    done = command("detect", "run", sounds, "--out", "scores.csv", cwd=run.parent, path=[site])
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(run.parent / "scores.csv")
    assert len(scores) == 60
    assert {"is_anomaly", "score", "p_value"} <= set(scores)


@pytest.mark.slow
def test_a_use_is_a_command_with_flags(run, site, sounds):
    args = ("soften", "run", sounds, "--amount", "0.25", "--n", "2", "--out", "soft.npy")
    done = command(*args, cwd=run.parent, path=[site])
    assert done.returncode == 0, done.stderr
    assert np.load(run.parent / "soft.npy").shape == (2, 2, 1, 256)
    help_text = command("soften", "--help", cwd=run.parent, path=[site])
    assert "--amount" in help_text.stdout
    assert "Reconstruct sounds at a lower volume." in help_text.stdout


@pytest.mark.parametrize("name", ["sample", "evaluate", "detect"])
@pytest.mark.slow
def test_without_the_package_the_error_is_one_sentence(run, name):
    done = command(name, "run", cwd=run.parent)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "module 'varied_sound', which is not loaded" in done.stderr
    assert "--import varied_sound.py" in done.stderr


@pytest.mark.slow
def test_a_file_can_be_imported_instead(run):
    args = ("--import", PACKAGE / "varied_sound.py", "sample", "run", "-n", "2", "--out", "s.npy")
    done = command(*args, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert np.load(run.parent / "s.npy").shape == (2, 1, 256)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--import", "nowhere.py", "runs"], "There is no file nowhere.py"),
        (["--import"], "--import requires a value"),
        (["--import", "no_such_module", "runs"], "There is no module 'no_such_module'"),
    ],
)
def test_a_wrong_import_is_one_sentence(args, message, tmp_path):
    done = command(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_failing_import_names_the_exception(tmp_path):
    (tmp_path / "failing.py").write_text("1 / 0\n")
    done = command("--import", "failing.py", "runs", cwd=tmp_path)
    assert done.returncode == 2
    assert "failing.py failed with ZeroDivisionError" in done.stderr


# Objects in Python


class Encoder(nn.Module):
    """A network that maps 8 features to a Gaussian with 2 latent dimensions."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, 4))

    def forward(self, x):
        return self.layers(x)


class Decoder(nn.Module):
    """A network that maps 2 latent dimensions to 8 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 8)

    def forward(self, z):
        return self.layer(z)


class Skewed(Gaussian):
    """A user-defined likelihood class."""


def features():
    return np.random.default_rng(0).normal(size=(80, 8)).astype(np.float32)


def train(tmp_path, **choices):
    options = {"latent": 2, "steps": 4, "batch_size": 16, "threads": 1, "out": tmp_path / "run"}
    job = prepare(features(), "vae", **(options | choices))
    for _ in job.train():
        pass
    return job.write_model()


def test_classes_and_modules_are_accepted_and_restored(tmp_path):
    run = train(tmp_path, encoder=Encoder(width=5), decoder=Decoder, likelihood=Skewed)
    assert run.spec.encoder.settings == {"width": 5}
    assert isinstance(run.model.encoder.net, Encoder)
    opened = varied.Run(run.folder)  # by now, the module of the test is trusted
    assert opened.model.encoder.net.width == 5
    assert isinstance(opened.model.decoder.head, Skewed)
    x = torch.zeros(3, 8)
    torch.testing.assert_close(opened.model.encode(x).mean, run.model.encode(x).mean)


def test_a_run_does_not_load_foreign_code(tmp_path, monkeypatch):
    run = train(tmp_path, encoder=Encoder())
    monkeypatch.setattr(registry, "_trusted", set())
    with pytest.raises(VariedError, match=r"encoder.*is not loaded.*pass the object as encoder="):
        varied.Run(run.folder)
    opened = varied.Run(run.folder, encoder=Encoder)
    torch.testing.assert_close(
        dict(opened.model.named_parameters())["encoder.net.layers.0.weight"],
        dict(run.model.named_parameters())["encoder.net.layers.0.weight"],
    )


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"encoder": nn.Linear(8, 3)}, r"returns shape \(2, 3\).*posterior requires \(2, 4\)"),
        ({"decoder": nn.Linear(5, 8)}, "The decoder failed on x of shape"),
        ({"encoder": lambda x: x}, "has no importable name"),
        ({"encoder": 3}, "A part must be a name"),
        ({"likelihood": Gaussian((7,))}, r"event shape \(7,\), but the model requires \(8,\)"),
        ({"encoder": "mpl"}, "There is no encoder 'mpl'.*did you mean 'mlp'"),
        ({"architecture": "ladder", "encoder": "mlp"}, "builds several networks from net"),
    ],
)
def test_unsuitable_objects_are_refused(choices, message, tmp_path):
    with pytest.raises(VariedError, match=message):
        train(tmp_path, **choices)


def test_parts_of_the_package_need_no_import(tmp_path, monkeypatch):
    run = train(tmp_path, likelihood=Laplace, posterior=GaussianPosterior((2,), logvar_bound=5.0))
    assert run.spec.likelihood == Part("laplace")
    assert "origins" not in (run.folder / "spec.toml").read_text()
    monkeypatch.setattr(registry, "_trusted", set())
    assert varied.Run(run.folder).model.encoder.head.logvar_bound == 5.0


@pytest.mark.parametrize(
    "name", ["varied.atomic_io:write_json", "varied.nets.none:mlp", "os:remove"]
)
def test_a_run_cannot_name_other_code(name, tmp_path):
    run = train(tmp_path)
    spec = run.folder / "spec.toml"
    spec.write_text(spec.read_text().replace('[net]\nname = "mlp"', f'[net]\nname = "{name}"'))
    run.store.manifest.accept()
    with pytest.raises(VariedError, match="is not loaded"):
        varied.Run(run.folder)


def test_a_module_is_copied_for_each_model(tmp_path):
    encoder = Encoder()
    before = {name: p.clone() for name, p in encoder.state_dict().items()}
    train(tmp_path, encoder=encoder)
    assert all(torch.equal(before[name], p) for name, p in encoder.state_dict().items())


# Registration


def test_registered_parts_are_used_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_origins", {})
    monkeypatch.setitem(LIKELIHOODS, "skewed", None)  # removed again after the test
    del LIKELIHOODS["skewed"]
    varied.register("likelihood", "skewed", Skewed)
    run = train(tmp_path, likelihood="skewed", scale=0.5)
    assert run.spec.likelihood.settings == {"scale": 0.5}
    assert run.store.read_spec().origins["likelihood"].module == __name__


def test_a_registered_use_is_a_method(tmp_path, monkeypatch):
    run = train(tmp_path)
    monkeypatch.setitem(USES, "count", lambda run, source=None, *, times=1: len(run.data) * times)
    assert run.count(times=2) == 160
    with pytest.raises(AttributeError, match="no attribute 'cuont'"):
        run.cuont  # noqa: B018
