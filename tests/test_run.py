"""Tests of runs of images and arrays: folders, reopened runs, results and warnings."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from bar_images import SMALL, bar_images, save_bar_images
from PIL import Image
from quick_training import train_quickly, train_to_end

import varied
from varied import atomic_io
from varied.errors import VariedError
from varied.runs import Run
from varied.runs.traversal import rank_units
from varied.training.update import prepare_update

FILES = [
    *("spec.toml", "codec.json", "data.json", "split.safetensors", "metrics.jsonl"),
    *("model.safetensors", "evaluation.json", "loss.png", "samples.png", "reconstructions.png"),
    *("kl.png", "latent.png", "traversals.png", "interpolation.png", "latent.gif", "samples.gif"),
    *("report.html", "README.md"),
]
THREE_STEPS = SMALL | {"steps": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_bar_images(tmp_path_factory.mktemp("data") / "bars.npz")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return varied.train(data, out=tmp_path_factory.mktemp("runs") / "bars", latent=3, **SMALL)


def read_files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The folder


def test_the_folder_contains_all_files(run):
    assert [name for name in FILES if not (run.folder / name).is_file()] == []


def test_no_file_is_a_pickle(run):
    for content in read_files(run.folder).values():
        assert content[:2] not in (b"\x80\x04", b"\x80\x05", b"PK")


def test_a_reopened_run_has_the_same_metrics(run):
    stored = atomic_io.read_json(run.folder / "evaluation.json")
    evaluated = Run(run.folder).evaluate()
    evaluation = evaluated.to_json()
    assert float(evaluated.elbo) == evaluation["elbo"]
    assert f"{evaluated.elbo:.2f}" == f"{evaluation['elbo']:.2f}"
    assert evaluation["elbo"] == pytest.approx(stored["elbo"], rel=1e-6)
    assert evaluation["elbo"] == pytest.approx(
        -evaluation["reconstruction"] - evaluation["kl"], rel=1e-6
    )
    assert {"elbo_error", "reconstruction_error", "kl_error", "active_units_error"} <= set(
        evaluation
    )
    assert evaluation["n"] == 20


@pytest.mark.parametrize("is_read_before", [False, True])
@pytest.mark.parametrize("labels", ["{group}_{index}", np.array(["a", "b"] * 20)])
def test_a_reopened_run_reads_its_labels_again(labels, is_read_before, tmp_path):
    for i, image in enumerate(np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8)):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / f"{'ab'[i % 2]}_{i:02d}.png")
    source, choices = tmp_path / "images", THREE_STEPS | {"labels": labels}
    if not isinstance(labels, str):
        np.save(tmp_path / "images.npy", varied.read(source).x)
        source = tmp_path / "images.npy"
    if is_read_before:
        source = varied.read(source, labels=choices.pop("labels"))
    run = train_quickly(source, "conditional-vae", out=tmp_path / "run", **choices)
    reopened = Run(run.folder).data
    assert reopened.labels.tolist() == run.data.labels.tolist()
    assert len(set(reopened.labels.tolist())) == 2


def test_using_a_run_changes_neither_its_files_nor_the_random_state(run):
    before, state = read_files(run.folder), torch.get_rng_state()
    run.evaluate(samples=3)
    run.sample(4)
    run.reconstruct(n=3)
    run.interpolate(n=2)
    run.traverse()
    run.encode()
    assert torch.equal(state, torch.get_rng_state())
    assert before == read_files(run.folder)


def test_a_changed_source_is_detected(tmp_path):
    source = save_bar_images(tmp_path / "bars.npz")
    run = train_quickly(source, out=tmp_path / "run", latent=2, **(SMALL | {"steps": 2}))
    save_bar_images(source, seed=1)
    with pytest.raises(VariedError, match="has changed since"):
        Run(run.folder).evaluate()


def test_data_in_memory_are_passed_again_in_any_form(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    run = train_quickly(x, out=tmp_path / "run", latent=2, **(SMALL | {"steps": 2}))
    with pytest.raises(VariedError, match="pass them again"):
        Run(run.folder).evaluate()
    assert Run(run.folder, x).evaluate() == run.evaluate()
    with pytest.raises(VariedError, match="The table or array has changed"):
        Run(run.folder, x + 1).evaluate()


@pytest.mark.parametrize("is_update", [False, True])
def test_data_in_memory_are_passed_again_without_the_names_of_their_labels(is_update, tmp_path):
    size = np.random.default_rng(0).normal(size=60)
    frame = pd.DataFrame({"size": size, "kind": ["a", "b"] * 30})
    run = train_quickly(frame, "conditional-vae", labels="kind", out=tmp_path / "run", steps=2)
    if is_update:
        frame = frame.assign(size=frame["size"] + 1)
        run = train_to_end(prepare_update(run, frame, out=tmp_path / "update", steps=2))
    assert Run(run.folder, frame).data.covariates.keys() == {"kind"}
    assert Run(run.folder, frame).evaluate() == run.evaluate()


@pytest.mark.parametrize("is_update", [False, True])
def test_labels_of_rows_in_memory_are_passed_again_with_the_rows(is_update, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    labels = np.array(["a", "b"] * 30)
    run = train_quickly(x, "conditional-vae", labels=labels, out=tmp_path / "run", steps=2)
    if is_update:
        job = prepare_update(run, x, labels=labels, out=tmp_path / "update", steps=2)
        run = train_to_end(job)
    assert Run(run.folder, (x, labels)).evaluate() == run.evaluate()


def test_a_copy_is_a_run_and_replaces_nothing(run, tmp_path):
    copy = Run(run.save(tmp_path / "copy"))
    assert np.array_equal(copy.sample(3).array, run.sample(3).array)
    with pytest.raises(VariedError, match="already exists"):
        run.save(tmp_path / "copy")


def test_unknown_splits_and_folders_without_a_run_are_refused(run, tmp_path):
    with pytest.raises(VariedError, match="did you mean 'train'"):
        run.split("trian")
    with pytest.raises(VariedError, match="does not contain a run"):
        Run(tmp_path)


def test_runs_are_listed_oldest_first(data, tmp_path):
    for name in ("b", "a"):
        varied.train(data, out=tmp_path / name, latent=2, **(SMALL | {"steps": 1}))
        time.sleep(0.02)
    assert [path.name for path in varied.list_runs(tmp_path)] == ["b", "a"]


# Results


def test_samples_depend_only_on_the_seed(run):
    assert np.array_equal(run.sample(5, seed=3).array, run.sample(5, seed=3).array)
    assert not np.array_equal(run.sample(5, seed=3).array, run.sample(5, seed=4).array)


def test_results_are_images_of_the_original_size(run):
    samples = run.sample(5)
    assert (samples.array.shape, samples.array.dtype) == ((5, 9, 9), np.uint8)
    assert run.reconstruct(n=4).array.shape == (2, 4, 9, 9)
    assert run.interpolate(n=2, steps=5).array.shape == (2, 5, 9, 9)
    assert run.traverse(dimensions=2, steps=7).array.shape == (2, 7, 9, 9)
    assert run.encode().mean.shape == (20, 3)


def test_a_result_is_saved_by_the_ending_of_the_file(run, tmp_path):
    samples = run.sample(3)
    assert samples.save(tmp_path / "samples.png").stat().st_size > 100
    assert len(list(samples.save(tmp_path / "folder").iterdir())) == 3
    assert np.array_equal(np.load(samples.save(tmp_path / "samples.npy")), samples.array)
    with pytest.raises(VariedError, match=r"supported file extension; use \.npy or \.png"):
        samples.save(tmp_path / "samples.xyz")


def test_only_paths_are_animated(run, tmp_path):
    path = run.interpolate(n=2, steps=4).save(tmp_path / "path.gif")
    assert Image.open(path).n_frames > 1
    with pytest.raises(VariedError, match=r"supported file extension; use \.npy or \.png"):
        run.sample(3).save(tmp_path / "samples.gif")


def test_notebooks_show_results_and_runs_as_images(run):
    samples = run.sample(3)
    assert repr(samples) == "Result(3 images)"
    assert samples._repr_png_().startswith(b"\x89PNG")
    assert '<img src="data:image/png;base64,' in samples._repr_html_()
    assert '<img src="data:image/png;base64,' in run._repr_html_()
    assert "Result(3 images)" in samples._repr_html_()


def test_paths_end_at_reconstructions(run):
    path = run.interpolate(n=2, steps=4).array.astype(int)
    reconstructions = run.reconstruct(n=4).array[1]
    assert np.abs(path[:, 0] - reconstructions[:2]).max() <= 1
    assert np.abs(path[:, -1] - reconstructions[2:]).max() <= 1


def test_reconstruction_and_kl_are_logged_separately(run):
    rows = run.store.history()
    assert {row["split"] for row in rows} == {"train", "validation"}
    for row in rows:
        if row["split"] == "validation":
            assert row["loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-4)
    betas = [row["beta"] for row in rows if row["split"] == "train"]
    assert betas[0] < 1
    assert betas[-1] == 1


def test_a_fitted_prior_is_replaced_by_the_original_one(run, tmp_path):
    copy = Run(run.save(tmp_path / "copy"))
    original = copy.sample(5).array
    copy.fit_prior("gmm")
    fitted = copy.sample(5).array
    assert not np.array_equal(fitted, original)
    assert np.array_equal(Run(copy.folder).sample(5).array, fitted)
    copy.reset_prior()
    assert np.array_equal(copy.sample(5).array, original)
    assert np.array_equal(Run(copy.folder).sample(5).array, original)


@pytest.mark.parametrize("around", [None, np.zeros((2, 9, 9), np.uint8)])
def test_the_number_of_samples_is_positive(run, around):
    with pytest.raises(VariedError, match="n=0 must be at least 1"):
        run.sample(0, around=around)


# Models and kinds of data

#: The models that the quick tests train; the slow tests train the others.
QUICK_MODELS = {
    *("vae", "conv-vae", "conditional-vae", "autoencoder", "very-deep-vae", "vq-vae", "rae-l2"),
}
MODELS = [
    pytest.param(name, marks=() if name in QUICK_MODELS else pytest.mark.slow)
    for name in varied.ZOO
]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_of_the_zoo_trains_on_images(data, model, tmp_path):
    parts = varied.ZOO[model].parts
    posterior = parts.get("posterior")
    has_plane = not {"architecture", "latent"} & parts.keys()
    has_plane = has_plane and posterior in (None, "deterministic")
    plan = {"steps": 3, "batch_size": 16, "threads": 1, "precision": "float32"}
    run = varied.train(
        data, model, out=tmp_path / "run", **plan, **({"latent": 2} if has_plane else {})
    )
    evaluation = run.evaluate()
    assert np.isfinite(evaluation.reconstruction.value)
    assert (evaluation.elbo is None) == (posterior == "deterministic")
    assert (run.folder / "manifold.png").is_file() == has_plane
    assert (run.folder / "traversals.png").is_file() == run.has_euclidean_latent
    assert (run.folder / "report.html").is_file()
    assert run.sample(3).array.shape == (3, 9, 9)


def test_a_conditional_run_samples_the_given_class(tmp_path):
    x = np.random.default_rng(0).integers(0, 90, (200, 9, 9), dtype=np.uint8)
    x[:100, :4] += 150
    x[100:, 5:] += 150
    options = SMALL | {"steps": 500, "likelihood": "gaussian", "latent": 1}
    data = (x, ["high"] * 100 + ["low"] * 100)
    run = train_quickly(data, "conditional-vae", out=tmp_path / "run", **options)
    for name, sign in (("high", 1), ("low", -1)):
        samples = run.sample(20, label=name).array.astype(float)
        assert sign * (samples[:, :4].mean() - samples[:, 5:].mean()) > 20
    with pytest.raises(VariedError, match="did you mean 'high'"):
        run.sample(2, label="hihg")


def test_color_images(tmp_path):
    x, _ = bar_images(60, 9, 3)
    options = THREE_STEPS | {"width": 4, "latent": 2}
    run = varied.train(x, "conv-vae", out=tmp_path / "run", **options)
    assert run.sample(2).array.shape == (2, 9, 9, 3)


@pytest.mark.figures
def test_arrays_keep_their_units(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32) * 100 + 7
    run = varied.train(vectors, out=tmp_path / "run", latent=2, **THREE_STEPS)
    samples = run.sample(3)
    assert samples.array.shape == (3, 5)
    assert run.reconstruct(n=2).array[0] == pytest.approx(run.split("test").x[:2], rel=1e-3)
    assert len(samples.save(tmp_path / "samples.csv").read_text().splitlines()) == 3
    for result in (samples, run.interpolate(n=2), run.traverse(), run.reconstruct(n=2)):
        assert result.save(tmp_path / "plot.png").stat().st_size > 1000


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (7, -3)])
def test_arrays_of_image_shape_are_plotted_as_images(scale, shift, tmp_path):
    x = np.random.default_rng(0).random((60, 1, 9, 9)).astype(np.float32) * scale + shift
    run = varied.train(x, out=tmp_path / "run", latent=2, **THREE_STEPS)
    samples = run.sample(4)
    assert (samples.array.shape, samples.array.dtype) == ((4, 1, 9, 9), np.float32)
    assert (samples.images.shape, samples.images.dtype) == ((4, 9, 9), np.uint8)
    assert samples.codec.kind == "array"
    assert (run.folder / "samples.gif").is_file()
    assert (run.folder / "manifold.png").is_file()


def test_an_autoencoder_has_no_kl(data, tmp_path):
    run = varied.train(data, "autoencoder", out=tmp_path / "run", latent=3, **THREE_STEPS)
    units, kl = rank_units(run)
    assert sorted(units) == [0, 1, 2]
    assert np.isnan(kl).all()
    assert atomic_io.read_json(run.folder / "evaluation.json")["elbo"] is None
    assert not (run.folder / "kl.png").exists()


def test_variations_of_labeled_data_with_other_classes(data, tmp_path):
    """A model with inferred classes does not use the labels of other data."""
    x, _ = bar_images(4)
    run = train_quickly(
        data, "m2", out=tmp_path / "run", latent=2, n_labels=8, **(SMALL | {"steps": 2})
    )
    variations = run.sample(2, around=(x, ["cat", "dog", "cat", "dog"]))
    assert variations.array.shape[:2] == (4, 3)


# Warnings


def test_a_collapsed_posterior_is_a_warning(data, tmp_path):
    options = SMALL | {"steps": 200, "latent": 4, "beta": 1000}
    run = varied.train(data, "beta-vae", out=tmp_path / "run", **options)
    [warning] = run.evaluate().warnings
    assert "collapsed" in warning
    assert "--free-bits" in warning
    assert "collapsed" in (run.folder / "report.html").read_text()


def test_a_short_training_is_a_warning(data, run, tmp_path):
    short = varied.train(data, out=tmp_path / "short", latent=3, **(SMALL | {"steps": 2}))
    report = (short.folder / "report.html").read_text("utf-8")
    assert "trained on only 40% of the training rows" in report
    assert "of the training rows" not in (run.folder / "report.html").read_text("utf-8")
