"""The command, as a person and as a program meet it: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from varied.cli import console, main
from varied.cli.flags import in_flags, size_of, split_settings
from varied.cli.paths import unused_path
from varied.cli.progress import Meter
from varied.errors import VariedError
from varied.spec import Plan
from varied.tensor_io import read_tensors

QUICK = ["--steps", "20", "--precision", "float32", "--threads", "1", "--compile", "no"]
SMALL = ["--net", "mlp", "--width", "16"]
NUMBERS = {"elbo", "reconstruction", "kl", "active_units"}


def make_data(here: Path) -> None:
    random = np.random.default_rng(0)
    np.save(here / "rows.npy", random.normal(size=(60, 4)).astype("f4"))
    bad = random.normal(size=(30, 4)).astype("f4")
    bad[7, 2] = np.nan
    np.save(here / "nan.npy", bad)
    np.save(here / "wide.npy", random.normal(size=(30, 9)).astype("f4"))
    (here / "empty").mkdir()
    for name, channel in (("red", 0), ("blue", 2)):
        folder = here / "photos" / name
        folder.mkdir(parents=True)
        for index in range(20):
            pixels = random.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    for index in range(12):
        (here / "photos" / "red" / f"torn{index:02d}.png").write_bytes(b"no picture")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data and trained runs that no test changes."""
    here = tmp_path_factory.mktemp("cli")
    make_data(here)
    kept = Path.cwd()
    os.chdir(here)
    try:
        for model, out in (("vae", "a"), ("autoencoder", "b"), ("conditional-vae", "c")):
            words = ["train", "photos", "--model", model, "--out", f"runs/{out}", "--quiet"]
            assert main([*words, *QUICK, *SMALL]) == 0
        assert main(["train", "rows.npy", "--out", "runs/rows", "--quiet", *QUICK, *SMALL]) == 0
        more = ["--latent", "4", "--out", "runs/d", "--quiet"]
        assert main(["train", "photos", *more, *QUICK, *SMALL]) == 0
    finally:
        os.chdir(kept)
    return here


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Return a function from words to exit code, stdout and stderr."""
    monkeypatch.chdir(place)

    def call(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


# Train


def test_train_tells_and_measures(run, place, tmp_path):
    code, out, err = run("train", "photos", "--out", tmp_path / "new", *QUICK, *SMALL)
    assert code == 0, err
    assert "40 color pictures, 8x8; 12 unreadable; 2 classes." in out
    assert out.count("Left out red/torn") == 10
    assert "And 2 more that could not be read." in out
    assert "100%" in out
    assert re.search(r"-ELBO +[\d.]+ ± [\d.]+ +nats", out)
    assert re.search(r"active units .* of \d", out)
    assert "report.html" in out
    assert (tmp_path / "new" / "report.html").is_file()


def test_train_json_is_one_object(run, tmp_path):
    words = ("train", "rows.npy", "--json", "--out", tmp_path / "new", *QUICK, *SMALL)
    code, out, _ = run(*words)
    found = json.loads(out)
    assert code == 0
    assert found["run"] == str(tmp_path / "new")
    assert found["step"] == 20
    assert found["evaluation"].keys() >= NUMBERS
    assert "report.html" in found["files"]


def test_train_quiet_prints_the_folder_alone(run, tmp_path):
    code, out, err = run("train", "rows.npy", "--quiet", "--out", tmp_path / "new", *QUICK, *SMALL)
    assert (code, out, err) == (0, f"{tmp_path / 'new'}\n", "")


def test_dry_trains_nothing(run, place):
    before = sorted(place.rglob("*"))
    code, out, _ = run(
        "train",
        "photos",
        "--dry-run",
        "--n-components",
        "3",
        "--minutes",
        "2",
        "--likelihood",
        "discretized-logistic-mixture",
        "--net.depth",
        "1",
        *SMALL,
    )
    assert code == 0
    assert "n_components = 3" in out
    assert "depth = 1" in out
    assert re.search(r"Would train [\d,]+ parameters", out)
    assert sorted(place.rglob("*")) == before
    code, out, _ = run("train", "photos", "--dry-run", "--json")
    assert json.loads(out)["parameters"] > 0


def test_a_spec_trains_again_for_another_length(run):
    code, out, _ = run(
        "train", "photos", "--spec", "runs/a/spec.toml", "--epochs", "3", "--dry-run"
    )
    assert code == 0
    assert "epochs = 3" in out
    assert "steps" not in out.partition("[plan]")[2]


def test_the_first_free_demo(tmp_path):
    from varied.cli.train import _free

    for name in ("demo", "demo-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").touch()
    assert _free(tmp_path / "demo") == tmp_path / "demo-3"
    assert _free(tmp_path / "other") == tmp_path / "other"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train nothere", "no set and no file called 'nothere'"),
        ("train photo", "did you mean 'photos'?"),
        ("train empty", "is empty"),
        ("train nan.npy --steps 3", "NaN"),
        ("train", "Missing argument 'SOURCE'"),
        ("trian photos", "Did you mean 'train'?"),
        ("train photos --lattent 8", "There is no flag --lattent: did you mean --latent?"),
        ("train photos --net.dept 8", "did you mean --net.depth?"),
        ("train photos --conditinal", "did you mean --conditional?"),
        ("train photos --n-components", "--n-components needs a value"),
        ("train photos --n-components 3 --steps 3", "--likelihood discretized-logistic-mixture"),
        ("train photos --model vea", "There is no model 'vea': did you mean 'vae'?"),
        ("train photos --likelihood gausian --steps 3", "did you mean 'gaussian'?"),
        (
            "train photos --posterior deterministic --steps 3",
            "use --posterior gaussian or --objective rec",
        ),
        ("train photos --likelihood bernoulli --steps 3", "binarize it with --binarize dynamic"),
        ("train photos --steps 3 --epochs 1", "Give one of --minutes, --epochs and --steps"),
        ("train photos --latent 0 --steps 3", "--latent 0 must be at least 1"),
        ("train photos --latent x", "--latent x is not an integer or a list of integers"),
        ("train photos --beta warm --steps 3", "neither a number nor a schedule"),
        ("train photos --precision half --steps 3", "choose from auto, float32, bfloat16"),
        ("train photos --image-size big", "--image-size big is no size"),
        ("train photos --labels y", "folders name their own labels"),
        ("train photos --spec no.toml", "There is no file no.toml"),
        ("train photos --spec no.toml --model vae", "not both"),
        ("train photos --out photos --steps 3", "holds other files"),
        ("train rows.npy --conditional --steps 3", "needs labels"),
        ("train rows.npy --out runs/a --steps 3", "choose another --out"),
        ("models beta-va", "did you mean 'beta-vae'?"),
        ("data mnits", "did you mean 'mnist'?"),
        ("runs nothere", "There is no folder nothere"),
        ("sample runs/e", "There is no run 'runs/e'"),
        ("sample photos", "holds no run"),
        ("sample rwos", "did you mean 'rows'?"),
        ("sample a --label red", "needs a conditional run"),
        ("sample a --temperature hot", "give a number such as 0.8"),
        ("sample a --temperature 0.7,1", "Only a ladder takes a temperature for each level"),
        ("sample c --label rde", "did you mean 'red'?"),
        ("sample a --out a.gif", "save pictures as .png"),
        ("interpolate a --path round", "There is no path 'round'"),
        ("encode a --out codes.pkl", "write --out codes.csv or codes.npz"),
        ("evaluate a --split tets", "did you mean 'test'?"),
        ("evaluate rows wide.npy", "the run knows (4,)"),
        ("evaluate a --sampels 3", "--samples"),
        ("compare a", "Give two runs or more"),
    ],
)
def test_a_mistake_is_one_sentence(run, words, said):
    code, out, err = run(*words.split())
    assert code == 2
    assert said in err
    assert err.startswith("varied: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err + out


def test_a_fault_of_ours_is_told_and_shown_when_asked(run, monkeypatch):
    monkeypatch.setattr("varied.cli.paths.all_runs", lambda: 1 / 0)
    code, _, err = run("sample", "last")
    assert code == 1
    assert "a fault of ours" in err
    assert "ZeroDivisionError" in err
    with pytest.raises(ZeroDivisionError):
        run("--traceback", "sample", "last")


def test_a_folder_that_cannot_be_written_is_a_sentence(run, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("sample", "a", "--out", tmp_path / "file" / "samples.png")
    assert code == 2
    assert err.count("\n") == 1


# Use


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("sample a -n 9", "samples.png"),
        ("sample runs/c --label red --temperature 0.5 --sample-x --seed 3 -n 4", "samples.png"),
        ("sample rows", "samples.png"),
        ("reconstruct a", "reconstructions.png"),
        ("reconstruct a photos/red -n 4", "reconstructions.png"),
        ("interpolate a --path spherical --steps 4 -n 2", "interpolation.png"),
        ("traverse a --dimensions 2 --steps 3", "traversals.png"),
    ],
)
def test_uses_draw_a_picture(run, words, name, tmp_path, monkeypatch):
    code, out, err = run(*words.split(), "--out", tmp_path / name)
    assert code == 0, err
    assert f"Wrote {tmp_path / name}" in out
    Image.open(tmp_path / name).load()


def test_the_same_seed_samples_the_same(run, tmp_path):
    for name in ("1", "2"):
        assert run("sample", "a", "-n", "3", "--out", tmp_path / f"{name}.npy")[0] == 0
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "2.npy").read_bytes()


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "x.png").write_text("mine")
    code, out, _ = run("sample", "a", "--out", tmp_path / "x.png")
    assert code == 0
    assert "is there already" in out
    assert (tmp_path / "x.png").read_text() == "mine"
    assert (tmp_path / "x-2.png").is_file()
    assert unused_path(tmp_path / "x.png", quiet=True) == tmp_path / "x-3.png"


def test_encode_writes_tables(run, tmp_path):
    assert run("encode", "a", "photos", "--out", tmp_path / "z.csv")[0] == 0
    lines = (tmp_path / "z.csv").read_text().splitlines()
    assert lines[0].startswith("name,mean_0,")
    assert lines[0].endswith(",kl")
    assert len(lines) == 41
    assert run("encode", "b", "--out", tmp_path / "z.npz")[0] == 0
    with np.load(tmp_path / "z.npz") as found:
        assert set(found) == {"mean", "std", "names"}
        assert found["mean"].shape == found["std"].shape


# Measure


def test_evaluate(run, place):
    before = {path: path.stat().st_mtime_ns for path in (place / "runs/a").rglob("*")}
    code, out, _ = run("evaluate", "a", "--samples", "5")
    assert code == 0
    assert "-log p(x)" in out
    assert "discretized-logistic" in out
    code, out, err = run("evaluate", "runs/a", "--json", "--quiet")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert {*NUMBERS, *(f"{name}_error" for name in NUMBERS), "n", "likelihood"} <= found.keys()
    assert found["n"] == 4
    assert before == {path: path.stat().st_mtime_ns for path in (place / "runs/a").rglob("*")}


def test_evaluate_an_autoencoder(run):
    code, out, _ = run("evaluate", "b")
    assert code == 0
    assert "none: a deterministic posterior has no density" in out


def test_compare_ranks_what_compares(run, tmp_path):
    code, out, _ = run("compare", "a", "d", "--out", tmp_path / "c")
    assert code == 0
    assert "By -ELBO, best first:" in out
    assert "row by row" in out
    page = (tmp_path / "c" / "compare.html").read_text("utf-8")
    for title in ("Loss", "Reconstructions", "Samples", "Reconstruction against KL"):
        assert f"<h3>{title}</h3>" in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ("a b", "a deterministic posterior has no density"),
        ("a rows", "trained on different data"),
        ("a c", "compare conditional runs only with conditional ones"),
    ],
)
def test_compare_says_why_not(run, tmp_path, others, said):
    code, out, _ = run("compare", *others.split(), "--json", "--out", tmp_path / "c")
    found = json.loads(out)
    assert code == 0
    assert found["ranked"] is None
    assert said in " ".join(found["sentences"])
    assert Path(found["page"]).is_file()


def test_compare_ranks_the_rest_beside_an_autoencoder(run, tmp_path):
    code, out, _ = run("compare", "a", "b", "d", "--json", "--out", tmp_path / "c")
    found = json.loads(out)
    assert code == 0
    assert sorted(found["ranked"]) == ["a", "d"]
    assert "b has no ELBO" in " ".join(found["sentences"])


# Look around


def test_runs(run):
    code, out, _ = run("runs")
    assert code == 0
    assert "runs/a" in out
    assert "finished" in out
    found = json.loads(run("runs", "runs", "--json")[1])["runs"]
    assert {row["run"] for row in found} == {
        f"runs/{name}" for name in ("a", "b", "c", "d", "rows")
    }


def test_models(run):
    assert "beta-vae" in run("models")[1]
    code, out, _ = run("models", "beta-vae")
    assert code == 0
    assert re.search(r"--beta +4", out)
    assert len(json.loads(run("models", "--json")[1])["models"]) >= 10
    out = run("models", "--parts")[1]
    assert "--likelihood discretized-logistic-mixture" in out
    assert "--n-components" in out
    assert "`" not in out
    parts = json.loads(run("models", "--parts", "--json")[1])
    assert parts["net"]["mlp"]["settings"]["width"] == 512


def test_data(run):
    assert "in the package" in run("data")[1]
    assert run("data", "LIST")[1] == run("data")[1]
    assert "license" in run("data", "mnist")[1]
    assert json.loads(run("data", "--json")[1])["data"][0]["name"] == "mnist"


def test_doctor_names_no_folder(run, monkeypatch):
    monkeypatch.setenv("VARIED_DATA", "/secret/place")
    code, out, _ = run("doctor")
    assert code == 0
    assert "secret" not in out
    assert str(Path.home()) not in out
    found = json.loads(run("doctor", "--json")[1])
    assert found["VARIED_DATA"] == "set"
    assert {"torch", "bfloat16", "memory", "numpy"} <= found.keys()


def test_help_and_version(run):
    code, out, _ = run("train", "--help")
    assert code == 0
    assert "--free-bits" in out
    assert "Training:" in out
    assert run("--version")[1].startswith("varied ")
    assert run()[0] == 0


def test_help_says_each_command_in_a_whole_sentence(run):
    told = run("--help")[1].partition("Train:")[2]
    assert "..." not in told
    assert told.count(".\n") > 20


def test_help_imports_nothing_slow():
    code = "import sys, varied.cli; sys.exit(bool({'torch','numpy','rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_few_need_is_loaded_when_it_is_asked_for():
    slow = "{'sklearn', 'scipy.stats', 'torch._dynamo', 'pandas'} & set(sys.modules)"
    code = f"import sys, varied, varied.runs, varied.evaluate; sys.exit(bool({slow}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Ctrl-C, in real processes


WORDS = ["rows.npy", "--steps", "400", "--width", "400", *QUICK[2:]]


def start(*words, **more):
    command = [sys.executable, "-m", "varied", *map(str, words)]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, **pipe, **more)


def interrupt(process, folder, number):
    log = folder / "metrics.jsonl"
    for _ in range(3000):
        if log.exists() and '"train"' in log.read_text():
            break
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_stopped_and_continued_is_bit_for_bit(place, tmp_path):
    folder = tmp_path / "stopped"
    words = ("train", *WORDS, "--out", folder)
    whole = start("train", *WORDS, "--out", tmp_path / "whole", "--quiet", cwd=place)
    code, out = interrupt(start(*words, cwd=place), folder, signal.SIGINT)
    assert code == 130, out
    assert re.search(r"Saved at step \d+; continue with the same command: varied train", out)
    assert "Traceback" not in out
    more, _ = (again := start(*words, cwd=place)).communicate(timeout=60)
    assert again.returncode == 0, more
    assert "Goes on at step" in more
    assert whole.wait(60) == 0
    one, other = (
        read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("stopped", "whole")
    )
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_sigterm_saves_too(place, tmp_path):
    folder = tmp_path / "stopped"
    process = start("train", *WORDS, "--out", folder, cwd=place)
    code, out = interrupt(process, folder, signal.SIGTERM)
    assert code == 130
    assert "Saved at step" in out


def test_a_closed_pipe_is_quiet():
    code = "import sys; from varied.cli import main; sys.exit(main(['models']))"
    line = f'"{sys.executable}" -c "{code}" | true'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""


# Small parts


def test_sift():
    known = {"--latent", "--dry-run"}
    rest, found = split_settings(
        ["x", "--latent", "8", "--n-components", "5", "--net.depth=3"], known
    )
    assert rest == ["x", "--latent", "8"]
    assert found == {"n_components": "5", "net.depth": "3"}
    assert split_settings(["x", "--", "--y"], known) == (["x", "--", "--y"], {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "likelihood='x' is wrong; use likelihood='y'.",
            "--likelihood x is wrong; use --likelihood y.",
        ),
        ("free_bits=-1.0 is low.", "--free-bits -1.0 is low."),
        ("write linear(0, 1, steps=2000).", "write linear(0, 1, steps=2000)."),
        ("a sum x=3 stays.", "a sum x=3 stays."),
    ],
)
def test_in_flags(text, said):
    assert in_flags(text, {}) == said


def test_size_of():
    assert size_of(None) is None
    assert size_of("64") == 64
    assert size_of("48x64") == (48, 64)
    with pytest.raises(VariedError):
        size_of("4x4x4")


def test_an_empty_meter_speaks():
    meter = Meter(Plan(steps=3))
    assert meter.progress == 0
    assert meter.pace == "starting"
    assert meter.left == ""


def test_a_table_wraps_its_last_column(monkeypatch, capsys):
    monkeypatch.setattr(console, "width", lambda: 40)
    console.table(("", ""), [("name", "many words that do not fit on one line of forty")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 40 for line in lines)
    assert lines[1].startswith("        ")


def test_json_has_no_nan(capsys):
    console.show_json({"x": float("nan"), "y": [float("inf")]})
    assert json.loads(capsys.readouterr().out) == {"x": None, "y": [None]}


def test_a_damaged_run_is_listed_as_such(run, tmp_path, place):
    shutil.copytree(place / "runs" / "rows", tmp_path / "torn")
    (tmp_path / "torn" / "data.json").write_text("{")
    found = json.loads(run("runs", tmp_path, "--json")[1])["runs"]
    assert found[0]["state"] == "damaged"
