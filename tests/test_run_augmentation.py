"""Tests of generated labeled examples, variations of examples, and class probabilities."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly
from typer.testing import CliRunner

from varied import functional
from varied.cli import app
from varied.data import read
from varied.errors import VariedError
from varied.evaluate.suites.classification import tstr_suite
from varied.evaluate.suites.context import EvalContext
from varied.functional import augment as functional_augment
from varied.runs import Run
from varied.runs.classification import calibrate_temperature
from varied.runs.evaluation import classification_error


def bars(n=240):
    """Return images of a wide bar, of which one in four is vertical, and their labels."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 30, (n, 8, 8)).astype(np.uint8)
    for i, image in enumerate(x):
        width, gray = rng.integers(1, 4), rng.integers(150, 250)
        (image if i % 4 else image.T)[3 : 3 + width] = gray
    return x, ["horizontal" if i % 4 else "vertical" for i in range(n)]


def is_vertical(images):
    x = images.astype(float)
    return x.mean(1).std(1) > x.mean(2).std(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def conditional(folder):
    x, y = bars()
    np.savez(folder / "bars.npz", x=x, y=np.array(y))  # commands read the data again
    path = str(folder / "bars.npz")
    return train_quickly(path, "conditional-vae", out=folder / "conditional", latent=4)


@pytest.fixture(scope="module")
def m2(folder):
    return train_quickly(bars(), "m2", out=folder / "m2", latent=2, n_labels=20, steps=300)


@pytest.fixture(scope="module")
def unconditional(folder):
    x = np.random.default_rng(0).normal(size=(120, 4))
    return train_quickly(x, out=folder / "unconditional", steps=20)


# Images


@pytest.mark.parametrize("name", ["conditional", "m2"])
@pytest.mark.slow
def test_generated_images_are_of_their_class(name, request):
    generated = request.getfixturevalue(name).augment(40)
    is_right = is_vertical(generated.data.x) == (np.array(generated.names) == "vertical")
    assert len(generated) == 80
    assert is_right.mean() > 0.85
    assert repr(generated) == "AugmentedData(80 images of 2 classes)"


def test_classes_are_filled_up_to_the_largest_in_the_training_rows(conditional):
    counts = np.bincount(conditional.split("train").labels)
    generated = conditional.augment(balance=True)
    totals = counts + np.bincount(generated.data.labels, minlength=2)
    assert totals[0] == totals[1] == counts.max()


def test_hidden_labels_stay_hidden(m2):
    generated = m2.augment(15, balance=True)
    assert np.bincount(generated.data.labels).tolist() == [5, 5]  # each class has ten labels
    assert (generated.real.labels >= 0).sum() == 20


def test_test_rows_do_not_influence_generated_examples(conditional):
    data = conditional.data
    x, labels = data.x.copy(), data.labels.copy()
    rows = conditional.store.read_split().test
    x[rows], labels[rows] = 255 - x[rows], 1 - labels[rows]
    other = Run(conditional.folder, data.replace(x=x, labels=labels))
    for options in ({"per_class": 9}, {"balance": True}):
        a, b = conditional.augment(**options), other.augment(**options)
        assert np.array_equal(a.data.x, b.data.x)
        assert np.array_equal(a.data.labels, b.data.labels)
    generated = other.augment(9)
    training = set(map(bytes, conditional.split("train").x))
    assert all(bytes(image) in training for image in generated.real.x)
    assert not any(bytes(image) in training for image in generated.test.x)


def test_generated_examples_depend_only_on_the_seed(conditional):
    a, b, c = (conditional.augment(8, seed=seed).data.x for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert len(np.unique(a, axis=0)) == len(a)


def test_saved_examples_are_read_with_their_labels(conditional, tmp_path):
    generated = conditional.augment(6)
    for path in (tmp_path / "folder", tmp_path / "generated.npz"):
        data = read(str(generated.save(path)))
        order = np.argsort([bytes(image) for image in data.x])
        own = np.argsort([bytes(image) for image in generated.data.x])
        names = [data.classes[data.labels[i]] for i in order]
        assert names == [generated.names[i] for i in own]
        assert np.array_equal(data.x[order], generated.data.x[own])
    renamed = dataclasses.replace(generated, data=generated.data.replace(classes=("a/b", "a:b")))
    for result, name, message in (
        (generated, "folder", "already exists"),
        (renamed, "renamed", "same folder name"),
        (generated, "generated.csv", r"use \.npz"),
    ):
        with pytest.raises(VariedError, match=message):
            result.save(tmp_path / name)


def test_gains_compare_real_plain_and_generated_data(conditional, monkeypatch):
    monkeypatch.setattr(functional_augment, "STEPS", 60)
    gains = conditional.augment(30).gains(seeds=2)
    assert [gain.training_data for gain in gains] == ["real", "real + plain", "real + generated"]
    assert [gain.rows - gains[0].rows for gain in gains] == [0, 60, 60]
    assert all(gain.accuracy.value > 0.9 for gain in gains)


def test_variations_follow_their_example(conditional, tmp_path):
    data = conditional.split("test").take([0, 1, 2])
    variations = conditional.sample(4, around=data)
    assert variations.array.shape == (3, 5, 8, 8)
    assert np.array_equal(variations.array[:, 0], data.x)
    assert conditional.sample(around=data).array.shape[1] == 10
    assert variations.save(tmp_path / "variations.png").stat().st_size > 500
    unlabeled = data.replace(labels=None)
    with pytest.raises(VariedError, match="labels"):
        conditional.sample(around=unlabeled)
    others = conditional.sample(4, around=unlabeled, label="vertical").array[:, 1:]
    assert is_vertical(others.reshape(-1, 8, 8)).mean() > 0.9


# Arrays


def test_arrays_of_a_class(folder, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3)) + np.arange(200)[:, None] % 2 * 8
    labels = np.where(np.arange(200) % 2, "high", "low").tolist()
    run = train_quickly((x, labels), "conditional-vae", out=folder / "arrays", latent=2)
    generated = run.augment(50)
    assert ((generated.data.x.mean(1) > 4) == (np.array(generated.names) == "high")).all()
    assert read(str(generated.save(tmp_path / "generated.npz"))).classes == ("high", "low")
    assert {gain.classifier for gain in generated.gains(seeds=1)} == {"logistic", "forest"}
    assert run.sample(3, around=x[:4], label="low").array.shape == (4, 4, 3)


def test_runs_that_cannot_generate_a_class_are_refused(unconditional, folder):
    with pytest.raises(
        VariedError, match="has no single class label; train a model with model='conditional-vae'"
    ):
        unconditional.augment(5)
    x = np.random.default_rng(0).normal(size=(80, 3))
    numeric = train_quickly((x, x[:, 0]), "conditional-vae", out=folder / "numeric", steps=5)
    with pytest.raises(VariedError, match="has no single class label"):
        numeric.augment(5)
    m1 = train_quickly((x, ["a", "b"] * 40), "m1", out=folder / "m1", steps=5)
    with pytest.raises(VariedError, match="M1 can classify examples but cannot generate"):
        m1.augment(5)


# Tables


def table(n=400):
    rng = np.random.default_rng(0)
    is_tall = rng.random(n) < 0.3
    return pd.DataFrame(
        {
            "height": (160 + 25 * is_tall + rng.normal(0, 3, n)).round(1),
            "kind": np.where(is_tall, "tall", "short"),
            "pets": rng.integers(0, 4, n),
        }
    )


@pytest.fixture(scope="module")
def people(folder):
    options = {"labels": "kind", "steps": 400, "latent": 3}
    return train_quickly(table(), "conditional-vae", out=folder / "people", **options)


def test_generated_rows_contain_their_class(people, tmp_path):
    generated = people.augment(60)
    frame = generated.data.x
    assert list(frame.columns) == ["height", "kind", "pets"]
    assert frame.kind.tolist() == generated.names
    assert ((frame.height > 172) == (frame.kind == "tall")).mean() > 0.95
    data = read(str(generated.save(tmp_path / "generated.csv")), labels="kind")
    assert [data.classes[i] for i in data.labels] == generated.names


def test_rows_that_contradict_their_class_are_generated_again(people, monkeypatch):
    sample_classes, counts = functional.sample_classes, []

    def sample_half_of_them_wrong(model, labels, n_classes, **options):
        counts.append(len(labels))
        is_wrong = (torch.arange(len(labels)) + len(counts)) % 2 == 0
        return sample_classes(
            model, torch.where(is_wrong, 1 - labels, labels), n_classes, **options
        )

    monkeypatch.setattr(functional, "sample_classes", sample_half_of_them_wrong)
    generated = people.augment(20)
    assert generated.data.x.kind.tolist() == generated.names
    assert counts[0] == 40
    assert sorted(counts, reverse=True) == counts

    def sample_one_class(model, labels, n_classes, **options):
        return sample_classes(model, 0 * labels, n_classes, **options)

    monkeypatch.setattr(functional, "sample_classes", sample_one_class)
    with pytest.raises(VariedError, match="have a value in the label column that differs"):
        people.augment(20)


def test_features_of_classifiers_do_not_contain_the_label(people):
    data, codec = people.split("train"), people.codec
    assert data.label_columns == ("kind",)
    duplicated = data.replace(x=data.x.assign(copy=data.x.kind))
    assert duplicated.label_columns == ("kind", "copy")
    stored = codec.encode(data)
    changed = data.x.assign(kind=data.x.kind.map({"tall": "short", "short": "tall"}))
    other = codec.encode(data.replace(x=changed))
    features, other_features = (codec.to_features(rows, ("kind",)) for rows in (stored, other))
    assert not torch.equal(stored, other)
    assert torch.equal(features, other_features)
    assert features.shape[1] < stored.shape[1]


@pytest.mark.slow
def test_tstr_uses_the_class_that_each_row_was_generated_for(people):
    (group,) = tstr_suite(EvalContext(people))
    assert len(group.metrics) >= 2
    assert all(metric.estimate.value > 0.85 for metric in group.metrics)


def test_labels_apart_from_a_table_become_a_column(folder):
    frame, labels = table().drop(columns="kind"), table().kind.tolist()
    run = train_quickly((frame, labels), "conditional-vae", out=folder / "apart", steps=200)
    generated = run.augment(10)
    assert list(generated.data.x.columns) == ["height", "pets", "label"]
    assert generated.data.x.label.tolist() == generated.names


# Labels in a column that the model is not trained on


@pytest.fixture(scope="module")
def random_labels():
    """Return a table whose labels are independent of the other columns."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400), "b": rng.normal(size=400)})
    return frame.assign(kind=pd.Categorical(np.where(rng.random(400) < 0.5, "x", "y")))


@pytest.fixture(scope="module")
def independent(random_labels, folder):
    options = {"labels": "kind", "n_labels": 40, "steps": 100, "latent": 2}
    return train_quickly(random_labels, "m2", out=folder / "independent", **options)


def test_a_model_with_inferred_classes_does_not_receive_the_label(independent):
    assert [column.name for column in independent.codec.learned] == ["a", "b"]
    assert classification_error(independent).value > 0.3


def test_results_contain_the_column_of_the_label(independent, random_labels):
    run = independent
    generated = run.augment(12)
    assert generated.data.x.kind.astype(str).tolist() == generated.names
    assert list(generated.data.x.columns) == ["a", "b", "kind"]
    samples = run.sample(200).frame
    assert samples.kind.dtype == random_labels.kind.dtype
    expected = (run.split("train").x.kind.astype(str) == "x").mean()
    assert abs((samples.kind == "x").mean() - expected) < 0.01
    assert set(run.sample(5, label="y").frame.kind) == {"y"}
    for result in (run.interpolate(n=2, steps=3), run.interpolate(grid=True)):
        assert set(result.frame.kind) <= {"x", "y"}


def test_examples_keep_their_label_and_generated_rows_have_the_most_probable(
    independent, random_labels
):
    run = independent
    rows = random_labels.head(4).assign(kind=["y", "x", None, "unknown"])
    frame = run.sample(20, around=rows).frame
    examples = frame.xs("example", level="draw").kind
    assert examples.isna().tolist() == [False, False, True, True]
    assert examples.tolist()[:2] == ["y", "x"]
    variations = frame[frame.index.get_level_values("draw") != "example"]
    predicted = run.classify(variations.reset_index(drop=True)).argmax(1)
    assert variations.kind.tolist() == [run.context.classes[i] for i in predicted]
    originals = run.reconstruct(n=40).frame.xs("original", level="which")
    assert originals.kind.tolist() == run.split("test").head(40).x.kind.tolist()


def test_a_conditional_run_reads_labels_from_their_column(folder):
    rng = np.random.default_rng(0)
    kind = np.where(rng.random(200) < 0.5, 3.0, 1.0)
    frame = pd.DataFrame({"a": rng.normal(size=200) + 5 * kind, "kind": kind.astype(int)})
    options = {"labels": "kind", "column_types": {"kind": "ignore"}, "steps": 5, "latent": 2}
    run = train_quickly(frame, "conditional-vae", out=folder / "column", **options)
    other = frame.head(6).astype({"kind": float})
    batch = run.encode_data(run.read(other))
    assert batch.c is not None
    assert run.context.decode(batch.c) == [str(int(value)) for value in other.kind]
    variations = run.sample(2, around=other).frame.kind
    assert variations.tolist() == other.kind.repeat(3).astype(int).tolist()
    path = run.interpolate(other, n=3, steps=2).frame.kind
    assert path.tolist() == other.kind[:3].repeat(2).astype(int).tolist()
    given = run.encode_data(
        run.read((other, ["1"] * 6))
    ).c  # labels that are passed replace the column
    assert run.context.decode(given) == ["1"] * 6
    with pytest.raises(VariedError, match="In row 2, 'kind' is '7', which is not a class of this"):
        run.detect(other.assign(kind=[1, 7, 1, 1, 1, 1]))
    with pytest.raises(VariedError, match="labels in a column 'kind'"):
        run.detect(other[["a"]])


@pytest.mark.parametrize("cells", [[3, 7], [True, False], ["a", "b"]])
@pytest.mark.parametrize(
    ("model", "options"), [("m2", {}), ("conditional-vae", {"column_types": {"kind": "ignore"}})]
)
def test_the_column_of_the_label_keeps_its_type(cells, model, options, tmp_path):
    labels = pd.Series(cells * 30)
    frame = pd.DataFrame({"kind": labels, "a": np.random.default_rng(0).normal(size=60)})
    options = options | {"labels": "kind", "steps": 3, "latent": 2}
    run = train_quickly(frame, model, out=tmp_path / "run", **options)
    assert [column.name for column in run.codec.learned] == ["a"]
    samples = Run(run.folder, run.data).sample(60).frame.kind
    assert samples.dtype == labels.dtype
    assert set(samples) == set(cells)


# Class probabilities


def test_class_probabilities_are_calibrated_on_the_validation_rows(m2, monkeypatch):
    validation, uncalibrated = m2.split("validation"), m2.classify(calibrated=False)
    temperature = functional.calibration_temperature(
        m2.classify(validation, calibrated=False), torch.from_numpy(validation.class_indices)
    )
    assert m2.calibration_temperature == temperature != 1
    expected = functional.apply_temperature(uncalibrated, temperature)
    torch.testing.assert_close(m2.classify(), expected)
    assert torch.equal(m2.classify().argmax(1), uncalibrated.argmax(1))
    reopened = Run(m2.folder)  # without the training data, which were only in memory
    x, _ = bars()
    assert torch.equal(reopened.classify(x), m2.classify(x))
    labels = validation.labels.copy()
    labels[9:] = -1  # fewer than the required ten
    monkeypatch.setattr(reopened, "split", lambda _: validation.replace(labels=labels))
    assert calibrate_temperature(reopened) == 1


def test_predicted_classes_are_a_table(m2, tmp_path):
    classes = m2.classes()
    n = len(m2.split("test"))
    assert repr(classes) == f"Classes({n} examples, 2 classes)"
    frame = pd.read_csv(classes.save(tmp_path / "classes.csv"))
    assert list(frame.columns) == ["row", "class", "p(horizontal)", "p(vertical)"]
    assert frame["class"].tolist() == classes.predicted
    assert np.allclose(frame.iloc[:, 2:].sum(axis=1), 1, atol=1e-6)
    assert "p(vertical)" in classes._repr_html_()


# Commands


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands(conditional, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functional_augment, "STEPS", 3)
    conditional.augment(2).save("examples")
    for command, options, text in (
        ("augment", ["--per-class", 10], "20 new examples, 10 in each of 2"),
        ("sample", ["--around", "examples", "-n", 2], "variations of examples"),
        ("sample", ["--check-copies", "-n", 30, "--out", "s.png"], "Wrote s-nearest.png"),
        ("sample", ["--check-copies", "-n", 3, "--out", "t.png"], "At least 20 samples are"),
    ):
        result = invoke(command, conditional.folder, *options)
        assert result.exit_code == 0, result.output
        assert text in result.output
    assert (tmp_path / "augmented" / "horizontal").is_dir()
    result = invoke("augment", conditional.folder, "--balance", "--no-report", "--out", "more.npz")
    assert result.exit_code == 0, result.output
    assert "accuracy" not in result.output


@pytest.mark.parametrize(
    ("fixture", "arguments", "message"),
    [
        ("conditional", ["augment"], "use --per-class 500 or --balance"),
        ("unconditional", ["augment", "--per-class", "3"], "has no single class label"),
        ("conditional", ["sample", "--scale", "2"], "--scale requires --around"),
        (
            "conditional",
            ["sample", "--around", "x", "--check-copies"],
            "--around cannot be combined",
        ),
    ],
)
def test_the_commands_refuse_wrong_options(fixture, arguments, message, request):
    command, *options = arguments
    result = invoke(command, request.getfixturevalue(fixture).folder, *options)
    assert result.exit_code != 0
    assert message in str(result.exception)
