"""How alike codes are: known answers, kernels written out, and a matching tried by force."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group, pearsonr
from sklearn.cross_decomposition import CCA
from sklearn.neighbors import NearestNeighbors

from varied.errors import VariedError
from varied.evaluate import representation_similarity as module
from varied.evaluate.estimate import Estimate
from varied.evaluate.representation_similarity import (
    cka,
    mcc,
    shared_neighbors,
    spread_over_seeds,
    stability,
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def turn(units, seed=0):
    return ortho_group.rvs(units, random_state=seed)


SHAPE = np.array([3.0, 2.0, 1.0, 0.5, 0.2])


# Known answers


def test_the_same_codes_are_alike_by_all():
    a = noise(300, 5) * SHAPE
    for found in (cka(a, a), mcc(a, a), mcc(a, a, kind="weak"), shared_neighbors(a, a)):
        assert found.value == pytest.approx(1, abs=1e-12)
        assert found.error < 1e-12
        assert found.n == 300


def test_turned_codes_keep_all_but_their_units():
    a = noise(500, 5) * SHAPE
    b = 7 * a @ turn(5) + 3
    assert cka(a, b).value == pytest.approx(1, abs=1e-12)
    assert shared_neighbors(a, b).value == pytest.approx(1, abs=1e-12)
    assert mcc(a, b, kind="weak").value == pytest.approx(1, abs=1e-12)
    assert 0.3 < mcc(a, b).value < 0.9


def test_units_in_another_order_sign_and_scale_are_the_same_units():
    a = noise(400, 5) * SHAPE
    b = (a * [-3, 0.1, 100, -1, 1e-6] + [0, 5, 0, 0, 1])[:, [4, 2, 0, 1, 3]]
    assert mcc(a, b).value == pytest.approx(1, abs=1e-9)
    assert mcc(a, b, kind="weak").value == pytest.approx(1, abs=1e-9)
    assert cka(a, b).value < 0.9


def test_a_linear_map_is_seen_by_the_weak_alone():
    a = noise(400, 4)
    b = a @ (noise(4, 4, seed=1) * [10, 1, 0.1, 3])
    assert mcc(a, b, kind="weak").value == pytest.approx(1, abs=1e-9)
    assert mcc(a, b).value < 0.95
    assert cka(a, b).value < 0.95


@pytest.mark.parametrize("units", [2, 30])
def test_codes_that_share_nothing_score_their_floor(units):
    found = [
        (
            cka(a, b).value,
            mcc(a, b).value,
            mcc(a, b, kind="weak").value,
            shared_neighbors(a, b).value,
        )
        for seed in range(6)
        for a, b in [(noise(200, units, seed=seed), noise(200, units, seed=seed + 99))]
    ]
    mean = np.mean(found, axis=0)
    assert np.allclose(mean[:3], 0, atol=0.03)
    assert mean[3] == pytest.approx(10 / 199, abs=0.01)


def test_the_biased_cka_would_not():
    # What is wrong with the usual figure, so that the test above is one that can fail.
    a, b = noise(200, 100), noise(200, 100, seed=1)
    a, b = a - a.mean(0), b - b.mean(0)
    norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    assert np.linalg.norm(a.T @ b) ** 2 / norms > 0.3
    assert abs(cka(a, b).value) < 0.03


def test_half_of_the_units_in_common_is_half():
    shared, own, other = (noise(4000, 3, seed=s) for s in range(3))
    a, b = np.hstack([shared, own]), np.hstack([other, shared])
    for found in (cka(a, b), mcc(a, b), mcc(a, b, kind="weak")):
        assert found.value == pytest.approx(0.5, abs=0.03)


def test_a_correlation_is_itself():
    # One unit each, of correlation 0.6: its CKA is the square.
    a = noise(20_000, 1)
    b = 0.6 * a + 0.8 * noise(20_000, 1, seed=1)
    for kind in ("strong", "weak"):
        found = mcc(a, -b, kind=kind)
        assert abs(found.value - 0.6) < 4 * found.error
        assert found.error == pytest.approx((1 - 0.36) / math.sqrt(20_000), rel=0.5)
    assert abs(cka(a, b).value - 0.36) < 4 * cka(a, b).error


# Other ways to the same figure


def test_cka_is_that_of_kernels_written_out():
    a, b = noise(40, 3), noise(40, 5, seed=1)
    b[:, :2] += 2 * a[:, :2]
    n, one = 40, np.ones(40)

    def h(k, m):
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        whole = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
        return (whole - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))

    k, m = (a + 5) @ (a + 5).T, (b - 9) @ (b - 9).T
    wanted = h(k, m) / math.sqrt(h(k, k) * h(m, m))
    assert cka(a, b).value == pytest.approx(wanted, abs=1e-9)
    assert 0.2 < wanted < 0.9


def test_the_matching_is_the_best_of_all():
    a = noise(60, 4)
    b = a @ turn(4) + 0.5 * noise(60, 4, seed=1)
    halves = [(slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))]
    found = []
    for learn, tell in halves:
        r = [
            [[pearsonr(a[h, i], b[h, j])[0] for j in range(4)] for i in range(4)]
            for h in (learn, tell)
        ]
        known, told = np.array(r)
        best = max(permutations(range(4)), key=lambda p: sum(abs(known[i, p[i]]) for i in range(4)))
        found.append(np.mean([np.sign(known[i, best[i]]) * told[i, best[i]] for i in range(4)]))
    wanted = np.mean(found)
    assert module._matched(torch.tensor(a), torch.tensor(b)) == pytest.approx(wanted, abs=1e-12)


def test_the_canonical_pairs_are_those_of_scikit_learn():
    a = noise(400, 3)
    b = np.hstack([a @ turn(3) + noise(400, 3, seed=1) * [0.1, 1, 3], noise(400, 1, seed=2)])
    wanted = []
    for learn, tell in (
        (slice(0, None, 2), slice(1, None, 2)),
        (slice(1, None, 2), slice(0, None, 2)),
    ):
        model = CCA(n_components=3, max_iter=5000, tol=1e-12).fit(a[learn], b[learn])
        u, v = model.transform(a[tell], b[tell])
        wanted.append(np.mean([pearsonr(u[:, j], v[:, j])[0] for j in range(3)]))
    found = module._mapped(torch.tensor(a), torch.tensor(b))
    assert found == pytest.approx(np.mean(wanted), abs=1e-4)


@pytest.mark.parametrize("k", [1, 10])
def test_neighbors_are_those_of_scikit_learn(k):
    a = noise(700, 3)
    b = a + 0.3 * noise(700, 3, seed=1)
    near = [
        NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False) for x in (a, b)
    ]
    wanted = [len(set(p) & set(q)) / k for p, q in zip(*near, strict=True)]
    found = shared_neighbors(a, b, k=k)
    assert found.value == pytest.approx(np.mean(wanted), abs=1e-9)
    assert found.error == pytest.approx(np.std(wanted, ddof=1) / math.sqrt(700), abs=1e-9)


def test_a_choice_of_rows_is_asked_among_all(monkeypatch):
    a = noise(1500, 3)
    b = a + 0.3 * noise(1500, 3, seed=1)
    whole = shared_neighbors(a, b)
    monkeypatch.setattr(module, "ASKED", 400)
    monkeypatch.setattr(module, "CHUNK", 150)
    some = shared_neighbors(a, b)
    assert some.n == 400
    assert abs(some.value - whole.value) < 4 * some.error


@pytest.mark.parametrize("measure", [cka, mcc, lambda a, b: mcc(a, b, kind="weak")])
def test_the_standard_error_is_the_spread_over_other_rows(measure):
    found = []
    for seed in range(40):
        a = noise(300, 3, seed=seed) * SHAPE[:3]
        found.append(measure(a, a @ turn(3) + noise(300, 3, seed=seed + 1000)))
    spread = np.std([f.value for f in found], ddof=1)
    assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(spread, rel=0.35)


# Several codes


def test_of_several_codes_it_is_the_mean_over_pairs():
    a = noise(300, 4) * SHAPE[:4]
    codes = [a, a @ turn(4) + noise(300, 4, seed=1), torch.tensor(noise(300, 2, seed=2))]
    found = stability(codes)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for name, measure in {
        "cka": cka,
        "strong": mcc,
        "weak": lambda x, y: mcc(x, y, kind="weak"),
        "neighbors": shared_neighbors,
    }.items():
        values = [measure(codes[i], codes[j]).value for i, j in pairs]
        assert getattr(found, name).value == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.codes, found.floor) == (3, 10 / 299)
    two = stability(codes[:2])
    assert two.cka == cka(*codes[:2])


def test_the_error_over_codes_is_the_spread_over_other_codes():
    # Codes are one truth with noise of their own, so pairs that share a code go together.
    truth = noise(200, 3)

    def one(seed):
        rng = np.random.default_rng(seed)
        values = {}
        codes = [truth + rng.choice([0.2, 2.0]) * rng.normal(size=(200, 3)) for _ in range(8)]
        for i in range(8):
            for j in range(i):
                values[j, i] = Estimate(pearsonr(codes[i][:, 0], codes[j][:, 0])[0], 0.0, 200)
        return module._over_codes(values, 8)

    found = [one(seed) for seed in range(60)]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(spread, rel=0.3)


def test_figures_over_seeds():
    found = spread_over_seeds([1.0, 2.0, 3.0, Estimate(4.0, 9.9, 1000)])
    assert found.value == 2.5
    assert found.error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    assert found.n == 4


# Hard cases


def test_still_units_correlate_with_nothing():
    a = noise(200, 2)
    still = np.hstack([a, np.full((200, 1), 0.1)])
    assert mcc(still, still).value == pytest.approx(2 / 3)
    assert mcc(still, still, kind="weak").value == pytest.approx(2 / 3)
    assert mcc(a, still).value == pytest.approx(1)
    assert cka(a, still).value == pytest.approx(1)


def test_scale_and_place_do_not_matter():
    a = noise(200, 3) * SHAPE[:3]
    b = a @ turn(3) + 0.3 * noise(200, 3, seed=1)
    for measure in (cka, mcc, lambda x, y: mcc(x, y, kind="weak"), shared_neighbors):
        wanted = measure(a, b).value
        assert measure(1e-150 * a, 1e100 * b).value == pytest.approx(wanted, abs=1e-9)
        assert measure(a + 1e3, b - 1e3).value == pytest.approx(wanted, abs=1e-6)
        assert measure(b, a).value == pytest.approx(wanted, abs=1e-9)


# The same again, and refusals


def test_the_same_seed_gives_the_same_and_changes_nothing():
    a, b = noise(100, 3), noise(100, 3, seed=1)
    state, other = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert stability([a, b]) == stability([torch.tensor(a), torch.tensor(b)])
    assert mcc(a, b) != mcc(a, b, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert (other == np.random.get_state()[1]).all()


A = noise(50, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cka(A, A[:40]), "50 rows and the other 40"),
        (lambda: cka(A[:10], A[:10]), "20 rows at least"),
        (lambda: cka(A[:, 0], A), r"shape \(50,\)"),
        (lambda: cka(A * np.nan, A), "hold NaN"),
        (lambda: cka(0 * A, A), "the same for all rows"),
        (lambda: mcc(A, A, kind="middling"), "choose from strong, weak"),
        (lambda: mcc(noise(50, 13), A, kind="weak"), "50 rows are too few"),
        (lambda: shared_neighbors(A, A, k=0), "k=0 must lie"),
        (lambda: shared_neighbors(A, A, k=49), "k=49 must lie"),
        (lambda: stability([A]), "There is 1 set of codes"),
        (lambda: spread_over_seeds([1.0]), "two runs or more"),
        (lambda: spread_over_seeds([1.0, math.nan]), "all finite"),
    ],
)
def test_what_does_not_compare_is_refused(call, message):
    with pytest.raises(VariedError, match=message):
        call()
