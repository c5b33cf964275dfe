"""What each variant of the family promises, measured: ``python -m benchmarks.family WORK ...``.

Each work prints its figures as they come and keeps them in ``benchmarks/results/family.json``;
``python -m benchmarks.family table`` writes the page from all that were kept. A work runs on one
thread, so that two can run side by side on two cores.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.pages import markdown
from benchmarks.trained import ELBO, RESULTS, data, distance, keep, trained
from varied import functional
from varied.evaluate.disentanglement import mig
from varied.evaluate.frechet import sharpness
from varied.seeding import seeded
from varied.spec import Plan

FACES = "faces"


def plan(**values: Any) -> Plan:
    return Plan(**({"threads": 1, "compile": "no", "batch_size": 256, "lr": 2e-3} | values))


def length(wanted: argparse.Namespace, minutes: float) -> dict[str, float]:
    """Return how long to train: the epochs that were asked for, or minutes."""
    return {"epochs": wanted.epochs} if wanted.epochs else {"minutes": wanted.minutes or minutes}


def told(work: str, name: str, found: dict[str, Any]) -> None:
    keep("family", f"{work}/{name}", found)
    print(work, name, json.dumps(found), flush=True)


# One stochastic layer, as in the paper on importance weighting


TANH = {"name": "mlp", "width": 200, "depth": 2, "activation": "tanh"}


@dataclass(frozen=True)
class Stretch:
    """Epochs of one bound; ``first`` is the stretch from whose weights it goes on."""

    samples: int
    epochs: float
    lr: float
    batch: int
    first: int | None = None
    decay: str = "cosine"
    threads: int = 1
    kept: int = 0


#: A step of 50 samples costs as much as ten steps of one, so fifty go on from five.
STRETCHES = (
    Stretch(1, 1200, 2e-3, 100),
    Stretch(5, 560, 3e-3, 250, lr_schedule="none", threads=2),
    Stretch(5, 900, 3e-3, 250, first=1),
    Stretch(50, 195, 2e-3, 100, first=1, kept=5),
)


def iwae(wanted: argparse.Namespace) -> None:
    """IWAE with 1, 5 and 50 samples, on the paper's network; log p(x) by 5,000 samples.

    Five and fifty samples share 560 epochs of five at one learning rate (on two threads); from
    there on it falls, and fifty learn from five of them, picked by their weights. The encoder has
    the doubly reparameterized gradient. The seconds are those of the last stretch.
    """
    here, ends = data("mnist", everything=True), dict[int, Any]()
    for index, one in enumerate(STRETCHES):
        file = wanted.weights and wanted.weights / f"iwae-{index}.safetensors"
        if file and file.exists():
            ends[index] = load_file(file)
            continue
        if wanted.only and str(one.samples) not in wanted.only:
            continue
        bound = {
            "name": "iwae",
            "samples": one.samples,
            "gradient_estimator": "dreg",
            "n_kept": one.kept,
        }
        how = plan(
            batch=one.batch,
            lr=one.lr,
            epochs=one.epochs * (wanted.epochs or 1),
            decay=one.decay,
            threads=one.threads,
            compile="yes",
        )
        start = None if one.first is None else ends[one.first]
        objective = ELBO if one.samples == 1 else bound
        made = trained(here, how, start=start, net=TANH, latent=50, objective=objective)
        ends[index] = made.model.state_dict()
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(ends[index], file)
        print(one, made.seconds, flush=True)
        if one.decay == "none":  # the middle of a way
            continue
        before = 0 if one.first is None else STRETCHES[one.first].epochs
        epochs = (one.epochs + before) * (wanted.epochs or 1)
        found = made.numbers(samples=5000, most=wanted.most)
        told("iwae", str(one.samples), found | {"epochs": epochs})


# Levels


def ladder(wanted: argparse.Namespace) -> None:
    """Five levels beside one, after the same epochs, with no more parameters."""
    here, epochs = data("mnist"), wanted.epochs or 16
    levels = {"name": "ladder", "levels": 5, "hidden_size": 160}
    for name, parts in {
        "vae": {"latent": 32},
        "ladder": {"latent": 16, "architecture": levels},
    }.items():
        lr = 4e-3 if name == "vae" else 3e-3
        one = trained(here, plan(epochs=epochs, lr=lr), **parts)
        told("ladder", name, one.numbers(samples=200, most=2000))


# Densities


def densities(wanted: argparse.Namespace) -> None:
    """Priors and posteriors beside the plain ones, with the same network for as many epochs."""
    here, epochs = data("mnist"), wanted.epochs or 40
    variants: dict[str, dict[str, Any]] = {
        "vae": {},
        "vamp-vae": {"prior": "vamp"},
        "flow-prior-vae": {"prior": "flow"},
        "iaf-vae": {"posterior": "iaf"},
        "gaussian-mixture-vae": {"prior": "learned-gmm"},
    }
    for name in wanted.only or variants:
        one = trained(here, plan(epochs=epochs, lr=4e-3), latent=32, **variants[name])
        told("densities", name, one.numbers(samples=200, most=2000))


# Samples, by the features of a digit classifier


def samples(wanted: argparse.Namespace) -> None:
    """How far samples are from test digits: codes with a learned prior, WAE, RAE, and the VAE.

    Codes from a codebook take a convolutional network, and their prior time of its own. So there
    is a second VAE, ``vae-long``, with 13 times the epochs, which is about as many seconds as codes
    take; ``vq-vae-long`` fits its prior for 11 minutes.
    """
    here = data("mnist")
    codes = {"latent": (16, 7, 7), "net": "conv", "prior": "transformer", "objective": "vq-vae"}
    rae = {"posterior": "deterministic", "prior": "gmm"}
    variants: dict[str, dict[str, Any]] = {
        "vae": {"latent": 32},
        "vae-long": {"latent": 32},
        "vq-vae": codes | {"posterior": "vq"},
        "vq-vae-long": codes | {"posterior": "vq", "fit": 11},
        "fsq-vae": codes | {"posterior": "fsq"},
        "simvq-vae": codes | {"posterior": "simvq"},
        "wae-mmd": {"latent": 16, "posterior": "deterministic", "objective": "wae-mmd"},
        "rae-l2": rae | {"latent": 16, "objective": {"name": "rae", "regularizer": "l2"}},
        "rae-gp": rae | {"latent": 16, "objective": {"name": "rae", "regularizer": "gp"}},
        "flow-matching-vae": {
            "latent": 32,
            "prior": "flow-matching",
            "objective": {"name": "elbo", "beta": 0.5},
        },
    }
    real = here.as_model_input("test", 10_000)
    for name in wanted.only or variants:
        times = 13 if name == "vae-long" else 1
        how = {key: times * value for key, value in length(wanted, 3).items()}
        one = trained(here, plan(**how), **variants[name])
        found = one.numbers(most=2000)
        with seeded(0, "draws"):
            drawn = torch.bernoulli(one.samples(10_000))
        found["frechet"] = distance(drawn, real)
        one.strip(RESULTS / "samples" / f"{name}.png")
        told("samples", name, found)


def faces(wanted: argparse.Namespace) -> None:
    """Codes in use, and sharpness with a critic, on faces of 64 x 64; no picture is kept.

    Those that learn pixels repeat them to double a map: transposed convolutions leave ripples in
    the faces, which the variance of the Laplacian takes for sharpness. They learn in batches of 16.
    In ``vae-gan-strong`` the features weigh ten times, and realism five times, what they do by
    default: copies are sharper, but mouths of samples break up.
    """
    here = data(wanted.faces)
    codes = {"latent": (16, 16, 16), "net": "conv", "prior": "transformer", "objective": "vq-vae"}
    net = {"name": "conv", "upsample": "nearest"}
    pixels = {"latent": 64, "net": net, "likelihood": "discretized-logistic"}
    variants: dict[str, dict[str, Any]] = {
        "vae": pixels,
        "vae-gan": pixels | {"objective": "vae-gan"},
        "vae-gan-strong": pixels
        | {"objective": {"name": "vae-gan", "feature_weight": 1.0, "adversarial": 0.5}},
        "patchgan-vae": pixels | {"objective": "patchgan"},
        "vq-vae": codes | {"posterior": "vq", "likelihood": "discretized-logistic"},
        "fsq-vae": codes | {"posterior": "fsq", "likelihood": "discretized-logistic"},
        "simvq-vae": codes | {"posterior": "simvq", "likelihood": "discretized-logistic"},
    }
    x = here.as_model_input("test", 400)
    for name in wanted.only or variants:
        batch = 64 if "posterior" in variants[name] else 16
        one = trained(here, plan(**length(wanted, 6), batch=batch, lr=1e-3), **variants[name])
        made = functional.reconstruct(one.model, x)
        found = one.numbers()
        found["sharpness"] = sharpness(made).value
        found["sharpness_of_data"] = sharpness(x).value
        found["mse"] = float((made - x).square().mean())
        told("faces", name, found)


# Factors


def factors(wanted: argparse.Namespace) -> None:
    """The mutual information gap on sprites with known factors, over three seeds."""
    here = data("sprites")
    variants: dict[str, dict[str, Any]] = {
        "vae": {},
        "beta-vae": {"objective": {"name": "elbo", "beta": 4.0}},
        "beta-tc-vae": {"objective": "beta-tc-vae"},
        "factor-vae": {"objective": "factor-vae"},
        "dip-vae-i": {
            "objective": {"name": "dip-vae", "variant": 1, "lambda_od": 50, "lambda_d": 5}
        },
        "dip-vae-ii": {
            "objective": {"name": "dip-vae", "variant": 2, "lambda_od": 200, "lambda_d": 200}
        },
    }
    known = here.items.labels[data_rows(here)]
    for name in wanted.only or variants:
        gaps = []
        for seed in range(wanted.seeds):
            how = plan(**length(wanted, 2), batch_size=64, lr=1e-3, seed=seed)
            net = {"name": "conv", "width": 8}
            one = trained(here, how, **({"net": net, "latent": 10} | variants[name]))
            codes = functional.embed(one.model, here.codec.load, here.rows("train", 10_000))
            gaps.append(mig(codes, known).value)
            print(name, seed, gaps[-1], flush=True)
        spread = statistics.stdev(gaps) if len(gaps) > 1 else None
        mean = statistics.mean(gaps)
        numbers = one.numbers(most=2000)
        told("factors", name, numbers | {"mig": mean, "mig_spread": spread, "migs": gaps})


def data_rows(here: Any) -> Any:
    """Return which items the first training rows are."""
    from varied.data import split

    return split(here.items, seed=0).train[:10_000]


WORKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "iwae": iwae,
    "ladder": ladder,
    "densities": densities,
    "samples": samples,
    "faces": faces,
    "factors": factors,
}


def table() -> None:
    """Write the page from all figures that were kept."""
    held = json.loads((RESULTS / "family.json").read_text("utf-8"))
    about = (__doc__ or "").split("\n\n")[1].replace("\n", " ").replace("``", "`")
    lines = ["# The family, measured", "", about, ""]
    for work, run in WORKS.items():
        rows = {k.partition("/")[2]: v for k, v in held.items() if k.startswith(f"{work}/")}
        if rows:
            lines += [f"## {work}", "", inspect.getdoc(run) or "", "", *markdown(rows), ""]
    (RESULTS / "family.md").write_text("\n".join(lines), "utf-8")


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("works", nargs="+", choices=[*WORKS, "table"])
    asks.add_argument("--only", nargs="+", help="these variants alone")
    asks.add_argument("--minutes", type=float, help="minutes of each training")
    asks.add_argument("--epochs", type=float, help="epochs of each training")
    asks.add_argument("--most", type=int, help="test rows, at most")
    asks.add_argument("--seeds", type=int, default=3)
    asks.add_argument("--weights", type=Path, help="a folder to go on from where a work was cut")
    asks.add_argument("--faces", default=FACES, help="a folder of faces")
    wanted = asks.parse_args()
    torch.set_num_threads(1)
    for name in wanted.works:
        table() if name == "table" else WORKS[name](wanted)


if __name__ == "__main__":
    sys.exit(main())
