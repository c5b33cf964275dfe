"""Fitting another prior to a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from varied.errors import VariedError
from varied.prior_fitting import fit_ex_post, prior_plan_from, require_vae
from varied.priors import PRIORS
from varied.runs import Run
from varied.schema import validate_settings
from varied.spec import Part, compose_prior
from varied.training_loop import StepEvent


def fit_to_run(run: Run, name: str, **options: Any) -> Iterator[StepEvent]:
    """Fit another prior to the codes of a run, which then samples from it.

    The weights of the run do not change: the prior is saved as ``prior.safetensors`` in its folder,
    and the name "none" removes it.

    Arguments:
        run: The run.
        name: "gmm", "flow", "flow-matching", "transformer", another prior, or "none".
        options: Settings of the prior, and of the plan, such as ``minutes``, ``epochs``, ``steps``,
            ``lr``, ``batch_size`` or ``seed``. The default length is two minutes.

    Raises:
        VariedError: If there is no such prior or setting, or it cannot be fitted to the run.
    """
    if name == "none":
        run.store.forget_prior()
        return
    plan, own = prior_plan_from(run.spec, name, options)
    part = Part(name, validate_settings(PRIORS[name], own, f"prior '{name}'"))
    model = require_vae(run.model)
    prior = compose_prior(run.spec, part, model.encoder)
    if not prior.is_fittable:
        raise VariedError(
            f"prior='{name}' cannot be fitted to codes; use gmm, flow or flow-matching."
        )
    model.prior = prior
    parts = {split: run.encode_items(run.split(split)) for split in ("train", "validation")}
    yield from fit_ex_post(model, run.codec.load, parts, plan)
    run.store.write_prior(part, model.prior)
