"""Specifications of models in plain Python values, which can be stored as TOML or JSON.

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

#: The axes of a model, each with its table of parts by name.
AXES: dict[str, Mapping[str, Any]] = {
    "architecture": ARCHITECTURES,
    "net": NETS,
    "likelihood": LIKELIHOODS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "objective": OBJECTIVES,
}
#: Optional axes: the network of the encoder or the decoder, if it differs from ``net``.
SIDES: dict[str, Mapping[str, Any]] = {"encoder": NETS, "decoder": NETS}
TABLES = AXES | SIDES

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """The name of a part, and the settings that differ from the defaults.

    A part that is not registered is named "module:Class", and ``source`` contains the class,
    function or instance that the user passed.

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
        """Return a part from a name, a mapping with a name and settings, or an object.

        Raises:
            VariedError: If the value is none of these.
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
            "A part must be a name, a mapping with the key 'name', a class, a function or an "
            f"nn.Module, not {type(value).__name__}."
        )

    @property
    def is_foreign(self) -> bool:
        """Whether the part is external, with a name of the form "module:name"."""
        return ":" in self.name

    @property
    def instance(self) -> nn.Module | None:
        """The `torch.nn.Module` instance that the user passed, or None."""
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
            axis: If set, the default settings of this version for this axis are included; if None,
                only the settings that the part specifies are included.
        """
        defaults = {} if axis is None else self._defaults(axis)
        return {"name": self.name} | defaults | self.settings

    def without_defaults(self, axis: str) -> Part:
        """Return the part without the settings that equal the defaults of this version."""
        defaults = self._defaults(axis)
        different = {k: v for k, v in self.settings.items() if defaults.get(k, ...) != v}
        return dataclasses.replace(self, settings=different)

    def _defaults(self, axis: str) -> dict[str, Any]:
        if self.is_foreign:
            return {}
        return {k: _plain_value(s.default) for k, s in settings(self.builder(axis)).items()}


def registered_kind(axis: str) -> str:
    """Return the kind of part that an axis accepts, as in `varied.register`."""
    return "net" if axis in SIDES else axis


def missing_part(axis: str, name: str, module: str) -> str:
    """Return the error message for a part whose module is not loaded."""
    return (
        f"The {axis} '{name}' is defined in the module '{module}', which is not loaded; use "
        f"--import {module.partition('.')[0]}.py, import the module before opening the run, "
        f"install the package that provides it, or pass the object as {axis}=."
    )


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if value is None:
        return "none"
    return value if isinstance(value, bool | int | float | str) else str(value)


def _constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the constructor arguments that a module stores in attributes of the same names."""
    plain = (bool, int, float, str)
    values = {
        name: getattr(module, name, None) for name in inspect.signature(type(module)).parameters
    }
    return {name: value for name, value in values.items() if isinstance(value, plain)}


@dataclass(frozen=True)
class Plan:
    """The training plan, with a duration in ``epochs`` or ``steps``, in ``minutes``, or both.

    Arguments:
        batch_size: The number of rows per step.
        lr: The peak learning rate.
        lr_schedule: "cosine" or "linear" decay to zero over the run, or "none" for a constant
            learning rate.
        lr_warmup: The number of steps over which the learning rate rises from zero.
        grad_clip: The maximum gradient norm; larger gradients are scaled down to this norm.
        ema_decay: The decay of an exponential moving average of the weights, such as 0.999. The
            averaged weights are evaluated and saved; 0 uses the weights of the last step.
        minutes: The training time in minutes, excluding evaluation and plots. If ``epochs`` or
            ``steps`` is also set, training ends at whichever limit is reached first.
        epochs: The number of passes over the training rows.
        steps: The number of training steps.
        patience: The number of evaluations on validation rows (one for each epoch of at least 20
            steps) without a lower loss after which training is stopped early; 0 turns this off.
            The weights with the lowest loss are restored, and training continues for a tenth of the
            completed steps while the learning rate decays to zero. Evaluations are not counted
            before all schedules have reached their final values. Models with a discriminator are
            not stopped early.
        max_shift: The maximum number of pixels by which each training image is shifted at random in
            each step, horizontally and vertically, which reduces overfitting to few images. Edge
            pixels are repeated.
        property_weight: The weight of a loss that trains the latent variables to predict the
            numeric properties of the examples: labels, numeric columns and, for molecules, QED,
            logP, TPSA, weight and size. With 0, properties are not used in training.
        seed: The random seed.
        precision: "float32", "bfloat16", or "auto" to use the one that is measured to be faster on
            a CPU, and bfloat16 on a GPU.
        compile: "yes", "no", or "auto" to compile the training step only on a CPU, and only if this
            is expected to save time.
        threads: The number of CPU threads; 0 uses the number that is measured to be fastest, and
            one thread while other programs use the cores.
        deterministic: Whether to use float32, one thread and no compilation, except where
            ``precision``, ``threads`` and ``compile`` are set, instead of what is measured to be
            fastest, and only deterministic GPU operations. The weights are then the same on all
            machines of the same kind with the same versions of PyTorch and Varied. It cannot be
            combined with ``minutes``.
        ex_post_prior: "auto" to replace a standard normal prior after training with a Gaussian
            mixture fitted to the codes if this raises the ELBO of held-out rows, or "no".
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
    patience: int = 0
    max_shift: int = 0
    property_weight: float = 0.0
    seed: int = 0
    precision: str = "auto"
    compile: str = "auto"
    threads: int = 0
    deterministic: bool = False
    ex_post_prior: str = "auto"

    def __post_init__(self) -> None:
        choices = {
            "ex_post_prior": ("auto", "no"),
            "lr_schedule": ("cosine", "linear", "none"),
            "precision": ("auto", "float32", "bfloat16"),
            "compile": ("auto", "yes", "no"),
        }
        for name, values in choices.items():
            if getattr(self, name) not in values:
                raise VariedError(
                    f"{name}={getattr(self, name)!r} is not supported; choose from "
                    f"{', '.join(values)}."
                )
        if self.deterministic and self.minutes:
            raise VariedError(
                f"A deterministic training run cannot have minutes={self.minutes:g}, since the "
                "number of steps would depend on the speed; use epochs or steps."
            )
        for name in ("batch_size", "lr", "grad_clip"):
            if not getattr(self, name) > 0:
                raise VariedError(f"{name}={getattr(self, name)} must be above 0.")
        if not 0 <= self.ema_decay < 1:
            raise VariedError(
                f"ema_decay={self.ema_decay} must be at least 0 and below 1; 0.999 is typical."
            )
        for name in ("minutes", "epochs", "steps", "patience", "max_shift", "property_weight"):
            if getattr(self, name) < 0:
                raise VariedError(f"{name}={getattr(self, name)} must not be negative.")
        if self.epochs and self.steps:
            raise VariedError("Only one of epochs and steps can be set; omit the other one.")


#: Fields of a spec besides its parts and its plan.
_FIELDS = ("latent", "context", "conditioning")


@dataclass(frozen=True)
class Spec:
    """The complete specification of a model, in plain Python values (strings, numbers and lists).

    Arguments:
        architecture: How the latent variables depend on each other.
        net: The network of the encoder and the decoder.
        likelihood: The likelihood p(x | z).
        posterior: The approximate posterior q(z | x).
        prior: The prior p(z).
        objective: The training objective.
        encoder: The network of the encoder, if it differs from ``net``.
        decoder: The network of the decoder, if it differs from ``net``.
        latent: The number D of latent dimensions, or a shape such as (64, 7, 7), channels first.
        context: The number F of context features; 0 for an unconditional model.
        conditioning: How networks use the context: "concatenate" appends it to their input, and
            "film" uses it to scale and shift each hidden layer.
        plan: The training plan.
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
        """The parts by axis, including the encoder and the decoder if they are set."""
        parts = {axis: getattr(self, axis) for axis in TABLES}
        return {axis: part for axis, part in parts.items() if part is not None}

    @property
    def sources(self) -> dict[str, Any]:
        """The classes, functions and modules that the user passed, by axis."""
        return {a: part.source for a, part in self.parts.items() if part.source is not None}

    @classmethod
    def parse(cls, **values: Any) -> Spec:
        """Return a spec from plain Python values and objects.

        Raises:
            VariedError: If a key, name or setting is unknown, or a value has the wrong type; for
                unknown names, the message suggests the most similar one.
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
        if not isinstance(plan, Plan | Mapping):
            raise VariedError(f"plan={plan!r} must be a table of training settings.")
        if not isinstance(plan, Plan):
            plan = Plan(**validate_settings(Plan, plan, "plan"))
        return cls(**parsed, plan=plan)

    def to_dict(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return plain Python values from which `parse` creates an equal spec.

        Parts that the user passed as objects are included by name only.

        Arguments:
            defaults: Whether to include every default of this version, as in the spec of a run, so
                that a later version with different defaults builds the same model.
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
        """Return the spec without the part settings that equal the defaults of this version."""
        parts: dict[str, Any] = {a: part.without_defaults(a) for a, part in self.parts.items()}
        return dataclasses.replace(self, **parts)

    def to_toml(self, *, defaults: bool = False) -> str:
        """Return the spec as TOML text; ``defaults`` includes every default, as in `to_dict`.

        Example:
            >>> Spec.from_toml(Spec(latent=2).to_toml()) == Spec(latent=2)
            True
        """
        return tomlkit.dumps(self.to_dict(defaults=defaults))

    @classmethod
    def from_toml(cls, text: str) -> Spec:
        """Parse a spec from TOML text, such as the spec.toml of a run.

        Raises:
            VariedError: If the text is not valid TOML, or does not contain a spec.
        """
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise VariedError(f"The spec is not valid TOML ({error}); correct it.") from None
        return cls.parse(**{k: v for k, v in values.items() if k not in ("format", "origins")})

    @property
    def origins(self) -> dict[str, registry.Origin]:
        """The module and version of each external part, by axis."""
        origins = {}
        for axis, part in self.parts.items():
            if part.is_foreign:
                if not registry.is_own(part.name):
                    origins[axis] = registry.origin_of(part.builder(axis))
            elif (origin := registry.origin(registered_kind(axis), part.name)) is not None:
                origins[axis] = origin
        return origins


def _validate_part(axis: str, part: Part) -> Part:
    """Convert the settings of a part to their types; a registered class is stored by its name."""
    names = [name for name, builder in TABLES[axis].items() if builder is part.source]
    if names:
        part = Part(names[0], part.settings)
    if part.is_foreign:
        return part
    checked = validate_settings(part.builder(axis), part.settings, f"{axis} '{part.name}'")
    return dataclasses.replace(part, settings=checked)
