"""The other scores of disentanglement on codes whose score is known, and against other code."""

from importlib import import_module

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from varied.evaluate import disentanglement as d
from varied.evaluate.disentanglement import interventional

modularity = import_module("varied.evaluate.disentanglement.modularity")

FEW = {"votes": 600, "resamples": 0}
CHEAP = {
    "dci": {},
    "sap": {"resamples": 0},
    "factor_vae": FEW,
    "beta_vae": FEW,
    "modularity": {"resamples": 0},
    "explicitness": {"resamples": 0},
}


def grid(*sizes, repeats=1):
    """Every setting of factors, so that shares are exact."""
    one = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))
    return np.tile(one, (repeats, 1))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def classes(n, *sizes, seed=0):
    return np.random.default_rng(seed).integers(0, sizes, (n, len(sizes)))


def found(name, codes, factors, **more):
    """Return the figures of one score by name; those of the trees have three."""
    given = getattr(d, name)(codes, factors, **CHEAP[name] | more)
    if name != "dci":
        return {name: given.value}
    names = ("disentanglement", "completeness", "informativeness")
    return {one: getattr(given, one).value for one in names}


# What is known beforehand

PERFECT = {
    "straight": lambda v: v * 1.0,
    "permuted, scaled, shifted": lambda v: v[:, ::-1] * [-1e-3, 1e3, 0.5] + 7,
    "with silent units": lambda v: np.hstack([0 * v, v + 0.5, 0 * v + 3]),
}


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("how", PERFECT)
def test_perfect_codes_have_the_ceiling(name, how):
    v = grid(4, 5, 3, repeats=20)
    more = {"silent": 0.0} if name == "factor_vae" else {}
    ceiling = 1 - np.mean([1 / 4, 1 / 5, 1 / 3]) if name == "sap" else 1.0
    loose = 0.03 if name in ("sap", "explicitness") else 1e-9
    for value in found(name, PERFECT[how](v), v, **more).values():
        assert value == pytest.approx(ceiling, abs=loose)


@pytest.mark.parametrize(
    ("name", "floors"),
    [
        ("dci", (0, 0, 0.25)),
        ("sap", (0,)),
        ("factor_vae", (1 / 3,)),
        ("beta_vae", (1 / 3,)),
        ("modularity", (0.4,)),  # not 0: see its warning
        ("explicitness", (0.5,)),
    ],
)
def test_random_codes_have_the_floor(name, floors):
    # Were a score taken on what was learnt from, trees would know half of the rows.
    v = classes(4000, 4, 4, 4)
    values = found(name, noise(4000, 5, seed=1), v).values()
    loose = 0.08 if len(values) == 1 else 0.04
    assert list(values) == pytest.approx(floors, abs=loose)


def test_modularity_of_random_codes_follows_from_the_numbers_of_values():
    # Information of nothing is about (bins - 1)(values - 1) / 2N, so its ratios are known.
    v, more = classes(20_000, 2, 5, 9), np.array([1, 4, 8]) ** 2
    wanted = 1 - (more.sum() - more.max()) / (2 * more.max())
    assert found("modularity", noise(20_000, 40, seed=1), v)["modularity"] == pytest.approx(
        wanted, abs=0.08
    )


def test_turned_codes_are_low_where_single_units_count():
    v = classes(3000, 8, 8)
    turned = v @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    trees = found("dci", turned, v)
    assert trees["disentanglement"] < 0.05
    assert trees["completeness"] < 0.05
    assert found("sap", turned, v)["sap"] < 0.05
    assert found("sap", turned, v, by="correlation")["sap"] < 0.05
    assert found("sap", turned, v, by="svm")["sap"] < 0.05
    assert found("modularity", turned, v)["modularity"] < 0.05
    assert found("factor_vae", turned, v)["factor_vae"] == pytest.approx(0.5, abs=0.09)
    assert found("beta_vae", turned, v)["beta_vae"] == pytest.approx(0.5, abs=0.09)
    # All units together know as much as before.
    straight = found("explicitness", v, v)["explicitness"]
    assert found("explicitness", turned, v)["explicitness"] == pytest.approx(straight, abs=0.005)
    assert trees["informativeness"] > 0.9


# Importances, in cases that other implementations state too


@pytest.mark.parametrize(
    ("importance", "disentangled", "complete"),
    [
        (np.diag(5.0 * np.ones(5)), 1, 1),
        (np.array([[1.0, 0], [0, 1], [0, 0]]), 1, 1),  # a silent unit
        (np.zeros((10, 10)), 0, 0),
        (np.vstack([np.eye(5), np.eye(5)]), 1, 1 - np.log(2) / np.log(10)),  # units twice
        (5.0 * np.eye(5)[:2], 1, 1),  # factors without a unit
        (np.hstack([np.eye(5), np.eye(5)]), 1 - np.log(2) / np.log(10), 1),  # two for each unit
        (np.ones((3, 4)), 0, 0),
        # A unit counts by its weight: 3/4 of it is pure, 1/4 even.
        (np.array([[3.0, 0], [0.5, 0.5]]), 0.75, None),
    ],
)
def test_importances_of_known_scores(importance, disentangled, complete):
    assert d.disentanglement(importance) == pytest.approx(disentangled, abs=1e-12)
    if complete is not None:
        assert d.completeness(importance) == pytest.approx(complete, abs=1e-12)
        assert d.completeness(importance.T) == pytest.approx(disentangled, abs=1e-12)


def test_trees_find_the_importances():
    v = grid(4, 4, repeats=30)
    both = d.dci(np.stack([4 * v[:, 0] + v[:, 1], 0 * v[:, 0]], axis=1), v)
    assert both.importance.tolist() == [[1, 1], [0, 0]]
    assert (both.disentanglement.value, both.completeness.value) == (0, 1)
    twice = d.dci(np.hstack([v, v]), v)
    assert twice.disentanglement.value == pytest.approx(1)
    assert twice.completeness.value == pytest.approx(1 - np.log(2) / np.log(4), abs=0.06)
    half = d.dci(np.stack([v[:, 0] // 2, v[:, 1]], axis=1), v)
    assert half.informativeness.value == pytest.approx(3 / 4, abs=0.1)


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (5.0 * np.eye(5), 1),
        (np.vstack([np.eye(5), np.eye(5)]), 1),
        (np.eye(5)[:2], 1),
        (np.hstack([np.eye(5), np.eye(5)]), 1 - 1 / 9),
        (np.zeros((4, 4)), 0),
        (np.array([[2.0, 1, 0], [0, 0, 3]]), 1 - 1 / 16),
        # A unit that tells nothing is left out; disentanglement_lib has 2/3 here.
        (np.array([[1.0, 0], [0, 1], [0, 0]]), 1),
    ],
)
def test_information_of_known_modularity(table, wanted):
    assert modularity.modular(table) == pytest.approx(wanted, abs=1e-12)


# Scores in between, from closed forms


def test_attributes_that_are_half_predicted():
    v = grid(4, 4, repeats=20)
    a, b = v.T
    # The correlation of a with a + b is a half, squared.
    mixed = np.stack([a, a + b], axis=1)
    assert d.sap(mixed, v, by="correlation").value == pytest.approx(0.5)
    assert d.sap(v[:, :1], v, by="correlation").value == pytest.approx(0.5)
    # One threshold parts four values into two pairs: of each pair one value is found.
    assert d.sap(np.stack([a, a // 2], axis=1), v[:, :1]).value == pytest.approx(0.5)
    whole = d.sap(b[:, None] // 2, v[:, 1:] // 2, by="svm")
    assert whole.value == pytest.approx(0.5, abs=3 * whole.error)


def test_attributes_that_are_numbers_may_have_any_value():
    v = noise(5000, 2)
    codes = v + 0.5 * noise(5000, 2, seed=1)
    gap = d.sap(codes, v, by="correlation")
    assert gap.value == pytest.approx(1 / 1.25, abs=0.02)
    squares = np.corrcoef(np.hstack([codes, v]).T)[:2, 2:] ** 2
    ordered = np.sort(squares, axis=0)
    assert gap.value == pytest.approx((ordered[1] - ordered[0]).mean(), abs=1e-12)
    assert d.sap(codes * 1e-9 + 1, v, by="correlation").value == pytest.approx(gap.value, abs=1e-5)


def test_a_vote_with_one_factor_told_of_two_is_right_three_times_in_four():
    # While b is fixed, a's unit and one like it, which tells nothing, are equally likely to vote.
    v = classes(6000, 6, 6)
    codes = np.stack([v[:, 0], classes(6000, 6, seed=1)[:, 0]], axis=1)
    score = d.factor_vae(codes, v, votes=4000)
    assert score.value == pytest.approx(3 / 4, abs=0.03)


def test_silent_units_have_no_vote():
    v = classes(3000, 4, 4)
    # A unit that hardly moves, but all of it with factor 0, would take every vote for it.
    codes = np.hstack([v[:, :1] * 0.01, noise(3000, 1)])
    silent, all_heard = d.factor_vae(codes, v, **FEW), d.factor_vae(codes, v, silent=0, **FEW)
    assert silent.value < 0.6 < 0.7 < all_heard.value
    assert d.factor_vae(0 * codes, v, silent=0).value == 0
    # At the least variance itself a unit is heard.
    exact = v * np.sqrt(0.05 / v.var(0, ddof=1)) * 1.000001
    assert d.factor_vae(exact, v, **FEW).value == 1
    assert d.factor_vae(exact * 0.999, v, **FEW).value == 0


def test_pairs_share_a_value_and_differ():
    v = classes(300, 3, 7)
    groups = interventional._Groups(interventional.pair(np.arange(300)[:, None], v))
    source = torch.Generator().manual_seed(0)
    for factor in (0, 1):
        a, b = groups.draw(factor, 200, 16, source, pairs=True)
        assert a.shape == b.shape == (200, 16)
        shared = v[a, factor]
        assert (shared == shared[:, :1]).all() and (v[b, factor] == shared).all()
        assert (a != b).all()
        assert len(np.unique(a)) == len(np.unique(b)) == 300
        # All else is as in the whole: what is not held is not held.
        assert v[a, 1 - factor].mean() == pytest.approx(v[:, 1 - factor].mean(), rel=0.1)


def test_areas_are_those_of_scikit_learn():
    scores = noise(400, 3).round(1)  # with ties
    of = noise(400, 3, seed=1) + scores > 0.3
    wanted = [roc_auc_score(of[:, k], scores[:, k]) for k in range(3)]
    assert modularity.auroc_from_ranks(scores, of) == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(modularity.auroc_from_ranks(scores, np.ones_like(of))).all()


def test_thresholds_weigh_rare_values_as_common_ones():
    # Two Gaussians 2 apart: the balanced threshold is right for 84 % of each, however rare one is.
    v = (np.random.default_rng(0).random((10_000, 1)) < 0.1).astype(int)
    codes = np.hstack([noise(10_000, 1) + 2 * v, 0 * v])
    gap = d.sap(codes, v)
    assert gap.value == pytest.approx(0.8413 - 0.5, abs=max(0.02, 3 * gap.error))


@pytest.mark.parametrize("name", ["factor_vae", "beta_vae"])
def test_votes_are_tested_on_rows_that_were_not_learnt_from(name):
    # Of 30 rows and 20 units of noise, all that is learnt is the rows themselves.
    scores = [
        found(name, noise(60, 20, seed=seed), classes(60, 3, 3, seed=seed))[name]
        for seed in range(3)
    ]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.12)
