"""Fitting a prior to the codes of a trained model.

The aggregate posterior differs from the prior with which the model was trained, so a density that
is fitted to the codes generates better samples. Discrete codes have no prior during training, so a
prior must be fitted before sampling.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from varied.data.batches import Batch, Batches, iter_batches
from varied.distributions import base_distribution
from varied.distributions.base import HasTrainingCost
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError, lookup
from varied.models import VAE, LatentModel
from varied.priors import PRIORS, Prior
from varied.runtime import eval_float32
from varied.schema import settings, validate_settings
from varied.seeding import seeded
from varied.spec import Plan, Spec
from varied.training_loop import StepEvent, train
from varied.training_step import TrainingStep

#: The number of times that the cost is evaluated on held-out codes.
NUM_EVALUATIONS = 12
#: The number of training rows and of validation rows to which a prior is fitted after training.
MAX_TRAINING_ROWS, _MAX_VALIDATION_ROWS = 200_000, 1_000
_BATCH_SIZE = 500


def require_vae(model: LatentModel) -> VAE:
    """Return the model as a `VAE`, which has a single prior.

    Raises:
        VariedError: If the model has a different architecture.
    """
    if not isinstance(model, VAE):
        raise VariedError(
            "A prior can only be fitted to a model with architecture='vae'; models with other "
            "architectures are trained together with their priors."
        )
    return model


class PriorStep(TrainingStep):
    """A module that returns the training loss of a prior, for use in the training loop."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cost of a batch of codes, and the same value by name for the log.

        The cost is the negative log-probability in nats, unless the prior defines another cost.
        """
        p, value = self.prior(c), sample_codes(x)
        cost = p.cost(value) if isinstance(p, HasTrainingCost) else -p.log_prob(value)
        return cost.mean(), {"prior": cost.detach().mean()}

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Initialize the prior from the codes of the first rows."""
        with eval_float32(self):
            self.prior.init_from_data(sample_codes(x), c)


def encode_for_prior(model: VAE, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Batch:
    """Encode data for fitting a prior, and keep the context of each row.

    Arguments:
        model: The model.
        load: A function that maps stored rows to model inputs.
        rows: Batches of stored rows.

    Returns:
        Codebook indices with shape (N, num_tokens) for a quantizer; otherwise the mean and the
        standard deviation of each posterior, with shape (N, 2, *latent).
    """
    codes: list[Tensor] = []
    contexts: list[Tensor] = []
    with eval_float32(model), seeded(0, "codes"):
        for batch in rows:
            q = model.encode(load(batch.x), batch.c)
            base = base_distribution(q)
            if isinstance(base, CodebookPoint):
                codes.append(base.index)
            else:
                codes.append(torch.stack([q.mean, q.variance.sqrt()], 1))
            contexts += [] if batch.c is None else [batch.c]
    return Batch(torch.cat(codes), torch.cat(contexts) if contexts else None)


def sample_codes(codes: Tensor) -> Tensor:
    """Draw one sample from each posterior; codebook indices are returned unchanged."""
    if not codes.is_floating_point():
        return codes
    mean, std = codes.unbind(1)
    return mean + std * torch.randn_like(mean)


def fit_prior(
    prior: Prior, codes: Batch, plan: Plan, *, held_out: Batch | None = None
) -> Iterator[StepEvent]:
    """Fit a prior to codes, and yield an event after each training step.

    Arguments:
        prior: The prior, which is fitted in place.
        codes: The output of `encode_for_prior` for the training rows.
        plan: The training plan.
        held_out: The output of `encode_for_prior` for held-out rows. If set, the prior keeps the
            weights with the lowest cost on these rows.

    Raises:
        VariedError: If the prior does not support this kind of codes.
    """
    is_quantized = not codes.x.is_floating_point()
    if (prior.space == "codes") != is_quantized:
        kind, names = "continuous", "gmm, flow or flow-matching"
        if is_quantized:
            kind, names = "codebook indices", "transformer"
        raise VariedError(f"The codes of this run are {kind}; fit a {names} prior.")
    if prior.has_direct_fit:
        with seeded(plan.seed, "fit"), torch.no_grad():
            prior.fit(sample_codes(codes.x), codes.c)
        return
    step = PriorStep(prior)
    batches = Batches(codes.x, codes.c, size=min(plan.batch_size, len(codes.x)), seed=plan.seed)
    lowest_cost, best_weights, evaluations = math.inf, dict[str, Tensor](), 0
    for event in train(step, batches, plan):
        yield event
        if held_out is None or event.state.progress * NUM_EVALUATIONS < evaluations + 1:
            continue
        evaluations = int(event.state.progress * NUM_EVALUATIONS)
        cost = _held_out_cost(step, held_out, plan)
        if cost < lowest_cost:
            lowest_cost = cost
            best_weights = {name: value.clone() for name, value in prior.state_dict().items()}
    if best_weights:
        prior.load_state_dict(best_weights)


def _held_out_cost(step: PriorStep, held_out: Batch, plan: Plan) -> float:
    device = next(step.parameters()).device
    total = 0.0
    with eval_float32(step), seeded(plan.seed, "held"):
        for batch in iter_batches(held_out.x, held_out.c, size=500):
            rows = batch.to(device)
            total += float(step(rows.x, rows.c)[0]) * len(rows)
    return total / len(held_out)


def fit_ex_post(
    model: LatentModel, load: Callable[[Tensor], Tensor], parts: Mapping[str, Batch], plan: Plan
) -> Iterator[StepEvent]:
    """Fit the prior of a model to the codes of its training rows, in place.

    The prior is fitted to the first 200,000 training rows, and evaluated on the first 1,000
    validation rows.

    Arguments:
        model: The model.
        load: A function that maps stored rows to model inputs.
        parts: The stored rows of the splits "train" and "validation".
        plan: The training plan.
    """
    vae = require_vae(model)
    codes, held_out = (
        encode_for_prior(vae, load, _first_batches(rows, n_rows))
        for rows, n_rows in (
            (parts["train"], MAX_TRAINING_ROWS),
            (parts["validation"], _MAX_VALIDATION_ROWS),
        )
    )
    yield from fit_prior(vae.prior, codes, plan, held_out=held_out)


def _first_batches(rows: Batch, n_rows: int) -> Iterator[Batch]:
    return islice(iter_batches(rows.x, rows.c, size=_BATCH_SIZE), n_rows // _BATCH_SIZE)


def prior_plan(spec: Spec, name: str | None = None) -> Plan:
    """Return the default plan for fitting a prior to the codes of a model.

    It contains half the minutes of the plan of the model or, if these are not set, half the epochs
    (but at least one) or the same number of steps. The ``default_plan`` of the prior takes
    precedence.

    Arguments:
        spec: The spec of the model.
        name: The name of the prior; if None, the prior of the model.
    """
    plan, prior = spec.plan, lookup(PRIORS, name or spec.prior.name, "prior")
    half = Plan(
        lr=1e-3,
        grad_clip=1.0,
        seed=plan.seed,
        threads=plan.threads,
        minutes=plan.minutes / 2,
        epochs=max(plan.epochs / 2, 1.0) if plan.epochs and not plan.minutes else 0.0,
        steps=0 if plan.minutes else plan.steps,
        compile="no",
    )
    return dataclasses.replace(half, **prior.default_plan)


def prior_plan_from(
    spec: Spec, name: str, options: Mapping[str, Any]
) -> tuple[Plan, dict[str, Any]]:
    """Return the plan for fitting a prior to the codes of a run, and the settings of the prior.

    Arguments:
        spec: The spec of the model.
        name: The name of the prior, or "none".
        options: Settings of the plan and of the prior. If no duration is set, the prior
            is fitted for two minutes.
    """
    values = {key: value for key, value in options.items() if value is not None}
    own = {key: values.pop(key) for key in list(values) if key not in settings(Plan)}
    values = validate_settings(Plan, values, "plan")
    lengths = {"minutes": 0.0, "epochs": 0.0, "steps": 0}
    length = {} if lengths.keys() & values.keys() else {"minutes": 2.0}
    base = dataclasses.asdict(prior_plan(spec, None if name == "none" else name))
    return Plan(**(base | lengths | length | values)), own
