"""Figures of anomaly detection against scikit-learn; promises against many simulated draws."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom, binomtest, norm
from sklearn import metrics

from varied.errors import VariedError

d = import_module("varied.evaluate.detection")


def drawn(seed, n=400, strange=60, apart=1.0, step=0.0):
    """Scores and truth in random order; a step rounds the scores, so that they tie."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(n) < strange
    scores = rng.normal(size=n) + apart * truth
    return (np.round(scores / step) * step if step else scores), truth


def fpr(scores, truth, recall):
    wrong, found, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    return wrong[found >= recall].min()


# The figures


@pytest.mark.parametrize("step", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_scikit_learn(seed, step):
    scores, truth = drawn(seed, apart=seed - 1, step=step)
    assert d.auroc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    wanted = metrics.average_precision_score(truth, scores)
    assert d.average_precision(scores, truth) == pytest.approx(wanted, abs=1e-12)
    for recall in (0.05, 0.5, 0.95, 1.0):
        found = d.fpr_at(scores, truth, recall=recall)
        assert found == pytest.approx(fpr(scores, truth, recall), abs=1e-12)


def test_ties_count_a_half_and_alarm_together():
    scores, truth = np.array([1, 2, 2, 2, 3.0]), np.array([0, 0, 0, 1, 1])
    assert d.auroc(scores, truth) == (3 + 2 + 0.5 * 2 - 1) / 6 == 5 / 6
    assert d.average_precision(scores, truth) == pytest.approx((1 + 2 / 4) / 2)
    assert d.fpr_at(scores, truth) == pytest.approx(2 / 3)
    assert d.fpr_at(scores, truth, recall=0.5) == 0


def test_recall_is_counted_in_whole_anomalies():
    # 0.95 of 20 are 19: the one anomaly below all normal rows may be missed.
    scores = np.concatenate([np.zeros(1), np.ones(30), np.full(19, 2.0)])
    truth = np.r_[1, np.zeros(30, int), np.ones(19, int)]
    assert d.fpr_at(scores, truth, recall=0.95) == 0
    assert d.fpr_at(scores, truth, recall=0.951) == 1
    # In floats 0.07 * 100 is 7 and a little: 8 would be asked for.
    scores = np.concatenate([np.full(93, -1.0), np.zeros(5), np.ones(7)])
    truth = np.r_[np.ones(93, int), np.zeros(5, int), np.ones(7, int)]
    assert d.fpr_at(scores, truth, recall=0.07) == 0


def test_scores_that_know_nothing_have_the_figures_of_chance():
    truth = np.arange(200) < 30
    found = d.detection(np.ones(200), truth)
    assert (found.auroc.value, found.average_precision.value, found.fpr.value) == (0.5, 0.15, 1.0)
    assert found.base_rate == 0.15
    assert any("All scores are equal" in said for said in found.warnings)
    scores, truth = drawn(0, n=20000, strange=2000, apart=0)
    found = d.detection(scores, truth, resamples=20)
    assert found.auroc.value == pytest.approx(0.5, abs=0.02)
    assert found.average_precision.value == pytest.approx(0.1, abs=0.02)
    assert found.fpr.value == pytest.approx(0.95, abs=0.02)
    assert not found.warnings


def test_two_gaussians_have_the_area_that_is_known():
    scores, truth = drawn(1, n=40000, strange=4000, apart=1.5)
    found = d.detection(scores, truth, resamples=20)
    assert found.auroc.value == pytest.approx(norm.cdf(1.5 / math.sqrt(2)), abs=0.01)
    assert found.fpr.value == pytest.approx(norm.sf(norm.ppf(0.05) + 1.5), abs=0.03)


def test_only_the_order_of_scores_counts_and_never_the_order_of_rows():
    scores, truth = drawn(2, step=0.25)
    order = np.random.default_rng(0).permutation(len(scores))
    for figure in (d.auroc, d.average_precision, d.fpr_at):
        found = figure(scores, truth)
        assert figure(scores[order], truth[order]) == found
        assert figure(np.exp(scores), truth) == found
        assert figure(torch.tensor(1e6 + 4 * scores), torch.tensor(truth).int()) == found
    assert d.auroc(-scores, truth) == pytest.approx(1 - d.auroc(scores, truth), abs=1e-12)


def test_float64_is_not_rounded_to_ties():
    scores = 1.0 + np.array([0, 1, 2, 3]) * 1e-12
    assert d.auroc(torch.tensor(scores), torch.tensor([0, 0, 1, 1])) == 1


def test_the_standard_errors_are_the_spread_over_other_data():
    found = [d.detection(*drawn(seed, n=300, strange=60), resamples=60) for seed in range(60)]
    for name, off in (("auroc", 0.2), ("average_precision", 0.3), ("fpr", 0.4)):
        each = [getattr(one, name) for one in found]
        spread = np.std([one.value for one in each], ddof=1)
        assert np.mean([one.error for one in each]) == pytest.approx(spread, rel=off)


def test_a_class_of_one_row_has_no_standard_error():
    scores, truth = drawn(0, strange=1)
    found = d.detection(scores, truth)
    assert np.isnan([found.auroc.error, found.average_precision.error, found.fpr.error]).all()
    assert any("A class has 1 rows" in said for said in found.warnings)
    assert np.isfinite(d.detection(*drawn(0, strange=2)).auroc.error)


def test_what_is_told_holds_the_counts_and_the_base_rate():
    scores, truth = drawn(3)
    found = d.detection(scores, truth)
    assert (found.anomalies, found.rows, found.auroc.n) == (60, 400, 400)
    told = str(found).splitlines()
    assert told[1].startswith("average precision") and told[1].endswith("(base rate 0.15)")
    assert told[3] == "60 anomalies in 400 rows"
    assert found.auroc.value == d.auroc(scores, truth)
    turned = d.detection(-scores, truth)
    assert any("does higher mean stranger" in said for said in turned.warnings)


def test_the_same_seed_gives_the_same_and_changes_nothing():
    scores, truth = drawn(4)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert d.detection(scores, truth) == d.detection(torch.tensor(scores), torch.tensor(truth))
    assert d.detection(scores, truth, seed=1) != d.detection(scores, truth)
    assert torch.equal(state, torch.get_rng_state())
    assert (other == np.random.get_state()[1]).all()
    assert np.isnan(d.detection(scores, truth, resamples=0).auroc.error)


def test_resamples_keep_the_classes():
    strata = np.array([0, 1, 1, 0, 2, 1])
    drawn_rows = list(d.resampled(strata, 30, 0))
    assert all(np.bincount(strata[rows]).tolist() == [2, 3, 1] for rows in drawn_rows)
    assert len({tuple(rows) for rows in drawn_rows}) > 10
    assert set(np.concatenate(drawn_rows)) == set(range(6))


NAN = np.array([0.0, 1, np.nan, 3, np.inf])


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (NAN, [0, 1, 0, 1, 0], r"score of row 2 is nan \(2 such rows\)"),
        (np.arange(4.0), [0, 1, 0], "4 scores and 3 labels"),
        (np.zeros((4, 1)), [0, 1, 0, 1], r"scores have shape \(4, 1\)"),
        (np.zeros(0), [], r"scores have shape \(0,\)"),
        (np.arange(4.0), [0, 1, 2, 1], "not a 0 or 1"),
        (np.arange(4.0), [[0, 1, 0, 1]], "not a 0 or 1"),
        (np.arange(4.0), [0.0, 1, np.nan, 1], "not a 0 or 1"),
        (np.arange(4.0), [1, 1, 1, 1], "Every row is an anomaly"),
        (np.arange(4.0), [0, 0, 0, 0], "Every row is normal"),
    ],
)
def test_what_tells_nothing_apart_is_refused(scores, truth, message):
    for figure in (d.detection, d.auroc, d.average_precision, d.fpr_at):
        with pytest.raises(VariedError, match=message):
            figure(scores, np.array(truth))


@pytest.mark.parametrize("recall", [0.0, 1.1, -1, math.nan])
def test_a_recall_that_is_no_share_is_refused(recall):
    with pytest.raises(VariedError, match="no share of the anomalies"):
        d.fpr_at(*drawn(0), recall=recall)


# Thresholds


@pytest.mark.parametrize(
    ("n", "rate", "sure"), [(59, 0.05, 0.95), (100, 0.05, 0.9), (300, 0.02, 0.95), (40, 0.3, 0.5)]
)
def test_the_promise_of_a_threshold_is_kept_as_often_as_it_says(n, rate, sure):
    draws = np.random.default_rng(n).random((2000, n))
    true = np.array([1 - d.threshold(s, max_fpr=rate, confidence=sure).value for s in draws])
    kept = (true <= rate).mean()
    found = d.threshold(draws[0], max_fpr=rate, confidence=sure)
    # How often it is kept is known exactly: at least as often as promised, and no line lower would.
    above = round(found.expected * (n + 1)) - 1
    exact = binom.sf(above, n, rate)
    assert exact >= sure > binom.sf(above + 1, n, rate)
    assert kept == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 2000))
    assert true.mean() == pytest.approx(found.expected, rel=0.05)
    assert (true <= found.bound).mean() == pytest.approx(sure, abs=0.025)


def test_the_promise_holds_where_scores_tie():
    rng = np.random.default_rng(0)
    grid, held = np.arange(6), 0
    for _ in range(500):
        line = d.threshold(rng.integers(0, 6, 80).astype(float), max_fpr=0.2)
        held += (grid > line.value).mean() <= 0.2
    assert held >= 0.95 * 500


def test_the_bound_is_that_of_clopper_and_pearson():
    scores = np.random.default_rng(1).normal(size=250)
    line = d.threshold(scores, max_fpr=0.06, confidence=0.9)
    above = int((scores > line.value).sum())
    wanted = binomtest(above, 250, alternative="less").proportion_ci(0.9, method="exact").high
    assert line.bound == pytest.approx(wanted, abs=1e-10)
    assert line.bound <= 0.06 < beta.ppf(0.9, above + 2, 250 - above - 1)
    assert line.n == 250 and line.confidence == 0.9


def test_alarms_are_above_the_line_and_not_on_it():
    line = d.threshold(torch.arange(1.0, 60.0))
    assert line.value == 59
    assert line.alarms(torch.tensor([58.0, 59.0, 59.5])).tolist() == [False, False, True]
    assert "0.0495 false alarms at most with confidence 0.95, from 59 normal scores" in str(line)
    order = torch.randperm(59, generator=torch.Generator().manual_seed(0))
    assert d.threshold(torch.arange(1.0, 60.0)[order]) == line


def test_too_few_normal_scores_say_what_they_can_promise():
    with pytest.raises(VariedError, match=r"58 normal .* but 0\.0504 at best: give 59,"):
        d.threshold(np.arange(58.0))
    assert d.threshold(np.arange(58.0), max_fpr=0.0504).value == 57
    with pytest.raises(VariedError, match="20 normal"):
        d.threshold(np.arange(20.0))
    with pytest.raises(VariedError, match=r"but 0\.95 at best"):
        d.threshold(np.arange(1.0))


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        (NAN, {}, "score of row 2 is nan"),
        (np.arange(99.0), {"max_fpr": 0.0}, "are shares"),
        (np.arange(99.0), {"max_fpr": 1.0}, "are shares"),
        (np.arange(99.0), {"confidence": 1.0}, "are shares"),
        (np.arange(99.0), {"confidence": 95}, "are shares"),
    ],
)
def test_a_threshold_of_nothing_is_refused(scores, settings, message):
    with pytest.raises(VariedError, match=message):
        d.threshold(scores, **settings)


# p-values


def test_p_values_are_the_shares_of_normal_scores_at_or_above():
    normal, scores = np.array([3.0, 1, 2, 2]), np.array([0.5, 1, 1.5, 2, 2.5, 3, 9])
    wanted = [(1 + sum(n >= s for n in normal)) / 5 for s in scores]
    assert d.p_values(torch.tensor(scores), torch.tensor(normal)).tolist() == wanted
    assert d.p_values(scores, normal[::-1]).tolist() == wanted


def test_p_values_of_normal_rows_are_uniform_on_their_steps():
    draws = np.random.default_rng(2).normal(size=(8000, 20))
    found = np.array([d.p_values(row[:1], row[1:])[0] for row in draws])
    for share in (0.05, 0.1, 0.5, 0.95):
        assert (found <= share).mean() == pytest.approx(share, abs=4 * math.sqrt(0.25 / 8000))
    assert (found <= 0.049).mean() == 0


def test_p_values_promise_no_less_where_scores_tie():
    draws = np.random.default_rng(3).integers(0, 4, (4000, 20)).astype(float)
    found = np.array([d.p_values(row[:1], row[1:])[0] for row in draws])
    for share in (0.1, 0.3, 0.5):
        assert (found <= share).mean() <= share + 4 * math.sqrt(0.25 / 4000)


def test_p_values_without_normal_scores_are_refused():
    with pytest.raises(VariedError, match=r"shape \(0,\)"):
        d.p_values(np.arange(3.0), np.zeros(0))
    with pytest.raises(VariedError, match="row 2 is nan"):
        d.p_values(NAN, np.arange(3.0))
