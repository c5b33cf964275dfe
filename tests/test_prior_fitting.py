"""Tests of fitting a prior to codes, for a model and for a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import varied
from varied.composition import compose, compose_prior
from varied.data import Batch
from varied.errors import VariedError
from varied.prior_fitting import encode_for_prior, fit_prior, prior_plan, prior_plan_from
from varied.priors import GaussianMixture
from varied.runs import Run
from varied.spec import Part, Plan, Spec
from varied.training import prepare

QUANTIZED = {
    "posterior": {"name": "vq", "codebook_size": 8},
    "prior": {"name": "transformer", "width": 16, "depth": 1},
    "objective": "vq-vae",
    "net": {"name": "conv", "width": 4},
    "latent": (4, 3, 3),
}
PLAN = Plan(
    steps=80, batch_size=64, lr=1e-2, lr_warmup=5, threads=1, compile="no", precision="float32"
)


def images(n=60):
    return (torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def two_clusters(n=400, scale=0.1):
    """Return codes in two clusters in the format of `encode_for_prior`, with zero deviations."""
    mean = torch.where(torch.rand(n, 1) < 0.5, -2.0, 2.0) + scale * torch.randn(n, 2)
    return Batch(torch.stack([mean, torch.zeros_like(mean)], 1))


def make_prior(spec, part, shape=(6,)):
    model, _ = compose(spec, shape)
    return compose_prior(spec, part, model.encoder)


def fitted(prior, codes, plan=PLAN, held_out=None):
    for _ in fit_prior(prior, codes, plan, held_out=held_out):
        pass
    return prior.eval()


@pytest.mark.parametrize(
    "part",
    [
        Part("gmm", {"n_components": 2}),
        Part("flow"),
        Part("flow-matching", {"width": 64, "depth": 1, "steps": 10}),
    ],
    ids=lambda part: part.name,
)
def test_fitted_prior_samples_from_the_clusters(part):
    plan = Plan(steps=250, batch_size=128, lr=5e-3, lr_warmup=5, threads=1, compile="no")
    prior = make_prior(Spec.parse(latent=2), part)
    fitted(prior, two_clusters(), plan, held_out=two_clusters(200))
    with torch.no_grad():
        z = prior().sample((300,))
    is_near = (z.abs() - 2).abs().max(1).values < 1
    same_sign = z.sign().sum(1).abs() == 2
    assert (is_near & same_sign).float().mean() > 0.8  # 0.1 for the standard normal
    assert 0.2 < (z[:, 0] > 0).float().mean() < 0.8


def test_codes_of_a_quantizer_are_indices_and_the_kl_is_their_cost():
    model, _ = compose(Spec.parse(**QUANTIZED), (1, 12, 12))
    x = images()
    codes = encode_for_prior(model, lambda x: x, [Batch(x[:30]), Batch(x[30:])])
    assert codes.x.shape == (60, 9)
    assert not codes.x.is_floating_point()
    before = model.prior(None).log_prob_index(codes.x).mean()
    fitted(model.prior, codes)
    log_prob = model.prior(None).log_prob_index(codes.x)
    assert log_prob.mean() > before + 1
    level = model.eval()(x).levels[0]
    torch.testing.assert_close(level.kl[0], -log_prob)


def test_weights_of_the_lowest_held_out_cost_are_restored():
    spec = Spec.parse(**QUANTIZED)
    model, _ = compose(spec, (1, 12, 12))
    codes, held_out = (Batch(torch.randint(8, (n, 9))) for n in (12, 64))
    plan = Plan(steps=240, batch_size=12, lr=1e-2, lr_warmup=1, threads=1, compile="no")
    costs = []
    for rows in (None, held_out):
        prior = compose_prior(spec, spec.prior, model.encoder)
        fitted(prior, codes, plan, held_out=rows)
        costs.append(-prior(None).log_prob_index(held_out.x).mean())
    assert costs[1] < costs[0] - 1  # without held-out rows, the prior overfits twelve sequences


def test_fit_uses_samples_of_the_posterior():
    mean = torch.zeros(2000, 1)
    codes = Batch(torch.stack([mean, mean + 3], 1))
    prior = fitted(make_prior(Spec.parse(latent=1), Part("gmm")), codes)
    assert prior(None).sample((4000,)).std() == pytest.approx(3, rel=0.1)


def test_prior_that_does_not_match_the_codes_is_refused():
    with pytest.raises(VariedError, match="fit a transformer prior"):
        fitted(make_prior(Spec.parse(latent=2), Part("gmm")), Batch(torch.ones(9, 2).long()))
    spec = Spec.parse(**QUANTIZED)
    with pytest.raises(VariedError, match="gmm, flow or flow-matching"):
        fitted(make_prior(spec, spec.prior, (1, 12, 12)), two_clusters(9))


def test_default_plan_of_a_prior_and_its_options():
    spec = Spec.parse(
        posterior="vq", prior="transformer", objective="vq-vae", plan={"minutes": 4.0}
    )
    plan = prior_plan(spec)
    assert (plan.minutes, plan.batch_size, plan.lr) == (2.0, 32, 3e-3)
    assert prior_plan(spec, "flow").batch_size == Plan().batch_size
    plan, own = prior_plan_from(spec, "transformer", {"lr": 1e-4, "epochs": 3.0, "depth": 1})
    assert (plan.minutes, plan.epochs, plan.batch_size, plan.lr) == (0.0, 3.0, 32, 1e-4)
    assert own == {"depth": 1}
    assert prior_plan_from(spec, "none", {})[0].minutes == 2.0


# Runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    x = (np.random.default_rng(0).random((120, 12, 12)) * 255).astype(np.uint8)
    varied.train(x, net={"name": "mlp", "width": 16}, latent=2, steps=12, threads=1, out=out)
    return out, x


def open_run(folder):
    out, x = folder
    return Run(out, varied.read(x))


def fit_all_steps(run, name, **options):
    for _ in run.prepare_prior(name, **options)[1]:
        pass


def test_run_samples_from_a_fitted_prior_until_it_is_removed(folder):
    before = open_run(folder).sample(8).array
    files = {p.name: p.read_bytes() for p in folder[0].iterdir() if p.is_file()}
    fit_all_steps(open_run(folder), "gmm", n_components=2)
    del files["manifest.json"]
    assert {p.name: p.read_bytes() for p in folder[0].iterdir() if p.name in files} == files
    run = open_run(folder)
    assert run.spec.prior.name == "standard-normal"
    assert isinstance(run.model.prior, GaussianMixture)
    assert (run.sample(8).array != before).any()
    open_run(folder).reset_prior()
    np.testing.assert_array_equal(open_run(folder).sample(8).array, before)


def test_fitted_flow_is_reproducible(folder):
    fit_all_steps(open_run(folder), "flow", steps=3, width=8, n_transforms=1)
    first, second = (open_run(folder).sample(5).array for _ in range(2))
    np.testing.assert_array_equal(first, second)
    open_run(folder).reset_prior()


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("gmn", {}, "gmm"),
        ("gmm", {"component": 3}, "components"),
        ("transformer", {}, "requires a posterior with a codebook"),
        ("standard-normal", {}, "prior='standard-normal' cannot be fitted"),
        ("vamp", {}, "prior='vamp' cannot be fitted"),
    ],
)
def test_invalid_priors_and_options_are_refused(folder, name, options, match):
    with pytest.raises(VariedError, match=match):
        fit_all_steps(open_run(folder), name, **options)
    assert not (folder[0] / "prior.safetensors").exists()


def test_prior_of_a_ladder_cannot_be_replaced(tmp_path):
    x = (np.random.default_rng(0).random((60, 8, 8)) * 255).astype(np.uint8)
    ladder = {"name": "ladder", "levels": 2, "hidden_size": 8}
    run = varied.train(
        x, architecture=ladder, net="mlp", latent=2, steps=3, threads=1, out=tmp_path / "r"
    )
    with pytest.raises(VariedError, match="architecture='vae'"):
        fit_all_steps(run, "gmm")


def test_training_of_a_quantized_model_ends_with_the_fit_of_its_prior(tmp_path):
    x = (np.random.default_rng(0).random((90, 12, 12)) > 0.5).astype(np.uint8) * 255
    job = prepare(x, Spec.parse(**QUANTIZED), out=tmp_path / "codes", steps=6, threads=1)
    assert sum(1 for _ in job.train()) == 6
    events = list(itertools.islice(job.fit_prior(), 100))
    assert len(events) == prior_plan(job.spec).steps == 6
    assert events[-1].parts["prior"].isfinite()
    run = job.finish()
    metrics = run.evaluate()
    assert metrics.codebook_size == 8
    assert metrics.elbo.value < 0
    assert metrics.kl.value == pytest.approx(9 * np.log(8), rel=0.2)
    assert run.sample(3).array.shape == (3, 12, 12)
    assert (tmp_path / "codes" / "report.html").exists()
