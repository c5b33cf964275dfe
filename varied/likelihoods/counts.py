"""Likelihoods of counts, with a mean that may be relative to the library size of the row."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.likelihoods.base import Likelihood, Scale
from varied.nets.library_size import InitializedFromRows, LibrarySize, LogCounts

#: The bound on the logarithm of the ratio between a mean and the mean in the training rows.
_MAX_LOG_RATIO = 20.0
#: The minimum inverse dispersion, below which almost all counts are 0.
_MIN_INVERSE_DISPERSION = 1e-4
_EXPOSURES = ("auto", "observed", "none")


class CountLikelihood(Likelihood, InitializedFromRows):
    """The base class of the likelihoods of counts.

    An offset is added to each output of the network, so that an output of 0 corresponds to the mean
    of the element in the training rows (or to its fraction of the library size).

    Arguments:
        event: The shape of one example.
        exposure: The definition of the mean: with "observed", it is the product of the library size
            (the sum of the row) and a softmax of the outputs plus offsets over the elements of the
            row; with "none", it is the exponential of the output plus its offset; "auto" selects
            "observed" for rows with several elements.
    """

    accepts = frozenset({"count"})

    log_offset: Tensor

    def __init__(self, event: tuple[int, ...], exposure: str) -> None:
        super().__init__(event)
        if exposure not in _EXPOSURES:
            raise VariedError(f"exposure={exposure!r} must be one of {', '.join(_EXPOSURES)}.")
        has_exposure = exposure == "observed" or (exposure == "auto" and self.size > 1)
        self.library = LibrarySize() if has_exposure else None
        self.register_buffer("log_offset", torch.zeros(event))

    @torch.no_grad()
    def init_from_rows(self, x: Tensor) -> None:
        """Set the offsets to the logarithm of the mean, or of the fraction, of each element."""
        total = x.sum(0) + 0.5  # the mean of an element without counts would have no logarithm
        self.log_offset.copy_((total / (len(x) if self.library is None else total.sum())).log())

    def input_net(self, net: nn.Module) -> nn.Module:
        """Return a network that reads the logarithms of counts, relative to the library size."""
        return LogCounts(net, is_relative=self.library is not None)

    def build(self, h: Tensor, *params: Tensor) -> Distribution:
        """Return distributions of counts.

        Arguments:
            h: The output of the network for the mean, without the offset.
            params: The other outputs of the network.
        """
        log_mean = d.soft_clamp(h, _MAX_LOG_RATIO) + self.log_offset
        if self.library is None:
            return self.build_counts(log_mean, *params)
        n_dims = len(self.event_shape)
        log_rate = log_mean.flatten(-n_dims).log_softmax(-1).reshape(log_mean.shape)
        rates, library = self.build_counts(log_rate, *params), self.library
        return d.LibraryScaledCounts(rates, n_dims, library.log_location, library.log_scale)

    @abstractmethod
    def build_counts(self, log_mean: Tensor, *params: Any, **others: Any) -> d.Counts:
        """Return distributions of counts from the logarithm of the mean and other parameters."""


class Poisson(CountLikelihood):
    r"""Counts whose variance equals their mean.

    .. math:: \log p(x) = x \log m - m - \log x!

    Warning:
        The variance of most counts exceeds their mean. Use `NegativeBinomial` for such data.

    Arguments:
        event: The shape of one example.
        exposure: The definition of the mean: with "observed", it is the product of the library size
            (the sum of the row) and a softmax of the outputs plus offsets over the elements of the
            row; with "none", it is the exponential of the output plus its offset; "auto" selects
            "observed" for rows with several elements.
    """

    def __init__(self, event: tuple[int, ...], exposure: str = "auto") -> None:
        super().__init__(event, exposure)

    def build_counts(self, log_mean: Tensor) -> d.Counts:
        """Return Poisson distributions."""
        return d.Poisson(log_mean)


class NegativeBinomial(CountLikelihood):
    r"""Counts whose variance :math:`m + m^2 / r` exceeds their mean m.

    See `varied.distributions.NegativeBinomial` for the formula and the reference.

    Arguments:
        event: The shape of one example.
        exposure: The definition of the mean: with "observed", it is the product of the library size
            (the sum of the row) and a softmax of the outputs plus offsets over the elements of the
            row; with "none", it is the exponential of the output plus its offset; "auto" selects
            "observed" for rows with several elements.
        dispersion: The inverse dispersion r: a number, "learned" (one for all elements),
            "per-element" (one for each element, shared by all examples) or "heteroscedastic" (an
            output of the network for each element).
    """

    def __init__(
        self,
        event: tuple[int, ...],
        exposure: str = "auto",
        dispersion: float | str = "per-element",
    ) -> None:
        super().__init__(event, exposure)
        self.dispersion = Scale(event, dispersion, _MIN_INVERSE_DISPERSION, "dispersion")
        self.params_per_element = 1 + self.dispersion.is_heteroscedastic

    def build_counts(self, log_mean: Tensor, h: Tensor | None = None) -> d.Counts:
        """Return negative binomial distributions."""
        return d.NegativeBinomial(log_mean, self.dispersion(h, log_mean))


class ZeroInflatedNegativeBinomial(CountLikelihood):
    """Counts with more zeros than in a negative binomial distribution.

    See `varied.distributions.ZeroInflatedNegativeBinomial` for the formula and the reference.

    Arguments:
        event: The shape of one example.
        exposure: The definition of the mean: with "observed", it is the product of the library size
            (the sum of the row) and a softmax of the outputs plus offsets over the elements of the
            row; with "none", it is the exponential of the output plus its offset; "auto" selects
            "observed" for rows with several elements.
        dispersion: The inverse dispersion r: a number, "learned" (one for all elements),
            "per-element" (one for each element, shared by all examples) or "heteroscedastic" (an
            output of the network for each element).
    """

    #: The initial logit of the probability of an additional zero; such zeros are rare at first.
    INITIAL_LOGIT = -2.0

    def __init__(
        self,
        event: tuple[int, ...],
        exposure: str = "auto",
        dispersion: float | str = "per-element",
    ) -> None:
        super().__init__(event, exposure)
        self.dispersion = Scale(event, dispersion, _MIN_INVERSE_DISPERSION, "dispersion")
        self.params_per_element = 2 + self.dispersion.is_heteroscedastic

    def build_counts(self, log_mean: Tensor, logit: Tensor, h: Tensor | None = None) -> d.Counts:
        """Return zero-inflated negative binomial distributions."""
        zero_logits = d.soft_clamp(logit, _MAX_LOG_RATIO) + self.INITIAL_LOGIT
        return d.ZeroInflatedNegativeBinomial(log_mean, self.dispersion(h, log_mean), zero_logits)
