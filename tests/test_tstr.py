"""Train on synthetic, test on real, against known values and scikit-learn's metrics."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB

from varied.errors import VariedError
from varied.evaluate.learners import CLASSIFIERS, REGRESSORS
from varied.evaluate.tstr import tstr

BAYES = {"bayes": lambda seed: GaussianNB()}
RIDGE = {"ridge": REGRESSORS["ridge"]}


def classes(seed, n=300, n_classes=2, distance=1.5, size=4):
    """Return rows of classes with different means."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(n) % n_classes
    return rng.normal(size=(n, size)) + distance * np.eye(n_classes, size)[y], y


def linear(seed, n=300, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, x @ [1.0, -2.0, 0.0] + noise * rng.normal(size=n)


def small_forest(seed):
    return RandomForestClassifier(10, random_state=seed)


class Recorder:
    """A classifier that uses the sign of the first column and records its training rows."""

    calls: ClassVar[list] = []

    def __init__(self, seed, error_rate=0.0):
        self.seed, self.error_rate = seed, error_rate

    def fit(self, x, y):
        Recorder.calls.append((self.seed, x.copy(), y.copy()))

    def predict(self, x):
        flipped = np.random.default_rng(self.seed).random(len(x)) < self.error_rate
        return ((x[:, 0] > 0) ^ flipped).astype(int)


@pytest.fixture(autouse=True)
def clear_calls():
    Recorder.calls.clear()


# Scores


@pytest.mark.slow
def test_rows_of_the_same_distribution_are_as_useful():
    real, test = classes(0), classes(1, n=600)
    rows = np.random.default_rng(0).integers(0, 300, 300)
    learners = {**BAYES, "logistic": CLASSIFIERS["logistic"]}
    for generated in ((real[0][rows], real[1][rows]), classes(2)):
        for score in tstr(*real, *generated, *test, learners=learners).scores:
            assert abs(score.gap.value) < 0.03 + 3 * score.gap.error
            assert abs(score.gain.value) < 0.03 + 3 * score.gain.error
            assert score.real.value > score.chance + 0.2
            assert score.gap.value == pytest.approx(score.generated.value - score.real.value)
            assert score.gain.value == pytest.approx(score.both.value - score.real.value)


def test_rows_with_shuffled_labels_are_useless():
    real, test, (x, y) = classes(0), classes(1), classes(2)
    learners = {**CLASSIFIERS, "forest": small_forest}
    results = []
    for seed in range(6):
        shuffled = np.random.default_rng(seed).permutation(y)
        settings = {"learners": learners, "repeats": 1, "resamples": 20}
        results.append(tstr(*real, x, shuffled, *test, **settings))
    for scores in zip(*(result.scores for result in results), strict=True):
        values = [score.generated.value for score in scores]
        assert np.mean(values) == pytest.approx(0.5, abs=0.1)
        assert scores[0].real.value > 0.75 and scores[0].chance == 0.5
        assert all(score.gap.value < -3 * score.gap.error < 0 for score in scores)


def test_inverted_labels_have_an_auroc_below_chance():
    real, test, (x, y) = classes(0), classes(1), classes(2)
    inverted = tstr(*real, x, 1 - y, *test, learners=BAYES)
    assert inverted.score("bayes", "AUROC").generated.value < 0.15


def test_generated_rows_help_if_there_are_few_real_ones():
    test = classes(2, n=500, distance=1.0, size=10)
    gains = []
    for seed in range(8):
        real, generated = (classes(10 * seed + k, n=20, distance=1.0, size=10) for k in (3, 4))
        result = tstr(*real, *generated, *test, learners=BAYES, resamples=5)
        gains.append(result.score("bayes", "AUROC").gain.value)
    assert np.mean(gains) > 0.01


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classification_metrics_match_scikit_learn(n_classes):
    names = np.array(["cat", "dog", "eel"])
    real, generated, (x, y) = (classes(k, n_classes=n_classes) for k in range(3))
    imbalanced = y != np.where(np.arange(300) < 150, 1, -1)
    x, y = x[imbalanced], y[imbalanced]
    labels = [names[y] for y in (real[1], generated[1], y)]
    result = tstr(
        *(real[0], labels[0], generated[0], labels[1], x, labels[2]), learners=BAYES, repeats=1
    )
    both = [np.concatenate(pair) for pair in zip(real, generated, strict=True)]
    for kind, train in (("real", real), ("generated", generated), ("both", both)):
        model = GaussianNB().fit(*train)
        predicted = model.predict(x)
        expected = {
            "balanced accuracy": metrics.balanced_accuracy_score(y, predicted),
            "macro F1": metrics.f1_score(y, predicted, average="macro"),
        }
        if n_classes == 2:
            expected["AUROC"] = metrics.roc_auc_score(y, model.predict_proba(x)[:, 1])
        assert {score.metric for score in result.scores} == expected.keys()
        for metric, value in expected.items():
            estimate = getattr(result.score("bayes", metric), kind)
            assert estimate.value == pytest.approx(value, abs=1e-9)
    assert result.score("bayes", "balanced accuracy").chance == 1 / n_classes
    assert (result.n_train, result.n_test, result.repeats) == (300, len(y), 1)


def test_regression_is_scored_by_r2():
    real, generated, test = linear(0), linear(1), linear(2)
    result = tstr(*real, *generated, *test, repeats=1)
    names = [(score.learner, score.metric) for score in result.scores]
    assert names == [("ridge", "R2"), ("forest", "R2"), ("neighbors", "R2")]
    predicted = REGRESSORS["ridge"](0).fit(*real).predict(test[0])
    ridge = result.score("ridge", "R2")
    assert ridge.real.value == pytest.approx(metrics.r2_score(test[1], predicted), abs=1e-12)
    assert ridge.real.value == pytest.approx(5 / 5.25, abs=0.02) and ridge.chance == 0
    assert abs(ridge.gap.value) < 0.02
    shuffled = np.random.default_rng(0).permutation(generated[1])
    useless = tstr(*real, generated[0], shuffled, *test, repeats=1, learners=RIDGE)
    assert useless.scores[0].generated.value == pytest.approx(0, abs=0.1)


# Training rows


def test_learners_are_trained_on_the_documented_rows():
    real, generated, test = classes(0, n=40), classes(1, n=90), classes(2, n=50)
    tstr(*real, *generated, *test, learners={"recorder": Recorder}, repeats=3)
    calls = Recorder.calls
    assert [len(x) for _, x, _ in calls] == [40, 40, 80] * 3
    test_rows = {row.tobytes() for row in test[0]}
    assert not any(row.tobytes() in test_rows for _, x, _ in calls for row in x)
    labels = {row.tobytes(): label for row, label in zip(*generated, strict=True)}
    for k in range(0, 9, 3):
        (a, of_real, _), (b, x, y), (c, of_both, _) = calls[k : k + 3]
        assert a == b == c  # the seed of a repeat
        assert np.array_equal(of_real, real[0])
        assert [labels[row.tobytes()] for row in x] == y.tolist()
        assert np.array_equal(of_both, np.concatenate([real[0], x]))
    assert len({seed for seed, _, _ in calls}) == 3
    assert not np.array_equal(calls[1][1], calls[4][1])  # different generated rows


@pytest.mark.slow
def test_columns_are_standardized_by_training_rows():
    data = [classes(k) for k in range(3)]
    scale, shift = np.array([1e4, 1, 1e-4, 1]), np.array([7.0, 0, 0, -3])
    scaled = [(x * scale + shift, y) for x, y in data]
    learners = {name: CLASSIFIERS[name] for name in ("logistic", "neighbors")}
    results = [
        tstr(*(part for pair in rows for part in pair), learners=learners, repeats=1)
        for rows in (data, scaled)
    ]
    for name in learners:
        a, b = (result.score(name, "AUROC") for result in results)
        assert a.real.value == pytest.approx(b.real.value, abs=1e-3)
        assert a.generated.value == pytest.approx(b.generated.value, abs=1e-3)


# Standard errors


def test_errors_of_differences_are_paired():
    real, test = classes(0), classes(1, n=400)
    result = tstr(*real, *real, *test, learners={"recorder": Recorder})
    score = result.score("recorder", "macro F1")
    assert score.gap.value == 0 and score.gap.error == 0 and score.real.error > 0.01
    assert {score.metric for score in result.scores} == {"balanced accuracy", "macro F1"}


@pytest.mark.slow
def test_standard_errors_match_the_variation_over_test_rows():
    real, generated = classes(0), classes(1, distance=0.7)
    settings = {"learners": BAYES, "repeats": 1, "resamples": 40}
    results = [tstr(*real, *generated, *classes(k, n=200), **settings) for k in range(10, 50)]
    for metric in ("balanced accuracy", "macro F1", "AUROC"):
        for part in ("real", "gap"):
            estimates = [getattr(result.score("bayes", metric), part) for result in results]
            variation = np.std([estimate.value for estimate in estimates], ddof=1)
            errors = [estimate.error for estimate in estimates]
            assert np.mean(errors) == pytest.approx(variation, rel=0.4)


def test_errors_include_the_variation_over_repeats():
    # One of three training runs is always wrong and the others are always right.
    y = np.arange(60) % 2
    x = np.stack([2.0 * y - 1, np.random.default_rng(0).normal(size=60)], 1)
    rates = iter([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    data = (x, y, x + np.array([0, 1]), y, x + np.array([0, 2]), y)
    result = tstr(*data, learners={"recorder": lambda seed: Recorder(seed, next(rates))})
    score = result.score("recorder", "balanced accuracy")
    error = np.std([1, 0, 1], ddof=1) / np.sqrt(3)
    assert (score.real.value, score.generated.value) == pytest.approx((2 / 3, 1))
    assert (score.real.error, score.gap.error) == pytest.approx((error, error))
    assert score.generated.error == 0 and score.both.error == 0


def test_single_resample_has_no_standard_error():
    result = tstr(*classes(0), *classes(1), *classes(2), learners=BAYES, resamples=1)
    assert np.isnan(result.scores[0].real.error)


# Classes


def test_only_classes_of_test_rows_are_averaged():
    real, generated, (x, y) = (classes(k, n_classes=3) for k in range(3))
    x, y = x[y > 0], y[y > 0]
    result = tstr(*real, *generated, x, y, learners=BAYES, repeats=1)
    predicted = GaussianNB().fit(*real).predict(x)
    score = result.score("bayes", "balanced accuracy")
    expected = metrics.recall_score(y, predicted, average="macro", labels=[1, 2])
    assert (score.chance, score.real.value) == pytest.approx((0.5, expected))


def test_class_without_generated_rows_has_a_warning():
    real, test, (x, y) = classes(0), classes(1), classes(2)
    learners = {**CLASSIFIERS, "forest": small_forest}
    result = tstr(*real, x, 0 * y, *test, learners=learners, repeats=1)
    assert "1 of the 2 classes have no generated rows." in result.warnings
    for name in learners:
        assert result.score(name, "balanced accuracy").generated.value == 0.5
        assert result.score(name, "AUROC").generated.value == 0.5
        assert result.score(name, "AUROC").both.value > 0.5


def test_leaked_test_rows_have_a_warning():
    real, generated, test = classes(0), classes(1), classes(2)
    settings = {"learners": BAYES, "resamples": 5}
    assert not tstr(*real, *generated, *test, **settings).warnings
    leaked = real[0].copy(), real[1]
    leaked[0][:7] = test[0][:7]
    result = tstr(*leaked, *generated, *test, **settings)
    assert result.warnings == ("7 test rows equal real training rows; check for test set leakage.",)
    result = tstr(*real, *test, *test, **settings)
    assert "300 test rows equal generated rows" in result.warnings[0]


def test_few_distinct_numbers_have_a_warning():
    data = [part * 1.0 for k in range(3) for part in classes(k)]
    result = tstr(*data, learners=RIDGE, resamples=5)
    assert "pass integers if they are classes" in result.warnings[0]


# Formats, seeds and errors


@pytest.mark.slow
def test_images_and_tensors_give_the_same_result_without_side_effects():
    data = [classes(k) for k in range(3)]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    learners = {"forest": small_forest, **BAYES}
    result = tstr(*(part for pair in data for part in pair), learners=learners)
    images = [(torch.tensor(x).reshape(-1, 1, 2, 2), torch.tensor(y)) for x, y in data]
    tensors = [part for pair in images for part in pair]
    assert tstr(*tensors, learners=learners) == result
    assert tstr(*tensors, learners=BAYES, seed=1) != tstr(*tensors, learners=BAYES)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    assert str(result).startswith("forest, balanced accuracy (chance level 0.50): real 0.")
    with pytest.raises(VariedError, match="no score 'R of bayes'"):
        result.score("bayes", "R")


X, Y = classes(0, n=30)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, X[:, :3], "generated rows have 4 columns, but the real rows have 3"),
        (1, Y[:-1], "30 real rows but 29 targets"),
        (3, Y[:, None], r"generated targets have shape \(30, 1\)"),
        (2, X.ravel(), r"generated rows have shape \(120,\)"),
        (2, np.where(np.arange(30)[:, None] == 4, np.nan, X), "Row 4 of the generated rows"),
        (3, Y * 1.0, "the generated targets must be floats"),
        (3, Y + 1, "Class 2 has generated rows but no real rows"),
        (5, Y + 1, "Class 2 has test rows but no real rows"),
        (1, 0 * Y, "have the same target"),
        (5, 0 * Y, "have the same target"),
    ],
)
def test_mismatched_data_are_refused(position, value, message):
    data = [X, Y, X, Y, X, Y]
    data[position] = value
    with pytest.raises(VariedError, match=message):
        tstr(*data, learners=BAYES)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X, Y, X[1:], Y[1:], X, Y), {}, "required, got 30 real, 29 generated, 30 test rows"),
        ((X, Y, X, Y, X[:9], Y[:9]), {}, "9 test rows"),
        ((X, Y, X, Y, X, Y), {"repeats": 0}, "repeats=0"),
        ((X, Y * np.nan, X, Y * 1.0, X, Y * 1.0), {}, "targets contain NaN"),
    ],
)
def test_too_few_rows_are_refused(data, options, message):
    with pytest.raises(VariedError, match=message):
        tstr(*data, **options)
