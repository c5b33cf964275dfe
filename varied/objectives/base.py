"""A sum of weighted terms, averaged over the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from varied.discriminators import AdversarialTerm
from varied.scheduled_value import ScheduledValue, set_step
from varied.schedules import Number
from varied.terms import Term, kl, reconstruction
from varied.trace import Trace

__all__ = ["Objective", "WeightedTerm"]


@dataclass(frozen=True)
class WeightedTerm:
    """A term with its name and its weight.

    A weight is a number, a schedule, or a module with a buffer ``value``, a method ``turn(step,
    progress)`` and a method ``feel(value)``, which is told the mean of the term in each step.
    """

    name: str
    term: Term
    weight: Number | nn.Module = 1.0


class Objective(nn.Module):
    r"""A weighted sum of terms, averaged over the batch.

    .. math:: L = \frac1B \sum_b \sum_i w_i(t) \, f_i(b)

    Reconstruction and KL are reported unweighted and apart whatever the terms are.

    Arguments:
        terms: The terms with their weights.
        samples: The number K of draws that the terms want for each datum.
    """

    def __init__(self, *terms: WeightedTerm, samples: int = 1) -> None:
        super().__init__()
        self.names = [weighted.name for weighted in terms]
        self.terms = [weighted.term for weighted in terms]
        self.samples = samples
        self.weights = nn.ModuleList(_dial(weighted.weight) for weighted in terms)
        self.owned = nn.ModuleList(term for term in self.terms if isinstance(term, nn.Module))

    @property
    def requires(self) -> frozenset[str]:
        """All that the terms read of the distributions."""
        return frozenset().union(*(getattr(term, "requires", ()) for term in self.terms))

    @property
    def eager(self) -> bool:
        """Whether a term takes gradients in the midst of a step, which a compiled one cannot."""
        return any(getattr(term, "eager", False) for term in self.terms)

    @property
    def critics(self) -> dict[str, AdversarialTerm]:
        """The terms that own a critic, by name."""
        pairs = zip(self.names, self.terms, strict=True)
        return {name: term for name, term in pairs if isinstance(term, AdversarialTerm)}

    def attach(self, model: Any) -> None:
        """Show the model to the terms that need more of it than a trace."""
        shown: list[Any] = [term for term in self.terms if hasattr(term, "attach")]
        for term in shown:
            term.attach(model)

    def set_step(self, step: int, progress: float = 1.0) -> None:
        """Set every number that moves.

        Arguments:
            step: Steps done.
            progress: The share of the run that is done, for schedules whose length is a share.
        """
        set_step(self, step, progress)

    def forward(self, trace: Trace, step: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts.

        Arguments:
            trace: What a model left.
            step: Sets the numbers that move; None leaves them as they were last turned.

        Returns:
            The loss (a scalar), and batch means by name, in nats: each term unweighted, the true
            ``reconstruction`` and ``kl`` always among them where they exist, ``beta``, the weight
            of the rate, where it has one, and what each critic pays. What critics pay is part of
            the loss, but its gradient reaches no one else.
        """
        if step is not None:
            self.set_step(step)
        values = [term(trace).mean() for term in self.terms]
        weights = [dial.get_buffer("value") for dial in self.weights]
        loss = torch.stack([w * value for w, value in zip(weights, values, strict=True)]).sum()
        parts = dict(zip(self.names, values, strict=True))
        self._update_weights(parts)
        paid = {
            f"{name}_discriminator": critic.loss(trace) for name, critic in self.critics.items()
        }
        parts |= self._report(trace, parts) | paid
        for critic in self.critics.values():
            parts |= critic.told
        return loss + sum(paid.values()), {name: value.detach() for name, value in parts.items()}

    def _update_weights(self, parts: dict[str, Tensor]) -> None:
        pairs: list[tuple[str, Any]] = list(zip(self.names, self.weights, strict=True))
        for name, weight in pairs:
            if self.training and hasattr(weight, "update"):
                weight.update(parts[name].detach())

    def _report(self, trace: Trace, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        told = {}
        if "reconstruction" not in parts:
            told["reconstruction"] = reconstruction(trace).mean()
        if "density" in self.requires and "kl" not in parts:
            told["kl"] = kl(trace).mean()
        dials = dict(zip(self.names, self.weights, strict=True))
        for name in {"kl", "free_bits_kl"} & dials.keys():
            # A copy: the buffer itself moves on with the next step.
            told["beta"] = dials[name].get_buffer("value").clone()
        return told

    def weight(self, name: str) -> float:
        """Return the present weight of a term by its name."""
        return float(self.weights[self.names.index(name)].get_buffer("value"))


def _dial(weight: Number | nn.Module) -> nn.Module:
    return weight if isinstance(weight, nn.Module) else ScheduledValue(weight)
