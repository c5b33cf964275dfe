"""What to train: from a name, the data and what the person asked for, to a spec."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from varied.data import Codec, ContextCodec, RawData, fit_codec
from varied.data.codecs.column_types import TARGET
from varied.errors import VariedError, lookup, suggest
from varied.likelihoods import LIKELIHOODS
from varied.posteriors import POSTERIORS
from varied.quantizers import QUANTIZERS
from varied.schema import settings
from varied.spec import AXES, Part, Plan, Spec
from varied.zoo import ZOO

__all__ = ["MINUTES", "ResolvedConfig", "resolve"]

#: Minutes of training where a person gives no length.
MINUTES = 10.0

#: Rows that a training sees in all, in so many passes at least and at most: measured on tables.
SEEN, PASSES = 2_000_000, (20, 200)

#: Rows up to which that goes before the minutes; a picture takes longer than other rows.
LONG, SHORT = 500_000, {"image": 1_000}

#: What fully connected networks are trained with, where a person says nothing: measured on digits.
PLAIN_LAYERS = Plan(batch_size=256, lr=4e-3)

#: What other networks are trained with on fewer pictures than so many: a step costs what its rows
#: cost, and more steps are worth more. Four thousand faces of 64 x 64, after seven minutes of one
#: thread: -ELBO 54,220 nats in batches of 32, 54,350 of 16, 55,741 of 128.
FEW, SMALL_BATCHES = 10_000, Plan(batch_size=32)

#: The weight of the KL where a person names neither beta nor an objective.
WARM_UP = "linear(0, 1, 0.2)"
WARMS_UP = (
    "beta rises from 0 to 1 over the first fifth of the run, because a latent unit that costs too "
    "early falls silent."
)
#: What says the class of pictures, where a person says nothing: measured on a hundred labels.
READER = {"classifier": "conv", "augment": 1.0}
MOVED = (
    "The classifier is a conv net, and sees pictures moved by chance while it learns (augment = 1), "
    "because few labeled ones show little of what a class may look like; --augment 0 leaves them."
)
#: Numbers in a code of a codebook, where a person says nothing.
CODE = 16

LENGTHS = ("minutes", "epochs", "steps")

_DATA = ("binarize", "domain", "column_types")


@dataclasses.dataclass(frozen=True)
class ResolvedConfig:
    """What was chosen, with a sentence for each thing that the person did not ask for."""

    spec: Spec
    codec: Codec
    context: ContextCodec | None
    sentences: tuple[str, ...]


def resolve(rows: RawData, model: str | Spec, choices: Mapping[str, Any]) -> ResolvedConfig:
    """Choose what to train on training rows.

    Arguments:
        rows: The training rows alone: codecs are fitted to them.
        model: A name of the zoo, or a whole spec.
        choices: What the person asked for: axes, settings, ``conditional``, ``binarize``.

    Raises:
        VariedError: If a choice is unknown, or the data lack what the model needs.
    """
    asked = {k: v for k, v in choices.items() if v is not None}
    data = {k: asked.pop(k) for k in _DATA if k in asked}
    conditional = bool(asked.pop("conditional", False))
    if isinstance(model, Spec):
        parts, conditional = _parts_of(model), conditional or model.context > 0
    else:
        entry = lookup(ZOO, model, "model")
        parts, conditional = dict(entry.parts), conditional or entry.conditional
    parts |= {axis: asked.pop(axis) for axis in AXES if axis in asked}
    said = dict(data.get("column_types") or {})
    answers = _answers(rows, parts, said)
    if answers:
        data["column_types"] = said | dict.fromkeys(answers, TARGET)
    codec = _codec(rows, parts.get("likelihood"), data)
    reasons = _reasons(codec, len(rows), {*parts, *asked})
    reasons += [f"{name} is left out of the rows, which would tell the answer." for name in answers]
    if rows.kind == "image" and not isinstance(model, Spec):
        reasons += _reader(parts, asked)
    posterior = Part.of(parts.get("posterior", "gaussian")).name
    if "objective" not in parts and "beta" not in asked and _may_wait(posterior):
        parts["objective"] = {"name": "elbo", "beta": WARM_UP}
        reasons.append(WARMS_UP)
    suggested = codec.suggest(len(rows))
    if posterior in QUANTIZERS:
        suggested |= _grid(codec.shape, reasons)
    values: dict[str, Any] = suggested | parts
    values["latent"] = asked.pop("latent", values["latent"])
    if "conditioning" in asked:
        values["conditioning"] = asked.pop("conditioning")
    context = _context(rows) if conditional else None
    values["context"] = context.size if context else 0
    values["plan"] = _plan(values, rows, asked, reasons)
    for name, value in asked.items():
        _set(values, name, value)
    return ResolvedConfig(Spec.of(**values), codec, context, (*codec.notes, *reasons))


def _answers(rows: RawData, parts: Mapping[str, Any], said: Mapping[str, str]) -> tuple[str, ...]:
    """Return the label's columns that are not read: the model says them, or a person says so."""
    learns = Part.of(parts.get("architecture", "vae")).name in ("m2", "m1m2")
    if not learns and "ignore" not in said.values():
        return ()
    usual = "ignore" if learns else ""
    return tuple(name for name in rows.label_columns if said.get(name, usual) == "ignore")


def _reader(parts: dict[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Choose what reads the class of pictures, and return the sentence that says so."""
    part = Part.of(parts.get("architecture", "vae"))
    said = {name.rpartition(".")[2]: value for name, value in asked.items()}
    modeled = part.name == "m2" or (
        part.name == "m1m2" and said.get("upper_latent", part.settings.get("upper_latent")) != 0
    )
    if not modeled or said.get("classifier") == "codes":
        return []
    parts["architecture"] = Part(part.name, READER | part.settings)
    return [] if {"classifier", "augment"} & set(said) else [MOVED]


def _may_wait(posterior: str) -> bool:
    """Whether the KL may begin at nothing: a choice that is free at first is settled for good."""
    return "simplex" not in lookup(POSTERIORS, posterior, "posterior").space


def _grid(shape: tuple[int, ...], reasons: list[str]) -> dict[str, Any]:
    """Return the net and the latent of a model whose latents are codes."""
    if len(shape) < 3:
        reasons[:] = [reason for reason in reasons if not reason.startswith("latent")]
        reasons.append(f"latent = ({CODE}, 8): each datum becomes 8 codes.")
        return {"latent": (CODE, 8)}
    height, width = (-(-side // 4) for side in shape[1:])
    reasons[:] = [reason for reason in reasons if not reason.startswith(("latent", "net"))]
    reasons.append(
        f"net = conv, latent = ({CODE}, {height}, {width}): each picture becomes a map of "
        f"{height} x {width} codes, a quarter of its height and width."
    )
    return {"net": "conv", "latent": (CODE, height, width)}


def _plan(
    values: Mapping[str, Any], rows: RawData, asked: dict[str, Any], reasons: list[str]
) -> dict[str, Any]:
    """Return the plan; what a person asked for is taken out of ``asked``."""
    plan = dataclasses.asdict(values.get("plan") or _usual_plan(values["net"], rows))
    if any(asked.get(name) for name in LENGTHS):
        plan |= dict.fromkeys(LENGTHS, 0)  # a length that is asked for replaces that of a spec
    plan |= {name: asked.pop(name) for name in settings(Plan) if name in asked}
    if not any(plan[name] for name in LENGTHS):
        length, sentence = _usual_length(rows)
        plan |= length
        reasons.append(f"Trains for {sentence}; --minutes, --epochs or --steps change it.")
    return plan


def _usual_length(rows: RawData) -> tuple[dict[str, float], str]:
    """Return how long to train where a person does not say, and a sentence's part that says it."""
    if len(rows) > SHORT.get(rows.kind, LONG):
        return {"minutes": MINUTES}, f"{MINUTES:g} minutes"
    least, most = PASSES
    passes = min(most, max(least, round(SEEN / len(rows))))
    few = ", since more would learn so few by heart" if passes == most else ""
    return {"epochs": float(passes)}, f"{passes} passes over the rows{few}"


def _usual_plan(net: Any, rows: RawData) -> Plan:
    part = Part.of(net)
    if part.name == "mlp":
        deep = part.settings.get("depth") != 0
        return PLAIN_LAYERS if deep and len(rows) >= 5000 else Plan()
    return SMALL_BATCHES if rows.kind == "image" and len(rows) < FEW else Plan()


def _parts_of(spec: Spec) -> dict[str, Any]:
    return {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if f.name != "context"}


def _codec(rows: RawData, likelihood: Any, data: dict[str, Any]) -> Codec:
    options = {k: v for k, v in data.items() if k != "domain" or rows.kind == "array"}
    if rows.kind == "image" and "binarize" not in options and likelihood is not None:
        accepts = lookup(LIKELIHOODS, Part.of(likelihood).name, "likelihood").accepts
        # Who asks for a likelihood of gray levels wants them kept.
        options["binarize"] = "none" if "levels" in accepts else "auto"
    return fit_codec(rows, **options)


def _reasons(codec: Codec, n: int, asked: set[str]) -> list[str]:
    free = [name for name in codec.suggest(n) if name not in asked]
    return [s for s in codec.reasons(n) if s.partition(" =")[0] in free]


def _context(rows: RawData) -> ContextCodec:
    if rows.labels is None:
        raise VariedError(
            "A conditional model needs labels, and the data have none; put the pictures into a "
            "folder for each class, or give labels=."
        )
    return ContextCodec.fit(rows.labels, rows.classes)


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    """Give a setting to the one part that has it; ``net.width`` names the part."""
    axis, _, setting = name.rpartition(".")
    current = {key: Part.of(values.get(key, getattr(Spec, key))) for key in AXES}
    known = {key: settings(lookup(AXES[key], part.name, key)) for key, part in current.items()}
    owners = [key for key in known if setting in known[key] and axis in ("", key)]
    if len(owners) > 1:
        raise VariedError(
            f"Several parts have '{name}': write {' or '.join(f'{o}.{name}' for o in owners)}."
        )
    if not owners:
        raise VariedError(f"Nothing here has a setting '{name}': {suggest(setting, _all(known))}")
    part = current[owners[0]]
    values[owners[0]] = Part(part.name, {**part.settings, setting: value})


def _all(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    own = [name for part in known.values() for name in part]
    more = ("latent", *AXES, *settings(Plan), *_DATA, "image_size", "conditional", "conditioning")
    return [*own, *more]
