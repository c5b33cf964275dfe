"""Build a spec from the parts of a model, the user's choices, and defaults that suit the data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from varied.data import CODECS, Codec, ContextCodec, RawData, codec_of, fit_codec
from varied.data.codecs.options import option_names
from varied.data.defaults import Default
from varied.errors import VariedError, suggest
from varied.likelihoods.base import GRID
from varied.quantizers import QUANTIZERS
from varied.registry import find
from varied.schema import settings
from varied.spec import AXES, SIDES, TABLES, Part, Plan, Spec
from varied.zoo import ZOO

LENGTHS = ("minutes", "epochs", "steps")

_DEFAULT_MINUTES = 10.0
#: The number of rows over all epochs that determines the default number of epochs, and the minimum
#: and maximum number of epochs. The values were chosen by experiments on tables.
_TOTAL_ROWS, _MIN_EPOCHS, _MAX_EPOCHS = 2_000_000, 20, 200
#: If the default duration is a number of minutes, training is also limited to a number of epochs.
#: These values are the minimum number of steps that this limit allows, and its maximum. On 500
#: digits, -ELBO was 162 nats after 600 steps and 144 nats after 1,800.
_MIN_STEPS, _LIMIT_OF_EPOCHS = 5_000, 1_000
#: The plan for fully connected networks with at least 5,000 rows, from experiments on digits.
_MLP_PLAN, _MLP_ROWS = Plan(batch_size=256, lr=4e-3), 5000
#: The plan for convolutional networks, from experiments on digits, clothes, faces and molecules.
_CONV_PLAN = Plan(batch_size=64, lr=3e-3)
_SMALL_BATCH_SIZE = 32
#: The maximum random shift of training images as a fraction of the shorter side, and the number of
#: images below which images are shifted. In 60 s of one thread, -ELBO of digits was 108 nats with
#: 500 images shifted by up to 2 of 28 pixels, 111 nats with up to 1 pixel, and 133 nats without
#: (`benchmarks/image_shift.py`).
_SHIFT, _SHIFTED_ROWS = 1 / 14, 20_000
#: The patience of early stopping, unless the user sets the number of epochs or steps.
_PATIENCE = 20
#: Unless the user sets beta or the objective, the KL weight rises over this fraction of training,
#: but at most over this number of epochs or of steps, whichever takes longer.
_WARM_UP, _WARM_UP_EPOCHS, _WARM_UP_STEPS = 0.2, 20, 500
#: For color images, the length of the Gaussian phase as a multiple of the KL warm-up, and the
#: initial weight of the Gaussian; weights above 1 count as 1 (`benchmarks/image_samples.py`).
_MEANS_FIRST, _INITIAL_WEIGHT = 1.5, 3
_CLASSIFIER_REASON = (
    "The classifier is a convolutional network, trained on randomly transformed images "
    "(augment = 1), because a few labeled images show little of the variation within a class; use "
    "--augment 0 to turn this off."
)
#: The number of binary images below which `conv` is the default, and the minimum height and width.
#: After a few minutes of training, `mlp` is better on 60,000 digits, but not on gray images, and
#: not on 30,000 characters (`benchmarks/networks.py`).
_CONV_ROWS, _MIN_SIZE = 40_000, 16
_CONV_DEFAULT = Default("conv", "convolutions are better on gray images, and on few binary images")
_VECTOR_DEFAULT = Default(64, "this model requires a latent vector")
#: The dimension of the codebook entries.
_CODE_DIM = 16
#: The network of a model with a codebook, with which the published results were obtained.
_QUANTIZER_NET = {"name": "conv", "width": 32, "dense_width": 256, "activation": "relu"}


@dataclasses.dataclass(frozen=True)
class ResolvedConfig:
    """The resolved configuration of a training run, with a sentence about each default.

    Arguments:
        spec: The spec.
        codec: The codec of the data.
        context: The codec of the context if the model is conditional, otherwise None.
        sentences: Sentences about the defaults, and about what was inferred from the data.
    """

    spec: Spec
    codec: Codec
    context: ContextCodec | None
    sentences: tuple[str, ...]


def resolve(data: RawData, model: str | Spec, choices: Mapping[str, Any]) -> ResolvedConfig:
    """Resolve the configuration of a training run.

    Arguments:
        data: The training rows, to which the codecs are fitted.
        model: The name of a model, or a spec.
        choices: The user's choices: parts by axis, settings, ``conditional``, and options of the
            codec.

    Raises:
        VariedError: If a choice is unknown, or the model requires labels that the data lack.
    """
    remaining = {name: value for name, value in choices.items() if value is not None}
    if "prior" in remaining:  # the user's choice is not replaced after training
        remaining.setdefault("ex_post_prior", "no")
    codec_options = {
        name: remaining.pop(name)
        for name in option_names(codec_of(data).fit)
        if name in remaining and name != "seed"
    }
    conditional = bool(remaining.pop("conditional", False))
    if isinstance(model, Spec):
        parts = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
        del parts["context"]
        conditional = conditional or model.context > 0
    else:
        entry = find("model", model, ZOO)
        parts, conditional = dict(entry.parts), conditional or entry.conditional
        if "architecture" in remaining:  # it may determine a part that the model sets
            fixed = Part.parse(remaining["architecture"]).builder("architecture").fixed_axes
            parts = {axis: part for axis, part in parts.items() if axis not in fixed}
    parts |= {axis: remaining.pop(axis) for axis in TABLES if axis in remaining}
    parts = {name: value for name, value in parts.items() if value is not None}
    reasons: list[str] = []
    _exclude_label_columns(data, parts, codec_options, reasons)
    codec = _fit_codec(data, parts.get("likelihood"), codec_options)
    defaults = codec.defaults(len(data))
    posterior = Part.parse(parts.get("posterior", "gaussian")).name
    if posterior in QUANTIZERS:
        defaults |= _quantizer_defaults(codec.shape)
    elif defaults["net"].value == "mlp" and _is_plain(parts) and _prefers_conv(codec, len(data)):
        defaults["net"] = _CONV_DEFAULT
    elif isinstance(defaults["latent"].value, tuple) and _requires_vector(parts):
        defaults["latent"] = _VECTOR_DEFAULT
    if "beta" in remaining or not _can_warm_up(parts):
        defaults.pop("objective", None)
    chosen = {*parts, *remaining}
    reasons = [
        f"{name} = {_text(default.value)}, because {default.reason}."
        for name, default in defaults.items()
        if name not in chosen
    ] + reasons
    if not isinstance(model, Spec):
        _set_classifier_defaults(codec, parts, remaining, reasons)
    if "likelihood" in parts:
        parts["likelihood"] = _add_data_settings(parts["likelihood"], defaults["likelihood"].value)
    values: dict[str, Any] = {name: default.value for name, default in defaults.items()} | parts
    values |= {
        name: remaining.pop(name) for name in ("latent", "conditioning") if name in remaining
    }
    if not isinstance(model, Spec):  # the network of a spec is used as it is
        _add_mean_color(values, codec, remaining, reasons)
    context = _fit_context(data) if conditional else None
    values["context"] = context.size if context else 0
    values["plan"] = _resolve_plan(values, data, codec, remaining, reasons)
    if "objective" not in values:
        objective = _default_objective(values, codec, len(data), remaining, reasons)
        values |= {"objective": {"name": "elbo", **objective}} if objective else {}
    for name, value in remaining.items():
        _apply_setting(values, name, value, codec)
    return ResolvedConfig(Spec.parse(**values), codec, context, (*codec.notes, *reasons))


# Data


def _exclude_label_columns(
    data: RawData, parts: Mapping[str, Any], options: dict[str, Any], reasons: list[str]
) -> None:
    """Exclude the label columns from the rows if the model infers classes, or if requested."""
    types = dict(options.get("column_types") or {})
    default = "ignore" if _infers_classes(parts) else ""
    excluded = [name for name in data.label_columns if types.get(name, default) == "ignore"]
    if excluded:
        options["column_types"] = types | dict.fromkeys(excluded, "target")
    reasons += [f"{name} is excluded from the rows, since it is the label." for name in excluded]


def _fit_codec(data: RawData, likelihood: Any, options: dict[str, Any]) -> Codec:
    if likelihood is not None:
        accepted = Part.parse(likelihood).builder("likelihood").accepts
        options = codec_of(data).fit_options(accepted) | options
    return fit_codec(data, **options)


def _fit_context(data: RawData) -> ContextCodec:
    if data.labels is None:
        raise VariedError(
            "A conditional model requires labels, but the data have none; put the files of each "
            "class into a separate folder, or pass labels=."
        )
    return ContextCodec.fit(data.covariates)


# Parts


def _prefers_conv(codec: Codec, n: int) -> bool:
    """Return whether the data are images that are not tiny and, if binary, not too many."""
    is_large = len(codec.shape) == 3 and min(codec.shape[1:]) >= _MIN_SIZE
    return is_large and (n < _CONV_ROWS or codec.domain != "binary")


def _quantizer_defaults(shape: tuple[int, ...]) -> dict[str, Default]:
    """Return the defaults for a model with a codebook."""
    if len(shape) < 3:
        return {"latent": Default((_CODE_DIM, 8), "each example is encoded as 8 codes")}
    height, width = (-(-side // 4) for side in shape[1:])
    reason = f"each image is encoded as {height} x {width} codes, a quarter of its height and width"
    return {
        "net": Default(_QUANTIZER_NET, "the codes form an image"),
        "latent": Default((_CODE_DIM, height, width), reason),
    }


def _set_classifier_defaults(
    codec: Codec, parts: dict[str, Any], chosen: Mapping[str, Any], reasons: list[str]
) -> None:
    """Set the defaults of a classifier that takes the data, rather than the codes, as input."""
    part = Part.parse(parts.get("architecture", "vae"))
    given = {name.rpartition(".")[2]: value for name, value in chosen.items()}
    upper_latent = given.get("upper_latent", part.settings.get("upper_latent"))
    classifies_data = part.name == "m2" or (part.name == "m1m2" and upper_latent != 0)
    if not (codec.classifier_defaults and classifies_data) or given.get("classifier") == "codes":
        return
    parts["architecture"] = Part(part.name, {**codec.classifier_defaults, **part.settings})
    if not codec.classifier_defaults.keys() & given.keys():
        reasons.append(_CLASSIFIER_REASON)


def _add_data_settings(likelihood: Any, default: Any) -> Part:
    """Add the settings that describe the data, such as the layout of a table, to a likelihood."""
    part, described = Part.parse(likelihood), Part.parse(default).settings
    known = settings(part.builder("likelihood"))
    added = {name: value for name, value in described.items() if name in known}
    return dataclasses.replace(part, settings=added | part.settings)


def _can_warm_up(parts: Mapping[str, Any]) -> bool:
    """Return whether the KL weight can start at 0 without a collapse of categorical variables."""
    posterior = Part.parse(parts.get("posterior", "gaussian")).builder("posterior")
    return "simplex" not in posterior.space


def _has_colors(codec: Codec) -> bool:
    """Return whether the data are 8-bit or binary images with several channels."""
    return len(codec.shape) == 3 and codec.shape[0] > 1 and codec.domain in GRID


def _add_mean_color(
    values: dict[str, Any], codec: Codec, chosen: Mapping[str, Any], reasons: list[str]
) -> None:
    """Give the encoder of color images the mean color, unless the user chose otherwise."""
    net = Part.parse(values["net"])
    is_set = "mean_color" in net.settings or "mean_color" in chosen
    if net.name == "conv" and _is_plain(values) and _has_colors(codec) and not is_set:
        values["net"] = dataclasses.replace(net, settings={**net.settings, "mean_color": True})
        reasons.append(
            "mean_color = True: the encoder also receives the mean color of an image, since the "
            "colors of small objects are learned late otherwise."
        )


def _learns_means_first(values: Mapping[str, Any], codec: Codec) -> bool:
    """Return whether the data are color images with a learned scale for each pixel."""
    return _has_colors(codec) and Part.parse(values["likelihood"]).name == "discretized-logistic"


def _default_objective(
    values: Mapping[str, Any],
    codec: Codec,
    n: int,
    chosen: Mapping[str, Any],
    reasons: list[str],
) -> dict[str, str]:
    """Return the default schedules of the ELBO."""
    plan = values["plan"]
    steps_per_epoch = _steps_per_epoch(n, plan["batch_size"])
    max_steps = max(_WARM_UP_EPOCHS * steps_per_epoch, _WARM_UP_STEPS)
    steps = plan["steps"] or plan["epochs"] * steps_per_epoch
    is_limited = steps > max_steps / _WARM_UP or not steps

    def limit(factor: float) -> tuple[str, str]:
        """Return the last arguments of a schedule, and text about its maximum length."""
        length = f"{_WARM_UP * factor:g}"
        if not is_limited:
            return length, ""
        maximum = round(max_steps * factor)
        return f"{length}, max_steps={maximum}", f", but during at most {maximum:,} steps"

    objective = {}
    if "beta" not in chosen and _can_warm_up(values):
        length, text = limit(1)
        objective["beta"] = f"linear(0, 1, {length})"
        reasons.append(
            f"beta rises from 0 to 1 over the first fifth of training{text}, since more latent "
            "dimensions become inactive if the full KL weight is used from the start."
        )
    if "gaussian_weight" not in chosen and _learns_means_first(values, codec):
        length, text = limit(_MEANS_FIRST)
        objective["gaussian_weight"] = f"linear({_INITIAL_WEIGHT}, 0, {length})"
        reasons.append(
            f"gaussian_weight falls to 0 over the first three tenths of training{text}: the means "
            "of the pixels are learned before their scales, since the colors of small objects are "
            "learned late otherwise."
        )
    return objective


def _apply_setting(values: dict[str, Any], name: str, value: Any, codec: Codec) -> None:
    """Apply a setting to the part that has it; a name such as ``net.width`` includes the axis."""
    axis, _, setting = name.rpartition(".")
    parts = {
        key: Part.parse(values.get(key, getattr(Spec, key)))
        for key in TABLES
        if key in AXES or key in values
    }
    if parts.keys() >= SIDES.keys():
        del parts["net"]  # no part uses it
    known = {key: settings(part.builder(key)) for key, part in parts.items()}
    owners = [key for key in known if setting in known[key] and axis in ("", key)]
    if len(owners) > 1:
        options = " or ".join(f"{owner}.{name}" for owner in owners)
        raise VariedError(f"Several parts have a setting named '{name}'; specify {options}.")
    if not owners:
        for other in CODECS.values():
            if setting in option_names(other.fit):
                raise VariedError(
                    f"'{name}' is an option for {other.noun}, but the data are {codec.noun}; omit "
                    "it."
                )
        names = [name for part in known.values() for name in part]
        names += ["latent", "conditional", "conditioning", "image_size", *TABLES, *settings(Plan)]
        names += option_names(codec.fit)
        raise VariedError(f"No part has a setting '{name}': {suggest(setting, names)}")
    owner = owners[0]
    part = parts[owner]
    values[owner] = dataclasses.replace(part, settings={**part.settings, setting: value})


# Plan


def _resolve_plan(
    values: Mapping[str, Any],
    data: RawData,
    codec: Codec,
    remaining: dict[str, Any],
    reasons: list[str],
) -> dict[str, Any]:
    """Return the plan, and remove its settings from the remaining choices."""
    plan = dataclasses.asdict(values.get("plan") or _default_plan(values, data, codec))
    max_shift = remaining.get("max_shift", plan["max_shift"])
    if max_shift and len(codec.shape) != 3:
        raise VariedError(
            f"max_shift={max_shift} shifts images, but the data are {codec.noun}; omit it."
        )
    if plan["max_shift"] and "max_shift" not in remaining and not values.get("plan"):
        reasons.append(
            f"max_shift = {max_shift}: in each step, images are shifted at random by up to this "
            "number of pixels, which reduces overfitting to few images; use --max-shift 0 to turn "
            "this off."
        )
    if any(remaining.get(name) for name in LENGTHS):
        plan |= dict.fromkeys(LENGTHS, 0)  # the user's choice replaces the duration in a spec
        plan["patience"] = 0 if remaining.get("epochs") or remaining.get("steps") else _PATIENCE
    elif not any(plan[name] for name in LENGTHS):
        is_timed = not remaining.get("deterministic", plan["deterministic"])
        length, text = _default_length(len(data), plan["batch_size"], codec, is_timed)
        plan |= length | {"patience": _PATIENCE}
        reasons.append(f"Trains for {text}; use --minutes, --epochs or --steps to change this.")
    return plan | {name: remaining.pop(name) for name in settings(Plan) if name in remaining}


def _default_plan(values: Mapping[str, Any], data: RawData, codec: Codec) -> Plan:
    plan = _default_batches(values, data, codec)
    is_linear = Part.parse(values["net"]).settings.get("depth") == 0
    has_pixels = codec.domain in GRID and len(codec.shape) == 3
    if is_linear or not has_pixels or len(data) >= _SHIFTED_ROWS:
        return plan
    side = min(codec.shape[1:])
    return dataclasses.replace(plan, max_shift=round(side * _SHIFT) if side >= _MIN_SIZE else 0)


def _default_batches(values: Mapping[str, Any], data: RawData, codec: Codec) -> Plan:
    net = Part.parse(values["net"])
    if net.name == "mlp":
        has_layers = net.settings.get("depth") != 0
        return _MLP_PLAN if has_layers and len(data) >= _MLP_ROWS else Plan()
    plan = _CONV_PLAN if net.name in ("conv", "conv1d") and _is_plain(values) else Plan()
    is_small = len(data) < codec.small_batches_below
    return dataclasses.replace(plan, batch_size=_SMALL_BATCH_SIZE) if is_small else plan


def _is_plain(values: Mapping[str, Any]) -> bool:
    """Return whether a model is a VAE without a codebook or a discriminator."""
    architecture, posterior, objective = (
        Part.parse(values.get(axis, getattr(Spec, axis)))
        for axis in ("architecture", "posterior", "objective")
    )
    has_discriminator = "disc_lr" in settings(objective.builder("objective"))
    has_codebook = posterior.name in QUANTIZERS
    return architecture.name == "vae" and not has_codebook and not has_discriminator


def _requires_vector(parts: Mapping[str, Any]) -> bool:
    """Return whether the latent variables of a model must be a vector."""
    posterior = Part.parse(parts.get("posterior", "gaussian")).builder("posterior")
    return _infers_classes(parts) or posterior.space == "sphere"


def _infers_classes(parts: Mapping[str, Any]) -> bool:
    return Part.parse(parts.get("architecture", "vae")).name in ("m2", "m1m2")


def _default_length(
    n: int, batch_size: int, codec: Codec, is_timed: bool
) -> tuple[dict[str, float], str]:
    """Return the default training duration as settings of the plan, and as text."""
    if is_timed and n > codec.max_rows_by_epochs:
        epochs = math.ceil(_MIN_STEPS / _steps_per_epoch(n, batch_size))
        epochs = min(max(epochs, _MAX_EPOCHS), _LIMIT_OF_EPOCHS)
        length = {"minutes": _DEFAULT_MINUTES, "epochs": float(epochs)}
        return length, f"{_DEFAULT_MINUTES:g} minutes, but at most {epochs:,} epochs"
    epochs = min(_MAX_EPOCHS, max(_MIN_EPOCHS, round(_TOTAL_ROWS / n)))
    text = f"{epochs} epochs"
    if epochs == _MAX_EPOCHS:
        text += ", since more epochs would lead to overfitting on so few rows"
    return {"epochs": float(epochs)}, text


def _steps_per_epoch(n: int, batch_size: int) -> int:
    return max(n // batch_size, 1)


def _text(value: Any) -> str:
    part = value.get("name") if isinstance(value, dict) else value
    return str(part)
