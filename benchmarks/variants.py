"""Compare variants of VAEs, by what they improve: ``python -m benchmarks.variants NAME ...``.

Each experiment compares variants of one kind in longer training runs than `benchmarks.zoo`, on one
thread unless stated otherwise.

Results are saved in ``benchmarks/results/variants.json`` as they are computed; ``python -m
benchmarks.variants page`` writes the page from them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.records import RESULTS, description, load, metrics_table, save, write_page
from benchmarks.training import CONV_NET, ELBO, frechet_distance, load_dataset, train_model
from varied import functional
from varied.evaluate import mig, sharpness
from varied.models import LatentModel
from varied.seeding import seeded
from varied.spec import Plan

FACES = "faces"


def plan(**values: Any) -> Plan:
    defaults: dict[str, Any] = {"threads": 1, "compile": "no", "batch_size": 256, "lr": 2e-3}
    return Plan(**defaults | values)


def length(args: argparse.Namespace, minutes: float) -> dict[str, Any]:
    """Return the training length: the epochs from the command line, or else minutes."""
    return {"epochs": args.epochs} if args.epochs else {"minutes": args.minutes or minutes}


def record(experiment: str, name: str, result: dict[str, Any]) -> None:
    save("variants", f"{experiment}/{name}", result)
    print(experiment, name, json.dumps(result), flush=True)


# Importance weighting, with one stochastic layer as in the paper


TANH = {"name": "mlp", "width": 200, "depth": 2, "activation": "tanh"}


@dataclass(frozen=True)
class Phase:
    """A training phase with one bound, which continues from the weights of the phase ``start``."""

    samples: int
    epochs: float
    lr: float
    batch_size: int
    start: int | None = None
    lr_schedule: str = "cosine"
    threads: int = 1
    n_kept: int = 0

    @property
    def objective(self) -> dict[str, Any]:
        """The ELBO for one sample, else the IWAE bound."""
        if self.samples == 1:
            return ELBO
        bound = {"name": "iwae", "samples": self.samples, "gradient_estimator": "dreg"}
        return bound | {"n_kept": self.n_kept}

    def plan(self, scale: float) -> Plan:
        """Return the training plan, with the epochs multiplied by ``scale``."""
        return plan(
            batch_size=self.batch_size,
            lr=self.lr,
            epochs=self.epochs * scale,
            lr_schedule=self.lr_schedule,
            threads=self.threads,
            compile="yes",
        )


#: A step with 50 samples takes as long as ten steps with one, so K = 50 continues from K = 5.
PHASES = (
    Phase(1, 1200, 2e-3, 100),
    Phase(5, 560, 3e-3, 250, lr_schedule="none", threads=2),
    Phase(5, 900, 3e-3, 250, start=1),
    Phase(50, 195, 2e-3, 100, start=1, n_kept=5),
)


def iwae(args: argparse.Namespace) -> None:
    """IWAE with 1, 5 and 50 samples and the network of the paper; log p(x) is estimated from 5,000
    samples.

    The models with K = 5 and K = 50 share 560 epochs with K = 5 and a constant learning rate (on
    two threads). Then the learning rate decays, and the model with K = 50 backpropagates through 5
    samples, which are selected by their weights. The encoder uses the doubly reparameterized
    gradient. Seconds are those of the last phase.
    """
    dataset = load_dataset("mnist", with_validation=True)
    weights: dict[int, dict[str, Tensor]] = {}
    for index, phase in enumerate(PHASES):
        file = args.weights and args.weights / f"iwae-{index}.safetensors"
        if file and file.exists():
            weights[index] = load_file(file)
            continue
        if args.only and str(phase.samples) not in args.only:
            continue
        scale = args.epochs or 1

        def load_weights(model: LatentModel, start: int | None = phase.start) -> None:
            if start is not None:
                model.load_state_dict(weights[start])

        parts = {"net": TANH, "latent": 50, "objective": phase.objective}
        trained = train_model(dataset, phase.plan(scale), parts, prepare=load_weights)
        weights[index] = trained.model.state_dict()
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(weights[index], file)
        print(phase, trained.seconds, flush=True)
        if phase.lr_schedule == "none":  # an intermediate phase
            continue
        before = 0 if phase.start is None else PHASES[phase.start].epochs
        epochs = (phase.epochs + before) * scale
        result = trained.metrics(samples=5000, limit=args.limit)
        record("iwae", str(phase.samples), result | {"epochs": epochs})


def ladder(args: argparse.Namespace) -> None:
    """Five levels of latent variables compared with one level, with no more parameters and the same
    number of epochs.
    """
    dataset, epochs = load_dataset("mnist"), args.epochs or 16
    architecture = {"name": "ladder", "levels": 5, "hidden_size": 160}
    variants: dict[str, tuple[float, dict[str, Any]]] = {
        "vae": (4e-3, {"latent": 32}),
        "ladder": (3e-3, {"latent": 16, "architecture": architecture}),
    }
    for name, (lr, parts) in variants.items():
        trained = train_model(dataset, plan(epochs=epochs, lr=lr), parts)
        record("ladder", name, trained.metrics(samples=200, limit=2000))


def densities(args: argparse.Namespace) -> None:
    """Learned priors and posteriors compared with the defaults, with the same networks and number
    of epochs.
    """
    dataset, epochs = load_dataset("mnist"), args.epochs or 40
    variants: dict[str, dict[str, Any]] = {
        "vae": {},
        "vamp-vae": {"prior": "vamp"},
        "flow-prior-vae": {"prior": "flow"},
        "iaf-vae": {"posterior": "iaf"},
        "gaussian-mixture-vae": {"prior": "learned-gmm"},
    }
    for name in args.only or variants:
        parts = {"latent": 32} | variants[name]
        trained = train_model(dataset, plan(epochs=epochs, lr=4e-3), parts)
        record("densities", name, trained.metrics(samples=200, limit=2000))


def samples(args: argparse.Namespace) -> None:
    """Fréchet distance of samples from test digits, for discrete codes, WAE, RAE and VAE.

    Models with a codebook have a convolutional network, and fitting their prior takes additional
    time. `vae-long` therefore trains for 13 times as many epochs as `vae`, which takes about as
    long as they do; `vq-vae-long` fits its prior for 11 minutes.
    """
    dataset = load_dataset("mnist")
    codes: dict[str, Any] = {
        "latent": (16, 7, 7),
        "net": CONV_NET,
        "prior": "transformer",
        "objective": "vq-vae",
    }
    rae = {"latent": 16, "posterior": "deterministic", "prior": "gmm"}
    variants: dict[str, dict[str, Any]] = {
        "vae": {"latent": 32},
        "vae-long": {"latent": 32},
        "vq-vae": codes | {"posterior": "vq"},
        "vq-vae-long": codes | {"posterior": "vq"},
        "fsq-vae": codes | {"posterior": "fsq"},
        "simvq-vae": codes | {"posterior": "simvq"},
        "wae-mmd": {"latent": 16, "posterior": "deterministic", "objective": "wae-mmd"},
        "rae-l2": rae | {"objective": {"name": "rae", "regularizer": "l2"}},
        "rae-gp": rae | {"objective": {"name": "rae", "regularizer": "gp"}},
        "flow-matching-vae": {
            "latent": 32,
            "prior": "flow-matching",
            "objective": {"name": "elbo", "beta": 0.5},
        },
    }
    real = dataset.model_input("test", 10_000)
    for name in args.only or variants:
        factor = 13 if name == "vae-long" else 1
        duration = {key: factor * value for key, value in length(args, 3).items()}
        prior_minutes = 11 if name == "vq-vae-long" else 0
        trained = train_model(
            dataset, plan(**duration), variants[name], prior_minutes=prior_minutes
        )
        result = trained.metrics(limit=2000)
        with seeded(0, "draws"):
            binary = torch.bernoulli(trained.samples(10_000))
        result["frechet"] = frechet_distance(binary, real)
        trained.save_samples(RESULTS / "samples" / f"{name}.png")
        record("samples", name, result)


def faces(args: argparse.Namespace) -> None:
    """Codebook usage, and sharpness with a discriminator, on faces of 64 x 64 pixels.

    Models without a codebook use nearest-neighbor upsampling: transposed convolutions leave a
    checkerboard pattern in faces, which the variance of the Laplacian counts as sharpness. Their
    batch size is 16. In `vae-gan-strong`, the feature weight is 10 times the default and the
    adversarial weight is 5 times the default: reconstructions are sharper, but mouths are
    distorted in samples.
    """
    dataset = load_dataset(args.faces)
    codes = {"latent": (16, 16, 16), "net": CONV_NET, "prior": "transformer", "objective": "vq-vae"}
    pixels = {"latent": 64, "net": CONV_NET | {"upsample": "nearest"}}
    strong = {"name": "vae-gan", "feature_weight": 1.0, "adv_weight": 0.5}
    variants: dict[str, dict[str, Any]] = {
        "vae": pixels,
        "vae-gan": pixels | {"objective": "vae-gan"},
        "vae-gan-strong": pixels | {"objective": strong},
        "patchgan-vae": pixels | {"objective": "patchgan"},
        "vq-vae": codes | {"posterior": "vq"},
        "fsq-vae": codes | {"posterior": "fsq"},
        "simvq-vae": codes | {"posterior": "simvq"},
    }
    x = dataset.model_input("test", 400)
    for name in args.only or variants:
        batch_size = 64 if "posterior" in variants[name] else 16
        duration = plan(**length(args, 6), batch_size=batch_size, lr=1e-3)
        parts = {"likelihood": "discretized-logistic"} | variants[name]
        trained = train_model(dataset, duration, parts)
        reconstructions = functional.reconstruct(trained.model, x)
        result = trained.metrics() | {
            "sharpness": sharpness(reconstructions).value,
            "data_sharpness": sharpness(x).value,
            "mse": float((reconstructions - x).square().mean()),
        }
        record("faces", name, result)


def factors(args: argparse.Namespace) -> None:
    """Mutual information gap on sprites with known factors, over three seeds."""
    dataset = load_dataset("sprites")
    dip_vae: dict[str, Any] = {"name": "dip-vae"}
    variants: dict[str, dict[str, Any]] = {
        "vae": {},
        "beta-vae": {"objective": {"name": "elbo", "beta": 4.0}},
        "beta-tc-vae": {"objective": "beta-tc-vae"},
        "factor-vae": {"objective": "factor-vae"},
        "dip-vae-i": {"objective": dip_vae | {"variant": "i", "lambda_od": 50, "lambda_d": 5}},
        "dip-vae-ii": {"objective": dip_vae | {"variant": "ii", "lambda_od": 200, "lambda_d": 200}},
    }
    labels = dataset.labels("train", 10_000)
    parts: dict[str, Any] = {"net": CONV_NET | {"width": 8}, "latent": 10}
    for name in args.only or variants:
        gaps = []
        for seed in range(args.seeds):
            duration = plan(**length(args, 2), batch_size=64, lr=1e-3, seed=seed)
            trained = train_model(dataset, duration, parts | variants[name])
            gaps.append(mig(trained.encode("train", 10_000), labels).value)
            print(name, seed, gaps[-1], flush=True)
        std = statistics.stdev(gaps) if len(gaps) > 1 else None
        scores = {"mig": statistics.mean(gaps), "mig_std": std, "mig_by_seed": gaps}
        record("factors", name, trained.metrics(limit=2000) | scores)


EXPERIMENTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "iwae": iwae,
    "ladder": ladder,
    "densities": densities,
    "samples": samples,
    "faces": faces,
    "factors": factors,
}


def page() -> None:
    """Write the page from all saved results."""
    results = load("variants")
    lines = ["# Comparison of variants", "", description(__doc__), ""]
    for name, experiment in EXPERIMENTS.items():
        rows = {k.partition("/")[2]: v for k, v in results.items() if k.startswith(f"{name}/")}
        if rows:
            lines += [f"## {name}", ""]
            for paragraph in (inspect.getdoc(experiment) or "").split("\n\n"):
                lines += [" ".join(paragraph.split()), ""]
            lines += [*metrics_table(rows), ""]
    write_page("variants", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=[*EXPERIMENTS, "page"])
    parser.add_argument("--only", nargs="+", help="train only these variants")
    parser.add_argument("--minutes", type=float, help="minutes per training run")
    parser.add_argument("--epochs", type=float, help="epochs per training run")
    parser.add_argument("--limit", type=int, help="maximum number of test rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=Path, help="the folder of the weights, to resume iwae")
    parser.add_argument("--faces", default=FACES, help="the folder of face images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names:
        page() if name == "page" else EXPERIMENTS[name](args)


if __name__ == "__main__":
    main()
