"""The models of the zoo and their options, from the tables that also define the command's flags."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal

from varied.data import CODECS
from varied.data.codecs.options import option_names
from varied.errors import VariedError, suggest
from varied.registry import find, load_entry_points
from varied.schema import Setting, settings
from varied.spec import AXES, TABLES, Part, Plan, Spec
from varied.studio.schemas import Option, ZooModel
from varied.zoo import ZOO

Value = str | float | int | bool
Type = Literal["number", "integer", "text", "choice", "flag"]

#: The options that `varied train` adds to the settings of parts, of the plan and of data codecs.
_OTHERS = (
    Option(
        name="latent",
        group="Model",
        type="text",
        default=None,
        help="Number of latent dimensions, or a shape such as 32,7,7.",
    ),
    Option(
        name="conditional",
        group="Model",
        type="flag",
        default=False,
        help="Train a conditional model p(x | label).",
    ),
    Option(
        name="conditioning",
        group="Model",
        type="choice",
        default=None,
        choices=["concatenate", "film"],
        help="How the networks receive the label.",
    ),
    Option(
        name="labels",
        group="Data",
        type="text",
        default=None,
        help="Labels: a column of a table or an array in an .npz file; or several, such as a,b; or "
        "a pattern of file names, such as {word}_{speaker}_{index}.",
    ),
    Option(
        name="n_labels",
        group="Data",
        type="integer",
        default=None,
        help="Number of training labels to use; the others are hidden.",
    ),
)
_CODEC_HELP = {
    "image_size": "Resize images: 64 for 64x64, or 48x64 for height x width.",
    "binarize": "Binarization of images: none, dynamic, fixed or auto.",
    "domain": "The domain of arrays: real, unit-interval, binary, count or auto.",
    "column_types": "Column types (number, count, category or ignore), such as zip=category.",
    "sample_rate": "The number of samples per second to which recordings are resampled.",
    "seconds": "The length in seconds to which recordings are cut or padded.",
    "keep_duplicates": "Whether molecules that occur several times are kept.",
    "scaffold_split": "Whether molecules with the same scaffold are in the same split.",
}
#: The choices of codec options; the others are text.
_CODEC_CHOICES = {
    "binarize": ["auto", "none", "dynamic", "fixed"],
    "domain": ["auto", "real", "unit-interval", "binary", "count"],
}
#: Arguments of codecs that are not options of the data.
_NOT_OFFERED = {"seed"}
#: The flags of `varied train` without a value.
SWITCHES = ("conditional", "deterministic")
#: Options of the plan that depend on the machine or come first, and the choices of others.
_PLAN_CHOICES = {
    "lr_schedule": ["cosine", "linear", "none"],
    "precision": ["auto", "float32", "bfloat16"],
    "compile": ["auto", "yes", "no"],
    "ex_post_prior": ["auto", "no"],
}
_FIRST = ("minutes", "epochs", "steps", "batch_size", "lr", "seed")
#: Options of the plan whose defaults depend on the data.
_CHOSEN = {"minutes", "epochs", "steps", "batch_size", "lr", "patience", "max_shift", "threads"}
#: The networks whose common settings are offered if the network is chosen to suit the data.
_LIKELY_NETS = ("mlp", "conv")


def list_models() -> list[ZooModel]:
    """Return the models of the zoo."""
    load_entry_points()
    return [ZooModel(name=n, group=e.group, purpose=e.use_for) for n, e in ZOO.items()]


def list_options(model: str) -> list[Option]:
    """Return the options with which a model can be trained.

    Raises:
        VariedError: If there is no such model.
    """
    load_entry_points()
    entry = find("model", model, ZOO)
    parts = {axis: Part.parse(part) for axis, part in entry.parts.items() if axis in TABLES}
    model_options = [option for option in _OTHERS if option.group == "Model"]
    data_options = [option for option in _OTHERS if option.group == "Data"]
    plan = settings(Plan)
    names = [*_FIRST, *(name for name in plan if name not in _FIRST)]
    return [
        *model_options,
        *(_axis_option(axis, parts.get(axis)) for axis in AXES),
        *data_options,
        *_codec_options(),
        *(_to_option(plan[name], "Training", _PLAN_CHOICES.get(name)) for name in names),
        *_part_options(parts),
    ]


def check_options(values: Mapping[str, Value]) -> None:
    """Check the names of options, and that their values are printable.

    Raises:
        VariedError: If a name is unknown, or a value contains control characters.
    """
    for name, value in values.items():
        if name not in _known_names():
            raise VariedError(f"There is no option '{name}': {suggest(name, _known_names())}")
        if isinstance(value, str) and not (value.isprintable() and len(value) <= 2000):
            raise VariedError(f"The value of {name} contains control characters; remove them.")


def to_flags(values: Mapping[str, Value]) -> list[str]:
    """Return options as arguments of ``varied train``.

    Each value is in the same argument as its flag, so that a value is never read as another flag.

    Raises:
        VariedError: If a name is unknown, or a value contains control characters.

    Example:
        >>> to_flags({"latent": "8", "net.width": 32, "conditional": True})
        ['--latent=8', '--net.width=32', '--conditional']
    """
    check_options(values)
    flags = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if name in SWITCHES:
            flags += [flag] * (str(value).lower() in ("true", "yes", "1"))
        elif value != "":
            flags.append(f"{flag}={str(value).lower() if isinstance(value, bool) else value}")
    return flags


@cache
def _known_names() -> tuple[str, ...]:
    load_entry_points()
    names = {option.name: None for option in (*_OTHERS, *_codec_options())}
    names |= dict.fromkeys((*TABLES, *settings(Plan)))
    for axis, table in TABLES.items():
        for part in table.values():
            names |= {name: None for each in settings(part) for name in (each, f"{axis}.{each}")}
    return tuple(names)


def _axis_option(axis: str, part: Part | None) -> Option:
    default = None if part is None else part.name
    text = f"The {axis}" + (" (chosen to suit the data by default)." if part is None else ".")
    return Option(
        name=axis,
        group="Model",
        type="choice",
        default=default,
        choices=list(AXES[axis]),
        help=text,
    )


def _codec_options() -> Iterator[Option]:
    names = {
        name: None
        for codec in CODECS.values()
        for name in (*codec.reading_option_names, *option_names(codec.fit))
        if name not in _NOT_OFFERED
    }
    for name in names:
        choices = _CODEC_CHOICES.get(name, [])
        yield Option(
            name=name,
            group="Data",
            type="choice" if choices else "text",
            default=None,
            choices=choices,
            help=_CODEC_HELP.get(name, "An option of the kind of data."),
        )


def _part_options(parts: Mapping[str, Part]) -> Iterator[Option]:
    """Yield the settings of the parts of a model; those of a network that is not set are common."""
    for axis in AXES:
        default = inspect.getattr_static(Spec, axis, None)
        part = parts.get(axis) or (Part.parse(default) if default else None)
        if axis == "net" and axis not in parts:
            tables = [settings(AXES[axis][name]) for name in _LIKELY_NETS]
            common = {n: s for n, s in tables[0].items() if all(n in t for t in tables)}
            for setting in common.values():
                yield _to_option(setting, "Network", None, axis)
        elif part is not None:
            title = f"{axis.capitalize()} {part.name}"
            for name, setting in settings(part.builder(axis)).items():
                option = _to_option(setting, title, None, axis)
                value = part.settings.get(name)
                yield option if value is None else option.model_copy(update={"default": value})


def _to_option(setting: Setting, group: str, choices: list[str] | None, axis: str = "") -> Option:
    default: Any = None if not axis and setting.name in _CHOSEN else setting.default
    is_plain = isinstance(default, str | float | int | bool)
    return Option(
        name=f"{axis}.{setting.name}" if axis else setting.name,
        group=group,
        type="choice" if choices else _form_type(setting.type),
        default=default if is_plain else None if default is None else str(default),
        choices=choices or [],
        help=re.sub(r":\w+:`([^`]*)`|``([^`]*)``", lambda m: m[1] or m[2], setting.description),
    )


def _form_type(type_: Any) -> Type:
    """Return the type of the field of a form; a number or a schedule is text."""
    is_union = typing.get_origin(type_) in (typing.Union, types.UnionType)
    members = set(typing.get_args(type_)) - {type(None)} if is_union else {type_}
    table: dict[Any, Type] = {int: "integer", float: "number", bool: "flag"}
    return table.get(members.pop(), "text") if len(members) == 1 else "text"
