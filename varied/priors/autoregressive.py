"""Distributions over strings of codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.distributions.independent import Independent

from varied.distributions.base import HasTrainingCost, NoDensity, Tempered
from varied.distributions.codebook import CodebookPoint
from varied.errors import VariedError
from varied.priors.base import chunked, to_size

__all__ = ["AutoregressiveCodes", "CodeLookup", "NextCodeModel"]


class CodeLookup(Protocol):
    """What is asked of a quantizer."""

    num_codes: int
    num_tokens: int
    event_shape: tuple[int, ...]

    def lookup(self, index: Tensor) -> Tensor:
        """Return latents with shape (*, *event) from indices with shape (*, sites)."""
        ...


class NextCodeModel(Protocol):
    """A net that says which code comes next."""

    #: Numbers that it remembers of one string.
    memory: int

    def __call__(self, index: Tensor, c: Tensor | None = None) -> Tensor:
        """Return logits with shape (N, sites, codes), each from the codes before it."""
        ...

    def spelling(self, rows: int, c: Tensor | None = None) -> Callable[[Tensor | None], Tensor]:
        """Return what takes the last codes, first none, and returns logits of the next ones."""
        ...


class AutoregressiveCodes(Tempered, HasTrainingCost, NoDensity, Distribution):
    r"""A distribution over latents that are strings of codes, one code after another.

    .. math:: \log p(z) = \sum_s \log p(i_s \mid i_{<s}, c), \qquad z = \mathrm{lookup}(i)

    Nothing is computed before it is asked for: a probability runs the net once, a draw runs it
    site by site.

    Arguments:
        net: What says which code comes next.
        quantizer: What turns indices into latents.
        c: The context, with shape (B, F) or (F), or None.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = False
    no_density = (
        "A prior over codes has a probability of indices, not a density of latents; "
        "use log_prob_index(index), or the KL, which is exact."
    )

    def __init__(self, net: NextCodeModel, quantizer: CodeLookup, c: Tensor | None = None) -> None:
        self.net, self.quantizer, self.c = net, quantizer, c
        batch = torch.Size() if c is None else c.shape[:-1]
        super().__init__(batch, torch.Size(quantizer.event_shape), validate_args=False)

    def _contexts(self, lead: torch.Size) -> tuple[Tensor, ...]:
        if self.c is None:
            return ()
        return (self.c.expand(*lead, -1).reshape(lead.numel(), self.c.shape[-1]),)

    def log_prob_index(self, index: Tensor) -> Tensor:
        """Return the log-probability of strings of codes.

        Arguments:
            index: Indices with shape (*, sites).

        Returns:
            Nats, with shape (*).
        """
        lead = torch.broadcast_shapes(index.shape[:-1], self.batch_shape)
        index = index.expand(*lead, -1)
        rows = index.reshape(lead.numel(), index.shape[-1])
        size = rows.shape[1] * self.quantizer.num_codes + 4 * self.net.memory
        found = chunked(self._taught, rows, *self._contexts(lead), each=size, most=2**27)
        return found.reshape(lead)

    def _taught(self, index: Tensor, c: Tensor | None = None) -> Tensor:
        logits = self.net(index, c)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        return logits.gather(-1, index.unsqueeze(-1)).squeeze(-1).sum(1)

    def cost(self, index: Tensor) -> Tensor:
        """Return what training makes small: minus the log-probability, in nats, with shape (*)."""
        return -self.log_prob_index(index)

    @property
    def mean(self) -> Tensor:
        """Refuse: between codes there is no code.

        Raises:
            VariedError: Always.
        """
        raise VariedError("Codes have no mean; use draw(shape, temperature) for typical latents.")

    def draw(self, shape: Any = (), temperature: float = 1.0, top: int | None = None) -> Tensor:
        """Draw latents.

        Arguments:
            shape: How many, or a shape of them.
            temperature: What the logits are divided by: below 1 is more typical, and 0 takes the
                likeliest code at each site.
            top: How many of the likeliest codes may be drawn at each site; None for all.

        Returns:
            Latents with shape (*shape, *batch_shape, *event).
        """
        with torch.no_grad():
            return self.quantizer.lookup(self.draw_index(shape, temperature, top))

    @torch.no_grad()
    def draw_index(
        self, shape: Any = (), temperature: float = 1.0, top: int | None = None
    ) -> Tensor:
        """Draw indices, with shape (*shape, *batch_shape, sites)."""
        if temperature < 0:
            raise VariedError(
                f"temperature={temperature} must not be below 0; 1 is the law itself."
            )
        if top is not None and top < 1:
            raise VariedError(f"top={top} must be at least 1, or none for all codes.")
        lead = to_size(shape) + self.batch_shape
        numbers = torch.empty(lead.numel(), 0)

        def some(rows: Tensor, c: Tensor | None = None) -> Tensor:
            return self._spelled(len(rows), c, temperature, top)

        found = chunked(some, numbers, *self._contexts(lead), each=self.net.memory, most=2**26)
        return found.reshape(*lead, self.quantizer.num_tokens)

    def _spelled(self, rows: int, c: Tensor | None, temperature: float, top: int | None) -> Tensor:
        chosen: list[Tensor] = []
        spell = self.net.spelling(rows, c)
        for _ in range(self.quantizer.num_tokens):
            chosen.append(_choose(spell(chosen[-1] if chosen else None), temperature, top))
        return torch.stack(chosen, 1)


def _choose(logits: Tensor, temperature: float, top: int | None) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float() / temperature
    if top is not None and top < logits.shape[-1]:
        least = logits.topk(top).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return torch.multinomial(logits.softmax(-1), 1).squeeze(-1)


@register_kl(Independent, AutoregressiveCodes)
def _kl_code_over_codes(q: Independent[Any], p: AutoregressiveCodes) -> Tensor:
    """Return -log p(index): all of q lies on one string of codes."""
    if not isinstance(q.base_dist, CodebookPoint) or q.event_shape != p.event_shape:
        raise NotImplementedError
    return -p.log_prob_index(q.base_dist.index)
