"""Claims about the latent space: sampling, interpolation and clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.claims.base import (
    Budget,
    Claim,
    Image,
    MeanStd,
    Outcome,
    Table,
    cached_model,
    over_seeds,
    verdict,
)
from benchmarks.training import TrainedModel, digit_features, frechet_distance, load_dataset
from varied import functional
from varied.evaluate import is_active
from varied.functional.interpolate import linear
from varied.plots import side_by_side

LATENT, EPOCHS = 16, 16
VAE: dict[str, Any] = {"latent": LATENT}
AUTOENCODER = VAE | {"posterior": "deterministic", "objective": "reconstruction"}
MODELS = {"VAE": VAE, "autoencoder": AUTOENCODER}


def default_model(name: str, seed: int, budget: Budget) -> TrainedModel:
    return cached_model("mnist", budget.epochs(EPOCHS), seed, MODELS[name])


def gray_digits(name: str, n: int) -> Tensor:
    """Return digits of a split in [0, 1]; the input to the models is binarized."""
    return load_dataset("mnist").splits[name].x[:n].float() / 255


def digit_classes(name: str, n: int) -> np.ndarray:
    return load_dataset("mnist").labels(name, n)


def confident_fraction(images: Tensor, threshold: float = 0.95) -> float:
    """Return the fraction of images that the digit classifier assigns confidently to a class."""
    net = digit_features()
    with torch.no_grad():
        p = torch.cat([net(batch).softmax(-1).amax(-1) for batch in images.split(500)])
    return float((p > threshold).float().mean())


def decode(trained: TrainedModel, z: Tensor) -> Tensor:
    return torch.cat([functional.decode(trained.model, codes) for codes in z.split(500)])


def standard_normal(n: int, seed: int) -> Tensor:
    return torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed))


def to_uint8(images: Tensor, n: int = 12) -> np.ndarray:
    """Return the first n images as uint8, with shape (n, H, W)."""
    array: np.ndarray = (255 * images[:n, 0]).round().to(torch.uint8).numpy()
    return array


def sampling(budget: Budget) -> Outcome:
    """A VAE and an autoencoder with the same networks (two layers of 512 units, latent dimension
    16) are trained on MNIST for 16 epochs. Codes are sampled from a standard normal distribution
    and decoded. For a fair comparison, codes of the autoencoder are also sampled from a normal
    distribution with the mean and covariance of its training codes. The Fréchet distance compares
    equal numbers of samples and test digits in the feature space of a classifier; the second metric
    is the fraction of samples that this classifier assigns to a class with a probability above 95%.
    """
    n, seeds = budget.rows(10_000), budget.seeds()
    real = gray_digits("test", n)

    def sample(name: str, seed: int, fitted: bool) -> Tensor:
        trained, z = default_model(name, seed, budget), standard_normal(n, seed)
        if fitted:
            codes = trained.encode("train", 10_000).double()
            root = torch.linalg.cholesky(codes.T.cov() + 1e-6 * torch.eye(LATENT))
            z = (codes.mean(0) + z.double() @ root.T).float()
        return decode(trained, z)

    methods = {
        "VAE, prior": ("VAE", "VAE", False),
        "autoencoder, standard normal": ("autoencoder", "autoencoder", False),
        "autoencoder, Gaussian fitted to its codes": ("autoencoder, fitted", "autoencoder", True),
    }
    rows, strips, distances = [], [("test digits", to_uint8(real))], []
    for method, (title, name, fitted) in methods.items():
        samples = [sample(name, seed, fitted) for seed in seeds]
        distances.append(MeanStd.of(frechet_distance(x, real) for x in samples))
        confident = MeanStd.of(100 * confident_fraction(x) for x in samples)
        rows.append((method, f"{distances[-1]:.1f}", f"{confident:.1f}%"))
        strips.append((title, to_uint8(samples[0])))
    train = gray_digits("train", n)
    reference = f"{frechet_distance(train, real):.1f}"
    rows.append(("training digits", reference, f"{100 * confident_fraction(train):.1f}%"))
    side_by_side(strips, budget.folder / "sampling.png")
    vae, plain, normal = distances
    return Outcome(
        verdict(vae.is_below(plain), vae.is_below(normal)),
        f"The Fréchet distance is {vae:.0f} for the VAE, {plain:.0f} for the autoencoder, and "
        f"{normal:.0f} for the autoencoder with a Gaussian fitted to its codes.",
        [Table(("codes", "Fréchet distance", "confident"), rows, over_seeds(seeds))],
        [Image("sampling.png", "Test digits, and samples from each method, one row each.")],
    )


def interpolation(budget: Budget) -> Outcome:
    """For pairs of test digits of different classes, the VAE and the autoencoder of claim 1 decode
    the midpoint of the two codes. The baseline is the mean of the pixels of the two digits. The
    Fréchet distance compares midpoints with test digits; the second metric is the fraction of
    midpoints that a classifier assigns to a class with a probability above 95%. If an interpolation
    leaves the data distribution, its midpoint does not look like a digit.
    """
    n, seeds = budget.rows(5_000), budget.seeds()
    a, b = pairs_of_different_classes(n)
    x = gray_digits("test", 10_000)
    midpoints = {}
    for name in MODELS:
        codes = {seed: default_model(name, seed, budget).encode("test", 10_000) for seed in seeds}
        midpoints[name] = [
            decode(default_model(name, seed, budget), (z[a] + z[b]) / 2)
            for seed, z in codes.items()
        ]
    midpoints["mean of pixels"] = [(x[a] + x[b]) / 2]
    rows, distances, confident = [], [], []
    for name, images in midpoints.items():
        distances.append(MeanStd.of(frechet_distance(batch, x[:n]) for batch in images))
        confident.append(MeanStd.of(100 * confident_fraction(batch) for batch in images))
        metrics = (distances[-1], confident[-1])
        rows.append(
            (name, *(f"{m:.1f}" if len(m.values) > 1 else f"{m.mean:.1f}" for m in metrics))
        )
    _plot_paths(budget, a, b, x)
    vae, auto, pixels = distances
    return Outcome(
        verdict(vae.is_below(auto), vae.mean < pixels.mean),
        f"At the midpoint, the Fréchet distance is {vae:.0f} for the VAE, {auto:.0f} for the "
        f"autoencoder and {pixels.mean:.0f} for the mean of the pixels; the classifier is "
        f"confident for {confident[0]:.0f}%, {confident[1]:.0f}% and {confident[2].mean:.0f}% "
        "of the midpoints, respectively.",
        [
            Table(
                ("midpoints of", "Fréchet distance", "confident, %"),
                rows,
                f"{over_seeds(seeds)} {n:,} pairs.",
            )
        ],
        [Image("interpolation.png", "Paths between digits of different classes, by each method.")],
    )


def pairs_of_different_classes(n: int) -> tuple[Tensor, Tensor]:
    """Return the indices of n pairs of test digits of different classes."""
    y = torch.from_numpy(digit_classes("test", 10_000))
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(len(y), (2, 2 * n), generator=generator).unbind()
    differ = y[a] != y[b]
    return a[differ][:n], b[differ][:n]


def _plot_paths(budget: Budget, a: Tensor, b: Tensor, x: Tensor, steps: int = 11) -> None:
    t, strips = torch.linspace(0, 1, steps), []
    for pair in range(2):
        for name in MODELS:
            trained = default_model(name, 0, budget)
            z = trained.encode("test", 10_000)
            path = linear(z[a[pair]][None], z[b[pair]][None], t)[0]
            strips.append((name, to_uint8(decode(trained, path), steps)))
        weight = t[:, None, None, None]
        mixed = (1 - weight) * x[a[pair]] + weight * x[b[pair]]
        strips.append(("mean of pixels", to_uint8(mixed, steps)))
    side_by_side(strips, budget.folder / "interpolation.png")


def without_kl(budget: Budget) -> Outcome:
    """VAEs with the networks of claim 1 are trained for 16 epochs, each with a constant KL weight:
    1, 0.1, 0.01 or 0. The table shows the standard deviation of the posterior relative to that of
    the codes of all digits (median over active units), the reconstruction error, and the Fréchet
    distance of samples from the prior.
    """
    n, seeds = budget.rows(5_000), budget.seeds()
    real, rows, stds, distances = gray_digits("test", n), [], {}, {}
    for beta in (1.0, 0.1, 0.01, 0.0):
        parts = VAE | {"objective": {"name": "elbo", "beta": beta}}
        models = [cached_model("mnist", budget.epochs(EPOCHS), seed, parts) for seed in seeds]
        stds[beta] = MeanStd.of(relative_posterior_std(model, n) for model in models)
        distances[beta] = MeanStd.of(
            frechet_distance(decode(model, standard_normal(n, seed)), real)
            for model, seed in zip(models, seeds, strict=True)
        )
        error = MeanStd.of(model.evaluation(limit=n).reconstruction.value for model in models)
        rows.append((f"{beta:g}", f"{stds[beta]:.4f}", f"{error:.1f}", f"{distances[beta]:.0f}"))
    auto = default_model("autoencoder", 0, budget)
    auto_error = auto.evaluation(limit=n).reconstruction.value
    distance = frechet_distance(decode(auto, standard_normal(n, 0)), real)
    rows.append(("autoencoder", "0", f"{auto_error:.1f}", f"{distance:.0f}"))
    header = ("beta", "relative posterior std", "reconstruction, nats", "Fréchet distance")
    return Outcome(
        verdict(stds[0.0].mean < 0.05 * stds[1.0].mean, distances[1.0].is_below(distances[0.0])),
        f"The standard deviation of the posterior, relative to that of all codes, falls from "
        f"{stds[1.0]:.3f} to {stds[0.0]:.4f}, and the Fréchet distance of samples rises from "
        f"{distances[1.0]:.0f} to {distances[0.0]:.0f}; for an autoencoder, it is {distance:.0f}.",
        [Table(header, rows, over_seeds(seeds))],
    )


def relative_posterior_std(trained: TrainedModel, n: int) -> float:
    """Return the median ratio of the posterior's standard deviation to that of all codes.

    Only active units are included, since the posterior of an inactive unit is the prior.
    """
    batches = trained.dataset.batches("test", n)
    codes = functional.encode(trained.model, trained.dataset.codec.load, batches)
    active = is_active(codes.mean)
    return float((codes.std / codes.mean.std(0))[:, active].median())


def clusters(budget: Budget) -> Outcome:
    """The experiment uses the codes of the VAE of claim 1, which was trained without labels.
    K-means with ten clusters is run on codes and on pixels; the normalized mutual information
    measures the agreement with the classes. Then a linear classifier and a nearest-neighbor
    classifier are trained with few labels, on codes and on pixels, and tested on 10,000 digits. The
    labels are drawn separately for each seed, with the same number per class.
    """
    n, seeds = budget.rows(10_000), budget.seeds()
    x, y = gray_digits("train", 50_000).flatten(1).numpy(), digit_classes("train", 50_000)
    pixels = x, gray_digits("test", n).flatten(1).numpy()
    test_y = digit_classes("test", n)
    codes = {}
    for seed in seeds:
        vae = default_model("VAE", seed, budget)
        codes[seed] = (vae.encode("train", 50_000).numpy(), vae.encode("test", n).numpy())

    def clustering(z: np.ndarray, seed: int) -> float:
        labels = KMeans(10, n_init=3, random_state=seed).fit_predict(z[:10_000])
        return float(normalized_mutual_info_score(y[:10_000], labels))

    def error(kind: str, n_labels: int, train: np.ndarray, test: np.ndarray, seed: int) -> float:
        rows = rows_of_each_class(y, n_labels, seed)
        classifier = build_classifier(kind, n_labels).fit(train[rows], y[rows])
        return 100 * float((classifier.predict(test) != test_y).mean())

    nmi_codes = MeanStd.of(clustering(codes[seed][0], seed) for seed in seeds)
    nmi_pixels = MeanStd.of(clustering(x, seed) for seed in seeds)
    rows, errors = [], {}
    for n_labels in (10, 100, 1000):
        for space in ("codes", "pixels"):
            for kind in ("linear", "neighbors"):
                errors[n_labels, space, kind] = MeanStd.of(
                    error(kind, n_labels, *(codes[seed] if space == "codes" else pixels), seed)
                    for seed in seeds
                )
        cells = [value for key, value in errors.items() if key[0] == n_labels]
        rows.append((f"{n_labels:,}", *(f"{value:.1f}" for value in cells)))
    best = {
        space: min((errors[100, space, k] for k in ("linear", "neighbors")), key=lambda e: e.mean)
        for space in ("codes", "pixels")
    }
    kinds = ("linear classifier", "nearest neighbors")
    header = ("labels", *(f"{space}, {kind}" for space in ("codes", "pixels") for kind in kinds))
    return Outcome(
        verdict(nmi_pixels.is_below(nmi_codes), best["codes"].is_below(best["pixels"])),
        f"The normalized mutual information of K-means clusters and classes is {nmi_codes:.2f} on "
        f"codes and {nmi_pixels:.2f} on pixels (1 is perfect). With 100 labels, the error of the "
        f"better classifier is {best['codes']:.1f}% on codes and {best['pixels']:.1f}% on "
        "pixels.",
        [Table(header, rows, f"Error in percent. {over_seeds(seeds)}")],
    )


def rows_of_each_class(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the indices of n rows, with the same number per class."""
    random = np.random.default_rng(seed)
    rows = [random.choice(np.flatnonzero(y == k), n // 10, replace=False) for k in range(10)]
    return np.concatenate(rows)


def build_classifier(kind: str, n_labels: int) -> LogisticRegression | KNeighborsClassifier:
    if kind == "linear":
        return LogisticRegression(max_iter=2000)
    return KNeighborsClassifier(1 if n_labels < 100 else 5, weights="distance")


CLAIMS = (
    Claim(1, "An autoencoder's latent space cannot be sampled; a VAE's can.", sampling),
    Claim(
        2,
        "A VAE's latent space is continuous: interpolations stay on the data manifold.",
        interpolation,
    ),
    Claim(4, "Without the KL term the model becomes an autoencoder.", without_kl),
    Claim(
        10,
        "Classes form clusters in the latent space without labels; few labels suffice.",
        clusters,
    ),
)
