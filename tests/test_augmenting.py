"""Data around items, made data of a class, and what they teach: closed forms, labels, no leaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from varied import functional
from varied.cli import app
from varied.data import RawData, read
from varied.data.codecs import ArrayCodec, TableCodec
from varied.errors import VariedError
from varied.evaluate.suites.classification import tstr_suite
from varied.evaluate.suites.context import EvalContext
from varied.functional import augment as uses_augment
from varied.runs import Run
from varied.runs.augmentation import learner_features
from varied.runs.nearest_training import nearest_training
from varied.training import prepare
from varied.training.job import calibration_temperature

# Runs


def bars(n: int = 240) -> tuple[np.ndarray, list[str]]:
    """Return pictures of a bar that lies or stands, one in four of which stands."""
    dice = np.random.default_rng(0)
    x = dice.integers(0, 30, (n, 8, 8)).astype(np.uint8)
    names = []
    for i in range(n):
        wide, ink = dice.integers(1, 4), dice.integers(150, 250)
        if i % 4:
            x[i, 3 : 3 + wide] = ink
        else:
            x[i, :, 3 : 3 + wide] = ink
        names.append("lying" if i % 4 else "standing")
    return x, names


def stands(pictures: np.ndarray) -> np.ndarray:
    return pictures.mean(1).std(1) > pictures.mean(2).std(1)


def trained(source, model="vae", **choices):
    job = prepare(source, model, threads=1, **{"steps": 150, "lr": 5e-3, "width": 32} | choices)
    for _ in job.train():
        pass
    return job.deliver()


@pytest.fixture(scope="module")
def conditional(place):
    x, y = bars()
    np.savez(place / "bars.npz", x=x, y=np.array(y))  # commands read their data again
    path = str(place / "bars.npz")
    return trained(path, "conditional-vae", out=place / "conditional", latent=4)


@pytest.fixture(scope="module")
def few(place):
    return trained(bars(), "m2", out=place / "m2", latent=2, n_labels=20, steps=300)


@pytest.mark.parametrize("name", ["conditional", "few"])
def test_made_pictures_are_of_their_class(name, request):
    made = request.getfixturevalue(name).augment(40)
    right = stands(made.items.x.astype(float)) == (np.array(made.names) == "standing")
    assert len(made) == 80
    assert right.mean() > 0.85


def test_a_run_is_as_sure_of_classes_as_its_validation_rows_allow(few, monkeypatch):
    held, plain = few.split("validation"), few.classify(calibrated=False)
    told = functional.calibration_temperature(
        few.classify(held, calibrated=False), torch.from_numpy(held.labels.astype("i8"))
    )
    assert few.calibration_temperature == told != 1
    torch.testing.assert_close(few.classify(), functional.apply_temperature(plain, told))
    assert torch.equal(few.classify().argmax(1), plain.argmax(1))
    blind, held = Run(few.folder), dataclasses.replace(held, labels=held.labels.copy())
    held.labels[9:] = -1
    monkeypatch.setattr(blind, "split", lambda _: held)
    assert calibration_temperature(blind) == 1  # nine labels are too few to tell
    gone = Run(few.folder)  # trained on arrays in memory, which are not there any more
    x, _ = bars()
    assert torch.equal(gone.classify(x), few.classify(x))


def test_classes_are_filled_up_by_what_the_training_split_has(conditional):
    training = conditional.split("train").labels
    made = conditional.augment(balance=True)
    both = np.bincount(training) + np.bincount(made.items.labels, minlength=2)
    assert both[0] == both[1] == np.bincount(training).max()


def test_labels_that_were_hidden_stay_hidden(few):
    made = few.augment(15, balance=True)
    assert np.bincount(made.items.labels).tolist() == [5, 5]  # ten of each were kept
    assert (made.real.labels >= 0).sum() == 20


def test_the_test_split_has_no_part_in_what_is_made(conditional):
    items = conditional.items
    x, labels = items.x.copy(), items.labels.copy()
    rows = conditional.store.read_split().test
    x[rows], labels[rows] = 255 - x[rows], 1 - labels[rows]
    other = Run(conditional.folder, dataclasses.replace(items, x=x, labels=labels))
    for how in ({"per_class": 9}, {"balance": True}):
        a, b = conditional.augment(**how), other.augment(**how)
        assert np.array_equal(a.items.x, b.items.x)
        assert np.array_equal(a.items.labels, b.items.labels)
    mixed = other.augment(9)
    train = set(map(bytes, conditional.split("train").x))
    assert all(bytes(one) in train for one in mixed.real.x)
    assert not any(bytes(one) in train for one in mixed.test.x)


def test_the_same_seed_makes_the_same(conditional):
    a, b, c = (conditional.augment(8, seed=seed).items.x for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert len(np.unique(a, axis=0)) == len(a)


def test_what_is_saved_is_read_again_with_its_labels(conditional, tmp_path):
    made = conditional.augment(6)
    for path in (tmp_path / "folder", tmp_path / "made.npz"):
        again = read(str(made.save(path)))
        order = np.argsort([bytes(one) for one in again.x])
        own = np.argsort([bytes(one) for one in made.items.x])
        assert [again.classes[again.labels[i]] for i in order] == [made.names[i] for i in own]
        assert np.array_equal(again.x[order], made.items.x[own])
    with pytest.raises(VariedError, match="there already"):
        made.save(tmp_path / "folder")
    odd = dataclasses.replace(made, items=dataclasses.replace(made.items, classes=("a/b", "a:b")))
    with pytest.raises(VariedError, match="same name"):
        odd.save(tmp_path / "odd")
    with pytest.raises(VariedError, match=r"as \.npz"):
        made.save(tmp_path / "made.csv")


def test_the_report_names_what_was_taught(conditional, monkeypatch):
    monkeypatch.setattr(uses_augment, "STEPS", 60)
    found = conditional.augment(30).gains(seeds=2)
    assert [one.training_data for one in found] == ["real", "real + plain", "real + generated"]
    assert [one.rows for one in found] == [found[0].rows, *[found[0].rows + 60] * 2]
    assert all(one.accuracy.value > 0.9 for one in found)


def test_around_pictures_the_item_comes_first(conditional, tmp_path):
    items = conditional.split("test").take([0, 1, 2])
    found = conditional.sample(4, around=items)
    assert found.array.shape == (3, 5, 8, 8)
    assert np.array_equal(found.array[:, 0], items.x)
    assert conditional.sample(around=items).array.shape[1] == 10
    assert found.save(tmp_path / "near.png").stat().st_size > 500
    bare = dataclasses.replace(items, labels=None)
    with pytest.raises(VariedError, match="labels"):
        conditional.sample(around=bare)
    turned = conditional.sample(4, around=bare, label="standing").array[:, 1:]
    assert stands(turned.reshape(-1, 8, 8).astype(float)).mean() > 0.9


@pytest.fixture(scope="module")
def plain(place):
    return trained(np.random.default_rng(0).normal(size=(120, 4)), out=place / "plain", steps=20)


def test_refusals(plain, place):
    with pytest.raises(VariedError, match="conditional-vae"):
        plain.augment(5)
    x = np.random.default_rng(0).normal(size=(80, 3))
    numbers = trained((x, x[:, 0]), "conditional-vae", out=place / "numbers", steps=5)
    with pytest.raises(VariedError, match="makes no data of a class"):
        numbers.augment(5)
    m1 = trained((x, ["a", "b"] * 40), "m1", out=place / "m1", steps=5)
    with pytest.raises(VariedError, match="M1 can classify examples but cannot generate"):
        m1.augment(5)


def test_arrays_are_made_and_kept(place, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3)) + np.arange(200)[:, None] % 2 * 8
    names = np.where(np.arange(200) % 2, "high", "low").tolist()
    run = trained((x, names), "conditional-vae", out=place / "arrays", latent=2)
    made = run.augment(50)
    assert ((made.items.x.mean(1) > 4) == (np.array(made.names) == "high")).all()
    assert read(str(made.save(tmp_path / "made.npz"))).classes == ("high", "low")
    assert {one.classifier for one in made.gains(seeds=1)} == {"logistic", "forest"}
    around = run.sample(3, around=x[:4], label="low")
    assert around.array.shape == (4, 4, 3)


# Tables


def table(n: int = 400) -> pd.DataFrame:
    dice = np.random.default_rng(0)
    tall = dice.random(n) < 0.3
    return pd.DataFrame(
        {
            "height": (160 + 25 * tall + dice.normal(0, 3, n)).round(1),
            "kind": np.where(tall, "tall", "short"),
            "pets": dice.integers(0, 4, n),
        }
    )


@pytest.fixture(scope="module")
def people(place):
    return trained(
        table(), "conditional-vae", labels="kind", out=place / "people", steps=400, latent=3
    )


def test_rows_say_the_class_that_they_were_made_of(people, tmp_path):
    made = people.augment(60)
    frame = made.items.x
    assert list(frame.columns) == ["height", "kind", "pets"]
    assert frame.kind.tolist() == made.names
    assert ((frame.height > 172) == (frame.kind == "tall")).mean() > 0.95
    again = read(str(made.save(tmp_path / "made.csv")), labels="kind")
    assert [again.classes[i] for i in again.labels] == made.names


def test_a_row_that_says_another_class_is_made_anew(people, monkeypatch):
    whole, asked = functional.sample_classes, []

    def half_wrong(model, labels, classes, **more):
        asked.append(len(labels))
        wrong = torch.arange(len(labels)) % 2 == 0
        return whole(model, torch.where(wrong, 1 - labels, labels), classes, **more)

    monkeypatch.setattr(functional, "sample_classes", half_wrong)
    made = people.augment(20)
    assert made.items.x.kind.tolist() == made.names
    assert asked[0] == 40
    assert sorted(asked, reverse=True) == asked
    monkeypatch.setattr(
        functional, "sample_classes", lambda m, y, c, **more: whole(m, 0 * y, c, **more)
    )
    with pytest.raises(VariedError, match="come out as another class"):
        people.augment(20)


def test_learners_are_not_shown_the_label(people):
    items = people.split("train")
    assert items.label_columns == ("kind",)
    twice = dataclasses.replace(items, x=items.x.assign(copy=items.x.kind))
    assert twice.label_columns == ("kind", "copy")
    codec = people.codec
    assert isinstance(codec, TableCodec)
    stored = codec.encode(items)
    shown = learner_features(codec, stored, ("kind",))
    changed = items.x.assign(kind=items.x.kind.map({"tall": "short", "short": "tall"}))
    other = codec.encode(dataclasses.replace(items, x=changed))
    assert not torch.equal(stored, other)
    assert torch.equal(shown, learner_features(codec, other, ("kind",)))
    assert shown.shape[1] < stored.shape[1]


def test_learners_of_made_rows_are_told_the_class_that_each_was_made_of(people):
    (found,) = tstr_suite(EvalContext(people))
    assert len(found.metrics) >= 2
    assert all(one.estimate.value > 0.85 for one in found.metrics)


def test_a_model_that_learns_the_label_does_not_read_it(place):
    """Nothing but the label's own column would tell the classes of these rows."""
    dice = np.random.default_rng(0)
    frame = pd.DataFrame({"a": dice.normal(size=400), "b": dice.normal(size=400)})
    frame["kind"] = pd.Categorical(np.where(dice.random(400) < 0.5, "x", "y"))
    how = {"labels": "kind", "n_labels": 40, "steps": 100, "latent": 2}
    run = trained(frame, "m2", out=place / "blind", **how)
    assert [column.name for column in run.codec.learned] == ["a", "b"]
    assert run.error.value > 0.3
    made = run.augment(12)
    assert made.items.x.kind.astype(str).tolist() == made.names
    assert list(made.items.x.columns) == ["a", "b", "kind"]
    drawn = run.sample(200).frame
    assert drawn.kind.dtype == frame.kind.dtype
    counts, wanted = drawn.kind.value_counts(), run.split("train").x.kind.astype(str).value_counts()
    assert abs(counts["x"] / 200 - wanted["x"] / wanted.sum()) < 0.01
    assert set(run.sample(5, label="y").frame.kind) == {"y"}
    for made in (run.interpolate(n=2, steps=3), run.interpolate(grid=True)):
        assert set(made.frame.kind) <= {"x", "y"}
    # An item keeps its own class, of other data too; what is made of it has the likeliest.
    few = frame.head(4).assign(kind=["y", "x", None, "unheard of"])
    near = run.sample(20, around=few).frame
    assert near.xs("item", level="draw").kind.isna().tolist() == [False, False, True, True]
    assert near.xs("item", level="draw").kind.tolist()[:2] == ["y", "x"]
    around = near[near.index.get_level_values("draw") != "item"]
    said = run.classify(around.reset_index(drop=True)).argmax(1)
    assert around.kind.tolist() == [run.context.classes[i] for i in said]
    both = run.reconstruct(n=40).frame
    own = run.split("test").first(40).x.kind
    assert both.xs("original", level="which").kind.tolist() == own.tolist()


def test_a_conditional_run_finds_the_labels_of_other_rows_by_their_column(place):
    dice = np.random.default_rng(0)
    kind = np.where(dice.random(200) < 0.5, 3.0, 1.0)
    frame = pd.DataFrame({"a": dice.normal(size=200) + 5 * kind, "kind": kind.astype(int)})
    how = {"labels": "kind", "column_types": {"kind": "ignore"}, "steps": 5, "latent": 2}
    run = trained(frame, "conditional-vae", out=place / "told", **how)
    other = frame.head(6).astype({"kind": float})
    batch = run.encode_items(run.read(other))
    assert batch.c is not None
    assert run.context.decode(batch.c) == [str(int(k)) for k in other.kind]
    made = run.sample(2, around=other).frame.kind
    assert made.tolist() == other.kind.repeat(3).astype(int).tolist()
    walk = run.interpolate(other, n=3, steps=2).frame.kind
    assert walk.tolist() == other.kind[:3].repeat(2).astype(int).tolist()
    said = run.encode_items(
        run.read((other, ["1"] * 6))
    ).c  # labels that are given go before a column
    assert run.context.decode(said) == ["1"] * 6
    with pytest.raises(VariedError, match="'kind' of row 2 is '7', which is no class of this run"):
        run.detect(other.assign(kind=[1, 7, 1, 1, 1, 1]))
    with pytest.raises(VariedError, match="need their labels, in a column called 'kind'"):
        run.detect(other[["a"]])


@pytest.mark.parametrize("cells", [[3, 7], [True, False], ["a", "b"]])
def test_the_column_of_a_label_comes_back_as_it_was(cells, place):
    label = pd.Series(cells * 30)
    frame = pd.DataFrame({"kind": label, "a": np.random.default_rng(0).normal(size=60)})
    for model, how in (("m2", {}), ("conditional-vae", {"column_types": {"kind": "ignore"}})):
        here = {"labels": "kind", "steps": 3, "latent": 2, "out": place / f"{model}-{label.dtype}"}
        run = trained(frame, model, **here, **how)
        assert [column.name for column in run.codec.learned] == ["a"]
        made = Run(run.folder, run.items).sample(60).frame.kind
        assert made.dtype == label.dtype
        assert set(made) == set(cells)


def test_labels_beside_a_table_become_a_column(place):
    frame = table().drop(columns="kind")
    run = trained(
        (frame, table().kind.tolist()), "conditional-vae", out=place / "beside", steps=200
    )
    made = run.augment(10)
    assert list(made.items.x.columns) == ["height", "pets", "label"]
    assert made.items.x.label.tolist() == made.names


# Copies


def test_copies_are_told_from_likenesses(tmp_path):
    x = np.random.default_rng(0).normal(size=(900, 5)).astype(np.float32)
    training, held = (RawData(part, "array") for part in (x[:400], x[400:700]))
    codec = ArrayCodec.fit(training)
    fresh = nearest_training(codec, x[700:], training, held)
    assert fresh.warning is None
    copied = nearest_training(codec, x[30:230] + 1e-4, training, held)
    assert "repeat training rows" in copied.warning
    assert copied.index.tolist() == list(range(30, 230))
    assert copied.distance.max() < 0.01
    oracle = np.linalg.norm((x[700:, None] - x[None, :400]) / x[:400].std(0), axis=2)
    assert np.array_equal(fresh.index, oracle.argmin(1))
    assert np.allclose(fresh.distance, oracle.min(1), rtol=1e-3)
    assert fresh.save(tmp_path / "pairs.png").stat().st_size > 500


def test_rows_stand_above_their_nearest(people, tmp_path):
    found = people.nearest_training(people.sample(30))
    frame = found.pairs.array
    assert frame.index.names == ["row", "which"]
    assert frame.index.get_level_values("which")[:2].tolist() == ["sample", "nearest"]
    nearest = frame.xs("nearest", level="which").reset_index(drop=True)
    training = people.split("train").x.iloc[found.index].reset_index(drop=True)
    pd.testing.assert_frame_equal(nearest, training, check_dtype=False)
    copies = dataclasses.replace(people.sample(30), array=people.split("train").x.iloc[:150])
    assert people.nearest_training(copies).distance.max() == 0
    assert found.save(tmp_path / "pairs.csv").read_text().startswith("row,which,height")


# The commands


def test_the_commands(conditional, plain, few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uses_augment, "STEPS", 3)
    conditional.augment(2).save("mine")
    run, does = str(conditional.folder), CliRunner()

    def said(*words):
        found = does.invoke(app, words)
        assert found.exit_code == 0, found.output
        return found.output

    assert "20 new data, 10 of each of 2" in said("augment", run, "--per-class", "10")
    assert (tmp_path / "augmented" / "lying").is_dir()
    quiet = said("augment", run, "--balance", "--no-report", "--out", "more.npz")
    assert "Balanced" not in quiet
    assert "around the items of mine" in said("sample", run, "--around", "mine", "-n", "2")
    out = said("sample", run, "--check-copies", "-n", "30", "--out", "s.png")
    assert "Wrote s-beside.png" in out
    assert "Fewer than 20" in said("sample", run, "--check-copies", "-n", "3", "--out", "t.png")
    for words, why in (
        (("augment", run), "--per-class 500, or --balance"),
        (("augment", str(plain.folder), "--per-class", "3"), "makes no data of a class"),
        (("sample", run, "--scale", "2"), "--scale is for --around"),
        (("sample", run, "--around", "mine", "--check-copies"), "--around goes without"),
    ):
        found = does.invoke(app, words)
        assert found.exit_code != 0
        assert why in str(found.exception)
