"""Estimators: scikit-learn's own checks, all of them; densities and means against closed forms."""

import pickle
import threading
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import varied.estimators as house
from varied.errors import VariedError
from varied.estimators import (
    VAEClassifier,
    VAEDetector,
    VAEImputer,
    VAESampler,
    VAETransformer,
)
from varied.estimators.column_scaler import ColumnScaler
from varied.evaluate.detection import auroc

SMALL = {"net": {"name": "mlp", "width": 32, "depth": 1}, "lr": 2e-2, "batch_size": 64}
QUICK = SMALL | {"steps": 40, "random_state": 0}
ALL = [getattr(house, name) for name in house.__all__]


@parametrize_with_checks([estimator(**QUICK) for estimator in ALL])
def test_scikit_learn_finds_nothing_to_complain_of(estimator, check):
    check(estimator)


# Normal data, of which all is known


@pytest.fixture(scope="module")
def normal():
    """Correlated columns of unlike units."""
    units = np.array([1.0, 50.0, 0.1])
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.5], [0.0, 0.5, 1.0]])
    law = multivariate_normal([0.0, 5000.0, -1.0], covariance * np.outer(units, units))
    return law, law.rvs(1200, random_state=0)


@pytest.fixture(scope="module")
def fitted(normal):
    return VAETransformer(2, **SMALL | {"lr": 1e-2}, steps=500, random_state=0).fit(normal[1][:800])


def test_a_score_is_the_density_in_the_units_of_x(fitted, normal):
    law, rows = normal
    exact, found = law.logpdf(rows[800:]), fitted.score_samples(rows[800:])
    assert abs(found.mean() - exact.mean()) < 0.15
    assert np.corrcoef(found, exact)[0, 1] > 0.9
    assert fitted.score(rows[800:]) == pytest.approx(found.mean())


def test_other_units_shift_a_density_by_their_logarithm(normal):
    rows, factors = normal[1][:100], np.array([2.0, 0.5, 8.0])  # whole powers: the same bits
    one, other = (VAETransformer(1, **QUICK).fit(x) for x in (rows, rows * factors))
    shifted = other.score_samples(rows * factors) + np.log(factors).sum()
    np.testing.assert_allclose(one.score_samples(rows), shifted, atol=1e-6)


def test_the_density_of_what_is_known_is_a_marginal(normal):
    rows, dice = normal[1], np.random.default_rng(0)
    gappy = np.where(dice.random(rows[:800].shape) < 0.3, np.nan, rows[:800])
    vae = VAETransformer(2, **SMALL | {"lr": 1e-2}, steps=400, random_state=0).fit(gappy)
    one = multivariate_normal(5000.0, 50.0**2)
    alone = rows[800:].copy()
    alone[:, [0, 2]] = np.nan
    assert abs((vae.score_samples(alone) - one.logpdf(rows[800:, 1])).mean()) < 0.15
    nothing = np.full((1, 3), np.nan)
    assert abs(vae.score_samples(nothing)[0]) < 0.2  # log 1


def test_draws_have_the_moments_of_the_rows(fitted, normal):
    law, _ = normal
    drawn = fitted.sample(4000, random_state=0)
    spread = np.sqrt(np.diag(law.cov))
    assert np.all(np.abs(drawn.mean(0) - law.mean) < 0.15 * spread)
    assert np.all(np.abs(drawn.std(0) / spread - 1) < 0.15)
    wanted = law.cov / np.outer(spread, spread)
    assert np.abs(np.corrcoef(drawn.T) - wanted).max() < 0.15


def test_codes_come_back_as_rows(fitted, normal):
    rows = normal[1][800:]
    codes = fitted.transform(rows)
    assert codes.shape == (400, 2)
    error = (fitted.inverse_transform(codes) - rows) / rows.std(0)
    assert np.sqrt((error**2).mean()) < 0.6  # two numbers for three columns; 1 would be the mean
    with pytest.raises(VariedError, match="give codes as transform"):
        fitted.inverse_transform(codes[:, :1])


def test_a_second_call_goes_on_from_the_first_and_keeps_the_scale():
    dice = np.random.default_rng(0)
    first, later = (dice.normal(size=(200, 2)) @ [[1, 2, 0], [0, 1, 3]] + m for m in (0, 4))
    once = VAETransformer(2, steps=60, random_state=0).fit(first)
    before, scale = once.score(later), once.scale_
    start = {name: tensor.clone() for name, tensor in once.model_.state_dict().items()}
    fresh = VAETransformer(2, steps=60, random_state=0).partial_fit(first)
    assert all(torch.equal(start[k], v) for k, v in fresh.model_.state_dict().items())
    once.partial_fit(later)
    assert once.score(later) > before + 10
    assert once.scale_ is scale
    assert len(once.loss_curve_) == 120
    fresh.partial_fit(later)
    assert np.array_equal(fresh.transform(first), once.transform(first))
    with pytest.raises(ValueError, match="features"):
        once.partial_fit(later[:, :2])


# A Gaussian has one scale for all columns, and an encoder that is not told what is known; one width
# for all of them would mend the columns that it is too sure of, and blur the others.
@pytest.mark.parametrize(("likelihood", "within"), [(None, 0.3), ("gaussian", 0.6)])
def test_a_gap_is_filled_with_its_mean_given_the_rest(normal, likelihood, within):
    law, rows = normal
    rows, more = rows[:800], rows[800:1000]
    settings = {"calibrate": 0.0} if likelihood else {}
    imputer = VAEImputer(2, steps=800, random_state=0, likelihood=likelihood, **settings).fit(rows)
    gappy = more.copy()
    gappy[:, 1] = np.nan
    weights = np.linalg.solve(law.cov[np.ix_([0, 2], [0, 2])], law.cov[[0, 2], 1])
    exact = law.mean[1] + (more[:, [0, 2]] - law.mean[[0, 2]]) @ weights
    filled = imputer.transform(gappy)
    np.testing.assert_array_equal(filled[:, [0, 2]], more[:, [0, 2]])
    # Draws have the spread that is left, and their mean is the mean.
    left = np.sqrt(law.cov[1, 1] - weights @ law.cov[[0, 2], 1])
    assert np.sqrt(((filled[:, 1] - exact) ** 2).mean()) < (0.1 + within) * left
    drawn = imputer.set_params(n_draws=1).transform(gappy)
    assert abs((drawn - filled)[:, 1].std() / left - 1) < within
    many = imputer.set_params(n_draws=200).transform(gappy[:50])
    assert np.median(np.abs(many - filled[:50])[:, 1]) < 0.3 * left


# Rows stand alone


@pytest.mark.parametrize("draws", [0, 1])
def test_what_is_filled_in_hangs_on_the_row_alone(draws):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rows[np.random.default_rng(1).random(rows.shape) < 0.3] = np.nan
    imputer = VAEImputer(n_draws=draws, **QUICK).fit(rows)
    order = np.random.default_rng(2).permutation(60)
    whole = imputer.transform(rows)
    np.testing.assert_allclose(imputer.transform(rows[order]), whole[order], atol=1e-9)
    one_by_one = np.concatenate([imputer.transform(rows[i : i + 1]) for i in range(60)])
    np.testing.assert_allclose(one_by_one, whole, atol=1e-9)
    assert len(np.unique(whole[np.isnan(rows)])) == np.isnan(rows).sum()  # no two alike


@pytest.mark.parametrize("estimator", ALL)
def test_nothing_is_left_behind(estimator, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(40, 3))
    torch.manual_seed(7)
    np.random.seed(7)
    torch.set_num_threads(2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one = estimator(**QUICK | {"random_state": None}).fit(x, np.arange(40) % 2)
    for method in ("transform", "score_samples", "predict", "predict_proba"):
        if hasattr(one, method):
            getattr(one, method)(x)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == 2
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")


def test_seeds_say_it_all():
    x = np.random.default_rng(0).normal(size=(40, 3))

    def codes(state):
        return VAETransformer(**QUICK | {"random_state": state}).fit(x).transform(x)

    assert np.array_equal(codes(3), codes(3))
    assert np.array_equal(codes(np.random.RandomState(3)), codes(3))
    assert not np.array_equal(codes(3), codes(4))
    assert not np.array_equal(codes(None), codes(None))
    one = VAETransformer(**QUICK).fit(x)
    assert np.array_equal(one.sample(5, 1), one.sample(5, 1))
    assert not np.array_equal(one.sample(5, 1), one.sample(5, 2))


def test_two_at_once_come_to_what_each_comes_to_alone():
    x = np.random.default_rng(0).normal(size=(40, 3))
    found = {}

    def fit(seed):
        found[seed] = VAETransformer(**QUICK | {"random_state": seed}).fit(x).transform(x)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(found)
    for seed in (0, 1):
        fit(seed)
        np.testing.assert_array_equal(found[seed], together[seed])


# Within scikit-learn


def test_a_pipeline_a_search_and_a_copy():
    x, y = make_blobs(80, n_features=4, centers=2, random_state=0)
    pipe = make_pipeline(StandardScaler(), VAETransformer(**QUICK), LogisticRegression())
    search = GridSearchCV(pipe, {"vaetransformer__latent": np.array([1, 2])}, cv=2).fit(x, y)
    assert search.score(x, y) > 0.9
    assert search.best_estimator_[1].model_.latent_shape[0] in (1, 2)
    assert clone(pipe[1]).get_params() == pipe[1].get_params()
    density = GridSearchCV(VAETransformer(**QUICK), {"lr": [1e-4, 2e-2]}, cv=2).fit(x)
    assert density.best_params_ == {"lr": 2e-2}


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_in_and_out(library):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    frame = library.DataFrame({name: rows[:, i] for i, name in enumerate("abc")})
    output = "pandas" if library is pd else "polars"
    codes = VAETransformer(2, **QUICK).set_output(transform=output).fit_transform(frame)
    assert isinstance(codes, library.DataFrame)
    assert list(codes.columns) == ["vaetransformer0", "vaetransformer1"]
    imputer = VAEImputer(**QUICK).set_output(transform=output).fit(frame)
    assert list(imputer.feature_names_in_) == ["a", "b", "c"]
    assert list(imputer.transform(frame).columns) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        imputer.transform(frame[["a", "c", "b"]])


@pytest.mark.parametrize("estimator", ALL)
def test_a_pickle_says_the_same(estimator):
    x = np.random.default_rng(0).normal(size=(40, 3))
    one = estimator(**QUICK).fit(x, np.arange(40) % 2)
    other = pickle.loads(pickle.dumps(one))
    said = [
        (m, getattr(one, m)(x), getattr(other, m)(x))
        for m in ("transform", "score_samples", "predict", "predict_proba")
        if hasattr(one, m)
    ]
    said += (
        [("sample", one.sample(5, 0), other.sample(5, 0))] if estimator is VAETransformer else []
    )
    if estimator is VAESampler:
        said += [("sample", one.sample(5, 0, 1), other.sample(5, 0, 1))]
    assert said
    for method, a, b in said:
        np.testing.assert_array_equal(a, b, err_msg=method)


@pytest.mark.parametrize("estimator", ALL)
def test_before_fit_and_with_one_row(estimator):
    with pytest.raises(NotFittedError):
        estimator()._read(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="1 sample"):
        estimator(**QUICK).fit(np.zeros((1, 2)), [0])


@pytest.mark.parametrize("likelihood", [None, "gaussian", "laplace", "continuous-bernoulli"])
def test_dull_tables(likelihood):
    dull = np.zeros((10, 3))
    dull[:, 1] = 1.0
    for rows in (dull, dull[:2], dull[:, :1]):
        one = VAETransformer(**QUICK | {"steps": 5, "likelihood": likelihood}).fit(rows)
        assert np.isfinite(one.score_samples(rows)).all()
        assert np.isfinite(one.sample(3)).all()
        assert np.isfinite(one.transform(rows + 1e30 * (likelihood is None))).all()


def test_other_parts():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    parts = {"prior": {"name": "learned-gmm", "n_components": 3}, "objective": "iwae"}
    assert np.isfinite(VAETransformer(**QUICK, **parts).fit(rows).score_samples(rows)).all()
    binary = VAETransformer(**QUICK, likelihood="bernoulli").fit(rows > 0)
    drawn = binary.sample(50)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert binary.score(rows > 0) > -3.0  # nats; three fair coins cost 2.08
    with pytest.raises(VariedError, match="numbers from 0 to 1"):
        VAETransformer(**QUICK, likelihood="bernoulli").fit(rows)
    with pytest.raises(VariedError, match="no density"):
        VAETransformer(**QUICK, posterior="deterministic", objective="rae").fit(rows).score_samples(
            rows
        )


@pytest.mark.parametrize(
    ("wrong", "way"),
    [
        ({"net": "mpl"}, "mlp"),
        ({"epochs": 2}, "one of minutes, epochs and steps"),
        ({"latent": 0}, "at least 1"),
        ({"likelihood": "gausian"}, "gaussian"),
    ],
)
def test_wrong_parameters_are_refused_in_fit(wrong, way):
    with pytest.raises(VariedError, match=way):
        VAETransformer(**QUICK | wrong).fit(np.random.default_rng(0).normal(size=(20, 2)))


def test_the_scale_is_that_of_the_known_cells():
    x = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
    scale = ColumnScaler.fit(x, "table")
    assert scale.mean.tolist() == [2.0, 5.0, 0.0]
    assert scale.width.tolist() == [1.0, 1.0, 1.0]
    assert scale.rows(x).x.tolist()[0] == [1.0, 1.0, 0.0, -1.0, 0.0, 0.0]
    assert scale.rows(x).x.tolist()[2] == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert scale.back(scale.rows(x).x)[:2, :2].tolist() == x[:2, :2].tolist()
    assert ColumnScaler.fit(2 * x, "gaussian").log_width(x).tolist() == [np.log(2), np.log(2), 0.0]


# The detector


def test_the_line_keeps_its_promise_without_any_anomaly():
    rows = np.random.default_rng(0).normal(size=(900, 3))
    detector = VAEDetector(max_fpr=0.1, **QUICK | {"samples": 5}).fit(rows[:700])
    assert detector.threshold_.n == 70
    assert detector.offset_ == pytest.approx(-detector.threshold_.value, rel=1e-8)
    assert (detector.predict(rows[700:]) < 0).mean() <= detector.threshold_.bound < 0.1
    few = VAEDetector(**QUICK | {"samples": 5}).fit(rows[:200])
    assert few.threshold_ is None  # 20 rows cannot promise it: the worst of them is the line
    assert (few.predict(rows[200:]) < 0).mean() < 0.15
    with pytest.raises(VariedError, match="share of the rows"):
        VAEDetector(max_fpr=5, **QUICK).fit(rows)


@pytest.mark.parametrize("seed", range(6))
def test_the_row_that_draws_the_line_is_normal_in_any_company(seed):
    rows = np.random.default_rng(seed).normal(size=(20, 3))
    detector = VAEDetector(**QUICK | {"steps": 5, "random_state": seed}).fit(rows)
    beside = np.abs(detector.decision_function(rows))
    line = beside.argmin()
    assert beside[line] < 1e-8
    for company in ([line], [line, 0], [0, line], rows[:, 0].argsort(), np.arange(20)):
        told = detector.predict(rows[company])
        assert (told[np.equal(company, line)] == 1).all()


def test_no_row_both_teaches_and_draws_the_line(monkeypatch):
    seen = {}
    for name in ("_learn", "_scored"):
        real = getattr(VAEDetector, name)

        def spy(self, x, *args, real=real, name=name, **more):
            seen.setdefault(name, set(x[:, 0]))
            return real(self, x, *args, **more)

        monkeypatch.setattr(VAEDetector, name, spy)
    VAEDetector(**QUICK).fit(np.arange(100.0)[:, None])
    assert (len(seen["_learn"]), len(seen["_scored"])) == (90, 10)
    assert not seen["_learn"] & seen["_scored"]


@pytest.mark.parametrize("by", ["both", "density", "distance"])
def test_the_detector_scores_by_what_is_asked_for(by):
    x = np.random.default_rng(0).normal(size=(300, 2))
    detector = VAEDetector(method=by, steps=150, random_state=0).fit(x)
    near, far = detector.score_samples([[0.0, 0.0], [9.0, 9.0]])
    assert near > far
    if by == "density":  # in nats, in the units of X
        wide = VAEDetector(method=by, steps=150, random_state=0).fit(10 * x)
        assert wide.score_samples([[0.0, 0.0]]) == pytest.approx(near - 2 * np.log(10), abs=1e-3)
    with pytest.raises(VariedError, match="Unknown method 'luck'"):
        VAEDetector(method="luck", steps=5).fit(x)


def test_several_draws_fill_the_gaps_and_hold_what_is_known():
    dice = np.random.default_rng(0)
    x = dice.normal(size=(400, 1)) * [1.0, 2.0, -1.0] + 0.1 * dice.normal(size=(400, 3))
    gaps = dice.random(x.shape) < 0.2
    imputer = VAEImputer(steps=600, random_state=0).fit(np.where(gaps, np.nan, x))
    drawn = imputer.draw(np.where(gaps, np.nan, x), 50)
    assert drawn.shape == (50, 400, 3)
    assert np.array_equal(drawn[:, ~gaps], np.broadcast_to(x[~gaps], (50, (~gaps).sum())))
    low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
    some = gaps & (gaps.sum(1, keepdims=True) < 3)
    assert 0.8 < ((low <= x) & (x <= high))[some].mean() < 0.98


def test_the_detector_finds_what_is_unlike():
    x, y = load_breast_cancer(return_X_y=True)
    detector = VAEDetector(steps=100, lr=1e-2, samples=20, random_state=0).fit(x[y == 1][:250])
    rest = np.concatenate([x[y == 1][250:], x[y == 0]])
    truth = np.arange(len(rest)) >= (y == 1).sum() - 250
    assert auroc(-detector.score_samples(rest), truth) > 0.93


def test_a_column_that_is_always_the_same_says_a_lot_when_it_is_not():
    always = np.random.default_rng(0).normal(size=(200, 3))
    always[:, -1] = 1.0
    strange = always.copy()
    strange[:, -1] = 2.0
    detector = VAEDetector(**QUICK | {"steps": 100}).fit(always)
    assert (detector.predict(always) == -1).mean() < 0.2
    assert (detector.predict(strange) == -1).all()


# The imputer


def test_empty_columns_go_or_stay_as_in_scikit_learn():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    rows[:, 1] = np.nan
    rows[0, 0] = np.nan
    imputer = VAEImputer(**QUICK).fit(pd.DataFrame(rows, columns=list("abc")))
    assert imputer.get_feature_names_out().tolist() == ["a", "c"]
    assert imputer.transform(pd.DataFrame(rows, columns=list("abc"))).shape == (20, 2)
    kept = VAEImputer(keep_empty_features=True, **QUICK).fit(rows)
    assert kept.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    filled = kept.transform(rows)
    assert (filled[:, 1] == 0).all()
    assert not np.isnan(filled).any()


def test_another_mark_for_gaps():
    rows = np.random.default_rng(0).normal(size=(20, 2)).astype("f4")
    marked = rows.copy()
    marked[3, 1] = -999
    filled = VAEImputer(missing_values=-999, **QUICK).fit_transform(marked)
    assert filled.dtype == np.float32
    assert filled[3, 1] > -10
    rows[3, 1] = np.nan
    np.testing.assert_array_equal(VAEImputer(**QUICK).fit_transform(rows), filled)
    with pytest.raises(ValueError, match="NaN"):
        VAEImputer(missing_values=-999, **QUICK).fit(rows)
    with pytest.raises(VariedError, match="number of draws"):
        VAEImputer(n_draws=-1, **QUICK).fit(rows)


# The classifier


def test_rows_without_labels_are_read():
    x, truth = make_blobs(300, n_features=5, centers=3, random_state=0)
    y = np.where(np.arange(300) < 30, truth, -1)
    classifier = VAEClassifier(**QUICK | {"steps": 100}).fit(x, y)
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.score(x, truth) > 0.9
    np.testing.assert_allclose(classifier.predict_proba(x).sum(1), 1, atol=1e-12)
    gappy = x.copy()
    gappy[:, 0] = np.nan
    assert classifier.score(gappy, truth) > 0.8


def test_labels_that_are_kept_back_say_how_sure_to_be():
    x, truth = make_blobs(600, centers=2, cluster_std=4, random_state=0)
    y = np.where(np.arange(600) < 60, truth, -1)
    given = QUICK | {"steps": 300, "objective": {"name": "m2", "alpha": 20.0}}
    plain = VAEClassifier(**given).fit(x, y)
    assert plain.temperature_ == 1
    held = VAEClassifier(**given, calibrate=0.4).fit(x, y)
    assert held.temperature_ > 1.2
    rest = slice(60, None)
    chances = held.predict_proba(x[rest])
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-12)
    sharp = VAEClassifier(**given, calibrate=0.4).fit(x, y)
    sharp.temperature_ = 1.0
    np.testing.assert_array_equal(sharp.predict(x), held.predict(x))
    assert log_loss(truth[rest], chances) < log_loss(truth[rest], sharp.predict_proba(x[rest]))
    named = pd.DataFrame(x, columns=["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VAEClassifier(**QUICK, calibrate=0.4).fit(named, y)
    one_each = VAEClassifier(**QUICK, calibrate=0.5).fit(x[:9], np.r_[[0, 1], [-1] * 7])
    assert one_each.classes_.tolist() == [0, 1]  # the last label of a class is never kept back
    assert one_each.temperature_ == 1
    with pytest.raises(VariedError, match=r"from 0 to 0\.5"):
        VAEClassifier(**QUICK, calibrate=0.9).fit(x, y)


def test_which_labels_are_labels():
    x, truth = make_blobs(40, centers=2, random_state=0)

    def classes(y):
        return VAEClassifier(**QUICK | {"steps": 5}).fit(x, y).classes_.tolist()

    assert classes(np.where(truth, 1, -1)) == [-1, 1]
    assert classes(np.where(np.arange(40) < 20, truth, -1)) == [0, 1]
    assert classes(np.where(truth, "-1", "yes")) == ["-1", "yes"]
    with pytest.raises(ValueError, match="class"):
        classes(np.where(np.arange(40) < 20, 0, -1))
    with pytest.raises(VariedError, match="leave out posterior"):
        VAEClassifier(**QUICK, posterior="deterministic").fit(x, truth)


# The sampler


@pytest.fixture(scope="module")
def uneven():
    x, y = make_blobs([120, 30, 10], n_features=2, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)
    return x, np.array(["a", "b", "c"])[y]


def test_made_rows_are_of_their_class(uneven):
    x, y = uneven
    more, labels = VAESampler(**QUICK | {"steps": 300}).fit_resample(x, y)
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == dict.fromkeys(
        "abc", 120
    )
    np.testing.assert_array_equal(more[:160], x)
    np.testing.assert_array_equal(labels[:160], y)
    for one, center in {"b": [6, 0], "c": [0, 6]}.items():
        made = more[160:][labels[160:] == one]
        assert np.abs(made.mean(0) - center).max() < 1
        assert len(np.unique(made, axis=0)) > len(made) / 2
    assert (more.min(0) >= x.min(0)).all()
    assert (more.max(0) <= x.max(0)).all()


@pytest.mark.parametrize(
    ("strategy", "counts"),
    [
        ("auto", [120, 120, 120]),
        ("all", [120, 120, 120]),
        ("minority", [120, 30, 120]),
        ("not minority", [120, 120, 10]),
        ({"c": 50}, [120, 30, 50]),
    ],
)
def test_strategies(uneven, strategy, counts):
    quick = QUICK | {"steps": 3}
    _, labels = VAESampler(sampling_strategy=strategy, **quick).fit_resample(*uneven)
    assert np.unique(labels, return_counts=True)[1].tolist() == counts


def test_a_share_for_two_classes_and_refusals(uneven):
    x, y = uneven
    two = y != "c"
    quick = QUICK | {"steps": 3}
    _, labels = VAESampler(sampling_strategy=0.5, **quick).fit_resample(x[two], y[two])
    assert np.unique(labels, return_counts=True)[1].tolist() == [120, 60]
    for wrong in (0.5, "minorty", {"c": 5}, {"d": 50}):
        with pytest.raises(VariedError, match="sampling_strategy"):
            VAESampler(sampling_strategy=wrong, **quick).fit(x, y)
    with pytest.raises(ValueError, match="one class"):
        VAESampler(**quick).fit(x, np.zeros(160))
    with pytest.raises(VariedError, match="no class 'd'"):
        VAESampler(**quick).fit(x, y).sample(3, "d")


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_come_back_as_frames(uneven, library):
    x, y = uneven
    frame = library.DataFrame({"size": x[:, 0], "count": np.abs(x[:, 1] * 9).astype(int)})
    series = pd.Series(y, name="k") if library is pd else pl.Series("k", y)
    more, labels = VAESampler(**QUICK | {"steps": 3}).fit_resample(frame, series)
    assert list(more.dtypes) == list(frame.dtypes)
    assert (type(more), type(labels), labels.name) == (library.DataFrame, library.Series, "k")
    assert len(more) == len(labels) == 360
