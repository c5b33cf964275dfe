"""A model written down in plain values, and made from them.

``Spec`` goes to TOML and JSON and back. `compose` makes the model, or says in one sentence why the
parts do not go together and what to do.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import tomlkit

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

__all__ = ["AXES", "Part", "Plan", "Spec", "compose", "compose_prior"]

#: The axes of the design: each a table from a name to a part.
AXES: dict[str, Mapping[str, Any]] = {
    "architecture": ARCHITECTURES,
    "net": NETS,
    "likelihood": LIKELIHOODS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "objective": OBJECTIVES,
}


@dataclass(frozen=True)
class Part:
    """A row of a table by its name, with the settings that differ from its defaults.

    Example:
        >>> Part.of({"name": "mlp", "width": 64})
        Part(name='mlp', settings={'width': 64})
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = {name: _plain(value) for name, value in self.settings.items()}
        object.__setattr__(self, "settings", plain)

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | Part) -> Part:
        """Read a part from its plain form: a name, or a table with a name and settings."""
        if isinstance(value, Part):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise VariedError(f"{value!r} is no part; write a name, or a table with a name in it.")
        return cls(value["name"], {k: v for k, v in value.items() if k != "name"})

    @property
    def plain(self) -> str | dict[str, Any]:
        """The plain form."""
        if not self.settings:
            return self.name
        return {"name": self.name} | self.settings

    def full(self, axis: str) -> dict[str, Any]:
        """Return the plain form with the defaults of this version of the library written out."""
        return {"name": self.name} | self._defaults(axis) | self.settings

    def brief(self, axis: str) -> Part:
        """Return the part without the settings that are the defaults of this version."""
        usual = self._defaults(axis)
        kept = {k: v for k, v in self.settings.items() if k not in usual or usual[k] != v}
        return Part(self.name, kept)

    def _defaults(self, axis: str) -> dict[str, Any]:
        build = lookup(AXES[axis], self.name, axis)
        return {name: _plain(setting.default) for name, setting in settings(build).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if value is None:
        return "none"
    return value if isinstance(value, bool | int | float | str) else str(value)


@dataclass(frozen=True)
class Plan:
    """How to train: one of ``minutes``, ``epochs`` and ``steps`` says how long.

    Arguments:
        batch_size: Rows in each step.
        lr: The learning rate at its highest.
        lr_schedule: "cosine" falls to zero over the run, "linear" too, "none" stays.
        lr_warmup: Steps over which the learning rate rises from zero.
        grad_clip: The largest norm of the gradient; a step above it is scaled down.
        ema_decay: The decay of an exponential moving average of the weights, such as 0.999, which is then
            what is measured and kept; 0 keeps the weights of the last step.
        minutes: Minutes of training, not counting evaluation and pictures.
        epochs: Passes over the training rows.
        steps: Steps of one batch.
        seed: All noise follows from it.
        precision: "auto" takes the faster one as measured, "float32" or "bfloat16".
        compile: "auto" compiles where the run is long enough to repay it, "yes" or "no".
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
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise VariedError(
                    f"{name}='{getattr(self, name)}' is not known: choose from {', '.join(known)}."
                )
        for name in ("batch_size", "lr", "grad_clip"):
            if not getattr(self, name) > 0:
                raise VariedError(f"{name}={getattr(self, name)} must be above 0.")
        if not 0 <= self.ema_decay < 1:
            raise VariedError(
                f"ema_decay={self.ema_decay} must be from 0 to below 1; 0.999 is usual."
            )
        lengths = [name for name in ("minutes", "epochs", "steps") if getattr(self, name)]
        if len(lengths) > 1:
            raise VariedError(
                f"Give one of minutes, epochs and steps, not {' and '.join(lengths)}."
            )
        if min(self.minutes, self.epochs, self.steps) < 0:
            raise VariedError(f"{lengths[0]} must be above 0.")


#: What a spec holds besides its parts and its plan.
_PLAIN = ("latent", "context", "conditioning")


@dataclass(frozen=True)
class Spec:
    """A whole model in plain values.

    Arguments:
        architecture: How levels of latents hang together.
        net: The network of encoder and decoder.
        likelihood: p(x given z).
        posterior: q(z given x).
        prior: p(z).
        objective: What is minimized.
        latent: The number D of latent dimensions, or a shape such as (64, 7, 7), channels first.
        context: The number F of features of the context; 0 for none.
        conditioning: How nets read the context: "concatenate" puts it beside the input, "film" lets
            it scale and shift each hidden layer.
        plan: How to train.
    """

    architecture: Part = Part("vae")
    net: Part = Part("mlp")
    likelihood: Part = Part("bernoulli")
    posterior: Part = Part("gaussian")
    prior: Part = Part("standard-normal")
    objective: Part = Part("elbo")
    latent: int | tuple[int, ...] = 16
    context: int = 0
    conditioning: str = "concatenate"
    plan: Plan = Plan()

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one latent."""
        return (self.latent,) if isinstance(self.latent, int) else self.latent

    @classmethod
    def of(cls, **values: Any) -> Spec:
        """Read a spec from plain values; an unknown key is refused with the nearest one.

        Raises:
            VariedError: If a key, a name, a setting or a type is wrong.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise VariedError(f"A spec has no key '{name}': {suggest(name, sorted(known))}")
        read: dict[str, Any] = {axis: Part.of(values[axis]) for axis in AXES if axis in values}
        for axis, part in read.items():
            build = lookup(AXES[axis], part.name, axis)
            kept = validate_settings(build, part.settings, f"{axis} '{part.name}'")
            read[axis] = Part(part.name, kept)
        read |= validate_settings(cls, {k: v for k, v in values.items() if k in _PLAIN}, "spec")
        plan = values.get("plan", Plan())
        read["plan"] = (
            plan if isinstance(plan, Plan) else Plan(**validate_settings(Plan, plan, "plan"))
        )
        return cls(**read)

    @property
    def plain(self) -> dict[str, Any]:
        """The plain form: `Spec.of(**spec.plain) == spec`."""
        axes = {axis: getattr(self, axis).plain for axis in AXES}
        latent = self.latent if isinstance(self.latent, int) else list(self.latent)
        plan = {k: v for k, v in dataclasses.asdict(self.plan).items() if v != getattr(Plan, k)}
        told = {"context": self.context, "conditioning": self.conditioning}
        return {"latent": latent, **told, **axes, "plan": plan}

    @property
    def full(self) -> dict[str, Any]:
        """The plain form with every default written out, as a run keeps it.

        A later version of the library, whose defaults may be others, reads the same model from it:
        `Spec.of(**spec.full).brief() == spec.brief()`.
        """
        axes = {axis: getattr(self, axis).full(axis) for axis in AXES}
        return self.plain | axes | {"plan": dataclasses.asdict(self.plan)}

    def brief(self) -> Spec:
        """Return the spec without settings of parts that say what is the default anyway."""
        return dataclasses.replace(self, **{axis: getattr(self, axis).brief(axis) for axis in AXES})

    def to_toml(self, *, full: bool = False) -> str:
        """Return the spec as TOML text; ``full`` writes every default out.

        Example:
            >>> Spec.from_toml(Spec(latent=2).to_toml()) == Spec(latent=2)
            True
        """
        return tomlkit.dumps(self.full if full else self.plain)

    @classmethod
    def from_toml(cls, text: str) -> Spec:
        """Read a spec from TOML text.

        Raises:
            VariedError: If it is not TOML, or not a spec.
        """
        try:
            return cls.of(**tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise VariedError(f"The spec is not valid TOML: {error}.") from None


def compose(
    spec: Spec, shape: tuple[int, ...], domain: str | None = None
) -> tuple[LatentModel, Objective]:
    """Make the model and its objective; the same seed makes the same weights.

    Arguments:
        spec: The parts.
        shape: The shape of one datum, channels first.
        domain: What the data are: "binary", "levels", "unit", "real" or "table"; None leaves it
            unchecked.

    Returns:
        The model, with float32 weights on the CPU, and the objective.

    Raises:
        VariedError: If the parts cannot go together, in one sentence with the way out.
    """
    if min(spec.latent_shape, default=0) < 1:
        raise VariedError(f"latent={spec.latent} must be at least 1; 16 to 64 is a good start.")
    accepts = lookup(LIKELIHOODS, spec.likelihood.name, "likelihood").accepts
    if domain is not None and domain not in accepts:
        raise VariedError(_wrong_domain(spec.likelihood.name, domain))
    with seeded(spec.plan.seed, "weights"):
        objective: Objective = _make(spec, "objective")
        _refuse(spec, objective)
        model: LatentModel = _make(spec, "architecture", _factory(spec, shape))
        _refuse_model(spec, objective, model)
        objective.attach(model)
    return model, objective


def _factory(spec: Spec, shape: tuple[int, ...]) -> PartFactory:
    def net(inputs: tuple[int, ...], outputs: tuple[int, ...], context: int) -> Any:
        def build(wider: tuple[int, ...]) -> Any:
            return _make(spec, "net", wider, outputs)

        return with_context(build, inputs, context, spec.conditioning)

    def prior(event: tuple[int, ...], context: int) -> Any:
        reads_context = PRIORS[spec.prior.name].reads_context
        return _make(spec, "prior", event, *([context] if reads_context else []))

    return PartFactory(
        shape,
        spec.latent_shape,
        spec.context,
        net,
        partial(_make, spec, "likelihood"),
        partial(_make, spec, "posterior"),
        prior,
        spec.net.name,
    )


def _make(spec: Spec, axis: str, *nouns: Any) -> Any:
    part: Part = getattr(spec, axis)
    build = lookup(AXES[axis], part.name, axis)
    return build(*nouns, **validate_settings(build, part.settings, f"{axis} '{part.name}'"))


def _refuse(spec: Spec, objective: Objective) -> None:
    """Refuse what does not go together, before anything is made."""
    posterior = lookup(POSTERIORS, spec.posterior.name, "posterior")
    prior = lookup(PRIORS, spec.prior.name, "prior")
    lookup(CONTEXTS, spec.conditioning, "conditioning")
    for axis in _own(spec):
        chosen = getattr(spec, axis)
        if chosen != getattr(Spec, axis):
            raise VariedError(
                f"architecture='{spec.architecture.name}' has a {axis} of its own: leave out "
                f"{axis}='{getattr(chosen, 'name', chosen)}', or use architecture='vae'."
            )
    if posterior.space != prior.space:
        fits = [name for name, part in PRIORS.items() if part.space == posterior.space]
        raise VariedError(
            f"posterior='{spec.posterior.name}' puts latents {_SPACES[posterior.space]}, where "
            f"prior='{spec.prior.name}' has none; use prior='{fits[0]}'."
        )
    # A prior that is learned later, as that of codes is, takes no part in the training.
    reads = objective.requires - ({"codes"} if not prior.fitted_later else objective.requires)
    for axis, gives, read in (
        ("posterior", posterior.provides, objective.requires),
        ("prior", prior.provides, reads),
    ):
        missing = sorted(read - gives)
        if missing:
            raise VariedError(_missing(spec, axis, missing[0], objective.requires, gives))


def _own(spec: Spec) -> tuple[str, ...]:
    """Return what a structure has of its own, so that a spec cannot choose it."""
    return getattr(lookup(ARCHITECTURES, spec.architecture.name, "architecture"), "own", ())


def _refuse_model(spec: Spec, objective: Objective, model: LatentModel) -> None:
    """Refuse an objective that reads what a structure has not, or leaves a part of it untrained."""
    structure, name = spec.architecture.name, spec.objective.name
    missing = sorted(objective.requires - model.provides) if "posterior" in _own(spec) else []
    if missing:
        raise VariedError(
            f"objective='{name}' reads {_READINGS[missing[0]]} of the posterior, and "
            f"architecture='{structure}' has none; use objective='m2', or architecture='vae'."
        )
    if model.required_term and model.required_term not in objective.names:
        raise VariedError(
            f"objective='{name}' would leave a part of architecture='{structure}' untrained; use "
            "objective='m1m2', or with joint=True objective='m2'."
        )


_SPACES = {
    "real": "among real numbers",
    "sphere": "on a sphere",
    "simplex": "on classes",
    "real+simplex": "among numbers and on classes",
    "codes": "on the codes of a codebook",
}


_DOMAINS = {
    "binary": "black or white (0 or 1)",
    "levels": "gray levels (0 to 255)",
    "unit": "numbers in [0, 1]",
    "real": "real numbers",
    "table": "the rows of a table",
}


def _wrong_domain(name: str, domain: str) -> str:
    fits = [key for key, part in LIKELIHOODS.items() if domain in part.accepts]
    others = f" (or {', '.join(fits[1:])})" if fits[1:] else ""
    way = f"use likelihood='{fits[0]}'{others}"
    if name == "bernoulli" and domain in ("levels", "unit"):
        way = "binarize it with binarize='dynamic', or use likelihood='continuous-bernoulli'"
    return (
        f"likelihood='{name}' is no probability for this data, which is {_DOMAINS[domain]}; {way}."
    )


_READINGS = {
    "density": "the density",
    "marginals": "independent dimensions",
    "codes": "the codes",
    "parts": "numbers and a choice as parts",
}


def _missing(spec: Spec, axis: str, what: str, reads: frozenset[str], gives: frozenset[str]) -> str:
    name, objective = getattr(spec, axis).name, spec.objective.name
    others = [key for key, part in AXES[axis].items() if reads <= part.provides]
    free = [key for key, build in OBJECTIVES.items() if build().requires <= gives]
    if objective in free:  # it is a setting that reads more than the objective by itself does
        free = [f"{objective}' without '{', '.join(spec.objective.settings)}"]
    ways = [f"{axis}='{key}'" for key in others[:1]] + [f"objective='{key}'" for key in free[:1]]
    return (
        f"objective='{objective}' reads {_READINGS[what]} of the {axis}; {axis}='{name}' has none; "
        f"use {' or '.join(ways)}."
    )


def compose_prior(spec: Spec, part: Part, encoder: ConditionalDistribution) -> Prior:
    """Make a prior for the latents of a model that is there already.

    Arguments:
        spec: The parts of the model.
        part: The prior and its settings.
        encoder: The encoder of the model.

    Raises:
        VariedError: If there is no such prior, or it has no such setting.
    """
    with seeded(spec.plan.seed, "prior"):
        prior: Prior = _factory(dataclasses.replace(spec, prior=part), encoder.inputs).prior(
            encoder.head.event_shape, spec.context
        )
        prior.attach(encoder)
    return prior


def axes_with_setting(spec: Spec, setting: str) -> list[str]:
    """Return the axes (or "plan") of a spec whose part has a setting of that name."""
    found = [axis for axis in AXES if setting in settings(AXES[axis][getattr(spec, axis).name])]
    return found + (["plan"] if setting in settings(Plan) else [])
