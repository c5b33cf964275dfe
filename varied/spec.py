"""Specifications of models: plain values that go to TOML and JSON and back.

`compose` builds a model and its objective from a `Spec`, or says in one sentence why the parts do
not go together and what to do.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import tomlkit
import torch
from torch import nn

from varied import registry
from varied.errors import VariedError, lookup, suggest
from varied.likelihoods import LIKELIHOODS
from varied.models import ARCHITECTURES, LatentModel, PartFactory
from varied.nets import CONTEXTS, NETS, with_context
from varied.objectives import OBJECTIVES, Objective
from varied.posteriors import POSTERIORS
from varied.priors import PRIORS, Prior
from varied.schema import settings, validate_settings
from varied.seeding import seeded
from varied.trace import ConditionalDistribution

#: The axes of a model: each is a table from a name to a part.
AXES: dict[str, Mapping[str, Any]] = {
    "architecture": ARCHITECTURES,
    "net": NETS,
    "likelihood": LIKELIHOODS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "objective": OBJECTIVES,
}
#: Axes that a spec may leave out: the network of one side, where it differs from ``net``.
SIDES: dict[str, Mapping[str, Any]] = {"encoder": NETS, "decoder": NETS}
TABLES = AXES | SIDES

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A part by its name, with the settings that differ from its defaults.

    A part that is not in a table is named "module:Class", and ``source`` holds the class, function
    or instance that the user passed.

    Example:
        >>> Part.parse({"name": "mlp", "width": 64})
        Part(name='mlp', settings={'width': 64})
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    source: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        values = {name: _plain_value(value) for name, value in self.settings.items()}
        object.__setattr__(self, "settings", values)

    @classmethod
    def parse(cls, value: Any) -> Part:
        """Return the part that a name, a table with a name and settings, or an object stands for.

        Raises:
            VariedError: If it is none of these.
        """
        if isinstance(value, Part):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            return cls(value["name"], {k: v for k, v in value.items() if k != "name"})
        if inspect.isclass(value) or inspect.isfunction(value):
            return cls(registry.qualified_name(value), {}, value)
        if isinstance(value, nn.Module):
            return cls(registry.qualified_name(value), _constructor_arguments(value), value)
        raise VariedError(
            f"A part is a name, a table with a name in it, a class, a function or an nn.Module, "
            f"not {type(value).__name__}."
        )

    @property
    def is_foreign(self) -> bool:
        """Whether the part is named by its module and class."""
        return ":" in self.name

    @property
    def instance(self) -> nn.Module | None:
        """The module that the user passed ready made, or None."""
        return self.source if isinstance(self.source, nn.Module) else None

    def builder(self, axis: str) -> Any:
        """Return the class or function that builds the part.

        Raises:
            VariedError: If there is no such part, or its module is not loaded.
        """
        if self.source is not None:
            return self.source if self.instance is None else type(self.source)
        if not self.is_foreign:
            return registry.find(axis, self.name, TABLES[axis])
        builder = registry.resolve(self.name)
        if builder is None:
            raise VariedError(missing_part(axis, self.name, self.name.partition(":")[0]))
        return builder

    def to_dict(self, axis: str | None = None) -> dict[str, Any]:
        """Return the name and the settings.

        Arguments:
            axis: Write out the defaults of this version for the part of that axis; None writes
                only the settings that were given.
        """
        defaults = {} if axis is None else self._defaults(axis)
        return {"name": self.name} | defaults | self.settings

    def without_defaults(self, axis: str) -> Part:
        """Return the part without the settings that are the defaults of this version."""
        defaults = self._defaults(axis)
        different = {k: v for k, v in self.settings.items() if defaults.get(k, ...) != v}
        return dataclasses.replace(self, settings=different)

    def _defaults(self, axis: str) -> dict[str, Any]:
        if self.is_foreign:
            return {}
        return {k: _plain_value(s.default) for k, s in settings(self.builder(axis)).items()}


def missing_part(axis: str, name: str, module: str) -> str:
    """Return the message for a part whose module is not loaded."""
    return (
        f"The {axis} '{name}' is defined in the module '{module}', which is not loaded: pass "
        f"--import {module.partition('.')[0]}.py, import the module before opening the run, install "
        f"the package that provides it, or pass the object as {axis}=."
    )


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if value is None:
        return "none"
    return value if isinstance(value, bool | int | float | str) else str(value)


def _constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the constructor's arguments that a module keeps as attributes of the same names."""
    plain = (bool, int, float, str)
    values = {
        name: getattr(module, name, None) for name in inspect.signature(type(module)).parameters
    }
    return {name: value for name, value in values.items() if isinstance(value, plain)}


@dataclass(frozen=True)
class Plan:
    """How to train: at most one of ``minutes``, ``epochs`` and ``steps`` sets the length.

    Arguments:
        batch_size: Rows per step.
        lr: The peak learning rate.
        lr_schedule: "cosine" and "linear" decay to zero over the run, "none" stays constant.
        lr_warmup: Steps over which the learning rate rises from zero.
        grad_clip: The largest gradient norm; larger gradients are scaled down to it.
        ema_decay: Decay of an exponential moving average of the weights, such as 0.999, which is
            then evaluated and saved; 0 keeps the weights of the last step.
        minutes: Minutes of training, without evaluation and plots.
        epochs: Passes over the training rows.
        steps: Training steps.
        seed: The random seed.
        precision: "float32", "bfloat16", or "auto" for the faster one as measured.
        compile: "yes", "no", or "auto" to compile runs that are long enough to benefit.
        threads: Processor threads; 0 takes the faster number as measured.
    """

    batch_size: int = 128
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    lr_warmup: int = 100
    grad_clip: float = 200.0
    ema_decay: float = 0.0
    minutes: float = 0.0
    epochs: float = 0.0
    steps: int = 0
    seed: int = 0
    precision: str = "auto"
    compile: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        choices = {
            "lr_schedule": ("cosine", "linear", "none"),
            "precision": ("auto", "float32", "bfloat16"),
            "compile": ("auto", "yes", "no"),
        }
        for name, values in choices.items():
            if getattr(self, name) not in values:
                raise VariedError(
                    f"{name}='{getattr(self, name)}' is unknown: choose from {', '.join(values)}."
                )
        for name in ("batch_size", "lr", "grad_clip"):
            if not getattr(self, name) > 0:
                raise VariedError(f"{name}={getattr(self, name)} must be above 0.")
        if not 0 <= self.ema_decay < 1:
            raise VariedError(
                f"ema_decay={self.ema_decay} must be at least 0 and below 1; 0.999 is common."
            )
        lengths = [name for name in ("minutes", "epochs", "steps") if getattr(self, name)]
        if len(lengths) > 1:
            raise VariedError(
                f"Give one of minutes, epochs and steps, not {' and '.join(lengths)}."
            )
        if min(self.minutes, self.epochs, self.steps) < 0:
            raise VariedError(f"{lengths[0]} must be above 0.")


#: Fields of a spec besides its parts and its plan.
_FIELDS = ("latent", "context", "conditioning")


@dataclass(frozen=True)
class Spec:
    """A complete model in plain values.

    Arguments:
        architecture: How the latent variables depend on each other.
        net: The network of encoder and decoder.
        likelihood: p(x | z).
        posterior: q(z | x).
        prior: p(z).
        objective: The training objective.
        encoder: The network of the encoder, where it differs from ``net``.
        decoder: The network of the decoder, where it differs from ``net``.
        latent: The number D of latent dimensions, or a shape such as (64, 7, 7), channels first.
        context: The number F of features of the context; 0 for an unconditional model.
        conditioning: How networks use the context: "concatenate" appends it to their input, "film"
            scales and shifts each hidden layer.
        plan: How to train.
    """

    architecture: Part = Part("vae")
    net: Part = Part("mlp")
    likelihood: Part = Part("bernoulli")
    posterior: Part = Part("gaussian")
    prior: Part = Part("standard-normal")
    objective: Part = Part("elbo")
    encoder: Part | None = None
    decoder: Part | None = None
    latent: int | Shape = 16
    context: int = 0
    conditioning: str = "concatenate"
    plan: Plan = Plan()

    @property
    def latent_shape(self) -> Shape:
        """The shape of one latent variable."""
        return (self.latent,) if isinstance(self.latent, int) else self.latent

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by axis, with encoder and decoder where they are set."""
        parts = {axis: getattr(self, axis) for axis in TABLES}
        return {axis: part for axis, part in parts.items() if part is not None}

    @property
    def sources(self) -> dict[str, Any]:
        """The classes, functions and modules that the user passed, by axis."""
        return {a: part.source for a, part in self.parts.items() if part.source is not None}

    @classmethod
    def parse(cls, **values: Any) -> Spec:
        """Return the spec of plain values and objects.

        Raises:
            VariedError: If a key, a name, a setting or a type is wrong; the message suggests the
                nearest.
        """
        fields = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in fields:
                raise VariedError(f"A spec has no key '{name}': {suggest(name, sorted(fields))}")
        parsed: dict[str, Any] = {
            axis: _validate_part(axis, Part.parse(values[axis]))
            for axis in TABLES
            if values.get(axis) is not None
        }
        parsed |= validate_settings(cls, {k: v for k, v in values.items() if k in _FIELDS}, "spec")
        plan = values.get("plan", Plan())
        if not isinstance(plan, Plan):
            plan = Plan(**validate_settings(Plan, plan, "plan"))
        return cls(**parsed, plan=plan)

    def to_dict(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return plain values: ``Spec.parse(**spec.to_dict()) == spec`` for parts from tables.

        Arguments:
            defaults: Whether to write out every default of this version, as a run stores it, so
                that a later version with other defaults reads the same model.
        """
        parts: dict[str, Any] = {
            axis: part.to_dict(axis if defaults else None) for axis, part in self.parts.items()
        }
        if not defaults:
            parts = {axis: part if len(part) > 1 else part["name"] for axis, part in parts.items()}
        latent = self.latent if isinstance(self.latent, int) else list(self.latent)
        fields = {"latent": latent, "context": self.context, "conditioning": self.conditioning}
        plan = dataclasses.asdict(self.plan)
        if not defaults:
            plan = {name: value for name, value in plan.items() if value != getattr(Plan, name)}
        return fields | parts | {"plan": plan}

    def without_defaults(self) -> Spec:
        """Return the spec without the settings of parts that are defaults of this version."""
        parts: dict[str, Any] = {a: part.without_defaults(a) for a, part in self.parts.items()}
        return dataclasses.replace(self, **parts)

    def to_toml(self, *, defaults: bool = False) -> str:
        """Return the spec as TOML text; ``defaults`` writes every default out.

        Example:
            >>> Spec.from_toml(Spec(latent=2).to_toml()) == Spec(latent=2)
            True
        """
        return tomlkit.dumps(self.to_dict(defaults=defaults))

    @classmethod
    def from_toml(cls, text: str) -> Spec:
        """Return the spec of a TOML text, such as the spec.toml of a run.

        Raises:
            VariedError: If it is not TOML, or not a spec.
        """
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise VariedError(f"The spec is not valid TOML: {error}.") from None
        return cls.parse(**{k: v for k, v in values.items() if k not in ("format", "origins")})

    @property
    def origins(self) -> dict[str, registry.Origin]:
        """The module and version of each part from outside the package, by axis."""
        origins = {}
        for axis, part in self.parts.items():
            if part.is_foreign:
                origins[axis] = registry.origin_of(part.builder(axis))
            elif (origin := registry.origin(axis, part.name)) is not None:
                origins[axis] = origin
        return origins


def _validate_part(axis: str, part: Part) -> Part:
    """Return a part with its settings in their types."""
    if part.is_foreign:
        return part
    checked = validate_settings(part.builder(axis), part.settings, f"{axis} '{part.name}'")
    return dataclasses.replace(part, settings=checked)


# From a spec to a model


def compose(spec: Spec, shape: Shape, domain: str | None = None) -> tuple[LatentModel, Objective]:
    """Build a model and its objective; the same seed gives the same weights.

    Arguments:
        spec: The parts.
        shape: The shape of one example, channels first.
        domain: The values of the data: "binary", "uint8" (k / 255), "unit-interval", "real" or
            "table"; None skips the check of the likelihood.

    Returns:
        The model, with float32 weights on the CPU, and the objective.

    Raises:
        VariedError: If the parts do not go together; the message names the remedy.
    """
    if min(spec.latent_shape, default=0) < 1:
        raise VariedError(f"latent={spec.latent} must be at least 1; 16 to 64 is a good start.")
    accepts = spec.likelihood.builder("likelihood").accepts
    if domain is not None and domain not in accepts:
        raise VariedError(_wrong_domain(spec.likelihood.name, domain))
    with seeded(spec.plan.seed, "weights"):
        objective: Objective = _build(spec, "objective")
        _check_parts(spec, objective)
        model: LatentModel = _build(spec, "architecture", _factory(spec, shape))
        _check_model(spec, objective, model)
        objective.attach(model)
    return model, objective


def compose_prior(spec: Spec, part: Part, encoder: ConditionalDistribution) -> Prior:
    """Build a prior for the latent variables of an existing model.

    Arguments:
        spec: The parts of the model.
        part: The prior and its settings.
        encoder: The encoder of the model.

    Raises:
        VariedError: If there is no such prior, or it has no such setting.
    """
    with seeded(spec.plan.seed, "prior"):
        factory = _factory(dataclasses.replace(spec, prior=part), encoder.inputs)
        prior: Prior = factory.prior(encoder.head.event_shape, spec.context)
        prior.attach(encoder)
    return prior


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
    """Build the part of an axis; an instance that the user passed is copied."""
    part = spec.parts[axis]
    if part.instance is not None:
        return copy.deepcopy(part.instance)
    builder = part.builder(axis)
    checked = validate_settings(builder, part.settings, f"{axis} '{part.name}'")
    return builder(*arguments, **checked)


def _build_net(spec: Spec, axis: str, inputs: Shape, outputs: Shape, context: int) -> nn.Module:
    """Build a network from one shape to another that takes a context of so many features."""
    part = spec.parts[axis]
    if part.instance is None and _takes_shapes(part.builder(axis)):
        build = lambda wider: _build(spec, axis, wider, outputs)  # noqa: E731
        return with_context(build, inputs, context, spec.conditioning)
    net = _build_module(axis, part)
    _check_net(axis, net, inputs, outputs, context)
    return net


def _takes_shapes(builder: Callable[..., Any]) -> bool:
    """Whether a network builder is called with the input and the output shape."""
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
            f"({error}): pass the object as {axis}=, or keep each argument of its constructor as an "
            "attribute of the same name."
        ) from None
    return module


def _check_net(axis: str, net: nn.Module, inputs: Shape, outputs: Shape, context: int) -> None:
    """Run a network of the user once, to compare its output with what is needed."""
    arguments = [torch.zeros(2, *inputs)] + ([torch.zeros(2, context)] if context else [])
    training = net.training
    try:
        with torch.no_grad():
            shape = tuple(net.eval()(*arguments).shape)
    except Exception as error:
        needs = f"(x, c) with {context} features of context" if context else "x"
        raise VariedError(
            f"The {axis} failed on {needs} of shape {(2, *inputs)} ({type(error).__name__}: {error}); "
            f"it must return shape {(2, *outputs)}."
        ) from error
    finally:
        net.train(training)
    if shape != (2, *outputs):
        raise VariedError(
            f"The {axis} returns shape {shape} for an input of shape {(2, *inputs)}, and the "
            f"{'posterior' if axis == 'encoder' else 'likelihood'} needs {(2, *outputs)}."
        )


# What does not go together


def _check_parts(spec: Spec, objective: Objective) -> None:
    """Refuse parts that do not go together, before the model is built."""
    posterior, prior = spec.posterior.builder("posterior"), spec.prior.builder("prior")
    lookup(CONTEXTS, spec.conditioning, "conditioning")
    fixed = spec.architecture.builder("architecture").fixed_axes
    for axis in fixed:
        part = getattr(spec, axis)
        if part != getattr(Spec, axis):
            name = part.name if isinstance(part, Part) else part
            raise VariedError(
                f"architecture='{spec.architecture.name}' has its own {axis}: leave out "
                f"{axis}='{name}', or use architecture='vae'."
            )
    sides = [side for side in SIDES if getattr(spec, side) is not None]
    if sides and spec.architecture.name != "vae":
        raise VariedError(
            f"architecture='{spec.architecture.name}' builds several networks from net: leave out "
            f"{' and '.join(sides)}, or use architecture='vae'."
        )
    if posterior.space != prior.space:
        names = [name for name, part in PRIORS.items() if part.space == posterior.space]
        raise VariedError(
            f"posterior='{spec.posterior.name}' has latent variables {_SPACES[posterior.space]}, "
            f"and prior='{spec.prior.name}' does not; use prior='{names[0]}'."
        )
    # A prior that is fitted after training takes no part in the objective.
    required = objective.requires - (objective.requires if prior.fitted_later else {"codes"})
    for axis, part, needs in (
        ("posterior", posterior, objective.requires),
        ("prior", prior, required),
    ):
        missing = sorted(needs - part.provides)
        if missing:
            raise VariedError(_missing(spec, axis, missing[0], objective.requires, part.provides))


def _check_model(spec: Spec, objective: Objective, model: LatentModel) -> None:
    """Refuse an objective that the model cannot serve, or that leaves a part untrained."""
    architecture, name = spec.architecture.name, spec.objective.name
    has_posterior = "posterior" in spec.architecture.builder("architecture").fixed_axes
    missing = sorted(objective.requires - model.provides) if has_posterior else []
    if missing:
        raise VariedError(
            f"objective='{name}' needs {_REQUIREMENTS[missing[0]]} of the posterior, which "
            f"architecture='{architecture}' does not have; use objective='m2', or "
            "architecture='vae'."
        )
    if model.required_term and model.required_term not in objective.names:
        raise VariedError(
            f"objective='{name}' would leave a part of architecture='{architecture}' untrained; use "
            "objective='m1m2', or with joint=True objective='m2'."
        )


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
    "table": "rows of a table",
}
_REQUIREMENTS = {
    "density": "the density",
    "marginals": "independent dimensions",
    "codes": "the codebook indices",
    "parts": "separate continuous and discrete latent variables",
}


def _wrong_domain(name: str, domain: str) -> str:
    names = [key for key, part in LIKELIHOODS.items() if domain in part.accepts]
    if domain not in _DOMAINS or not names:
        return (
            f"likelihood='{name}' does not fit data of the domain '{domain}', nor does any other."
        )
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    remedy = f"use likelihood='{names[0]}'{others}"
    if name == "bernoulli" and domain in ("uint8", "unit-interval"):
        remedy = "use binarize='dynamic', or likelihood='continuous-bernoulli'"
    return f"likelihood='{name}' does not fit {_DOMAINS[domain]}; {remedy}."


def _missing(
    spec: Spec, axis: str, what: str, requires: frozenset[str], provides: frozenset[str]
) -> str:
    name, objective = getattr(spec, axis).name, spec.objective.name
    others = [key for key, part in AXES[axis].items() if requires <= part.provides]
    free = [key for key, build in OBJECTIVES.items() if build().requires <= provides]
    if objective in free:  # one of its settings requires more than its defaults do
        free = [f"{objective}' without '{', '.join(spec.objective.settings)}"]
    remedies = [f"{axis}='{key}'" for key in others[:1]] + [
        f"objective='{key}'" for key in free[:1]
    ]
    return (
        f"objective='{objective}' needs {_REQUIREMENTS[what]} of the {axis}, which {axis}='{name}' "
        f"does not have; use {' or '.join(remedies)}."
    )
