"""Specifications of models: plain values that go to TOML and JSON and back.

`varied.compose` builds a model and its objective from a `Spec`.
"""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from torch import nn

from varied import registry
from varied.errors import VariedError, suggest
from varied.likelihoods import LIKELIHOODS
from varied.models import ARCHITECTURES
from varied.nets import NETS
from varied.objectives import OBJECTIVES
from varied.posteriors import POSTERIORS
from varied.priors import PRIORS
from varied.schema import settings, validate_settings

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


def registered_kind(axis: str) -> str:
    """Return the kind of part that an axis takes, as in `varied.register`."""
    return "net" if axis in SIDES else axis


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
            raise VariedError(f"{lengths[0]}={getattr(self, lengths[0])} must be above 0.")


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
                if not registry.is_own(part.name):
                    origins[axis] = registry.origin_of(part.builder(axis))
            elif (origin := registry.origin(registered_kind(axis), part.name)) is not None:
                origins[axis] = origin
        return origins


def _validate_part(axis: str, part: Part) -> Part:
    """Return a part with its settings in their types; a class of a table gets its name there."""
    names = [name for name, builder in TABLES[axis].items() if builder is part.source]
    if names:
        part = Part(names[0], part.settings)
    if part.is_foreign:
        return part
    checked = validate_settings(part.builder(axis), part.settings, f"{axis} '{part.name}'")
    return dataclasses.replace(part, settings=checked)
