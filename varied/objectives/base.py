"""An objective: a weighted sum of terms, averaged over the batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from varied.discriminators import AdversarialTerm
from varied.distributions import independent_cells
from varied.errors import VariedError
from varied.models import LatentModel
from varied.scheduled_value import ScheduledValue, set_step
from varied.schedules import Number
from varied.terms import AdaptiveWeight, FunctionTerm, Term, kl, reconstruction
from varied.terms.base import TermFunction
from varied.trace import Trace


@dataclass(frozen=True)
class WeightedTerm:
    """A term with its name and its weight.

    Arguments:
        name: The name of the term in the log.
        term: A term, or a function that maps a trace to the value for each example.
        weight: The weight: a number, a schedule or an `AdaptiveWeight`.
    """

    name: str
    term: Term | TermFunction
    weight: Number | AdaptiveWeight = 1.0


class Objective(nn.Module):
    r"""A weighted sum of terms, averaged over the batch.

    .. math:: L = \frac1B \sum_b \sum_i w_i(t) \, f_i(b)

    The unweighted reconstruction is always reported, and the KL if a term requires a density, even
    if they are not among the terms.

    Arguments:
        terms: The terms with their weights.
        samples: The number K of draws per example that the terms require.
    """

    def __init__(self, *terms: WeightedTerm, samples: int = 1) -> None:
        super().__init__()
        self.names = [weighted.name for weighted in terms]
        self.terms = [_as_term(weighted.term) for weighted in terms]
        self.samples = samples
        self.weights = nn.ModuleList(_as_module(weighted.weight) for weighted in terms)
        self.term_modules = nn.ModuleList(t for t in self.terms if isinstance(t, nn.Module))

    @property
    def requires(self) -> frozenset[str]:
        """The properties that the posterior and the prior must have."""
        return frozenset().union(*(term.requires for term in self.terms))

    @property
    def can_compile(self) -> bool:
        """Whether a training step with all terms can be compiled."""
        return all(term.can_compile for term in self.terms)

    @property
    def discriminators(self) -> dict[str, AdversarialTerm]:
        """The terms with a discriminator, by name."""
        pairs = zip(self.names, self.terms, strict=True)
        return {name: term for name, term in pairs if isinstance(term, AdversarialTerm)}

    def attach(self, model: LatentModel) -> None:
        """Prepare all terms for a model, before the model is trained or loaded."""
        for term in self.terms:
            term.attach(model)

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set all scheduled values.

        Arguments:
            step: The number of completed steps.
            progress: The completed fraction of training, for schedules that depend on it.
        """
        set_step(self, step, progress)

    def forward(self, trace: Trace, step: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, and its unweighted terms and other logged values by name.

        Arguments:
            trace: The trace of a forward pass.
            step: The step at which to evaluate scheduled values; None leaves them unchanged. If the
                length of a schedule is a fraction of training, its final value is used.

        Returns:
            The loss, a scalar, and detached scalars by name: the batch mean of each unweighted
            term, ``reconstruction``, ``kl`` if a term requires a density, ``beta`` (the weight of
            the KL, if there is one), the losses of the discriminators, which are part of the loss
            but train only the discriminators, and other values that the discriminators log.
        """
        if step is not None:
            self.set_step(step)
        values = [term(trace).mean() for term in self.terms]
        weights = [weight.get_buffer("value") for weight in self.weights]
        loss = torch.stack([w * value for w, value in zip(weights, values, strict=True)]).sum()
        parts = dict(zip(self.names, values, strict=True))
        self._update_weights(values)
        discriminator_losses = {
            f"{name}_discriminator": term.discriminator_loss(trace)
            for name, term in self.discriminators.items()
        }
        parts |= self._report(trace, parts) | discriminator_losses
        for term in self.discriminators.values():
            parts |= term.logs
        loss = loss + sum(discriminator_losses.values())
        return loss, {name: value.detach() for name, value in parts.items()}

    def weight(self, name: str) -> float:
        """Return the current weight of the term with the given name."""
        return float(self.weights[self.names.index(name)].get_buffer("value"))

    def _update_weights(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            if self.training and isinstance(weight, AdaptiveWeight):
                weight.update(value.detach())

    def _report(self, trace: Trace, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return beta, and the reconstruction and the KL if they are not among the terms.

        The KL is returned only if a term requires a density.

        With an autoregressive table likelihood, the reconstruction for independent cells is also
        returned.
        """
        report = {}
        independent = independent_cells(trace.px)
        if independent is not None:
            independent_trace = dataclasses.replace(trace, px=independent)
            report["independent_reconstruction"] = reconstruction(independent_trace).mean()
        if "reconstruction" not in parts:
            report["reconstruction"] = reconstruction(trace).mean()
        if "density" in self.requires and "kl" not in parts:
            report["kl"] = kl(trace).mean()
        for name, weight in zip(self.names, self.weights, strict=True):
            if name in ("kl", "free_bits_kl"):
                # A copy, since the next step changes the buffer.
                report["beta"] = weight.get_buffer("value").clone()
        return report


def check_not_negative(remedy: str = "", **values: Any) -> None:
    """Raise an error if a number is negative; schedules are not checked.

    Arguments:
        remedy: The remedy to append to the message.
        values: The numbers or schedules by name.
    """
    for name, value in values.items():
        if isinstance(value, float | int) and value < 0:
            raise VariedError(f"{name}={value} must not be negative{remedy and f'; {remedy}'}.")


def _as_term(term: Term | TermFunction) -> Term:
    return term if isinstance(term, Term) else FunctionTerm(term)


def _as_module(weight: Number | AdaptiveWeight) -> nn.Module:
    return weight if isinstance(weight, AdaptiveWeight) else ScheduledValue(weight)
