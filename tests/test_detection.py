"""Anomaly detection against scikit-learn and closed forms; guarantees against simulations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom, binomtest, norm
from sklearn import metrics

from varied.errors import VariedError
from varied.evaluate._resampling import resample_strata
from varied.evaluate.anomaly_threshold import p_values, threshold
from varied.evaluate.detection import auroc, average_precision, detection, fpr_at

METRICS = (auroc, average_precision, fpr_at)


def simulate(seed, n=400, anomalies=60, shift=1.0, step=0.0):
    """Return scores and labels in random order; with a ``step``, scores are rounded and tied."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(n) < anomalies
    scores = rng.normal(size=n) + shift * truth
    return (np.round(scores / step) * step if step else scores), truth


# Metrics


@pytest.mark.parametrize("step", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_match_scikit_learn(seed, step):
    scores, truth = simulate(seed, shift=seed - 1, step=step)
    assert auroc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    expected = metrics.average_precision_score(truth, scores)
    assert average_precision(scores, truth) == pytest.approx(expected, abs=1e-12)
    fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    for recall in (0.05, 0.5, 0.95, 1.0):
        expected = fpr[tpr >= recall].min()
        assert fpr_at(scores, truth, recall=recall) == pytest.approx(expected, abs=1e-12)


def test_ties_count_half_and_are_detected_together():
    scores, truth = np.array([1, 2, 2, 2, 3.0]), np.array([0, 0, 0, 1, 1])
    assert auroc(scores, truth) == pytest.approx((3 + 1 + 0.5 * 2) / 6)
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 4) / 2)
    assert fpr_at(scores, truth) == pytest.approx(2 / 3)
    assert fpr_at(scores, truth, recall=0.5) == 0


@pytest.mark.parametrize(
    ("missed", "normal", "detected", "recall", "expected"),
    [
        (1, 30, 19, 0.95, 0),  # 0.95 * 20 = 19: one anomaly may be missed
        (1, 30, 19, 0.951, 1),
        (93, 5, 7, 0.07, 0),  # 0.07 * 100 is slightly more than 7 in floating point
    ],
)
def test_recall_is_a_number_of_anomalies(missed, normal, detected, recall, expected):
    scores = np.repeat([0.0, 1.0, 2.0], [missed, normal, detected])
    truth = np.repeat([1, 0, 1], [missed, normal, detected])
    assert fpr_at(scores, truth, recall=recall) == expected


def test_constant_scores_have_chance_level_and_a_warning():
    result = detection(np.ones(200), np.arange(200) < 30)
    values = (result.auroc.value, result.average_precision.value, result.fpr.value)
    assert values == (0.5, 0.15, 1.0)
    assert result.base_rate == 0.15
    assert any("All scores are equal" in warning for warning in result.warnings)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_metrics_of_two_gaussians(shift):
    result = detection(*simulate(0, n=40_000, anomalies=4000, shift=shift), resamples=20)
    assert result.auroc.value == pytest.approx(norm.cdf(shift / math.sqrt(2)), abs=0.01)
    assert result.fpr.value == pytest.approx(norm.sf(norm.ppf(0.05) + shift), abs=0.03)
    if shift == 0:
        assert result.average_precision.value == pytest.approx(0.1, abs=0.02)
    assert not result.warnings


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_only_depend_on_the_order_of_scores(metric):
    scores, truth = simulate(2, step=0.25)
    order = np.random.default_rng(0).permutation(len(scores))
    expected = metric(scores, truth)
    assert metric(scores[order], truth[order]) == expected
    assert metric(np.exp(scores), truth) == expected
    assert metric(torch.tensor(1e6 + 4 * scores), torch.tensor(truth).int()) == expected
    assert auroc(-scores, truth) == pytest.approx(1 - auroc(scores, truth), abs=1e-12)


def test_float64_scores_are_not_rounded_to_ties():
    scores = 1.0 + np.array([0, 1, 2, 3]) * 1e-12
    assert auroc(torch.tensor(scores), torch.tensor([0, 0, 1, 1])) == 1


@pytest.mark.slow
def test_standard_errors_match_the_variation_over_data():
    results = [detection(*simulate(seed, n=300, anomalies=60), resamples=60) for seed in range(60)]
    for name, tolerance in (("auroc", 0.2), ("average_precision", 0.3), ("fpr", 0.4)):
        estimates = [getattr(result, name) for result in results]
        variation = np.std([estimate.value for estimate in estimates], ddof=1)
        errors = [estimate.error for estimate in estimates]
        assert np.mean(errors) == pytest.approx(variation, rel=tolerance)


def test_class_of_one_row_has_no_standard_error():
    result = detection(*simulate(0, anomalies=1))
    errors = [result.auroc.error, result.average_precision.error, result.fpr.error]
    assert np.isnan(errors).all()
    assert any("A class has only 1 row," in warning for warning in result.warnings)
    assert np.isfinite(detection(*simulate(0, anomalies=2)).auroc.error)


def test_detection_reports_counts_and_base_rate():
    scores, truth = simulate(3)
    result = detection(scores, truth)
    assert (result.n_anomalies, result.n, result.auroc.n) == (60, 400, 400)
    lines = str(result).splitlines()
    assert lines[1].startswith("average precision") and lines[1].endswith("(base rate 0.15)")
    assert lines[3] == "60 anomalies in 400 rows"
    assert result.auroc.value == auroc(scores, truth)
    negated = detection(-scores, truth)
    assert any("check the sign of the scores" in warning for warning in negated.warnings)


def test_same_seed_gives_the_same_result_without_side_effects():
    scores, truth = simulate(4)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert detection(scores, truth) == detection(torch.tensor(scores), torch.tensor(truth))
    assert detection(scores, truth, seed=1) != detection(scores, truth)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    assert np.isnan(detection(scores, truth, resamples=0).auroc.error)


def test_stratified_resamples_keep_the_classes():
    strata = np.array([0, 1, 1, 0, 2, 1])
    resamples = list(resample_strata(strata, 30, 0, "rows"))
    assert all(np.bincount(strata[rows]).tolist() == [2, 3, 1] for rows in resamples)
    assert len({tuple(rows) for rows in resamples}) > 10
    assert set(np.concatenate(resamples)) == set(range(6))


NAN = np.array([0.0, 1, np.nan, 3, np.inf])


@pytest.mark.parametrize("metric", [detection, *METRICS])
@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (NAN, [0, 1, 0, 1, 0], r"Row 2 of the scores is nan \(2 such rows\)"),
        (np.arange(4.0), [0, 1, 0], "4 scores but 3 labels"),
        (np.zeros((4, 1)), [0, 1, 0, 1], r"scores have shape \(4, 1\)"),
        (np.zeros(0), [], r"scores have shape \(0,\)"),
        (np.arange(4.0), [0, 1, 2, 1], "1 for anomalies and 0"),
        (np.arange(4.0), [[0, 1, 0, 1]], "1 for anomalies and 0"),
        (np.arange(4.0), [0.0, 1, np.nan, 1], "1 for anomalies and 0"),
        (np.arange(4.0), [1, 1, 1, 1], "All rows are anomalies"),
        (np.arange(4.0), [0, 0, 0, 0], "All rows are normal"),
    ],
)
def test_metrics_refuse(metric, scores, truth, message):
    with pytest.raises(VariedError, match=message):
        metric(scores, np.array(truth))


@pytest.mark.parametrize("recall", [0.0, 1.1, -1, math.nan])
def test_recall_out_of_range_is_refused(recall):
    with pytest.raises(VariedError, match="must be above 0 and at most 1"):
        fpr_at(*simulate(0), recall=recall)


# Thresholds


@pytest.mark.parametrize(
    ("n", "max_fpr", "confidence"),
    [(59, 0.05, 0.95), (100, 0.05, 0.9), (300, 0.02, 0.95), (40, 0.3, 0.5)],
)
def test_threshold_has_its_confidence(n, max_fpr, confidence):
    draws = np.random.default_rng(n).random((2000, n))
    settings = {"max_fpr": max_fpr, "confidence": confidence}
    fpr = np.array([1 - threshold(scores, **settings).value for scores in draws])
    result = threshold(draws[0], **settings)
    # The exact confidence is at least the requested one, but lower for a lower threshold.
    above = round(result.expected_fpr * (n + 1)) - 1
    exact = binom.sf(above, n, max_fpr)
    assert exact >= confidence > binom.sf(above + 1, n, max_fpr)
    tolerance = 4 * math.sqrt(exact * (1 - exact) / 2000)
    assert (fpr <= max_fpr).mean() == pytest.approx(exact, abs=tolerance)
    assert fpr.mean() == pytest.approx(result.expected_fpr, rel=0.05)
    assert (fpr <= result.bound).mean() == pytest.approx(confidence, abs=0.025)


def test_guarantee_holds_for_tied_scores():
    rng = np.random.default_rng(0)
    values, hits = np.arange(6), 0
    for _ in range(500):
        limit = threshold(rng.integers(0, 6, 80).astype(float), max_fpr=0.2)
        hits += (values > limit.value).mean() <= 0.2
    assert hits >= 0.95 * 500


def test_bound_is_that_of_clopper_and_pearson():
    scores = np.random.default_rng(1).normal(size=250)
    limit = threshold(scores, max_fpr=0.06, confidence=0.9)
    above = int((scores > limit.value).sum())
    expected = binomtest(above, 250, alternative="less").proportion_ci(0.9, method="exact").high
    assert limit.bound == pytest.approx(expected, abs=1e-10)
    assert limit.bound <= 0.06 < beta.ppf(0.9, above + 2, 250 - above - 1)
    assert limit.n == 250 and limit.confidence == 0.9


def test_scores_above_the_threshold_are_anomalous():
    limit = threshold(torch.arange(1.0, 60.0))
    assert limit.value == 59
    assert limit.is_anomaly(torch.tensor([58.0, 59.0, 59.5])).tolist() == [False, False, True]
    assert "at most 0.0495 with confidence 0.95, based on 59 normal scores" in str(limit)
    order = torch.randperm(59, generator=torch.Generator().manual_seed(0))
    assert threshold(torch.arange(1.0, 60.0)[order]) == limit


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        (
            np.arange(58.0),
            {},
            r"58 normal scores .*; pass at least 59 scores, or use max_fpr=0\.0504\.",
        ),
        (np.arange(20.0), {}, "20 normal scores cannot guarantee"),
        (np.arange(1.0), {}, r"max_fpr=0\.95\."),
        (NAN, {}, "Row 2 of the scores is nan"),
        (np.arange(99.0), {"max_fpr": 0.0}, "must be above 0 and below 1"),
        (np.arange(99.0), {"max_fpr": 1.0}, "must be above 0 and below 1"),
        (np.arange(99.0), {"confidence": 1.0}, "must be above 0 and below 1"),
        (np.arange(99.0), {"confidence": 95}, "must be above 0 and below 1"),
    ],
)
def test_threshold_refuses(scores, settings, message):
    with pytest.raises(VariedError, match=message):
        threshold(scores, **settings)


def test_rate_from_the_error_message_can_be_guaranteed():
    assert threshold(np.arange(58.0), max_fpr=0.0504).value == 57


# p-values


def test_p_values_match_their_definition():
    normal, scores = np.array([3.0, 1, 2, 2]), np.array([0.5, 1, 1.5, 2, 2.5, 3, 9])
    expected = [(1 + sum(n >= s for n in normal)) / 5 for s in scores]
    assert p_values(torch.tensor(scores), torch.tensor(normal)).tolist() == expected
    assert p_values(scores, normal[::-1]).tolist() == expected


def test_p_values_of_normal_rows_are_uniform():
    draws = np.random.default_rng(2).normal(size=(8000, 20))
    p = np.array([p_values(row[:1], row[1:])[0] for row in draws])
    for level in (0.05, 0.1, 0.5, 0.95):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * math.sqrt(0.25 / 8000))
    assert (p <= 0.049).mean() == 0


def test_p_values_are_valid_for_tied_scores():
    draws = np.random.default_rng(3).integers(0, 4, (4000, 20)).astype(float)
    p = np.array([p_values(row[:1], row[1:])[0] for row in draws])
    for level in (0.1, 0.3, 0.5):
        assert (p <= level).mean() <= level + 4 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize(
    ("scores", "normal", "message"),
    [
        (np.arange(3.0), np.zeros(0), r"shape \(0,\)"),
        (NAN, np.arange(3.0), "Row 2 of the scores is nan"),
    ],
)
def test_p_values_refuse(scores, normal, message):
    with pytest.raises(VariedError, match=message):
        p_values(scores, normal)
