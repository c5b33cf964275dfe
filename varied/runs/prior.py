"""Fitting a prior to the codes of a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from varied.composition import compose_prior
from varied.errors import VariedError
from varied.prior_fitting import MAX_TRAINING_ROWS, fit_ex_post, prior_plan_from, require_vae
from varied.priors import Prior
from varied.registry import find
from varied.runs.base import RunBase
from varied.schema import validate_settings
from varied.spec import Part, Plan
from varied.training_loop import StepEvent


def prepare_prior(run: RunBase, name: str, **settings: Any) -> tuple[Plan, Iterator[StepEvent]]:
    """Return the plan and the training steps for fitting a prior; see `varied.Run.fit_prior`.

    Raises:
        VariedError: If the prior or a setting does not exist, or the model does not support it.
    """
    builder = find("prior", name)
    plan, own = prior_plan_from(run.spec, name, settings)
    part = Part(name, validate_settings(builder, own, f"prior '{name}'"))
    model = require_vae(run.model)
    prior = compose_prior(run.spec, part, model.encoder)
    if not prior.is_fittable:
        raise VariedError(
            f"prior='{name}' cannot be fitted to codes; use gmm, flow or flow-matching, or "
            "transformer for codebook indices."
        )
    return plan, _fit(run, part, prior, plan)


def _fit(run: RunBase, part: Part, prior: Prior, plan: Plan) -> Iterator[StepEvent]:
    model = require_vae(run.model)
    rows = {
        name: run.encode_data(run.split(name).head(MAX_TRAINING_ROWS))
        for name in ("train", "validation")
    }
    previous, model.prior = model.prior, prior
    is_fitted = False
    try:
        yield from fit_ex_post(model, run.codec.load, rows, plan)
        is_fitted = True
    finally:
        if not is_fitted:
            model.prior = previous
    run.store.write_prior(part, prior)


def reset_prior(run: RunBase) -> None:
    """Restore the prior with which the model was trained."""
    run.store.remove_prior()
    run.load_model()
