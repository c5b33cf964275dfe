"""Runs whose prior depends on the context."""

import numpy as np
import pytest
from quick_training import train_quickly

from varied.evaluate.suites import SUITES
from varied.evaluate.suites.context import EvalContext
from varied.functional.mixture_prior import has_replaceable_prior
from varied.priors import ConditionalNormal, Flow
from varied.runs import Run

METRICS = ("ELBO", "Latent space")


def bright_sides(n=400):
    """Return images with one bright side, its name, and the brightness of its pixels."""
    rng = np.random.default_rng(0)
    is_right = rng.random(n) < 0.5
    x = np.zeros((n, 6, 6), np.uint8)
    for image, column in zip(x, 3 * is_right, strict=True):
        image[:, column : column + 3] = 255 * (rng.random((6, 3)) < rng.random())
    return x, np.where(is_right, "right", "left")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = {"latent": 2, "prior": "conditional-normal", "ex_post_prior": "auto"}
    out = tmp_path_factory.mktemp("runs") / "sides"
    return train_quickly(bright_sides(), "conditional-vae", out=out, **options)


def test_the_prior_is_trained_and_not_replaced(run):
    assert isinstance(run.model.prior, ConditionalNormal)
    assert not has_replaceable_prior(run.model)
    assert run.store.read_prior() is None
    assert any(param.abs().sum() > 0 for param in run.model.prior.net[-2].parameters())
    opened = Run(run.folder)
    assert np.array_equal(opened.sample(9, label="left").array, run.sample(9, label="left").array)


def test_samples_follow_the_context(run):
    samples = run.sample(64, label=["left", "right"]).array
    assert samples[::2, :, :3].mean() > 3 * samples[::2, :, 3:].mean()
    assert samples[1::2, :, 3:].mean() > 3 * samples[1::2, :, :3].mean()
    assert run.sample(5).array.shape == (5, 6, 6)
    assert run.sample(5, temperature=0.5).array.shape == (5, 6, 6)


@pytest.mark.parametrize(
    "use",
    [
        lambda run: run.reconstruct(n=3).array,
        lambda run: run.interpolate(n=2, steps=3).array,
        lambda run: run.interpolate(n=2, steps=3, path="density").array,
        lambda run: run.interpolate(grid=True, steps=3).array,
        lambda run: run.traverse(dimensions=2, steps=3).array,
        lambda run: run.style(n=2).array,
        lambda run: run.sample(2, around=run.split("test").head(2)).array,
        lambda run: run.inpaint(mask="0,0,3,3", n=2, n_draws=2).array,
        lambda run: run.detect().score,
        lambda run: run.neighbors(run.split("test").head(3), n=2).distance,
    ],
)
def test_operations_of_a_run(run, use):
    assert np.isfinite(np.asarray(use(run), dtype=float)).all()


@pytest.mark.slow
def test_the_other_half_of_images_is_completed(tmp_path):
    x = bright_sides()[0][:, :, ::2].repeat(2, 2)  # each pair of columns is equal
    left, right = x[:, :, ::2].reshape(len(x), -1) / 255.0, x[:, :, 1::2]
    options = {"latent": 2, "steps": 400, "out": tmp_path / "run"}
    run = train_quickly(right, "conditional-vae", labels=left, **options)
    assert isinstance(run.model.prior, ConditionalNormal)
    completed = run.sample(60, label=left[:60]).array / 255.0
    error = np.abs(completed - right[:60] / 255.0).mean()
    assert error < 0.5 * np.abs(completed[::-1] - right[:60] / 255.0).mean()


def test_contexts_of_samples_are_numbers_of_training_rows_unless_given(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.uniform(0, 10, 400).astype(np.float32)
    rows = (numbers[:, None] + 0.2 * rng.normal(size=(400, 4))).astype(np.float32)
    run = train_quickly(rows, "conditional-vae", labels=numbers, latent=1, out=tmp_path / "run")
    assert run.sample(300).array.std() == pytest.approx(numbers.std(), rel=0.15)
    for number in (2, 8):
        assert run.sample(50, label=number).array.mean() == pytest.approx(number, abs=1)


def test_every_metric_is_finite(run):
    context = EvalContext(run)
    result = run.evaluate(samples=20)
    assert result.log_likelihood.value == pytest.approx(result.elbo.value, abs=0.3)
    groups = [g for name in METRICS for g in SUITES[name](context)]
    names = {metric.name for group in groups for metric in group.metrics}
    assert "KL of the aggregate posterior" in names
    assert all(np.isfinite(metric.estimate.value) for group in groups for metric in group.metrics)


def test_another_prior_can_be_fitted_and_removed(run, tmp_path):
    copy = Run(run.save(tmp_path / "copy"), run.data)
    copy.fit_prior("flow", steps=5)
    assert isinstance(copy.model.prior, Flow)
    copy.reset_prior()
    assert isinstance(copy.model.prior, ConditionalNormal)


def test_a_conditional_prior_can_be_fitted_to_a_run_with_a_standard_normal_prior(tmp_path):
    options = {"latent": 2, "ex_post_prior": "no", "out": tmp_path / "run"}
    run = train_quickly(bright_sides(), "conditional-vae", steps=50, **options)
    run.fit_prior("conditional-normal", steps=20)
    assert isinstance(Run(run.folder).model.prior, ConditionalNormal)
