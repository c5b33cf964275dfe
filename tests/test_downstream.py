"""What made rows are worth: known answers, and scikit-learn's figures of the same predictions."""

from importlib import import_module
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from varied.errors import VariedError

d = import_module("varied.evaluate.tstr")


FAST = {"bayes": lambda seed: GaussianNB()}


def rows(seed, n=300, classes=2, apart=1.5, size=4):
    rng = np.random.default_rng(seed)
    y = rng.permutation(n) % classes
    return rng.normal(size=(n, size)) + apart * np.eye(classes, size)[y], y


def numbers(seed, n=300, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, x @ [1.0, -2.0, 0.0] + noise * rng.normal(size=n)


def trees(seed):
    return d.RandomForestClassifier(10, random_state=seed)


class Spy:
    """Keeps what it was given; says the sign of the first column, or one class alone."""

    seen: ClassVar[list] = []

    def __init__(self, seed, wrong=0.0):
        self.seed, self.wrong = seed, wrong

    def fit(self, x, y):
        Spy.seen.append((self.seed, x.copy(), y.copy()))

    def predict(self, x):
        turned = np.random.default_rng(self.seed).random(len(x)) < self.wrong
        return ((x[:, 0] > 0) ^ turned).astype(int)


@pytest.fixture(autouse=True)
def nothing_seen():
    Spy.seen.clear()


def test_made_rows_of_the_same_kind_are_worth_as_much():
    real, test = rows(0), rows(1, n=600)
    some = np.random.default_rng(0).integers(0, 300, 300)
    for made in ((real[0][some], real[1][some]), rows(2)):
        found = d.tstr(
            *real, *made, *test, learners={**FAST, "logistic": d.CLASSIFIERS["logistic"]}
        )
        for one in found.compared:
            assert abs(one.gap.value) < 0.03 + 3 * one.gap.error
            assert abs(one.gain.value) < 0.03 + 3 * one.gain.error
            assert one.real.value > one.chance + 0.2
            assert one.gap.value == pytest.approx(one.made.value - one.real.value)
            assert one.gain.value == pytest.approx(one.both.value - one.real.value)


def test_made_rows_with_shuffled_labels_are_worth_nothing():
    real, test, (x, y) = rows(0), rows(1), rows(2)
    few = {**d.CLASSIFIERS, "forest": trees}
    found = []
    for seed in range(6):
        shuffled = np.random.default_rng(seed).permutation(y)
        found.append(d.tstr(*real, x, shuffled, *test, learners=few, repeats=1, resamples=20))
    for alike in zip(*(one.compared for one in found), strict=True):
        assert np.mean([one.made.value for one in alike]) == pytest.approx(0.5, abs=0.1)
        assert alike[0].real.value > 0.75 and alike[0].chance == 0.5
        assert all(one.gap.value < -3 * one.gap.error < 0 for one in alike)
    turned = d.tstr(*real, x, 1 - y, *test, learners=FAST)
    assert turned.of("bayes", "AUROC").made.value < 0.15


def test_more_rows_help_where_real_ones_are_few():
    test = rows(2, n=500, apart=1.0, size=10)
    gains = []
    for seed in range(8):
        real, made = (rows(10 * seed + k, n=20, apart=1.0, size=10) for k in (3, 4))
        found = d.tstr(*real, *made, *test, learners=FAST, resamples=5)
        gains.append(found.of("bayes", "AUROC").gain.value)
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("classes", [2, 3])
def test_the_figures_are_those_of_scikit_learn(classes):
    names = np.array(["cat", "dog", "eel"])
    real, made, test = (rows(k, classes=classes) for k in range(3))
    skewed = test[1] != np.where(np.arange(300) < 150, 1, -1)  # fewer of one class
    test = test[0][skewed], test[1][skewed]
    x, y = test
    found = d.tstr(
        real[0], names[real[1]], made[0], names[made[1]], x, names[y], learners=FAST, repeats=1
    )
    both = np.concatenate([real[0], made[0]]), np.concatenate([real[1], made[1]])
    for kind, given in (("real", real), ("made", made), ("both", both)):
        fitted = GaussianNB().fit(*given)
        said = fitted.predict(x)
        recall = metrics.balanced_accuracy_score(y, said)
        f1 = metrics.f1_score(y, said, average="macro")
        value = getattr(found.of("bayes", "balanced accuracy"), kind).value
        assert value == pytest.approx(recall, abs=1e-12)
        assert getattr(found.of("bayes", "macro F1"), kind).value == pytest.approx(f1, abs=1e-12)
        if classes == 2:
            area = metrics.roc_auc_score(y, fitted.predict_proba(x)[:, 1])
            assert getattr(found.of("bayes", "AUROC"), kind).value == pytest.approx(area, abs=1e-9)
    assert {one.figure for one in found.compared} == {"balanced accuracy", "macro F1"} | (
        {"AUROC"} if classes == 2 else set()
    )
    assert found.of("bayes", "balanced accuracy").chance == 1 / classes
    assert (found.trained, found.tested, found.repeats) == (300, len(y), 1)


def test_numbers_are_judged_by_the_share_explained():
    real, made, test = numbers(0), numbers(1), numbers(2)
    found = d.tstr(*real, *made, *test, repeats=1)
    assert [(one.learner, one.figure) for one in found.compared] == [
        ("ridge", "R^2"), ("forest", "R^2"), ("neighbors", "R^2")
    ]  # fmt: skip
    said = d.REGRESSORS["ridge"](0).fit(*real).predict(test[0])
    ridge = found.of("ridge", "R^2")
    assert ridge.real.value == pytest.approx(metrics.r2_score(test[1], said), abs=1e-12)
    assert ridge.real.value == pytest.approx(5 / 5.25, abs=0.02) and ridge.chance == 0
    assert abs(ridge.gap.value) < 0.02
    shuffled = np.random.default_rng(0).permutation(made[1])
    worse = d.tstr(
        *real, made[0], shuffled, *test, repeats=1, learners={"r": d.REGRESSORS["ridge"]}
    )
    assert worse.compared[0].made.value == pytest.approx(0, abs=0.1)


def test_learners_see_no_test_row_and_are_given_what_is_said():
    real, made, test = rows(0, n=40), rows(1, n=90), rows(2, n=50)
    d.tstr(*real, *made, *test, learners={"spy": Spy}, repeats=3)
    assert [len(x) for _, x, _ in Spy.seen] == [40, 40, 80] * 3
    hidden = {row.tobytes() for row in test[0]}
    assert not any(row.tobytes() in hidden for _, x, _ in Spy.seen for row in x)
    assert all(np.array_equal(Spy.seen[3 * k][1], real[0]) for k in range(3))
    known = {row.tobytes(): label for row, label in zip(*made, strict=True)}
    for k in range(3):
        (a, _, _), (b, x, y), (c, both, _) = Spy.seen[3 * k : 3 * k + 3]
        assert a == b == c  # one seed for the three
        assert [known[row.tobytes()] for row in x] == y.tolist()
        assert np.array_equal(both, np.concatenate([real[0], x]))
    assert len({seed for seed, _, _ in Spy.seen}) == 3
    assert not np.array_equal(Spy.seen[1][1], Spy.seen[4][1])  # other made rows each time


def test_columns_are_put_on_their_own_scale_by_training_rows():
    real, made, (x, y) = rows(0), rows(1), rows(2)
    scale = np.array([1e4, 1, 1e-4, 1]), np.array([7.0, 0, 0, -3])
    linear = {name: d.CLASSIFIERS[name] for name in ("logistic", "neighbors")}
    plain = d.tstr(*real, *made, x, y, learners=linear, repeats=1)
    other = [(rows_x * scale[0] + scale[1], rows_y) for rows_x, rows_y in (real, made, (x, y))]
    moved = d.tstr(*other[0], *other[1], *other[2], learners=linear, repeats=1)
    for name in linear:
        one, two = plain.of(name, "AUROC"), moved.of(name, "AUROC")
        assert one.real.value == pytest.approx(two.real.value, abs=1e-3)
        assert one.made.value == pytest.approx(two.made.value, abs=1e-3)


def test_the_errors_of_differences_are_paired():
    real, test = rows(0), rows(1, n=400)
    same = d.tstr(*real, *real, *test, learners={"spy": Spy})
    one = same.of("spy", "macro F1")
    assert one.gap.value == 0 and one.gap.error == 0 and one.real.error > 0.01
    assert {figure.figure for figure in same.compared} == {"balanced accuracy", "macro F1"}


def test_the_standard_error_is_the_spread_over_other_test_rows():
    real, made = rows(0), rows(1, apart=0.7)
    found = [
        d.tstr(*real, *made, *rows(k, n=200), learners=FAST, repeats=1, resamples=40)
        for k in range(10, 50)
    ]
    for figure in ("balanced accuracy", "macro F1", "AUROC"):
        for part in ("real", "gap"):
            each = [getattr(one.of("bayes", figure), part) for one in found]
            spread = np.std([one.value for one in each], ddof=1)
            assert np.mean([one.error for one in each]) == pytest.approx(spread, rel=0.4)


def test_the_luck_of_the_seed_is_in_the_error():
    # Every third training is all wrong, the others all right: test rows add no spread at all.
    y = np.arange(60) % 2
    x = np.stack([2.0 * y - 1, np.random.default_rng(0).normal(size=60)], 1)
    order = iter([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    data = (x, y, x + np.array([0, 1]), y, x + np.array([0, 2]), y)
    found = d.tstr(*data, learners={"spy": lambda seed: Spy(seed, next(order))})
    one = found.of("spy", "balanced accuracy")
    luck = np.std([1, 0, 1], ddof=1) / np.sqrt(3)
    assert (one.real.value, one.made.value) == pytest.approx((2 / 3, 1))
    assert (one.real.error, one.gap.error) == pytest.approx((luck, luck))
    assert one.made.error == 0 and one.both.error == 0
    alone = d.tstr(*rows(0), *rows(1), *rows(2), learners=FAST, resamples=1)
    assert np.isnan(alone.compared[0].real.error)


def test_only_classes_of_the_test_rows_are_asked_for():
    real, made, (x, y) = (rows(k, classes=3) for k in range(3))
    x, y = x[y > 0], y[y > 0]
    found = d.tstr(*real, *made, x, y, learners=FAST, repeats=1)
    said = GaussianNB().fit(*real).predict(x)
    one = found.of("bayes", "balanced accuracy")
    wanted = metrics.recall_score(y, said, average="macro", labels=[1, 2])
    assert (one.chance, one.real.value) == pytest.approx((0.5, wanted))


def test_a_class_that_was_never_made_is_a_loss_and_is_said():
    real, test, (x, y) = rows(0), rows(1), rows(2)
    found = d.tstr(*real, x, 0 * y, *test, learners={**d.CLASSIFIERS, "forest": trees}, repeats=1)
    assert any("Of 1 of the 2 classes there is no made row" in said for said in found.warnings)
    for name in ("logistic", "forest", "neighbors"):
        assert found.of(name, "balanced accuracy").made.value == 0.5
        assert found.of(name, "AUROC").made.value == 0.5
        assert found.of(name, "AUROC").both.value > 0.5


def test_test_rows_among_the_training_rows_are_said():
    real, made, test = rows(0), rows(1), rows(2)
    assert not d.tstr(*real, *made, *test, learners=FAST, resamples=5).warnings
    leaked = real[0].copy(), real[1]
    leaked[0][:7] = test[0][:7]
    found = d.tstr(*leaked, *made, *test, learners=FAST, resamples=5)
    assert found.warnings == (
        "7 test rows are real training rows too: were they seen in training?",
    )
    found = d.tstr(*real, *test, *test, learners=FAST, resamples=5)
    assert "300 test rows are made rows too" in found.warnings[0]
    some = [real[0], real[1] * 1.0, made[0], made[1] * 1.0, test[0], test[1] * 1.0]
    found = d.tstr(*some, learners={"r": d.REGRESSORS["ridge"]}, resamples=5)
    assert "give whole numbers if they are classes" in found.warnings[0]


def test_pictures_are_laid_out_and_the_same_seed_gives_the_same():
    (a, y), (b, z), (t, u) = rows(0), rows(1), rows(2)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    learners = {"forest": trees, **FAST}
    one = d.tstr(a, y, b, z, t, u, learners=learners)
    shaped = [torch.tensor(x).reshape(-1, 1, 2, 2) for x in (a, b, t)]
    labels = [torch.tensor(x) for x in (y, z, u)]
    mixed = [item for pair in zip(shaped, labels, strict=True) for item in pair]
    assert d.tstr(*mixed, learners=learners) == one
    assert d.tstr(*mixed, learners=FAST, seed=1) != d.tstr(*mixed, learners=FAST)
    assert torch.equal(state, torch.get_rng_state())
    assert (other == np.random.get_state()[1]).all()
    assert str(one).startswith("forest, balanced accuracy (chance 0.50): real 0.")
    with pytest.raises(VariedError, match="no figure 'R of bayes'"):
        one.of("bayes", "R")


X, Y = rows(0, n=30)


@pytest.mark.parametrize(
    ("place", "given", "message"),
    [
        (0, X[:, :3], "made rows have 4 columns and real ones 3"),
        (1, Y[:-1], "30 real rows, 29 targets"),
        (3, Y[:, None], r"made targets have shape \(30, 1\)"),
        (2, X.ravel(), r"made rows have shape \(120,\)"),
        (2, np.where(np.arange(30)[:, None] == 4, np.nan, X), "Row 4 of the made rows is not fin"),
        (3, Y * 1.0, "made targets alone are floats"),
        (3, Y + 1, "Class 2 has made rows, no real ones"),
        (5, Y + 1, "Class 2 has test rows, no real ones"),
        (1, 0 * Y, "have one target"),
        (5, 0 * Y, "have one target"),
    ],
)
def test_what_does_not_fit_is_refused(place, given, message):
    data = [X, Y, X, Y, X, Y]
    data[place] = given
    with pytest.raises(VariedError, match=message):
        d.tstr(*data, learners=FAST)


def test_too_little_is_refused():
    with pytest.raises(VariedError, match="30 real, 29 made, 30 test rows are too few"):
        d.tstr(X, Y, X[1:], Y[1:], X, Y)
    with pytest.raises(VariedError, match="9 test rows are too few"):
        d.tstr(X, Y, X, Y, X[:9], Y[:9])
    with pytest.raises(VariedError, match="repeats=0"):
        d.tstr(X, Y, X, Y, X, Y, repeats=0)
    with pytest.raises(VariedError, match="targets hold NaN"):
        d.tstr(X, Y * np.nan, X, Y * 1.0, X, Y * 1.0)


# Real or made


def test_rows_of_one_kind_cannot_be_told_apart():
    x, y = rows(0, n=150)[0], rows(1, n=200)[0]
    found = d.c2st_auroc(x, y)
    assert abs(found.value - 0.5) < 4 * found.error < 0.2
    assert found.n == 300
    few = d.c2st_auroc(x, y, learner=trees)
    shaped = torch.tensor(x).reshape(-1, 2, 2), torch.tensor(y)[:, :, None]
    assert d.c2st_auroc(*shaped, learner=trees) == few
    assert d.c2st_auroc(x, y, learner=trees, seed=1) != few


def test_rows_of_two_kinds_are_told_apart_as_far_as_can_be():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + np.array([1.5, 0])
    linear = d.c2st_auroc(x, y, learner=lambda seed: LogisticRegression())
    assert linear.value == pytest.approx(0.8556, abs=3 * linear.error)  # Phi(1.5 / sqrt 2)
    assert d.c2st_auroc(x, y + 20, learner=trees).value == 1
    # One spread, another sign of the correlation: a line sees nothing, a forest does.
    a, b = x @ [[1, 0.9], [0, 0.4]], x[::-1] @ [[1, -0.9], [0, 0.4]]
    assert d.c2st_auroc(a, b, learner=lambda seed: LogisticRegression()).value < 0.58
    assert d.c2st_auroc(a, b, learner=trees).value > 0.75


def test_copies_of_real_rows_lie_below_chance():
    x = rows(0, n=200)[0]
    found = d.c2st_auroc(x, x, learner=trees)
    assert found.value < 0.5 - 3 * found.error


def test_the_standard_error_of_the_area_is_the_spread_over_other_rows():
    found = [
        d.c2st_auroc(
            rows(k, n=150)[0], rows(k + 500, n=150)[0] + 0.5,
            learner=lambda seed: GaussianNB(), resamples=30,
        )
        for k in range(40)
    ]  # fmt: skip
    spread = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.4)


@pytest.mark.parametrize(
    ("a", "b", "settings", "message"),
    [
        (X, X[:, :3], {}, "4 and 3 columns differ"),
        (X, X, {}, "30 rows of each kind are no 5 folds"),
        (X, X, {"folds": 1}, "30 rows of each kind are no 1 folds"),
        (X, X * np.inf, {}, "Row 0 of the made rows"),
        (X, X, {"folds": 2, "learner": Spy}, "no `predict_proba`"),
    ],
)
def test_what_cannot_be_judged_is_refused(a, b, settings, message):
    with pytest.raises(VariedError, match=message), np.errstate(invalid="ignore"):
        d.c2st_auroc(a, b, **settings)
