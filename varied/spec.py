"""A model written down in plain values, and made from them.

``Spec`` goes to TOML and JSON and back. `compose` makes the model, or says in one sentence why the
parts do not go together and what to do.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit

from varied.errors import VariedError, nearest, pick
from varied.likelihoods import LIKELIHOODS, Likelihood
from varied.models import VAE
from varied.nets import NETS, with_context
from varied.objectives import OBJECTIVES, Objective
from varied.posteriors import POSTERIORS, Posterior
from varied.priors import PRIORS, Prior
from varied.randomness import noise
from varied.schema import checked, settings
from varied.trace import Given

__all__ = ["AXES", "Part", "Plan", "Spec", "compose"]

#: The axes of the design: each a table from a name to a part.
AXES: dict[str, Mapping[str, Any]] = {
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
        batch: Rows in each step.
        lr: The learning rate at its highest.
        decay: "cosine" falls to zero over the run, "linear" too, "none" stays.
        warmup: Steps over which the learning rate rises from zero.
        clip: The largest norm of the gradient; a step above it is scaled down.
        minutes: Minutes of training, not counting evaluation and pictures.
        epochs: Passes over the training rows.
        steps: Steps of one batch.
        seed: All noise follows from it.
        precision: "auto" takes the faster one as measured, "float32" or "bfloat16".
        compile: "auto" compiles where the run is long enough to repay it, "yes" or "no".
        threads: Processor threads; 0 takes the faster number as measured.
    """

    batch: int = 128
    lr: float = 1e-3
    decay: str = "cosine"
    warmup: int = 100
    clip: float = 200.0
    minutes: float = 0.0
    epochs: float = 0.0
    steps: int = 0
    seed: int = 0
    precision: str = "auto"
    compile: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        choices = {
            "decay": ("cosine", "linear", "none"),
            "precision": ("auto", "float32", "bfloat16"),
            "compile": ("auto", "yes", "no"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise VariedError(
                    f"{name}='{getattr(self, name)}' is not known: choose from {', '.join(known)}."
                )
        for name in ("batch", "lr", "clip"):
            if not getattr(self, name) > 0:
                raise VariedError(f"{name}={getattr(self, name)} must be above 0.")
        lengths = [name for name in ("minutes", "epochs", "steps") if getattr(self, name)]
        if len(lengths) > 1:
            raise VariedError(
                f"Give one of minutes, epochs and steps, not {' and '.join(lengths)}."
            )
        if min(self.minutes, self.epochs, self.steps) < 0:
            raise VariedError(f"{lengths[0]} must be above 0.")


@dataclass(frozen=True)
class Spec:
    """A whole model in plain values.

    Arguments:
        net: The network of encoder and decoder.
        likelihood: p(x given z).
        posterior: q(z given x).
        prior: p(z).
        objective: What is minimised.
        latent: The number D of latent dimensions.
        context: The number F of features of the context; 0 for none.
        plan: How to train.
    """

    net: Part = Part("mlp")
    likelihood: Part = Part("bernoulli")
    posterior: Part = Part("gaussian")
    prior: Part = Part("standard-normal")
    objective: Part = Part("elbo")
    latent: int = 16
    context: int = 0
    plan: Plan = Plan()

    @classmethod
    def of(cls, **values: Any) -> Spec:
        """Read a spec from plain values; an unknown key is refused with the nearest one.

        Raises:
            VariedError: If a key, a name, a setting or a type is wrong.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise VariedError(f"A spec has no key '{name}': {nearest(name, sorted(known))}")
        read: dict[str, Any] = {axis: Part.of(values[axis]) for axis in AXES if axis in values}
        for axis, part in read.items():
            build = pick(AXES[axis], part.name, axis)
            kept = checked(build, part.settings, f"{axis} '{part.name}'")
            read[axis] = Part(part.name, kept)
        read |= checked(
            cls, {k: v for k, v in values.items() if k in ("latent", "context")}, "spec"
        )
        plan = values.get("plan", Plan())
        read["plan"] = plan if isinstance(plan, Plan) else Plan(**checked(Plan, plan, "plan"))
        return cls(**read)

    @property
    def plain(self) -> dict[str, Any]:
        """The plain form: `Spec.of(**spec.plain) == spec`."""
        axes = {axis: getattr(self, axis).plain for axis in AXES}
        plan = {k: v for k, v in dataclasses.asdict(self.plan).items() if v != getattr(Plan, k)}
        return {"latent": self.latent, "context": self.context, **axes, "plan": plan}

    def to_toml(self) -> str:
        """Return the spec as TOML text.

        Example:
            >>> Spec.from_toml(Spec(latent=2).to_toml()) == Spec(latent=2)
            True
        """
        return tomlkit.dumps(self.plain)

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


def compose(spec: Spec, shape: tuple[int, ...], domain: str | None = None) -> tuple[VAE, Objective]:
    """Make the model and its objective; the same seed makes the same weights.

    Arguments:
        spec: The parts.
        shape: The shape of one datum, channels first.
        domain: What the data are: "binary", "levels", "unit" or "real"; None leaves it unchecked.

    Returns:
        The model, with float32 weights on the CPU, and the objective.

    Raises:
        VariedError: If the parts cannot go together, in one sentence with the way out.
    """
    if spec.latent < 1:
        raise VariedError(f"latent={spec.latent} must be at least 1; 16 to 64 is a good start.")
    latent = (spec.latent,)
    with noise(spec.plan.seed, "weights"):
        likelihood: Likelihood = _make(spec, "likelihood", shape)
        posterior: Posterior = _make(spec, "posterior", latent)
        prior: Prior = _make(spec, "prior", latent)
        objective: Objective = _make(spec, "objective")
        _refuse(spec, likelihood, posterior, prior, objective, domain)
        encoder = Given(_net(spec, shape, posterior.raw), posterior, shape)
        decoder = Given(_net(spec, latent, likelihood.raw), likelihood, latent)
    return VAE(encoder, decoder, prior), objective


def _make(spec: Spec, axis: str, *nouns: Any) -> Any:
    part: Part = getattr(spec, axis)
    build = pick(AXES[axis], part.name, axis)
    return build(*nouns, **checked(build, part.settings, f"{axis} '{part.name}'"))


def _net(spec: Spec, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Any:
    return with_context(lambda shape: _make(spec, "net", shape, outputs), inputs, spec.context)


def _refuse(
    spec: Spec,
    likelihood: Likelihood,
    posterior: Posterior,
    prior: Prior,
    objective: Objective,
    domain: str | None,
) -> None:
    if domain is not None and domain not in likelihood.accepts:
        raise VariedError(_wrong_domain(spec.likelihood.name, domain))
    for axis, gives in (("posterior", posterior.gives), ("prior", prior.gives)):
        missing = sorted(objective.reads - gives)
        if missing:
            raise VariedError(_missing(spec, axis, missing[0], objective.reads, gives))


_DOMAINS = {
    "binary": "black or white (0 or 1)",
    "levels": "grey levels (0 to 255)",
    "unit": "numbers in [0, 1]",
    "real": "real numbers",
}


def _wrong_domain(name: str, domain: str) -> str:
    fits = [key for key, part in LIKELIHOODS.items() if domain in part.accepts]
    way = f"use likelihood='{fits[0]}' (or {', '.join(fits[1:])})"
    if name == "bernoulli" and domain in ("levels", "unit"):
        way = "binarize it with binarize='dynamic', or use likelihood='continuous-bernoulli'"
    return (
        f"likelihood='{name}' is no probability for this data, which is {_DOMAINS[domain]}; {way}."
    )


_READINGS = {"density": "the density", "marginals": "independent dimensions"}


def _missing(spec: Spec, axis: str, what: str, reads: frozenset[str], gives: frozenset[str]) -> str:
    name, objective = getattr(spec, axis).name, spec.objective.name
    others = [key for key, part in AXES[axis].items() if reads <= part.gives]
    free = [key for key, build in OBJECTIVES.items() if build().reads <= gives]
    ways = [f"{axis}='{key}'" for key in others] + [f"objective='{key}'" for key in free]
    return (
        f"objective='{objective}' reads {_READINGS[what]} of the {axis}; {axis}='{name}' has none; "
        f"use {' or '.join(ways)}."
    )


def owners(spec: Spec, setting: str) -> list[str]:
    """Return the axes (or "plan") of a spec whose part has a setting of that name."""
    found = [axis for axis in AXES if setting in settings(AXES[axis][getattr(spec, axis).name])]
    return found + (["plan"] if setting in settings(Plan) else [])
