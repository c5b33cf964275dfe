"""A prior fitted to the codes of a run, beside the run or as the last part of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from varied.data import Batch, iter_batches
from varied.errors import VariedError, lookup
from varied.prior_fitting import encode_for_prior, fit_prior, require_vae
from varied.priors import PRIORS
from varied.runs import Run
from varied.schema import settings, validate_settings
from varied.spec import Part, Plan, Spec, compose_prior
from varied.training_loop import StepEvent

__all__ = ["fit_ex_post", "fit_to_run", "prior_plan", "prior_plan_from"]

#: Rows whose codes a prior is fitted to, at most.
MOST = 200_000
#: Rows on whose codes it is tried, at most.
HELD = 1000


def prior_plan(spec: Spec, name: str | None = None) -> Plan:
    """Return how a prior is fitted after a model: half as long as the model was trained.

    Arguments:
        spec: The parts of the model.
        name: The prior, where it is not the model's own.
    """
    plan, prior = spec.plan, lookup(PRIORS, name or spec.prior.name, "prior")
    values: dict[str, Any] = {
        "lr": 1e-3,
        "grad_clip": 1.0,
        "seed": plan.seed,
        "threads": plan.threads,
        "minutes": plan.minutes / 2,
        "epochs": max(plan.epochs / 2, 1.0) if plan.epochs else 0.0,
        "steps": plan.steps,
        "compile": "no",
    }
    return Plan(**(values | dict(prior.default_plan)))


def fit_ex_post(
    model: Any, load: Any, parts: Mapping[str, Batch], plan: Plan
) -> Iterator[StepEvent]:
    """Fit the prior that a model has to the codes of its training rows.

    Arguments:
        model: The model; its prior is fitted in place.
        load: From stored rows to data.
        parts: The "train" and "validation" rows.
        plan: How, and how long.
    """
    vae = require_vae(model)
    codes, held = (
        encode_for_prior(vae, load, iter_batches(part.x[:most], _some(part.c, most), size=500))
        for part, most in ((parts["train"], MOST), (parts["validation"], HELD))
    )
    yield from fit_prior(vae.prior, codes, plan, held=held if len(held.x) else None)


def _some(c: torch.Tensor | None, most: int) -> torch.Tensor | None:
    return None if c is None else c[:most]


def fit_to_run(run: Run, name: str, **choices: Any) -> Iterator[StepEvent]:
    """Fit another prior to a run's codes; from then on the run samples from it.

    The run's own weights are not touched: the prior is kept in ``prior.safetensors`` beside them,
    and ``name="none"`` takes it away.

    Arguments:
        run: The run.
        name: "gmm", "flow", "flow-matching", "transformer", another prior, or "none".
        choices: Settings of the prior, and ``minutes``, ``epochs``, ``steps``, ``lr``, ``batch``
            or ``seed``; without a length, two minutes.

    Raises:
        VariedError: If there is no such prior or setting, or it does not fit the run.
    """
    if name == "none":
        run.store.forget_prior()
        return
    lookup(PRIORS, name, "prior")
    plan, rest = prior_plan_from(run.spec, name, choices)
    part = Part(name, validate_settings(PRIORS[name], rest, f"prior '{name}'"))
    model = require_vae(run.model)
    prior = compose_prior(run.spec, part, model.encoder)
    if not (hasattr(prior, "fit") or any(True for _ in prior.parameters())):
        raise VariedError(f"prior='{name}' has nothing to fit; take gmm, flow or flow-matching.")
    model.prior = prior
    parts = {kind: run.encode_items(run.split(kind)) for kind in ("train", "validation")}
    yield from fit_ex_post(model, run.codec.load, parts, plan)
    run.store.write_prior(part, model.prior)


def prior_plan_from(
    spec: Spec, name: str, choices: Mapping[str, Any]
) -> tuple[Plan, dict[str, Any]]:
    """Return how a prior is fitted to a run, and the settings that are the prior's own."""
    ours = {k: v for k, v in choices.items() if k in settings(Plan) and v is not None}
    rest = {k: v for k, v in choices.items() if k not in ours and v is not None}
    known = validate_settings(Plan, ours, "plan")
    lengths = {"minutes": 0.0, "epochs": 0.0, "steps": 0}
    length = {} if lengths.keys() & known.keys() else {"minutes": 2.0}
    base = dataclasses.asdict(prior_plan(spec, None if name == "none" else name))
    return Plan(**(base | lengths | length | known)), rest
