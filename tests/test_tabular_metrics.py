"""Column shapes and pair trends against SciPy, pandas and SDMetrics."""

import numpy as np
import pandas as pd
import pytest
import torch
from mixed_table import NAMES, mixed_table
from scipy import stats
from scipy.stats.contingency import association

from varied.errors import VariedError
from varied.evaluate import tabular
from varied.evaluate.dcr import distance_to_closest_record
from varied.evaluate.tabular import column_shapes, pair_trends

REAL, GENERATED = mixed_table(0), mixed_table(1)


def shuffle_columns(frame, seed=0):
    rng = np.random.default_rng(seed)
    order = {name: rng.permutation(len(frame)) for name in frame}
    return pd.DataFrame({name: frame[name].iloc[order[name]].array for name in frame})


# Column shapes


def test_shapes_match_sdmetrics():
    # sdmetrics 0.32.0: KSComplement.compute(real[name], generated[name]) of the first three
    # columns, TVComplement.compute of the last two (booleans as object)
    expected = [0.9263736263736264, 0.984, 0.766, 0.996, 0.9571609266334914]
    scores = column_shapes(REAL, GENERATED, resamples=0).scores
    assert list(scores) == NAMES
    assert list(scores.values()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["amount", "count"])
def test_shapes_of_numbers_match_the_kolmogorov_smirnov_test(name):
    generated = mixed_table(1, 300)
    score = column_shapes(REAL, generated, resamples=0).scores[name]
    samples = [frame[name].dropna().to_numpy(float) for frame in (REAL, generated)]
    assert score == pytest.approx(1 - stats.ks_2samp(*samples).statistic, abs=1e-12)


def test_shapes_of_equal_and_disjoint_columns():
    assert column_shapes(REAL, REAL).mean.value == 1
    shifted = {"amount": REAL["amount"] + 1e6, "count": REAL["count"] + 1000}
    disjoint = REAL.assign(**shifted, truth=~REAL["truth"], kind="z")
    scores = column_shapes(REAL, disjoint, resamples=0).scores
    assert scores["amount"] == scores["count"] == 0
    assert scores["kind"] == pytest.approx(0, abs=1e-12)
    assert scores["day"] == 1


def test_shapes_do_not_depend_on_order_or_scale():
    expected = column_shapes(REAL, GENERATED, resamples=0).scores
    reordered = GENERATED[NAMES[::-1]].sample(frac=1.0)
    assert column_shapes(REAL[::-1], reordered, resamples=0).scores == expected
    scaled = [f.assign(amount=np.log(f["amount"]) * 3 - 7) for f in (REAL, GENERATED)]
    scores = column_shapes(*scaled, resamples=0).scores
    assert scores["amount"] == pytest.approx(expected["amount"])


def test_missing_cells_are_counted_and_ignored():
    real = pd.DataFrame({"a": [1.0, 2.0, np.nan, np.nan], "b": ["x", None, "y", "x"]})
    generated = pd.DataFrame({"a": [1.0, 2.0, 1.0, 2.0], "b": ["x", "x", "y", None]})
    columns = column_shapes(real, generated).columns
    assert [column.score.value for column in columns] == [1, 1]
    missing = [(c.name, c.kind, c.missing_real, c.missing_generated) for c in columns]
    assert missing == [("a", "number", 0.5, 0.0), ("b", "category", 0.25, 0.25)]


def test_columns_without_values():
    real = pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan], "c": [1.0, np.inf]})
    generated = pd.DataFrame({"a": [np.nan, np.nan], "b": [np.nan, np.nan], "c": [1.0, np.nan]})
    shapes = column_shapes(real, generated)
    assert shapes.scores["a"] == 0  # only one table has values
    assert np.isnan(shapes.scores["b"])
    assert shapes.scores["c"] == 1
    assert shapes.mean.value == 0.5


def test_standard_error_matches_the_variation_over_tables():
    rng = np.random.default_rng(0)
    means = []
    for _ in range(60):
        real = pd.DataFrame({"a": rng.random(400), "b": rng.random(400) ** 2})
        generated = pd.DataFrame({"a": rng.random(400) + 0.3, "b": rng.random(400)})
        means.append(column_shapes(real, generated, resamples=30).mean)
    variation = np.std([mean.value for mean in means], ddof=1)
    assert np.mean([mean.error for mean in means]) == pytest.approx(variation, rel=0.35)


def test_summary_of_shapes():
    text = str(column_shapes(REAL, GENERATED))
    assert text.startswith("column shapes 0.92")
    assert "lowest: day 0.77, amount 0.93" in text
    assert "500 generated and 500 real rows" in text


# Pair trends


def test_pairs_with_bins_of_equal_width_match_sdmetrics():
    # sdmetrics 0.32.0: CorrelationSimilarity.compute for two numbers or dates, otherwise
    # ContingencySimilarity.compute(..., continuous_column_names=[the numbers, dates as int64])
    expected = {
        ("amount", "count"): 0.9912884979102173,
        ("amount", "day"): 0.9637012170322796,
        ("amount", "truth"): 0.954,
        ("amount", "kind"): 0.88,
        ("count", "day"): 0.9648275496456773,
        ("count", "truth"): 0.954,
        ("count", "kind"): 0.852,
        ("day", "truth"): 0.742,
        ("day", "kind"): 0.72,
        ("truth", "kind"): 0.916,
    }
    pairs = pair_trends(REAL, GENERATED, bins="range", resamples=0)
    assert list(pairs.names) == NAMES
    for (a, b), score in expected.items():
        i, j = NAMES.index(a), NAMES.index(b)
        assert pairs.scores[i, j] == pairs.scores[j, i] == pytest.approx(score, abs=1e-10)
    assert pairs.mean.value == pytest.approx(np.mean(list(expected.values())), abs=1e-10)
    assert np.isnan(np.diag(pairs.scores)).all()


def test_associations_match_pandas_and_scipy():
    pairs = pair_trends(REAL, GENERATED, resamples=0)
    for frame, matrix in ((REAL, pairs.real), (GENERATED, pairs.generated)):
        assert matrix[0, 1] == pytest.approx(frame["amount"].corr(frame["count"].astype(float)))
        table = pd.crosstab(frame["truth"].astype(str), frame["kind"].fillna("missing"))
        assert matrix[3, 4] == matrix[4, 3] == pytest.approx(association(table, method="cramer"))


def test_deciles_do_not_depend_on_scale_and_separate_a_frequent_value():
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(2000) < 0.9, 0.0, np.exp(rng.normal(8, 1, 2000)))
    real = pd.DataFrame({"gain": gain, "rich": np.where(gain > 0, "yes", "no").astype(object)})
    generated = real.assign(gain=shuffle_columns(real)["gain"])
    score = pair_trends(real, generated, resamples=0).scores[0, 1]
    share = (gain > 0).mean()
    assert score == pytest.approx(1 - 2 * share * (1 - share), abs=0.02)
    assert pair_trends(real, generated, bins="range", resamples=0).scores[0, 1] > score + 0.1
    root = [frame.assign(gain=np.sqrt(frame["gain"])) for frame in (real, generated)]
    assert pair_trends(*root, resamples=0).scores[0, 1] == score
    negated = [frame.assign(gain=-frame["gain"]) for frame in (real, generated)]
    assert pair_trends(*negated, resamples=0).scores[0, 1] == pytest.approx(score, abs=0.02)


def test_shuffled_columns_have_a_lower_score():
    assert pair_trends(REAL, REAL[::-1]).mean.value == 1
    independent = shuffle_columns(REAL)
    assert column_shapes(REAL, independent).mean.value == 1
    shuffled = pair_trends(REAL, independent).mean
    assert shuffled.value + 3 * shuffled.error < 1


def test_missing_cells_are_a_level_of_contingency_tables():
    real = pd.DataFrame({"a": ["x", "x", None, None], "b": [1.0, 1.0, np.nan, np.nan]})
    generated = pd.DataFrame({"a": ["x", None, None, "x"], "b": [1.0, 1.0, np.nan, np.nan]})
    assert pair_trends(real, generated, resamples=0).scores[0, 1] == 0.5


def test_constant_and_missing_numbers_have_no_trend():
    line = np.arange(10.0)
    real = pd.DataFrame({"a": line, "b": line})

    def score(b):
        return pair_trends(real, real.assign(b=b), resamples=0).scores[0, 1]

    assert score(0.1) == 0.5
    assert score(-line) == pytest.approx(0)
    assert score(np.nan) == 0
    missing = real.assign(b=np.nan)
    assert np.isnan(pair_trends(missing, missing, resamples=0).mean.value)


def test_huge_numbers_have_the_correlation_of_small_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2)) @ [[1, 0.5], [0, 1]]
    real, generated = (pd.DataFrame(rows, columns=["a", "b"]) for rows in (x, x[::-1] + 0.1))
    with np.errstate(all="raise"):
        huge = pair_trends(real * 1e300, generated * 1e300)
    assert huge.real[0, 1] == pytest.approx(pair_trends(real, generated).real[0, 1])
    assert pair_trends(real * 0, generated).real[0, 1] == 0


def test_large_contingency_tables(monkeypatch):
    expected = pair_trends(REAL, GENERATED, resamples=0).scores
    monkeypatch.setattr(tabular, "MAX_CELLS", 1)
    scores = pair_trends(REAL, GENERATED, resamples=0).scores
    assert np.allclose(scores, expected, rtol=0, atol=1e-12, equal_nan=True)
    names = pd.Series([str(i) for i in range(3000)], dtype=object)
    distinct = pd.DataFrame({"a": names, "b": names[::-1].array})
    assert pair_trends(distinct, distinct, resamples=0).mean.value == 1


def test_summary_of_pairs():
    text = str(pair_trends(REAL, GENERATED, bins="range", resamples=2))
    assert "lowest: day and kind 0.72, day and truth 0.74" in text


# Errors


@pytest.mark.parametrize("metric", [column_shapes, pair_trends])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            REAL.rename(columns={"kind": "other"}),
            "has kind, other; both must have the same columns",
        ),
        (REAL.assign(count="x", day=1.0), r"in count \(number and category\), day \(date and"),
        (REAL[:0], "The generated table is empty"),
        (REAL[[*NAMES, "kind"]], "several columns named kind"),
    ],
)
def test_tables_that_differ_are_refused(metric, other, message):
    with pytest.raises(VariedError, match=message):
        metric(REAL, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: distance_to_closest_record(REAL, REAL, REAL.drop(columns="day")),
            "Only one of the training table and the held-out table has day",
        ),
        (
            lambda: distance_to_closest_record(REAL, REAL, REAL.assign(day=1.0)),
            r"of values in day \(date and number\); cast",
        ),
        (
            lambda: distance_to_closest_record(REAL, REAL, REAL[:19]),
            "19 held-out rows are too few",
        ),
        (
            lambda: column_shapes(
                pd.DataFrame({f"c{i}": [1.0] for i in range(20)}), pd.DataFrame({"c": [1.0]})
            ),
            "c7 and 13 more; both",
        ),
        (lambda: pair_trends(REAL[["kind"]], REAL[["kind"]]), "At least two columns"),
    ],
)
def test_error_messages(call, message):
    with pytest.raises(VariedError, match=message):
        call()


def test_integers_and_floats_are_the_same_type():
    real = pd.DataFrame({"a": pd.array([1, 2, None], dtype="Int64")})
    assert column_shapes(real, pd.DataFrame({"a": [1.0, 2.0, np.nan]})).mean.value == 1


def test_global_random_states_do_not_change():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    distance_to_closest_record(mixed_table(1, 40), mixed_table(0, 40), mixed_table(2, 40))
    pair_trends(mixed_table(0, 40), mixed_table(1, 40))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (np.random.get_state()[1] == numpy_state).all()
