"""Replacement of the standard normal prior after training: when, its effect, and how to undo it."""

import numpy as np
import pytest
import torch
from quick_training import train_quickly, train_to_end

from varied.estimators import VAETransformer
from varied.evaluate import forward_pass
from varied.priors import GaussianMixture, StandardNormal
from varied.training import prepare


def clustered_rows(n=600):
    """Return rows in two distant clusters, so that no standard normal prior fits the codes."""
    rng = np.random.default_rng(0)
    centers = np.where(np.arange(n)[:, None] % 2, 3.0, -3.0)
    return (centers + rng.normal(size=(n, 12)) * 0.3).astype("f4")


#: The precision is fixed, since "auto" measures the speed and may differ between two runs.
OPTIONS = {"latent": 2, "precision": "float32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_quickly(
        clustered_rows(), out=tmp_path_factory.mktemp("mixture") / "run", **OPTIONS
    )


def test_the_mixture_raises_the_elbo_and_the_samples_are_like_the_data(run):
    assert isinstance(run.model.prior, GaussianMixture)
    original = run.original_model()
    assert isinstance(original.prior, StandardNormal)
    elbo = {}
    for model in (original, run.model):
        result = forward_pass(model, run.codec.load, run.batches(run.split("test")))
        elbo[model] = -float((result.reconstruction + result.kl).mean())
    assert elbo[run.model] > elbo[original] + 0.1
    samples = run.sample(500).array.mean(1)
    assert (np.abs(np.abs(samples) - 3) < 1).mean() > 0.9
    assert run.evaluate().kl_by_unit is not None


def test_a_sentence_says_that_the_prior_is_replaced(tmp_path):
    options = OPTIONS | {"steps": 150, "lr": 5e-3, "width": 32, "threads": 1}
    sentences = {}
    for choice in ("auto", "no"):
        job = prepare(clustered_rows(), out=tmp_path / choice, ex_post_prior=choice, **options)
        train_to_end(job)
        sentences[choice] = [text for text in job.notices if "is used as the prior" in text]
    assert not sentences["no"]
    (sentence,) = sentences["auto"]
    assert "raises the ELBO of held-out rows by" in sentence
    assert "`varied fit-prior RUN --reset` restores" in sentence


@pytest.mark.parametrize(("n", "is_replaced"), [(280, True), (120, False)])
def test_training_rows_are_held_out_if_there_are_few_validation_rows(tmp_path, n, is_replaced):
    run = train_quickly(clustered_rows(n), out=tmp_path / "run", **OPTIONS)
    assert len(run.split("validation")) < 30
    assert isinstance(run.model.prior, GaussianMixture) == is_replaced


def test_the_weights_are_those_of_a_run_with_the_original_prior(run, tmp_path):
    original = train_quickly(clustered_rows(), out=tmp_path / "run", ex_post_prior="no", **OPTIONS)
    assert isinstance(original.model.prior, StandardNormal)
    weights = original.model.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in run.original_model().state_dict().items())


def test_a_prior_chosen_by_the_user_is_not_replaced(tmp_path):
    run = train_quickly(clustered_rows(), out=tmp_path / "run", latent=2, prior="standard-normal")
    assert run.spec.plan.ex_post_prior == "no"
    assert isinstance(run.model.prior, StandardNormal)


def test_a_prior_that_fits_the_codes_is_not_replaced(tmp_path):
    rows = np.random.default_rng(0).normal(size=(600, 3)).astype("f4")
    run = train_quickly(rows, "linear-vae", out=tmp_path / "run", latent=1, steps=300)
    assert isinstance(run.model.prior, StandardNormal)


@pytest.mark.slow
@pytest.mark.parametrize("max_codes", [1000, 150])
def test_an_estimator_holds_out_a_fraction_of_the_codes(max_codes, monkeypatch):
    monkeypatch.setattr("varied.estimators.base.MAX_CODES", max_codes)
    estimator = VAETransformer(2, steps=150, random_state=0).fit(clustered_rows(800))
    assert estimator.is_prior_replaced_
    assert isinstance(estimator.model_.prior, GaussianMixture)


def test_the_original_prior_can_be_restored(run, tmp_path):
    copy = type(run)(run.save(tmp_path / "copy"))
    copy.reset_prior()
    assert isinstance(copy.model.prior, StandardNormal)
    assert isinstance(type(run)(copy.folder).model.prior, StandardNormal)
