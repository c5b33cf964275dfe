"""A prior that is fitted after the model: to codes alone, and to a run without touching it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import varied
from varied.data import Batch
from varied.errors import VariedError
from varied.prior_fitting import encode_for_prior, fit_prior
from varied.runs import Run
from varied.spec import Part, Plan, Spec, compose, compose_prior
from varied.training import prepare
from varied.training.prior import fit_to_run, prior_plan, prior_plan_from

CODED = {
    "posterior": {"name": "vq", "codebook_size": 8},
    "prior": {"name": "transformer", "width": 16, "depth": 1},
    "objective": "vq-vae",
    "net": {"name": "conv", "width": 4},
    "latent": (4, 3, 3),
}
PLAN = Plan(
    steps=80, batch_size=64, lr=1e-2, lr_warmup=5, threads=1, compile="no", precision="float32"
)


def pictures(n=60):
    return (torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def two_clouds(n=400, scale=0.1):
    """Codes in two clouds, as `codes_of` gives them: means, and deviations of nothing."""
    mean = torch.where(torch.rand(n, 1) < 0.5, -2.0, 2.0) + scale * torch.randn(n, 2)
    return Batch(torch.stack([mean, torch.zeros_like(mean)], 1))


def fitted(prior, codes, plan=PLAN, held=None):
    for _ in fit_prior(prior, codes, plan, held=held):
        pass
    return prior


@pytest.mark.parametrize(("name", "settings"), [
    ("gmm", {"n_components": 2}),
    ("flow", {}),
    ("flow-matching", {"width": 64, "depth": 1, "steps": 10}),
])  # fmt: skip
def test_a_fitted_prior_finds_the_clouds(name, settings):
    model, _ = compose(Spec.of(latent=2), (6,))
    prior = compose_prior(Spec.of(latent=2), Part(name, settings), model.encoder)
    codes = two_clouds()
    plan = Plan(steps=250, batch_size=128, lr=5e-3, lr_warmup=5, threads=1, compile="no")
    fitted(prior, codes, plan, held=two_clouds(200))
    prior.eval()
    with torch.no_grad():
        z = model.__class__(model.encoder, model.decoder, prior).sample_prior(300)
    near = (z.abs() - 2).abs().max(1).values < 1
    same = z.sign().sum(1).abs() == 2
    assert (near & same).float().mean() > 0.8  # a standard normal: one in ten
    assert 0.2 < (z[:, 0] > 0).float().mean() < 0.8


def test_codes_are_indices_and_the_bound_is_the_model_plus_the_prior():
    model, _ = compose(Spec.of(**CODED), (1, 12, 12))
    x = pictures()
    codes = encode_for_prior(model, lambda x: x, [Batch(x[:30]), Batch(x[30:])])
    assert codes.x.shape == (60, 9)
    assert not codes.x.is_floating_point()
    before = model.prior(None).log_prob_index(codes.x).mean()
    fitted(model.prior, codes)
    after = model.prior(None).log_prob_index(codes.x).mean()
    assert after > before + 1
    level = model.eval()(x).levels[0]
    torch.testing.assert_close(level.kl[0], -model.prior(None).log_prob_index(codes.x))


def test_the_weights_that_suit_held_rows_best_are_kept():
    torch.manual_seed(0)
    model, _ = compose(Spec.of(**CODED), (1, 12, 12))
    codes, held = (Batch(torch.randint(8, (n, 9))) for n in (12, 64))
    plan = Plan(steps=240, batch_size=12, lr=1e-2, lr_warmup=1, threads=1, compile="no")
    costs = []
    for prior_held in (None, held):
        prior = compose_prior(Spec.of(**CODED), Part.of(CODED["prior"]), model.encoder)
        fitted(prior, codes, plan, held=prior_held)
        costs.append(-prior.eval()(None).log_prob_index(held.x).mean())
    assert costs[1] < costs[0] - 1  # twelve strings are learned by heart otherwise


def test_noise_of_the_posterior_is_drawn_anew():
    mean = torch.zeros(2000, 1)
    codes = Batch(torch.stack([mean, mean + 3], 1))
    model, _ = compose(Spec.of(latent=1), (6,))
    prior = fitted(compose_prior(Spec.of(latent=1), Part("gmm"), model.encoder), codes)
    assert prior(None).sample((4000,)).std() == pytest.approx(3, rel=0.1)


def test_a_prior_must_suit_the_codes():
    flat, _ = compose(Spec.of(latent=2), (6,))
    coded, _ = compose(Spec.of(**CODED), (1, 12, 12))
    with pytest.raises(VariedError, match="fit a transformer prior"):
        fitted(
            compose_prior(Spec.of(latent=2), Part("gmm"), flat.encoder),
            Batch(torch.ones(9, 2).long()),
        )
    with pytest.raises(VariedError, match="gmm, flow or flow-matching"):
        fitted(coded.prior, two_clouds(9))


# Runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    x = (np.random.default_rng(0).random((120, 12, 12)) * 255).astype(np.uint8)
    varied.fit(x, net={"name": "mlp", "width": 16}, latent=2, steps=12, threads=1, out=out)
    return out, x


def opened(folder):
    out, x = folder
    return Run(out, varied.read(x))


def test_a_run_samples_from_a_fitted_prior_and_back(folder):
    before = opened(folder).sample(8).array
    files = {p.name: p.read_bytes() for p in folder[0].iterdir() if p.is_file()}
    for _ in fit_to_run(opened(folder), "gmm", n_components=2):
        pass
    assert {p.name: p.read_bytes() for p in folder[0].iterdir() if p.name in files} == files
    assert opened(folder).spec.prior.name == "standard-normal"
    assert type(opened(folder).model.prior).__name__ == "GaussianMixture"
    assert (opened(folder).sample(8).array != before).any()
    for _ in fit_to_run(opened(folder), "none"):
        pass
    np.testing.assert_array_equal(opened(folder).sample(8).array, before)


def test_a_fitted_flow_is_kept_to_the_bit(folder):
    for _ in fit_to_run(opened(folder), "flow", steps=3, width=8, n_transforms=1):
        pass
    first, again = (opened(folder).sample(5).array for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for _ in fit_to_run(opened(folder), "none"):
        pass


@pytest.mark.parametrize(("name", "choices", "says"), [
    ("gmn", {}, "gmm"),
    ("gmm", {"component": 3}, "components"),
    ("transformer", {}, "over codes and this posterior has none"),
    ("standard-normal", {}, "nothing to fit"),
])  # fmt: skip
def test_what_cannot_be_fitted_is_refused(folder, name, choices, says):
    with pytest.raises(VariedError, match=says):
        list(fit_to_run(opened(folder), name, **choices))
    assert not (folder[0] / "prior.safetensors").exists()


def test_a_ladder_has_priors_of_its_own(tmp_path):
    x = (np.random.default_rng(0).random((60, 8, 8)) * 255).astype(np.uint8)
    structure = {"name": "ladder", "levels": 2, "hidden_size": 8}
    run = varied.fit(
        x, architecture=structure, net="mlp", latent=2, steps=3, threads=1, out=tmp_path / "r"
    )
    with pytest.raises(VariedError, match="architecture='vae'"):
        list(fit_to_run(run, "gmm"))


def test_a_run_of_codes_fits_its_prior_as_the_last_part_of_its_training(tmp_path):
    x = (np.random.default_rng(0).random((90, 12, 12)) > 0.5).astype(np.uint8) * 255
    parts = {k: v for k, v in CODED.items() if k != "latent"} | {"latent": (4, 3, 3)}
    job = prepare(x, Spec.of(**parts), out=tmp_path / "codes", steps=6, threads=1)
    assert job.later
    main = sum(1 for _ in job.train())
    fitted_on = list(itertools.islice(job.fit_prior(), 100))
    assert main == 6
    assert len(fitted_on) == prior_plan(job.spec).steps == 6
    assert fitted_on[-1].parts["prior"].isfinite()
    run = job.finish()
    found = run.evaluate()
    assert found.codes == 8
    assert found.elbo.value < 0
    assert found.kl.value == pytest.approx(9 * np.log(8), rel=0.2)
    assert run.sample(3).array.shape == (3, 12, 12)
    assert (tmp_path / "codes" / "report.html").exists()


def test_a_prior_says_how_it_is_fitted_and_a_person_may_say_otherwise():
    spec = Spec.of(posterior="vq", prior="transformer", objective="vq-vae", plan={"minutes": 4.0})
    plan = prior_plan(spec)
    assert (plan.minutes, plan.batch_size, plan.lr) == (2.0, 32, 3e-3)
    assert prior_plan(spec, "flow").batch_size == Plan().batch_size
    plan, rest = prior_plan_from(spec, "transformer", {"lr": 1e-4, "epochs": 3.0, "depth": 1})
    assert (plan.minutes, plan.epochs, plan.batch_size, plan.lr) == (0.0, 3.0, 32, 1e-4)
    assert rest == {"depth": 1}
    assert prior_plan_from(spec, "none", {})[0].minutes == 2.0
