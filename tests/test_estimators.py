"""Estimators: scikit-learn's own checks, and results in closed form."""

import inspect
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
from torch import nn

from varied import estimators
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
from varied.likelihoods import Laplace
from varied.spec import Part

SMALL = {"net": {"name": "mlp", "width": 32, "depth": 1}, "lr": 2e-2, "batch_size": 64}
FAST = SMALL | {"steps": 40, "random_state": 0}
ALL = [getattr(estimators, name) for name in estimators.__all__ if name.startswith("VAE")]


def random_rows(n=40, columns=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns))


def predictions(estimator, x):
    """Return the results of all methods for rows."""
    names = ("transform", "score_samples", "predict", "predict_proba")
    results = {name: getattr(estimator, name)(x) for name in names if hasattr(estimator, name)}
    if isinstance(estimator, VAETransformer):
        results["sample"] = estimator.sample(5, 0)
    if isinstance(estimator, VAESampler):
        results["sample"] = estimator.sample(5, 0, 1)
    assert results
    return results


# All estimators


# Only the checks of classifiers measure what was learned.
@parametrize_with_checks(
    [estimator(**FAST | ({} if estimator is VAEClassifier else {"steps": 3})) for estimator in ALL]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ALL)
def test_signature_and_docstring_have_all_parameters(estimator):
    parameters = inspect.signature(estimator).parameters
    assert next(iter(parameters)) == "latent"
    assert {"net", "likelihood", "prior", "posterior", "objective"} < set(parameters)
    assert sorted(parameters) == sorted(estimator().get_params())
    assert all(f"\n    {name}: " in estimator.__doc__ for name in parameters)
    assert estimator.__doc__.count("Arguments:") == 1


def test_a_column_whose_variance_overflows_is_named():
    with pytest.raises(VariedError, match="variance of column 1 overflows; rescale this column"):
        VAETransformer(**FAST).fit(random_rows() * [1, 1e200, 1])


@pytest.mark.parametrize("estimator", ALL)
def test_fit_has_no_side_effects(estimator, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = random_rows()
    torch.manual_seed(7)
    np.random.seed(7)
    torch.set_num_threads(2)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    predictions(estimator(**FAST | {"random_state": None}).fit(x, np.arange(40) % 2), x)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.get_num_threads() == 2
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("estimator", ALL)
def test_pickle_keeps_predictions(estimator):
    x = random_rows()
    fitted = estimator(**FAST).fit(x, np.arange(40) % 2)
    expected = predictions(fitted, x)
    for name, result in predictions(pickle.loads(pickle.dumps(fitted)), x).items():
        np.testing.assert_array_equal(result, expected[name], err_msg=name)


@pytest.mark.parametrize("estimator", ALL)
def test_unfitted_estimators_and_single_rows_are_refused(estimator):
    with pytest.raises(NotFittedError):
        estimator()._validate(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="1 sample"):
        estimator(**FAST).fit(np.zeros((1, 2)), [0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"net": "mpl"}, "mlp"),
        ({"epochs": 2}, "one of epochs and steps"),
        ({"latent": 0}, "at least 1"),
        ({"likelihood": "gausian"}, "gaussian"),
    ],
)
def test_invalid_parameters_are_refused_in_fit(parameters, message):
    with pytest.raises(VariedError, match=message):
        VAETransformer(**FAST | parameters).fit(random_rows(20, 2))


def test_random_state_determines_results():
    x = random_rows()

    def codes(state):
        return VAETransformer(**FAST | {"random_state": state}).fit(x).transform(x)

    assert np.array_equal(codes(3), codes(3))
    assert np.array_equal(codes(np.random.RandomState(3)), codes(3))
    assert not np.array_equal(codes(3), codes(4))
    assert not np.array_equal(codes(None), codes(None))
    vae = VAETransformer(**FAST).fit(x)
    assert np.array_equal(vae.sample(5, 1), vae.sample(5, 1))
    assert not np.array_equal(vae.sample(5, 1), vae.sample(5, 2))


def test_concurrent_fits_do_not_interfere():
    x, codes = random_rows(), {}

    def fit(seed):
        codes[seed] = VAETransformer(**FAST | {"random_state": seed}).fit(x).transform(x)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    concurrent = dict(codes)
    for seed in (0, 1):
        fit(seed)
        np.testing.assert_array_equal(codes[seed], concurrent[seed])


def test_pipeline_grid_search_and_clone():
    x, y = make_blobs(80, n_features=4, centers=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(), VAETransformer(**FAST), LogisticRegression())
    search = GridSearchCV(pipeline, {"vaetransformer__latent": np.array([1, 2])}, cv=2).fit(x, y)
    assert search.score(x, y) > 0.9
    assert search.best_estimator_[1].model_.latent_shape[0] in (1, 2)
    assert clone(pipeline[1]).get_params() == pipeline[1].get_params()
    density = GridSearchCV(VAETransformer(**FAST), {"lr": [1e-4, 2e-2]}, cv=2).fit(x)
    assert density.best_params_ == {"lr": 2e-2}


@pytest.mark.parametrize("library", [pd, pl])
def test_data_frames_in_and_out(library):
    rows = random_rows(50)
    frame = library.DataFrame({name: rows[:, i] for i, name in enumerate("abc")})
    output = "pandas" if library is pd else "polars"
    codes = VAETransformer(2, **FAST).set_output(transform=output).fit_transform(frame)
    assert isinstance(codes, library.DataFrame)
    assert list(codes.columns) == ["vaetransformer0", "vaetransformer1"]
    imputer = VAEImputer(**FAST).set_output(transform=output).fit(frame)
    assert list(imputer.feature_names_in_) == ["a", "b", "c"]
    assert list(imputer.transform(frame).columns) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        imputer.transform(frame[["a", "c", "b"]])


def test_column_scaler_uses_observed_cells():
    x = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
    scaler = ColumnScaler.fit(x, Part("table"))
    assert scaler.mean.tolist() == [2.0, 5.0, 0.0]
    assert scaler.scale.tolist() == [1.0, 1.0, 1.0]
    rows = scaler.transform(x).x
    assert rows.tolist()[0] == [1.0, 1.0, 0.0, -1.0, 0.0, 0.0]
    assert rows.tolist()[2] == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert scaler.inverse_transform(rows)[:2, :2].tolist() == x[:2, :2].tolist()
    assert ColumnScaler.fit(2 * x, Part("gaussian")).log_det(x).tolist() == [
        np.log(2),
        np.log(2),
        0.0,
    ]


# VAETransformer


@pytest.fixture(scope="module")
def normal():
    """A distribution of correlated columns of different scales, and samples from it."""
    scales = np.array([1.0, 50.0, 0.1])
    correlation = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.5], [0.0, 0.5, 1.0]])
    distribution = multivariate_normal([0.0, 5000.0, -1.0], correlation * np.outer(scales, scales))
    return distribution, distribution.rvs(1200, random_state=0)


@pytest.fixture(scope="module")
def fitted(normal):
    return VAETransformer(2, **SMALL | {"lr": 1e-2}, steps=500, random_state=0).fit(normal[1][:800])


def test_score_samples_is_the_log_density(fitted, normal):
    distribution, rows = normal
    exact, scores = distribution.logpdf(rows[800:]), fitted.score_samples(rows[800:])
    assert abs(scores.mean() - exact.mean()) < 0.15
    assert np.corrcoef(scores, exact)[0, 1] > 0.9
    assert fitted.score(rows[800:]) == pytest.approx(scores.mean())


def test_score_samples_depends_on_units_by_their_logarithm(normal):
    # The factors are powers of 2, so that results are bit-identical.
    rows, factors = normal[1][:100], np.array([2.0, 0.5, 8.0])
    original, scaled = (VAETransformer(1, **FAST).fit(x) for x in (rows, rows * factors))
    scores = scaled.score_samples(rows * factors) + np.log(factors).sum()
    np.testing.assert_allclose(original.score_samples(rows), scores, atol=1e-6)


@pytest.mark.slow
def test_score_samples_with_missing_cells_is_the_marginal_density(normal):
    rows, rng = normal[1], np.random.default_rng(0)
    incomplete = np.where(rng.random(rows[:800].shape) < 0.3, np.nan, rows[:800])
    vae = VAETransformer(2, **SMALL | {"lr": 1e-2}, steps=400, random_state=0).fit(incomplete)
    exact = multivariate_normal(5000.0, 50.0**2).logpdf(rows[800:, 1])
    one_column = rows[800:].copy()
    one_column[:, [0, 2]] = np.nan
    assert abs((vae.score_samples(one_column) - exact).mean()) < 0.15
    assert abs(vae.score_samples(np.full((1, 3), np.nan))[0]) < 0.2


def test_samples_have_the_moments_of_the_data(fitted, normal):
    distribution, _ = normal
    samples = fitted.sample(4000, random_state=0)
    std = np.sqrt(np.diag(distribution.cov))
    assert np.all(np.abs(samples.mean(0) - distribution.mean) < 0.15 * std)
    assert np.all(np.abs(samples.std(0) / std - 1) < 0.15)
    assert np.abs(np.corrcoef(samples.T) - distribution.cov / np.outer(std, std)).max() < 0.15


def test_inverse_transform_reconstructs(fitted, normal):
    rows = normal[1][800:]
    codes = fitted.transform(rows)
    assert codes.shape == (400, 2)
    error = (fitted.inverse_transform(codes) - rows) / rows.std(0)
    assert np.sqrt((error**2).mean()) < 0.6  # the column means would give 1
    with pytest.raises(VariedError, match="2 dimensions, as returned by `transform`, got 1"):
        fitted.inverse_transform(codes[:, :1])


def test_partial_fit_continues_and_keeps_the_scaling():
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(200, 2)) @ [[1, 2, 0], [0, 1, 3]] + m for m in (0, 4))
    vae = VAETransformer(2, steps=60, random_state=0).fit(first)
    score, scaler = vae.score(second), vae.scaler_
    weights = {name: tensor.clone() for name, tensor in vae.model_.state_dict().items()}
    other = VAETransformer(2, steps=60, random_state=0).partial_fit(first)
    assert all(torch.equal(weights[k], v) for k, v in other.model_.state_dict().items())
    vae.partial_fit(second)
    assert vae.score(second) > score + 10
    assert vae.scaler_ is scaler
    assert len(vae.loss_curve_) == 120
    other.partial_fit(second)
    assert np.array_equal(other.transform(first), vae.transform(first))
    with pytest.raises(ValueError, match="features"):
        vae.partial_fit(second[:, :2])


@pytest.mark.parametrize("likelihood", [None, "gaussian", "laplace", "continuous-bernoulli"])
def test_constant_columns_and_few_rows_are_finite(likelihood):
    constant = np.zeros((10, 3))
    constant[:, 1] = 1.0
    for rows in (constant, constant[:2], constant[:, :1]):
        vae = VAETransformer(**FAST | {"steps": 5, "likelihood": likelihood}).fit(rows)
        assert np.isfinite(vae.score_samples(rows)).all()
        assert np.isfinite(vae.sample(3)).all()
        assert np.isfinite(vae.transform(rows + 1e30 * (likelihood is None))).all()


def test_parts_can_be_classes_and_modules():
    rows = random_rows()
    options = FAST | {"encoder": nn.Linear(3, 4), "decoder": nn.Linear(2, 3), "latent": 2}
    vae = VAETransformer(**options, likelihood=Laplace)
    assert clone(vae).fit(rows).transform(rows).shape == (len(rows), 2)
    with pytest.raises(ValueError, match=r"The encoder returns shape .* the posterior requires"):
        clone(vae).set_params(latent=3).fit(rows)


def test_other_parts():
    rows = random_rows(60)
    parts = {"prior": {"name": "learned-gmm", "n_components": 3}, "objective": "iwae"}
    assert np.isfinite(VAETransformer(**FAST, **parts).fit(rows).score_samples(rows)).all()
    binary = VAETransformer(**FAST, likelihood="bernoulli").fit(rows > 0)
    assert set(np.unique(binary.sample(50))) == {0.0, 1.0}
    assert binary.score(rows > 0) > -3.0  # for three fair coins, it is -2.08
    with pytest.raises(VariedError, match="values between 0 and 1"):
        VAETransformer(**FAST, likelihood="bernoulli").fit(rows)
    rae = VAETransformer(**FAST, posterior="deterministic", objective="rae").fit(rows)
    with pytest.raises(VariedError, match="require a density"):
        rae.score_samples(rows)


# VAEDetector


def test_detector_limits_the_false_positive_rate():
    rows = random_rows(900)
    detector = VAEDetector(max_fpr=0.1, **FAST | {"samples": 5}).fit(rows[:700])
    assert detector.threshold_.n == 70
    assert detector.offset_ == pytest.approx(-detector.threshold_.value, rel=1e-8)
    assert (detector.predict(rows[700:]) < 0).mean() <= detector.threshold_.bound < 0.1
    without_guarantee = VAEDetector(**FAST | {"samples": 5}).fit(rows[:200])
    assert without_guarantee.threshold_ is None
    assert (without_guarantee.predict(rows[200:]) < 0).mean() < 0.15
    with pytest.raises(VariedError, match="above 0 and below 1, got 5"):
        VAEDetector(max_fpr=5, **FAST).fit(rows)


@pytest.mark.parametrize("seed", range(6))
def test_row_at_the_threshold_is_normal_in_any_batch(seed):
    rows = random_rows(600, seed=seed)
    detector = VAEDetector(**FAST | {"steps": 5, "random_state": seed}).fit(rows)
    margins = np.abs(detector.decision_function(rows))
    row = margins.argmin()
    assert margins[row] < 1e-8
    for batch in ([row], [row, 0], [0, row], rows[:, 0].argsort(), np.arange(600)):
        labels = detector.predict(rows[batch])
        assert (labels[np.equal(batch, row)] == 1).all()


@pytest.fixture
def detector_calls(monkeypatch):
    """Record the first column of the rows passed to each training and scoring."""
    calls = {"_fit_model": [], "_score": []}
    for name, rows in calls.items():
        method = getattr(VAEDetector, name)

        def spy(self, x, method=method, rows=rows):
            rows.append(x[:, 0].tolist())
            return method(self, x)

        monkeypatch.setattr(VAEDetector, name, spy)
    return calls


def test_threshold_is_set_on_a_tenth_of_many_rows(detector_calls):
    detector = VAEDetector(**FAST).fit(np.arange(600.0)[:, None])
    training, scored = (set(*rows) for rows in detector_calls.values())
    assert (len(training), len(scored)) == (540, 60)
    assert not training & scored
    assert detector.threshold_.bound <= 0.05


def test_threshold_is_cross_fitted_with_few_rows(detector_calls):
    detector = VAEDetector(**FAST).fit(np.arange(100.0)[:, None])
    training, scored = detector_calls.values()
    assert [len(rows) for rows in training] == [80] * 5 + [100]
    assert sorted(np.concatenate(scored)) == list(range(100))
    assert all(not set(a) & set(b) for a, b in zip(training, scored, strict=False))
    assert detector.threshold_ is None


def test_equal_rows_are_held_out_together(detector_calls):
    VAEDetector(**FAST).fit(np.repeat(np.arange(700.0), 5)[:, None])
    training, scored = (rows[0] for rows in detector_calls.values())
    assert not set(training) & set(scored)
    assert len(scored) == len(set(scored)) == 70
    assert len(training) == 630 * 5


@pytest.mark.parametrize(
    ("n", "copies", "repetitions"),
    [pytest.param(40, 1, 8, marks=pytest.mark.slow), (200, 5, 1), (700, 5, 1)],
)
def test_false_positive_rate_with_few_or_repeated_rows(n, copies, repetitions):
    rates = []
    for seed in range(repetitions):
        rows = np.repeat(random_rows(n, 3, seed=seed), copies, axis=0)
        detector = VAEDetector(**FAST).fit(np.random.default_rng(2).permutation(rows))
        rates.append((detector.predict(random_rows(1000, 3, seed=100 + seed)) == -1).mean())
    assert np.mean(rates) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["both", "density", "distance"])
def test_detector_methods(method):
    x = random_rows(300, 2)
    detector = VAEDetector(method=method, steps=50, random_state=0).fit(x)
    near, far = detector.score_samples([[0.0, 0.0], [9.0, 9.0]])
    assert near > far
    if method == "density":
        scaled = VAEDetector(method=method, steps=50, random_state=0).fit(10 * x)
        score = scaled.score_samples([[0.0, 0.0]])
        assert score == pytest.approx(near - 2 * np.log(10), abs=1e-3)
    with pytest.raises(VariedError, match="Unknown method 'luck'"):
        VAEDetector(method="luck", steps=5).fit(x)


@pytest.mark.parametrize("method", ["both", "density"])
def test_detector_compares_rows_with_rows_that_have_the_same_missing_values(method):
    phase = np.random.default_rng(1).uniform(0, 2 * np.pi, (900, 1))
    waves = np.sin(np.arange(24) / 3 + phase) + 0.1 * random_rows(900, 24)
    options = SMALL | {"steps": 300, "random_state": 0, "samples": 10}
    detector = VAEDetector(method=method, **options).fit(waves[:600])
    new, decisions = waves[600:].copy(), detector.decision_function(waves[600:])
    new[:, [2, 11, 12, 19]] = np.nan
    assert (detector.predict(new) == -1).mean() <= 0.05
    assert np.median(detector.decision_function(new)) == pytest.approx(
        np.median(decisions), abs=np.quantile(decisions, 0.6) - np.quantile(decisions, 0.4)
    )
    shifted = new.copy()
    shifted[:, 5] += 1
    assert (detector.predict(shifted) == -1).mean() > 0.9


@pytest.mark.slow
def test_detector_on_breast_cancer():
    x, y = load_breast_cancer(return_X_y=True)
    benign = x[y == 1]
    detector = VAEDetector(steps=100, lr=1e-2, samples=20, random_state=0).fit(benign[:250])
    test = np.concatenate([benign[250:], x[y == 0]])
    is_malignant = np.arange(len(test)) >= len(benign) - 250
    assert auroc(-detector.score_samples(test), is_malignant) > 0.93


@pytest.mark.slow
def test_deviation_from_a_constant_column_is_anomalous():
    normal = random_rows(200)
    normal[:, -1] = 1.0
    anomalous = normal.copy()
    anomalous[:, -1] = 2.0
    detector = VAEDetector(**FAST | {"steps": 100}).fit(normal)
    assert (detector.predict(normal) == -1).mean() < 0.2
    assert (detector.predict(anomalous) == -1).all()


# VAEImputer


@pytest.mark.slow
# A Gaussian likelihood has one scale for all columns, and its encoder does not receive the mask. A
# single inflation factor would correct some columns at the expense of others, so it is turned off.
@pytest.mark.parametrize(
    ("likelihood", "tolerance"),
    [(None, 0.3), pytest.param("gaussian", 0.6, marks=pytest.mark.slow)],
)
def test_imputation_is_the_conditional_mean(normal, likelihood, tolerance):
    distribution, rows = normal
    training, test = rows[:800], rows[800:1000]
    options = {"calibration_fraction": 0.0} if likelihood else {}
    imputer = VAEImputer(2, steps=800, random_state=0, likelihood=likelihood, **options)
    imputer.fit(training)
    incomplete = test.copy()
    incomplete[:, 1] = np.nan
    covariance, mean = distribution.cov, distribution.mean
    weights = np.linalg.solve(covariance[np.ix_([0, 2], [0, 2])], covariance[[0, 2], 1])
    exact = mean[1] + (test[:, [0, 2]] - mean[[0, 2]]) @ weights
    std = np.sqrt(covariance[1, 1] - weights @ covariance[[0, 2], 1])
    imputed = imputer.transform(incomplete)
    np.testing.assert_array_equal(imputed[:, [0, 2]], test[:, [0, 2]])
    assert np.sqrt(((imputed[:, 1] - exact) ** 2).mean()) < (0.1 + tolerance) * std
    draw = imputer.set_params(n_draws=1).transform(incomplete)
    assert abs((draw - imputed)[:, 1].std() / std - 1) < tolerance
    mean_of_draws = imputer.set_params(n_draws=200).transform(incomplete[:50])
    assert np.median(np.abs(mean_of_draws - imputed[:50])[:, 1]) < 0.3 * std


@pytest.mark.parametrize("n_draws", [0, 1])
def test_imputation_of_a_row_does_not_depend_on_other_rows(n_draws):
    rows = random_rows(60)
    rows[np.random.default_rng(1).random(rows.shape) < 0.3] = np.nan
    imputer = VAEImputer(n_draws=n_draws, **FAST).fit(rows)
    order = np.random.default_rng(2).permutation(60)
    imputed = imputer.transform(rows)
    np.testing.assert_allclose(imputer.transform(rows[order]), imputed[order], atol=1e-9)
    one_by_one = np.concatenate([imputer.transform(rows[i : i + 1]) for i in range(60)])
    np.testing.assert_allclose(one_by_one, imputed, atol=1e-9)
    assert len(np.unique(imputed[np.isnan(rows)])) == np.isnan(rows).sum()


@pytest.mark.slow
def test_multiple_imputations_keep_observed_cells_and_cover_missing_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1)) * [1.0, 2.0, -1.0] + 0.1 * rng.normal(size=(400, 3))
    missing = rng.random(x.shape) < 0.2
    incomplete = np.where(missing, np.nan, x)
    draws = VAEImputer(steps=600, random_state=0).fit(incomplete).draw(incomplete, 50)
    assert draws.shape == (50, 400, 3)
    observed = np.broadcast_to(x[~missing], (50, (~missing).sum()))
    assert np.array_equal(draws[:, ~missing], observed)
    low, high = np.quantile(draws, (0.05, 0.95), axis=0)
    cells = missing & (missing.sum(1, keepdims=True) < 3)
    assert 0.8 < ((low <= x) & (x <= high))[cells].mean() < 0.98


def test_empty_columns_are_dropped_or_kept_as_in_scikit_learn():
    rows = random_rows(20)
    rows[:, 1] = np.nan
    rows[0, 0] = np.nan
    frame = pd.DataFrame(rows, columns=list("abc"))
    imputer = VAEImputer(**FAST).fit(frame)
    assert imputer.get_feature_names_out().tolist() == ["a", "c"]
    assert imputer.transform(frame).shape == (20, 2)
    imputer = VAEImputer(keep_empty_features=True, **FAST).fit(rows)
    assert imputer.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    imputed = imputer.transform(rows)
    assert (imputed[:, 1] == 0).all()
    assert not np.isnan(imputed).any()


def test_missing_values_marker():
    rows = random_rows(20, 2).astype("f4")
    marked = rows.copy()
    marked[3, 1] = -999
    imputed = VAEImputer(missing_values=-999, **FAST).fit_transform(marked)
    assert imputed.dtype == np.float32
    assert imputed[3, 1] > -10
    rows[3, 1] = np.nan
    np.testing.assert_array_equal(VAEImputer(**FAST).fit_transform(rows), imputed)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_draws": -1}, "non-negative integer"),
        ({"calibration_fraction": -0.1}, "at least 0 and below 1"),
        ({"calibration_fraction": 1.0}, "at least 0 and below 1"),
    ],
)
def test_imputer_refuses_invalid_parameters(parameters, message):
    with pytest.raises(VariedError, match=message):
        VAEImputer(**FAST | parameters).fit(random_rows())


def small_table(n=140, seed=0):
    """Return nine continuous columns and one with three values, from three latent factors."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    x = np.tanh(z @ rng.normal(size=(3, 9))) + 0.4 * rng.normal(size=(n, 9))
    return np.column_stack([x, (z[:, 0] > 0).astype(float) + (z[:, 0] > 1)])


@pytest.mark.slow
def test_calibrated_intervals_of_a_small_table_have_their_nominal_coverage():
    coverage = {0.0: [], 0.2: []}
    for seed in range(2):
        x = small_table(seed=seed)
        missing = np.random.default_rng(seed).random(x.shape) < 0.3
        missing[:, -1] = False
        incomplete = np.where(missing, np.nan, x)
        for fraction in coverage:
            imputer = VAEImputer(steps=600, calibration_fraction=fraction, random_state=seed)
            draws = imputer.fit(incomplete).draw(incomplete, 100)
            low, high = np.quantile(draws, (0.05, 0.95), axis=0)
            coverage[fraction].append(((low <= x) & (x <= high))[missing].mean())
            assert (np.mean(imputer.draw_scale_[:-1]) > 1) == (fraction > 0)
    assert np.mean(coverage[0.0]) < 0.82
    assert 0.86 < np.mean(coverage[0.2]) < 0.96


@pytest.fixture(scope="module")
def calibrated():
    """A calibrated imputer, and rows with missing cells in two columns."""
    x = small_table()
    x[::2, 0] = np.nan
    x[::3, -1] = np.nan
    return VAEImputer(steps=600, calibration_fraction=0.2, random_state=0).fit(x), x


@pytest.mark.slow
def test_single_draws_are_as_dispersed_as_many(calibrated):
    imputer, x = calibrated
    assert imputer.draw_scale_[0] != 1
    many, single = imputer.draw(x, 200), imputer.draw(x, 1)
    assert single.shape == (1, *x.shape)
    observed = ~np.isnan(x)
    assert np.array_equal(single[0][observed], x[observed])
    deviations = (single[0] - many.mean(0))[::2, 0] / many.std(0)[::2, 0]
    assert 0.7 < deviations.std() < 1.4
    imputer = clone(imputer).set_params(n_draws=1).fit(x)
    np.testing.assert_allclose(imputer.transform(x[:6])[:2], imputer.transform(x[:2]), atol=1e-9)


@pytest.mark.slow
def test_draws_of_discrete_columns_are_not_scaled(calibrated):
    imputer, x = calibrated
    plain = pickle.loads(pickle.dumps(imputer))
    plain.draw_scale_[:] = 2.0
    discrete, continuous = (
        np.allclose(imputer.draw(x, 50)[:, ::6, column], plain.draw(x, 50)[:, ::6, column])
        for column in (-1, 0)
    )
    assert discrete and not continuous


def test_too_few_cells_are_not_held_out():
    imputer = VAEImputer(steps=20, random_state=0).fit(small_table(12))
    assert (imputer.draw_scale_ == 1).all()


# VAEClassifier


def test_classifier_learns_from_rows_without_labels():
    x, truth = make_blobs(300, n_features=5, centers=3, random_state=0)
    y = np.where(np.arange(300) < 30, truth, -1)
    classifier = VAEClassifier(**FAST | {"steps": 100}).fit(x, y)
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.score(x, truth) > 0.9
    np.testing.assert_allclose(classifier.predict_proba(x).sum(1), 1, atol=1e-12)
    incomplete = x.copy()
    incomplete[:, 0] = np.nan
    assert classifier.score(incomplete, truth) > 0.8


@pytest.mark.slow
def test_held_out_labels_calibrate_probabilities():
    x, truth = make_blobs(600, centers=2, cluster_std=4, random_state=0)
    y = np.where(np.arange(600) < 60, truth, -1)
    options = FAST | {"steps": 300, "objective": {"name": "m2", "alpha": 20.0}}
    assert VAEClassifier(**options).fit(x, y).temperature_ == 1
    calibrated = VAEClassifier(**options, calibration_fraction=0.4).fit(x, y)
    assert calibrated.temperature_ > 1.2
    probabilities = calibrated.predict_proba(x[60:])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    plain = pickle.loads(pickle.dumps(calibrated))
    plain.temperature_ = 1.0
    np.testing.assert_array_equal(plain.predict(x), calibrated.predict(x))
    assert log_loss(truth[60:], probabilities) < log_loss(truth[60:], plain.predict_proba(x[60:]))


def test_calibration_edge_cases():
    x, truth = make_blobs(60, centers=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = pd.DataFrame(x, columns=["a", "b"])
        VAEClassifier(**FAST, calibration_fraction=0.4).fit(frame, truth)
    y = np.r_[[0, 1], [-1] * 7]
    one_label_each = VAEClassifier(**FAST, calibration_fraction=0.5).fit(x[:9], y)
    assert one_label_each.classes_.tolist() == [0, 1]
    assert one_label_each.temperature_ == 1
    with pytest.raises(VariedError, match=r"between 0 and 0\.5"):
        VAEClassifier(**FAST, calibration_fraction=0.9).fit(x, truth)


def test_minus_one_marks_rows_without_labels_unless_it_is_a_class():
    x, truth = make_blobs(40, centers=2, random_state=0)

    def classes(y):
        return VAEClassifier(**FAST | {"steps": 5}).fit(x, y).classes_.tolist()

    assert classes(np.where(truth, 1, -1)) == [-1, 1]
    assert classes(np.where(np.arange(40) < 20, truth, -1)) == [0, 1]
    assert classes(np.where(truth, "-1", "yes")) == ["-1", "yes"]
    with pytest.raises(ValueError, match="class"):
        classes(np.where(np.arange(40) < 20, 0, -1))
    with pytest.raises(VariedError, match="omit posterior"):
        VAEClassifier(**FAST, posterior="deterministic").fit(x, truth)


# VAESampler


@pytest.fixture(scope="module")
def imbalanced():
    centers = [[0, 0], [6, 0], [0, 6]]
    x, y = make_blobs([120, 30, 10], n_features=2, centers=centers, random_state=0)
    return x, np.array(["a", "b", "c"])[y]


@pytest.mark.slow
def test_generated_rows_belong_to_their_class(imbalanced):
    x, y = imbalanced
    rows, labels = VAESampler(**FAST | {"steps": 300}).fit_resample(x, y)
    assert np.unique(labels, return_counts=True)[1].tolist() == [120, 120, 120]
    np.testing.assert_array_equal(rows[:160], x)
    np.testing.assert_array_equal(labels[:160], y)
    for label, center in {"b": [6, 0], "c": [0, 6]}.items():
        generated = rows[160:][labels[160:] == label]
        assert np.abs(generated.mean(0) - center).max() < 1
        assert len(np.unique(generated, axis=0)) > len(generated) / 2
    assert (rows.min(0) >= x.min(0)).all()
    assert (rows.max(0) <= x.max(0)).all()


def test_sampler_is_trained_on_all_rows(imbalanced, monkeypatch):
    trained, train = [], VAESampler._train

    def spy(self, step, x, *args):
        trained.append(x)
        return train(self, step, x, *args)

    monkeypatch.setattr(VAESampler, "_train", spy)
    VAESampler(**FAST | {"steps": 2}).fit_resample(*imbalanced)
    (rows,) = trained
    np.testing.assert_array_equal(rows, imbalanced[0])


@pytest.mark.parametrize(
    ("strategy", "counts"),
    [
        ("auto", [120, 120, 120]),
        ("all", [120, 120, 120]),
        ("minority", [120, 30, 120]),
        ("not minority", [120, 120, 10]),
        ({"c": 50}, [120, 30, 50]),
        (0.5, [120, 60]),
    ],
)
def test_sampling_strategies(imbalanced, strategy, counts):
    x, y = imbalanced
    rows = y < "c" if strategy == 0.5 else y < "d"
    sampler = VAESampler(sampling_strategy=strategy, **FAST | {"steps": 3})
    _, labels = sampler.fit_resample(x[rows], y[rows])
    assert np.unique(labels, return_counts=True)[1].tolist() == counts


@pytest.mark.parametrize("strategy", [0.5, "minorty", {"c": 5}, {"d": 50}, True])
def test_invalid_sampling_strategies_are_refused(imbalanced, strategy):
    with pytest.raises(VariedError, match="sampling_strategy"):
        VAESampler(sampling_strategy=strategy).fit(*imbalanced)


def test_single_and_unknown_classes_are_refused(imbalanced):
    x, y = imbalanced
    sampler = VAESampler(**FAST | {"steps": 3})
    with pytest.raises(ValueError, match="one class"):
        sampler.fit(x, np.zeros(160))
    with pytest.raises(VariedError, match="no class 'd'"):
        sampler.fit(x, y).sample(3, "d")


@pytest.mark.parametrize("library", [pd, pl])
def test_resampled_data_frames_keep_their_types(imbalanced, library):
    x, y = imbalanced
    frame = library.DataFrame({"size": x[:, 0], "count": np.abs(x[:, 1] * 9).astype(int)})
    series = pd.Series(y, name="k") if library is pd else pl.Series("k", y)
    rows, labels = VAESampler(**FAST | {"steps": 3}).fit_resample(frame, series)
    assert list(rows.dtypes) == list(frame.dtypes)
    assert (type(rows), type(labels), labels.name) == (library.DataFrame, library.Series, "k")
    assert len(rows) == len(labels) == 360


def test_sampler_in_a_pipeline_of_imbalanced_learn():
    pipeline = pytest.importorskip("imblearn.pipeline")
    x, y = random_rows(120, 2), np.repeat([0, 1], [100, 20])
    x[y == 1] += 3
    sampler = VAESampler(steps=60, random_state=0)
    fitted = pipeline.make_pipeline(sampler, LogisticRegression()).fit(x, y)
    assert fitted.score(x, y) > 0.9
    assert fitted[0].sampling_strategy_ == {1: 80}
