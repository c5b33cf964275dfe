import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import varied
from varied import atomic_io
from varied.errors import VariedError
from varied.runs import Run, Store, list_runs
from varied.tensor_io import read_tensors, write_tensors
from varied.training import Interrupted, fit, prepare
from varied.training.defaults import resolve
from varied.training.job import RunMonitor
from varied.training_loop import TrainingState

FILES = [
    "spec.toml",
    "codec.json",
    "data.json",
    "split.safetensors",
    "metrics.jsonl",
    "model.safetensors",
    "evaluation.json",
    "loss.png",
    "samples.png",
    "reconstructions.png",
    "kl.png",
    "latent.png",
    "traversals.png",
    "interpolation.png",
    "latent.gif",
    "samples.gif",
    "report.html",
    "README.md",
]
SMALL = {"width": 32, "batch_size": 32, "steps": 30, "threads": 1, "precision": "float32"}


def pictures(n=200, side=9, colors=1, seed=0):
    """Bright bars on black, upright or lying: something to learn, with a label."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, (n, side, side), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for row, label in zip(x, labels, strict=True):
        place = rng.integers(1, side - 1)
        row[(place, slice(None)) if label else (slice(None), place)] = 250
    x = np.repeat(x[..., None], colors, -1) if colors > 1 else x
    return x, np.array(["upright", "lying"])[labels]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    x, labels = pictures()
    np.savez(path, x=x, labels=labels)
    return path


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return fit(data, "vae", out=tmp_path_factory.mktemp("runs") / "bars", latent=3, **SMALL)


def weights(folder):
    return read_tensors(Path(folder) / "model.safetensors")[0]


def interrupt(job, step):
    with pytest.raises(Interrupted):
        for event in job.train():
            job.stopping = event.state.step >= step


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_folder_holds_all_that_is_promised(run):
    assert [name for name in FILES if not (run.folder / name).is_file()] == []


def test_no_file_of_a_run_is_a_pickle(run):
    for path in run.folder.rglob("*"):
        assert not path.is_file() or path.read_bytes()[:2] not in (b"\x80\x04", b"\x80\x05", b"PK")


def test_a_run_opens_again_and_measures_the_same(run):
    again = Run(run.folder)
    kept = atomic_io.read_json(run.folder / "evaluation.json")
    found = again.evaluate().to_json()
    assert found["elbo"] == pytest.approx(kept["elbo"], rel=1e-6)
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["kl"], rel=1e-6)
    assert {"elbo_error", "reconstruction_error", "kl_error", "active_units_error"} <= set(found)
    assert found["n"] == 20


def test_looking_at_a_run_changes_neither_it_nor_the_random_state(run):
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    state = torch.get_rng_state()
    run.evaluate(samples=3), run.sample(4), run.reconstruct(n=3), run.interpolate(n=2)
    run.traverse(), run.encode()
    assert torch.equal(state, torch.get_rng_state())
    assert before == {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_samples(run):
    assert np.array_equal(run.sample(5, seed=3).array, run.sample(5, seed=3).array)
    assert not np.array_equal(run.sample(5, seed=3).array, run.sample(5, seed=4).array)


def test_uses_give_back_pictures_in_the_persons_form(run, tmp_path):
    assert run.sample(5).array.shape == (5, 9, 9)
    assert run.sample(5).array.dtype == np.uint8
    assert run.reconstruct(n=4).array.shape == (2, 4, 9, 9)
    assert run.interpolate(n=2, steps=5).array.shape == (2, 5, 9, 9)
    assert run.traverse(dimensions=2, steps=7).array.shape == (2, 7, 9, 9)
    assert run.encode().mean.shape == (20, 3)
    assert run.sample(3).save(tmp_path / "a.png").stat().st_size > 100
    assert len(list(run.sample(3).save(tmp_path / "many").iterdir())) == 3
    with pytest.raises(VariedError, match="save pictures as"):
        run.sample(3).save(tmp_path / "a.xyz")


def test_interpolation_ends_at_reconstructions(run):
    path = run.interpolate(n=2, steps=4).array
    made = run.reconstruct(n=4).array[1]
    assert np.abs(path[:, 0].astype(int) - made[:2]).max() <= 1
    assert np.abs(path[:, -1].astype(int) - made[2:]).max() <= 1


def test_reconstruction_and_kl_are_logged_apart(run):
    rows = run.store.history()
    assert {"train", "validation"} == {row["split"] for row in rows}
    for row in rows:
        if row["split"] == "validation":
            assert row["loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-4)
    betas = [row["beta"] for row in rows if row["split"] == "train"]
    assert betas[0] < 1
    assert betas[-1] == 1


def test_a_changed_source_is_noticed(data, run, tmp_path):
    copy = tmp_path / "bars.npz"
    copy.write_bytes(data.read_bytes())
    again = fit(copy, "vae", out=tmp_path / "r", latent=2, **(SMALL | {"steps": 2}))
    x, labels = pictures(seed=1)
    np.savez(copy, x=x, labels=labels)
    with pytest.raises(VariedError, match="has changed since"):
        Run(again.folder).evaluate()


@pytest.mark.parametrize("stop", [1, 7, 29])
def test_an_interrupted_run_continues_to_the_same_bits(data, run, tmp_path, stop):
    interrupt(prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL), stop)
    again = prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    assert "Goes on at step" in again.sentences[-1]
    for _ in again.train():
        pass
    assert same(weights(run.folder), weights(again.finish().folder))
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in run.store.history()]
    redone = [{k: v for k, v in row.items() if k != "seconds"} for row in again.store.history()]
    assert [row["step"] for row in kept] == sorted(row["step"] for row in redone)


def test_a_killed_run_continues_to_the_same_bits(data, run, tmp_path):
    program = (
        "import sys; from varied.training import prepare, job as j; j.CHECKPOINT_SECONDS = 0.0\n"
        "job = prepare(sys.argv[1], 'vae', out=sys.argv[2], latent=3, width=32, batch_size=32, steps=30,"
        " threads=1, precision='float32')\n"
        "for event in job.train(): print(event.state.step, flush=True)\n"
        "job.finish()"
    )
    args = [sys.executable, "-c", program, str(data), str(tmp_path / "r")]
    child = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if int(line) >= 8:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert not Store(tmp_path / "r").finished
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    assert same(weights(run.folder), weights(tmp_path / "r"))


def test_averages_of_the_weights_are_what_is_looked_at_and_kept(data, tmp_path):
    job = prepare(data, out=tmp_path / "run", latent=3, ema_decay=0.9, **SMALL)
    for _ in job.train():
        pass
    run = job.deliver()
    last, _ = read_tensors(sorted((run.folder / "checkpoints").iterdir())[-1])
    kept = dict(run.model.named_parameters())
    assert kept
    for name, weights in kept.items():
        assert torch.equal(weights, last[f"moments/average/model.{name}"])
    told = [row for row in run.store.history() if row["split"] == "validation"][-1]
    assert told["kl"] == pytest.approx(run.evaluate(split="validation").kl.value, rel=0.05)
    assert not job.notices


def test_a_damaged_checkpoint_falls_back_to_the_one_before(data, run, tmp_path, monkeypatch):
    monkeypatch.setattr("varied.training.job.CHECKPOINT_SECONDS", 0.0)
    interrupt(prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL), 9)
    newest = sorted((tmp_path / "r" / "checkpoints").iterdir())[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    again = prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    assert any("damaged" in sentence for sentence in again.sentences)
    assert 0 < again.state.step < 9 or again.state.step == 9
    for _ in again.train():
        pass
    assert same(weights(run.folder), weights(again.finish().folder))


@pytest.mark.parametrize(("length", "looks"), [({"minutes": 1.0}, False), ({"steps": 9}, True)])
def test_a_slow_model_is_looked_at_less_where_minutes_are_given(data, length, looks, tmp_path):
    job = prepare(data, "vae", out=tmp_path / "r", **(SMALL | {"steps": None} | length))
    watch = RunMonitor(job)
    watch.look(0.0, TrainingState())
    assert watch.looked == 0.0, "the first look is owed"
    watch.look(0.5, TrainingState(step=3, seconds=1.0))
    assert watch.looked > 0.0
    watch.looked = 0.3
    assert watch._has_time(TrainingState(step=3, seconds=1.0)) == looks
    assert watch._has_time(TrainingState(step=3, seconds=2.0))


def test_two_trainings_cannot_share_a_folder(data, tmp_path):
    first = prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    second = prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    events = first.train()
    next(events)
    with pytest.raises(VariedError, match="being trained by another process"):
        next(second.train())
    kept = second.store.history()
    prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    assert second.store.history() == kept
    events.close()


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(data, run, tmp_path):
    job = prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    events = job.train()
    for _ in range(4):
        next(events)
    events.close()
    again = prepare(data, "vae", out=tmp_path / "r", latent=3, **SMALL)
    assert again.state.step == 0
    for _ in again.train():
        pass
    again.finish()
    assert same(weights(run.folder), weights(tmp_path / "r"))
    steps = [row["step"] for row in again.store.history() if row["split"] == "train"]
    assert steps == sorted(set(steps))


def test_a_finished_or_foreign_folder_is_refused(data, run, tmp_path):
    with pytest.raises(VariedError, match="finished"):
        prepare(data, "vae", out=run.folder, latent=3, **SMALL)
    with pytest.raises(VariedError, match="another model"):
        prepare(data, "vae", out=run.folder, latent=4, **SMALL)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(VariedError, match="other files"):
        prepare(data, "vae", out=tmp_path / "letters", **SMALL)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"


#: One of each kind in the quick suite; the slow one trains them all.
KINDS = ("vae", "conv-vae", "conditional-vae", "autoencoder", "very-deep-vae", "vq-vae", "rae-l2")
NAMES = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in varied.ZOO]


@pytest.mark.parametrize("model", NAMES)
def test_every_name_of_the_zoo_trains_on_pictures(data, model, tmp_path):
    parts = varied.ZOO[model].parts
    steps = {"steps": 3, "batch_size": 16, "threads": 1, "precision": "float32"}
    plain = not {"architecture", "latent"} & parts.keys() and parts.get("posterior") in (
        None,
        "deterministic",
    )
    run = fit(data, model, out=tmp_path / "r", **steps, **({"latent": 2} if plain else {}))
    found = run.evaluate()
    assert np.isfinite(found.reconstruction.value)
    assert (found.elbo is None) == (parts.get("posterior") == "deterministic")
    assert (run.folder / "manifold.png").is_file() == plain
    assert (run.folder / "traversals.png").is_file() == run.has_euclidean_latent
    assert (run.folder / "report.html").is_file()
    assert run.sample(3).array.shape == (3, 9, 9)


def test_a_conditional_run_makes_what_is_asked_for(tmp_path):
    x = np.random.default_rng(0).integers(0, 90, (200, 9, 9), dtype=np.uint8)
    x[:100, :4] += 150
    x[100:, 5:] += 150
    longer = SMALL | {"steps": 1200, "likelihood": "gaussian", "latent": 1}
    data = (x, ["high"] * 100 + ["low"] * 100)
    run = fit(data, "conditional-vae", out=tmp_path / "r", **longer)
    for name, sign in (("high", 1), ("low", -1)):
        made = run.sample(20, label=name).array.astype(float)
        assert sign * (made[:, :4].mean() - made[:, 5:].mean()) > 20
    with pytest.raises(VariedError, match="did you mean 'high'"):
        run.sample(2, label="hihg")


def test_color_pictures_and_vectors_train_too(tmp_path):
    x, _ = pictures(60, 9, 3)
    small = SMALL | {"steps": 3}
    run = fit(x, "conv-vae", out=tmp_path / "a", latent=2, **(small | {"width": 4}))
    assert run.sample(2).array.shape == (2, 9, 9, 3)
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32) * 100 + 7
    run = fit(vectors, "vae", out=tmp_path / "b", latent=2, **small)
    assert run.sample(3).array.shape == (3, 5)
    assert run.reconstruct(n=2).array[0] == pytest.approx(run.split("test").x[:2], rel=1e-3)


def test_pictures_of_any_numbers_are_looked_at_as_pictures(tmp_path):
    x = np.random.default_rng(0).random((60, 1, 9, 9)).astype(np.float32)
    for name, data in {"unit": x, "real": x * 7 - 3}.items():
        run = fit(data, "vae", out=tmp_path / name, latent=2, **(SMALL | {"steps": 3}))
        made = run.sample(4)
        assert (made.array.shape, made.array.dtype) == ((4, 1, 9, 9), np.float32)
        assert (made.shown.shape, made.shown.dtype, made.kind) == ((4, 9, 9), np.uint8, "image")
        assert (run.folder / "samples.gif").is_file()
        assert (run.folder / "manifold.png").is_file()


def test_an_autoencoder_claims_no_nats_of_kl(data, tmp_path):
    run = fit(data, "autoencoder", out=tmp_path / "r", latent=3, **(SMALL | {"steps": 3}))
    order, rates = run._ranked()
    assert sorted(order) == [0, 1, 2]
    assert np.isnan(rates).all()
    assert atomic_io.read_json(run.folder / "evaluation.json")["elbo"] is None
    assert not (run.folder / "kl.png").exists()


def test_a_collapsed_posterior_is_said_in_a_sentence(data, tmp_path):
    run = fit(data, "beta-vae", beta=1000, out=tmp_path / "r", latent=4, **(SMALL | {"steps": 200}))
    [warning] = run.evaluate().warnings
    assert "collapsed" in warning
    assert "--free-bits" in warning
    assert "collapsed" in (run.folder / "report.html").read_text()


def test_wrong_choices_get_a_sentence(data, tmp_path):
    cases = {
        "did you mean 'latent'": {"lattent": 8},
        "There is no model 'bta-vae': did you mean 'beta-vae'": {"model": "bta-vae"},
        "There is no net 'cnv'": {"net": "cnv"},
        "use posterior='gaussian'": {"posterior": "deterministic"},
        "one of minutes, epochs and steps": {"minutes": 1, "epochs": 2},
        "latent='many' must be an integer": {"latent": "many"},
        "binarize": {"likelihood": "bernoulli", "binarize": "none"},
    }
    for sentence, choices in cases.items():
        with pytest.raises(VariedError, match=sentence):
            prepare(data, **({"out": tmp_path / "r"} | choices))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("model", "waits"), [("vae", True), ("categorical-vae", False)])
def test_the_kl_of_choices_is_there_from_the_first_step(data, model, waits, tmp_path):
    """A choice that is free at first settles on one class for all data, and stays there."""
    job = prepare(data, model, out=tmp_path / "r", **(SMALL | {"steps": 10}))
    assert ("beta" in job.spec.objective.settings) == waits
    assert any("rises from 0 to 1" in sentence for sentence in job.sentences) == waits


@pytest.mark.parametrize(
    ("model", "asked", "chosen"),
    [
        ("m2", {}, ("conv", 1.0)),
        ("m1m2", {}, ("conv", 1.0)),
        ("m1m2-stop-gradient", {}, ("conv", 1.0)),
        ("m1m2-skip", {}, ("conv", 1.0)),
        ("m2", {"augment": 0.0}, ("conv", 0.0)),
        ("m2", {"architecture.classifier": "mlp"}, ("mlp", 1.0)),
        ("m1m2", {"classifier": "codes"}, ("codes", None)),
        ("m1m2-stop-gradient", {"upper_latent": 0, "generative_weight": 0.0}, (None, None)),
        ("m1", {}, (None, None)),
        ("vae", {}, (None, None)),
    ],
)
def test_the_classifier_of_pictures_sees_them_moved(model, asked, chosen, data, tmp_path):
    job = prepare(data, model, out=tmp_path / "r", **SMALL, **asked)
    structure = job.spec.architecture.settings
    assert (structure.get("classifier"), structure.get("augment")) == chosen
    said = any("sees pictures moved" in sentence for sentence in job.sentences)
    assert said == (chosen == ("conv", 1.0))


@pytest.mark.parametrize(
    ("net", "count", "batch"), [("conv", 500, 32), ("conv", 10_000, 128), ("mlp", 500, 128)]
)
def test_few_pictures_come_in_small_batches(net, count, batch):
    rows = varied.read(np.random.default_rng(0).integers(0, 256, (count, 8, 8), np.uint8))
    assert resolve(rows, "vae", {"net": net}).spec.plan.batch_size == batch
    assert resolve(rows, "vae", {"net": net, "batch_size": 64}).spec.plan.batch_size == 64


@pytest.mark.parametrize("model", ["m2", "m1m2"])
def test_a_model_of_classes_refuses_labels_that_are_numbers(model, tmp_path):
    x, _ = pictures()
    ages = np.random.default_rng(0).random((len(x), 2))
    with pytest.raises(VariedError, match="learns classes, and the labels of these data are num"):
        prepare((x, ages), model, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("model", "few", "sentence"),
    [("vae", 9, "hides labels, and this model reads none"), ("m2", 1, "fewer than the 2 classes")],
)
def test_few_labels_are_refused_before_a_run_begins(data, model, few, sentence, tmp_path):
    with pytest.raises(VariedError, match=sentence):
        prepare(data, model, n_labels=few, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_runs_are_listed_oldest_first(data, tmp_path):
    for name in ("b", "a"):
        fit(data, "vae", out=tmp_path / name, latent=2, **(SMALL | {"steps": 1}))
        time.sleep(0.02)
    assert [path.name for path in list_runs(tmp_path)] == ["b", "a"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = atomic_io.atomic_write(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VariedError, match="No space left"):
        atomic_io.atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_numbers_that_are_not_finite_do_not_reach_json(tmp_path):
    path = atomic_io.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.5]}


def test_damaged_tensors_are_noticed(tmp_path):
    path = write_tensors(tmp_path / "a.safetensors", {"w": torch.arange(100.0)}, n=1)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(VariedError):
            read_tensors(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(VariedError, match="damaged"):
        read_tensors(path)
    with pytest.raises(VariedError, match="missing"):
        read_tensors(tmp_path / "none")


def test_a_model_with_a_critic_is_delivered_at_most_half_as_bad_again_as_its_best(data, tmp_path):
    small = {
        "steps": 4,
        "batch_size": 16,
        "threads": 1,
        "precision": "float32",
        "latent": 2,
        "width": 8,
    }
    job = prepare(data, "patchgan-vae", out=tmp_path / "r", disc_depth=1, **small)
    watch = RunMonitor(job)
    errors = (1.0, 1.4, 1.6, 0.5, 0.7, 0.8)
    kept = [watch._worth_keeping({"loss": 9.0, "squared_error": error}) for error in errors]
    assert kept == [True, True, False, True, True, False]
    for _ in job.train():
        pass
    rows = [row for row in job.store.history() if row["split"] == "validation"]
    assert all(row["squared_error"] > 0 for row in rows)
    assert RunMonitor(job).lowest == min(row["squared_error"] for row in rows)


def test_a_run_that_saw_few_rows_says_so(data, tmp_path, run):
    short = fit(data, "vae", out=tmp_path / "short", latent=3, **SMALL | {"steps": 2})
    page = (short.folder / "report.html").read_text("utf-8")
    assert "saw 40% of the training rows" in page
    assert "of the training rows" not in (run.folder / "report.html").read_text("utf-8")


def test_a_model_of_classes_takes_pictures_of_others_for_what_they_look_like(data, tmp_path):
    x, _ = pictures(4)
    run = fit(data, "m2", out=tmp_path / "r", latent=2, n_labels=8, **(SMALL | {"steps": 2}))
    made = run.sample(2, around=(x, ["cat", "dog", "cat", "dog"]))
    assert made.array.shape[:2] == (4, 3)
