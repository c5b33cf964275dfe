"""Calibration and coverage against scikit-learn, torchmetrics, closed forms and simulated draws."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from varied.errors import VariedError

c = import_module("varied.evaluate.calibration")


def drawn(seed=0, n=600, classes=4, heat=1.0):
    """Probabilities and truth drawn from them; a heat other than 1 makes them wrong afterwards."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    p, told = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, logits / heat))
    truth = (rng.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)
    return told, truth


def interval(hits, n, sure):
    found = binomtest(hits, n).proportion_ci(sure, method="exact")
    return found.low, found.high


def even(n=1000):
    """Confidences evenly between 0.5 and 1, so that bins of equal mass are bins of equal width."""
    sure = 0.5 + (np.arange(n) + 0.5) / (2 * n)
    right = (np.arange(n) * 7919 % 1000) / 1000 < 1.5 * sure - 0.35
    return np.stack([sure, 1 - sure], 1), np.where(right, 0, 1)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_scores_are_those_of_scikit_learn(seed, classes):
    p, truth = drawn(seed, classes=classes)
    found = c.calibration(p, truth, resamples=0)
    labels = range(classes)
    assert found.log_loss.value == pytest.approx(metrics.log_loss(truth, p, labels=labels), 1e-12)
    accuracy = metrics.accuracy_score(truth, p.argmax(1))
    assert found.accuracy.value == pytest.approx(accuracy, abs=1e-12)
    whole = np.eye(classes)[truth]
    brier = classes * metrics.mean_squared_error(whole, p)
    assert found.brier.value == pytest.approx(brier, abs=1e-12)
    if classes == 2:  # as a sum over classes it is twice that of the one class
        assert brier == pytest.approx(2 * metrics.brier_score_loss(truth, p[:, 1]))


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_the_curve_is_that_of_scikit_learn(bins):
    p, truth = drawn(1)
    right, sure = p.argmax(1) == truth, p.max(1)
    share, mean = calibration_curve(right, sure, n_bins=bins, strategy="quantile")
    found = c.calibration(p, truth, bins=bins, resamples=0)
    curve = found.reliability
    assert np.allclose(curve.accuracy, share, atol=1e-12)
    assert np.allclose(curve.confidence, mean, atol=1e-12)
    assert curve.rows.tolist() == [600 // bins] * bins
    assert found.ece.value == pytest.approx(np.abs(share - mean).mean(), abs=1e-12)
    ends = [interval(round(share * 600 / bins), 600 // bins, 0.95) for share in curve.accuracy]
    assert np.allclose(np.stack([curve.low, curve.high], 1), ends, atol=1e-9)


# torchmetrics 1.9.0: multiclass_calibration_error(p, truth, num_classes=2, n_bins=2 * bins), whose
# bins have equal width from 0 to 1, on `even()`; it counts in float32.
@pytest.mark.parametrize(("bins", "wanted"), [(10, 0.05199998617172241), (20, 0.05325000360608101)])
def test_the_error_is_that_of_torchmetrics(bins, wanted):
    p, truth = even()
    assert c.calibration(p, truth, bins=bins).ece.value == pytest.approx(wanted, abs=1e-6)


def test_errors_that_are_known():
    # Half of the rows are right: who says 0.5 errs by 0, who says 0.9 by 0.4, who is sure by 0.5.
    truth = np.arange(400) % 2
    for sure in (0.5, 0.9, 1.0):
        p = np.tile([sure, 1 - sure], (400, 1))
        found = c.calibration(p, truth)
        assert found.ece.value == pytest.approx(sure - 0.5, abs=1e-12)
        assert found.brier.value == pytest.approx(sure**2 + (1 - sure) ** 2)
        assert found.accuracy.value == 0.5 and found.confidence.value == pytest.approx(sure)
        assert found.reliability.rows.tolist() == [400]
    assert found.log_loss.value == math.inf and math.isnan(found.log_loss.error)
    right = c.calibration(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 2]))
    assert (right.ece.value, right.floor.value, right.brier.value) == (0, 0, 0)
    assert right.log_loss.value == 0


def test_the_floor_is_what_perfect_probabilities_show():
    found = [c.calibration(*drawn(seed, n=400), resamples=40) for seed in range(60)]
    shown = np.array([one.ece.value for one in found])
    floors = np.array([one.floor.value for one in found])
    assert shown.mean() == pytest.approx(floors.mean(), rel=0.06)
    assert shown.std(ddof=1) == pytest.approx(np.mean([one.floor.error for one in found]), rel=0.3)
    assert floors.mean() > 0.03  # not 0, and not to be taken for a fault


@pytest.mark.parametrize(("n", "bins"), [(600, 15), (3000, 15), (3000, 5), (3000, 60)])
def test_the_floor_is_near_its_closed_form(n, bins):
    p, truth = drawn(0, n=n)
    sure = np.sort(p.max(1)).reshape(bins, -1)
    wanted = math.sqrt(2 / math.pi) * np.sqrt((sure * (1 - sure)).sum(1)).sum() / n
    assert c.calibration(p, truth, bins=bins).floor.value == pytest.approx(wanted, rel=0.06)


def test_a_fault_stands_out_of_the_floor():
    for heat, over in ((0.3, True), (3.0, False)):
        found = c.calibration(*drawn(0, n=2000, heat=heat))
        assert found.ece.value > found.floor.value + 6 * found.floor.error
        assert (found.confidence.value > found.accuracy.value) == over
    fair = c.calibration(*drawn(0, n=2000))
    assert abs(fair.ece.value - fair.floor.value) < 4 * fair.floor.error


def test_the_standard_errors_are_the_spread_over_other_data():
    found = [c.calibration(*drawn(seed, n=300, heat=0.5), resamples=40) for seed in range(60)]
    for name in ("accuracy", "confidence", "ece", "brier", "log_loss"):
        each = [getattr(one, name) for one in found]
        spread = np.std([one.value for one in each], ddof=1)
        assert np.mean([one.error for one in each]) == pytest.approx(spread, rel=0.3)


def test_neither_the_order_of_rows_nor_that_of_classes_counts():
    p, truth = drawn(2)
    p, truth = np.round(p, 1), np.repeat(truth, 1)
    p[:, 0] += 1 - p.sum(1)
    p = np.abs(p) / np.abs(p).sum(1, keepdims=True)
    one = c.calibration(p + 1e-9, truth, resamples=0)
    rows, columns = np.random.default_rng(0).permutation(len(p)), np.array([2, 0, 3, 1])
    other = c.calibration((p + 1e-9)[rows], truth[rows], resamples=0)
    third = c.calibration(torch.tensor(p + 1e-9)[:, columns], columns.argsort()[truth], resamples=0)
    assert len(np.unique(p.max(1))) < 100  # rows tie, and stay together
    for name in ("ece", "brier", "log_loss"):
        value = getattr(one, name).value
        assert getattr(other, name).value == pytest.approx(value, abs=1e-12)
    assert third.brier.value == pytest.approx(one.brier.value, abs=1e-12)
    assert third.log_loss.value == pytest.approx(one.log_loss.value, abs=1e-12)


def test_rows_of_one_confidence_share_a_bin():
    sure = np.repeat([0.6, 0.8, 0.9], [45, 15, 40])
    found = c.calibration(np.stack([sure, 1 - sure], 1), np.zeros(100, int), bins=10)
    assert found.reliability.rows.tolist() == [45, 15, 40]
    assert found.reliability.confidence == pytest.approx([0.6, 0.8, 0.9])


def test_the_same_seed_gives_the_same_and_changes_nothing():
    p, truth = drawn(3)
    state = torch.get_rng_state()
    one, other = c.calibration(p, truth), c.calibration(torch.tensor(p), torch.tensor(truth))
    assert (one.ece, one.floor) == (other.ece, other.floor)
    assert c.calibration(p, truth, seed=1).floor != one.floor
    assert torch.equal(state, torch.get_rng_state())
    assert "calibration error" in str(one) and "nats" in str(one)
    half = torch.tensor(p).half().softmax(1)
    assert np.isfinite(c.calibration(half, truth, resamples=0).log_loss.value)


P, TRUTH = drawn(0, n=5)


@pytest.mark.parametrize(
    ("p", "truth", "message"),
    [
        (np.log(P), TRUTH, "Row 0 holds no probabilities .* softmax"),
        (np.where(np.arange(5)[:, None] == 3, np.nan, P), TRUTH, "Row 3 holds no .*1 such rows"),
        (2 * P, TRUTH, "5 such rows"),
        (P[:, 0], TRUTH, r"shape \(5,\).*1 - p beside it"),
        (P[:, :1] * 0 + 1, TRUTH, r"shape \(5, 1\)"),
        (P[:4], TRUTH, "4 rows of probabilities and 5 of truth"),
        (P, np.array([0, 1, 2, 4, 0]), "Row 3 is of class 4, .* classes 0 to 3"),
        (P, np.array([0, -1, 2, 3, 0]), "Row 1 is of class -1"),
        (P, TRUTH * 1.0, "type float64"),
        (P, np.eye(5, 4, dtype=int), r"shape \(5, 4\)"),
    ],
)
def test_what_are_no_probabilities_is_refused(p, truth, message):
    with pytest.raises(VariedError, match=message):
        c.calibration(p, truth)


def test_no_bins_are_refused():
    with pytest.raises(VariedError, match="bins=0 holds no row"):
        c.calibration(P, TRUTH, bins=0)


# Coverage


def test_the_share_its_interval_and_the_misses():
    truth = np.arange(100.0)
    found = c.coverage(np.full(100, 10.0), np.full(100, 94.5), truth)
    assert (found.share.value, found.below, found.above, found.width) == (0.85, 0.10, 0.05, 84.5)
    assert (found.low, found.high) == pytest.approx(interval(85, 100, 0.95), abs=1e-9)
    narrow = c.coverage(np.full(100, 10.0), np.full(100, 94.5), truth, confidence=0.5)
    assert found.low < narrow.low < 0.85 < narrow.high < found.high
    assert "coverage 0.85" in str(found) and "mean width 84.5" in str(found)


def test_ends_belong_to_the_interval_and_may_be_infinite():
    zero, one = torch.zeros(3), torch.ones(3)
    assert c.coverage(zero, one, torch.tensor([0.0, 1.0, 0.5])).share.value == 1
    assert c.coverage(zero, zero, zero).share.value == 1
    found = c.coverage(-one / 0, one, torch.tensor([-1e9, 1.0, 1.1]))
    assert found.share.value == pytest.approx(2 / 3) and found.width == math.inf
    none = c.coverage(zero, one, 5 * one, confidence=0.9)
    assert (none.low, none.high) == pytest.approx((0, 1 - 0.05 ** (1 / 3)))
    every = c.coverage(zero, one, zero, confidence=0.9)
    assert (every.low, every.high) == pytest.approx((0.05 ** (1 / 3), 1))


def test_the_interval_of_the_share_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    low, high = np.full(60, -1.6448536), np.full(60, 1.6448536)
    found = [c.coverage(low, high, rng.normal(size=60)) for _ in range(400)]
    held = np.mean([one.low <= 0.9 <= one.high for one in found])
    assert 0.95 - 0.02 <= held < 1
    assert np.mean([one.share.value for one in found]) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("low", "high", "truth", "message"),
    [
        ([0, 1, 2], [1, 0, 3], [0, 0, 0], "interval of row 1 ends at 0, below its start at 1"),
        ([0, 1, 2], [1, 2, 3], [0, 0], "3 lower ends, 3 upper ends and 2 rows"),
        ([0, np.nan, 2], [1, 2, 3], [0, 0, 0], "Row 1 of the lower ends is nan"),
        ([0, 1, 2], [1, 2, np.nan], [0, 0, 0], "Row 2 of the upper ends is nan"),
        ([0, 1, 2], [1, 2, 3], [np.inf, 0, 0], "Row 0 of the truth is inf"),
        ([[0, 1]], [[1, 2]], [[0, 1]], r"shape \(1, 2\)"),
        ([], [], [], r"shape \(0,\)"),
    ],
)
def test_what_are_no_intervals_is_refused(low, high, truth, message):
    with pytest.raises(VariedError, match=message):
        c.coverage(np.array(low), np.array(high), np.array(truth))


def test_a_confidence_that_is_no_share_is_refused():
    with pytest.raises(VariedError, match="confidence=95 is no share"):
        c.coverage(np.zeros(3), np.ones(3), np.zeros(3), confidence=95)
