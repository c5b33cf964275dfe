"""Build a model and its objective from a spec, and reject incompatible parts."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from varied.allocation_limit import build_within_memory
from varied.errors import VariedError, lookup
from varied.likelihoods import LIKELIHOODS
from varied.models import LatentModel, PartFactory
from varied.nets import CONTEXTS, with_context
from varied.objectives import OBJECTIVES, Objective
from varied.priors import PRIORS, Prior
from varied.schema import validate_settings
from varied.seeding import seeded
from varied.spec import AXES, SIDES, Part, Shape, Spec
from varied.trace import ConditionalDistribution

#: The maximum number of elements of an example, a latent variable or a context.
MAX_SIZE = 2**31
#: The maximum value of an integer setting of a part.
MAX_SETTING = 2**20


def compose(
    spec: Spec, shape: Shape, domain: str | None = None, *, max_weights: float = math.inf
) -> tuple[LatentModel, Objective]:
    """Build a model and its objective; the same seed gives the same initial weights.

    Arguments:
        spec: The spec of the model.
        shape: The shape of one example, channels first.
        domain: The domain of the data: "binary", "uint8" (k / 255), "unit-interval", "real",
            "count", "table" or "one-hot". If None, the likelihood is not checked against the data.
        max_weights: The number of weights above which a large model is refused.

    Returns:
        The model, with float32 weights on the CPU, and the objective.

    Raises:
        VariedError: If the parts are incompatible, or the model does not fit in memory; the message
            says how to fix the problem.
    """
    if min(spec.latent_shape, default=0) < 1:
        raise VariedError(
            f"Every dimension of latent={spec.latent} must be at least 1; for a vector, 16 to 64 "
            "is a good starting point."
        )
    accepts = spec.likelihood.builder("likelihood").accepts
    if domain is not None and domain not in accepts:
        raise VariedError(_wrong_domain(spec.likelihood.name, domain))
    largest = max(math.prod(shape), math.prod(spec.latent_shape), spec.context)
    if largest > MAX_SIZE:
        raise VariedError(
            f"An example, a latent variable or a context of {largest:,} elements is too large; at "
            f"most {MAX_SIZE:,} are supported."
        )

    def build() -> tuple[LatentModel, Objective]:
        with seeded(spec.plan.seed, "weights"):
            objective: Objective = _build(spec, "objective")
            _check_parts(spec, objective)
            model: LatentModel = _build(spec, "architecture", _factory(spec, shape))
            _check_model(spec, objective, model)
            objective.attach(model)
        return model, objective

    return build_within_memory(build, max_weights)


def compose_prior(
    spec: Spec, part: Part, encoder: ConditionalDistribution, *, max_weights: float = math.inf
) -> Prior:
    """Build a prior for the latent variables of an existing model.

    Arguments:
        spec: The spec of the model.
        part: The prior and its settings.
        encoder: The encoder of the model.
        max_weights: The number of weights above which a large prior is refused.

    Raises:
        VariedError: If the prior or a setting does not exist, or the prior does not fit in memory.
    """

    def build() -> Prior:
        with seeded(spec.plan.seed, "prior"):
            factory = _factory(dataclasses.replace(spec, prior=part), encoder.inputs)
            prior: Prior = factory.prior(encoder.head.event_shape, spec.context)
            prior.attach(encoder)
        return prior

    return build_within_memory(build, max_weights)


def _factory(spec: Spec, shape: Shape) -> PartFactory:
    def prior(event_shape: Shape, context: int) -> Any:
        reads_context = spec.prior.builder("prior").reads_context
        return _build(spec, "prior", event_shape, *([context] if reads_context else []))

    net = partial(_build_net, spec, "net")
    return PartFactory(
        shape,
        spec.latent_shape,
        spec.context,
        net=net,
        encoder_net=partial(_build_net, spec, "encoder") if spec.encoder else net,
        decoder_net=partial(_build_net, spec, "decoder") if spec.decoder else net,
        likelihood=partial(_build, spec, "likelihood"),
        posterior=partial(_build, spec, "posterior"),
        prior=prior,
        net_name=spec.net.name,
    )


def _build(spec: Spec, axis: str, *arguments: Any) -> Any:
    """Build the part for an axis; an instance that the user passed is copied."""
    part = spec.parts[axis]
    if part.instance is not None:
        shape = getattr(part.instance, "event_shape", None)
        if axis in ("likelihood", "posterior", "prior") and shape not in (None, arguments[0]):
            raise VariedError(
                f"The {axis} has event shape {shape}, but the model requires {arguments[0]}; pass "
                "the class, or an instance with that shape."
            )
        return copy.deepcopy(part.instance)
    builder = part.builder(axis)
    checked = validate_settings(builder, part.settings, f"{axis} '{part.name}'")
    for name, value in checked.items():
        if type(value) is int and value > MAX_SETTING:
            raise VariedError(f"{name}={value} must be at most {MAX_SETTING:,}.")
    return builder(*arguments, **checked)


def _build_net(spec: Spec, axis: str, inputs: Shape, outputs: Shape, context: int) -> nn.Module:
    """Build a network that maps inputs, and a context of ``context`` features, to outputs."""
    part = spec.parts[axis]
    if part.instance is None and _takes_shapes(part.builder(axis)):
        build = lambda wider: _build(spec, axis, wider, outputs)  # noqa: E731
        return with_context(build, inputs, context, spec.conditioning)
    net = _build_module(axis, part)
    _check_net(axis, net, inputs, outputs, context)
    return net


def _takes_shapes(builder: Callable[..., Any]) -> bool:
    """Return whether a network builder is called with the input and output shapes."""
    required = [
        p.name
        for p in inspect.signature(builder).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return required == ["inputs", "outputs"]


def _build_module(axis: str, part: Part) -> nn.Module:
    if part.instance is not None:
        return copy.deepcopy(part.instance)
    builder = part.builder(axis)
    try:
        module: nn.Module = builder(**part.settings)
    except TypeError as error:
        raise VariedError(
            f"The {axis} {part.name} cannot be built from the arguments that the run stores "
            f"({error}); pass the object as {axis}=, or store each argument of its constructor in "
            "an attribute of the same name."
        ) from None
    return module


def _check_net(axis: str, net: nn.Module, inputs: Shape, outputs: Shape, context: int) -> None:
    """Run the user's network once, to check the shape of its output."""
    arguments = [torch.zeros(2, *inputs)] + ([torch.zeros(2, context)] if context else [])
    training = net.training
    try:
        with torch.no_grad():
            shape = tuple(net.eval()(*arguments).shape)
    except Exception as error:
        needs = f"a context with {context} features and x" if context else "x"
        raise VariedError(
            f"The {axis} failed on {needs} of shape {(2, *inputs)} ({type(error).__name__}: "
            f"{error}); it must return an output of shape {(2, *outputs)}."
        ) from error
    finally:
        net.train(training)
    if shape != (2, *outputs):
        raise VariedError(
            f"The {axis} returns shape {shape} for an input of shape {(2, *inputs)}, but the "
            f"{_CONSUMERS.get(axis, 'model')} requires {(2, *outputs)}."
        )


# Incompatible parts


def _check_parts(spec: Spec, objective: Objective) -> None:
    """Raise an error for incompatible parts, before the model is built."""
    posterior, prior = spec.posterior.builder("posterior"), spec.prior.builder("prior")
    lookup(CONTEXTS, spec.conditioning, "conditioning")
    fixed = spec.architecture.builder("architecture").fixed_axes
    for axis in fixed:
        part = getattr(spec, axis)
        if part != getattr(Spec, axis):
            name = part.name if isinstance(part, Part) else part
            raise VariedError(
                f"architecture='{spec.architecture.name}' has its own {axis}; omit "
                f"{axis}='{name}', or use architecture='vae'."
            )
    sides = [side for side in SIDES if getattr(spec, side) is not None]
    if sides and spec.architecture.name != "vae":
        raise VariedError(
            f"architecture='{spec.architecture.name}' builds several networks from net; omit "
            f"{' and '.join(sides)}, or use architecture='vae'."
        )
    if posterior.space != prior.space:
        names = [name for name, part in PRIORS.items() if part.space == posterior.space]
        raise VariedError(
            f"posterior='{spec.posterior.name}' has latent variables {_SPACES[posterior.space]}, "
            f"but prior='{spec.prior.name}' does not; use prior='{names[0]}'."
        )
    # A prior that is fitted after training is not used in the objective.
    required = objective.requires - (objective.requires if prior.fitted_later else {"codes"})
    for axis, part, needs in (
        ("posterior", posterior, objective.requires),
        ("prior", prior, required),
    ):
        missing = sorted(needs - part.provides)
        if missing:
            raise VariedError(_missing(spec, axis, missing[0], objective.requires, part.provides))


def _check_model(spec: Spec, objective: Objective, model: LatentModel) -> None:
    """Raise an error if the objective is not supported, or leaves part of the model untrained."""
    architecture, name = spec.architecture.name, spec.objective.name
    has_posterior = "posterior" in spec.architecture.builder("architecture").fixed_axes
    missing = sorted(objective.requires - model.provides) if has_posterior else []
    if missing:
        raise VariedError(
            f"objective='{name}' requires a posterior with {_REQUIREMENTS[missing[0]]}, which "
            f"architecture='{architecture}' does not have; use objective='m2' if the model has "
            "classes, or architecture='vae'."
        )
    if model.required_term and model.required_term not in objective.names:
        raise VariedError(
            f"objective='{name}' would leave a part of architecture='{architecture}' untrained; "
            "use objective='m1m2', or objective='m2' with joint=True."
        )


#: What uses the output of a network, by axis.
_CONSUMERS = {"encoder": "posterior", "decoder": "likelihood"}
_SPACES = {
    "real": "in real space",
    "sphere": "on a sphere",
    "simplex": "that are categorical",
    "real+simplex": "that are partly real, partly categorical",
    "codes": "from a codebook",
}
_DOMAINS = {
    "binary": "binary data (0 or 1)",
    "uint8": "8-bit data (0 to 255)",
    "unit-interval": "data in [0, 1]",
    "real": "real-valued data",
    "count": "counts",
    "table": "rows of a table",
    "one-hot": "sequences of tokens",
}
_REQUIREMENTS = {
    "density": "a density",
    "marginals": "independent dimensions",
    "codes": "codebook indices",
    "parts": "separate continuous and discrete latent variables",
}


def _wrong_domain(name: str, domain: str) -> str:
    names = [key for key, part in LIKELIHOODS.items() if domain in part.accepts]
    if domain not in _DOMAINS or not names:
        return (
            f"likelihood='{name}' does not support data of the domain '{domain}', and no other "
            "likelihood does; register one that accepts this domain."
        )
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    remedy = f"use likelihood='{names[0]}'{others}"
    if name == "bernoulli" and domain in ("uint8", "unit-interval"):
        remedy = "use binarize='dynamic', or likelihood='continuous-bernoulli'"
    return f"likelihood='{name}' does not support {_DOMAINS[domain]}; {remedy}."


def _missing(
    spec: Spec, axis: str, what: str, requires: frozenset[str], provides: frozenset[str]
) -> str:
    name, objective = getattr(spec, axis).name, spec.objective.name
    others = [key for key, part in AXES[axis].items() if requires <= part.provides]
    free = [key for key, build in OBJECTIVES.items() if build().requires <= provides]
    if objective in free:  # it requires more only with its current settings
        free = [f"{objective}' without '{', '.join(spec.objective.settings)}"]
    remedies = [f"{axis}='{key}'" for key in others[:1]] + [
        f"objective='{key}'" for key in free[:1]
    ]
    return (
        f"objective='{objective}' requires a {axis} with {_REQUIREMENTS[what]}, which "
        f"{axis}='{name}' does not have; use {' or '.join(remedies)}."
    )
