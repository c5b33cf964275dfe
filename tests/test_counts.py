"""Count distributions against exact values, and the library size of likelihoods of counts."""

from __future__ import annotations

import itertools
import json
import math

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from quick_training import train_quickly
from scipy import sparse
from sklearn.datasets import load_digits

from varied import distributions as d
from varied.composition import compose
from varied.data import ArrayCodec, fit_codec, open_codec, read
from varied.errors import VariedError
from varied.estimators import VAEImputer, VAETransformer
from varied.functional import impute, reconstruct, sample
from varied.likelihoods import NegativeBinomial, Poisson
from varied.nets.library_size import LogCounts
from varied.spec import Spec
from varied.training import prepare
from varied.training_step import Step

COUNTS = (0, 1, 2, 7, 8, 9, 50, 1000, 10**6)
MEANS = (1e-6, 0.1, 1.0, 8.3, 100.0, 990.0, 1e5, 1.002e6)
INVERSE_DISPERSIONS = (1e-4, 0.01, 0.3, 1.0, 7.9, 100.0, 1e4, 1e8, 1e12)


def exact_poisson(x, log_mean):
    with mpmath.workdps(60):
        return x * mpmath.mpf(log_mean) - mpmath.exp(log_mean) - mpmath.loggamma(x + 1)


def exact_negative_binomial(x, log_mean, log_r):
    with mpmath.workdps(60):
        m, r = mpmath.exp(log_mean), mpmath.exp(log_r)
        coefficient = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
        return coefficient + r * mpmath.log(r / (m + r)) + x * mpmath.log(m / (m + r))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_negative_binomial_is_exact_and_has_finite_gradients(dtype, tolerance):
    grid = itertools.product(COUNTS, MEANS, INVERSE_DISPERSIONS)
    x, m, r = torch.tensor(list(grid), dtype=torch.float64).T
    log_m, log_r = (t.log().to(dtype).requires_grad_() for t in (m, r))
    log_p = d.NegativeBinomial(log_m, log_r).log_prob(x.to(dtype))
    log_p.sum().backward()
    assert log_m.grad.isfinite().all()
    assert log_r.grad.isfinite().all()
    values = zip(*(t.tolist() for t in (x, log_m, log_r, log_p)), strict=True)
    for count, location, shape, value in values:
        exact = exact_negative_binomial(int(count), location, shape)
        assert abs(value - exact) <= tolerance * abs(exact)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_poisson_is_exact(dtype, tolerance):
    x, m = torch.tensor(list(itertools.product(COUNTS, MEANS)), dtype=torch.float64).T
    log_m = m.log().to(dtype)
    log_p = d.Poisson(log_m).log_prob(x.to(dtype))
    for count, location, value in zip(x.tolist(), log_m.tolist(), log_p.tolist(), strict=True):
        exact = exact_poisson(int(count), location)
        assert abs(value - exact) <= tolerance * abs(exact)


def test_gradient_of_a_negative_binomial_is_exact():
    for x, m, r in itertools.product((0, 3, 200), (0.1, 8.3, 250.0), (0.3, 7.9, 1e4)):
        log_m, log_r = (torch.tensor(math.log(v)).double().requires_grad_() for v in (m, r))
        value = d.NegativeBinomial(log_m, log_r).log_prob(torch.tensor(float(x)).double())
        gradients = torch.autograd.grad(value, (log_m, log_r))
        for i, gradient in enumerate(gradients):
            order = (1, 0) if i == 0 else (0, 1)
            exact = mpmath.diff(
                lambda a, b, x=x: exact_negative_binomial(x, a, b),
                (math.log(m), math.log(r)),
                order,
            )
            assert gradient.item() == pytest.approx(float(exact), rel=1e-5, abs=1e-7)


DISTRIBUTIONS = [
    lambda m: d.Poisson(m.log()),
    lambda m: d.NegativeBinomial(m.log(), torch.tensor(0.7).double()),
    lambda m: d.ZeroInflatedNegativeBinomial(
        m.log(), torch.tensor(0.7).double(), torch.tensor(-0.4).double()
    ),
]


@pytest.mark.parametrize("build", DISTRIBUTIONS)
def test_moments_match_the_probabilities_and_the_samples(build):
    px = build(torch.tensor([0.05, 1.0, 40.0]).double())
    x = torch.arange(3000.0).double()
    p = px.log_prob(x[:, None]).exp()
    torch.testing.assert_close(p.sum(0), torch.ones(3).double())
    mean = (p * x[:, None]).sum(0)
    torch.testing.assert_close(px.mean, mean)
    torch.testing.assert_close(px.variance, (p * (x[:, None] - mean).square()).sum(0))
    torch.manual_seed(0)
    draws = px.sample((100_000,))
    assert ((draws.mean(0) - mean).abs() < 5 * (px.variance / len(draws)).sqrt()).all()
    frequency = (draws == 0).double().mean(0)
    assert ((frequency - p[0]).abs() < 5 * (p[0] * (1 - p[0]) / len(draws)).sqrt() + 1e-9).all()


# Library sizes


def head_of(rows, **settings):
    """Return a likelihood in float64, initialized from rows."""
    head = NegativeBinomial(tuple(rows.shape[1:]), **settings)
    head.init_from_rows(rows)
    head.library.init_from_rows(rows)
    return head.double()


def random_rows(n=500, n_columns=6):
    torch.manual_seed(0)
    size = (6 + 0.5 * torch.randn(n, 1)).exp()
    return torch.poisson(size * torch.linspace(1, 5, n_columns).softmax(0))


def test_mean_of_a_new_model_is_that_of_the_rows():
    rows = random_rows()
    px = head_of(rows)(torch.zeros(1, 6).double())
    torch.testing.assert_close(px.mean[0].float(), rows.mean(0), rtol=0.1, atol=0)
    poisson = Poisson((6,), exposure="none")
    poisson.init_from_rows(rows)
    torch.testing.assert_close(poisson(torch.zeros(1, 6)).mean[0], rows.mean(0), rtol=0.1, atol=0)


def test_moments_over_library_sizes_match_samples():
    px = head_of(random_rows())(torch.randn(1, 6).double())
    x = px.sample((200_000,))[:, 0]
    torch.testing.assert_close(px.mean[0], x.mean(0), rtol=0.03, atol=0.1)
    torch.testing.assert_close(px.variance[0], x.var(0), rtol=0.1, atol=0.1)


def test_means_are_multiplied_by_the_library_size():
    rows = random_rows()
    px = d.given_library_size(head_of(rows)(torch.zeros(1, 6).double()), rows)
    torch.testing.assert_close(px.mean.sum(1).float(), rows.sum(1))


def test_missing_elements_do_not_change_the_library_size():
    rows = random_rows().double()
    px = head_of(rows.float())(rows.mean(0).log()[None] * 0)
    mask = torch.ones_like(rows)
    mask[:, -1] = 0  # the most frequent element
    masked = d.given_library_size(px, rows * mask, mask)
    assert (masked.mean.sum(1) / rows.sum(1)).mean().item() == pytest.approx(1, abs=0.05)
    row = d.given_library_size(px, rows[:1] * 0, mask[:1] * 0)
    assert row.log_prob(rows[:1]).isfinite().all()


def test_rows_without_counts_have_finite_gradients():
    h = torch.randn(4, 6, requires_grad=True)
    head = NegativeBinomial((6,))
    head(h).log_prob(torch.zeros(4, 6)).sum().backward()
    assert h.grad.isfinite().all()


def test_input_of_the_encoder_does_not_depend_on_the_library_size():
    net = LogCounts(torch.nn.Identity())
    rows = random_rows()
    net.library.init_from_rows(rows)
    torch.testing.assert_close(net(3 * rows), net(rows))
    absolute = LogCounts(torch.nn.Identity(), is_relative=False)
    torch.testing.assert_close(absolute(rows), rows.log1p())


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"architecture": {"name": "ladder", "levels": 2}},
        {"architecture": "m2", "objective": "m2", "context": 2},
        {"architecture": {"name": "m1m2", "upper_latent": 2}, "objective": "m1m2", "context": 2},
        {"prior": {"name": "vamp", "n_components": 5}},
        {"context": 2},
    ],
    ids=str,
)
def test_every_architecture_reads_counts_relative_to_the_library_size(parts):
    spec = Spec.parse(latent=3, likelihood="negative-binomial", **parts)
    model, objective = compose(spec, (6,), "count")
    rows = random_rows(40)
    c = torch.eye(2)[torch.arange(40) % 2] if spec.context else None
    step = Step(model, objective)
    step.init_from_data(rows, c)
    loss, _ = step(rows, c)
    loss.backward()
    assert loss.isfinite()
    model.eval()
    code = model.encode(rows, c).mean
    torch.testing.assert_close(model.encode(5 * rows, c).mean, code, rtol=1e-3, atol=1e-4)
    totals = reconstruct(model, rows, c).sum(1)
    torch.testing.assert_close(totals, rows.sum(1), rtol=1e-3, atol=1e-2)


def test_library_sizes_of_samples_are_those_of_the_rows():
    model, objective = compose(Spec.parse(latent=2, likelihood="poisson"), (6,), "count")
    rows = random_rows()
    Step(model, objective).init_from_data(rows)
    totals = sample(model, 2000, sample_x=True).sum(1)
    torch.testing.assert_close(totals.mean(), rows.sum(1).mean(), rtol=0.1, atol=0)
    torch.testing.assert_close(totals.std(), rows.sum(1).std(), rtol=0.2, atol=0)


def test_imputed_counts_follow_the_library_size():
    model, objective = compose(Spec.parse(latent=2, likelihood="poisson"), (6,), "count")
    rows = random_rows()
    Step(model, objective).init_from_data(rows)
    mask = torch.ones_like(rows)
    mask[:, 3] = 0
    draws = impute(model, rows * mask, mask=mask, n_draws=10, samples=10)
    assert (draws == draws.round()).all()
    ratio = draws[..., 3].mean(0) / rows.sum(1).clamp(min=1)
    order = torch.argsort(rows.sum(1))
    low, high = ratio[order[:100]].mean().item(), ratio[order[-100:]].mean().item()
    assert low == pytest.approx(high, rel=0.2)


def test_invalid_exposure_is_an_error():
    with pytest.raises(VariedError, match=r"exposure='rows' must be one of auto, observed, none"):
        NegativeBinomial((3,), exposure="rows")
    with pytest.raises(VariedError, match="dispersion=0 must be a number above 0"):
        NegativeBinomial((3,), dispersion=0)


def test_counts_need_a_likelihood_of_counts():
    with pytest.raises(VariedError, match="use likelihood='negative-binomial'"):
        compose(Spec.parse(likelihood="gaussian"), (6,), "count")


# Arrays of counts


def count_matrix(n=300, n_columns=12, r=1.0):
    """Return overdispersed counts, with library sizes that vary."""
    random = np.random.default_rng(0)
    size = np.exp(3.5 + 0.6 * random.standard_normal((n, 1)))
    rates = random.dirichlet(np.ones(n_columns))
    return random.poisson(size * rates * random.gamma(r, 1 / r, (n, n_columns)))


NOT_COUNTS = {
    "gray levels": load_digits().data,
    "binary": (count_matrix() > 0).astype(float),
    "with fractions": count_matrix() / 2,
    "negative": count_matrix() - 1,
    "grades": np.random.default_rng(0).integers(0, 20, (300, 12)),
    "few columns": count_matrix()[:, :3],
    "with an age": np.column_stack(
        [count_matrix(), np.random.default_rng(0).integers(18, 90, 300)]
    ),
    "series": count_matrix(300, 24).reshape(300, 12, 2).swapaxes(1, 2)[..., None].repeat(5, 3),
}


@pytest.mark.parametrize("convert", [np.asarray, np.float32, np.uint16, sparse.csr_matrix])
def test_matrix_of_counts_is_recognized(convert):
    codec = fit_codec(read(convert(count_matrix())))
    assert (codec.domain, codec.notes) == ("count", ("The values are counts.",))
    assert codec.defaults(300)["likelihood"].value == "negative-binomial"
    assert codec.decodes_by_sampling


def test_counts_with_missing_values_are_recognized():
    x = count_matrix().astype(float)
    x[::7, 2] = np.nan
    assert fit_codec(read(x)).domain == "count"


@pytest.mark.parametrize("name", NOT_COUNTS)
def test_other_values_are_not_counts(name):
    assert fit_codec(read(NOT_COUNTS[name])).domain != "count"


@pytest.mark.parametrize(
    ("likelihood", "x", "domain"),
    [
        ("gaussian", count_matrix(), "real"),
        ("poisson", load_digits().data, "count"),
        ("zero-inflated-negative-binomial", count_matrix(), "count"),
    ],
)
def test_likelihood_decides_whether_values_are_counts(likelihood, x, domain, tmp_path):
    job = prepare(x, likelihood=likelihood, out=tmp_path / "run", steps=1)
    assert job.codec.domain == domain


def test_values_that_are_not_counts_are_an_error():
    codec = ArrayCodec((2,), "count")
    with pytest.raises(VariedError, match=r"the value 0.5, which is not a count, .* pass unscaled"):
        codec.encode(np.array([[1.0, 0.5]]))
    with pytest.raises(VariedError, match="which is not a count"):
        fit_codec(read(-count_matrix()), domain="count")


def test_counts_are_plotted_relative_to_their_maximum():
    rows = torch.arange(32.0).reshape(2, 1, 4, 4)
    images = ArrayCodec((1, 4, 4), "count").to_images(rows)
    assert (images.min(), images.max(), len(np.unique(images))) == (0, 255, 32)


def test_run_on_counts(tmp_path):
    x = count_matrix().astype(np.float32)
    np.testing.assert_array_equal(fit_codec(read(x)).decode(fit_codec(read(x)).encode(x)), x)
    run = train_quickly(x, out=tmp_path / "run")
    assert run.spec.likelihood.name == "negative-binomial"
    samples = run.sample(50).array
    assert ((samples >= 0) & (samples == np.round(samples))).all()
    totals = run.reconstruct(x[:20]).array
    assert np.isfinite(totals).all()
    x[:5, 3] = np.nan
    filled = run.impute(x[:20]).array
    assert (filled == np.round(filled)).all()


# Columns of tables


def visits(n=400):
    """Return a table with a column of counts that depends on a category."""
    random = np.random.default_rng(0)
    member = random.random(n) < 0.5
    count = random.negative_binomial(2, 2 / (2 + np.where(member, 12.0, 2.0)))
    columns = {"visits": count, "member": np.where(member, "yes", "no")}
    return pd.DataFrame(columns | {"size": random.standard_normal(n).round(4)})


def test_column_of_counts_is_restored():
    table = visits()
    table["visits"] = table["visits"].astype("Int64")
    table.loc[::9, "visits"] = pd.NA
    table.loc[1, "visits"] = 123_456
    data = read(table)
    codec = fit_codec(data, column_types={"visits": "count"})
    assert codec.layout_text == "k? c2 n"
    assert "visits: count." in codec.notes
    decoded = codec.decode(codec.encode(data))["visits"]
    pd.testing.assert_series_equal(decoded, table["visits"])
    assert open_codec(json.loads(json.dumps(codec.to_json()))) == codec


@pytest.mark.parametrize("values", [[-1, 2, 3], [0.5, 1, 2], ["a", "b", "c"]])
def test_column_that_is_not_a_count_is_an_error(values):
    with pytest.raises(VariedError, match="cannot be a count; omit its type"):
        fit_codec(read(pd.DataFrame({"a": values * 20})), column_types={"a": "count"})


@pytest.mark.slow
def test_run_on_a_column_of_counts(tmp_path):
    table = visits()
    options = {"column_types": {"visits": "count"}, "steps": 400, "out": tmp_path / "run"}
    run = train_quickly(table, **options)
    samples = run.sample(2000).frame
    assert samples["visits"].dtype.kind == "i"
    assert (samples["visits"] >= 0).all()
    for level in ("yes", "no"):
        real, generated = (t["visits"][t["member"] == level].mean() for t in (table, samples))
        assert generated == pytest.approx(real, rel=0.35)
    table["visits"] = table["visits"].astype("Int64")
    table.loc[:50, "visits"] = pd.NA
    filled = run.impute(table).array["visits"]
    assert filled.notna().all()
    assert (filled >= 0).all()
    table.loc[60, "visits"] = 5000
    scores = run.detect(table[51:]).score
    assert int(scores.argmax()) == 9


# Estimators


@pytest.mark.slow
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, pd.DataFrame])
def test_estimator_does_not_scale_counts(convert):
    x = count_matrix()
    vae = VAETransformer(3, likelihood="negative-binomial", steps=300, random_state=0)
    codes = vae.fit(convert(x)).transform(convert(x))
    assert vae.scaler_.domain == "count"
    assert (set(vae.scaler_.scale), set(vae.scaler_.mean)) == ({1}, {0})
    np.testing.assert_allclose(vae.transform(convert(4 * x)), codes, rtol=1e-3, atol=1e-3)
    samples = np.asarray(vae.sample(2000))
    assert ((samples >= 0) & (samples == np.round(samples))).all()
    assert samples.sum(1).mean() == pytest.approx(x.sum(1).mean(), rel=0.15)
    assert np.isfinite(vae.score_samples(convert(x))).all()
    assert np.isfinite(np.asarray(vae.inverse_transform(codes))).all()


@pytest.mark.parametrize("X", [count_matrix() - 1, count_matrix() / 2])
def test_estimator_refuses_values_that_are_not_counts(X):
    with pytest.raises(VariedError, match="requires non-negative whole numbers"):
        VAETransformer(likelihood="poisson", steps=1).fit(X)


@pytest.mark.slow
def test_imputer_fills_counts():
    x = count_matrix(r=20.0).astype(float)
    missing = np.random.default_rng(1).random(x.shape) < 0.1
    imputer = VAEImputer(likelihood="negative-binomial", steps=300, random_state=0)
    filled = imputer.fit_transform(np.where(missing, np.nan, x))
    error, baseline = (
        np.abs(np.log1p(values) - np.log1p(x))[missing].mean()
        for values in (filled, np.broadcast_to(x.mean(0), x.shape))
    )
    assert error < baseline
