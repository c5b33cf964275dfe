"""One-screen lessons: a model or a word, its formula, when to use it, and what to watch.

A lesson is a TOML file of plain text beside this one. What papers say of themselves (title, year,
link) stands in the zoo alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

__all__ = ["LESSONS", "MODELS", "TOPICS", "Page"]

#: The lessons about models, in groups, in the order in which a person may want to meet them.
MODELS: dict[str, tuple[str, ...]] = {
    "Where to begin": (
        "vae",
        "mlp-vae",
        "conv-vae",
        "resnet-vae",
        "conditional-vae",
        "linear-vae",
        "autoencoder",
    ),
    "The weight of the KL": (
        "beta-vae",
        "annealed-vae",
        "cyclical-vae",
        "free-bits-vae",
        "annealed-capacity-vae",
        "control-vae",
        "delta-vae",
    ),
    "A tighter bound": ("iwae", "dreg-iwae", "multiply-iwae", "piwae", "ciwae"),
    "Order in the code": ("beta-tc-vae", "factor-vae", "dip-vae-i", "dip-vae-ii", "joint-vae"),
    "Other ways to match the prior": (
        "info-vae",
        "wae-mmd",
        "wae-gan",
        "aae",
        "rae-l2",
        "rae-gp",
    ),
    "Other priors and posteriors": (
        "gaussian-mixture-vae",
        "vamp-vae",
        "flow-prior-vae",
        "flow-matching-vae",
        "iaf-vae",
        "hyperspherical-vae",
        "categorical-vae",
    ),
    "Several levels of code": ("ladder-vae", "very-deep-vae"),
    "Codes from a codebook": (
        "vq-vae",
        "vq-vae-2",
        "residual-vq-vae",
        "fsq-vae",
        "lfq-vae",
        "simvq-vae",
    ),
    "Sharper pictures": ("ms-ssim-vae", "vae-gan", "patchgan-vae"),
    "Labels, few or many": (
        "m1",
        "m2",
        "m1m2",
        "m1m2-stop-gradient",
        "m1m2-skip",
        "classifier-free-vae",
    ),
}

#: The lessons about words.
TOPICS: dict[str, tuple[str, ...]] = {
    "What the words mean": (
        "elbo",
        "reconstruction",
        "kl",
        "nats",
        "likelihood",
        "prior",
        "latent-size",
        "beta",
        "conditioning",
        "codebook",
        "table",
    ),
    "What goes wrong": ("posterior-collapse", "kl-warmup", "blurry-samples"),
    "What is measured of the likelihood": (
        "standard-error",
        "bits-per-dimension",
        "importance-weighted-bound",
        "annealed-importance-sampling",
        "rate-distortion",
    ),
    "What is measured of codes": (
        "active-units",
        "aggregate-posterior",
        "probe",
        "stability",
    ),
    "What is measured beside known factors": (
        "disentanglement",
        "mig",
        "dci",
        "sap",
        "factor-vae-score",
        "modularity",
    ),
    "What is measured of pictures and samples": (
        "ssim",
        "psnr",
        "sharpness",
        "frechet-distance",
        "precision-recall",
        "density-coverage",
        "c2st",
        "memorization",
        "train-on-synthetic",
    ),
    "What is measured of tables": ("column-shapes", "pair-trends", "dcr"),
    "What is measured of classes and scores": ("calibration", "detection-metrics"),
    "What to do with a run": (
        "interpolation",
        "temperature",
        "ex-post-prior",
        "anomaly",
        "imputation",
        "editing",
        "augmentation",
        "compression",
    ),
}


@dataclass(frozen=True)
class Page:
    """What a person should know of a model or a word, as plain text.

    Arguments:
        line: What it is, in half a line.
        what: What it is, in two or three sentences.
        formula: The lines of the formula, to be shown as they are.
        use: When to use it.
        watch: Pitfalls, each with the sign by which it is seen.
        run: From a command, or a setting of the command above it, to what it does (or nothing).
        see: The names of lessons to read next.
        after: The name of the zoo whose reference is shown; by default the lesson's own.
    """

    line: str
    what: str
    formula: tuple[str, ...]
    use: str
    watch: tuple[str, ...]
    run: Mapping[str, str]
    see: tuple[str, ...]
    after: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Page:
        """Read a lesson from its plain form."""
        formula = tuple(values["formula"].strip("\n").splitlines())
        lists = {name: tuple(values[name]) for name in ("watch", "see")}
        return cls(**{**values, **lists, "formula": formula})


def _read(name: str) -> Page:
    text = files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return Page.of(tomllib.loads(text))


LESSONS: dict[str, Page] = {
    name: _read(name) for group in (*MODELS.values(), *TOPICS.values()) for name in group
}
