"""Tests of the commands: output, files, errors and exit codes."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from varied.cli import main
from varied.cli.demo import _unfinished_folder
from varied.cli.paths import open_run, unused_path
from varied.cli.sample import parse_label
from varied.data import CODECS, Codec, RawData
from varied.runs.uses import USES

QUICK = ["--steps", "20", "--precision", "float32", "--threads", "1", "--compile", "no"]
SMALL = ["--net", "mlp", "--width", "16"]
METRICS = {"elbo", "reconstruction", "kl", "active_units"}


def write_data(folder):
    rng = np.random.default_rng(0)
    np.save(folder / "rows.npy", rng.normal(size=(60, 4)).astype("f4"))
    infinite = rng.normal(size=(30, 4)).astype("f4")
    infinite[7, 2] = np.inf
    np.save(folder / "infinite.npy", infinite)
    np.save(folder / "wide.npy", rng.normal(size=(30, 9)).astype("f4"))
    np.savez(folder / "labeled.npz", x=rng.normal(size=(30, 4)), y=np.arange(30) % 2)
    names = ["ann", "bob", "Eve, jr."]
    lines = [f'{i % 7},{i % 2 + 1},"{names[i % 3]}",{20.5 + i}' for i in range(60)]
    (folder / "cells.csv").write_text("\n".join(["a,batch,donor,age", *lines]))
    (folder / "empty").mkdir()
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / "photos" / name / f"{index:02d}.png")
    for index in range(12):
        (folder / "photos" / "red" / f"broken{index:02d}.png").write_bytes(b"not an image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data and trained runs."""
    folder = tmp_path_factory.mktemp("cli")
    write_data(folder)
    models = {"a": "vae", "b": "autoencoder", "c": "conditional-vae"}
    commands = [["photos", "--model", model, "--out", f"runs/{k}"] for k, model in models.items()]
    commands += [["rows.npy", "--out", "runs/rows"]]
    covariates = ["--labels", "batch,donor,age", "--conditional", "--out", "runs/covariates"]
    commands += [["cells.csv", *covariates]]
    commands += [["photos", "--latent", "4", "--out", "runs/d"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands:
            assert main(["train", *command, "--quiet", *QUICK, *SMALL]) == 0
    return folder


@pytest.fixture
def varied(folder, monkeypatch, capsys):
    """Return a function that runs a command and returns its exit code, stdout and stderr."""
    monkeypatch.chdir(folder)

    def call(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


# Train


def test_train_describes_data_and_prints_metrics(varied, tmp_path):
    code, out, err = varied("train", "photos", "--out", tmp_path / "new", *QUICK, *SMALL)
    assert code == 0, err
    assert "40 color images, 8x8; 12 unreadable; 2 classes." in out
    assert out.count("Skipped red/broken") == 10
    assert "Skipped 2 more unreadable files." in out
    assert "100%" in out
    assert re.search(r"-ELBO +[\d.,]+ ± [\d.]+ +nats", out)
    assert re.search(r"active units .* of \d", out)
    assert "report.html" in out
    assert (tmp_path / "new" / "report.html").is_file()


def test_train_prints_json(varied, tmp_path):
    words = ("train", "rows.npy", "--json", "--out", tmp_path / "new", *QUICK, *SMALL)
    code, out, _ = varied(*words)
    result = json.loads(out)
    assert code == 0
    assert (result["run"], result["step"]) == (str(tmp_path / "new"), 20)
    assert result["evaluation"].keys() >= METRICS
    assert "report.html" in result["files"]


def test_quiet_train_prints_only_the_folder(varied, tmp_path):
    words = ("train", "rows.npy", "--quiet", "--out", tmp_path / "new", *QUICK, *SMALL)
    assert varied(*words) == (0, f"{tmp_path / 'new'}\n", "")


def test_dry_run_prints_the_spec_and_writes_nothing(varied, folder):
    before = sorted(folder.rglob("*"))
    likelihood = ("--likelihood", "discretized-logistic-mixture", "--n-components", "3")
    words = ("photos", "--dry-run", "--minutes", "2", *likelihood, "--net.depth", "1", *SMALL)
    code, out, _ = varied("train", *words)
    assert code == 0
    assert "n_components = 3" in out
    assert "depth = 1" in out
    assert re.search(r"Would train [\d,]+ parameters", out)
    assert sorted(folder.rglob("*")) == before
    out = varied("train", "photos", "--dry-run", "--json")[1]
    assert json.loads(out)["parameters"] > 0


def test_spec_of_a_run_trains_for_another_length(varied):
    words = ("photos", "--spec", "runs/a/spec.toml", "--epochs", "3", "--dry-run")
    code, out, _ = varied("train", *words)
    assert code == 0
    assert "epochs = 3" in out
    assert "steps" not in out.partition("[plan]")[2]


def test_demo_chooses_the_first_folder_without_a_finished_run(tmp_path):
    for name in ("demo", "demo-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").touch()
    assert _unfinished_folder(tmp_path / "demo") == tmp_path / "demo-3"
    assert _unfinished_folder(tmp_path / "other") == tmp_path / "other"


@dataclass(frozen=True)
class Numbers(Codec):
    """A codec for text files with one number per line."""

    kind: ClassVar[str] = "numbers"
    endings: ClassVar[tuple[str, ...]] = (".numbers",)
    reads_folders: ClassVar[bool] = True
    domain: ClassVar[str] = "real"
    reading_option_names: ClassVar[tuple[str, ...]] = ("lines",)

    shape: tuple[int, ...]
    factor: float = 1.0
    notes: tuple[str, ...] = ()

    @classmethod
    def read_example(cls, file):
        return np.loadtxt(file, dtype=np.float32)

    @classmethod
    def apply_options(cls, data, lines=None):
        return data.replace(x=data.x[:, :lines])

    @classmethod
    def fit(cls, data, *, factor=1.0):
        return cls(data.x.shape[1:], float(factor))

    def encode(self, data):
        return torch.from_numpy(data.x if isinstance(data, RawData) else data) * self.factor

    def decode(self, x, labels=None):
        return x.numpy() / self.factor


def test_options_of_a_registered_kind_of_data(varied, tmp_path, monkeypatch):
    monkeypatch.setitem(CODECS, "numbers", Numbers)
    for index in range(20):
        (tmp_path / f"{index:02d}.numbers").write_text("1\n2\n3\n4\n")
    words = (tmp_path, "--lines", "3", "--factor", "0.5", "--dry-run", "--json")
    code, out, err = varied("train", *words)
    assert code == 0, err
    assert "20 rows of 3 numbers." in json.loads(out)["sentences"]
    code, _, err = varied("train", "rows.npy", "--lines", "3", "--dry-run")
    assert (code, err) == (2, "varied: --lines is not an option of array data; omit it.\n")
    assert "did you mean --lines?" in varied("train", tmp_path, "--linse", "3")[2]


# Errors


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train nothere", "There is no dataset and no file named 'nothere'"),
        ("train photo", "did you mean 'photos'?"),
        ("train empty", "is empty"),
        ("train infinite.npy --steps 3", "infinity"),
        ("train", "Missing argument 'SOURCE'"),
        ("trian photos", "Did you mean 'train'?"),
        ("train photos --lattent 8", "There is no option --lattent: did you mean --latent?"),
        ("train photos --net.dept 8", "did you mean --net.depth?"),
        ("train photos --conditinal", "did you mean --conditional?"),
        ("train photos --n-components", "--n-components requires a value"),
        ("train photos --n-components 3 --steps 3", "--likelihood discretized-logistic-mixture"),
        ("train photos --model vea", "There is no model 'vea': did you mean 'vae'?"),
        ("train photos --likelihood gausian --steps 3", "did you mean 'gaussian'?"),
        (
            "train photos --posterior deterministic --steps 3",
            "use --posterior gaussian or --objective rec",
        ),
        ("train photos --likelihood bernoulli --steps 3", "use --binarize dynamic"),
        ("train photos --binarize maybe", "There is no binarization method 'maybe'"),
        ("train photos --steps 3 --epochs 1", "Only one of --epochs and --steps"),
        ("train photos --minutes -1", "--minutes -1.0 must not be negative"),
        ("train photos --steps 0", "greater than or equal to 1"),
        ("train photos --latent 0 --steps 3", "--latent 0 must be at least 1"),
        ("train photos --latent x", "--latent x must be an integer or a list of integers"),
        ("train photos --beta warm --steps 3", "neither a number nor a schedule"),
        ("train photos --precision half --steps 3", "choose from auto, float32, bfloat16"),
        ("train photos --image-size big", "--image-size big is not a size"),
        ("train photos --labels y", "the names of the subfolders are the labels"),
        ("train photos --spec no.toml", "There is no file no.toml"),
        ("train photos --spec no.toml --model vae", "--model cannot be combined with --spec"),
        ("train photos --out photos --steps 3", "is not empty and does not contain a run"),
        ("train rows.npy --conditional --steps 3", "requires labels"),
        ("train rows.npy --out runs/a --steps 3", "choose another folder with --out"),
        ("--import", "--import requires a value"),
        ("--import nothere.py runs", "There is no file nothere.py"),
        ("models beta-va", "did you mean 'beta-vae'?"),
        ("explain kll", "There is no page 'kll'"),
        ("data mnits", "did you mean 'mnist'?"),
        ("runs nothere", "There is no folder nothere"),
        ("sample runs/e", "There is no run 'runs/e'"),
        ("sample photos", "is not a run folder"),
        ("sample rwos", "did you mean 'rows'?"),
        ("sample a --label red", "requires a conditional run"),
        ("sample a --temperature hot", "--temperature hot is not a number; use a number, such as"),
        ("sample a --temperature 0.7,1", "Only a ladder VAE accepts one temperature per level"),
        ("sample a --scale 2", "--scale requires --around"),
        ("sample c --label rde", "did you mean 'red'?"),
        ("sample c --label color=red", "no covariate 'color': choose from class"),
        ("sample covariates --label batch=1,donr=ann", "no covariate 'donr': did you mean 'donor'"),
        ("sample covariates --label donor=anne", "no class 'anne': did you mean 'ann'"),
        ("sample covariates --label age=old", "'age' must be a number, got 'old'; pass a number"),
        (
            "sample covariates --label 1,ann",
            "must name the covariates of this run (batch, donor, age); use, for example, --label",
        ),
        ("train cells.csv --labels batch,donr", "no column 'donr': did you mean 'donor'"),
        ("train cells.csv --labels batch,donor --model m2 --steps 3", "provide one class label"),
        ("train labeled.npz --labels x", "'x' contains the rows, not labels; choose another array"),
        ("sample a --out a.gif", "supported file extension; use .npy or .png"),
        ("interpolate a --path round", "There is no path 'round'"),
        ("encode a --out codes.pkl", "use --out codes.csv, codes.parquet or codes.npz"),
        ("classify a", "train one with --architecture m2"),
        ("augment c", "--per-class 500"),
        ("fit-prior a", "Specify either a PRIOR to fit"),
        ("impute rows --mask 1,2,3,4", "Only images can be masked"),
        ("evaluate a --split tets", "did you mean 'test'?"),
        ("evaluate rows wide.npy", "(4,)"),
        ("evaluate a wide.npy", "Images must be uint8"),
        ("detect a --max-fpr 2", "--max-fpr 2.0 must be above 0 and below 1"),
        ("decompress a rows.npy", "not written by `varied compress`"),
        ("decompress a nothere", "cannot be read (No such file or directory); check its name"),
        ("evaluate a --sampels 3", "--samples"),
        ("compare a", "At least two runs are required"),
    ],
)
def test_error_is_one_sentence(varied, command, message):
    code, out, err = varied(*command.split())
    assert code == 2
    assert message in err
    assert err.startswith("varied: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err + out


def test_internal_error_is_reported_with_a_traceback_on_request(varied, monkeypatch):
    monkeypatch.setattr("varied.cli.paths.list_runs", lambda: 1 / 0)
    code, _, err = varied("sample", "last")
    assert code == 1
    assert "Internal error (ZeroDivisionError" in err
    with pytest.raises(ZeroDivisionError):
        varied("--traceback", "sample", "last")


def test_unwritable_path_is_one_sentence(varied, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = varied("sample", "a", "--out", tmp_path / "file" / "samples.png")
    assert code == 2
    assert err.count("\n") == 1


# Use


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("sample a -n 9", "samples.png"),
        ("sample runs/c --label red --temperature 0.5 --sample-x --seed 3 -n 4", "samples.png"),
        ("sample c --label class=red,blue -n 4", "samples.png"),
        ("sample rows", "samples.png"),
        ("reconstruct a", "reconstructions.png"),
        ("reconstruct a photos/red -n 4", "reconstructions.png"),
        ("interpolate a --path spherical --steps 4 -n 2", "interpolation.png"),
        ("traverse a --dimensions 2 --steps 3", "traversals.png"),
    ],
)
def test_results_are_saved_as_images(varied, command, name, tmp_path):
    code, out, err = varied(*command.split(), "--out", tmp_path / name)
    assert code == 0, err
    assert f"Wrote {tmp_path / name}" in out
    Image.open(tmp_path / name).load()


def test_samples_are_the_same_for_the_same_seed(varied, tmp_path):
    for name in ("1", "2"):
        assert varied("sample", "a", "-n", "3", "--out", tmp_path / f"{name}.npy")[0] == 0
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "2.npy").read_bytes()


def test_existing_files_are_not_overwritten(varied, tmp_path):
    path = tmp_path / "x.png"
    path.write_text("mine")
    code, out, _ = varied("sample", "a", "--out", path)
    assert code == 0
    assert f"{path} exists; writing to {tmp_path / 'x-2.png'} instead." in out
    assert path.read_text() == "mine"
    assert (tmp_path / "x-2.png").is_file()
    assert unused_path(path, quiet=True) == tmp_path / "x-3.png"


def test_encode_writes_tables(varied, tmp_path):
    assert varied("encode", "a", "photos", "--out", tmp_path / "z.csv")[0] == 0
    lines = (tmp_path / "z.csv").read_text().splitlines()
    assert lines[0].startswith("name,mean_0,")
    assert lines[0].endswith(",kl")
    assert len(lines) == 41
    assert varied("encode", "b", "--out", tmp_path / "z.npz")[0] == 0
    with np.load(tmp_path / "z.npz") as codes:
        assert set(codes) == {"mean", "std", "names"}
        assert codes["mean"].shape == codes["std"].shape


def test_registered_use_is_a_command_with_options(varied, tmp_path, monkeypatch):
    def darken(run, source=None, *, amount: float = 0.5):
        """Reconstruct examples with reduced brightness."""
        result = run.reconstruct(source, n=2)
        images = (result.images * (1 - amount)).astype(np.uint8)
        return dataclasses.replace(result, array=images, images=images)

    monkeypatch.setitem(USES, "darken", darken)
    code, _, err = varied("darken", "a", "--amount", "1", "--out", tmp_path / "dark.npy")
    assert code == 0, err
    assert not np.load(tmp_path / "dark.npy").any()
    assert "--amount" in varied("darken", "--help")[1]


# Evaluate


def test_evaluate_prints_metrics_and_does_not_change_the_run(varied, folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs/a").rglob("*")}
    code, out, _ = varied("evaluate", "a", "--samples", "5")
    assert code == 0
    assert "-log p(x)" in out
    assert "discretized-logistic" in out
    code, out, err = varied("evaluate", "runs/a", "--json", "--quiet")
    evaluation = json.loads(out)
    errors = {f"{name}_error" for name in METRICS}
    assert (code, err) == (0, "")
    assert {*METRICS, *errors, "n", "likelihood"} <= evaluation.keys()
    assert evaluation["n"] == 4
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "runs/a").rglob("*")}


def test_evaluate_autoencoder_has_no_density(varied):
    code, out, _ = varied("evaluate", "b")
    assert code == 0
    assert "has no density" in out


def test_compare_ranks_comparable_runs(varied, tmp_path):
    code, out, _ = varied("compare", "a", "d", "--out", tmp_path / "c")
    assert code == 0
    assert "Ranking by -ELBO, best first:" in out
    assert "row by row" in out
    page = (tmp_path / "c" / "compare.html").read_text("utf-8")
    for title in ("Loss", "Reconstructions", "Samples", "Reconstruction against KL"):
        assert f"<h3>{title}</h3>" in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("runs", "ranked", "reason"),
    [
        ("a b", None, "has no ELBO"),
        ("a rows", None, "trained on different data"),
        ("a c", None, "compare conditional runs only with conditional ones"),
        ("a b d", ["a", "d"], "b has no ELBO"),
    ],
)
def test_compare_explains_which_runs_are_not_ranked(varied, tmp_path, runs, ranked, reason):
    code, out, _ = varied("compare", *runs.split(), "--json", "--out", tmp_path / "c")
    result = json.loads(out)
    assert code == 0
    assert (sorted(result["ranked"]) if result["ranked"] else None) == ranked
    assert reason in " ".join(result["sentences"])
    assert Path(result["page"]).is_file()


# Lists


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("batch=2", {"batch": "2"}),
        ("batch=1,2,age=40.5", {"batch": ["1", "2"], "age": "40.5"}),
        ("age = 30, donor=Eve, jr.", {"age": " 30", "donor": "Eve, jr."}),
        ("2,bob,30", [["2", "bob", "30"]]),
    ],
)
def test_labels_of_covariates_are_parsed(varied, label, expected):
    run = open_run("covariates")
    assert parse_label(run, label) == expected
    assert run.sample(3, label=expected).array.shape == (3, 4)


@pytest.mark.parametrize(
    "command",
    ["sample covariates --label batch=1,2 -n 4", "style covariates --label donor=bob,ann -n 2"],
)
def test_covariates_are_chosen_by_name(varied, command, tmp_path):
    code, _, err = varied(*command.split(), "--out", tmp_path / "rows.csv")
    assert code == 0, err
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 5


def test_runs_are_listed(varied):
    code, out, _ = varied("runs")
    assert code == 0
    assert "runs/a" in out
    assert "finished" in out
    rows = json.loads(varied("runs", "runs", "--json")[1])["runs"]
    assert {row["run"] for row in rows} == {
        f"runs/{k}" for k in ("a", "b", "c", "covariates", "d", "rows")
    }


def test_models_and_parts_are_listed(varied):
    assert "beta-vae" in varied("models")[1]
    code, out, _ = varied("models", "beta-vae")
    assert code == 0
    assert re.search(r"--beta +4", out)
    assert len(json.loads(varied("models", "--json")[1])["models"]) >= 10
    out = varied("models", "--parts")[1]
    assert "--likelihood discretized-logistic-mixture" in out
    assert "--n-components" in out
    assert "`" not in out
    parts = json.loads(varied("models", "--parts", "--json")[1])
    assert parts["net"]["mlp"]["settings"]["width"] == 512


def test_datasets_are_listed(varied):
    assert "in the package" in varied("data")[1]
    assert varied("data", "LIST")[1] == varied("data")[1]
    assert "license" in varied("data", "mnist")[1]
    assert json.loads(varied("data", "--json")[1])["data"][0]["name"] == "mnist"


def test_doctor_prints_no_private_paths(varied, monkeypatch):
    monkeypatch.setenv("VARIED_DATA", "/secret/folder")
    code, out, _ = varied("doctor")
    assert code == 0
    assert "secret" not in out
    assert str(Path.home()) not in out
    facts = json.loads(varied("doctor", "--json")[1])
    assert facts["VARIED_DATA"] == "set"
    assert {"torch", "bfloat16", "memory", "numpy"} <= facts.keys()


def test_help_and_version(varied):
    code, out, _ = varied("train", "--help")
    assert code == 0
    assert out.startswith("Usage: varied train [OPTIONS] SOURCE\n")
    assert "--free-bits" in out
    assert "Training:" in out
    assert "-h, --help" in out
    assert varied("--version")[1].startswith("varied ")
    assert varied()[0] == 0


def test_help_describes_each_command_in_a_complete_sentence(varied):
    commands = varied("--help")[1].partition("Train:")[2]
    assert "..." not in commands
    assert commands.count(".\n") > 20
