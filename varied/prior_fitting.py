"""Priors that are fitted after the model, to the codes that it gives to the training rows.

The aggregate of the posteriors is never quite the prior that a model was trained with, so a density
fitted to the codes makes better samples; codes of a codebook have no prior before one is learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from varied.data.batches import Batch, Batches
from varied.distributions.base import HasTrainingCost, base_distribution
from varied.errors import VariedError
from varied.models import VAE, LatentModel
from varied.objectives import reconstruction_only
from varied.priors import Prior
from varied.runtime import eval_float32
from varied.seeding import seeded
from varied.spec import Plan
from varied.training_loop import Step, StepEvent, train

__all__ = ["PriorStep", "encode_for_prior", "fit_prior", "require_vae"]

#: How often the prior is tried on rows that it is not fitted to.
TRIALS = 12


def require_vae(model: LatentModel) -> VAE:
    """Return a model that has one prior.

    Raises:
        VariedError: If it has another structure.
    """
    if not isinstance(model, VAE):
        raise VariedError(
            "A prior is fitted to the codes of a model with one rung of latents "
            "(architecture='vae'); this one learned its priors with everything else."
        )
    return model


class PriorStep(Step):
    """A prior and codes as one module whose forward is the loss: the one loop trains it too.

    Arguments:
        prior: What is fitted.
        load: From stored codes to what the prior is a distribution of.
    """

    def __init__(self, prior: Prior, load: Callable[[Tensor], Tensor]) -> None:
        nn.Module.__init__(self)
        self.prior, self.objective, self.load = prior, reconstruction_only(), load

    def forward(
        self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean cost of codes, in nats where it is -log p, and itself as a part."""
        p, value = self.prior(c), self.load(x)
        cost = p.cost(value) if isinstance(p, HasTrainingCost) else -p.log_prob(value)
        return cost.mean(), {"prior": cost.detach().mean()}

    def init_from_data(self, x: Tensor, c: Tensor | None = None) -> None:
        """Show the first codes to a prior that standardizes them."""
        with eval_float32(self):
            self.prior.init_from_data(self.load(x), c)


def encode_for_prior(model: VAE, load: Callable[[Tensor], Tensor], rows: Iterable[Batch]) -> Batch:
    """Return the codes of data, with their context.

    Returns:
        Indices with shape (N, sites) where the posterior is a quantizer; else mean and standard
        deviation of each posterior, with shape (N, 2, *latent).
    """
    found: list[Tensor] = []
    contexts: list[Tensor] = []
    with eval_float32(model), seeded(0, "codes"):
        for batch in rows:
            q = model.encode(load(batch.x), batch.c)
            index = getattr(base_distribution(q), "index", None)
            pair = [q.mean, q.variance.sqrt()] if index is None else []
            found.append(index if index is not None else torch.stack(pair, 1))
            contexts += [] if batch.c is None else [batch.c]
    return Batch(torch.cat(found), torch.cat(contexts) if contexts else None)


def _drawn(stored: Tensor) -> Tensor:
    """Return a draw from each posterior: the codes that a decoder was trained on."""
    mean, spread = stored.unbind(1)
    return mean + spread * torch.randn_like(mean)


def _as_it_is(stored: Tensor) -> Tensor:
    return stored


def fit_prior(
    prior: Prior, codes: Batch, plan: Plan, *, held: Batch | None = None
) -> Iterator[StepEvent]:
    """Fit a prior to codes, and yield an event after each step; it ends as it was best.

    Arguments:
        prior: What is fitted, in place.
        codes: What `codes_of` returned for the training rows.
        plan: How, and how long.
        held: The same for rows that it is not fitted to; the weights that suit them best are kept.

    Raises:
        VariedError: If the prior does not fit the codes.
    """
    indices = not codes.x.is_floating_point()
    if (prior.over == "codes") != indices:
        what = "indices of a codebook" if indices else "numbers"
        way = "transformer" if indices else "gmm, flow or flow-matching"
        raise VariedError(f"The codes of this run are {what}; fit a {way} prior.")
    load = _as_it_is if indices else _drawn
    at_once: Any = getattr(prior, "fit", None)
    if at_once is not None:
        with seeded(plan.seed, "fit"), torch.no_grad():
            at_once(load(codes.x), codes.c)
        return
    step = PriorStep(prior, load)
    batches = Batches(codes.x, codes.c, size=min(plan.batch_size, len(codes.x)), seed=plan.seed)
    best, kept, tried = math.inf, dict[str, Tensor](), 0
    for event in train(step, batches, plan):
        yield event
        if held is None or event.state.progress * TRIALS < tried + 1:
            continue
        tried = int(event.state.progress * TRIALS)
        cost = _cost(step, held, plan)
        if cost < best:
            best = cost
            kept = {name: value.clone() for name, value in prior.state_dict().items()}
    if kept:
        prior.load_state_dict(kept)


def _cost(step: PriorStep, held: Batch, plan: Plan) -> float:
    device = next(step.parameters()).device
    sums = 0.0
    with eval_float32(step), seeded(plan.seed, "held"):
        for start in range(0, len(held.x), 500):
            rows = slice(start, start + 500)
            c = None if held.c is None else held.c[rows].to(device)
            sums += float(step(held.x[rows].to(device), c)[0]) * len(held.x[rows])
    return sums / len(held.x)
