"""Translate the names in runs of older formats to current names.

Format 1 (commit 86ead4d) has no ``format`` key in spec.toml. Its names of models, parts, settings,
kinds of data and weights are translated when the files of a run are read. The files do not change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from varied.data.tables import TableDialect

#: The format that this version writes.
FORMAT = 2

OLD_MODELS = {
    "linear-vae": "mlp-vae",
    "ppca": "linear-vae",
    "deep-vae": "very-deep-vae",
    "vae-gan-modern": "patchgan-vae",
    "m1m2-apart": "m1m2-stop-gradient",
    "miwae": "multiply-iwae",
    "sphere-vae": "hyperspherical-vae",
    "mixture-vae": "gaussian-mixture-vae",
    "capacity-vae": "annealed-capacity-vae",
    "latent-diffusion": "flow-matching-vae",
}

OLD_AXES = {"structure": "architecture"}

OLD_PARTS: dict[str, dict[str, str]] = {
    "architecture": {
        "flat": "vae",
        "classes": "m2",
        "stacked": "m1m2",
        "two-level-codes": "vq-vae-2",
    },
    "likelihood": {"columns": "table"},
    "posterior": {
        "point": "deterministic",
        "joint": "gaussian-gumbel",
        "gumbel": "gumbel-softmax",
        "vmf": "von-mises-fisher",
    },
    "prior": {
        "mixture": "learned-gmm",
        "sphere-uniform": "hyperspherical-uniform",
        "joint": "gaussian-categorical",
    },
    "objective": {
        "beta-tc": "beta-tc-vae",
        "capacity": "annealed-capacity",
        "control": "control-vae",
        "dip": "dip-vae",
        "factor": "factor-vae",
        "hinge-gan": "patchgan",
        "info": "info-vae",
        "joint-capacity": "joint-vae",
        "miwae": "multiply-iwae",
        "perceptual": "ms-ssim",
        "semi": "m2",
        "stacked": "m1m2",
        "vq": "vq-vae",
    },
}

_CODEBOOK = {
    "codes": "codebook_size",
    "update": "codebook_update",
    "commitment": "commitment_weight",
    "decay": "codebook_decay",
    "revive": "dead_code_threshold",
    "rotate": "rotation_trick",
}
_DISCRIMINATOR = {
    "critic_width": "disc_width",
    "critic_depth": "disc_depth",
    "critic_lr": "disc_lr",
    "r1": "r1_weight",
    "spectral": "spectral_norm",
    "start": "disc_start",
    "tolerance": "recon_tolerance",
    "kl": "beta",
}

#: New names of settings by axis, new name of the part, and old name of the setting.
OLD_SETTINGS: dict[str, dict[str, dict[str, str]]] = {
    "architecture": {
        "vae": {"unconditional": "context_dropout"},
        "ladder": {"unconditional": "context_dropout", "state": "hidden_size"},
        "m2": {"affine": "augment", "units": "hidden_units"},
        "m1m2": {"above": "upper_latent", "affine": "augment", "units": "hidden_units"},
        "vq-vae-2": {"unconditional": "context_dropout", "features": "channels"},
    },
    "net": {"conv": {"hidden": "dense_width"}},
    "likelihood": {
        "gaussian": {"floor": "min_scale"},
        "laplace": {"floor": "min_scale"},
        "discretized-logistic-mixture": {"components": "n_components"},
        "table": {"components": "n_components", "floor": "min_scale", "gaps": "model_missing"},
    },
    "posterior": {
        "gaussian": {"bound": "logvar_bound"},
        "delta-gaussian": {"bound": "logvar_bound"},
        "iaf": {"transforms": "n_transforms", "bound": "logvar_bound"},
        "flow": {"kind": "flow", "transforms": "n_transforms", "bound": "logvar_bound"},
        "von-mises-fisher": {"bound": "log_kappa_bound"},
        "gumbel-softmax": {"classes": "n_classes", "hard": "straight_through"},
        "gaussian-gumbel": {
            "classes": "n_classes",
            "hard": "straight_through",
            "bound": "logvar_bound",
        },
        "vq": _CODEBOOK | {"cosine": "cosine_sim"},
        "residual-vq": _CODEBOOK | {"depth": "n_quantizers"},
        "simvq": _CODEBOOK,
        "lfq": {"entropy": "entropy_weight", "commitment": "commitment_weight"},
    },
    "prior": {
        "learned-gmm": {"components": "n_components"},
        "gmm": {"components": "n_components"},
        "vamp": {"components": "n_components"},
        "flow": {"kind": "flow", "transforms": "n_transforms"},
        "categorical": {"classes": "n_classes"},
        "gaussian-categorical": {"classes": "n_classes"},
        "transformer": {"heads": "n_heads"},
    },
    "objective": {
        "elbo": {"free_level": "free_bits_per_level"},
        "iwae": {"estimator": "gradient_estimator", "kept": "n_kept"},
        "multiply-iwae": {"groups": "n_groups"},
        "piwae": {"groups": "n_groups"},
        "ciwae": {"mix": "elbo_share"},
        "joint-vae": {"numbers": "continuous_capacity", "choice": "discrete_capacity"},
        "beta-tc-vae": {
            "beta": "tc_weight",
            "alpha": "mi_weight",
            "gamma": "dimension_kl_weight",
            "rows": "dataset_size",
        },
        "dip-vae": {"kind": "variant", "off": "lambda_od", "diagonal": "lambda_d"},
        "info-vae": {"weight": "mmd_weight"},
        "wae-mmd": {"weight": "mmd_weight"},
        "rae": {"decoder": "regularizer", "beta": "code_weight", "weight": "decoder_weight"},
        "control-vae": {"kl": "kl_target", "low": "min_weight", "high": "max_weight"},
        "ms-ssim": {"weight": "ssim_weight"},
        "vq-vae": {"weight": "vq_weight"},
        "m1m2": {"generative": "generative_weight"},
        "factor-vae": _DISCRIMINATOR,
        "aae": _DISCRIMINATOR | {"weight": "adv_weight"},
        "wae-gan": _DISCRIMINATOR | {"weight": "adv_weight", "density": "prior_in_logit"},
        "vae-gan": _DISCRIMINATOR
        | {
            "features": "feature_weight",
            "pixels": "pixel_weight",
            "realism": "adv_weight",
            "layer": "feature_layer",
        },
        "patchgan": _DISCRIMINATOR | {"weight": "adv_weight", "features": "feature_weight"},
    },
}

OLD_PLAN = {
    "batch": "batch_size",
    "decay": "lr_schedule",
    "warmup": "lr_warmup",
    "clip": "grad_clip",
    "ema": "ema_decay",
}

#: Values of settings that now have a different name.
OLD_VALUES: dict[str, dict[Any, Any]] = {
    "variant": {1: "i", 2: "ii"},
    "codebook_update": {"average": "ema"},
    "scale": {"elementwise": "per-element", "each": "heteroscedastic"},
}

#: Patterns of weight names with their replacements, in the order in which they are applied.
OLD_WEIGHTS: list[tuple[str, str]] = [
    (r"(^|\.)codebook$", r"\1embedding"),
    (r"^(prior\.)?net\.codes\.weight$", r"\1net.embedding.weight"),
    (r"^(prior\.)?net\.places$", r"\1net.position_embedding"),
    (r"(^|\.)spread\.raw$", r"\1scale.raw"),
    (r"(head|likelihood)\.places$", r"\1.offsets"),
    (r"(^|\.)paint\.(weight|bias)$", r"\1projection.\2"),
    (r"(head\.(?:stages\.\d+\.)?)use$", r"\1usage"),
    (r"(head\.(?:stages\.\d+\.)?)total$", r"\1ema_sum"),
    (r"head\.narrow\.", "head.projection."),
    (r"head\.points$", "head.frozen_codes"),
    (r"head\.map\.", "head.linear."),
    (r"head\.steps\.", "head.transforms."),
    (r"^(prior\.)?net\.out\.", r"\1net.head."),
    (r"^(prior\.)?net\.blocks\.(\d+)\.asks\.", r"\1net.blocks.\2.qkv_proj."),
    (r"^(prior\.)?net\.blocks\.(\d+)\.tells\.", r"\1net.blocks.\2.out_proj."),
    (r"^(prior\.)?net\.blocks\.(\d+)\.before\.", r"\1net.blocks.\2.norm1."),
    (r"^(prior\.)?net\.blocks\.(\d+)\.between\.", r"\1net.blocks.\2.norm2."),
    (r"^(prior\.)?net\.blocks\.(\d+)\.dense\.", r"\1net.blocks.\2.mlp."),
    (r"(^|\.)velocity\.enter\.", r"\1velocity.in_proj."),
    (r"(^|\.)velocity\.when\.", r"\1velocity.embedding."),
    (r"(^|\.)velocity\.turns\.", r"\1velocity.embedding_projs."),
    (r"(^|\.)velocity\.leave\.", r"\1velocity.out_proj."),
    (r"^(prior\.)?weights$", r"\1log_weights"),
    (r"^(prior\.)?spreads$", r"\1log_variances"),
    (r"^(prior\.)?lower$", r"\1scale_tril"),
    (r"^(prior\.)?unit$", r"\1is_unit_interval"),
    (r"^rungs\.(\d+)\.up\.", r"levels.\1.bottom_up."),
    (r"^rungs\.(\d+)\.down\.", r"levels.\1.top_down."),
    (r"^rungs\.(\d+)\.above\.", r"levels.\1.prior_net."),
    (r"^rungs\.(\d+)\.both\.", r"levels.\1.posterior_net."),
    (r"^rungs\.(\d+)\.merge\.", r"levels.\1.latent_proj."),
    (r"^told\.", "context_proj."),
    (r"^below\.", "m1."),
    (r"^above\.classifier\.", "classifier."),
    (r"^above\.", "m2."),
]

#: Additional patterns for M2, whose weights had the names of the weights of a plain VAE.
OLD_M2_WEIGHTS: list[tuple[str, str]] = [(r"^(trunk|encoder|decoder)\.", r"vae.\1.")]

#: The old file and key of each factor that was calibrated on validation rows, by its new name.
OLD_CALIBRATION = {
    "temperature": ("classes.json", "temperature"),
    "imputation_scale": ("cells.json", "width"),
}

OLD_DOMAINS = {"levels": "uint8", "unit": "unit-interval"}

OLD_COLUMN = {"how": "type", "gaps": "has_missing"}
OLD_COLUMN_TYPES = {
    "number": "numeric",
    "choice": "categorical",
    "aside": "ignored",
    "answer": "target",
}

#: The encodings by their old name and whether the file has a byte order mark.
OLD_ENCODINGS = {
    ("utf-8", True): "utf-8-sig",
    ("utf-16-le", True): "utf-16",
    ("utf-16-be", True): "utf-16",
}

OLD_KINDS = {"picture": "image"}
OLD_SOURCES = {"sprites-colour": "sprites-color"}
OLD_METADATA = {"few_labels": "n_labels"}
OLD_OPTIONS = {"size": "image_size"}


def upgrade_spec(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a format-1 spec with the names of this version."""
    new = {OLD_AXES.get(key, key): value for key, value in values.items()}
    for axis in OLD_SETTINGS:
        if axis in new:
            new[axis] = upgrade_part(axis, new[axis])
    if "plan" in new:
        new["plan"] = _rename(new["plan"], OLD_PLAN)
    return new


def upgrade_part(axis: str, part: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """Return the name or the values of a format-1 part with the names of this version."""
    if isinstance(part, str):
        return OLD_PARTS.get(axis, {}).get(part, part)
    name = str(upgrade_part(axis, part["name"]))
    settings = _rename(part, OLD_SETTINGS[axis].get(name, {}))
    for key, values in OLD_VALUES.items():
        if isinstance(settings.get(key), str | int):
            settings[key] = values.get(settings[key], settings[key])
    return settings | {"name": name}


def old_kind(kind: str) -> str:
    """Return the name of a kind of data in format 1."""
    return next((old for old, new in OLD_KINDS.items() if new == kind), kind)


def upgrade_codec(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a format-1 codec with the names of this version."""
    new = dict(values) | {"codec": OLD_KINDS.get(values["codec"], values["codec"])}
    if "domain" in new:
        new["domain"] = OLD_DOMAINS.get(new["domain"], new["domain"])
    if new["codec"] == "table":
        new["columns"] = [_upgrade_column(column) for column in values["columns"]]
        names = [column["name"] for column in values["columns"]]
        new["dialect"] = upgrade_dialect(new.pop("form", {}), names)
    return new


def _upgrade_column(values: Mapping[str, Any]) -> dict[str, Any]:
    new = _rename(values, OLD_COLUMN)
    new["type"] = OLD_COLUMN_TYPES.get(new["type"], new["type"])
    if new["type"] in ("ignored", "target"):
        new.pop("has_missing", None)
    if new["type"] == "target":
        new.pop("value", None)
    return new


def upgrade_dialect(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the values of a format-1 table dialect with the names of this version.

    Format 1 also recorded the quotes, the line endings and the style of each number, which are no
    longer used. It stored the column types of polars and pyarrow as names, from which the types
    cannot be restored.

    Arguments:
        values: The values in format 1.
        names: The names of the columns.
    """
    known = TableDialect().to_json()
    new = {key: value for key, value in values.items() if key in known}
    encoding = (values.get("encoding", "utf-8"), bool(values.get("bom")))
    new["encoding"] = OLD_ENCODINGS.get(encoding, encoding[0])
    tokens = {name: values.get("missing", "") for name in names} | values.get("tokens", {})
    new["missing"] = {name: token for name, token in tokens.items() if token}
    new["dates"] = {
        name: re.sub(r"%\df", "%f", date_format).replace("%-", "%")
        for name, date_format in values.get("dates", {}).items()
    }
    new["library"] = values.get("kind", "pandas")
    return new if new["library"] == "pandas" else new | {"dtypes": {}}


def upgrade_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of a format-1 data.json with the names of this version."""
    new = _rename(values, OLD_METADATA)
    new["model"] = OLD_MODELS.get(new.get("model", ""), new.get("model"))
    new["source"] = OLD_SOURCES.get(new["source"], new["source"])
    return new | {"options": _rename(new["options"], OLD_OPTIONS)}


def upgrade_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return format-1 weights with the names of this version."""
    is_m2 = any(name.startswith("trunk.") for name in tensors)
    patterns = OLD_WEIGHTS + (OLD_M2_WEIGHTS if is_m2 else [])
    return {_upgraded_name(name, patterns): tensor for name, tensor in tensors.items()}


def _upgraded_name(name: str, patterns: list[tuple[str, str]]) -> str:
    for old, new in patterns:
        name = re.sub(old, new, name)
    return name


def _rename(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}
