"""How alike two tables are: against SciPy and SDMetrics, invariances, known answers, refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats.contingency import association

from varied.errors import VariedError
from varied.evaluate import dcr, tabular
from varied.evaluate.dcr import distance_to_closest_record
from varied.evaluate.tabular import column_shapes, pair_trends

NAMES = ["amount", "count", "day", "truth", "kind"]


def table(seed, n=500):
    """Five columns that hang together, of five dtypes, with missing cells."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, n)
    amount = np.round(np.exp(rng.normal(group / 2, 1 + seed / 4)), 2)
    count = rng.poisson(2 + group, n).astype(float)
    days = rng.integers(0, 1000, n) + 200 * seed
    kind = np.array(list("abcd"), dtype=object)[group]
    columns = {
        "amount": np.where(rng.random(n) < 0.1, np.nan, amount),
        "count": pd.array(count, dtype="Int64"),
        "day": (np.datetime64("2020-01-01") + days.astype("m8[D]")).astype("M8[ns]"),
        "truth": pd.array(rng.random(n) < 0.3 + 0.1 * group, dtype="boolean"),
        "kind": pd.Series(np.where(rng.random(n) < 0.05, None, kind), dtype=object),
    }
    return pd.DataFrame(columns)


def shuffled(frame, seed=0):
    rng = np.random.default_rng(seed)
    order = {name: rng.permutation(len(frame)) for name in frame}
    return pd.DataFrame({name: frame[name].iloc[order[name]].array for name in frame})


# Column shapes


def test_shapes_are_those_of_sdmetrics():
    # sdmetrics 0.32.0: KSComplement.compute(real[name], made[name]) of the first three columns,
    # TVComplement.compute of the last two (booleans as object)
    theirs = [0.9263736263736264, 0.984, 0.766, 0.996, 0.9571609266334914]
    ours = column_shapes(table(0), table(1), resamples=0).scores
    assert list(ours) == NAMES
    assert list(ours.values()) == pytest.approx(theirs, abs=1e-12)


def test_numbers_are_those_of_the_kolmogorov_smirnov_test():
    real, made = table(0), table(1, 300)
    ours = column_shapes(real, made, resamples=0).scores
    for name in ("amount", "count"):
        pair = [frame[name].dropna().to_numpy(float) for frame in (real, made)]
        assert ours[name] == pytest.approx(1 - stats.ks_2samp(*pair).statistic, abs=1e-12)


def test_equal_tables_are_alike_and_disjoint_ones_are_not():
    real = table(0)
    assert column_shapes(real, real).mean.value == 1
    far = real.assign(amount=real["amount"] + 1e6, count=real["count"] + 1000, truth=~real["truth"])
    scores = column_shapes(real, far.assign(kind="z"), resamples=0).scores
    assert scores["amount"] == scores["count"] == 0
    assert scores["kind"] == pytest.approx(0, abs=1e-12)
    assert scores["day"] == 1


def test_shapes_do_not_depend_on_order_or_scale():
    real, made = table(0), table(1)
    first = column_shapes(real, made, resamples=0).scores
    assert (
        column_shapes(real[::-1], made[NAMES[::-1]].sample(frac=1.0), resamples=0).scores == first
    )
    other = [frame.assign(amount=np.log(frame["amount"]) * 3 - 7) for frame in (real, made)]
    assert column_shapes(*other, resamples=0).scores["amount"] == pytest.approx(first["amount"])


def test_missing_cells_are_told_and_left_out():
    real = pd.DataFrame({"a": [1.0, 2.0, np.nan, np.nan], "b": ["x", None, "y", "x"]})
    made = pd.DataFrame({"a": [1.0, 2.0, 1.0, 2.0], "b": ["x", "x", "y", None]})
    shapes = column_shapes(real, made)
    assert [one.score.value for one in shapes.columns] == [1, 1]
    told = [(one.name, one.kind, one.missing_real, one.missing_made) for one in shapes.columns]
    assert told == [("a", "number", 0.5, 0.0), ("b", "category", 0.25, 0.25)]


def test_a_column_that_only_one_table_has_cells_of_scores_nothing():
    real = pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan], "c": [1.0, np.inf]})
    made = pd.DataFrame({"a": [np.nan, np.nan], "b": [np.nan, np.nan], "c": [1.0, np.nan]})
    shapes = column_shapes(real, made)
    assert shapes.scores["a"] == 0
    assert np.isnan(shapes.scores["b"])
    assert shapes.scores["c"] == 1
    assert shapes.mean.value == 0.5


def test_the_standard_error_is_the_spread_over_tables():
    rng = np.random.default_rng(0)
    pairs = [pd.DataFrame({"a": rng.random(400), "b": rng.random(400) ** 2}) for _ in range(60)]
    made = [pd.DataFrame({"a": rng.random(400) + 0.3, "b": rng.random(400)}) for _ in range(60)]
    found = [column_shapes(*both, resamples=30).mean for both in zip(pairs, made, strict=True)]
    seen = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.error for one in found]) == pytest.approx(seen, rel=0.35)


def test_text_of_shapes_names_the_least_alike():
    text = str(column_shapes(table(0), table(1)))
    assert text.startswith("column shapes 0.93 ± ") or text.startswith("column shapes 0.926 ± ")
    assert "least alike: day 0.77, amount 0.93" in text
    assert "500 made rows against 500 real ones" in text


# Pair trends


def test_pairs_cut_by_range_are_those_of_sdmetrics():
    # sdmetrics 0.32.0: CorrelationSimilarity.compute of two numbers or dates, else
    # ContingencySimilarity.compute(..., continuous_column_names=[the numbers, dates as int64])
    theirs = {
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
    pairs = pair_trends(table(0), table(1), cut="range", resamples=0)
    assert list(pairs.names) == NAMES
    for (a, b), score in theirs.items():
        i, j = NAMES.index(a), NAMES.index(b)
        assert pairs.scores[i, j] == pairs.scores[j, i] == pytest.approx(score, abs=1e-10)
    assert pairs.mean.value == pytest.approx(np.mean(list(theirs.values())), abs=1e-10)
    assert np.isnan(np.diag(pairs.scores)).all()


def test_strengths_are_those_of_pandas_and_scipy():
    real, made = table(0), table(1)
    pairs = pair_trends(real, made, resamples=0)
    for frame, matrix in ((real, pairs.real), (made, pairs.made)):
        assert matrix[0, 1] == pytest.approx(frame["amount"].corr(frame["count"].astype(float)))
        crossed = pd.crosstab(frame["truth"].astype(str), frame["kind"].fillna("missing"))
        assert matrix[3, 4] == matrix[4, 3] == pytest.approx(association(crossed, method="cramer"))


def test_deciles_do_not_depend_on_scale_and_part_a_heavy_value():
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(2000) < 0.9, 0.0, np.exp(rng.normal(8, 1, 2000)))
    real = pd.DataFrame({"gain": gain, "rich": np.where(gain > 0, "yes", "no").astype(object)})
    made = real.assign(gain=shuffled(real)["gain"])
    score = pair_trends(real, made, resamples=0).scores[0, 1]
    share = (gain > 0).mean()
    assert score == pytest.approx(1 - 2 * share * (1 - share), abs=0.02)
    assert pair_trends(real, made, cut="range", resamples=0).scores[0, 1] > score + 0.1
    bent = [frame.assign(gain=np.sqrt(frame["gain"])) for frame in (real, made)]
    assert pair_trends(*bent, resamples=0).scores[0, 1] == score
    top = [frame.assign(gain=-frame["gain"]) for frame in (real, made)]
    assert pair_trends(*top, resamples=0).scores[0, 1] == pytest.approx(score, abs=0.02)


def test_equal_pairs_are_alike_and_shuffled_columns_are_not():
    real = table(0)
    assert pair_trends(real, real).mean.value == 1
    lost = shuffled(real)
    assert column_shapes(real, lost).mean.value == 1
    kept, loose = pair_trends(real, table(0, 500)[::-1]), pair_trends(real, lost)
    assert kept.mean.value == 1 > loose.mean.value + 3 * loose.mean.error


def test_a_missing_cell_is_a_value_in_a_table_of_pairs():
    real = pd.DataFrame({"a": ["x", "x", None, None], "b": [1.0, 1.0, np.nan, np.nan]})
    made = pd.DataFrame({"a": ["x", None, None, "x"], "b": [1.0, 1.0, np.nan, np.nan]})
    assert pair_trends(real, made, resamples=0).scores[0, 1] == 0.5


def test_a_number_that_no_longer_varies_is_no_trend():
    line = np.arange(10.0)
    real = pd.DataFrame({"a": line, "b": line})
    assert pair_trends(real, real.assign(b=0.1), resamples=0).scores[0, 1] == 0.5
    assert pair_trends(real, real.assign(b=-line), resamples=0).scores[0, 1] == pytest.approx(0)
    assert pair_trends(real, real.assign(b=np.nan), resamples=0).scores[0, 1] == 0
    gone = real.assign(b=np.nan)
    assert np.isnan(pair_trends(gone, gone, resamples=0).mean.value)


def test_categories_with_many_values_fit_in_memory(monkeypatch):
    real, made = table(0), table(1)
    usual = pair_trends(real, made, resamples=0).scores
    monkeypatch.setattr(tabular, "CELLS", 1)
    few = pair_trends(real, made, resamples=0).scores
    assert np.allclose(few, usual, rtol=0, atol=1e-12, equal_nan=True)
    names = pd.Series([str(i) for i in range(3000)], dtype=object)
    many = pd.DataFrame({"a": names, "b": names[::-1].array})
    assert pair_trends(many, many, resamples=0).mean.value == 1


def test_text_of_pairs_names_the_least_alike():
    text = str(pair_trends(table(0), table(1), cut="range", resamples=2))
    assert "least alike: day and kind 0.72, day and truth 0.74" in text


# Closest rows


def gower(x, y, spans):
    """The distance of two rows, cell by cell."""
    total = 0.0
    for a, b, span in zip(x, y, spans, strict=True):
        if pd.isna(a) or pd.isna(b):
            total += pd.isna(a) != pd.isna(b)
        elif span is None:
            total += a != b
        else:
            total += abs((a - b) / span)
    return total / len(spans)


def test_distances_are_those_of_gower():
    train, held, made = table(0, 60), table(2, 25), table(1, 30)
    train["same"], held["same"], made["same"] = 3.0, 3.0, [3.0] * 15 + [4.0] * 14 + [np.nan]
    found = distance_to_closest_record(made, train, held, resamples=2)
    spans = [train[name].max() - train[name].min() for name in NAMES[:3]] + [None] * 3
    for row in range(len(made)):
        far = [gower(made.iloc[row], train.iloc[k], spans) for k in range(len(train))]
        assert found.distance[row] == pytest.approx(min(far), abs=1e-9)
        assert far[found.index[row]] == pytest.approx(min(far), abs=1e-6)
    assert found.made.value == np.median(found.distance)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hole_is_1_from_any_number_and_0_from_a_hole(seed):
    rng = np.random.default_rng(seed)
    full = [rng.normal(size=(n, 4)) * 3 for n in (90, 30, 40)]
    often = (0.1, 0.1, 0.8) if seed else (0.8, 0.1, 0.1)
    holes = [
        np.where(rng.random(one.shape) < share, np.nan, one)
        for one, share in zip(full, often, strict=True)
    ]
    train, held, made = (pd.DataFrame(one, columns=list("abcd")) for one in holes)
    found = distance_to_closest_record(made, train, held, resamples=2)
    spans = list(train.max() - train.min())
    for row in range(len(made)):
        far = [gower(made.iloc[row], train.iloc[k], spans) for k in range(len(train))]
        assert found.distance[row] == pytest.approx(min(far), abs=1e-12)


def test_chunks_change_nothing(monkeypatch):
    train, held, made = table(0, 60), table(2, 25), table(1, 30)
    whole = distance_to_closest_record(made, train, held)
    monkeypatch.setattr(dcr, "CHUNK", 7 * 60)
    parts = distance_to_closest_record(made, train, held)
    assert parts == whole
    assert (parts.index == whole.index).all()


def test_copies_are_found_and_counted():
    train, held = table(0, 400), table(0, 800)[400:]
    made = pd.concat([train[:50], table(3, 350)])
    found = distance_to_closest_record(made, train, held)
    assert (found.distance[:50] == 0).all()
    assert (found.index[:50] == np.arange(50)).all()
    assert found.copies_made.value == 0.125
    assert found.copies_held.value == 0
    counts = [[50, 350], [0, 400]]
    assert found.copies_p == pytest.approx(stats.fisher_exact(counts, "greater").pvalue)
    assert found.close
    assert "exact copies 12.5 % against 0.0 %" in str(found)


def test_near_copies_are_found():
    rng = np.random.default_rng(0)
    real = pd.DataFrame(rng.normal(size=(1500, 4)), columns=list("abcd"))
    made = real[:500] + rng.normal(size=(500, 4)) * 0.001
    found = distance_to_closest_record(made, real[:500], real[1000:])
    assert found.copies_made.value == 0
    assert found.close
    assert found.near[0].share.value == found.near[1].share.value == 1
    assert found.made.value < 0.1 * found.held.value


def test_shares_are_those_of_the_sorted_distances():
    rng = np.random.default_rng(0)
    made, held = rng.random(300), rng.random(199)
    near = dcr._near(made, held, 5, (made[None], held[None]))
    assert near.edge == np.sort(held)[9]
    assert near.expected == 0.05
    assert near.share.value == (made < near.edge).mean()
    closer = round(near.share.value * 300)
    # So many made rows or more come before the tenth held-out one.
    assert near.p == pytest.approx(stats.nhypergeom(499, 300, 10).sf(closer - 1))


def test_honest_rows_are_seldom_flagged():
    rng = np.random.default_rng(0)
    count, times = 0, 1000
    for _ in range(times):
        made, held = rng.random(300), rng.random(300)
        count += dcr._near(made, held, 1, (made[None], held[None])).p < 0.05
    # A binomial test that takes the centile as known flags 9 % of these.
    assert 0.01 < count / times < 0.06


def test_thinned_rows_are_a_choice_by_seed():
    train, held, made = table(0, 300), table(2, 200), table(1, 200)
    found = distance_to_closest_record(made, train, held, most=50, most_training=100)
    assert (found.n_made, found.n_held, found.n_train) == (50, 50, 100)
    assert found == distance_to_closest_record(made, train, held, most=50, most_training=100)
    other = distance_to_closest_record(made, train, held, most=50, most_training=100, seed=1)
    assert (other.rows != found.rows).any()
    assert len(np.unique(found.rows)) == 50
    same = distance_to_closest_record(train, train, held, most=50, most_training=100)
    copied = same.distance == 0
    assert 0 < copied.sum() < 50
    assert (same.index[copied] == same.rows[copied]).all()
    whole = distance_to_closest_record(made.iloc[found.rows], train, held)
    assert (whole.distance <= found.distance + 1e-12).all()
    # Exact copies are sought among all rows.
    assert (
        distance_to_closest_record(train, train, held, most=20, most_training=20).copies_made.value
        == 1
    )


# Refusals


def test_columns_that_differ_are_named():
    real = table(0)
    for look in (column_shapes, pair_trends):
        with pytest.raises(VariedError, match="do not both have kind, other: give both the same"):
            look(real, real.rename(columns={"kind": "other"}))
        with pytest.raises(VariedError, match=r"in count \(number and category\), day \(date and"):
            look(real, real.assign(count="x", day=1.0))
        with pytest.raises(VariedError, match="The made table has no cells"):
            look(real, real[:0])
        with pytest.raises(VariedError, match="more than one column named kind"):
            look(real, real[[*NAMES, "kind"]])
    with pytest.raises(VariedError, match="The training and the held-out table do not both have"):
        distance_to_closest_record(real, real, real.drop(columns="day"))
    with pytest.raises(VariedError, match=r"of values in day \(date and number\): cast"):
        distance_to_closest_record(real, real, real.assign(day=1.0))


def test_many_names_are_cut():
    real = pd.DataFrame({f"c{i}": [1.0] for i in range(20)})
    with pytest.raises(VariedError, match="c7 and 13 more: give"):
        column_shapes(real, pd.DataFrame({"c": [1.0]}))


def test_whole_numbers_and_numbers_are_one_kind():
    real = pd.DataFrame({"a": pd.array([1, 2, None], dtype="Int64")})
    assert column_shapes(real, pd.DataFrame({"a": [1.0, 2.0, np.nan]})).mean.value == 1


def test_too_little_is_refused():
    real = table(0)
    with pytest.raises(VariedError, match="One column alone makes no pair"):
        pair_trends(real[["kind"]], real[["kind"]])
    with pytest.raises(VariedError, match="19 held-out rows are too few"):
        distance_to_closest_record(real, real, real[:19])


def test_global_random_states_stay():
    import torch

    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    distance_to_closest_record(table(1, 40), table(0, 40), table(2, 40))
    pair_trends(table(0, 40), table(1, 40))
    assert (torch.get_rng_state() == before[0]).all()
    assert (np.random.get_state()[1] == before[1]).all()


def test_pairs_of_huge_numbers_hang_together_as_those_of_small_ones():
    dice = np.random.default_rng(0)
    x = dice.normal(size=(50, 2)) @ [[1, 0.5], [0, 1]]
    small, made = (pd.DataFrame(one, columns=["a", "b"]) for one in (x, x[::-1] + 0.1))
    with np.errstate(all="raise"):
        huge = pair_trends(small * 1e300, made * 1e300)
    assert huge.real[0, 1] == pytest.approx(pair_trends(small, made).real[0, 1])
    assert pair_trends(small * 0, made).real[0, 1] == 0  # nothing varies
