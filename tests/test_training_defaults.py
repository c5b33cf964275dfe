"""Tests of defaults that suit the data, and of choices rejected before a folder is created."""

import numpy as np
import pandas as pd
import pytest
from bar_images import SMALL, bar_images, save_bar_images
from quick_training import train_to_end

import varied
from varied.composition import compose
from varied.errors import VariedError
from varied.spec import Spec
from varied.training import prepare
from varied.training.defaults import resolve


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return save_bar_images(tmp_path_factory.mktemp("data") / "bars.npz")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"lattent": 8}, "did you mean 'latent'"),
        ({"model": "bta-vae"}, "There is no model 'bta-vae': did you mean 'beta-vae'"),
        ({"net": "cnv"}, "There is no net 'cnv'"),
        ({"posterior": "deterministic"}, "use posterior='gaussian'"),
        ({"steps": 1, "epochs": 2}, "one of epochs and steps"),
        ({"latent": "many"}, "latent='many' must be an integer"),
        ({"likelihood": "bernoulli", "binarize": "none"}, "binarize"),
    ],
)
def test_wrong_choices_are_refused(data, choices, message, tmp_path):
    with pytest.raises(VariedError, match=message):
        prepare(data, out=tmp_path / "run", **choices)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("model", "anneals"), [("vae", True), ("categorical-vae", False)])
def test_the_kl_of_categorical_variables_is_not_annealed(data, model, anneals, tmp_path):
    """Without a KL, their posterior would soon assign all data to the same class."""
    job = prepare(data, model, out=tmp_path / "run", **(SMALL | {"steps": 10}))
    assert ("beta" in job.spec.objective.settings) == anneals
    assert any("rises from 0 to 1" in sentence for sentence in job.sentences) == anneals


@pytest.mark.parametrize(
    ("model", "choices", "expected"),
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
def test_classifiers_of_images_are_convolutional_and_trained_on_augmented_images(
    model, choices, expected, data, tmp_path
):
    job = prepare(data, model, out=tmp_path / "run", **SMALL, **choices)
    settings = job.spec.architecture.settings
    assert (settings.get("classifier"), settings.get("augment")) == expected
    is_explained = any("randomly transformed images" in sentence for sentence in job.sentences)
    assert is_explained == (expected == ("conv", 1.0))


@pytest.mark.parametrize(
    ("shape", "choices", "max_shift"),
    [
        ((500, 28, 28), {}, 2),
        ((500, 64, 48, 3), {}, 3),
        ((500, 8, 8), {}, 0),
        ((20_000, 16, 16), {}, 0),
        ((500, 28, 28), {"max_shift": 0}, 0),
        ((500, 28, 28), {"max_shift": 1}, 1),
        ((500, 28, 28), {"net": {"name": "mlp", "depth": 0}}, 0),
        ((500, 12), {}, 0),
    ],
)
def test_few_images_are_shifted(shape, choices, max_shift):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape, np.uint8) if len(shape) > 2 else rng.normal(size=shape)
    config = resolve(varied.read(x), "vae", choices)
    assert config.spec.plan.max_shift == max_shift
    is_said = any("shifted at random" in sentence for sentence in config.sentences)
    assert is_said == (max_shift > 0 and not choices)


def test_rows_of_tables_are_not_shifted():
    table = varied.read(np.random.default_rng(0).normal(size=(500, 12)))
    with pytest.raises(VariedError, match="max_shift=1 shifts images"):
        resolve(table, "vae", {"max_shift": 1})


@pytest.mark.parametrize(
    ("net", "n", "batch_size"), [("conv", 500, 32), ("conv", 10_000, 64), ("mlp", 500, 128)]
)
def test_networks_of_few_images_are_trained_with_small_batches(net, n, batch_size):
    data = varied.read(np.random.default_rng(0).integers(0, 256, (n, 8, 8), np.uint8))
    assert resolve(data, "vae", {"net": net}).spec.plan.batch_size == batch_size
    assert resolve(data, "vae", {"net": net, "batch_size": 64}).spec.plan.batch_size == 64


@pytest.mark.parametrize(
    ("model", "lr"),
    [("conv-vae", 3e-3), ("vq-vae", 1e-3), ("vae-gan", 1e-3), ("very-deep-vae", 1e-3)],
)
def test_the_learning_rate_of_convolutional_networks_depends_on_the_model(data, model, lr):
    assert resolve(varied.read(data), model, {}).spec.plan.lr == lr


@pytest.mark.parametrize(
    ("model", "n", "side", "levels", "net"),
    [
        ("vae", 500, 16, 256, "conv"),
        ("beta-vae", 40_000, 16, 256, "conv"),
        ("vae", 39_999, 16, 2, "conv"),
        ("vae", 40_000, 16, 2, "mlp"),
        ("vae", 500, 15, 256, "mlp"),
        ("mlp-vae", 500, 16, 256, "mlp"),
        ("ladder-vae", 500, 16, 256, "mlp"),
        ("aae", 500, 16, 256, "mlp"),
    ],
)
def test_the_network_of_small_images_depends_on_their_levels_and_number(
    model, n, side, levels, net
):
    rng = np.random.default_rng(0)
    x = rng.integers(0, levels, (n, side, side)) * (255 // (levels - 1))
    assert resolve(varied.read(x.astype(np.uint8)), model, {}).spec.net.name == net


@pytest.mark.slow
def test_convolutional_networks_are_better_on_digits_after_few_steps(tmp_path):
    digits = varied.read("mnist").x[:6000]
    options = {"steps": 250, "threads": 1, "precision": "float32"}
    conv, mlp = (
        train_to_end(prepare(digits, net=net, out=tmp_path / net, **options)).evaluate().elbo.value
        for net in ("conv", "mlp")
    )
    assert conv > mlp + 10
    assert conv > -170


@pytest.mark.parametrize(
    ("n", "epochs"), [(12, 200), (9_000, 200), (50_000, 49), (400_000, 20), (700_000, 0)]
)
def test_the_length_of_a_training_on_a_table_depends_on_the_number_of_rows(n, epochs, tmp_path):
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=n).astype("f4")})
    job = prepare(frame, out=tmp_path / "run")
    plan = job.spec.plan
    assert (plan.epochs, plan.minutes) == ((epochs, 0.0) if epochs else (200.0, 10.0))
    [sentence] = [sentence for sentence in job.sentences if sentence.startswith("Trains for")]
    assert ("since more epochs would" in sentence) == (epochs == 200)
    plan = prepare(frame, out=tmp_path / "minutes", minutes=2).spec.plan
    assert (plan.epochs, plan.minutes) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("n", "epochs"), [(30, 1000), (1_000, 715), (1_600, 417), (6_000, 218), (30_000, 200)]
)
def test_the_length_of_a_training_on_images_is_limited_by_minutes_and_epochs(n, epochs):
    data = varied.read(np.random.default_rng(0).integers(0, 256, (n, 4, 4), np.uint8))
    config = resolve(data, "vae", {})
    assert (config.spec.plan.minutes, config.spec.plan.epochs) == (10, epochs)
    assert f"at most {epochs:,} epochs; use" in " ".join(config.sentences)
    plan = resolve(data, "vae", {"minutes": 2}).spec.plan
    assert (plan.minutes, plan.epochs) == (2, 0)


@pytest.mark.parametrize(
    ("choices", "patience"),
    [
        ({}, 20),
        ({"minutes": 2}, 20),
        ({"epochs": 2}, 0),
        ({"steps": 2}, 0),
        ({"epochs": 2, "minutes": 2}, 0),
        ({"steps": 2, "patience": 3}, 3),
        ({"minutes": 2, "patience": 0}, 0),
    ],
)
def test_training_is_stopped_early_unless_the_user_chooses_its_length(
    choices, patience, data, tmp_path
):
    job = prepare(data, out=tmp_path / "run", **choices)
    assert job.spec.plan.patience == patience
    assert any("stopped early after" in text for text in job.sentences) == (patience > 0)


def test_the_length_and_the_patience_of_a_spec_are_used(data, tmp_path):
    spec = Spec.parse(plan={"epochs": 7, "patience": 2})
    plan = prepare(data, spec, out=tmp_path / "run").spec.plan
    assert (plan.epochs, plan.minutes, plan.patience) == (7, 0, 2)
    assert prepare(data, Spec(), out=tmp_path / "other").spec.plan.patience == 20


@pytest.mark.parametrize(
    ("choices", "beta"),
    [
        ({}, "linear(start=0, end=1, steps=0.2, max_steps=500)"),
        ({"minutes": 1}, "linear(start=0, end=1, steps=0.2, max_steps=500)"),
        ({"epochs": 900}, "linear(start=0, end=1, steps=0.2, max_steps=500)"),
        ({"epochs": 800}, "linear(start=0, end=1, steps=0.2)"),
        ({"steps": 2501}, "linear(start=0, end=1, steps=0.2, max_steps=500)"),
        ({"steps": 5000, "batch_size": 5}, "linear(start=0, end=1, steps=0.2)"),
        ({"steps": 10**5, "batch_size": 5}, "linear(start=0, end=1, steps=0.2, max_steps=1600)"),
    ],
)
def test_the_kl_is_annealed_during_a_limited_number_of_steps(choices, beta):
    data = varied.read(np.random.default_rng(0).integers(0, 256, (400, 4, 4), np.uint8))
    config = resolve(data, "vae", choices)
    assert config.spec.objective.settings["beta"] == beta
    [sentence] = [text for text in config.sentences if text.startswith("beta rises")]
    assert ("at most" in sentence) == ("max_steps" in beta)


@pytest.mark.parametrize(
    ("choices", "prior"),
    [
        ({}, "conditional-normal"),
        ({"prior": "vamp"}, "vamp"),
        ({"architecture": "ladder"}, "standard-normal"),
    ],
)
def test_the_prior_of_a_conditional_vae_reads_the_context_unless_another_one_is_chosen(
    choices, prior
):
    spec = resolve(varied.read(bar_images()), "conditional-vae", choices).spec
    assert spec.prior.name == prior
    compose(spec, (1, 9, 9))


@pytest.mark.parametrize("model", ["m2", "m1m2"])
def test_models_with_inferred_classes_refuse_numeric_labels(model, tmp_path):
    x, _ = bar_images()
    ages = np.random.default_rng(0).random((len(x), 2))
    with pytest.raises(VariedError, match="learns classes, but these labels are numbers"):
        prepare((x, ages), model, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("m2", {}, "learns classes, but these labels are several covariates; provide one"),
        ("conditional-vae", {"n_labels": 5}, "has several covariates; provide one class"),
    ],
)
def test_several_covariates_are_refused(model, options, message, tmp_path):
    frame = pd.DataFrame({"a": range(60), "b": ["x", "y"] * 30, "c": [1, 2, 3] * 20})
    with pytest.raises(VariedError, match=message):
        prepare(frame, model, labels=["b", "c"], out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "n_labels", "message"),
    [
        ("vae", 9, "hides labels, but this model does not use labels"),
        ("m2", 1, r"at least the number of classes \(2\)"),
    ],
)
def test_wrong_numbers_of_labels_are_refused(data, model, n_labels, message, tmp_path):
    with pytest.raises(VariedError, match=message):
        prepare(data, model, n_labels=n_labels, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
