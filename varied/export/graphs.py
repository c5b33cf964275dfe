"""The parts of a model that are exported: modules with named inputs and outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied.distributions import (
    AutoregressiveOneHot,
    CodebookPoint,
    Delta,
    LibraryScaledCounts,
    VonMisesFisher,
    base_distribution,
)
from varied.functional import apply_temperature
from varied.models import VAE, LatentModel
from varied.quantizers import Quantizer


class Graph(nn.Module, ABC):
    """A function of batches of tensors, which is exported as one file.

    Arguments:
        model: The model, in evaluation mode.
        context: The number F of context features that the function reads; 0 for none.
    """

    #: The name of the graph, and of its file without the extension.
    name: ClassVar[str]

    def __init__(self, model: LatentModel, context: int = 0) -> None:
        super().__init__()
        self.model, self.context = model, context

    @property
    @abstractmethod
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""

    @abstractmethod
    def random_inputs(self, n: int) -> tuple[Tensor, ...]:
        """Return n random rows of each input."""

    @abstractmethod
    def outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in order."""
        return tuple(self.outputs(*inputs).values())

    def random_contexts(self, n: int) -> tuple[Tensor, ...]:
        """Return a tuple with n random contexts, or an empty tuple if none is read."""
        return (torch.rand(n, self.context),) if self.context else ()


class Encoder(Graph):
    """The encoder: statistics of q(z | x, c), as in `varied.functional.encode`.

    The outputs are ``mean`` and ``std``, each with shape (B, *latent), with these exceptions:
    ``codes``, the indices of codebook entries, if there is a codebook; only ``mean`` for a
    deterministic posterior; ``mean`` and ``concentration`` for a distribution on a sphere. A model
    that infers classes also returns ``class_probabilities``, with shape (B, C).

    Arguments:
        model: The model, in evaluation mode.
        context: The number of context features; 0 for none.
        temperature: The temperature of the class probabilities.
    """

    name = "encoder"

    def __init__(self, model: LatentModel, context: int = 0, temperature: float = 1.0) -> None:
        super().__init__(model, 0 if model.num_classes else context)
        self.temperature = temperature

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names: ``x``, and ``c`` if the encoder reads a context."""
        return ("x", "c") if self.context else ("x",)

    def random_inputs(self, n: int) -> tuple[Tensor, ...]:
        """Return samples from the model, which are in the domain of the data, and contexts."""
        latents = Decoder(self.model, self.context).random_latents(n)
        return (self.model.decode(*latents).sample(), *self.random_contexts(n))

    def outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the statistics of q(z | x, c) by name."""
        outputs = dict(_statistics(self.model.encode(*inputs)))
        if self.model.num_classes:
            probabilities = self.model.classify(inputs[0])
            outputs["class_probabilities"] = apply_temperature(probabilities, self.temperature)
        return outputs


def _statistics(q: Distribution) -> Iterator[tuple[str, Tensor]]:
    base = base_distribution(q)
    if isinstance(base, CodebookPoint):
        yield "codes", base.index
        return
    yield "mean", q.mean
    if isinstance(base, VonMisesFisher):  # the standard deviation requires Bessel functions
        yield "concentration", base.kappa.to(q.mean)
    elif not isinstance(base, Delta):
        yield "std", q.variance.sqrt()


class Decoder(Graph):
    """The decoder: the mean of p(x | z, c), with shape (B, *event).

    The input is ``z`` or, if there is a codebook, ``codes``. For counts with an observed library
    size, the output ``rate`` is the expected share of each element. If each token of a sequence
    depends on the preceding ones, there is an input ``tokens``, and ``mean`` is the probability of
    each token given the preceding ones.

    Arguments:
        model: The model, in evaluation mode.
        context: The number of context features; 0 for none.
    """

    name = "decoder"

    def __init__(self, model: LatentModel, context: int = 0) -> None:
        reads_context = model.decoder_reads_context and not model.num_classes
        super().__init__(model, context if reads_context else 0)

    @property
    def quantizer(self) -> Quantizer | None:
        """The quantizer whose codes are the input, or None."""
        head = self.model.encoder.head if isinstance(self.model, VAE) else None
        return head if isinstance(head, Quantizer) else None

    @property
    def is_sequential(self) -> bool:
        """Whether each token of a sequence depends on the preceding ones."""
        px = self.model.decode(*self.random_latents(1))
        return isinstance(base_distribution(px), AutoregressiveOneHot)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names: ``z`` or ``codes``, then ``c`` and ``tokens`` if the decoder reads them."""
        first = "z" if self.quantizer is None else "codes"
        return (first, *["c"] * bool(self.context), *["tokens"] * self.is_sequential)

    def random_latents(self, n: int) -> tuple[Tensor, ...]:
        """Return n random latent variables, and contexts if the decoder reads them."""
        c = self.random_contexts(n)
        if self.quantizer is not None:
            return (self.quantizer.lookup(self._random_codes(n)), *c)
        return (self.model.sample_prior(n, c[0] if c else None), *c)

    def random_inputs(self, n: int) -> tuple[Tensor, ...]:
        """Return random latent variables or codes, contexts and tokens."""
        first, *others = self.random_latents(n)
        first = first if self.quantizer is None else self._random_codes(n)
        if not self.is_sequential:
            return (first, *others)
        n_tokens, length = self.model.event_shape
        return (first, *others, torch.randint(n_tokens, (n, length)))

    def outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the mean by name."""
        z, *others = inputs
        z = z if self.quantizer is None else self.quantizer.lookup(z)
        px = self.model.decode(z, *others[: bool(self.context)])
        base = base_distribution(px)
        if isinstance(base, AutoregressiveOneHot):
            probabilities = base.model.logits(base.h, others[-1]).softmax(-1)
            return {"mean": probabilities.movedim(-1, -2)}
        if isinstance(base, LibraryScaledCounts):
            return {"mean": px.mean, "rate": base.rates.mean}
        return {"mean": px.mean}

    def _random_codes(self, n: int) -> Tensor:
        assert self.quantizer is not None
        return torch.randint(self.quantizer.num_codes, (n, self.quantizer.num_tokens))
