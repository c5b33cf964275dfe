"""The prior of an exported model: its parameters, or a graph that maps noise to codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from varied.export.graphs import Graph
from varied.models import M1, M2, VAE, Ladder, LatentModel
from varied.priors import (
    Categorical,
    ConditionalNormal,
    Flow,
    GaussianCategorical,
    HypersphericalUniform,
    Prior,
    StandardNormal,
)
from varied.priors.ex_post import ExPostPrior
from varied.priors.flow import FlowDistribution
from varied.priors.mixtures import DiagonalMixture, FullMixture


class NoiseToLatent(Graph):
    """The prior as a function of standard normal noise: ``z``, with shape (B, *latent).

    Arguments:
        model: The model, in evaluation mode.
        context: The number of context features; 0 for none.
    """

    name = "prior"

    def __init__(self, model: LatentModel, context: int = 0) -> None:
        reads_context = isinstance(model, Ladder) or bool(model.prior and model.prior.context)
        super().__init__(model, context if reads_context else 0)

    @staticmethod
    def supports(model: LatentModel) -> bool:
        """Return whether the prior is such a function, but has no parameters to list."""
        is_function = isinstance(model.prior, ConditionalNormal | Flow)
        return isinstance(model, Ladder) or (isinstance(model, VAE) and is_function)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names: ``noise``, and ``c`` if the prior reads a context."""
        return ("noise", "c") if self.context else ("noise",)

    def random_inputs(self, n: int) -> tuple[Tensor, ...]:
        """Return standard normal noise, and contexts if the prior reads them."""
        return (torch.randn(n, *self.model.latent_shape), *self.random_contexts(n))

    def outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return draws from the prior by name."""
        noise, *c = inputs
        if isinstance(self.model, Ladder):
            return {"z": self.model.from_noise(noise, *c)}
        if isinstance(self.model.prior, ConditionalNormal):
            return {"z": self.model.unstandardize(noise, *c)}
        assert isinstance(self.model.prior, Flow)
        p = self.model.prior(*c)
        assert isinstance(p, FlowDistribution)
        return {"z": p.from_noise(noise.flatten(1))}


def describe_prior(model: LatentModel) -> dict[str, Any] | None:
    """Return the prior as JSON-serializable values: its family and its parameters.

    If these values do not determine it, return None.
    """
    if NoiseToLatent.supports(model):
        return {"distribution": "function of noise", "file": f"{NoiseToLatent.name}.onnx"}
    if isinstance(model, M2):
        size = model.latent_shape[0] - model.num_classes
        families = ["one-hot with equal probabilities", "standard normal"]
        return {"distribution": families, "sizes": [model.num_classes, size]}
    if isinstance(model, VAE | M1) and model.prior is not None:
        return _describe(model.prior)
    return None


def _describe(prior: Prior) -> dict[str, Any] | None:
    if isinstance(prior, StandardNormal) or (
        isinstance(prior, ExPostPrior) and not prior.is_fitted
    ):
        return {"distribution": "standard normal"}
    if isinstance(prior, HypersphericalUniform):
        return {"distribution": "uniform on the unit sphere"}
    if isinstance(prior, Categorical):
        return {"distribution": "one-hot with equal probabilities", "classes": prior.n_classes}
    if isinstance(prior, GaussianCategorical):
        sizes = [prior.event_shape[0] - prior.n_classes, prior.n_classes]
        families = ["standard normal", "one-hot with equal probabilities"]
        return {"distribution": families, "sizes": sizes}
    p = prior()
    if not isinstance(p, DiagonalMixture | FullMixture):
        return None
    values = {"weights": p.log_weights.exp(), "means": p.means}
    if isinstance(p, DiagonalMixture):
        values["scales"] = (0.5 * p.log_variances).exp()
    else:
        values["scale_tril"] = p.scale_tril
    lists = {name: _round(value.tolist()) for name, value in values.items()}
    return {"distribution": "mixture of normal distributions", **lists}


def _round(values: Any) -> Any:
    """Round numbers to the nine digits that determine a float32."""
    if isinstance(values, list):
        return [_round(value) for value in values]
    return float(f"{values:.9g}")
