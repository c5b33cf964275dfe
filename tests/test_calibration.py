"""Calibration and coverage against scikit-learn, torchmetrics, closed forms and simulations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from varied.errors import VariedError
from varied.evaluate.calibration import calibration, coverage


def simulate(seed=0, n=600, classes=4, temperature=1.0):
    """Return probabilities and sampled labels, miscalibrated unless ``temperature`` is 1."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    p, tempered = (
        np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, logits / temperature)
    )
    labels = (rng.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)
    return tempered, labels


def uniform_confidences(n=1000):
    """Confidences on a grid from 0.5 to 1, for which bins of equal mass have equal width."""
    confidence = 0.5 + (np.arange(n) + 0.5) / (2 * n)
    correct = (np.arange(n) * 7919 % 1000) / 1000 < 1.5 * confidence - 0.35
    return np.stack([confidence, 1 - confidence], 1), np.where(correct, 0, 1)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_scores_match_scikit_learn(seed, classes):
    p, labels = simulate(seed, classes=classes)
    result = calibration(p, labels, resamples=0)
    log_loss = metrics.log_loss(labels, p, labels=range(classes))
    assert result.log_loss.value == pytest.approx(log_loss, 1e-12)
    accuracy = metrics.accuracy_score(labels, p.argmax(1))
    assert result.accuracy.value == pytest.approx(accuracy, abs=1e-12)
    brier = classes * metrics.mean_squared_error(np.eye(classes)[labels], p)
    assert result.brier.value == pytest.approx(brier, abs=1e-12)
    if classes == 2:  # the sum over both classes is twice the score of class 1
        assert brier == pytest.approx(2 * metrics.brier_score_loss(labels, p[:, 1]))


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_calibration_error_matches_scikit_learn(bins):
    p, labels = simulate(1)
    accuracy, confidence = calibration_curve(
        p.argmax(1) == labels, p.max(1), n_bins=bins, strategy="quantile"
    )
    result = calibration(p, labels, bins=bins, resamples=0)
    assert result.ece.value == pytest.approx(np.abs(accuracy - confidence).mean(), abs=1e-12)


# torchmetrics 1.9.0: multiclass_calibration_error(p, labels, num_classes=2, n_bins=2 * bins), with
# bins of equal width in [0, 1], in float32.
@pytest.mark.parametrize(
    ("bins", "expected"), [(10, 0.05199998617172241), (20, 0.05325000360608101)]
)
def test_calibration_error_matches_torchmetrics(bins, expected):
    result = calibration(*uniform_confidences(), bins=bins)
    assert result.ece.value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 1.0])
def test_constant_confidence_with_half_of_the_predictions_correct(confidence):
    p = np.tile([confidence, 1 - confidence], (400, 1))
    result = calibration(p, np.arange(400) % 2)
    assert result.ece.value == pytest.approx(confidence - 0.5, abs=1e-12)
    assert result.brier.value == pytest.approx(confidence**2 + (1 - confidence) ** 2)
    assert result.accuracy.value == 0.5
    assert result.confidence.value == pytest.approx(confidence)
    if confidence == 1:
        assert result.log_loss.value == math.inf and math.isnan(result.log_loss.error)


def test_certain_and_correct_predictions():
    result = calibration(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 2]))
    assert (result.ece.value, result.ece_floor.value, result.brier.value) == (0, 0, 0)
    assert result.log_loss.value == 0


def test_floor_is_the_error_of_perfect_probabilities():
    results = [calibration(*simulate(seed, n=400), resamples=40) for seed in range(60)]
    errors = np.array([result.ece.value for result in results])
    floors = np.array([result.ece_floor.value for result in results])
    assert errors.mean() == pytest.approx(floors.mean(), rel=0.06)
    stds = [result.ece_floor.error for result in results]
    assert errors.std(ddof=1) == pytest.approx(np.mean(stds), rel=0.3)
    assert floors.mean() > 0.03


@pytest.mark.parametrize(("n", "bins"), [(600, 15), (3000, 15), (3000, 5), (3000, 60)])
def test_floor_is_close_to_its_closed_form(n, bins):
    p, labels = simulate(0, n=n)
    confidence = np.sort(p.max(1)).reshape(bins, -1)
    variance = (confidence * (1 - confidence)).sum(1)
    expected = math.sqrt(2 / math.pi) * np.sqrt(variance).sum() / n
    assert calibration(p, labels, bins=bins).ece_floor.value == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(("temperature", "overconfident"), [(0.3, True), (3.0, False)])
def test_miscalibration_exceeds_the_floor(temperature, overconfident):
    result = calibration(*simulate(0, n=2000, temperature=temperature))
    assert result.ece.value > result.ece_floor.value + 6 * result.ece_floor.error
    assert (result.confidence.value > result.accuracy.value) == overconfident


def test_calibrated_probabilities_are_close_to_the_floor():
    result = calibration(*simulate(0, n=2000))
    assert abs(result.ece.value - result.ece_floor.value) < 4 * result.ece_floor.error


def test_standard_errors_match_the_variation_over_data():
    results = [
        calibration(*simulate(seed, n=300, temperature=0.5), resamples=40) for seed in range(60)
    ]
    for name in ("accuracy", "confidence", "ece", "brier", "log_loss"):
        estimates = [getattr(result, name) for result in results]
        variation = np.std([estimate.value for estimate in estimates], ddof=1)
        errors = [estimate.error for estimate in estimates]
        assert np.mean(errors) == pytest.approx(variation, rel=0.3)


def test_order_of_rows_and_classes_does_not_matter():
    p, labels = simulate(2)
    p = np.round(p, 1)  # with ties
    p[:, 0] += 1 - p.sum(1)
    p = np.abs(p) / np.abs(p).sum(1, keepdims=True) + 1e-9
    assert len(np.unique(p.max(1))) < 100
    result = calibration(p, labels, resamples=0)
    rows, columns = np.random.default_rng(0).permutation(len(p)), np.array([2, 0, 3, 1])
    of_rows = calibration(p[rows], labels[rows], resamples=0)
    of_columns = calibration(torch.tensor(p)[:, columns], columns.argsort()[labels], resamples=0)
    for name in ("ece", "brier", "log_loss"):
        expected = pytest.approx(getattr(result, name).value, abs=1e-12)
        assert getattr(of_rows, name).value == expected
        if name != "ece":  # how ties of the predicted class are broken depends on the order
            assert getattr(of_columns, name).value == expected


def test_rows_with_the_same_confidence_share_a_bin():
    # All bins of 0.8 and 0.9 are correct; separate bins of the 45 rows of 0.6 would add errors.
    confidence = np.repeat([0.6, 0.8, 0.9], [40, 20, 40])
    labels = np.zeros(100, int)
    labels[:16] = 1  # 24 of 40 are correct
    result = calibration(np.stack([confidence, 1 - confidence], 1), labels, bins=10)
    assert result.ece.value == pytest.approx(0.2 * 0.2 + 0.4 * 0.1)


def test_same_seed_gives_the_same_result_without_side_effects():
    p, labels = simulate(3)
    state = torch.get_rng_state()
    first, second = calibration(p, labels), calibration(torch.tensor(p), torch.tensor(labels))
    assert first == second
    assert calibration(p, labels, seed=1).ece_floor != first.ece_floor
    assert torch.equal(state, torch.get_rng_state())
    assert "calibration error" in str(first) and "nats" in str(first)


def test_half_precision_is_accepted():
    p, labels = simulate(3)
    half = torch.tensor(p).half().softmax(1)
    assert np.isfinite(calibration(half, labels, resamples=0).log_loss.value)


P, LABELS = simulate(0, n=5)


@pytest.mark.parametrize(
    ("p", "labels", "options", "message"),
    [
        (np.log(P), LABELS, {}, "probabilities of row 0 are negative .* softmax"),
        (np.where(np.arange(5)[:, None] == 3, np.nan, P), LABELS, {}, "Row 3 .* contains NaN"),
        (2 * P, LABELS, {}, "5 such rows"),
        (P[:, 0], LABELS, {}, r"shape \(5,\)"),
        (P[:, :1] * 0 + 1, LABELS, {}, "one column of probabilities"),
        (P[:4], LABELS, {}, "4 rows of probabilities but 5 labels"),
        (P, np.array([0, 1, 2, 4, 0]), {}, "Row 3 has class 4, .* classes 0 to 3"),
        (P, np.array([0, -1, 2, 3, 0]), {}, "Row 1 has class -1"),
        (P, LABELS * 1.0, {}, "type float64"),
        (P, np.eye(5, 4, dtype=int), {}, r"shape \(5, 4\)"),
        (P, LABELS, {"bins": 0}, "bins=0 must be at least 1"),
    ],
)
def test_calibration_refuses(p, labels, options, message):
    with pytest.raises(VariedError, match=message):
        calibration(p, labels, **options)


# Coverage


def test_coverage_with_its_interval_and_misses():
    low, high, truth = np.full(100, 10.0), np.full(100, 94.5), np.arange(100.0)
    result = coverage(low, high, truth)
    values = (result.coverage.value, result.below, result.above, result.width)
    assert values == (0.85, 0.10, 0.05, 84.5)
    exact = binomtest(85, 100).proportion_ci(0.95, method="exact")
    assert (result.ci_low, result.ci_high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    narrow = coverage(low, high, truth, confidence=0.5)
    assert result.ci_low < narrow.ci_low < 0.85 < narrow.ci_high < result.ci_high
    assert "coverage 0.85" in str(result) and "mean width 84.5" in str(result)


def test_ends_belong_to_the_interval_and_may_be_infinite():
    zero, ones = torch.zeros(3), torch.ones(3)
    assert coverage(zero, ones, torch.tensor([0.0, 1.0, 0.5])).coverage.value == 1
    assert coverage(zero, zero, zero).coverage.value == 1
    result = coverage(-ones / 0, ones, torch.tensor([-1e9, 1.0, 1.1]))
    assert result.coverage.value == pytest.approx(2 / 3) and result.width == math.inf


def test_interval_without_hits_or_misses():
    zero, ones = torch.zeros(3), torch.ones(3)
    none = coverage(zero, ones, 5 * ones, confidence=0.9)
    assert (none.ci_low, none.ci_high) == pytest.approx((0, 1 - 0.05 ** (1 / 3)))
    full = coverage(zero, ones, zero, confidence=0.9)
    assert (full.ci_low, full.ci_high) == pytest.approx((0.05 ** (1 / 3), 1))


def test_interval_of_the_coverage_has_its_confidence():
    rng = np.random.default_rng(0)
    low, high = np.full(60, -1.6448536), np.full(60, 1.6448536)
    results = [coverage(low, high, rng.normal(size=60)) for _ in range(400)]
    covered = np.mean([result.ci_low <= 0.9 <= result.ci_high for result in results])
    assert 0.95 - 0.02 <= covered < 1
    assert np.mean([r.coverage.value for r in results]) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("low", "high", "truth", "options", "message"),
    [
        ([0, 1, 2], [1, 0, 3], [0, 0, 0], {}, "lower bound of row 1, 1, is above"),
        ([0, 1, 2], [1, 2, 3], [0, 0], {}, "3 intervals but 2 true values"),
        ([0, 1, 2], [1, 2], [0, 0, 0], {}, "3 lower bounds but 2 upper bounds"),
        ([0, np.nan, 2], [1, 2, 3], [0, 0, 0], {}, "Row 1 of the lower bounds is nan"),
        ([0, 1, 2], [1, 2, np.nan], [0, 0, 0], {}, "Row 2 of the upper bounds is nan"),
        ([0, 1, 2], [1, 2, 3], [np.inf, 0, 0], {}, "Row 0 of the true values is inf"),
        ([[0, 1]], [[1, 2]], [[0, 1]], {}, r"shape \(1, 2\)"),
        ([], [], [], {}, r"shape \(0,\)"),
        ([0, 1], [1, 2], [0, 1], {"confidence": 95}, "confidence=95 must be above 0 and below 1"),
    ],
)
def test_coverage_refuses(low, high, truth, options, message):
    with pytest.raises(VariedError, match=message):
        coverage(np.array(low), np.array(high), np.array(truth), **options)
